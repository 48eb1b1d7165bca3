package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"peerless/internal/leaf"
	"peerless/internal/liveness"
	"peerless/internal/step"
)

// habits are what operators may turn on or leave off, the same on all nodes of a world. They are drawn apart from the topology.
type habits struct {
	damping   liveness.Damping
	localOnly time.Duration
	drainMax  time.Duration
	told      bool          // the config says which servers have no other link
	links     time.Duration // between two questions whether a downlink passes frames; zero: none
	hush      bool          // a downlink that passes nothing is closed
	through   time.Duration // between two questions of servers to what is beyond their leaf; zero: none
	guard     bool          // each leaf has one
	crossing  time.Duration // between two questions of gateways through their leaves; zero: none
	shelf     int           // from how many hosts on a leaf takes a server's with one rule, and a gateway gives them up with one
	mgmt      bool          // leaves and gateways have a default route of the operator's
}

// usualHabits are the defaults of a config file.
func usualHabits() habits {
	return habits{shelf: liveness.Crowd, links: 100 * time.Millisecond, through: 100 * time.Millisecond, drainMax: 10 * time.Second, damping: liveness.Damping{HalfLife: 5 * time.Second, Suppress: 2500, Reuse: 1000, Max: time.Minute}}
}

// drawHabits gives a world's. All that takes minutes by default is quick, so that its end is seen.
func drawHabits(r *rand.Rand) habits {
	h := habits{drainMax: pick(r, 500*time.Millisecond, 3*time.Second), told: chance(r, 70)}
	if chance(r, 60) {
		h.damping = liveness.Damping{HalfLife: pick(r, 500*time.Millisecond, 2*time.Second), Suppress: 2500, Reuse: 1000, Max: 6 * time.Second}
	}
	if chance(r, 40) {
		h.localOnly = pick(r, 500*time.Millisecond, 2*time.Second)
	}
	if chance(r, 60) {
		h.links, h.hush = pick(r, 50*time.Millisecond, 100*time.Millisecond), chance(r, 50)
	}
	if chance(r, 60) {
		h.through = 100 * time.Millisecond
	}
	h.guard, h.mgmt = chance(r, 50), chance(r, 40)
	h.shelf = pick(r, 1, 2, liveness.Crowd)
	if chance(r, 60) {
		h.crossing = pick(r, 50*time.Millisecond, 100*time.Millisecond)
	}
	return h
}

// hushed is for how long a port may be closed that was silent twice.
func (h habits) hushed() time.Duration {
	if h.hush {
		return 45 * time.Second
	}
	return 0
}

// adopt gives a leaf its world's habits.
func (n *node) adopt(h habits) {
	n.leaf.Damping, n.leaf.LocalOnly, n.leaf.DrainMax = h.damping, h.localOnly, h.drainMax
	n.leaf.ShelfFrom = h.shelf
	n.leaf.LinkProbe, n.leaf.CloseSilent = leaf.Probe{Interval: h.links, Multiplier: 3}, h.hush
	if h.guard {
		n.warden = n.newWarden()
	}
	for i := range n.leaf.Downlinks {
		d := &n.leaf.Downlinks[i]
		s := n.kernel.port(d.Port).peer().node.server
		d.Single = h.told && len(s.links) == 1
	}
}

// manage gives a router a way of the operator's: it serves nobody here, and nobody may touch it.
func (n *node) manage() {
	p := n.addPort("mgmt", portMAC(6, 0, len(n.w.nodes)))
	p.seen = true
	n.kernel.operatorRoute()
}

// operatorRoute is there from boot on.
func (k *kernel) operatorRoute() {
	if k.port("mgmt") != nil {
		k.set(step.Route{Prefix: anywhere, Metric: 1000, NextHop: step.NextHop{Dev: "mgmt", Via: netip.AddrFrom4([4]byte{192, 168, 0, 1})}}, false)
	}
}

// newLeaf is a leaf that knows what an earlier life wrote down.
func (n *node) newLeaf() step.Machine {
	cfg := n.leaf
	if text, ok := n.kernel.memos[leaf.DrainMemo]; ok {
		cfg.Drained = &leaf.Drained{Force: text == leaf.DrainForced}
	}
	return leaf.New(cfg)
}

// order gives a leaf an operator's order, if its daemon is there to take it.
func (n *node) order(what step.Order, force bool) {
	if n.daemon == nil || !n.daemon.running {
		return
	}
	n.w.say("ORDER %s: %s (force %v)", n.name, what, force)
	n.post(fromOperator, step.Commanded{Order: what, Force: force})
}

// orderEvery is how often an operator repeats an order that is to be obeyed in the end.
const orderEvery = 2 * time.Second

// insist undrains a leaf, again and again for a while: its daemon may be about to start.
func (n *node) insist() {
	for i := range 3 {
		n.w.after(200*time.Millisecond+time.Duration(i)*orderEvery, func() { n.order(step.OrderUndrain, false) })
	}
}

// elsewhere reports whether a server has a link to another leaf that can forward.
func (w *World) elsewhere(s *server, but *node) bool {
	return slices.ContainsFunc(w.homes(s.node), func(l *node) bool { return l != but })
}

// hearOfEachOther reports whether the leaves of a server are told of each other's claims: there is the feed, and a gateway in common.
func (w *World) hearOfEachOther(s *server) bool {
	if w.feedOff {
		return false
	}
	return slices.ContainsFunc(w.gateways, func(g *node) bool {
		return !slices.ContainsFunc(s.links, func(p *port) bool { return !direct(g, p.peer().node) })
	})
}

// feeds reports whether a leaf is told of the other leaves' hosts.
func (w *World) feeds(l *node) bool {
	if w.cfg.feedCut {
		return false
	}
	for _, s := range w.sessions {
		if e := s.ends[0]; e.owner == l && e.up {
			return true
		}
	}
	return false
}
