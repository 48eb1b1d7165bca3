package sim

import (
	"net/netip"
	"time"

	"peerless/internal/leaf"
	"peerless/internal/model"
	"peerless/internal/step"
)

// leafRoute judges a route of a leaf.
func (j *judge) leafRoute(n *node, r step.Route) {
	if r.Prefix.Bits() == 0 {
		for _, h := range r.Hops() {
			if !n.isUplink(h.Dev) {
				j.w.fail("own-hosts-only", "%s has a default route by %s", n.name, h.Dev)
			}
		}
		return
	}
	d, down := n.downlink(r.NextHop.Dev)
	a := r.Prefix.Addr()
	switch {
	case !r.Prefix.IsSingleIP() || !down || r.NextHop.Via.IsValid() || len(r.More) > 0:
		j.w.fail("own-hosts-only", "%s installs %s, which is no host of its own", n.name, r)
	case r.Table > leaf.StandbyTable && r.Table-leaf.StandbyTable != d.PortIndex:
		j.w.fail("own-hosts-only", "%s puts %s, which is by %s, on another port's shelf", n.name, r, d.Port)
	case !j.w.cfg.subnet.Contains(a) || a == j.w.cfg.gatewayIP:
		j.w.fail("admit-narrowly", "%s installs %s", n.name, r)
	case r.Table == leaf.StandbyTable:
	case r.Table > leaf.StandbyTable:
		if len(n.kernel.table(r.Table).hosts) > d.MaxHosts {
			j.w.fail("admit-narrowly", "%s has more than %d hosts on the shelf of %s", n.name, d.MaxHosts, d.Port)
		}
	case j.count(n, d.Port, a) >= d.MaxHosts && j.count(n, d.Port, a)-going(n, d.Port) >= d.MaxHosts:
		j.w.fail("admit-narrowly", "%s holds more than %d hosts on %s", n.name, d.MaxHosts, d.Port)
	}
}

// count is the number of other hosts that the kernel holds on a port.
func (j *judge) count(n *node, p model.Port, but netip.Addr) int {
	c := 0
	for a, list := range n.kernel.table(mainTable).hosts {
		if a != but && len(list) > 0 && list[0].NextHop.Dev == p {
			c++
		}
	}
	return c
}

// going counts the routes of a port that the daemon has given up, or wants by another port, and that the kernel has still: they take no
// host's place.
func going(n *node, p model.Port) int {
	c := 0
	for _, w := range n.daemon.turn.Pending() {
		r, ok := w.Object.(step.Route)
		if !ok {
			continue
		}
		had := n.kernel.table(mainTable).hosts[r.Prefix.Addr()]
		moves := !w.Absent && r.Prefix.IsSingleIP() && r.Table < leaf.StandbyTable && r.NextHop.Dev != p && len(had) > 0 && had[0].NextHop.Dev == p
		if w.Absent && r.NextHop.Dev == p || moves {
			c++
		}
	}
	return c
}

// sent judges a packet that a daemon sends.
func (j *judge) sent(d *daemon, e step.SendARP) {
	if d.node.role != serverRole || e.SenderIP != e.TargetIP {
		return
	}
	h := j.w.byAddr[e.SenderIP]
	p := d.node.kernel.port(e.Port)
	switch {
	case h == nil, h.mac != e.SenderMAC:
		j.w.fail("announce-the-truth", "%s announces %s (%s), which nobody has", d.node.name, e.SenderIP, e.SenderMAC)
	case h.at != d.node && j.w.now-h.movedAt > time.Second && j.w.now > d.memory.frozeAt+10*time.Second:
		j.w.fail("announce-the-truth", "%s announces %s, which moved away %s ago", d.node.name, e.SenderIP, j.w.now-h.movedAt)
	case p.toldOnce && !p.told.Up():
		j.w.fail("announce-the-truth", "%s announces %s out of %s, which is down", d.node.name, e.SenderIP, e.Port)
	}
}
