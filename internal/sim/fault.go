package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// fault is one thing that goes wrong, with all that was drawn for it, so that a shorter list means the same faults.
type fault struct {
	kind   faultKind
	at     time.Duration // since the safety phase began
	lasts  time.Duration
	target int // index of a link, node, host or session, modulo how many there are
	way    int
	amount int
}

type faultKind uint8

const (
	cutLink faultKind = iota
	dropLink
	loseLink
	flapLink
	lateLink
	killDaemon
	killInTurn
	freezeDaemon
	powerNode
	overflowDaemon
	failEffects
	jumpClock
	resetSession
	ceaseGateway
	slowSession
	closePort
	openPort
	meddle
	cutFeed
	moveGuest
	killHost
	hostileFrames
	drainLeaf
	muteLeaf
	loseBeyond
	stopDaemon
	uninstallNode
	faultKinds
)

var faultNames = [faultKinds]string{"link cut", "link drops silently", "link loses", "link flaps", "carrier events late", "daemon killed",
	"daemon killed in the middle of a turn", "daemon frozen", "power lost", "netlink overflow", "effects fail", "clock jumps", "session reset",
	"gateway says goodbye", "session slow", "operator closes a port", "operator opens a port", "somebody meddles with the kernel",
	"feed cut", "guest moves", "host dies", "hostile frames", "drain ordered", "leaf forwards nothing",
	"what is beyond the leaves is gone", "daemon stopped", "node uninstalled"}

// weights say how often each is drawn.
var faultWeights = [faultKinds]int{cutLink: 14, dropLink: 8, loseLink: 3, flapLink: 4, lateLink: 2, killDaemon: 8, killInTurn: 8, freezeDaemon: 4,
	powerNode: 4, overflowDaemon: 6, failEffects: 8, jumpClock: 4, resetSession: 6, ceaseGateway: 2, slowSession: 2, closePort: 4, openPort: 2,
	meddle: 4, cutFeed: 2, moveGuest: 3, killHost: 3, hostileFrames: 3, drainLeaf: 5, muteLeaf: 4,
	loseBeyond: 1, stopDaemon: 3, uninstallNode: 2}

// drawFaults gives the faults of the safety phase. Each world has a mix of its own: some kinds are left out.
func drawFaults(r *rand.Rand, length time.Duration, count int) []fault {
	weights := faultWeights
	for k := range weights {
		if chance(r, 30) {
			weights[k] = 0
		}
	}
	total := 0
	for _, x := range weights {
		total += x
	}
	if total == 0 {
		weights, total = faultWeights, 0
		for _, x := range weights {
			total += x
		}
	}
	out := make([]fault, 0, count)
	for range count {
		x := r.IntN(total)
		k := faultKind(0)
		for ; x >= weights[k]; k++ {
			x -= weights[k]
		}
		out = append(out, fault{kind: k, at: between(r, 0, length), lasts: drawLasting(r), target: r.IntN(1 << 16), way: r.IntN(3), amount: r.IntN(1 << 16)})
	}
	return out
}

// drawLasting prefers short times, in which the second fault meets the first one's repair.
func drawLasting(r *rand.Rand) time.Duration {
	switch r.IntN(4) {
	case 0:
		return between(r, time.Millisecond, 50*time.Millisecond)
	case 1:
		return between(r, 50*time.Millisecond, time.Second)
	}
	return between(r, time.Second, 6*time.Second)
}

func (f fault) String() string {
	return fmt.Sprintf("%s (target %d, way %d, amount %d, for %s)", faultNames[f.kind], f.target, f.way, f.amount, f.lasts)
}

// strike applies a fault; what it breaks is mended when its time is over.
func (w *World) strike(f fault) {
	w.injected++
	switch f.kind {
	case cutLink, dropLink, loseLink, flapLink, lateLink:
		w.strikeLink(f, w.links[f.target%len(w.links)])
	case killDaemon, killInTurn, freezeDaemon, overflowDaemon, stopDaemon, uninstallNode:
		w.strikeDaemon(f)
	case powerNode, failEffects, jumpClock:
		w.strikeNode(f, w.nodes[f.target%len(w.nodes)])
	case resetSession, ceaseGateway, slowSession, cutFeed:
		w.strikeSession(f)
	case closePort, openPort, meddle:
		w.strikePort(f)
	case moveGuest, killHost, hostileFrames:
		w.strikeHost(f)
	case drainLeaf:
		w.strikeOrder(f, w.leaves[f.target%len(w.leaves)])
	case muteLeaf, loseBeyond:
		w.strikeForwarding(f)
	case faultKinds:
	}
}

// strikeForwarding is what no link and no daemon shows.
func (w *World) strikeForwarding(f fault) {
	l := w.leaves[f.target%len(w.leaves)]
	w.say("FAULT %s: %s", l.name, f)
	if f.kind == loseBeyond {
		w.gone = true
		w.after(f.lasts, func() { w.gone = false })
		return
	}
	l.setMute(true)
	w.after(f.lasts, func() { l.setMute(false) })
}

func (w *World) strikeLink(f fault, l *link) {
	w.say("FAULT %s: %s", l.name, f)
	switch f.kind {
	case cutLink:
		l.change(func() { l.up = false })
		w.after(f.lasts, func() { l.change(func() { l.up = true }) })
	case dropLink:
		for end := range l.drop {
			if f.way == end || f.way == 2 {
				l.change(func() { l.drop[end] = true })
			}
		}
		w.after(f.lasts, func() { l.change(func() { l.drop = [2]bool{} }) })
	case loseLink:
		l.change(func() { l.loss[f.way%2] = 10 + f.amount%60 })
		w.after(f.lasts, func() { l.change(func() { l.loss = [2]int{} }) })
	case flapLink:
		for i := range 2 + f.amount%8 {
			w.after(time.Duration(i)*(10*time.Millisecond+f.lasts/20), func() { l.change(func() { l.up = i%2 == 1 }) })
		}
		w.after(time.Duration(10)*(10*time.Millisecond+f.lasts/20), func() { l.change(func() { l.up = true }) })
	case lateLink:
		l.late = w.now + f.lasts
		l.change(func() { l.up = false })
		w.after(f.lasts/2, func() { l.change(func() { l.up = true }) })
	default:
	}
}

// daemons lists the nodes that have one.
func (w *World) daemons() []*daemon {
	var out []*daemon
	for _, n := range w.nodes {
		if n.daemon != nil {
			out = append(out, n.daemon)
		}
	}
	return out
}

func (w *World) strikeDaemon(f fault) {
	list := w.daemons()
	d := list[f.target%len(list)]
	if f.way > 0 { // leaves and gateways more often than the many servers
		list = list[:len(w.gateways)+len(w.leaves)]
		d = list[f.target%len(list)]
	}
	w.say("FAULT %s: %s", d.node.name, f)
	switch f.kind {
	case killDaemon:
		d.die()
		w.after(f.lasts, d.start)
	case killInTurn:
		if d.running {
			d.dieAfter = 1 + f.amount%25
			w.after(f.lasts+5*time.Second, d.start)
		}
	case freezeDaemon:
		d.freeze()
		w.after(min(f.lasts, 3*time.Second), d.thaw)
	case overflowDaemon:
		d.overflow()
	case stopDaemon:
		d.stop()
		w.after(f.lasts, d.start)
	case uninstallNode:
		d.leave()
		w.after(f.lasts, d.start)
	default:
	}
}

func (w *World) strikeNode(f fault, n *node) {
	if f.way > 0 {
		list := w.nodes[:len(w.gateways)+len(w.leaves)]
		n = list[f.target%len(list)]
	}
	w.say("FAULT %s: %s", n.name, f)
	switch f.kind {
	case powerNode:
		n.powerOff()
		w.after(f.lasts, func() { n.powerOn(time.Duration(f.amount%2000) * time.Millisecond) })
	case failEffects:
		n.trouble = trouble{until: w.now + f.lasts, percent: 20 + f.amount%80}
	case jumpClock:
		switch f.way {
		case 0:
			n.wallBase += int64(f.amount%7200-3600) * 1000
		case 1:
			n.wallBase = int64(f.amount) * 1000 // 1970
		default:
			n.drift = float64(f.amount%2000-1000) / 1e4
		}
	default:
	}
}

func (w *World) strikeSession(f fault) {
	s := w.sessions[f.target%len(w.sessions)]
	w.say("FAULT %s: session of %s and %s", f, s.ends[0].owner.name, s.ends[1].owner.name)
	switch f.kind {
	case resetSession:
		s.breakConnection()
	case ceaseGateway:
		d := s.ends[1].owner.daemon
		if d.running && !d.frozen {
			d.speaker.cease()
			life := d.life
			w.after(10*time.Millisecond, func() {
				if d.life == life {
					d.die()
				}
			})
			w.after(f.lasts+10*time.Millisecond, d.start)
		}
	case slowSession:
		s.slow = w.now + f.lasts
	case cutFeed:
		w.setFeed(true)
		w.after(f.lasts, func() { w.setFeed(false) })
	default:
	}
}

// breakConnection is a TCP reset that both ends see.
func (s *session) breakConnection() {
	for _, e := range s.ends {
		e.down(step.ReasonReset)
	}
}

func (w *World) strikePort(f fault) {
	list := w.nodes[:len(w.gateways)+len(w.leaves)]
	if f.way == 0 {
		list = w.nodes
	}
	n := list[f.target%len(list)]
	var ports []*port
	for _, p := range n.kernel.ports {
		if p.link != nil {
			ports = append(ports, p)
		}
	}
	if n.dead || len(ports) == 0 {
		return
	}
	p := ports[f.amount%len(ports)]
	w.say("FAULT %s %s: %s", n.name, p.name, f)
	switch f.kind {
	case closePort:
		if p.open() {
			n.operate(p, false)
			w.after(f.lasts, func() {
				if p.operator {
					n.operate(p, true)
				}
			})
		}
	case openPort:
		if !p.open() {
			n.operate(p, true)
		}
	case meddle:
		n.meddle(p, f.amount)
	default:
	}
}

// operate is the operator's hand on a port. What we closed by admin-down, and he opened and closed while the daemon slept, looks as it did.
func (n *node) operate(p *port, up bool) {
	p.operator = !up && (n.protoDown || !n.kernel.ours[p.name])
	p.changedAt = n.w.now
	if up && p.protoDown {
		p.protoDown = false
		p.link.changed()
		n.tellPort(p)
	}
	n.kernel.setAdmin(p, up)
}

// meddle is somebody who deletes what is ours, and the driver that tells of it.
func (n *node) meddle(p *port, amount int) {
	k := n.kernel
	if n.role != leafRole && n.role != gatewayRole {
		return
	}
	if amount%2 == 0 {
		for _, key := range k.neighbors() {
			if e := k.neigh[key]; e.ours && key.port == p.name {
				delete(k.neigh, key)
				n.w.judge.touch(step.HostPrefix(key.addr))
				n.post(fromKernel, step.NeighborChanged{NeighborState: step.NeighborState{
					Neighbor: step.Neighbor{Port: key.port, Addr: key.addr, MAC: e.mac}, Ours: true}})
				return
			}
		}
	}
	for _, r := range k.routes() {
		if !r.ours || r.Blackhole || r.NextHop.Dev != p.name {
			continue
		}
		k.remove(r.Route)
		gone := step.RouteState{Route: r.Route, Ours: true, Protocol: 201}
		if gone.Table == mainTable {
			gone.Table = 0
		}
		n.post(fromKernel, step.RouteChanged{RouteState: gone})
		return
	}
}

// strikeOrder is an operator who plans his work, or plans it badly: by force, or taken back at once.
func (w *World) strikeOrder(f fault, l *node) {
	w.say("FAULT %s: %s", l.name, f)
	l.order(step.OrderDrain, f.way == 2)
	w.after(f.lasts, func() { l.order(step.OrderUndrain, false) })
}

func (w *World) strikeHost(f fault) {
	h := w.hosts[f.target%len(w.hosts)]
	w.say("FAULT %s: %s", h.addr, f)
	switch f.kind {
	case moveGuest:
		if h.tap == "" || h.dead || len(w.servers) < 2 {
			return
		}
		to := w.servers[f.amount%len(w.servers)]
		if to != h.at && (to.server.kind == "bridge" || to.kernel.port("br0") != nil) {
			h.move(to)
		}
	case killHost:
		h.die()
		w.after(f.lasts, h.revive)
	case hostileFrames:
		w.hostile(h, f)
	default:
	}
}

func (h *host) die() {
	if !h.dead {
		h.dead = true
		h.diedAt = h.at.w.now
		h.life++
		h.at.w.judge.touch(step.HostPrefix(h.addr))
	}
}

func (h *host) revive() {
	if h.dead {
		h.dead, h.bornAt = false, h.at.w.now
		h.life++
		h.live()
	}
}

// hostile has a server send what no honest one sends. None of it claims the address of a living host: whoever does that on an
// open segment takes it, here as everywhere.
func (w *World) hostile(h *host, f fault) {
	s := h.at.server
	out := s.links[f.amount%len(s.links)]
	bad := func(mac model.MAC, a netip.Addr) {
		out.send(frame{src: mac, dst: model.Broadcast, op: step.ARPRequest, sha: mac, spa: a, tpa: a})
	}
	switch f.way {
	case 0: // a flood of addresses that nobody has
		for i := range 60 {
			a := netip.AddrFrom4([4]byte{10, 10, 14, byte(i)})
			w.after(time.Duration(i)*200*time.Microsecond, func() { bad(hostMAC(a), a) })
		}
	case 1: // the gateway's address, the virtual MAC, addresses from elsewhere
		bad(h.mac, w.cfg.gatewayIP)
		bad(w.cfg.virtualMAC, h.addr)
		bad(h.mac, netip.AddrFrom4([4]byte{192, 168, 1, 1}))
	default: // malformed
		bad(model.MAC{}, h.addr)
		bad(model.Broadcast, h.addr)
		out.send(frame{src: h.mac, dst: model.Broadcast, op: step.ARPOp(9), sha: h.mac, spa: netip.IPv4Unspecified(), tpa: netip.IPv4Unspecified()})
		out.send(frame{kind: rarpFrame, src: h.mac, dst: model.Broadcast})
		out.send(frame{src: h.mac, dst: model.Broadcast, op: step.ARPNak, sha: w.cfg.virtualMAC, spa: w.cfg.gatewayIP, tpa: netip.IPv4Unspecified()})
		lie(out)
	}
}

// lie tells the gateways in a leaf's name that it has lost a server port, which it has not.
func lie(link *port) {
	lf := link.peer().node
	dl, _ := lf.downlink(link.peer().name)
	attachment, _ := claim.Prefix(lf.w.cfg.attach, dl.ID)
	for _, e := range lf.daemon.speaker.ends {
		if p := e.port(); p != nil {
			p.send(frame{src: p.mac, dst: model.Broadcast, op: step.ARPNak, sha: p.mac, spa: e.other().addr, tha: claim.Foretold(claim.Down, claim.ReasonCarrierLost), tpa: attachment.Addr()})
		}
	}
}
