package leaf

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"peerless/internal/leaf/neighbor"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// This file keeps the routes to whoever stands by on a port where the kernel finds them at once when they are needed: twice.
//
// One table serves what comes down from a gateway for somebody who is not known to be here. A gateway sends it when it has just lost the
// other leaf, or that leaf's link to the server: it goes to the port by which the server hangs on this leaf too, before anybody here has heard
// of the fault. Nobody else's traffic goes by it (invariant standby-takes-what-comes-down).
//
// The other is the port's shelf, which nobody looks into. When their server turns up one rule does, and serves all of them, however many there
// are. What follows host by host (the route in the table that hosts are forwarded by, the probe, the claim) waits until the repair is over; when
// the last of them has its route the rule goes (invariant shelf-is-shut). Where the words on attachments do not move traffic, claims must come
// at once, and the shelf stays shut.

// StandbyTable is the number of the table for what comes down; the ports' shelves follow by the number of their port.
const StandbyTable = 20300

// Priorities of the rules that look into shelves, behind the one that looks for hosts that are here, and of those that look for who stands by.
const (
	shelfRule   = 990
	standbyRule = 995
)

// shelf is a port's.
type shelf struct {
	hosts  map[netip.Addr]model.MAC // what is on it, each with the neighbour entry that was asked for since the port serves; zero: none
	absent map[netip.Addr]struct{}  // those of them that the kernel is not known to have
	todo   []netip.Addr             // to be looked at: on or off it
	waits  bool                     // its timer is set
	full   bool                     // somebody who stands by found no room
	short  bool                     // and another leaf claims him

	open  bool         // a rule looks into it
	begun bool         // those who are served have begun to be taken
	left  []netip.Addr // begun: not taken yet
}

func (s *shelf) has(a netip.Addr) bool {
	_, on := s.hosts[a]
	return on
}

// there reports whether a host is on the shelf and the kernel has it.
func (s *shelf) there(a netip.Addr) bool {
	_, absent := s.absent[a]
	return s.has(a) && !absent
}

// missing lists whom the rule would not serve though they may stand by on its port.
func (m *Machine) missing(d *downlink) []netip.Addr {
	s := &d.shelf
	if s.full {
		return slices.DeleteFunc(m.hosts.Standby(d.Port), s.there)
	}
	list := slices.SortedFunc(maps.Keys(s.absent), netip.Addr.Compare)
	for _, a := range s.todo {
		if !s.has(a) {
			list = append(list, a)
		}
	}
	return list
}

func shelfTable(d *downlink) uint32 { return StandbyTable + d.PortIndex }

// shelved is the port whose shelf a table is; nil if it is none's.
func (m *Machine) shelved(table uint32) *downlink {
	for _, d := range m.downs {
		if shelfTable(d) == table && m.shelves() {
			return d
		}
	}
	return nil
}

// shelves reports whether shelves are used at all.
func (m *Machine) shelves() bool { return m.cfg.ShelfFrom > 0 && m.cfg.Export.Mode == ByBGP }

func shelfRoute(d *downlink, a netip.Addr) step.Route {
	return step.Route{Table: shelfTable(d), Prefix: step.HostPrefix(a), NextHop: step.NextHop{Dev: d.Port}}
}

func standbyRoute(d *downlink, a netip.Addr) step.Route {
	return step.Route{Table: StandbyTable, Prefix: step.HostPrefix(a), Metric: d.PortIndex, NextHop: step.NextHop{Dev: d.Port}}
}

// standbyPort is the port by which a route of that table leads; nil if it is none of ours.
func (m *Machine) standbyPort(r step.Route) *downlink {
	if d := m.down(r.NextHop.Dev); d != nil && m.shelves() && r.Table == StandbyTable && r.Metric == d.PortIndex {
		return d
	}
	return nil
}

func (m *Machine) shelfRule(d *downlink) step.Rule {
	return step.Rule{Priority: shelfRule, Table: shelfTable(d), SuppressPrefixLen: -1}
}

func shelfTimer(d *downlink) step.Timer { return step.Timer{Kind: timerShelf, Port: d.Port} }

// stock has the shelves looked at on which somebody has turned.
func (m *Machine) stock(now model.Instant) {
	if !m.hosts.HaveTurned() {
		return
	}
	for _, d := range m.downs {
		turned := m.hosts.Turned(d.Port)                 // taken from the table in any case: there it would pile up
		if len(turned) > 0 && m.shelves() && d.serving { // a port that begins to serve looks at all
			d.shelf.todo = append(d.shelf.todo, turned...)
			m.stockLater(now, d)
		}
	}
}

func (m *Machine) stockLater(now model.Instant, d *downlink) {
	if !d.shelf.waits {
		d.shelf.waits = true
		m.emit(step.Arm{Timer: shelfTimer(d), At: now.Mono + liveness.StockRest})
	}
}

// restock looks at all of a port that begins to serve: what was on its shelf, and its neighbour entries, went without a word if the port was
// set down.
func (m *Machine) restock(now model.Instant, d *downlink) {
	if !m.shelves() {
		return
	}
	s := &d.shelf
	s.full, s.short = false, false
	s.todo = slices.SortedFunc(maps.Keys(s.hosts), netip.Addr.Compare)
	for _, a := range s.todo {
		s.set(a, false)
		s.hosts[a] = model.MAC{} // a route that is tried again may be there before its turn comes: that says nothing of the entry
	}
	if s.todo = append(s.todo, m.hosts.Standby(d.Port)...); len(s.todo) > 0 {
		m.stockLater(now, d)
	}
}

// onShelfTimer puts the next portion on a shelf or takes it off.
func (m *Machine) onShelfTimer(now model.Instant, d *downlink) {
	s := &d.shelf
	s.waits = false
	if !d.serving {
		return
	}
	pause := liveness.StockPause
	if s.open || d.unclaimed.waits || d.cleanup.due {
		pause = liveness.StockRest
	} else {
		n := min(liveness.Portion, len(s.todo))
		for _, a := range s.todo[:n] {
			m.sort(d, a)
		}
		s.todo = s.todo[n:]
	}
	if len(s.todo) == 0 && s.short && len(s.hosts) < m.hosts.Room(d.Port) {
		s.short, s.todo = false, m.hosts.Standby(d.Port)
	}
	if len(s.todo) == 0 {
		s.todo = nil
		return
	}
	s.waits = true
	m.emit(step.Arm{Timer: shelfTimer(d), At: now.Mono + pause})
}

// sort puts one host on the shelf or takes it off.
func (m *Machine) sort(d *downlink, a netip.Addr) {
	s := &d.shelf
	on := s.has(a)
	_, gone := s.absent[a]
	mac := m.hosts.MAC(d.Port, a)
	fit := m.hosts.StandsBy(d.Port, a) && !m.behindAnother(d, a)
	switch claimed, room := m.claimedBehind(d.Port, a), m.hosts.Room(d.Port); {
	case fit && !on && (len(s.hosts) >= room || !claimed && len(s.hosts) >= room/2): // whoever was here once, or never was, keeps nobody out who is claimed
		s.full, s.short = true, s.short || claimed
	case fit && (!on || gone || s.hosts[a] != mac):
		s.set(a, false)
		s.hosts[a] = mac
		why := "stands by for the server of " + string(d.Port)
		m.want(step.Want{Object: shelfRoute(d, a), Why: why})
		m.want(step.Want{Object: standbyRoute(d, a), Why: why})
		if !mac.IsZero() {
			m.want(step.Want{Object: step.Neighbor{Port: d.Port, Addr: a, MAC: mac}, Why: why})
		}
	case !fit && on:
		m.unshelve(d, a, "does not stand by any more")
	}
}

// set notes a host that is on the shelf, and whether the kernel has it.
func (s *shelf) set(a netip.Addr, there bool) {
	if s.hosts == nil {
		s.hosts, s.absent = map[netip.Addr]model.MAC{}, map[netip.Addr]struct{}{}
	}
	if !s.has(a) {
		s.hosts[a] = model.MAC{}
	}
	if there {
		delete(s.absent, a)
	} else {
		s.absent[a] = struct{}{}
	}
}

// unshelve takes a host off the shelf. The last one shuts it.
func (m *Machine) unshelve(d *downlink, a netip.Addr, why string) {
	s := &d.shelf
	if !s.has(a) {
		return
	}
	delete(s.hosts, a)
	delete(s.absent, a)
	m.want(step.Want{Object: shelfRoute(d, a), Absent: true, Why: why})
	m.want(step.Want{Object: standbyRoute(d, a), Absent: true, Why: why})
	if h, held := m.hosts.Holder(a); !(held && h.Port == d.Port) {
		m.want(step.Want{Object: step.Neighbor{Port: d.Port, Addr: a}, Absent: true, Why: why})
	}
	if s.open && len(s.hosts) == 0 {
		m.shut(d, "all that it served have their routes")
	}
}

// shut lets nobody look into the shelf any more.
func (m *Machine) shut(d *downlink, why string) {
	if !d.shelf.open {
		return
	}
	d.shelf.open, d.shelf.begun, d.shelf.left = false, false, nil
	m.want(step.Want{Object: m.shelfRule(d), Absent: true, Why: why})
}

// serveShelf has the kernel serve a server that has turned up from its shelf, and tells how many hosts that is. Zero: there is nothing, or so
// little on it that it is as well to install it.
func (m *Machine) serveShelf(d *downlink, cause step.Cause) int {
	s := &d.shelf
	n := len(s.hosts) - len(s.absent)
	if !m.shelves() || s.open || n < m.cfg.ShelfFrom || !m.heeded(d) {
		return 0
	}
	s.open = true
	m.want(step.Want{Object: m.shelfRule(d), Urgent: true, Cause: cause, Why: "the server of " + string(d.Port) + " has turned up"})
	return n
}

// serves reports whether a host is forwarded to by the port's shelf until its turn comes.
func (s *shelf) serves(a netip.Addr) bool {
	return s.open && !s.begun && s.there(a)
}

// takeShelf takes the next portion of those that the shelf serves: each gets what every host has. It tells whether any are left.
func (m *Machine) takeShelf(now model.Instant, d *downlink) bool {
	s := &d.shelf
	if !s.begun {
		s.begun, s.left = true, slices.SortedFunc(maps.Keys(s.hosts), netip.Addr.Compare)
	}
	n := min(liveness.Portion, len(s.left))
	m.hosts.Inherit(now.Mono, d.Port, s.left[:n], func(a netip.Addr) bool { return m.behindAnother(d, a) })
	for _, a := range s.left[:n] {
		if h, held := m.hosts.Holder(a); held && h.Port == d.Port {
			m.hold(h, step.Want{Why: "its server has turned up here", Cause: d.unclaimed.cause})
		} else {
			m.unshelve(d, a, "is not here")
		}
	}
	if !s.open {
		return false
	}
	s.left = s.left[n:]
	return len(s.left) > 0
}

// onShelfOpen tells that all who are on the shelf are forwarded to.
func (m *Machine) onShelfOpen(w step.Want) {
	r, ok := w.Object.(step.Rule)
	if !ok || w.Absent || w.Cause == 0 {
		return
	}
	if d := m.shelved(r.Table); d != nil {
		n := len(d.shelf.hosts) - len(d.shelf.absent)
		m.emit(step.Note{What: noteInstalled, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Stage: step.StageInstall, Hosts: n, Cause: w.Cause,
			Text: "one rule forwards to " + plural(n, "host"), Why: w.Why})
	}
}

// onShelfApplied books what the kernel has: a host that has its route needs no place on a shelf.
func (m *Machine) onShelfApplied(r step.Route, absent bool) {
	if !m.shelves() || absent || !isHostPrefix(r.Prefix) {
		return
	}
	a := r.Prefix.Addr()
	if d := m.shelved(r.Table); d != nil {
		if d.shelf.has(a) {
			d.shelf.set(a, true)
		}
		return
	}
	if h, held := m.hosts.Holder(a); held && m.isHosts(r.Table) && h.Port == r.NextHop.Dev {
		m.unshelve(m.down(h.Port), a, "has its route")
	}
}

// onStandbyRoute takes a change to the table for what comes down that we did not make.
func (m *Machine) onStandbyRoute(r step.RouteState) {
	d, a := m.standbyPort(r.Route), r.Prefix.Addr()
	switch {
	case d != nil && d.shelf.has(a):
		if !r.Present && d.serving {
			m.want(step.Want{Object: standbyRoute(d, a), Why: "somebody changed it"})
		}
	case r.Present:
		m.dropRoute(r.Route, "nobody who stands by")
	}
}

// onShelfRoute takes a change to a shelf that we did not make.
func (m *Machine) onShelfRoute(d *downlink, r step.RouteState) {
	a := r.Prefix.Addr()
	switch on := d.shelf.has(a); {
	case on && (!r.Present || r.NextHop.Dev != d.Port):
		d.shelf.set(a, false)
		if d.serving {
			m.want(step.Want{Object: shelfRoute(d, a), Why: "somebody changed it"})
		}
	case !on && r.Present:
		m.dropRoute(r.Route, "nobody who stands by")
	}
}

// readShelves compares the shelves, and the table for what comes down, with the kernel. Those of an earlier life are taken as they are: who was on
// them is remembered, and served on if a rule looks there.
func (m *Machine) readShelves(now model.Instant, s step.Snapshot, first bool) {
	if !m.shelves() {
		return
	}
	macs := neighbors(s)
	there := map[holding]int{}
	for _, r := range s.Routes {
		d, a := m.shelved(r.Table), r.Prefix.Addr()
		if first && r.Ours && r.Present && d != nil && d.serving && isHostPrefix(r.Prefix) && m.admit.Address(a) == neighbor.Admitted && r.NextHop.Dev == d.Port {
			mac := macs[holding{d.Port, a}]
			d.shelf.set(a, true)
			d.shelf.hosts[a] = mac
			m.change(now, m.hosts.Hint(now.Mono, d.Port, a, mac, neighbor.FromRestart), 0)
		}
	}
	for _, r := range s.Routes {
		d, a := cmp.Or(m.shelved(r.Table), m.standbyPort(r.Route)), r.Prefix.Addr()
		switch {
		case !r.Ours || !r.Present || r.Table != StandbyTable && d == nil:
		case d != nil && d.shelf.has(a):
			there[holding{d.Port, a}]++
		default:
			m.dropRoute(r.Route, "nobody who stands by")
		}
	}
	for _, d := range m.downs {
		for _, a := range slices.SortedFunc(maps.Keys(d.shelf.hosts), netip.Addr.Compare) {
			at := holding{d.Port, a}
			if d.shelf.there(a) && (there[at] < 2 || macs[at] != d.shelf.hosts[a]) {
				d.shelf.set(a, false)
				d.shelf.todo = append(d.shelf.todo, a)
				m.stockLater(now, d)
			}
		}
		open := slices.ContainsFunc(s.Rules, func(r step.Rule) bool { return r.Key() == m.shelfRule(d).Key() })
		if first && open && len(d.shelf.hosts) > 0 {
			d.shelf.open = true
			d.unclaimed = unclaimed{waits: true, cause: m.newCause()}
			m.emit(step.Arm{Timer: claimTimer(d), At: now.Mono})
		}
	}
}

// reshelve heeds what another leaf claims: a host that is now behind another server port, or was claimed anew while its shelf is open, is not
// served from there; one that is behind this server port again is.
func (m *Machine) reshelve(now model.Instant, a netip.Addr, at model.AttachmentID, news bool) {
	if !m.shelves() {
		return
	}
	for _, d := range m.downs {
		s := &d.shelf
		if !s.has(a) {
			if d.ID == at && d.serving && m.hosts.StandsBy(d.Port, a) {
				s.todo = append(s.todo, a)
				m.stockLater(now, d)
			}
			continue
		}
		if d.ID == at && !(s.open && news) {
			continue
		}
		if h, held := m.hosts.Holder(a); held && h.Port == d.Port {
			continue // it was heard here: it is doubted, like any other
		}
		if s.open {
			m.unshelve(d, a, "another leaf has a newer claim")
			continue
		}
		s.todo = append(s.todo, a)
		m.stockLater(now, d)
	}
}
