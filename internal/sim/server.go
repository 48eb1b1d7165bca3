package sim

import (
	"net/netip"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// server is a dual-homed machine: a bridge that peerless drives, or a bond that it drives or that is left to itself.
type server struct {
	node     *node
	kind     string // "bridge" or "bond"
	device   model.Port
	links    []*port // primary, backup; only one where it is single-homed
	id       model.AttachmentID
	hosts    []*host
	active   model.Port // bond: the active slave
	miimon   time.Duration
	hears    bool // bond: all_slaves_active
	checking bool
	usedAt   time.Duration // when it last took another link
}

// host is an address behind a server: its own or a guest's.
type host struct {
	addr            netip.Addr
	mac             model.MAC
	at              *node
	tap             model.Port // empty: the machine's own
	dead            bool
	speaks          time.Duration // so often it sends something by itself
	life            int
	spoken          int
	movedAt, diedAt time.Duration
	bornAt          time.Duration // when it last came to life
}

func (s *server) boot() {
	if s.kind == "bond" {
		s.active = ""
		s.check()
	}
}

// managed reports whether peerless is to drive the pair.
func (s *server) managed() bool { return s.node.daemon != nil }

// onCarrier is the bond's monitor.
func (s *server) onCarrier(*port) {
	if s.kind == "bond" && !s.checking {
		s.checking = true
		s.node.w.after(between(s.node.w.rng, time.Millisecond, s.miimon), s.check)
	}
}

// check is one round of miimon: the primary is taken as soon as it has a carrier (primary_reselect always) where nobody
// drives the bond; else the active link is left only when it is lost.
func (s *server) check() {
	s.checking = false
	if s.node.dead {
		return
	}
	was := s.active
	if p := s.node.kernel.port(s.active); p == nil || !p.up() || !s.managed() {
		for _, l := range s.links {
			if l.up() {
				s.take(l.name)
				break
			}
		}
	}
	if s.active != was {
		s.node.w.say("%s: bond uses %s", s.node.name, s.active)
		s.node.w.judge.touchAll()
		s.announce()
	}
}

func (s *server) take(name model.Port) {
	if s.active != name {
		s.active, s.usedAt = name, s.node.w.now
	}
}

// announce is the bond's own gratuitous ARP, for the machine's own addresses.
func (s *server) announce() {
	p := s.node.kernel.port(s.active)
	for _, h := range s.hosts {
		if h.tap == "" && !h.dead && p != nil {
			p.send(frame{src: h.mac, dst: model.Broadcast, op: step.ARPRequest, sha: h.mac, spa: h.addr, tpa: h.addr})
		}
	}
}

// receive is a frame that came by one of the links.
func (s *server) receive(p *port, f frame) {
	s.node.sniff(p, f)
	if s.kind == "bond" && p.name != s.active && !s.hears {
		return
	}
	known := s.deliver(f)
	if s.kind != "bridge" || known && !f.dst.IsGroup() {
		return
	}
	for _, q := range s.links {
		if q != p && q.flags.Flood && !(p.flags.Isolated && q.flags.Isolated) {
			q.send(f) // the two leaves hear each other: what isolation is for
		}
	}
}

// selected is what a snapshot tells of the way out.
func (s *server) selected(to *step.Snapshot) {
	if s.kind == "bond" {
		if s.active != "" {
			to.Bonds = append(to.Bonds, step.BondActive{Bond: s.device, Active: s.active})
		}
		return
	}
	mac := s.node.w.cfg.virtualMAC
	if port, ok := s.node.kernel.fdb[mac]; ok {
		to.Entries = append(to.Entries, step.FDB{Bridge: s.device, MAC: mac, Port: port})
	}
	for _, l := range s.links {
		to.Members = append(to.Members, l.flags)
	}
}

// ask hands a question of the machine itself to the guest at the end of a port; the answer goes no further than the machine.
func (s *server) ask(tap *port, f frame) {
	for _, h := range s.hosts {
		if h.tap == tap.name && !h.dead && h.addr == f.tpa {
			s.node.sniff(tap, frame{src: h.mac, dst: f.src, op: step.ARPReply, sha: h.mac, tha: f.sha, spa: h.addr, tpa: f.spa})
		}
	}
}

// deliver hands a frame to whom it is for, and reports whether that is somebody here.
func (s *server) deliver(f frame) bool {
	known := false
	for _, h := range s.hosts {
		if h.dead || !f.dst.IsGroup() && f.dst != h.mac {
			continue
		}
		known = true
		h.hear(f)
	}
	return known
}

// hear is a host's own stack: it answers for its address, and believes that it is taken when somebody else says so.
func (h *host) hear(f frame) {
	w := h.at.w
	if f.kind != arpFrame {
		return
	}
	if f.spa == h.addr && f.sha != h.mac {
		w.fail("no-self-conflict", "%s is told that %s has its address", h.addr, f.sha)
	}
	if f.op == step.ARPRequest && f.tpa == h.addr {
		h.send(frame{src: h.mac, dst: f.src, op: step.ARPReply, sha: h.mac, tha: f.sha, spa: h.addr, tpa: f.spa})
	}
}

// send is how a frame of a host leaves the server.
func (h *host) send(f frame) {
	for _, p := range h.ways(f.dst) {
		p.send(f)
	}
	if h.tap != "" {
		if tap := h.at.kernel.port(h.tap); tap != nil {
			h.at.sniff(tap, f)
		}
	}
}

// ways are the links by which a frame to that MAC leaves. What the bridge itself originates as broadcast leaves by every port,
// whatever its flood flag says; unknown unicast only by those that flood.
func (h *host) ways(dst model.MAC) []*port {
	s := h.at.server
	if s.kind == "bond" {
		if p := h.at.kernel.port(s.active); p != nil {
			return []*port{p}
		}
		return nil
	}
	if name, ok := h.at.kernel.fdb[dst]; ok {
		return []*port{h.at.kernel.port(name)}
	}
	var out []*port
	for _, p := range s.links {
		if p.flags.Flood || dst.IsGroup() && h.tap == "" {
			out = append(out, p)
		}
	}
	return out
}

// live has a host speak by itself: data to the outside, now and then a question for the gateway or a neighbour.
func (h *host) live() {
	w := h.at.w
	life := h.life
	w.after(h.speaks/2+between(w.rng, 0, h.speaks), func() {
		if h.life != life || h.dead {
			return
		}
		if !h.at.dead {
			h.speak()
		}
		h.live()
	})
}

func (h *host) speak() {
	w := h.at.w
	h.spoken++
	switch h.spoken % 6 { // what is never asked for by ARP is found by a sample of its data alone, and that may take long
	case 1:
		h.send(frame{src: h.mac, dst: model.Broadcast, op: step.ARPRequest, sha: h.mac, spa: h.addr, tpa: w.cfg.gatewayIP})
	case 4:
		if o := pick(w.rng, w.hosts...); o != h {
			h.send(frame{src: h.mac, dst: model.Broadcast, op: step.ARPRequest, sha: h.mac, spa: h.addr, tpa: o.addr})
		}
	default:
		h.send(frame{kind: dataFrame, src: h.mac, dst: w.cfg.virtualMAC, spa: h.addr})
	}
}

// move brings a guest to another server, which announces it there as hypervisors do.
func (h *host) move(to *node) {
	from := h.at
	w := h.at.w
	w.say("%s moves from %s to %s", h.addr, from.name, to.name)
	tap := from.kernel.port(h.tap)
	gone := step.PortState{Port: h.tap}
	from.server.hosts = without(from.server.hosts, h)
	from.kernel.ports = without(from.kernel.ports, tap)
	from.post(fromKernel, step.PortChanged{PortState: gone})
	h.at, h.life, h.movedAt = to, h.life+1, w.now
	to.server.hosts = append(to.server.hosts, h)
	tap = to.addPort(h.tap, tap.mac)
	tap.master, tap.seen = to.server.guestBridge(), true
	to.tellPort(tap)
	w.judge.touchAll()
	life := h.life
	w.after(between(w.rng, time.Millisecond, 20*time.Millisecond), func() {
		if h.life != life || h.dead {
			return
		}
		if chance(w.rng, 50) {
			h.send(frame{kind: rarpFrame, src: h.mac, dst: model.Broadcast, sha: h.mac})
		}
		h.send(frame{src: h.mac, dst: model.Broadcast, op: step.ARPRequest, sha: h.mac, spa: h.addr, tpa: h.addr})
	})
	h.live()
}

// guestBridge is where guests' ports belong: the bridge, or the one above the bond.
func (s *server) guestBridge() model.Port {
	if s.kind == "bridge" {
		return s.device
	}
	return "br0"
}

func without[T comparable](list []T, x T) []T {
	out := make([]T, 0, len(list))
	for _, y := range list {
		if y != x {
			out = append(out, y)
		}
	}
	return out
}
