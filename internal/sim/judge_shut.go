package sim

import (
	"net/netip"
	"strings"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf"
	"peerless/internal/model"
	"peerless/internal/step"
)

// This file judges closings that port linkage did not order, and openings without a gateway: by what was ordered, told and heard.

// orders notes what a leaf takes for ordered, by what it writes down for its next life.
func (j *judge) orders(d *daemon, w step.Want) {
	o, ok := w.Object.(step.Memo)
	if !ok || o.Name != leaf.DrainMemo {
		return
	}
	m := &d.memory
	if !w.Absent && !m.drained {
		m.drainedAt = j.w.now
	}
	m.drained, m.forced = !w.Absent, !w.Absent && o.Text == leaf.DrainForced
}

// drainCloses: nobody is behind the port any more, or he moves only now and has had his time, or it was ordered by force.
func (j *judge) drainCloses(n *node, o step.Gate, why string) {
	m := &n.daemon.memory
	d, _ := n.downlink(o.Port)
	left := j.count(n, o.Port, netip.Addr{}) - going(n, o.Port)
	switch {
	case !m.drained:
		j.w.fail("drain-loses-nothing", "%s closes %s (%s) though nobody ordered a drain", n.name, o.Port, why)
	case m.forced && j.w.now-m.drainedAt >= n.leaf.DrainMax:
	case (strings.Contains(why, "have left") || strings.Contains(why, "daemon started")) && left <= 0:
	case strings.Contains(why, "have had") && !d.Single && j.w.now-m.drainedAt >= n.leaf.DrainMax:
	default:
		j.w.fail("drain-loses-nothing", "%s closes %s (%s) with %d hosts behind it", n.name, o.Port, why, left)
	}
}

// flapsMin is how many losses it takes at least to be damped.
const flapsMin = 3

// dampingCloses: a port is held closed only if it was lost often, and only while everybody who was behind it is known to be elsewhere.
func (j *judge) dampingCloses(n *node, o step.Gate, why string) {
	m := &n.daemon.memory
	if losses := m.losses[o.Port]; losses < flapsMin {
		j.w.fail("damping-delays-only-returns", "%s holds %s closed (%s), which was lost %d times", n.name, o.Port, why, losses)
	}
	if h := j.onlyHere(n, o.Port); h != nil {
		j.w.fail("damping-delays-only-returns", "%s holds %s closed (%s), and nobody else has said that he has %s", n.name, o.Port, why, h.addr)
	}
	m.damped[o.Port] = j.w.now
}

// heardLately is for how long a host that was heard on a port is held to be known there.
const heardLately = 10 * time.Second

// onlyHere finds a living host of a port's server, heard on the port lately, that no other leaf is known to have; nil if there is none.
func (j *judge) onlyHere(n *node, p model.Port) *host {
	m := &n.daemon.memory
	for _, h := range n.kernel.port(p).peer().node.server.hosts {
		at, heard := m.heardOn[neighKey{p, h.addr}]
		if !h.dead && heard && j.w.now-at < heardLately && !j.claimed(n, h.addr) {
			return h
		}
	}
	return nil
}

// claimed reports whether a leaf was told, in a session that lives, that another one has a host.
func (j *judge) claimed(n *node, a netip.Addr) bool {
	m := &n.daemon.memory
	for _, u := range n.leaf.Uplinks {
		p, ok := m.rib[ribKey{u.Neighbor, netip.PrefixFrom(a, a.BitLen())}]
		if _, ended := m.ended[u.Neighbor]; !ok || ended || len(p.path.Large) == 0 {
			continue
		}
		if _, stamped := claim.ParseHost(p.path.Large[0].Global, p.path.Large); stamped {
			return true
		}
	}
	return false
}

// alone judges a group that opens without a gateway: it was ordered, the time is over, and there is none.
func (j *judge) alone(d *daemon) {
	m, n := &d.memory, d.node
	since := j.w.now - m.cutAt
	switch {
	case n.leaf.LocalOnly <= 0 || !m.cut || since < n.leaf.LocalOnly:
		j.w.fail("alone-serves-its-own", "%s opens without a gateway %s after it closed, %s was ordered", n.name, since, n.leaf.LocalOnly)
	case j.hopes(n) >= max(1, n.leaf.Groups[0].MinUplinks):
		j.w.fail("alone-serves-its-own", "%s opens as if it had no gateway, and it has been told that it can forward", n.name)
	}
	m.alone = true
}

// hopes counts the uplinks against which nothing speaks.
func (j *judge) hopes(n *node) (good int) {
	for i, u := range n.leaf.Uplinks {
		if j.hard(n, i) == "" && n.daemon.memory.resolved[u.Port] {
			good++
		}
	}
	return good
}

// patrolDamped: a port that is held closed for its flapping is opened when the time is over, or when it is somebody's only way.
func (j *judge) patrolDamped(n *node, odd map[string]oddity) {
	m := &n.daemon.memory
	for _, d := range n.leaf.Downlinks {
		since, damped := m.damped[d.Port]
		if !damped || !n.kernel.ours[d.Port] || m.drained || !j.w.canForward(n) || j.hopes(n) == 0 {
			continue
		}
		p := n.kernel.port(d.Port)
		switch only := j.onlyHere(n, d.Port); {
		case j.w.now-since > n.leaf.Damping.Max+troubleOver && p.link.up:
			odd[n.name+" "+string(d.Port)] = oddity{law: "damping-delays-only-returns", text: "it is held closed though its time is over"}
		case only != nil:
			odd[n.name+" "+string(d.Port)] = oddity{law: "damping-delays-only-returns", text: "it is held closed though it is the only way to " + only.addr.String()}
		}
	}
}
