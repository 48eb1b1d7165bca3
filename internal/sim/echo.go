package sim

import (
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// echo carries a question through a leaf. A server's is for what is beyond: it goes up through the tables of the leaf and the gateway, and
// its answer down again by whichever leaf the gateway uses then. It is heard on the link that it comes by.
func (n *node) echo(e step.SendEcho) {
	w := n.w
	p := n.kernel.port(e.Port)
	if p == nil || p.link == nil || w.lost(p.link, p.end) {
		return
	}
	in := p.peer()
	if in.mac != e.DstMAC {
		return
	}
	if n.role == gatewayRole {
		w.after(p.link.delay, func() { w.through(in, e) })
		return
	}
	w.after(p.link.delay, func() {
		up := w.walk(in.node, in.name, e.To)
		if !up.delivered || up.end == nil || w.gone {
			return
		}
		w.after(2*p.link.delay+between(w.rng, 20*time.Microsecond, 200*time.Microsecond), func() {
			down := w.walk(up.end, "", e.From)
			if to := down.in; to != nil && !w.lost(to.link, 1-to.end) {
				to.node.hearEcho(to, step.EchoSeen{Port: to.name, From: e.To, To: e.From, Ident: e.Ident, Seq: e.Seq})
			}
		})
	})
}

// through carries a gateway's question on: it comes back by itself, or it is for a host behind the leaf, whose answer takes the way that
// its server uses then.
func (w *World) through(in *port, e step.SendEcho) {
	there := w.walk(in.node, in.name, e.To)
	switch {
	case !there.delivered:
		return
	case there.end != nil:
		w.after(in.link.delay, func() { there.end.hearBack(there.by, e) })
		return
	case w.lost(there.in.link, 1-there.in.end):
		return
	}
	w.after(2*there.in.link.delay+between(w.rng, 20*time.Microsecond, 200*time.Microsecond), func() {
		if back := w.ascend(w.byAddr[e.To], e.From); back.delivered {
			w.after(in.link.delay, func() { back.end.hearBack(back.by, e) })
		}
	})
}

// hearBack is the last link of what comes back to a gateway.
func (n *node) hearBack(by model.Port, e step.SendEcho) {
	if p := n.kernel.port(by); p != nil && !n.w.lost(p.link, 1-p.end) {
		n.hearEcho(p, step.EchoSeen{Port: by, From: e.To, To: e.From, Ident: e.Ident, Seq: e.Seq})
	}
}

// lost draws whether a link loses a frame sent by that end.
func (w *World) lost(l *link, end int) bool {
	return !l.passes(end) || l.loss[end] > 0 && chance(w.rng, l.loss[end])
}

// hearEcho is what the packet socket makes of an answer: an inactive slave's hears it too.
func (n *node) hearEcho(p *port, e step.EchoSeen) {
	d := n.daemon
	if d == nil || !d.running {
		return
	}
	if l, on := d.listens[p.name]; on && l.Echo == e.Ident {
		n.post(fromPackets, e)
	}
}

// setMute has a leaf forward nothing while it answers for itself, or forward again.
func (n *node) setMute(on bool) {
	if n.mute != on && !n.dead {
		n.w.say("%s: forwards nothing: %v", n.name, on)
		n.mute, n.mutedAt = on, n.w.now
		n.w.judge.touchAll()
	}
}
