package gateway

import (
	"peerless/internal/gateway/mapping"
	"peerless/internal/step"
)

// Marks of a host's routes that a snapshot has as they ought to be.
const (
	seenPrimary = 1 << iota
	seenBackup
)

// compareRules takes out rules with our mark that ought not to be there, and puts back those that are missing.
func (m *Machine) compareRules(have []step.Rule, present map[step.Key]bool, first bool) {
	wanted := m.standingRules()
	for _, l := range m.leaves {
		if l.phase == opening || l.phase == serving {
			wanted = append(wanted, m.leafRules(l)...)
		}
	}
	keep := make(map[step.Key]bool, len(wanted))
	for _, r := range wanted {
		keep[r.Key()] = true
		if !first && !present[r.Key()] {
			m.want(r, "missing in the kernel")
		}
	}
	for _, r := range have {
		if !keep[r.Key()] {
			m.emit(step.Want{Object: r, Absent: true, Urgent: true, Why: "bears our mark but ought not to be there"})
		}
	}
}

// compareRoutes holds a later snapshot against what was asked for.
func (m *Machine) compareRoutes(routes []step.RouteState) {
	standing := map[step.Key]bool{}
	for _, r := range routes {
		if !m.ourTable(r) {
			continue
		}
		if m.standing(r.Route) {
			standing[r.Key()] = true
			continue
		}
		if !m.expected(r.Route) {
			m.absent(r.Route, "bears our mark but ought not to be there")
		}
	}
	wanted := m.standingRoutes()
	if m.peer.Up() {
		wanted = append(wanted, m.lastResort()...)
	}
	for _, r := range wanted {
		if !standing[r.Key()] {
			m.want(r, "missing in the kernel")
		}
	}
	for _, h := range m.table.Hosts() {
		if h.Primary != mapping.None && h.Seen&seenPrimary == 0 {
			m.want(m.primaryRoute(h, m.leaves[h.Primary]), "missing in the kernel")
		}
		if h.Backup != mapping.None && h.Seen&seenBackup == 0 {
			m.want(m.backupRoute(h, m.leaves[h.Backup]), "missing in the kernel")
		}
		h.Seen = 0
	}
}

// expected reports whether a route is as asked for, and marks its host. One with the right key but another way out is
// replaced by asking again.
func (m *Machine) expected(r step.Route) bool {
	if !r.Prefix.IsSingleIP() || r.Metric != 0 {
		return false
	}
	h := m.table.Host(r.Prefix.Addr())
	if h == nil {
		return false
	}
	table := r.Table - m.cfg.TableBase
	seen, id := uint8(seenBackup), h.Backup
	if table != tableK {
		seen, id = seenPrimary, h.Primary
	}
	if id == mapping.None || (table != tableK && m.leaves[id].slot != table) {
		return false
	}
	if !r.Blackhole && len(r.More) == 0 && r.NextHop == m.leaves[id].hop() {
		h.Seen |= seen
	}
	return true
}

// onRoute: somebody else took a route of ours away. On a port that works it is put back at once; else the leaf is about to
// be found lost, and its routes come back when it does.
func (m *Machine) onRoute(r step.RouteState) {
	table := r.Table - m.cfg.TableBase
	if r.Present || !r.Ours || !m.ready || r.Table <= m.cfg.TableBase || table > tableK {
		return
	}
	for _, s := range append(m.standingRoutes(), m.lastResort()...) {
		if s.Key() == r.Key() && (s.Blackhole || m.peer.Up()) {
			m.want(s, "somebody deleted it")
			return
		}
	}
	h := m.table.Host(r.Prefix.Addr())
	if h == nil || !r.Prefix.IsSingleIP() {
		return
	}
	id := h.Primary
	if table == tableK {
		id = h.Backup
	}
	if id == mapping.None || !m.leaves[id].port.Up() {
		return
	}
	l := m.leaves[id]
	switch {
	case table == tableK:
		m.want(m.backupRoute(h, l), "somebody deleted it")
	case table == l.slot:
		m.want(m.primaryRoute(h, l), "somebody deleted it")
	default: // of a leaf that the host is not with any more
		return
	}
	m.note(step.Note{Warn: true, What: whatRouteLost, Port: l.Port, Addr: h.Addr, Peer: l.Name,
		Text: "route of " + h.Addr.String() + " through leaf " + l.Name + " was deleted, put back", Why: "not deleted by this gateway"})
}
