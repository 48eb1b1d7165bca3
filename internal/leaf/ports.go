package leaf

import (
	"net/netip"
	"strconv"

	"peerless/internal/claim"
	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
)

// onPort routes the kernel's word on a port.
func (m *Machine) onPort(now model.Instant, s step.PortState) {
	switch p := m.ports[s.Port].(type) {
	case *uplink:
		m.onUplinkPort(now, p, s)
	case *downlink:
		m.onDownlinkPort(now, p, s)
	}
}

// onDownlinkPort takes the kernel's word on a port to a server.
func (m *Machine) onDownlinkPort(now model.Instant, d *downlink, s step.PortState) {
	was := d.state
	if recreated(was, s) && d.serving {
		// Another device of the same name: everything on the old one is gone.
		gone := s
		gone.Carrier = false
		d.state = gone
		m.review(now, d, 0)
	}
	if flapped(was, s) && d.gate.State == linkage.Free {
		d.damper.Lost(now.Mono)
	}
	d.state = s
	if was.Up() && !s.Up() || recreated(was, s) {
		d.renew()
	}
	if !s.Up() || recreated(was, s) {
		d.asker = asker{}
	}
	if !s.Present && (was.Present || !m.seen) {
		m.emit(step.Note{Warn: true, What: notePortMissing, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort,
			Text: "port " + string(d.Port) + " does not exist; waiting for it", Why: "no such device"})
	}
	ev := d.gate.Read(s)
	if ev == linkage.SeenOurs && !m.seen {
		ev = linkage.Inherited
	}
	m.gate(now, d, ev)
	if d.drained && d.left == "" && d.gate.Ours() {
		d.left = "drain: it was closed when the daemon started"
	}
	if !m.seen {
		return
	}
	if s.Present && !was.Present {
		m.setupDownlink(d)
	}
	if d.shut() && d.gate.State == linkage.Free && s.Present && s.AdminUp {
		m.gate(now, d, linkage.Close) // it appeared, or the operator opened it, while it must be closed
	}
	if d.serving && s.Up() && s.MAC != was.MAC && s.MAC != m.virtualMAC() {
		m.setupMAC(d, "somebody changed the port's MAC")
	}
	m.review(now, d, 0)
}

// shut reports whether a port must be closed: the leaf cannot forward, or it is drained.
func (d *downlink) shut() bool {
	g := d.group
	return d.left != "" || d.damped != "" || d.trust.hush != "" || g != nil && !g.Forwards() && g.State != linkage.Starting
}

// whyShut names the evidence, or the order, that closed the port.
func (d *downlink) whyShut() string {
	switch {
	case d.left != "":
		return d.left
	case d.damped != "":
		return d.damped
	case d.trust.hush != "":
		return d.trust.hush
	}
	return d.group.whyClosed()
}

// shutWhy is whyShut for the log of closings, which names the owner too.
func (d *downlink) shutWhy() string {
	if d.left != "" || d.damped != "" || d.trust.hush != "" {
		return d.whyShut()
	}
	return "port linkage: " + d.group.whyClosed()
}

// predicament is why an open port would be wrong.
func (d *downlink) predicament() string {
	switch {
	case d.left != "":
		return "this leaf is drained"
	case d.damped != "":
		return "it flaps"
	case d.trust.hush != "":
		return "no host behind it answered"
	}
	return "this leaf cannot forward"
}

// canServe is the one condition under which a downlink learns, answers and advertises.
func (d *downlink) canServe() bool {
	return d.state.Up() && d.gate.Passes() && !d.trust.silent && (d.group == nil || d.group.Forwards())
}

// condition is what the leaf says of the attachment, and why in an operator's words.
func (d *downlink) condition() (claim.State, claim.Reason, string) {
	g := d.group
	switch {
	case !d.state.Present:
		return claim.Down, claim.ReasonMissing, "no such device"
	case d.gate.State == linkage.Off:
		return claim.Down, claim.ReasonOperator, "closed by the operator"
	case d.gate.Ours() && d.left != "":
		return claim.Closed, claim.ReasonDrain, "closed by us: " + d.left
	case d.gate.Ours() && d.damped != "":
		return claim.Closed, claim.ReasonFlapping, "closed by us: " + d.damped
	case d.opens != "" && g.Forwards() && !d.state.Up():
		return claim.Closed, claim.ReasonFlapping, "being opened after damping"
	case d.gate.Ours() && d.trust.hush != "":
		return claim.Closed, claim.ReasonSilent, "closed by us: " + d.trust.hush
	case d.reopens && g.Forwards():
		return claim.Closed, claim.ReasonDrain, "being opened after a drain"
	case d.gate.Ours() && g.Forwards():
		return claim.Closed, closedReason(g), "closed by us: waits for its turn to open"
	case d.gate.Ours():
		return claim.Closed, closedReason(g), "closed by us: " + g.why
	case g != nil && !g.Forwards():
		return claim.Closed, closedReason(g), "open, but this leaf cannot forward: " + g.why
	case d.state.Ours || d.gate.State == linkage.Freeing && !d.state.Up():
		return claim.Closed, closedReason(g), "being opened"
	case !d.state.AdminUp || d.state.ProtoDown:
		return claim.Down, claim.ReasonOperator, "admin down"
	case !d.state.Carrier:
		return claim.Down, claim.ReasonCarrierLost, "carrier lost"
	case g != nil && g.State == linkage.Local:
		return claim.Closed, closedReason(g), "open without a gateway, for traffic among this leaf's servers"
	case d.trust.silent:
		return claim.Down, claim.ReasonSilent, "carrier, and no host behind it answers any more"
	case d.drained:
		return claim.Closed, claim.ReasonDrain, "being drained: forwards until its hosts have left"
	}
	return claim.Up, claim.ReasonReady, "carrier, open, and this leaf forwards"
}

// closedReason is why the group's ports are, or still are, closed.
func closedReason(g *group) claim.Reason {
	if g == nil || g.reason == claim.ReasonNotReady {
		return claim.ReasonNotReady
	}
	return claim.ReasonLinkage
}

// review compares what a downlink may do with what it does, and draws the consequences. A loss is told upstream before
// anything is cleaned up.
func (m *Machine) review(now model.Instant, d *downlink, cause step.Cause) {
	can := d.canServe()
	state, reason, why := d.condition()
	if why != d.why {
		d.why = why
	}
	switch {
	case d.serving && !can:
		m.stopServing(now, d, m.causeOr(cause), state, reason, why)
	case !d.serving && can && m.damp(now, d):
		state, reason, d.why = d.condition()
		m.tellAttachment(d, state, reason, d.cause)
	case !d.serving && can:
		m.startServing(now, d, cause)
	default:
		m.tellAttachment(d, state, reason, cause)
	}
}

// stopServing: attachment, withdrawals, then deletions. One failure, one cause.
func (m *Machine) stopServing(now model.Instant, d *downlink, cause step.Cause, state claim.State, reason claim.Reason, why string) {
	d.serving, d.since, d.cause = false, now.Mono, cause
	d.asker = asker{}
	clear(d.told)
	m.tellAttachment(d, state, reason, cause)
	n := m.hosts.Count(d.Port)
	if state != claim.Closed { // a closing has its own note
		m.emit(step.Note{Warn: true, What: notePortDown, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Stage: step.StageDetect,
			Hosts: n, Cause: cause, Text: "port " + string(d.Port) + " down", Why: why})
	}
	m.takeOff(now, d, cause, "port "+string(d.Port)+": "+why)
}

// startServing re-applies all that the kernel forgets when a port closes, and wakes what is remembered there.
func (m *Machine) startServing(now model.Instant, d *downlink, cause step.Cause) {
	m.cleanNow(now, d)
	d.serving, d.since, d.reopens, d.opens = true, now.Mono, false, ""
	d.arrival, d.arrived = 0, 0
	d.cause = cause
	m.setupDownlink(d)
	state, reason, why := d.condition()
	d.why = why
	m.tellAttachment(d, state, reason, cause)
	if !m.starting {
		m.emit(step.Note{What: notePortUp, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Cause: cause,
			Text: "port " + string(d.Port) + " up", Why: why})
	}
	m.change(now, m.hosts.Start(now.Mono, d.Port), cause)
	m.restock(now, d)
	m.startWatch(now, d)
}

// tellAttachment says an attachment's state upstream, if it changed. It is said as long as the daemon lives.
func (m *Machine) tellAttachment(d *downlink, state claim.State, reason claim.Reason, cause step.Cause) {
	wasUp := m.book.Said(d.Port).State == claim.Up
	adv, changed := m.book.Attachment(d.Attachment, state, reason)
	if !changed || m.cfg.Export.Mode != ByBGP {
		return
	}
	if wasUp {
		m.foretell(adv.Prefix.Addr(), state, reason)
	}
	m.want(step.Want{Object: adv, Urgent: state != claim.Up, Cause: cause,
		Why: "attachment " + d.ID.String() + " " + state.String() + ": " + reason.String()})
}

// foretell says to the gateways by ARP what the announcement is about to say: a frame is with them before BGP has begun
// (foretold-by-arp).
func (m *Machine) foretell(attachment netip.Addr, state claim.State, reason claim.Reason) {
	if state == claim.Up || reason == claim.ReasonDrain {
		return
	}
	for _, u := range m.ups {
		if !u.Up || !u.session || !u.heeds || !u.own.IsValid() {
			continue
		}
		m.emit(step.SendARP{Port: u.Port, Op: step.ARPNak, DstMAC: model.Broadcast, SenderMAC: u.state.MAC, SenderIP: u.own.Addr(),
			TargetMAC: claim.Foretold(state, reason), TargetIP: attachment, Urgent: true, Why: "ahead of its announcement"})
	}
}

// plural counts in words: "1 host", "2 hosts".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
