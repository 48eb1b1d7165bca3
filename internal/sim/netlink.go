package sim

import (
	"time"

	"peerless/internal/step"
)

// This file is what the kernel tells a daemon, as driver/rtnl passes it on: changes of ports, lost messages, snapshots.

// tellPort tells the daemon of a port, if the driver has not told the same before. What is told is the state at the moment of
// telling, corrected by what we did ourselves meanwhile.
func (n *node) tellPort(p *port) {
	d := n.daemon
	if d == nil || !d.running || d.deaf {
		return
	}
	at := max(d.latest[fromKernel], n.w.now+between(n.w.rng, 20*time.Microsecond, 300*time.Microsecond))
	d.latest[fromKernel] = at
	was := n.kernel.portState(p)
	d.live(at, func() {
		if d.deaf {
			return
		}
		if n.kernel.ours[p.name] && p.open() {
			delete(n.kernel.ours, p.name) // the operator opened it
		}
		st := was
		if now := n.kernel.portState(p); now.Ours != st.Ours || p.open() != (st.AdminUp && !st.ProtoDown) {
			st = now // the driver asks the kernel once more
		}
		if p.toldOnce && p.told == st {
			return
		}
		p.told, p.toldOnce = st, true
		d.feed(step.PortChanged{PortState: st})
	})
}

// overflow loses netlink messages; the driver reads everything anew.
func (d *daemon) overflow() {
	if !d.running || d.deaf {
		return
	}
	d.node.w.say("%s: netlink overflows", d.node.name)
	d.deaf = true
	d.snapshot("netlink overflow", between(d.node.w.rng, time.Millisecond, 50*time.Millisecond))
}

// snapshot tells the whole kernel at a later moment, as it is then.
func (d *daemon) snapshot(reason string, after time.Duration) {
	d.live(d.node.w.now+after, func() {
		d.deaf = false
		s := d.node.kernel.snapshot(reason)
		d.known = true
		d.feed(s)
	})
}

// snapshot gives the whole state and takes it for told.
func (k *kernel) snapshot(reason string) step.Snapshot {
	s := step.Snapshot{Reason: reason}
	for _, p := range k.ports {
		if k.ours[p.name] && p.open() {
			delete(k.ours, p.name)
		}
		p.told, p.toldOnce = k.portState(p), true
		s.Ports = append(s.Ports, p.told)
		s.Addresses = append(s.Addresses, p.addrs...)
	}
	for _, r := range k.routes() {
		if !r.ours && r.Prefix.Bits() != 0 {
			continue
		}
		rs := step.RouteState{Route: r.Route, Present: true, Ours: r.ours, Protocol: 201}
		if rs.Table == mainTable {
			rs.Table = 0
		}
		s.Routes = append(s.Routes, rs)
	}
	for _, key := range k.neighbors() {
		n := k.neigh[key]
		s.Neighbors = append(s.Neighbors, step.NeighborState{Neighbor: step.Neighbor{Port: key.port, Addr: key.addr, MAC: n.mac},
			Present: true, Resolved: n.resolved, Failed: n.failed, Ours: n.ours})
	}
	s.Rules = append(s.Rules, k.rules...)
	if p := k.node.server; p != nil {
		p.selected(&s)
	}
	return s
}
