package leaf

import (
	"fmt"
	"slices"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf/linkage"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// View is what `peerless show` prints. Ports, groups and sessions come in config order, hosts by address.
func (m *Machine) View(now model.Instant) step.View {
	v := step.View{Role: "leaf", Name: m.cfg.Name,
		Ports: []step.PortRow{}, Hosts: []step.HostRow{}, Linkage: []step.LinkageRow{}, Mapping: []step.MappingRow{},
		Sessions: []step.SessionRow{}}
	for _, u := range m.ups {
		v.Ports = append(v.Ports, u.row(now))
		if m.cfg.Export.Mode == ByBGP {
			v.Sessions = append(v.Sessions, u.sessionRow(now))
		}
		if m.cfg.BFD.Interval > 0 {
			v.Sessions = append(v.Sessions, u.bfd.Row(now.Mono, u.Neighbor.String(), string(u.Port), u.Port))
		}
	}
	if m.cfg.Export.Mode == ByTable {
		v.Sessions = append(v.Sessions, m.engineRow(now))
	}
	for _, d := range m.downs {
		v.Ports = append(v.Ports, m.portRow(now, d))
		v.Mapping = append(v.Mapping, m.mappingRow(d))
		for _, h := range m.hosts.Hosts(d.Port) {
			v.Hosts = append(v.Hosts, m.hostRow(now, d, h))
		}
	}
	slices.SortStableFunc(v.Hosts, func(a, b step.HostRow) int { return a.Addr.Compare(b.Addr) })
	for _, g := range m.groups {
		v.Linkage = append(v.Linkage, m.groupRow(now, g))
	}
	v.Drain = m.drainView(now)
	return v
}

func stateWord(s step.PortState) string {
	switch {
	case !s.Present:
		return "missing"
	case s.Up():
		return "up"
	}
	return "down"
}

func ago(now model.Instant, since time.Duration) string {
	return (now.Mono - since).Round(100 * time.Millisecond).String()
}

func (u *uplink) row(now model.Instant) step.PortRow {
	r := step.PortRow{Port: u.Port, Use: "uplink", State: stateWord(u.state), Admin: u.state.AdminUp, Carrier: u.state.Carrier, Active: u.usable}
	switch {
	case u.usable && u.Soft:
		r.Why = "usable, but the routing session is down (" + u.sessionWhy + "): paths are kept for the graceful-restart time"
	case u.usable && u.bfd.Lost:
		r.Why = "usable, but BFD is down (" + u.bfd.Why + "): the gateway's kernel answers ARP"
	case u.usable && u.Default == linkage.InheritedDefault:
		r.Why = "usable: default route kept from before a restart, not confirmed by the gateway yet"
	case u.usable:
		r.Why = "usable: carrier, default route and gateway " + u.Neighbor.String() + " are there"
	default:
		r.Why = "unusable: " + u.why
	}
	if u.since != 0 {
		r.Why += ", for " + ago(now, u.since)
	}
	r.Why += dampWhy(now, &u.damper, &r)
	return r
}

func (u *uplink) sessionRow(now model.Instant) step.SessionRow {
	r := step.SessionRow{Peer: u.Neighbor.String(), Name: string(u.Port), AS: u.as, Port: u.Port, State: "down", Received: len(u.paths), Why: u.sessionWhy}
	switch {
	case u.session:
		r.State = "up"
	case u.Soft:
		r.State = "stale"
	}
	if u.sessionAt != 0 {
		r.SinceMs = (now.Mono - u.sessionAt).Milliseconds()
	}
	return r
}

func (m *Machine) portRow(now model.Instant, d *downlink) step.PortRow {
	state, _, why := d.condition()
	r := step.PortRow{Port: d.Port, Use: "downlink", State: stateWord(d.state), Admin: d.state.AdminUp, Carrier: d.state.Carrier,
		Active: d.serving, Attachment: d.ID, ServerPort: d.ServerPort, Role: d.Role.String(), Hosts: m.hosts.Count(d.Port), Why: why}
	switch {
	case d.gate.Ours():
		r.State, r.ClosedBy = "closed", "peerless"
	case d.gate.State == linkage.Off || d.state.Present && !d.state.AdminUp && state == claim.Down:
		r.State, r.ClosedBy = "closed", "operator"
	}
	if d.gate.State == linkage.Closing {
		r.Why += " (closing is not verified yet)"
	}
	if d.since != 0 {
		r.Why += ", for " + ago(now, d.since)
	}
	r.Why += dampWhy(now, &d.damper, &r)
	switch {
	case d.damped != "" && d.gate.Ours():
	case d.left != "" && d.gate.Ours():
		r.Why += "; opens after `undrain`"
	case d.trust.hush != "" && d.gate.Ours():
		r.Why += fmt.Sprintf("; opens again after %s", d.trust.gap)
	case d.gate.Ours():
		r.Why += "; " + d.group.opensWhen()
	}
	if d.ignored > 0 {
		r.Why += fmt.Sprintf("; %s of ARP ignored, too many, the last %s ago", plural(d.ignored, "packet"), ago(now, d.flooded))
	}
	if d.refused > 0 {
		r.Why += fmt.Sprintf("; %s refused as hosts", plural(d.refused, "sender"))
	}
	return r
}

// dampWhy fills a row with the penalty of its link, and says until when its return would wait.
func dampWhy(now model.Instant, d *liveness.Damper, r *step.PortRow) string {
	if r.Penalty = int(d.Penalty(now.Mono)); r.Penalty < 1 {
		return ""
	}
	why := fmt.Sprintf("; lost lately: penalty %d", r.Penalty)
	if until, held := d.Held(now.Mono); held {
		r.ReuseMs = (until - now.Mono).Milliseconds()
		why += ", damped for " + (until - now.Mono).Round(100*time.Millisecond).String()
	}
	return why
}

// opensWhen says what a closed group is waiting for.
func (g *group) opensWhen() string {
	switch g.State {
	case linkage.Shutdown:
		return fmt.Sprintf("opens when %s of %d can be used again", plural(max(1, g.MinUplinks), "uplink"), len(g.ups))
	case linkage.Waiting, linkage.Opening:
		return "opens soon: " + g.why
	case linkage.Starting, linkage.Linked, linkage.Local:
	}
	return "opens with its group"
}

func (m *Machine) hostRow(now model.Instant, d *downlink, h neighbor.Host) step.HostRow {
	r := step.HostRow{Addr: h.Addr, Port: h.Port, Leaf: m.cfg.Name, Attachment: d.ID, ServerPort: d.ServerPort, Role: d.Role.String(),
		State: h.State.String(), Learned: string(h.Source), AgeMs: (now.Mono - h.Since).Milliseconds()}
	if !h.MAC.IsZero() {
		r.MAC = h.MAC.String()
	}
	if h.State.Advertised() {
		stamp, ok := m.book.Stamp(h.Addr)
		r.Advertised, r.Stamp = ok, uint64(stamp)
	}
	switch h.State {
	case neighbor.Target:
		r.Why = "not here now; probed in case it comes"
		if d.shelf.there(h.Addr) {
			r.Why = "stands by: what a gateway sends here for it is delivered by this port; not here now"
		}
	case neighbor.Inherited:
		r.Why = "taken over from before a restart; not verified yet"
		if h.Static {
			r.Why = "bound to the port by config"
		}
	case neighbor.Local:
		r.Why = "it spoke ARP on this port " + ago(now, h.Heard) + " ago"
		if h.Missed > 0 {
			r.Why += ", " + plural(h.Missed, "probe") + " unanswered since"
		}
	case neighbor.Suspect:
		r.Why = "another leaf has a newer claim: being probed"
	case neighbor.Draining:
		r.Why = "withdrawn; the route stays until the gateway has moved its traffic"
	case neighbor.Absent:
	}
	return r
}

// groupRow shows a drain in place of a group that is open as far as its uplinks are concerned.
func (m *Machine) groupRow(now model.Instant, g *group) step.LinkageRow {
	r := g.row(now)
	if m.drain.On() && g.Forwards() {
		r.State, r.Why = m.drain.State.String(), "ordered "+ago(now, m.drain.Since)+" ago; "+r.Why
	}
	return r
}

func (g *group) row(now model.Instant) step.LinkageRow {
	r := step.LinkageRow{Group: g.Name, State: g.State.String(), Uplinks: slices.Clone(g.Group.Uplinks), MinUplinks: max(1, g.MinUplinks),
		Downlinks: slices.Clone(g.Group.Downlinks), ClosedByUs: []model.Port{}, OperatorOff: []model.Port{}, Why: g.why}
	r.UplinksUp, _, _ = g.count()
	for _, p := range g.downs {
		switch {
		case p.gate.Ours():
			r.ClosedByUs = append(r.ClosedByUs, p.Port)
		case p.gate.State == linkage.Off:
			r.OperatorOff = append(r.OperatorOff, p.Port)
		}
	}
	if g.since != 0 {
		r.Why += ", for " + ago(now, g.since)
	}
	if g.State == linkage.Shutdown {
		r.Why += "; " + g.opensWhen()
	}
	return r
}

func (m *Machine) mappingRow(d *downlink) step.MappingRow {
	said := m.book.Said(d.Port)
	r := step.MappingRow{Leaf: m.cfg.Name, LeafPort: string(d.Port), Attachment: d.ID, ServerPort: d.ServerPort, Role: d.Role.String(),
		Uplink: "down", Downlink: said.State.String(), Hosts: nil, Why: said.Reason.String()}
	for _, u := range m.ups {
		if u.usable && (d.group == nil || slices.Contains(d.group.ups, u)) {
			r.Uplink = "up"
		}
	}
	for _, h := range m.hosts.Hosts(d.Port) {
		if h.State.Advertised() {
			r.Hosts = append(r.Hosts, h.Addr)
		}
	}
	r.Active = len(r.Hosts) > 0
	return r
}
