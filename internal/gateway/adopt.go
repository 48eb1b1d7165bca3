package gateway

import (
	"fmt"

	"peerless/internal/gateway/mapping"
	"peerless/internal/model"
	"peerless/internal/step"
)

// onSnapshot: the first one says what an earlier life left behind, which serves until it is confirmed or refuted; later ones
// come when messages of the kernel were lost, and all is compared.
func (m *Machine) onSnapshot(ev step.Snapshot) {
	m.addrs = append(m.addrs[:0], ev.Addresses...)
	first := !m.ready
	m.ready = true
	m.catchUp()
	rules := make(map[step.Key]bool, len(ev.Rules))
	for _, r := range ev.Rules {
		rules[r.Key()] = true
	}
	if first {
		m.adopt(ev.Routes)
		m.setup()
	}
	states := m.portStates(ev.Ports)
	for _, st := range states {
		m.ports[st.Port] = st
	}
	for _, l := range m.leaves {
		if first && l.dynamic && l.Port == "" {
			l.Port = m.portTo(l.via)
		}
		if !first {
			m.locate(l)
		}
	}
	for _, st := range states {
		if m.cfg.Peer != nil && st.Port == m.cfg.Peer.Port {
			m.peerPort(st)
		}
		for _, l := range m.leaves {
			switch {
			case l.Port != st.Port:
			case first:
				m.firstSight(l, st, rules)
			default:
				m.leafPort(l, st)
			}
		}
	}
	m.compareRules(ev.Rules, rules, first)
	m.compareBypasses(ev.Routes)
	if !first {
		m.compareRoutes(ev.Routes)
		return
	}
	m.presume()
	m.settlePinned()
	m.startProbing()
	switch {
	case m.restarting && m.cfg.NoBGP:
		m.endRestart("there is no leaf that could confirm more")
	case m.restarting:
		m.armPatience(timerRestart, 0, m.cfg.GracefulRestart)
	}
}

// portStates adds what the snapshot does not name: our ports that do not exist, in the order of the config.
func (m *Machine) portStates(told []step.PortState) []step.PortState {
	known := make(map[model.Port]step.PortState, len(told))
	for _, st := range told {
		known[st.Port] = st
	}
	var states []step.PortState
	add := func(p model.Port) {
		if p == "" {
			return
		}
		st, ok := known[p]
		if !ok {
			st = step.PortState{Port: p}
		}
		for _, s := range states {
			if s.Port == p {
				return
			}
		}
		states = append(states, st)
	}
	for _, l := range m.leaves {
		add(l.Port)
	}
	if m.cfg.Peer != nil {
		add(m.cfg.Peer.Port)
	}
	for _, st := range told {
		add(st.Port)
	}
	return states
}

// firstSight decides whether a leaf serves already. Where the rules are in the kernel, the leaf goes on serving with what was
// adopted. Where they are not but routes are, an earlier life had taken the leaf out: its table is cleaned up first.
func (m *Machine) firstSight(l *leaf, st step.PortState, rules map[step.Key]bool) {
	inPlace := true
	for _, r := range m.leafRules(l) {
		inPlace = inPlace && rules[r.Key()]
	}
	l.port = st
	if st.Present {
		m.portSysctls(l.Port)
		m.watch(l)
	}
	if st.Up() {
		m.cross(l)
	}
	switch {
	case !st.Up():
		l.session = true // whatever session there is has to begin anew
		m.lose(l, downWhy(st))
		m.note(step.Note{Warn: true, What: whatLeafDown, Port: l.Port, Peer: l.Name, Why: l.why, Text: "leaf " + l.Name + " cannot be used"})
	case inPlace:
		m.open(l)
		clear(l.opening)
		l.phase, l.why = serving, "its rules were in place already"
		m.table.Serve(l.id)
	case l.primaries > 0:
		l.phase, l.unclean = waiting, true
	default:
		m.open(l)
	}
}

// adopt takes over what bears our mark in our tables and is a host's route to a leaf; the rest goes.
func (m *Machine) adopt(routes []step.RouteState) {
	for _, r := range routes {
		if !m.ourTable(r) || m.standing(r.Route) {
			continue
		}
		table, host := r.Table-m.cfg.TableBase, r.Prefix.IsSingleIP() && m.inSubnets(r.Prefix.Addr()) && !r.Blackhole && len(r.More) == 0 && r.Metric == 0
		if !host || !m.adoptRoute(table, r.Route) {
			m.absent(r.Route, "left by an earlier life and of no use")
		}
	}
	m.restarting = len(m.adopted) > 0
}

func (m *Machine) adoptRoute(table uint32, r step.Route) bool {
	if table >= 1 && table <= leavesMax && m.inSlot(table) == nil && m.toLeaf(r.NextHop) == nil {
		if l := m.addDynamic(r.NextHop.Via, 0, table); l != nil {
			l.Port = r.NextHop.Dev
		}
	}
	l := m.toLeaf(r.NextHop)
	if l == nil {
		return false
	}
	h := m.table.Add(r.Prefix.Addr())
	if !h.Adopted {
		h.Adopted, h.Since = true, int64(m.now.Mono)
		m.adopted = append(m.adopted, h)
	}
	switch {
	case table == tableK && h.Backup == mapping.None:
		h.Backup = l.id
	case table == l.slot && h.Primary == mapping.None:
		h.Primary = l.id
		l.primaries++
	case table == l.slot && m.leaves[h.Primary].slot > l.slot: // in two tables: the lower number is what packets meet
		old := m.leaves[h.Primary]
		m.absent(m.primaryRoute(h, old), "the host is in another leaf's table too")
		old.primaries--
		l.primaries++
		h.Primary = l.id
	case table <= leavesMax && h.Primary == mapping.None: // the config numbers the leaves otherwise now
		h.Primary = l.id
		l.primaries++
		m.want(m.primaryRoute(h, l), "the leaf's table has another number now")
		return false
	default:
		return false
	}
	return true
}

func (m *Machine) toLeaf(hop step.NextHop) *leaf {
	for _, l := range m.leaves {
		if l.hop() == hop {
			return l
		}
	}
	return nil
}

func (m *Machine) ourTable(r step.RouteState) bool {
	return r.Ours && r.Present && r.Table > m.cfg.TableBase && r.Table <= m.cfg.TableBase+tableK
}

func (m *Machine) standing(r step.Route) bool {
	for _, s := range append(m.standingRoutes(), m.lastResort()...) {
		if s.Key() == r.Key() {
			return s.Blackhole == r.Blackhole && s.NextHop == r.NextHop
		}
	}
	return false
}

func (m *Machine) settlePinned() {
	for _, s := range m.cfg.Static {
		if h := m.table.Host(s.Addr); h != nil {
			m.touch(h)
		}
	}
}

func (m *Machine) checkRestart() {
	if !m.restarting {
		return
	}
	for _, l := range m.leaves {
		if !l.confirmed {
			return
		}
	}
	m.emit(step.Disarm{Timer: step.Timer{Kind: timerRestart}})
	m.endRestart("all leaves have said what they have")
}

// endRestart deletes what nobody confirmed.
func (m *Machine) endRestart(why string) {
	if !m.restarting {
		return
	}
	m.restarting = false
	unclaimed := 0
	for _, h := range m.adopted {
		h.Adopted = false
		if !h.Claimed() {
			unclaimed++
		}
		m.enqueue(h)
	}
	m.note(step.Note{What: whatAdopted, Hosts: len(m.adopted), Why: why,
		Text: fmt.Sprintf("routes of %s found at start: %d confirmed, %d go", hosts(len(m.adopted)), len(m.adopted)-unclaimed, unclaimed)})
	m.adopted = nil
	m.hurry = true
}
