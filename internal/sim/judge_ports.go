package sim

import (
	"net/netip"
	"strings"
	"time"

	"peerless/internal/step"
)

// gate judges a closing or an opening.
func (j *judge) gate(n *node, o step.Gate, w step.Want) {
	p := n.kernel.port(o.Port)
	if p == nil {
		return
	}
	off := p.toldOnce && p.told.Present && (!p.told.AdminUp || p.told.ProtoDown) && !p.told.Ours
	held := n.daemon.memory.held[o.Port]
	n.daemon.memory.held[o.Port] = o.Closed
	n.daemon.memory.opening[o.Port] = !o.Closed
	delete(n.daemon.memory.told, o.Port)
	switch {
	case off && o.Closed: // asked in the same breath; the driver finds it closed and leaves it to him
	case off && n.daemon.memory.blurred[o.Port]: // the driver knows better, and does not open it
	case off:
		j.w.fail("operator-closed-stays", "%s asks for %s, which the operator closed", n.name, o)
	case o.Closed && held: // somebody opened what was held closed: no new decision
	case o.Closed:
		j.closing(n, o, w)
	case n.daemon.memory.drained:
		j.w.fail("drain-loses-nothing", "%s opens %s while it is drained", n.name, o.Port)
	case n.daemon.memory.alone:
	case !j.toldForwarding(n):
		j.w.fail("open-only-when-forwarding", "%s opens %s without uplink, default route or gateway", n.name, o.Port)
	}
}

func (j *judge) closing(n *node, o step.Gate, w step.Want) {
	delete(n.daemon.memory.damped, o.Port) // unless this closing is for that
	switch {
	case strings.HasPrefix(w.Why, "drain") && !strings.Contains(w.Why, "cut short"):
		j.drainCloses(n, o, w.Why)
	case strings.HasPrefix(w.Why, "no host behind it answered"):
		j.silenceCloses(n, o, w.Why)
	case strings.HasPrefix(w.Why, "damping"):
		j.dampingCloses(n, o, w.Why)
	default:
		j.linkageCloses(n, o, w)
	}
}

func (j *judge) linkageCloses(n *node, o step.Gate, w step.Want) {
	if !strings.Contains(w.Why, "uplink") {
		j.w.fail("closed-for-a-reason", "%s closes %s and names no uplink: %q", n.name, o.Port, w.Why)
	}
	if n.daemon.memory.served {
		j.partsUntold(n, o.Port)
	}
	j.evidence(n, o, w.Why)
}

// evidence judges the decision to close a port for want of a gateway.
func (j *judge) evidence(n *node, o step.Gate, why string) {
	if !n.daemon.memory.served {
		return // it was closed for evidence, or has not been open in this life, and what somebody opens meanwhile has to wait like the rest
	}
	good := 0
	for i, u := range n.leaf.Uplinks {
		if j.hard(n, i) == "" {
			good++
		}
		_ = u
	}
	if good >= max(1, n.leaf.Groups[0].MinUplinks) {
		j.w.fail("soft-never-closes", "%s closes %s (%s) though no hard evidence speaks against %d of its uplinks", n.name, o.Port, why, good)
	}
}

// evidenceFor is how long ago a link may have been bad for a verdict that comes now.
const evidenceFor = 5 * time.Second

// hard names the hard evidence against an uplink; empty if there is none.
func (j *judge) hard(n *node, i int) string {
	u := n.leaf.Uplinks[i]
	p := n.kernel.port(u.Port)
	since := j.w.now - evidenceFor
	if f := n.daemon.memory.frozeAt; f > 0 && j.w.now-f < time.Minute {
		since = min(since, f-evidenceFor)
	}
	switch {
	case !p.toldOnce || !p.told.Up():
		return "no carrier"
	case p.link.badAt() >= since:
		return "silence"
	case n.daemon.memory.ceased[u.Neighbor]:
		return "cease"
	}
	m := &n.daemon.memory
	_, told := m.rib[ribKey{u.Neighbor, anywhere}]
	ended, down := m.ended[u.Neighbor]
	inherited := m.inherited[u.Port] && j.w.now-n.daemon.started < j.w.cfg.grace
	switch {
	case !told && !inherited, down && j.w.now-ended > j.w.cfg.grace-100*time.Millisecond:
		return "no default route"
	case !told && m.withdrawn[u.Neighbor]:
		return "default route withdrawn"
	}
	return ""
}

var anywhere = netip.MustParsePrefix("0.0.0.0/0")

// toldForwarding reports whether the leaf was told that it can forward.
func (j *judge) toldForwarding(n *node) bool {
	m := &n.daemon.memory
	if !m.applied[step.Key{Kind: step.KindRoute}] {
		return false
	}
	for _, u := range n.leaf.Uplinks {
		if p := n.kernel.port(u.Port); p.toldOnce && p.told.Up() && m.resolved[u.Port] {
			return true
		}
	}
	return false
}
