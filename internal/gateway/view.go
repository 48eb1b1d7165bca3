package gateway

import (
	"fmt"
	"time"

	"peerless/internal/gateway/mapping"
	"peerless/internal/model"
	"peerless/internal/step"
)

// View is the state as operators see it.
func (m *Machine) View(now model.Instant) step.View {
	v := step.View{
		Role: "gateway", Name: m.cfg.Name, Ports: []step.PortRow{}, Hosts: []step.HostRow{}, Linkage: []step.LinkageRow{},
		Sessions: []step.SessionRow{},
	}
	carried := make([]int, len(m.leaves))
	for _, h := range m.table.Hosts() {
		v.Hosts = append(v.Hosts, m.hostRow(h, now))
		if at := m.table.Forward(h); at >= 0 {
			carried[at]++
		}
	}
	for i, l := range m.leaves {
		v.Ports = append(v.Ports, m.portRow(l, carried[i]))
		if !m.cfg.NoBGP {
			v.Sessions = append(v.Sessions, m.sessionRow(l, now))
		}
	}
	v.Sessions = append(v.Sessions, m.bfdRows(now)...)
	v.Sessions = append(v.Sessions, m.throughRows(now)...)
	v.Sessions = append(v.Sessions, m.probeRows(now)...)
	if m.cfg.Peer != nil {
		v.Ports = append(v.Ports, step.PortRow{
			Port: m.cfg.Peer.Port, Use: "peer", State: stateOf(m.peer), Admin: m.peer.AdminUp, Carrier: m.peer.Carrier,
			Active: m.peer.Up(), ClosedBy: closedBy(m.peer), Why: "to the other gateway: last resort for hosts whose leaf cannot be reached from here",
		})
	}
	v.Mapping = m.table.Rows(mapping.Names{
		Uplink: func(id mapping.LeafID) mapping.Uplink {
			l := m.leaves[id]
			return mapping.Uplink{Leaf: l.Name, Port: l.Port, Up: l.phase == serving, Why: l.why}
		},
		LeafPort: m.leafPortName, ServerPort: m.serverPort,
	})
	return v
}

func (m *Machine) portRow(l *leaf, carried int) step.PortRow {
	row := step.PortRow{
		Port: l.Port, Use: "leaf", State: stateOf(l.port), Admin: l.port.AdminUp, Carrier: l.port.Carrier, Active: l.phase == serving,
		ClosedBy: closedBy(l.port), Hosts: carried, Why: "leaf " + l.Name + ": ",
	}
	switch {
	case l.phase == serving:
		row.Why += "in use"
		if l.cross.silent {
			row.Why += "; it forwards nothing"
		}
	case l.phase == lost && l.port.Up():
		row.Why += "not in use: " + l.why
	default:
		row.Why += l.phase.String() + ": " + l.why
	}
	return row
}

func stateOf(st step.PortState) string {
	switch {
	case !st.Present:
		return "missing"
	case !st.AdminUp || st.ProtoDown:
		return "closed"
	case !st.Carrier:
		return "down"
	}
	return "up"
}

func closedBy(st step.PortState) string {
	if st.Present && (!st.AdminUp || st.ProtoDown) {
		return "operator"
	}
	return ""
}

func (m *Machine) sessionRow(l *leaf, now model.Instant) step.SessionRow {
	row := step.SessionRow{
		Peer: l.Address.String(), Name: l.Name, AS: l.asn, Port: l.Port, State: "down", Received: m.table.Claims(l.id),
		SinceMs: (now.Mono - l.since).Milliseconds(), Why: l.reason,
	}
	switch {
	case l.session && l.endOfRIB:
		row.State, row.Why = "up", "it has said all it has"
	case l.session:
		row.State, row.Why = "up", "it has not said yet that this is all"
	case l.phase == serving && row.Received > 0:
		row.State, row.Why = "stale", l.reason+"; its routes are kept for a while since the link is up"
	}
	if l.dropped > 0 {
		row.Why += fmt.Sprintf("; %d paths refused", l.dropped)
	}
	return row
}

func (m *Machine) hostRow(h *mapping.Host, now model.Instant) step.HostRow {
	row := step.HostRow{Addr: h.Addr, State: h.State.String(), Learned: "bgp", AgeMs: (now.Mono - time.Duration(h.Since)).Milliseconds()}
	at := m.table.Forward(h)
	if at >= 0 {
		row.Leaf, row.Port = m.leaves[at].Name, m.leaves[at].Port
	}
	if b := h.Basis; b != nil {
		row.Stamp, row.Role = uint64(b.Said.Stamp), b.Said.Role.String()
		if b.Link.ID != 0 {
			row.Attachment, row.ServerPort = b.Link.ID, m.serverPort(b.Link.ID)
			if at >= 0 {
				if k := m.table.Link(at, b.Link.ID); k != nil {
					row.Role = k.Said.Role.String()
				}
			}
		}
		if b.Static {
			row.State, row.Learned = "static", "static"
		}
	}
	row.Why = m.hostWhy(h, at)
	switch {
	case at == mapping.None:
		row.State = "unreachable"
	case at == mapping.Detour:
		row.State, row.Port = "detour", m.cfg.Peer.Port
	case h.Basis == nil && h.Adopted:
		row.State, row.Learned = "adopted", "kernel"
	}
	return row
}

func (m *Machine) hostWhy(h *mapping.Host, at mapping.LeafID) string {
	backup := "; no other leaf stands by"
	if h.Backup != mapping.None && h.Backup != at {
		backup = "; leaf " + m.leafName(h.Backup) + " stands by"
	}
	switch b := h.Basis; {
	case b == nil && h.Adopted:
		return "found in the kernel at start, waits for its leaf to confirm it" + backup
	case b == nil:
		return "no leaf claims it"
	case at == mapping.Detour:
		return "leaf " + m.leafName(b.Link.Leaf) + " cannot be used for it from here (" + m.leaves[b.Link.Leaf].why + "): the other gateway is asked" + backup
	case at == mapping.None && !m.table.Serving(b.Link.Leaf):
		return "leaf " + m.leafName(b.Link.Leaf) + " cannot be used: " + m.leaves[b.Link.Leaf].why + backup
	case at == mapping.None:
		return "leaf " + m.leafName(b.Link.Leaf) + " lost its server port (" + b.Link.Said.Reason.String() + ")" + backup
	case !m.table.Serving(b.Link.Leaf):
		return "leaf " + m.leafName(b.Link.Leaf) + " cannot be used (" + m.leaves[b.Link.Leaf].why + "): leaf " + m.leafName(at) + " serves as backup"
	case h.State == mapping.Tentative:
		return "server port failed on leaf " + m.leafName(b.Link.Leaf) + " (" + b.Link.Said.Reason.String() + "): leaf " + m.leafName(at) + " has it up but does not claim the host yet"
	case h.State == mapping.Sheltered:
		return "leaf " + m.leafName(b.Link.Leaf) + " withdrew it: leaf " + m.leafName(at) + " serves as backup"
	case b.Link.Leaf != at: // not settled yet
		return "leaf " + m.leafName(at) + " serves in place of leaf " + m.leafName(b.Link.Leaf)
	case b.Static:
		return "static, through leaf " + m.leafName(at) + backup
	}
	return "leaf " + m.leafName(at) + " has the newest claim" + backup
}
