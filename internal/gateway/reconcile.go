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
	for _, id := range m.opened {
		wanted = append(wanted, m.bypassRules(m.bypasses[id])...)
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
	var extra []step.Route
	for _, r := range routes {
		if !m.ourTable(r) {
			continue
		}
		if m.standing(r.Route) {
			standing[r.Key()] = true
			continue
		}
		if !m.expected(r.Route) {
			extra = append(extra, r.Route)
		}
	}
	for _, r := range m.standingRoutes() {
		if !standing[r.Key()] {
			m.want(r, "missing in the kernel")
		}
	}
	for _, r := range m.lastResort() {
		if m.peer.Up() && !standing[r.Key()] {
			m.detour(r, "missing in the kernel")
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
	for _, r := range extra {
		if after, unwanted := m.surplus(r); unwanted {
			m.emit(step.Want{Object: r, Absent: true, After: after, Why: "bears our mark but ought not to be there"})
		}
	}
}

// surplus reports whether a route is to be deleted, and not replaced by one that was just asked for, and after which other one: until
// the host's proper route is in the kernel, a wrong one is better than none (replace-no-gap).
func (m *Machine) surplus(r step.Route) (after step.Key, unwanted bool) {
	h := m.table.Host(r.Prefix.Addr())
	if h == nil || !r.Prefix.IsSingleIP() {
		return step.Key{}, true
	}
	if h.Backup != mapping.None && m.backupRoute(h, m.leaves[h.Backup]).Key() == r.Key() {
		return step.Key{}, false
	}
	if h.Primary == mapping.None {
		return step.Key{}, true
	}
	after = m.primaryRoute(h, m.leaves[h.Primary]).Key()
	return after, after != r.Key()
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
	if m.ready && m.isBypass(r.Table) {
		m.onBypassRoute(r)
		return
	}
	table := r.Table - m.cfg.TableBase
	if r.Present || !r.Ours || !m.ready || r.Table <= m.cfg.TableBase || table > tableK {
		return
	}
	for _, s := range m.standingRoutes() {
		if s.Key() == r.Key() {
			m.want(s, "somebody deleted it")
			return
		}
	}
	for _, s := range m.lastResort() {
		if s.Key() == r.Key() && m.peer.Up() {
			m.detour(s, "somebody deleted it")
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
