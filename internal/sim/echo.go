package sim

import (
	"time"

	"peerless/internal/step"
)

// echo carries a server's question to what is beyond its leaf: up through the tables of the leaf and the gateway, and down again by
// whichever leaf the gateway uses then. The answer is heard on the link that it comes by.
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
		n.mute = on
		n.w.judge.touchAll()
	}
}
