package sim

import (
	"net/netip"
	"slices"
	"time"

	"peerless/internal/gateway"
	"peerless/internal/leaf"
	"peerless/internal/model"
	"peerless/internal/step"
)

// role is what a node is.
type role uint8

const (
	gatewayRole role = iota
	leafRole
	serverRole
)

// node is a machine: its kernel, and its daemon if it has one.
type node struct {
	w         *World
	name      string
	role      role
	kernel    *kernel
	daemon    *daemon // nil: a server without peerless
	server    *server // of servers
	leaf      leaf.Config
	gw        gateway.Config
	own       netip.Addr    // its router id, an address of its own
	dead      bool          // no power
	mute      bool          // it answers for itself and forwards nothing
	mutedAt   time.Duration // when that last changed
	stopped   bool          // its daemon ended in an orderly way
	warden    *warden       // of leaves; nil: none
	pristine  []string      // its tables before peerless
	protoDown bool          // its driver closes ports by protodown
	trouble   trouble
	monoBase  time.Duration
	wallBase  int64
	drift     float64
}

func (w *World) addNode(name string, r role) *node {
	n := &node{w: w, name: name, role: r, monoBase: 1000 * time.Second, wallBase: epochWall}
	n.kernel = newKernel(n)
	w.nodes = append(w.nodes, n)
	return n
}

// epochWall is where wall clocks start that are right.
const epochWall = 1_790_000_000_000

func (n *node) addPort(name model.Port, mac model.MAC) *port {
	p := &port{node: n, name: name, index: len(n.kernel.ports) + 1, mac: mac, hw: mac, adminUp: true, flags: step.BridgePort{Flood: true, Learning: true}}
	n.kernel.ports = append(n.kernel.ports, p)
	return p
}

func (w *World) connect(upper, lower *port, delay time.Duration) *link {
	l := &link{w: w, name: lower.node.name + "-" + string(upper.name), ends: [2]*port{upper, lower}, up: true, delay: delay}
	if upper.node.role == gatewayRole && lower.node.role == leafRole {
		l.name = upper.node.name + "-" + string(lower.name)
	} else if lower.node.role == gatewayRole {
		l.name = upper.node.name + "-" + lower.node.name
	}
	upper.link, lower.link, lower.end = l, l, 1
	w.links = append(w.links, l)
	return l
}

// uplinks of a leaf, in the order of its config.
func (n *node) uplinks() []*port {
	var out []*port
	for _, u := range n.leaf.Uplinks {
		out = append(out, n.kernel.port(u.Port))
	}
	return out
}

func (n *node) isUplink(p model.Port) bool {
	return slices.ContainsFunc(n.leaf.Uplinks, func(u leaf.Uplink) bool { return u.Port == p })
}

func (n *node) downlink(p model.Port) (leaf.Downlink, bool) {
	for _, d := range n.leaf.Downlinks {
		if d.Port == p {
			return d, true
		}
	}
	return leaf.Downlink{}, false
}

// powerOff ends everything at once.
func (n *node) powerOff() {
	if n.dead {
		return
	}
	n.w.say("%s: the device dies", n.name)
	if n.daemon != nil {
		n.daemon.die()
	}
	n.setMute(false)
	n.dead, n.stopped = true, false
	if n.daemon != nil {
		n.daemon.diedAt = 0
	}
	n.kernel.wipe()
	for _, p := range n.kernel.ports {
		p.seen, p.noticing = false, false
		if p.link != nil {
			p.link.changed()
		}
	}
	n.w.judge.touchAll()
}

// powerOn boots it: ports come up as the machine's own configuration has it, the daemon a little later.
func (n *node) powerOn(daemonAfter time.Duration) {
	if !n.dead {
		return
	}
	n.w.say("%s: the device boots", n.name)
	n.dead = false
	n.kernel.operatorRoute()
	for _, p := range n.kernel.ports {
		p.adminUp, p.protoDown, p.operator, p.mac = true, false, false, p.hw
		p.flags = step.BridgePort{Flood: true, Learning: true}
		if n.role == leafRole && !n.isUplink(p.name) {
			p.addrs = nil
		}
		p.changed()
		if p.link != nil {
			p.link.changed()
		}
	}
	if n.server != nil {
		n.server.boot()
	}
	if n.daemon != nil {
		n.w.after(daemonAfter, n.daemon.start)
	}
	n.w.judge.touchAll()
}

// onCarrier is what besides the daemon reacts to a carrier: the kernel's bond, the resolution of gateways.
func (n *node) onCarrier(p *port) {
	if n.server != nil {
		n.server.onCarrier(p)
	}
}

// receive takes a frame from a link.
func (n *node) receive(p *port, f frame) {
	switch n.role {
	case serverRole:
		n.server.receive(p, f)
	case leafRole:
		n.sniff(p, f)
		n.kernelARP(p, f)
	case gatewayRole:
		n.sniff(p, f)
		n.kernelARP(p, f)
	}
}

// sampleEvery bounds how often data of a port becomes an event, as the packet driver does.
const sampleEvery = 10 * time.Millisecond

// sniff gives the daemon what its packet sockets see.
func (n *node) sniff(p *port, f frame) {
	d := n.daemon
	if d == nil || !d.running {
		return
	}
	listen, on := d.listens[p.name]
	sampling := listen.Sampling
	if !on {
		return
	}
	switch f.kind {
	case arpFrame:
		n.post(fromPackets, step.ARPSeen{Port: p.name, Op: f.op, SrcMAC: f.src, SenderMAC: f.sha, SenderIP: f.spa, TargetMAC: f.tha, TargetIP: f.tpa})
	case rarpFrame:
		n.post(fromPackets, step.RARPSeen{Port: p.name, MAC: f.sha})
	case dataFrame:
		if sampling == step.SampleNone || sampling == step.SampleFew && n.w.rng.IntN(64) != 0 || n.w.now < d.sampled[p.name]+sampleEvery {
			return
		}
		d.sampled[p.name] = n.w.now
		n.post(fromPackets, step.DataSeen{Port: p.name, MAC: f.src, Addr: f.spa})
	}
}

// kernelARP is what the kernel itself does with ARP: it answers for its own addresses, and keeps its table.
func (n *node) kernelARP(p *port, f frame) {
	if f.kind != arpFrame {
		return
	}
	key := neighKey{p.name, f.spa}
	if e := n.kernel.neigh[key]; e != nil && !e.ours && f.spa.IsValid() && !f.spa.IsUnspecified() {
		n.confirmed(key, e, f.sha)
	}
	if f.op != step.ARPRequest || !n.holds(p, f.tpa) || n.kernel.sysctl["net/ipv4/conf/"+string(p.name)+"/arp_ignore"] == "8" {
		return
	}
	if f.spa.IsValid() && !f.spa.IsUnspecified() && n.kernel.neigh[key] == nil {
		e := &neigh{mac: f.sha, resolved: true}
		n.kernel.neigh[key] = e
		n.tellNeigh(key, e)
	}
	p.send(frame{src: p.mac, dst: f.src, op: step.ARPReply, sha: p.mac, tha: f.sha, spa: f.tpa, tpa: f.spa})
}

// holds reports whether an address is one of that port's.
func (n *node) holds(p *port, a netip.Addr) bool {
	return slices.ContainsFunc(p.addrs, func(x step.Address) bool { return x.Prefix.Addr() == a })
}

func (n *node) tellNeigh(key neighKey, e *neigh) {
	n.post(fromKernel, step.NeighborChanged{NeighborState: step.NeighborState{
		Neighbor: step.Neighbor{Port: key.port, Addr: key.addr, MAC: e.mac}, Present: true, Resolved: e.resolved, Failed: e.failed}})
}

// How the kernel resolves: three questions a second apart; a confirmed entry is doubted when nobody confirmed it for a while.
const (
	askPause   = time.Second
	askMax     = 3
	freshFor   = 15 * time.Second
	delayProbe = 5 * time.Second
)

// resolve has the kernel ask for a neighbour, unless it knows or is asking.
func (n *node) resolve(name model.Port, addr netip.Addr) {
	p := n.kernel.port(name)
	if p == nil || !p.up() {
		return
	}
	key := neighKey{name, addr}
	if e := n.kernel.neigh[key]; e != nil && !e.failed {
		return
	}
	e := &neigh{}
	n.kernel.neigh[key] = e
	n.ask(p, key, e)
}

// ask sends one question and draws the verdict after the last.
func (n *node) ask(p *port, key neighKey, e *neigh) {
	if n.kernel.neigh[key] != e || n.dead {
		return
	}
	if e.asked >= askMax {
		e.failed, e.resolved = true, false
		n.tellNeigh(key, e)
		return
	}
	e.asked++
	e.serial++
	serial := e.serial
	var own netip.Addr
	for _, a := range p.addrs {
		own = a.Prefix.Addr()
	}
	p.send(frame{src: p.mac, dst: model.Broadcast, op: step.ARPRequest, sha: p.mac, spa: own, tpa: key.addr})
	n.w.after(askPause, func() {
		if e.serial == serial {
			n.ask(p, key, e)
		}
	})
}

// confirmed notes a sign of life and doubts it later.
func (n *node) confirmed(key neighKey, e *neigh, mac model.MAC) {
	news := !e.resolved || e.failed || e.mac != mac
	e.mac, e.resolved, e.failed, e.asked = mac, true, false, 0
	e.serial++
	if news {
		n.tellNeigh(key, e)
	}
	if n.role != leafRole || !n.isUplink(key.port) {
		return
	}
	serial := e.serial
	n.w.after(freshFor+delayProbe, func() {
		if e.serial == serial && n.kernel.neigh[key] == e {
			n.ask(n.kernel.port(key.port), key, e)
		}
	})
}

// neighbors lists the keys, sorted.
func (k *kernel) neighbors() []neighKey {
	keys := make([]neighKey, 0, len(k.neigh))
	for key := range k.neigh {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b neighKey) int {
		if a.port != b.port {
			if a.port < b.port {
				return -1
			}
			return 1
		}
		return a.addr.Compare(b.addr)
	})
	return keys
}
