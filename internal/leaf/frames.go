package leaf

import (
	"net/netip"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf/linkage"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/model"
	"peerless/internal/step"
)

// floodRest is how long a port must have been quiet for its next flood to be told as a new one.
const floodRest = time.Minute

// onARP answers first, since a server waits, and learns after.
func (m *Machine) onARP(now model.Instant, e step.ARPSeen) {
	if e.Op == step.ARPNak {
		return // only leaves say that, and only to servers
	}
	switch p := m.ports[e.Port].(type) {
	case *uplink:
		m.hearUplink(now, p, e)
		m.answerGateway(p, e)
	case *downlink:
		m.answer(p, e)
		m.answerFor(now, p, e)
		m.hearLink(now, p, e)
		m.learn(now, p, e)
	}
}

// answer speaks for hosts behind other ports and behind the other leaf. It never does for the gateway address (the kernel
// does), for a prober that has no address yet or asks for its own (conflict detection would see a duplicate), for a host
// behind the asker's own port, or while this leaf cannot forward.
func (m *Machine) answer(d *downlink, e step.ARPSeen) {
	if !d.serving || e.Op != step.ARPRequest || !e.SenderIP.Is4() || e.SenderIP.IsUnspecified() || e.SenderIP == e.TargetIP {
		return
	}
	n, ok := m.admit.Net(e.TargetIP)
	if !ok || m.admit.Address(e.TargetIP) != neighbor.Admitted || m.isGateway(e.SenderIP) || m.hosts.Known(d.Port, e.TargetIP) && !m.elsewhere(d, e) {
		return
	}
	if m.admit.Own(e.SrcMAC) || m.admit.Own(e.SenderMAC) || e.SenderMAC.IsZero() || e.SenderMAC.IsGroup() {
		return
	}
	dst := e.SrcMAC
	if dst.IsZero() || dst.IsGroup() {
		dst = e.SenderMAC
	}
	m.emit(step.SendARP{Port: d.Port, Op: step.ARPReply, DstMAC: dst, SenderMAC: n.MAC, SenderIP: e.TargetIP,
		TargetMAC: e.SenderMAC, TargetIP: e.SenderIP, Why: "hosts of one subnet reach each other through the leaf"})
}

// answerFor speaks for the gateway address while the kernel is told not to: for whoever needs it to send. The question of a
// server that has no address there asks only whether this leaf is open, and stays without an answer while it is drained.
func (m *Machine) answerFor(now model.Instant, d *downlink, e step.ARPSeen) {
	if e.Op != step.ARPRequest || !m.isGateway(e.TargetIP) {
		return
	}
	if e.SenderIP.IsUnspecified() {
		d.asker = asker{e.SenderMAC, e.TargetIP}
		if inUse, said := claim.ParseUse(e.TargetMAC); said {
			d.used(now, inUse)
		}
		return
	}
	if !d.serving && !d.trust.silent {
		return
	}
	n, ok := m.admit.Net(e.TargetIP)
	alone := d.group != nil && d.group.State == linkage.Local
	if !d.drained && !alone || !ok || m.isGateway(e.SenderIP) || m.admit.Own(e.SrcMAC) || e.SrcMAC.IsZero() || e.SrcMAC.IsGroup() {
		return
	}
	m.emit(step.SendARP{Port: d.Port, Op: step.ARPReply, DstMAC: e.SrcMAC, SenderMAC: n.MAC, SenderIP: e.TargetIP,
		TargetMAC: e.SenderMAC, TargetIP: e.SenderIP, Why: "in the kernel's place, which is told not to answer"})
}

// answerGateway tells a gateway that asks whether a host is here: without a routing protocol it can know only by asking.
func (m *Machine) answerGateway(u *uplink, e step.ARPSeen) {
	h, held := m.hosts.Holder(e.TargetIP)
	if e.Op != step.ARPRequest || e.SenderIP != u.Neighbor || !held || !h.State.Advertised() || u.state.MAC.IsZero() ||
		!m.down(h.Port).serving { // a port that has just gone down still has its hosts, for a moment
		return
	}
	m.emit(step.SendARP{Port: u.Port, Op: step.ARPReply, DstMAC: e.SrcMAC, SenderMAC: u.state.MAC, SenderIP: e.TargetIP,
		TargetMAC: e.SenderMAC, TargetIP: e.SenderIP, Why: "the gateway asks, and the host is here"})
}

// elsewhere reports whether the target, remembered on the asker's port, is known to be behind another one now: installed on
// another port of ours, or claimed by another leaf.
func (m *Machine) elsewhere(d *downlink, e step.ARPSeen) bool {
	if h, ok := m.hosts.Holder(e.TargetIP); ok {
		return h.Port != d.Port
	}
	return m.behindAnother(d, e.TargetIP)
}

// learn takes the sender of an ARP packet for a host of this port, if it can be one. An announcement and an answer prove that
// the host sends by this port. A question does not: a server whose links are in a bridge asks by both, since the kernel floods
// what the bridge itself sends to every port, whatever the port's flood flags. Its sender is asked back, and only the active
// link carries the answer (question-is-no-proof).
func (m *Machine) learn(now model.Instant, d *downlink, e step.ARPSeen) {
	if r := m.admit.Sender(e.SenderIP, e.SenderMAC, e.SrcMAC); r != neighbor.Admitted {
		m.refuse(d, r, e.SenderMAC)
		return
	}
	announced := e.SenderIP == e.TargetIP
	if m.guarded(d, e.SenderIP, e.SenderMAC) {
		m.change(now, m.hosts.Hint(now.Mono, e.Port, e.SenderIP, e.SenderMAC, neighbor.FromData), 0)
		return
	}
	if announced && d.asks() {
		m.vouched(now, d)
	}
	if d.trust.doubted {
		if e.Op == step.ARPRequest {
			m.change(now, m.hosts.Hint(now.Mono, e.Port, e.SenderIP, e.SenderMAC, neighbor.FromARP), 0)
		}
		m.prove(now, d, e.SenderIP)
		return
	}
	if e.Op == step.ARPRequest && !announced {
		m.change(now, m.hosts.Hint(now.Mono, e.Port, e.SenderIP, e.SenderMAC, neighbor.FromARP), 0)
		return
	}
	arrival := d.arrival
	m.change(now, m.hosts.Hear(now.Mono, e.Port, e.SenderIP, e.SenderMAC, announced), 0)
	if d.arrival != arrival { // the first of its server
		d.trust.away = 0
		m.inherit(now, d)
	}
	if h, held := m.hosts.Holder(e.SenderIP); held && h.Port == d.Port && h.State == neighbor.Local {
		d.meet(e.SenderIP)
	}
}

// guarded reports whether a claim is not to be believed as long as another leaf has the address: it has it under another attachment, and
// with another MAC. What a server's own links do, and a guest that moved, is not concerned.
func (m *Machine) guarded(d *downlink, addr netip.Addr, mac model.MAC) bool {
	if !m.cfg.GuardOwners {
		return false
	}
	r := m.heard.Rival(addr)
	if r.Stamp == 0 || r.MAC.IsZero() || r.Attachment == d.ID || r.MAC == mac {
		return false
	}
	if h, held := m.hosts.Holder(addr); held && h.Port == d.Port {
		return false // it was here before
	}
	if !d.told[noteClaimHeld] {
		d.told[noteClaimHeld] = true
		m.noteWarn(noteClaimHeld, d, addr, "host "+addr.String()+" on "+string(d.Port)+" is not believed", "another leaf has it with another MAC; others like it are not told")
	}
	return true
}

// onFlooded counts what was not listened to, and tells of it now and then.
func (m *Machine) onFlooded(now model.Instant, e step.Flooded) {
	d := m.down(e.Port)
	if d == nil {
		return
	}
	d.ignored += e.Frames
	if d.flooded == 0 || now.Mono-d.flooded > floodRest {
		m.emit(step.Note{Warn: true, What: noteFlood, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort,
			Text: "port " + string(d.Port) + " sends more ARP than is listened to", Why: plural(e.Frames, "packet") + " ignored so far; the hosts behind it are kept"})
	}
	d.flooded = now.Mono
}

// refuse counts what cannot be a host, and tells an operator once while the port serves where he would act on it.
func (m *Machine) refuse(d *downlink, r neighbor.Refusal, mac model.MAC) {
	var what, text string
	switch r {
	case neighbor.Admitted, neighbor.NoSender:
		return // an RFC 5227 probe is good manners
	case neighbor.OutsideSubnet:
		d.refused++
		return
	case neighbor.ClaimsGateway:
		what, text = noteGatewayClaimed, mac.String()+" on "+string(d.Port)+" uses the gateway's address"
	case neighbor.OwnMAC:
		what, text = noteLoop, "the virtual MAC of the leaves comes in on "+string(d.Port)
	case neighbor.BadMAC:
		what, text = noteMalformed, "a sender without a unicast MAC on "+string(d.Port)
	}
	d.refused++
	if d.told[what] {
		return
	}
	d.told[what] = true
	m.emit(step.Note{Warn: true, What: what, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Text: text, Why: r.String()})
}

// onRARP probes what is known of a MAC that announced itself without an address.
func (m *Machine) onRARP(now model.Instant, e step.RARPSeen) {
	d := m.down(e.Port)
	if d == nil || !d.serving || e.MAC.IsZero() || e.MAC.IsGroup() || m.admit.Own(e.MAC) {
		return
	}
	m.change(now, m.hosts.RARP(now.Mono, e.Port, e.MAC), 0)
}

// onData asks who sent a packet from an address that is not known here. It installs nothing: a source address is no proof.
func (m *Machine) onData(now model.Instant, e step.DataSeen) {
	d := m.down(e.Port)
	if d == nil || !d.serving {
		return
	}
	if r := m.admit.Sender(e.Addr, e.MAC, e.MAC); r != neighbor.Admitted {
		m.refuse(d, r, e.MAC)
		return
	}
	m.change(now, m.hosts.Hint(now.Mono, e.Port, e.Addr, e.MAC, neighbor.FromData), 0)
}

// onNeighbor takes the kernel's word: of the gateway on an uplink, as a hint on a downlink. An entry of ours that somebody
// changed is put right.
func (m *Machine) onNeighbor(now model.Instant, n step.NeighborState) {
	switch p := m.ports[n.Port].(type) {
	case *uplink:
		switch {
		case n.Addr != p.Neighbor:
		case p.Up:
			p.Entry(n.Present && n.Resolved, n.Present && n.Failed)
			m.settle(now, 0)
		default:
			p.early = n.Present && n.Resolved
		}
	case *downlink:
		if !p.serving {
			return
		}
		h, held := m.hosts.Holder(n.Addr)
		switch {
		case held && h.Port == n.Port && !h.MAC.IsZero() && (!n.Present || !n.Ours || n.MAC != h.MAC):
			m.want(step.Want{Object: neighborOf(h), Why: "somebody changed it"})
		case p.shelf.has(n.Addr) && !p.shelf.hosts[n.Addr].IsZero() && (!n.Present || n.Ours && n.MAC != p.shelf.hosts[n.Addr]):
			m.want(step.Want{Object: step.Neighbor{Port: n.Port, Addr: n.Addr, MAC: p.shelf.hosts[n.Addr]}, Why: "somebody changed it"})
		case !n.Ours && n.Present && n.Resolved && m.admit.Sender(n.Addr, n.MAC, n.MAC) == neighbor.Admitted:
			m.change(now, m.hosts.Hint(now.Mono, n.Port, n.Addr, n.MAC, neighbor.FromKernel), 0)
		}
	}
}
