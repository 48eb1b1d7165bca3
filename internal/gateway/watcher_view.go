package gateway

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// View is the state as operators see it.
func (w *Watcher) View(now model.Instant) step.View {
	v := step.View{
		Role: "gateway", Name: w.cfg.Name, Ports: []step.PortRow{}, Hosts: []step.HostRow{}, Linkage: []step.LinkageRow{},
		Mapping: []step.MappingRow{}, Sessions: []step.SessionRow{w.engineRow(now)},
	}
	carried := map[*seenLeaf]int{}
	for _, a := range slices.SortedFunc(maps.Keys(w.hosts), netip.Addr.Compare) {
		h := w.hosts[a]
		if len(h.at) > 0 {
			carried[h.at[0]]++
		}
		v.Hosts = append(v.Hosts, w.hostRow(h, now))
	}
	for _, l := range w.leaves {
		v.Ports = append(v.Ports, step.PortRow{Port: l.Port, Use: "leaf", State: stateOf(l.port), Admin: l.port.AdminUp, Carrier: l.port.Carrier,
			Active: l.port.Up(), ClosedBy: closedBy(l.port), Hosts: carried[l], Why: "leaf " + l.Name + ": " + upOr(l.port)})
	}
	for _, k := range w.links {
		for i, role := range []model.Role{model.Primary, model.Backup} {
			v.Mapping = append(v.Mapping, w.mappingRow(k, k.ends[i], role))
		}
	}
	return v
}

func (w *Watcher) mappingRow(k *seenLink, end seenEnd, role model.Role) step.MappingRow {
	l := end.leaf
	r := step.MappingRow{GatewayPort: l.Port, Leaf: l.Name, LeafPort: l.portName(end.index), Attachment: k.ID, ServerPort: w.serverPort(k.ID),
		Role: role.String(), Uplink: "down", Downlink: end.state.String(), Hosts: []netip.Addr{}}
	for _, a := range k.Hosts {
		if h := w.hosts[a]; h != nil && slices.Contains(h.at, l) {
			r.Hosts = append(r.Hosts, a)
		}
	}
	slices.SortFunc(r.Hosts, netip.Addr.Compare)
	r.Active = len(r.Hosts) > 0
	switch {
	case !l.port.Up():
		r.Why = "uplink: " + downWhy(l.port) + "; the downlink is as last seen"
	case r.Active:
		r.Why = "in use"
	case end.state == claim.Down:
		r.Why = "downlink: the leaf withdrew the hosts behind it"
	case end.state == claim.Up:
		r.Why = "was in use before"
	default:
		r.Why = "no host was seen through it yet"
	}
	if l.port.Up() {
		r.Uplink = "up"
	}
	return r
}

func (w *Watcher) hostRow(h *seenHost, now model.Instant) step.HostRow {
	r := step.HostRow{Addr: h.addr, State: "forwarded", Learned: "kernel", AgeMs: (now.Mono - h.since).Milliseconds()}
	k := w.of[h.addr]
	if k != nil {
		r.Attachment, r.ServerPort = k.ID, w.serverPort(k.ID)
	}
	if len(h.routes) > 0 {
		r.Learned = protocol(h.routes[0].Protocol)
	}
	switch {
	case len(h.at) > 0:
		r.Leaf, r.Port = h.at[0].Name, h.at[0].Port
		r.Why = "the kernel's route leads to leaf " + h.at[0].Name
		if len(h.at) > 1 {
			r.Why += " and to leaf " + h.at[1].Name + ": both announce it"
		}
		for i, role := range []model.Role{model.Primary, model.Backup} {
			if k != nil && k.ends[i].leaf == h.at[0] {
				r.Role = role.String()
			}
		}
	case len(h.routes) == 0:
		r.State, r.Why = "unreachable", "no route in the kernel"
	default:
		var hops []string
		for _, hop := range h.routes[0].Hops() {
			hops = append(hops, hop.String())
		}
		r.State, r.Why = "unreachable", "its route leads to no leaf that can be used: "+strings.Join(hops, ", ")
	}
	return r
}

// engineRow is the engine as a routing neighbour: all that it has of the leaves comes by it.
func (w *Watcher) engineRow(now model.Instant) step.SessionRow {
	routed := 0
	// order: a sum has none
	for _, h := range w.hosts {
		if len(h.routes) > 0 {
			routed++
		}
	}
	r := step.SessionRow{Peer: w.cfg.Engine, Name: "kernel main table", State: "up", Received: routed, SinceMs: (now.Mono - w.since).Milliseconds()}
	switch {
	case w.cfg.Engine == "":
		r.Peer, r.SinceMs, r.Why = "kernel", 0, "host routes of others are watched; nobody is asked who puts them there"
	case !w.asked:
		r.State, r.SinceMs, r.Why = "down", 0, "not asked yet"
	case !w.engine.Running:
		r.State, r.Why = "down", w.engine.Detail+"; routes are as it left them"
	default:
		r.Why = "it works; its host routes are watched"
	}
	return r
}
