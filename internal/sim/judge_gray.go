package sim

import (
	"slices"
	"time"

	"peerless/internal/leaf"
	"peerless/internal/model"
	"peerless/internal/step"
)

// This file judges what is done for silence, and what is done while no daemon runs.

// frozen reports whether the daemon was lately: what it makes of silence then is its own.
func (m *memory) frozen(now time.Duration) bool { return m.frozeAt > 0 && now < m.frozeAt+time.Minute }

// silenceCloses: a port that is up is closed for silence only by order, and only by a leaf that knows who moved.
func (j *judge) silenceCloses(n *node, o step.Gate, why string) {
	m := &n.daemon.memory
	d, _ := n.downlink(o.Port)
	if !n.leaf.CloseSilent || d.Single {
		j.w.fail("silent-link-closes-alone", "%s closes %s (%s), and nobody asked for that", n.name, o.Port, why)
	}
	if !slices.ContainsFunc(n.leaf.Uplinks, func(u leaf.Uplink) bool { _, ended := m.ended[u.Neighbor]; return m.spoke[u.Neighbor] && !ended }) {
		j.w.fail("silent-link-closes-alone", "%s closes %s (%s) without any session", n.name, o.Port, why)
	}
	if j.w.leaves[0].leaf.AS == j.w.leaves[1].leaf.AS {
		return // its own AS number may be its own word told back
	}
	for a, list := range n.kernel.table(mainTable).hosts {
		if list[0].NextHop.Dev == o.Port && j.claimed(n, a) {
			j.w.fail("silent-link-closes-alone", "%s closes %s (%s), and %s has moved away", n.name, o.Port, why, a)
		}
	}
}

// silent: of a link that is taken for silent it is true, at least for a moment lately.
func (j *judge) silent(d *daemon, name model.Port) {
	since := j.w.now - evidenceFor
	p := d.node.kernel.port(name)
	s := p.peer().node.server
	used, _ := s.sides()
	if used == nil || used.link != p.link || s.usedAt > since || p.link.badAt() >= since || d.memory.frozen(j.w.now) {
		return
	}
	for _, h := range s.hosts {
		if _, spoke := d.memory.heardOn[neighKey{name, h.addr}]; spoke && !h.dead && h.bornAt < since && h.movedAt < since && !s.node.dead {
			j.w.fail("silent-link-closes-alone", "%s takes %s for silent, and %s is there and has answered all the time", d.node.name, name, h.addr)
			return
		}
	}
}

// crossed notes what a gateway says of its leaves' forwarding.
func (j *judge) crossed(d *daemon, n step.Note) {
	switch n.What {
	case "leaf-mute":
		d.memory.mute[n.Peer] = true
	case "leaf-forwards":
		d.memory.mute[n.Peer] = false
	}
}

// withholds: a gateway keeps the default route only from a leaf that forwarded nothing lately, and never from the last one that it can tell it.
func (j *judge) withholds(d *daemon, a step.Advertisement) {
	m := &d.memory
	was := m.withheld
	m.withheld = slices.Clone(a.Withheld)
	since := j.w.now - evidenceFor
	others := 0
	for _, e := range d.speaker.ends {
		if (e.up || e.downAt > since) && !slices.Contains(a.Withheld, e.addr) {
			others++
		}
	}
	for _, e := range d.speaker.ends {
		if !slices.Contains(a.Withheld, e.addr) || slices.Contains(was, e.addr) {
			continue
		}
		m.holds[e.addr]++
		l := e.other().owner
		switch {
		case others == 0:
			j.w.fail("mute-leaf-needs-another", "%s keeps the default route from %s, and tells it to no other leaf", d.node.name, l.name)
		case !l.mute && l.mutedAt < since && e.s.link.badAt() < since && !m.frozen(j.w.now):
			j.w.fail("mute-leaf-needs-another", "%s keeps the default route from %s, which has forwarded all the time", d.node.name, l.name)
		}
	}
}

// guarded judges a closing by the guard.
func (j *judge) guarded(n *node) {
	d := n.daemon
	if d.running || n.stopped || d.diedAt == 0 {
		j.w.fail("guard-only-closes", "the guard of %s closes, and the daemon has not died", n.name)
		return
	}
	up, spoken := 0, false
	for _, p := range n.uplinks() {
		if p.up() {
			up++
		}
		g := p.peer().node.daemon
		spoken = spoken || p.link.works() && g.running && !g.frozen
	}
	switch {
	case up < max(1, n.leaf.Groups[0].MinUplinks):
	case j.w.now-d.diedAt < j.w.cfg.grace:
		j.w.fail("guard-only-closes", "the guard of %s closes %s after the daemon's death", n.name, j.w.now-d.diedAt)
	case !spoken:
		j.w.fail("guard-only-closes", "the guard of %s closes, and no gateway's routing goes on", n.name)
	}
}

// uninstalled: the tables are as they were at boot.
func (j *judge) uninstalled(n *node) {
	now := n.kernel.print()
	gone := func(from, of []string) []string {
		return slices.DeleteFunc(slices.Clone(from), func(line string) bool { return slices.Contains(of, line) })
	}
	if left, lost := gone(now, n.pristine), gone(n.pristine, now); len(left)+len(lost) > 0 {
		j.w.fail("uninstall-leaves-nothing", "%s has %q and has not %q", n.name, left, lost)
	}
}
