package sim

import (
	"net/netip"
	"slices"
	"time"

	"peerless/internal/step"
)

// speaker is the embedded BGP speaker of a daemon, as internal/driver/bgp and GoBGP behave: sessions, what was told, what was
// heard, graceful restart. It dies with its daemon.
type speaker struct {
	d        *daemon
	ends     []*peering
	adv      map[netip.Prefix]step.Advertisement
	lastWord time.Duration // when the machine last advertised something
	latest   time.Duration
}

// peering is one end of a session.
type peering struct {
	s        *session
	side     int // 0 leaf, 1 gateway
	owner    *node
	addr     netip.Addr // of the other end
	up       bool
	reset    bool // it was torn down by us
	session  uint32
	in       map[netip.Prefix]inPath
	out      map[netip.Prefix]step.Path // what was told in this session
	due      []netip.Prefix             // to be told
	isDue    map[netip.Prefix]bool
	wire     []message
	pumping  bool
	heardAt  time.Duration // a sign of life of the other end
	expiry   int           // generation of the stale routes' timer; 0: none runs
	expiries int
	downAt   time.Duration
}

type inPath struct {
	path    step.Path
	session uint32
	order   uint64 // of arrival
	at      time.Duration
}

type message struct {
	paths []step.Path
	eor   bool
	cease step.SessionReason
}

// session is the adjacency of a leaf and a gateway.
type session struct {
	w      *World
	link   *link
	ends   [2]*peering
	gen    int
	dialed bool
	slow   time.Duration // until then everything takes long
}

func (w *World) addSession(l *link, lf, gw *node, leafAddr, gwAddr netip.Addr) *session {
	s := &session{w: w, link: l}
	for side, n := range []*node{lf, gw} {
		addr := gwAddr
		if side == 1 {
			addr = leafAddr
		}
		s.ends[side] = &peering{s: s, side: side, owner: n, addr: addr}
		n.daemon.speaker.ends = append(n.daemon.speaker.ends, s.ends[side])
	}
	w.sessions = append(w.sessions, s)
	return s
}

func (e *peering) other() *peering { return e.s.ends[1-e.side] }

// port is this end's port on the link.
func (e *peering) port() *port {
	if e.s.link.ends[0].node == e.owner {
		return e.s.link.ends[0]
	}
	return e.s.link.ends[1]
}

// ceaseDown is a goodbye for good.
const ceaseDown = step.ReasonCeaseDown

const (
	connectRetry = 200 * time.Millisecond
	settleQuiet  = 100 * time.Millisecond
	deferralMax  = 2 * time.Second
	tickEvery    = 250 * time.Millisecond
)

// start begins without a memory. After a restart no session comes up before the machine has told again what it told before.
func (sp *speaker) start() {
	w := sp.d.node.w
	sp.adv = map[netip.Prefix]step.Advertisement{}
	sp.lastWord, sp.latest = w.now, w.now
	if sp.d.starts > 1 {
		sp.latest = w.now + deferralMax
		sp.lastWord = w.now + deferralMax - settleQuiet // until the first word
	}
	for _, e := range sp.ends {
		e.up, e.reset, e.session, e.in = false, false, 0, map[netip.Prefix]inPath{}
		e.expiry, e.wire, e.pumping = 0, nil, false
	}
}

func (sp *speaker) ready() bool {
	w := sp.d.node.w
	return sp.d.running && !sp.d.frozen && (w.now >= sp.latest || w.now >= sp.lastWord+settleQuiet)
}

// die closes the sockets: the other end sees a reset, if the link still carries it.
func (sp *speaker) die() {
	for _, e := range sp.ends {
		was := e.up
		e.up, e.wire = false, nil
		if was {
			e.tellReset()
		}
	}
}

// tellReset is the RST of a kernel whose process is gone.
func (e *peering) tellReset() {
	o, gen := e.other(), e.s.gen
	w := e.s.w
	w.after(e.s.link.delay+between(w.rng, 50*time.Microsecond, time.Millisecond), func() {
		if e.s.gen == gen && o.up && e.s.link.works() {
			o.down(step.ReasonReset)
		}
	})
}

// tick keeps sessions alive, ends them, and tries to make them.
func (s *session) tick() {
	w := s.w
	for _, e := range s.ends {
		if !e.up || e.owner.daemon.frozen {
			continue
		}
		o := e.other()
		switch {
		case o.up && s.link.passes(o.port().end) && !o.owner.daemon.frozen:
			e.heardAt = w.now
		case w.now-e.heardAt >= w.cfg.hold:
			e.down(step.ReasonHoldTimer)
			if o.up && s.link.works() {
				o.down(step.ReasonCeaseOther)
			}
		case !o.up && s.link.works() && !o.owner.dead && w.now-e.heardAt >= w.cfg.hold/3:
			e.down(step.ReasonReset) // our keepalive was answered by a reset
		}
	}
	if !s.ends[0].up && !s.ends[1].up && !s.dialed && s.ends[0].owner.daemon.speaker.ready() && s.ends[1].owner.daemon.speaker.ready() {
		s.dialed = true
		w.after(between(w.rng, time.Millisecond, connectRetry), s.connect)
	}
	w.after(tickEvery, s.tick)
}

// connect is the handshake.
func (s *session) connect() {
	s.dialed = false
	if s.ends[0].up || s.ends[1].up || !s.link.works() || !s.ends[0].owner.daemon.speaker.ready() || !s.ends[1].owner.daemon.speaker.ready() {
		return
	}
	s.gen++
	for _, e := range s.ends {
		e.establish()
	}
}

func (e *peering) establish() {
	w := e.s.w
	e.up, e.reset, e.heardAt = true, false, w.now
	e.session++
	e.out, e.due, e.isDue, e.wire, e.pumping = map[netip.Prefix]step.Path{}, nil, map[netip.Prefix]bool{}, nil, false
	o := e.other().owner
	e.owner.post(fromSpeaker, step.SessionChanged{Peer: e.addr, RouterID: o.own, AS: o.as(), Up: true})
	for _, p := range e.owner.daemon.speaker.offered(e) {
		e.mark(p)
	}
	e.flush()
	e.transmit(message{eor: true})
}

func (n *node) as() uint32 {
	if n.role == leafRole {
		return n.leaf.AS
	}
	return n.gw.AS
}

// down ends a session as this end sees it. What was heard outlives it where graceful restart says so.
func (e *peering) down(why step.SessionReason) {
	if !e.up {
		return
	}
	w := e.s.w
	w.say("%s: session with %s ends: %s", e.owner.name, e.other().owner.name, why)
	e.up, e.wire, e.downAt = false, nil, w.now
	e.owner.post(fromSpeaker, step.SessionChanged{Peer: e.addr, Reason: why})
	if why != step.ReasonReset && why != step.ReasonHoldTimer && why != step.ReasonCeaseOther {
		e.forget()
		return
	}
	e.expiries++
	e.expiry = e.expiries
	gen, ended := e.expiry, e.session
	e.owner.daemon.live(w.now+w.cfg.grace, func() {
		switch {
		case e.expiry != gen:
		case e.up:
			e.sweep()
		case e.session == ended:
			e.forget()
		}
	})
}

// reset is ResetSession: the machine wants to hear nothing more of this session.
func (sp *speaker) reset(peer netip.Addr) {
	for _, e := range sp.ends {
		if e.addr != peer {
			continue
		}
		if !e.up {
			e.forget()
			continue
		}
		e.down(step.ReasonOurs)
		o, gen := e.other(), e.s.gen
		w := sp.d.node.w
		w.after(e.s.link.delay, func() {
			if e.s.gen == gen && o.up && e.s.link.works() {
				o.down(step.ReasonCeaseOther)
			}
		})
	}
}

// cease is an orderly goodbye to every neighbour.
func (sp *speaker) cease() {
	for _, e := range sp.ends {
		if e.up {
			e.transmit(message{cease: ceaseDown})
		}
	}
}

// forget withdraws everything heard.
func (e *peering) forget() { e.drop(func(uint32) bool { return true }) }

// sweep withdraws what the present session has not repeated.
func (e *peering) sweep() { e.drop(func(s uint32) bool { return s != e.session }) }

func (e *peering) drop(gone func(uint32) bool) {
	e.expiry = 0
	var paths []step.Path
	for prefix, p := range e.in {
		if gone(p.session) {
			paths = append(paths, step.Path{Prefix: prefix, Withdrawn: true})
		}
	}
	if len(paths) == 0 {
		return
	}
	slices.SortFunc(paths, func(a, b step.Path) int { return a.Prefix.Compare(b.Prefix) })
	for _, p := range paths {
		delete(e.in, p.Prefix)
	}
	e.owner.post(fromSpeaker, step.PathsChanged{Peer: e.addr, Paths: paths})
	e.reflect(paths)
}
