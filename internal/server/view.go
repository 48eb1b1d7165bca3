package server

import (
	"peerless/internal/model"
	"peerless/internal/step"
)

// View is the state as operators see it: the pair's ports first, then the guests'; our own addresses first, then theirs.
func (m *Machine) View(now model.Instant) step.View {
	v := step.View{Role: "server", Name: m.cfg.Name}
	hosts := m.hosts()
	for i := range m.sides {
		v.Ports = append(v.Ports, m.pairRow(&m.sides[i], len(hosts)))
	}
	for _, p := range m.ports {
		if m.isMember(p) {
			v.Ports = append(v.Ports, step.PortRow{Port: p.Port, Use: "guest", State: m.stateWord(p), Admin: p.AdminUp, Carrier: p.Carrier,
				ClosedBy: closedBy(p), Hosts: m.guestsOn(p.Port), Why: "member of " + string(m.guestBridge())})
		}
	}
	active := m.pair.Active()
	reached := active != model.RoleUnknown && m.side(active).up
	for _, h := range hosts {
		if h.own {
			v.Hosts = append(v.Hosts, step.HostRow{Addr: h.addr, MAC: h.mac.String(), Port: h.port, State: "own", Advertised: reached,
				Learned: "kernel", Why: "address of " + string(h.port)})
		}
	}
	for i := range m.guests {
		g := &m.guests[i]
		v.Hosts = append(v.Hosts, step.HostRow{Addr: g.addr, MAC: g.mac.String(), Port: g.port, State: "guest",
			Advertised: reached && m.port(g.port).Up(), Learned: g.learned, AgeMs: (now.Mono - g.seen).Milliseconds(), Why: "behind " + string(g.port)})
	}
	return v
}

func (m *Machine) pairRow(s *side, hosts int) step.PortRow {
	p := m.port(s.port)
	active := m.pair.Active() == s.role
	row := step.PortRow{Port: s.port, Use: s.role.String(), State: m.stateWord(p), Admin: p.AdminUp, Carrier: p.Carrier, Active: active,
		ClosedBy: closedBy(p), Role: s.role.String(), Why: m.whyPort(s, p)}
	if active {
		row.Hosts = hosts
	}
	if err := m.fault(s, active); err != "" {
		row.Why += "; " + err
	}
	return row
}

// fault is the error of the newest want that the port is waiting for.
func (m *Machine) fault(s *side, active bool) string {
	if active {
		if err := m.trouble[m.selector()]; err != "" {
			return err
		}
	}
	if err := m.trouble[step.BridgePort{Port: s.port}.Key()]; err != "" {
		return err
	}
	return m.trouble[step.Listen{Port: s.port}.Key()]
}

func (m *Machine) whyPort(s *side, p step.PortState) string {
	switch {
	case !m.known:
		return "the kernel's state is not known yet"
	case !m.device.there:
		return m.whyNoDevice(m.port(m.cfg.Device))
	case !s.up:
		return m.whyDown(p)
	case m.pair.Target() == s.role:
		return "taking over: " + m.pair.Why()
	case m.pair.Active() == s.role && s.shut:
		return m.pair.Why() + "; its leaf said that it closes the port"
	case m.pair.Active() == s.role && s.silent:
		return m.pair.Why() + "; its leaf does not answer"
	case m.pair.Active() == s.role && m.mute(s):
		return m.pair.Why() + "; nothing comes back from beyond its leaf"
	case m.pair.Active() == s.role:
		return m.pair.Why()
	case s.shut:
		return "standby, its leaf said that it closes the port"
	case s.ready && m.mute(s):
		return "standby, its leaf answers and forwards nothing"
	case s.ready:
		return "standby, its leaf answers"
	}
	return "standby, its leaf does not answer"
}

func (m *Machine) stateWord(p step.PortState) string {
	switch {
	case !p.Present:
		return "missing"
	case p.Up():
		return "up"
	case !p.AdminUp || p.ProtoDown:
		return "closed"
	}
	return "down"
}

func closedBy(p step.PortState) string {
	switch {
	case !p.Present || p.AdminUp && !p.ProtoDown:
		return ""
	case p.Ours:
		return "peerless"
	}
	return "operator"
}
