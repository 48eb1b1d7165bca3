package sim

import (
	"net/netip"
	"slices"
	"time"

	"peerless/internal/claim"
	"peerless/internal/engine"
	"peerless/internal/model"
	"peerless/internal/step"
)

// unverifiedMax is the highest stamp that verifies nothing.
const unverifiedMax = 2

// advertisement judges what a leaf tells of a host: the order, and the stamp.
func (j *judge) advertisement(n *node, a step.Advertisement, absent bool) {
	m := &n.daemon.memory
	if !j.w.cfg.subnet.Contains(a.Prefix.Addr()) {
		return // an attachment
	}
	if absent {
		delete(m.said, a.Prefix)
		return
	}
	c, ok := claim.ParseHost(n.leaf.AS, a.Large)
	if !ok {
		j.w.fail("newest-wins", "%s claims %s without a stamp", n.name, a.Prefix)
		return
	}
	addr := a.Prefix.Addr()
	d, ok := n.byIndex(c.PortIndex)
	if !ok {
		j.w.fail("own-hosts-only", "%s claims %s on port %d, which it has not", n.name, addr, c.PortIndex)
		return
	}
	at := neighKey{d, addr}
	j.installed(n, at)
	was, before := m.said[a.Prefix]
	again := before && was.PortIndex == c.PortIndex
	var bar claim.Stamp // what was heard before it arrived
	for _, h := range m.heights[addr] {
		if h.at < m.arrived[addr] {
			bar = max(bar, h.stamp)
		}
	}
	_, spoke := m.heardOn[at]
	switch {
	case c.Stamp > unverifiedMax && !spoke && !m.found[addr]:
		j.w.fail("question-is-no-proof", "%s claims %s on %s, where it has asked at most", n.name, addr, d)
	case c.Stamp > unverifiedMax && !spoke:
		j.w.fail("inherited-is-unproven", "%s claims %s with stamp %d, and the host has not spoken on %s in this life", n.name, addr, c.Stamp, d)
	case c.Stamp > unverifiedMax && (!again || c.Stamp != was.Stamp) && c.Stamp <= bar:
		j.w.fail("newest-wins", "%s claims an arrival of %s with stamp %d, and has heard %d", n.name, addr, c.Stamp, bar)
	case again && c.Stamp != was.Stamp && was.Stamp > unverifiedMax && m.announced[at] <= m.claimed[claimKey{addr, was.Stamp}]:
		j.w.fail("stamp-on-arrival", "%s changes the stamp of %s from %d to %d, and it has not arrived anew", n.name, addr, was.Stamp, c.Stamp)
	}
	if !again || c.Stamp != was.Stamp {
		m.said[a.Prefix] = c
	}
}

// installed: what is advertised was put into the kernel before.
func (j *judge) installed(n *node, at neighKey) {
	if dev, ok := n.daemon.memory.routed[at.addr]; !ok || dev != at.port {
		j.w.fail("install-before-advertise", "%s advertises %s, and has no route to it by %s", n.name, at.addr, at.port)
	}
}

func (n *node) byIndex(index uint32) (model.Port, bool) {
	for _, d := range n.leaf.Downlinks {
		if d.PortIndex == index {
			return d.Port, true
		}
	}
	return "", false
}

// decisions judges which leaves a gateway lets in, and notes which of a gateway's deletions are decided while the very leaf that the route leads to stands for the host. A
// retry is the old decision, and so is what had to wait for something else.
func (j *judge) decisions(d *daemon, actions []engine.Action) {
	closed := map[uint32]bool{} // tables that nobody is to look into any more
	for _, a := range actions {
		if rule, ok := a.Want.Object.(step.Rule); ok && a.Want.Absent && rule.IIF == "" {
			closed[rule.Table] = true
		}
	}
	for _, a := range actions {
		if n, ok := a.Emit.(step.Note); ok {
			j.crossed(d, n)
		}
		if adv, ok := a.Want.Object.(step.Advertisement); a.Emit == nil && ok && !a.Want.Absent && adv.Prefix == anywhere {
			j.withholds(d, adv)
		}
		if rule, ok := a.Want.Object.(step.Rule); a.Emit == nil && ok {
			if !a.Want.Absent && !d.memory.rules[rule.Key()] { // one that is put back is the old decision
				j.admission(d.node, rule)
			}
			d.memory.rules[rule.Key()] = !a.Want.Absent
		}
		r, ok := a.Want.Object.(step.Route)
		if a.Emit != nil || !ok || !r.Prefix.IsSingleIP() || d.memory.decided[a.Want.Key()] == a.Gen {
			continue
		}
		d.memory.decided[a.Want.Key()] = a.Gen
		d.memory.suspect[a.Want.Key()] = a.Want.Absent && a.Want.After == (step.Key{}) && d.node.kernel.ways(r.Prefix.Addr()) < 2 && d.node.kernel.looked(r.Table) && !closed[r.Table] && j.stands(d, r)
	}
}

// lastPath: a gateway took a route away. If it was the host's last one, no claim may stand behind it.
func (j *judge) lastPath(g *node, r step.Route) {
	if !g.daemon.memory.suspect[r.Key()] || !j.stands(g.daemon, r) || !j.w.cfg.subnet.Contains(r.Prefix.Addr()) {
		return
	}
	if g.kernel.ways(r.Prefix.Addr()) > 0 {
		return
	}
	j.w.fail("soft-never-closes", "%s deletes its last route to %s, and the leaf behind %s claims it still", g.name, r.Prefix.Addr(), r.NextHop.Dev)
}

// serves reports whether hosts behind an attachment are reached: while they leave a leaf that is drained they are.
func serves(a claim.Attachment) bool { return a.State == claim.Up || a.Reason == claim.ReasonDrain }

// ways counts the routes of a host in all tables.
func (k *kernel) ways(a netip.Addr) (n int) {
	for _, t := range k.tables {
		n += len(t.hosts[a])
	}
	return n
}

// looked reports whether any rule leads into a table: a leaf that is not let in has none, and its routes serve nobody.
func (k *kernel) looked(tab uint32) bool {
	return slices.ContainsFunc(k.rules, func(r step.Rule) bool { return r.Table == tab && r.IIF == "" })
}

// stands reports whether what a gateway was told by the leaf that a route leads to stands for the host: the claim, and its port
// up, in a session that lives or has ended a short while ago.
func (j *judge) stands(d *daemon, r step.Route) bool {
	in := d.node.kernel.port(r.NextHop.Dev)
	if in == nil || !in.toldOnce || !in.told.Up() {
		return false
	}
	for _, e := range d.speaker.ends {
		if e.addr != r.NextHop.Via {
			continue
		}
		as := e.other().owner.leaf.AS
		p, ok := d.memory.rib[ribKey{e.addr, r.Prefix}]
		c, stamped := claim.ParseHost(as, p.path.Large)
		if (!e.up || p.at <= e.downAt) && j.w.now-e.downAt > j.w.cfg.grace-100*time.Millisecond {
			return false // the time for which soft evidence is borne is over
		}
		if down, was := d.memory.portDown[in.name]; !ok || !stamped || was && down >= p.at {
			return false
		}
		return j.attached(d, e, c.Attachment)
	}
	return false
}
