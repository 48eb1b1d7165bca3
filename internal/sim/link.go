package sim

import (
	"net/netip"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// port is a network device of a node.
type port struct {
	node  *node
	name  model.Port
	index int
	mac   model.MAC
	hw    model.MAC // what it has after a boot
	link  *link     // nil: a guest's port
	end   int       // which end of the link it is

	adminUp   bool
	protoDown bool
	operator  bool // the operator closed it: what the invariant goes by
	seen      bool // carrier as the kernel has noticed it
	noticing  bool // the kernel is about to notice a change
	master    model.Port
	addrs     []step.Address
	flags     step.BridgePort
	changedAt time.Duration
	told      step.PortState // what the daemon's driver told last
	toldOnce  bool
}

// open reports whether frames pass this end.
func (p *port) open() bool { return p.adminUp && !p.protoDown && !p.node.dead }

// carrier is the physical truth.
func (p *port) carrier() bool {
	if p.link == nil {
		return !p.node.dead
	}
	o := p.peer()
	return p.link.up && p.open() && o.open()
}

func (p *port) peer() *port { return p.link.ends[1-p.end] }

// up is what the kernel goes by.
func (p *port) up() bool { return p.open() && p.seen }

// link is a cable.
type link struct {
	w      *World
	name   string
	ends   [2]*port // the upper end (gateway, leaf) first
	up     bool
	drop   [2]bool // frames sent by that end vanish without a word
	loss   [2]int  // so many of a hundred do
	delay  time.Duration
	bad    time.Duration // until when it was not clean
	wasBad bool
	late   time.Duration // until then carrier changes are noticed late
}

// passes reports whether a frame sent by that end arrives.
func (l *link) passes(from int) bool {
	return l.up && l.ends[0].open() && l.ends[1].open() && !l.drop[from]
}

// works reports whether frames pass in both directions.
func (l *link) works() bool { return l.passes(0) && l.passes(1) }

// clean reports whether nothing at all is wrong with it.
func (l *link) clean() bool { return l.works() && l.loss == [2]int{} }

// changed has both kernels notice what became of the carrier, each in its time.
func (l *link) changed() {
	if l.wasBad {
		l.bad = l.w.now
	}
	l.wasBad = !l.clean()
	for _, p := range l.ends {
		p.changed()
	}
	l.w.judge.touchAll()
}

// changed schedules the kernel's notice of its carrier.
func (p *port) changed() {
	w := p.node.w
	if p.noticing || p.seen == p.carrier() {
		return
	}
	p.noticing = true
	wait := between(w.rng, 50*time.Microsecond, 400*time.Microsecond)
	if p.link != nil && !p.carrier() && w.now < p.link.late {
		wait = between(w.rng, time.Millisecond, time.Second) // linkwatch is late, and the poll may be too
	}
	if !p.open() {
		wait = 0 // the node's own doing
	}
	w.after(wait, p.notice)
}

// notice is linkwatch: the kernel acts on the carrier and tells of it.
func (p *port) notice() {
	p.noticing = false
	if p.node.dead || p.seen == p.carrier() {
		return
	}
	p.seen, p.changedAt = p.carrier(), p.node.w.now
	p.node.w.say("%s: port %s carrier %v", p.node.name, p.name, p.seen)
	if !p.seen {
		p.node.kernel.carrierLost(p)
	}
	p.node.w.judge.touchAll()
	p.node.tellPort(p)
	p.node.onCarrier(p)
}

// frame is what travels. Data packets exist only as far as somebody learns from them; forwarding is judged by walking the tables.
type frame struct {
	kind     frameKind
	src, dst model.MAC
	op       step.ARPOp
	sha, tha model.MAC
	spa, tpa netip.Addr // ARP; of data the source address is spa
}

type frameKind uint8

const (
	arpFrame frameKind = iota
	rarpFrame
	dataFrame
)

// send puts a frame on the link, if there is one.
func (p *port) send(f frame) {
	l := p.link
	if l == nil || !l.passes(p.end) || l.loss[p.end] > 0 && chance(l.w.rng, l.loss[p.end]) {
		return
	}
	to := p.peer()
	l.w.after(l.delay, func() {
		if l.passes(p.end) {
			to.node.receive(to, f)
		}
	})
}

// badAt is when the link was last not clean: now, if it is not.
func (l *link) badAt() time.Duration {
	if !l.clean() {
		return l.w.now
	}
	return l.bad
}

// change does something to the link and has both ends notice.
func (l *link) change(do func()) {
	do()
	l.changed()
}
