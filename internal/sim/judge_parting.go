package sim

import (
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// partingMax is within what time of its word to the server a leaf has to close the port: worlds have few hosts.
const partingMax = 10 * time.Millisecond

// A gateway believes what a leaf says by ARP of an attachment that has been announced as up for steadyFor, and for no longer than foretoldFor
// unless the announcement follows.
const (
	steadyFor   = 100 * time.Millisecond
	foretoldFor = time.Second
)

// foretelling is what a leaf has said by ARP of an attachment and not announced yet.
type foretelling struct{ state claim.State }

// attached reports whether what a gateway was told by a leaf says that an attachment serves.
func (j *judge) attached(d *daemon, e *peering, id model.AttachmentID) bool {
	prefix, _ := claim.Prefix(j.w.cfg.attach, id)
	key := ribKey{e.addr, prefix}
	k, ok := d.memory.rib[key]
	a, parsed := claim.ParseAttachment(e.other().owner.leaf.AS, k.path.Large)
	foretold, was := d.memory.foretold[key]
	if was && foretold-k.at >= steadyFor && j.w.now-foretold <= foretoldFor {
		return false
	}
	return ok && parsed && serves(a)
}

// foretells judges a leaf's word to a gateway: it is ahead of its announcement, which follows in the same turn and says the same.
func (j *judge) foretells(d *daemon, e step.SendARP) {
	state, reason, ok := claim.ParseForetold(e.TargetMAC)
	for _, dl := range d.node.leaf.Downlinks {
		p, _ := claim.Prefix(j.w.cfg.attach, dl.ID)
		if !ok || p.Addr() != e.TargetIP {
			continue
		}
		if told, on := d.memory.attached[dl.PortIndex]; on && told == state {
			j.w.fail("foretold-by-arp", "%s says by ARP that %s is %s behind its announcement", d.node.name, e.TargetIP, state)
		}
		word, life := &foretelling{state}, d.life
		d.memory.words[dl.PortIndex] = word
		j.w.after(0, func() {
			if d.life == life && d.running && d.memory.words[dl.PortIndex] == word {
				j.w.fail("foretold-by-arp", "%s says by ARP that %s is %s (%s), and does not announce it", d.node.name, e.TargetIP, state, reason)
			}
		})
		return
	}
	j.w.fail("foretold-by-arp", "%s says %s, which is none of its attachments", d.node.name, e)
}

// asks notes the question of a server whether a leaf is open.
func (j *judge) asks(d *daemon, e step.ARPSeen) {
	if e.Op == step.ARPRequest && e.SenderIP.IsUnspecified() && e.TargetIP == j.w.cfg.gatewayIP {
		d.memory.asked[e.Port] = j.w.now
	}
}

// tells judges a leaf's word that it is about to close a port: it is the decision to close it, and the closing follows.
func (j *judge) tells(d *daemon, e step.SendARP) {
	n, m := d.node, &d.memory
	if _, down := n.downlink(e.Port); !down {
		j.foretells(d, e)
		return
	}
	if n.role != leafRole || e.SenderIP != j.w.cfg.gatewayIP || e.TargetMAC == (model.MAC{}) {
		j.w.fail("tell-then-close", "%s sends %s", n.name, e)
		return
	}
	if _, asked := m.asked[e.Port]; !asked {
		j.w.fail("tell-then-close", "%s tells who is behind %s that it closes, and nobody has asked", n.name, e.Port)
	}
	j.evidence(n, step.Gate{Port: e.Port, Closed: true}, e.Why)
	delete(m.asked, e.Port)
	at, life := j.w.now, d.life
	m.told[e.Port] = at
	j.w.after(partingMax, func() {
		if p := n.kernel.port(e.Port); p != nil && p.open() && m.told[e.Port] == at && d.life == life && d.running && !d.frozen && !m.frozen(j.w.now) {
			j.w.fail("tell-then-close", "%s told who is behind %s that it closes, and has not after %s", n.name, e.Port, partingMax)
		}
	})
}

// partsUntold judges a closing for want of a gateway where a server has asked since its port came up.
func (j *judge) partsUntold(n *node, port model.Port) {
	if at, asked := n.daemon.memory.asked[port]; asked {
		j.w.fail("tell-then-close", "%s closes %s without a word, and its server asked %s ago", n.name, port, j.w.now-at)
	}
}
