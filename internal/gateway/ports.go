package gateway

import (
	"fmt"

	"peerless/internal/step"
)

func (m *Machine) onPort(st step.PortState) {
	m.ports[st.Port] = st
	if !m.ready {
		return // the first snapshot tells all
	}
	if m.cfg.Peer != nil && st.Port == m.cfg.Peer.Port {
		m.peerPort(st)
	}
	for _, l := range m.leaves {
		if l.Port == st.Port {
			m.leafPort(l, st)
		}
	}
}

// leafPort takes the state of the port to a leaf: hard evidence either way.
func (m *Machine) leafPort(l *leaf, st step.PortState) {
	old := l.port
	l.port = st
	recreated := old.Present && st.Present && old.Index != st.Index
	if st.Present && (!old.Present || recreated) {
		m.portSysctls(l.Port)
		m.watch(l)
	}
	if !st.Up() {
		m.endDoubt(l) // the lost link is evidence enough
	}
	if old.Up() && (!st.Up() || recreated) {
		m.uncross(l)
	}
	if !st.Up() || (recreated && l.phase != lost) {
		m.lose(l, downWhy(st))
	}
	if st.Up() && (!old.Up() || recreated) {
		m.cross(l)
	}
	if st.Up() && l.phase == lost && !l.bfd.deaf {
		m.await(l)
	}
}

func downWhy(st step.PortState) string {
	switch {
	case !st.Present:
		return "port missing"
	case !st.AdminUp:
		return "port closed by operator"
	case st.ProtoDown:
		return "port in protodown"
	case !st.Carrier:
		return "carrier lost"
	}
	return "port was made anew"
}

// lose takes a leaf out at once and whatever the number of its hosts: by its rules. The kernel already falls through to the
// backups because of the lost carrier; the rules keep a carrier that returns from drawing traffic to a leaf that is not ready.
func (m *Machine) lose(l *leaf, why string) {
	again := l.phase == lost
	if again && !l.session {
		l.why = why
		return
	}
	if !again {
		l.cause = m.newCause()
	}
	if l.phase == opening || l.phase == serving {
		for _, r := range m.leafRules(l) {
			m.emit(step.Want{Object: r, Absent: true, Urgent: true, Why: "leaf " + l.Name + " lost: " + why, Cause: l.cause})
		}
		by := "the backups"
		if m.peer.Up() {
			by = "the other gateway"
		}
		m.note(step.Note{
			Warn: true, What: whatLeafDown, Port: l.Port, Peer: l.Name, Why: why, Stage: step.StageDetect, Hosts: l.primaries, Cause: l.cause,
			Text: fmt.Sprintf("leaf %s lost on port %s: %s by %s now", l.Name, l.Port, hostsGo(l.primaries), by),
		})
	}
	l.phase, l.why = lost, why
	clear(l.opening)
	m.table.Lose(l.id)
	m.endSession(l)
	if !m.cfg.NoBGP {
		m.partFrom(l, why)
		m.armPatience(timerExpire, l.id, m.cfg.GracefulRestart)
	}
	m.hushed(l)
	m.doubtBypasses(l)
	l.unclean = true
	m.reviewThrough() // another one may be needed now
}

// endSession forgets what only counts within a session.
func (m *Machine) endSession(l *leaf) {
	if l.session {
		l.since = m.now.Mono
	}
	l.session, l.told, l.endOfRIB, l.implied = false, false, false, false
	m.table.CloseSession(l.id)
}

// await has a leaf that can be reached again begin anew.
func (m *Machine) await(l *leaf) {
	m.part(l)
	l.phase = waiting
}

// admit lets a leaf in whose port is back, once its table holds nothing of before and it has told of its attachments. A
// leaf that never spoke has static hosts only; link state is all there is to wait for.
func (m *Machine) admit(l *leaf) {
	if l.phase != waiting {
		return
	}
	if w := m.waitsFor(l); w != "" {
		l.why = "the port is back; " + w
		return
	}
	m.open(l)
}

func (m *Machine) waitsFor(l *leaf) string {
	switch {
	case l.spoke && !l.session:
		return "its session is not up yet"
	case l.spoke && !l.told:
		return "it has not told of its attachments yet"
	case l.unclean || m.settled < l.cleanAt || len(l.deleting) > 0:
		return "its table is being cleaned up"
	}
	return ""
}

// open asks for the rules. The leaf serves when all of them are in place.
func (m *Machine) open(l *leaf) {
	l.phase, l.why = opening, "its rules are being put in place"
	for _, r := range m.leafRules(l) {
		l.opening[r.Key()] = struct{}{}
		m.want(r, "leaf "+l.Name+" can be used")
	}
}

// serve counts the leaf's claims from now on: hosts move to it one by one, new route first.
func (m *Machine) serve(l *leaf) {
	l.phase, l.why, l.cause = serving, "its rules are in place", 0
	m.table.Serve(l.id)
	m.note(step.Note{What: whatLeafUp, Port: l.Port, Peer: l.Name, Stage: step.StageOpen, Cause: m.ownCause(),
		Text: fmt.Sprintf("leaf %s can be used on port %s", l.Name, l.Port), Why: "port up, rules in place"})
	m.queueLeaf(l)
	m.renewBypasses()
	m.hurry = true
}

func (m *Machine) onApplied(w step.Want) {
	switch o := w.Object.(type) {
	case step.Rule:
		for _, l := range m.leaves {
			if _, waited := l.opening[w.Key()]; !waited || w.Absent {
				continue
			}
			delete(l.opening, w.Key())
			if l.phase == opening && len(l.opening) == 0 {
				m.serve(l)
			}
		}
	case step.Route:
		m.onBypassApplied(w, o)
		if !w.Absent {
			return
		}
		if l := m.inSlot(o.Table - m.cfg.TableBase); l != nil {
			delete(l.deleting, o.Prefix.Addr())
		}
	default: // the rest waits for nothing
	}
}

// peerPort follows the link to the other gateway: admin-down erases the route of last resort silently.
func (m *Machine) peerPort(st step.PortState) {
	old := m.peer
	m.peer = st
	m.table.SetDetour(st.Up())
	if st.Present && (!old.Present || old.Index != st.Index) {
		m.portSysctls(st.Port)
	}
	if st.Up() == old.Up() && old.Index == st.Index {
		return
	}
	why := "link to the other gateway: " + upOr(st)
	for _, r := range m.lastResort() {
		if st.Up() {
			m.detour(r, why)
		} else {
			m.emit(step.Want{Object: r, Absent: true, Urgent: true, Why: why})
		}
	}
}

func upOr(st step.PortState) string {
	if st.Up() {
		return "up"
	}
	return downWhy(st)
}
