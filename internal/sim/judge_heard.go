package sim

import (
	"net/netip"

	"peerless/internal/claim"
	"peerless/internal/leaf"
	"peerless/internal/step"
)

// heard notes what a daemon is told.
func (j *judge) heard(d *daemon, ev step.Event) {
	m := &d.memory
	now := j.w.now
	switch ev := ev.(type) {
	case step.ARPSeen:
		j.asks(d, ev)
		if ev.Op == step.ARPNak && d.node.role == gatewayRole {
			m.foretold[ribKey{ev.SenderIP, step.HostPrefix(ev.TargetIP)}] = now
		}
		announced := ev.SenderIP == ev.TargetIP
		if ev.Op == step.ARPReply || announced {
			m.heardOn[neighKey{ev.Port, ev.SenderIP}] = now
			if dl, ok := d.node.downlink(ev.Port); ok && d.node.kernel.looked(leaf.StandbyTable+dl.PortIndex) && m.stands[ev.SenderIP] != ev.Port {
				m.stands[ev.SenderIP], m.arrived[ev.SenderIP] = ev.Port, now // its route is asked for only when its turn comes
			}
		}
		if announced {
			m.announced[neighKey{ev.Port, ev.SenderIP}]++
		}
	case step.PathsChanged:
		for _, p := range ev.Paths {
			j.heardPath(d, ev.Peer, p)
		}
	case step.SessionChanged:
		m.ended[ev.Peer] = now
		if ev.Up {
			m.ceased[ev.Peer] = false
			delete(m.ended, ev.Peer)
			m.spoke[ev.Peer] = true
		} else if ev.Reason == step.ReasonCeaseDown {
			m.ceased[ev.Peer] = true
		}
	case step.BFDChanged:
		m.doubted[ev.Peer] = !ev.Up && !ev.Admin
	case step.NeighborChanged:
		m.resolved[ev.Port] = ev.Present && ev.Resolved
	case step.Applied:
		if g, ok := ev.Want.Object.(step.Gate); ok {
			delete(m.opening, g.Port)
		}
	case step.PortChanged:
		off := ev.Present && (!ev.AdminUp || ev.ProtoDown) && !ev.Ours
		m.blurred[ev.Port] = off && (m.blurred[ev.Port] || m.opening[ev.Port])
		if !ev.Up() {
			m.resolved[ev.Port] = false
			m.portDown[ev.Port] = now
			delete(m.asked, ev.Port)
			m.losses[ev.Port]++
			if p := d.node.kernel.port(ev.Port); p != nil && p.link != nil {
				delete(m.mute, p.peer().node.name)
			}
		}
	case step.Snapshot:
		for _, u := range d.node.leaf.Uplinks {
			m.resolved[u.Port] = false
		}
		for _, r := range ev.Routes {
			if r.Ours && r.Prefix.IsSingleIP() && tableOf(r.Table) == mainTable {
				m.routed[r.Prefix.Addr()] = r.NextHop.Dev
				m.found[r.Prefix.Addr()] = m.found[r.Prefix.Addr()] || ev.Reason == reasonStart
			}
			for _, h := range r.Hops() {
				if ev.Reason == reasonStart && r.Ours && r.Prefix.Bits() == 0 {
					m.inherited[h.Dev] = true
				}
			}
		}
		for _, n := range ev.Neighbors {
			if n.Resolved {
				m.resolved[n.Port] = true
			}
		}
	}
}

func (j *judge) heardPath(d *daemon, peer netip.Addr, p step.Path) {
	if p.Withdrawn {
		delete(d.memory.rib, ribKey{peer, p.Prefix})
		d.memory.withdrawn[peer] = d.memory.withdrawn[peer] || p.Prefix == anywhere
	} else {
		d.memory.rib[ribKey{peer, p.Prefix}] = inPath{path: p, at: j.w.now}
	}
	if p.Withdrawn || d.node.role == gatewayRole {
		return
	}
	for _, l := range p.Large {
		c, ok := claim.ParseHost(l.Global, p.Large)
		if !ok {
			continue
		}
		list := d.memory.heights[p.Prefix.Addr()]
		if n := len(list); n == 0 || c.Stamp > list[n-1].stamp {
			d.memory.heights[p.Prefix.Addr()] = append(list, height{stamp: c.Stamp, at: j.w.now})
		}
		return
	}
}
