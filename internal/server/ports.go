package server

import (
	"cmp"
	"fmt"
	"slices"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Kinds of devices as the kernel names them.
const (
	kindBridge = "bridge"
	kindBond   = "bond"
)

func byPort(p step.PortState, name model.Port) int { return cmp.Compare(p.Port, name) }

// port is the last known state of a port; one never heard of is not present.
func (m *Machine) port(name model.Port) step.PortState {
	if i, ok := slices.BinarySearchFunc(m.ports, name, byPort); ok {
		return m.ports[i]
	}
	return step.PortState{Port: name}
}

func (m *Machine) onSnapshot(now model.Instant, e step.Snapshot) {
	if !m.known {
		m.pair.Found(m.found(e))
	}
	m.known = true
	m.ports = slices.Clone(e.Ports)
	slices.SortFunc(m.ports, func(a, b step.PortState) int { return cmp.Compare(a.Port, b.Port) })
	m.addresses = slices.Clone(e.Addresses)
	slices.SortFunc(m.addresses, compareAddress)
	// Messages were lost, and with them perhaps the news that the kernel forgot something: ask for all of it again
	// (snapshot-is-the-truth).
	m.listening = m.listening[:0]
	m.reconcile(now, true)
}

// found is the link that the kernel sends by when this life begins.
func (m *Machine) found(e step.Snapshot) model.Role {
	var port model.Port
	for _, b := range e.Members {
		if b.Flood && port == "" {
			port = b.Port
		} else if b.Flood { // as the kernel makes them: nobody has chosen, or there is an entry
			port = m.cfg.Device
		}
	}
	for _, f := range e.Entries {
		if f.Bridge == m.cfg.Device && f.MAC == m.cfg.GatewayMAC {
			port = f.Port
		}
	}
	for _, b := range e.Bonds {
		if b.Bond == m.cfg.Device {
			port = b.Active
		}
	}
	if s := m.sideOf(port); s != nil {
		return s.role
	}
	return model.RoleUnknown
}

func (m *Machine) onPort(now model.Instant, p step.PortState) {
	i, found := slices.BinarySearchFunc(m.ports, p.Port, byPort)
	switch {
	case found && m.concerns(p):
		m.ports[i] = p
	case found:
		m.ports = slices.Delete(m.ports, i, i+1)
	case m.concerns(p):
		m.ports = slices.Insert(m.ports, i, p)
	default:
		return // never known, still no affair of ours
	}
	m.reconcile(now, false)
}

// concerns reports whether a port is to be remembered: a configured one, a member of anything, or a bridge, which may be the one
// above a bond. The last that is told of a guest's port may be that it left its bridge.
func (m *Machine) concerns(p step.PortState) bool {
	configured := p.Port == m.cfg.Device || m.sideOf(p.Port) != nil
	return p.Present && (configured || p.Master != "" || p.Kind == kindBridge)
}

// reconcile brings everything in line with the ports as they are now. With again set, what was asked for before is asked
// for again.
func (m *Machine) reconcile(now model.Instant, again bool) {
	m.noteWaiting()
	m.syncGuests()
	mac := m.device.mac
	if !m.follow() {
		return
	}
	var before [len(roles)]side
	copy(before[:], m.sides[:])
	for i := range m.sides {
		m.look(&m.sides[i])
	}
	touched := m.choose(now, before[:])
	if !touched && m.device.mac != mac {
		m.announceAgain(now, "the address of "+string(m.cfg.Device)+" changed")
	}
	for i := range m.sides {
		s, was := &m.sides[i], &before[i]
		renewed := s.member && (!was.member || was.index != s.index || s.up && !was.up)
		switch {
		case touched:
		case renewed:
			m.assert(s, "port "+string(s.port)+" came back")
		case again:
			m.assert(s, "netlink lost messages")
		}
		switch {
		case s.up && !was.up:
			m.onProbe(now, s)
			m.onThrough(now, s)
		case !s.up && was.up:
			m.quiet(s)
		}
	}
	m.wake()
}

// follow takes up the device, or lets go of it; it reports whether there is one to work with.
func (m *Machine) follow() bool {
	p := m.port(m.cfg.Device)
	usable := p.Present && (p.Kind == kindBridge || p.Kind == kindBond)
	found := device{there: usable, bond: p.Kind == kindBond, index: p.Index, mac: p.MAC}
	// Another device of the same name knows nothing of what was asked of the old one.
	if !usable || found.index != m.device.index || found.bond != m.device.bond {
		m.letGo()
	}
	if usable {
		m.device = found
	}
	return usable
}

// letGo forgets every choice.
func (m *Machine) letGo() {
	if !m.device.there {
		return
	}
	m.device = device{}
	m.pair = m.newPair()
	m.stopAnnouncing()
	for i := range m.sides {
		if m.sides[i].up {
			m.quiet(&m.sides[i])
		}
		m.sides[i] = newSide(m.sides[i].role, m.cfg)
	}
	m.move = move{}
	m.wake()
}

// look refreshes a side from its port.
func (m *Machine) look(s *side) {
	p := m.port(s.port)
	s.index = p.Index
	s.member = p.Present && p.Master == m.cfg.Device
	if up := s.member && p.Up(); up != s.up {
		s.up = up
		s.newborn()
	}
}

// quiet asks nothing more of a link.
func (m *Machine) quiet(s *side) {
	m.disarm(s.timer())
	if m.asksThrough() {
		m.disarm(step.Timer{Kind: timerThrough, Port: s.port})
	}
}

// noteWaiting says what is missing, once for each thing and reason.
func (m *Machine) noteWaiting() {
	dev := m.port(m.cfg.Device)
	m.wait(0, dev.Port, m.whyNoDevice(dev))
	for i := range m.sides {
		m.wait(i+1, m.sides[i].port, m.whyNoMember(m.port(m.sides[i].port)))
	}
}

func (m *Machine) wait(i int, port model.Port, why string) {
	if why != "" && why != m.waiting[i] {
		m.note(step.Note{Warn: true, What: "waiting", Port: port, Text: "waiting for " + string(port), Why: why})
	}
	m.waiting[i] = why
}

func (m *Machine) whyNoDevice(p step.PortState) string {
	switch {
	case !p.Present:
		return "device missing"
	case p.Kind != kindBridge && p.Kind != kindBond:
		return fmt.Sprintf("device is of kind %q, want a bridge or a bond", p.Kind)
	}
	return ""
}

func (m *Machine) whyNoMember(p step.PortState) string {
	switch {
	case !p.Present:
		return "port missing"
	case p.Master != m.cfg.Device:
		return "port is not a member of " + string(m.cfg.Device)
	}
	return ""
}

// noteLinks tells each link that came or went; the one that decided is the transition's detection.
func (m *Machine) noteLinks(before []side, because model.Role, cause step.Cause) {
	for i := range m.sides {
		s := &m.sides[i]
		if s.up == before[i].up {
			continue
		}
		n := step.Note{Warn: !s.up, What: "link-up", Port: s.port, Text: "link " + string(s.port) + " up", Why: "carrier came"}
		if !s.up {
			n.What, n.Text, n.Why = "link-down", "link "+string(s.port)+" down", m.whyDown(m.port(s.port))
		}
		if s.role == because {
			n.Stage, n.Cause = step.StageDetect, cause
		}
		m.note(n)
	}
}

func (m *Machine) whyDown(p step.PortState) string {
	switch why := m.whyNoMember(p); {
	case why != "":
		return why
	case p.ProtoDown:
		return "protodown"
	case !p.AdminUp:
		return "closed by operator"
	}
	return "carrier lost"
}
