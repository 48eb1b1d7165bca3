package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"peerless/internal/step"
)

// leafDrained: whoever has another leaf leaves this one without a loss, nobody is cut off, and everybody may come back.
func (w *World) leafDrained(r *rand.Rand) {
	l := pick(r, w.leaves...)
	c := w.watchAll("drain-loses-nothing")
	for _, x := range c.watched {
		s := x.host.at.server
		x.lossless = s.managed() && w.gentle(s)
		switch behind := x.at == l; {
		case behind && w.elsewhere(s, l):
			x.most = 1
		case behind: // told in the config or not: who does not ask is cut off when his time is over
			x.lossless = w.single(l, s)
		default:
			x.lossless = true
		}
	}
	w.injected++
	w.say("DAY %s is drained", l.name)
	l.order(step.OrderDrain, false)
	w.runUntil(w.now + l.leaf.DrainMax + w.recovery())
	if !w.allReached(c) {
		return
	}
	w.emptied(l)
	for _, x := range c.watched {
		s := x.host.at.server
		x.moves, x.most = 0, 1
		x.lossless = x.lossless && (s.managed() || x.at != l && s.links[0].peer().node != l)
	}
	l.order(step.OrderUndrain, false)
	w.runUntil(w.now + 8*time.Second)
	w.allReached(c)
}

// single reports whether the leaf's config says that a server has no other link.
func (w *World) single(l *node, s *server) bool {
	for _, d := range l.leaf.Downlinks {
		if l.kernel.port(d.Port).peer().node == s.node {
			return d.Single
		}
	}
	return false
}

// emptied: of a leaf that was drained only those ports are open whose servers have no other way.
func (w *World) emptied(l *node) {
	for _, d := range l.leaf.Downlinks {
		if d.Single {
			return // it may have been refused
		}
	}
	for _, d := range l.leaf.Downlinks {
		p := l.kernel.port(d.Port)
		if s := p.peer().node.server; p.open() && (w.elsewhere(s, l) || !s.managed()) {
			w.fail("drain-loses-nothing", "%s is drained, and %s is open", l.name, d.Port)
		}
	}
}

// flapEvery leaves a quick server the time to return in between.
const flapEvery = time.Second

// linkFlaps: a server is not thrown to and fro, and its link is used again once it has been quiet.
func (w *World) linkFlaps(r *rand.Rand) {
	s, used, _ := w.dual(r)
	if s == nil || s.node.kernel.port(used.name) == nil {
		return
	}
	l := used.peer().node
	if l.leaf.Damping.HalfLife == 0 {
		return
	}
	c := w.watchAll("damping-delays-only-returns")
	most := 1000
	if s.managed() && w.feeds(l) && w.hearOfEachOther(s) && l.leaf.Damping.HalfLife >= flapEvery && !w.anyMoved() { // else it is forgiven before it is held, or not everybody is known to be elsewhere
		most = 2*flapsMin + 3
	}
	c.except(s.node, most, false)
	w.injected++
	w.say("DAY the link %s flaps", used.link.name)
	for range 2 * flapsMin {
		used.link.change(func() { used.link.up = false })
		w.runUntil(w.now + flapEvery/4)
		used.link.change(func() { used.link.up = true })
		w.runUntil(w.now + 3*flapEvery/4)
	}
	w.runUntil(w.now + l.leaf.Damping.Max + w.recovery())
	if w.allReached(c) && w.canForward(l) && !used.peer().open() {
		w.fail("damping-delays-only-returns", "%s has been steady for long, and is closed", used.peer().name)
	}
}

// anyMoved reports whether a guest has ever changed its server.
func (w *World) anyMoved() bool {
	return slices.ContainsFunc(w.hosts, func(h *host) bool { return h.movedAt > 0 })
}

// gatewayGone: where local-only is on, a leaf serves its own after the time, and is a leaf as any other when the gateway is back.
func (w *World) gatewayGone(*rand.Rand) {
	w.injected++
	w.say("DAY the gateways are gone for a while")
	for _, g := range w.gateways {
		g.powerOff()
	}
	pause := w.leaves[0].leaf.LocalOnly
	w.runUntil(w.now + pause + w.recovery() + 2*time.Second)
	if w.failure != nil {
		return
	}
	if pause > 0 {
		w.serveAlone()
	}
	for _, g := range w.gateways {
		g.powerOn(200 * time.Millisecond)
	}
	w.await("the gateways are back")
}

// serveAlone: every downlink is open, and whoever is behind one leaf reaches the others there.
func (w *World) serveAlone() {
	at := map[*node]*host{}
	for _, l := range w.leaves {
		for _, d := range l.leaf.Downlinks {
			if p := l.kernel.port(d.Port); !p.open() {
				w.fail("alone-serves-its-own", "%s has been without a gateway for long, and %s is closed", l.name, d.Port)
			}
		}
	}
	for _, h := range w.hosts {
		used, _ := h.at.server.sides()
		if used == nil || h.tap != "" {
			continue // a guest that says nothing is found when it speaks
		}
		l := used.peer().node
		o := at[l]
		at[l] = h
		if o == nil || o.at == h.at {
			continue
		}
		if p := w.ascend(h, o.addr); !p.delivered {
			w.fail("alone-serves-its-own", "%s does not reach %s, and both are behind %s: %s", h.addr, o.addr, l.name, p.why)
		}
	}
}
