package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// broken is what stays broken in the liveness phase: the rest is the core.
type broken struct {
	links []*link
	nodes []*node
}

// drawBroken leaves little things broken, or nothing.
func (w *World) drawBroken(r *rand.Rand) broken {
	var b broken
	if chance(r, 50) {
		return b
	}
	for range 1 + r.IntN(2) {
		switch r.IntN(3) {
		case 0:
			b.nodes = append(b.nodes, pick(r, w.leaves...))
		default:
			b.links = append(b.links, pick(r, w.links...))
		}
	}
	return b
}

// heal mends everything but what stays broken: cables, power, daemons, operators, drivers, clocks' drift.
func (w *World) heal(b broken) {
	w.say("HEAL all but %s", b)
	if w.cfg.feedCut != w.feedOff {
		w.setFeed(w.feedOff)
	}
	w.gone = false
	for _, l := range w.links {
		l.late = 0
		l.change(func() {
			l.up, l.drop, l.loss = !slices.Contains(b.links, l), [2]bool{}, [2]int{}
		})
	}
	for _, n := range w.nodes {
		n.trouble, n.drift = trouble{until: min(n.trouble.until, w.now)}, 0 // what failed is tried again after it
		n.setMute(false)
		if slices.Contains(b.nodes, n) {
			n.powerOff()
			continue
		}
		n.powerOn(0)
		if n.daemon != nil {
			n.daemon.dieAfter = 0
			n.daemon.thaw()
			n.daemon.start()
		}
		if n.role == leafRole {
			n.insist()
		}
		for _, p := range n.kernel.ports {
			if p.link != nil && !p.open() && !n.kernel.ours[p.name] {
				n.operate(p, true)
			}
			p.operator = false
		}
	}
	for _, h := range w.hosts {
		h.revive()
	}
	for _, s := range w.sessions {
		s.slow = 0
	}
}

func (b broken) String() string {
	var out []string
	for _, l := range b.links {
		out = append(out, l.name)
	}
	for _, n := range b.nodes {
		out = append(out, n.name)
	}
	if out == nil {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

// bound is how long healing may take: the longest time that any law grants, and the pauses of effects that failed before.
func (w *World) bound() time.Duration {
	lf := w.leaves[0].leaf
	return w.cfg.grace + w.cfg.hold + lf.OpenDelayMax + 8*lf.HostProbe.Interval + lf.Damping.Max + lf.DrainMax + 20*time.Second + w.cfg.habits.hushed() + w.heldBack()
}

// heldBack is for how long a gateway may still keep the default route from a leaf that forwards again: twice as long each time.
func (w *World) heldBack() (longest time.Duration) {
	for _, g := range w.gateways {
		for _, n := range g.daemon.memory.holds {
			longest = max(longest, min(time.Second<<min(n, 7), 2*time.Minute))
		}
	}
	return longest
}

// await lets time pass until everything flows and stays so; false if that takes longer than the bound.
func (w *World) await(what string) bool {
	deadline := w.now + w.bound()
	good := 0
	for w.failure == nil {
		missing := w.missing(1)
		if len(missing) == 0 {
			if good++; good > 5 {
				w.say("all flows (%s)", what)
				return true
			}
		} else {
			good = 0
		}
		if w.now >= deadline {
			w.report(what)
			return false
		}
		w.runUntil(w.now + 100*time.Millisecond)
	}
	return false
}

// open reports whether a leaf can forward for servers, by the truth of links and power: what its linkage ought to find out.
func (w *World) canForward(l *node) bool {
	if l.dead || l.mute {
		return false
	}
	n := 0
	for _, p := range l.uplinks() {
		if p.link.works() {
			n++
		}
	}
	return n >= max(1, l.leaf.Groups[0].MinUplinks)
}

// homes are the open leaves that a server can use.
func (w *World) homes(n *node) []*node {
	var out []*node
	if n.dead {
		return nil
	}
	for _, p := range n.server.links {
		lf := p.peer().node
		switch {
		case p.link.works() && w.canForward(lf):
			out = append(out, lf)
		case p.link.up && n.server.lured(lf) && p == n.server.links[0]:
			return nil
		}
	}
	return out
}

// lured reports whether a server that goes by the carrier alone may be drawn to a leaf that opens without a gateway: what local-only costs.
func (s *server) lured(l *node) bool { return !s.managed() && l.leaf.LocalOnly > 0 }

// joins reports whether a gateway can reach a leaf, itself or by the other gateway.
func (w *World) joins(g, l *node) bool {
	if !g.dead && direct(g, l) {
		return true
	}
	if g.gw.Peer == nil {
		return false
	}
	p := g.kernel.port(g.gw.Peer.Port)
	o := p.peer().node
	return p.link.works() && !o.dead && direct(o, l)
}

// missing lists flows that have a path and do not flow, so many at most.
func (w *World) missing(most int) []string {
	var out []string
	add := func(format string, args ...any) bool {
		out = append(out, fmt.Sprintf(format, args...))
		return len(out) >= most
	}
	for i, h := range w.hosts {
		homes := w.homes(h.at)
		if len(homes) == 0 || h.dead {
			continue
		}
		for _, g := range w.gateways {
			if g.dead || slices.ContainsFunc(homes, func(l *node) bool { return !w.joins(g, l) }) {
				continue
			}
			if p := w.walk(g, "", h.addr); !p.delivered && add("%s->%s: %s", g.name, h.addr, p.why) {
				return out
			}
		}
		if p := w.outward(h); !p.delivered && add("%s->outside: %s", h.addr, p.why) {
			return out
		}
		o := w.hosts[(i*7+1)%len(w.hosts)]
		if o == h || o.dead || o.at == h.at || !w.joined(homes, w.homes(o.at)) {
			continue
		}
		if p := w.ascend(h, o.addr); !p.delivered && add("%s->%s: %s", h.addr, o.addr, p.why) {
			return out
		}
	}
	return append(out, w.shut(most-len(out))...)
}

// joined reports whether every one of the leaves reaches every other by each of its living gateways.
func (w *World) joined(a, b []*node) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	for _, x := range a {
		for _, p := range x.uplinks() {
			g := p.peer().node
			if !p.link.works() {
				continue
			}
			for _, y := range b {
				if x != y && !w.joins(g, y) {
					return false
				}
			}
		}
	}
	return true
}

// shut lists downlinks that are closed although their leaf can forward and nobody closed them but it.
func (w *World) shut(most int) []string {
	var out []string
	for _, l := range w.leaves {
		if !w.canForward(l) || l.dead {
			continue
		}
		for _, d := range l.leaf.Downlinks {
			if p := l.kernel.port(d.Port); !p.open() && len(out) < most {
				out = append(out, fmt.Sprintf("port %s is closed", p.name))
			}
		}
	}
	return out
}

// report says what does not flow, and what is still pending and why.
func (w *World) report(what string) {
	var b strings.Builder
	missing := w.missing(8)
	name := "reach-after-heal"
	if strings.HasPrefix(missing[0], "port ") {
		name = "opens-in-the-end"
	}
	fmt.Fprintf(&b, "%s: after %s these do not flow: %s", what, w.bound(), strings.Join(missing, "; "))
	for _, n := range w.nodes {
		if n.daemon == nil || !n.daemon.running {
			continue
		}
		var pending []string
		for _, p := range n.daemon.turn.Pending() {
			pending = append(pending, p.String())
		}
		slices.Sort(pending)
		for _, p := range n.daemon.turn.View(n.instant()).Ports {
			if n.role == leafRole && !p.Active && p.Use != "uplink" {
				fmt.Fprintf(&b, "\n  %s %s is %s: %s", n.name, p.Port, p.State, p.Why)
			}
		}
		if len(pending) > 0 {
			fmt.Fprintf(&b, "\n  %s waits for: %s", n.name, strings.Join(pending[:min(6, len(pending))], "; "))
		}
	}
	w.fail(name, "%s", b.String())
}
