package gateway

import (
	"maps"
	"net/netip"
	"slices"

	"peerless/internal/gateway/mapping"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// This file repairs a failed server port with many hosts in the time of one. A lost leaf needs no work for each host: its rules go, and the
// backups serve. A server port has no rule of its own, and its hosts' routes were deleted from the leaf's table one by one. So the hosts of a
// server port that many are behind have a second route by their backup, in a table of that port, its bypass, which nobody looks into. When the
// port fails one rule does, before all others; the hosts are settled after the respite, as if the word had come just then, and the rule
// goes when the last of their old routes is gone (invariant bypass-is-shut).

const (
	// bypassTable is the table of the bypass of server port 0, relative to Config.TableBase; the others follow by attachment.
	bypassTable = 200
	prioBypass  = 1890
)

// bypass is a server port's.
type bypass struct {
	id     model.AttachmentID
	few    []*mapping.Host              // who would be on it if there were more of them
	hosts  map[netip.Addr]*mapping.Host // what is on it
	absent map[netip.Addr]struct{}      // those of them that the kernel is not known to have
	leads  map[mapping.LeafID]int       // how many lead to each leaf
	stale  bool                         // a port to one of those was lost, and what the kernel had by it, perhaps

	open     bool           // a rule looks into it
	from, to mapping.LeafID // open: the leaf whose port failed, and the one that all go by
	begun    bool           // open: its hosts are queued
	doneAt   uint64         // begun: all are settled when the queue has got so far
	moving   map[netip.Addr]struct{}
}

// by is the leaf that a host's route on a bypass leads to.
type by struct {
	id   model.AttachmentID
	leaf mapping.LeafID
}

func (m *Machine) bypassRoute(h *mapping.Host, id model.AttachmentID, l mapping.LeafID) step.Route {
	return step.Route{Table: m.cfg.TableBase + bypassTable + uint32(id), Prefix: step.HostPrefix(h.Addr), NextHop: m.leaves[l].hop()}
}

func (m *Machine) bypassRules(b *bypass) []step.Rule {
	var rules []step.Rule
	for _, s := range m.cfg.Subnets {
		rules = append(rules, rule(prioBypass, "", s, m.cfg.TableBase+bypassTable+uint32(b.id)))
	}
	return rules
}

func bypassTimer(id model.AttachmentID) step.Timer {
	return step.Timer{Kind: timerBypass, ID: uint32(id)}
}

// bypassOf is the bypass of a server port, made if it is not there.
func (m *Machine) bypassOf(id model.AttachmentID) *bypass {
	b := m.bypasses[id]
	if b == nil {
		b = &bypass{id: id, hosts: map[netip.Addr]*mapping.Host{}, absent: map[netip.Addr]struct{}{}, leads: map[mapping.LeafID]int{}}
		m.bypasses[id] = b
	}
	return b
}

// fits is where a host belongs: on the bypass of its server port, leading to its backup. Number 0: nowhere.
func (m *Machine) fits(h *mapping.Host) by {
	if m.cfg.BypassFrom <= 0 || h.State != mapping.Claimed || h.Primary == mapping.None || h.Backup == mapping.None || h.Basis == nil || h.Basis.Static {
		return by{}
	}
	return by{h.Basis.Link.ID, h.Backup}
}

// restock has a host looked at that was placed anew.
func (m *Machine) restock(h *mapping.Host) {
	if h.BypassOf != 0 && h.Basis != nil && h.Basis.Link.ID != h.BypassOf {
		m.leaveBypass(h, step.Key{}, "it is behind another server port")
	}
	if h.Listed || m.fits(h) == (by{h.BypassOf, h.BypassBy}) {
		return
	}
	m.list(h)
}

func (m *Machine) list(h *mapping.Host) {
	h.Listed = true
	m.stock = append(m.stock, h)
	if !m.stocking {
		m.stocking = true
		m.emit(step.Arm{Timer: step.Timer{Kind: timerStock}, At: m.now.Mono + liveness.StockRest})
	}
}

// onStock looks at the next portion, unless there is something to repair.
func (m *Machine) onStock() {
	pause := liveness.StockPause
	if len(m.waiting) > 0 || len(m.queue) > 0 || len(m.opened) > 0 {
		pause = liveness.StockRest
	} else {
		n := min(liveness.Portion, len(m.stock))
		for i, h := range m.stock[:n] {
			m.stock[i], h.Listed = nil, false
			m.sort(h)
		}
		m.stock = m.stock[n:]
	}
	if m.stocking = len(m.stock) > 0; m.stocking {
		m.emit(step.Arm{Timer: step.Timer{Kind: timerStock}, At: m.now.Mono + pause})
	} else {
		m.stock = nil
	}
}

// sort puts a host where it belongs.
func (m *Machine) sort(h *mapping.Host) {
	fit := m.fits(h)
	if h.BypassOf != 0 && h.BypassOf != fit.id {
		m.leaveBypass(h, step.Key{}, "nobody stands by for it")
	}
	if fit.id == 0 {
		return
	}
	b := m.bypassOf(fit.id)
	switch _, on := b.hosts[h.Addr]; {
	case on:
		m.lead(b, h, fit.leaf)
	case h.BypassOf == fit.id:
		h.BypassBy = fit.leaf
	case len(b.hosts) > 0:
		m.lead(b, h, fit.leaf)
	default:
		h.BypassOf, h.BypassBy = fit.id, fit.leaf
		b.few = append(b.few, h)
		if len(b.few) >= m.cfg.BypassFrom {
			few := b.few
			b.few = nil
			for _, f := range few {
				m.lead(b, f, f.BypassBy)
			}
		}
	}
}

// lead lays a host's route on a bypass.
func (m *Machine) lead(b *bypass, h *mapping.Host, l mapping.LeafID) {
	if old := b.hosts[h.Addr]; old != nil {
		b.leads[old.BypassBy]--
		if old != h { // an address that was forgotten, and has come back
			old.BypassOf = 0
		}
	}
	if len(b.hosts) == 0 {
		b.stale = false
	}
	h.BypassOf, h.BypassBy = b.id, l
	b.hosts[h.Addr], b.absent[h.Addr] = h, struct{}{}
	b.leads[l]++
	m.want(m.bypassRoute(h, b.id, l), "its server port may fail")
}

// leaveBypass takes a host off its bypass.
func (m *Machine) leaveBypass(h *mapping.Host, after step.Key, why string) {
	b := m.bypasses[h.BypassOf]
	id, l := h.BypassOf, h.BypassBy
	h.BypassOf, h.BypassBy = 0, 0
	if b == nil {
		return
	}
	if b.hosts[h.Addr] != h {
		b.few = slices.DeleteFunc(b.few, func(f *mapping.Host) bool { return f == h })
		return
	}
	delete(b.hosts, h.Addr)
	delete(b.absent, h.Addr)
	delete(b.moving, h.Addr)
	b.leads[l]--
	m.emit(step.Want{Object: m.bypassRoute(h, id, l), Absent: true, After: after, Why: why})
}

// openBypass has the kernel send the hosts of a port that failed by its bypass, and puts off what is to be done for each. It reports whether
// it did: all that is on the bypass must lead to one leaf, and it must be the one that stands by.
func (m *Machine) openBypass(l *leaf, k *mapping.Link) bool {
	b := m.bypasses[k.ID]
	if b == nil || b.open || b.stale || m.restarting {
		return false
	}
	n, to := len(b.hosts)-len(b.absent), m.table.Standby(k.ID, l.id)
	if n < m.cfg.BypassFrom || to == mapping.None || b.leads[to] != len(b.hosts) {
		return false
	}
	b.open, b.from, b.to, b.begun, b.moving = true, l.id, to, false, map[netip.Addr]struct{}{}
	m.opened = append(m.opened, b.id)
	for _, r := range m.bypassRules(b) {
		m.emit(step.Want{Object: r, Urgent: true, Why: "its hosts go to leaf " + m.leaves[to].Name, Cause: k.Cause})
	}
	if len(b.absent) > 0 || m.table.Under(b.id) != len(b.hosts) { // else all of them are on it, and need nothing
		m.emit(step.Arm{Timer: missedTimer(b.id), At: m.now.Mono})
	}
	m.emit(step.Arm{Timer: bypassTimer(b.id), At: m.now.Mono + liveness.Respite(n)})
	return true
}

func missedTimer(id model.AttachmentID) step.Timer {
	return step.Timer{Kind: timerMissed, ID: uint32(id)}
}

// onMissed moves those whom a bypass that has just been opened does not serve. It goes through all of them, so the rule that serves the others
// does not wait for it.
func (m *Machine) onMissed(id model.AttachmentID) {
	b := m.bypasses[id]
	if b == nil || !b.open || b.begun {
		return // all of them are being settled
	}
	m.scratch = m.table.AppendUnder(m.scratch[:0], id)
	for i, h := range m.scratch {
		if _, absent := b.absent[h.Addr]; absent || b.hosts[h.Addr] != h {
			m.touch(h)
		}
		m.scratch[i] = nil
	}
}

// onBypass settles those whom the bypass serves.
func (m *Machine) onBypass(id model.AttachmentID) {
	if b := m.bypasses[id]; b != nil && b.open && !b.begun {
		m.settleBypass(b)
	}
}

func (m *Machine) settleBypass(b *bypass) {
	m.scratch = m.table.AppendUnder(m.scratch[:0], b.id)
	m.enqueueAll(m.scratch)
	b.begun, b.doneAt = true, m.queued
	m.hurry = true
}

// strays takes a host off an open bypass that is not to go by it any more, when it is placed.
func (m *Machine) strays(h *mapping.Host, choice mapping.Choice, after step.Key) {
	b := m.bypasses[h.BypassOf]
	if b == nil || !b.open || choice.Primary == b.to || choice.Primary == mapping.None && choice.Backup == b.to {
		return
	}
	m.leaveBypass(h, after, "it is not by leaf "+m.leaves[b.to].Name)
}

// reviewBypasses shuts those that have done their work, and those that lead to where nobody is any more. Where the port that failed is up
// again, whoever is claimed there leaves when he is settled; all others still have to.
func (m *Machine) reviewBypasses() {
	left := m.opened[:0]
	for _, id := range m.opened {
		b := m.bypasses[id]
		from, to := m.table.Link(b.from, id), m.table.Link(b.to, id)
		lost := !m.table.Serving(b.to) || to == nil || !m.table.Up(to)
		if back := from == nil || m.leaves[b.from].phase == serving && !m.table.Failed(from); !b.begun && (lost || back) {
			m.emit(step.Disarm{Timer: bypassTimer(id)})
			m.settleBypass(b)
		}
		switch {
		case lost:
			m.shutBypass(b, true, "leaf "+m.leaves[b.to].Name+" does not stand by any more")
		case b.begun && m.settled >= b.doneAt && len(b.moving) == 0:
			m.shutBypass(b, false, "its hosts have their routes")
		default:
			left = append(left, id)
		}
	}
	m.opened = left
}

func (m *Machine) shutBypass(b *bypass, urgent bool, why string) {
	b.open = false
	for _, r := range m.bypassRules(b) {
		m.emit(step.Want{Object: r, Absent: true, Urgent: urgent, Why: why})
	}
}

// onBypassApplied books what the kernel has.
func (m *Machine) onBypassApplied(w step.Want, r step.Route) {
	a := r.Prefix.Addr()
	if w.Absent {
		for _, id := range m.opened {
			if m.inSlot(r.Table-m.cfg.TableBase) != nil {
				delete(m.bypasses[id].moving, a)
			}
		}
		return
	}
	if b := m.bypassIn(r.Table); b != nil {
		if h := b.hosts[a]; h != nil && m.bypassRoute(h, b.id, h.BypassBy).NextHop == r.NextHop {
			delete(b.absent, a)
		}
	}
}

// bypassIn is the bypass that a table is; nil if it is none.
func (m *Machine) bypassIn(table uint32) *bypass {
	if !m.isBypass(table) {
		return nil
	}
	return m.bypasses[model.AttachmentID(table-m.cfg.TableBase-bypassTable)]
}

// isBypass reports whether a table is, or might be, a bypass.
func (m *Machine) isBypass(table uint32) bool {
	first := m.cfg.TableBase + bypassTable
	return table >= first && table-first < 1<<16
}

// compareBypasses holds a snapshot against what was asked for. At a start nothing was: an earlier life's go.
func (m *Machine) compareBypasses(routes []step.RouteState) {
	there := map[*mapping.Host]bool{}
	for _, r := range routes {
		if !r.Ours || !r.Present || !m.isBypass(r.Table) {
			continue
		}
		b := m.bypassIn(r.Table)
		if b != nil && b.hosts[r.Prefix.Addr()] != nil {
			h := b.hosts[r.Prefix.Addr()]
			there[h] = r.NextHop == m.bypassRoute(h, b.id, h.BypassBy).NextHop
			continue
		}
		m.absent(r.Route, "left by an earlier life and of no use")
	}
	for _, id := range slices.Sorted(maps.Keys(m.bypasses)) {
		b := m.bypasses[id]
		for _, a := range slices.SortedFunc(maps.Keys(b.hosts), netip.Addr.Compare) {
			if h := b.hosts[a]; !there[h] {
				m.lead(b, h, h.BypassBy)
			}
		}
	}
}

// onBypassRoute: somebody else took a route of a bypass away, or the kernel with its port.
func (m *Machine) onBypassRoute(r step.RouteState) {
	b := m.bypassIn(r.Table)
	if b == nil || r.Present || !r.Ours {
		return
	}
	if h := b.hosts[r.Prefix.Addr()]; h != nil {
		m.lead(b, h, h.BypassBy)
	}
}

// doubtBypasses: what led to a leaf whose port was lost is not relied on until the leaf serves again, and it was laid anew. It costs the
// same whatever the number of hosts.
func (m *Machine) doubtBypasses(l *leaf) {
	// order: each is marked for itself
	for _, b := range m.bypasses {
		b.stale = b.stale || b.leads[l.id] > 0
	}
}

func (m *Machine) renewBypasses() {
	for _, id := range slices.Sorted(maps.Keys(m.bypasses)) {
		b := m.bypasses[id]
		if !b.stale {
			continue
		}
		b.stale = false
		for _, a := range slices.SortedFunc(maps.Keys(b.hosts), netip.Addr.Compare) {
			b.absent[a] = struct{}{}
			if h := b.hosts[a]; !h.Listed {
				m.list(h)
			}
		}
	}
}
