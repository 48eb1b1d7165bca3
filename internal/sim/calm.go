package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"peerless/internal/leaf"
)

// calm watches hosts while one single thing goes wrong in a world that is otherwise well: what may move, and what may be lost.
type calm struct {
	w       *World
	law     string
	watched []*watch
}

// watch is one host under observation.
type watch struct {
	host     *host
	at       *node // the leaf that delivers to it; nil: none now
	moves    int
	most     int  // moves that are granted
	lossless bool // it must be reached at every moment
}

const watchMax = 12

// look compares where everybody is with where they were.
func (c *calm) look() {
	g := c.w.gateways[0]
	for _, x := range c.watched {
		p := c.w.walk(g, "", x.host.addr)
		if !p.delivered {
			if x.lossless {
				c.w.fail(c.law, "%s is not reached: %s", x.host.addr, p.why)
			}
			continue
		}
		if up := c.w.outward(x.host); x.lossless && !up.delivered {
			c.w.fail(c.law, "%s does not reach the outside: %s", x.host.addr, up.why)
		}
		if p.leaf != x.at {
			if x.at != nil {
				x.moves++
				c.w.say("%s is behind %s now, after %s", x.host.addr, p.leaf.name, x.at.name)
			}
			x.at = p.leaf
			if x.moves > x.most {
				c.w.fail(c.law, "%s moves for the %d. time, to %s", x.host.addr, x.moves, p.leaf.name)
			}
		}
	}
}

// begin watches a sample of hosts under a law: none moves, nothing is lost; exceptions are made afterwards.
func (w *World) watchAll(law string) *calm {
	c := &calm{w: w, law: law}
	first := w.rng.IntN(len(w.hosts))
	for i := range min(watchMax, len(w.hosts)) {
		h := w.hosts[(first+i)%len(w.hosts)]
		if !h.dead && w.surelyJoined(h) {
			p := w.walk(w.gateways[0], "", h.addr)
			if p.delivered {
				x := &watch{host: h, at: p.leaf, lossless: true}
				if w.returnsYet(h.at.server) {
					x.most = 1
				}
				c.watched = append(c.watched, x)
			}
		}
	}
	w.judge.calm = c
	return c
}

// returnsYet reports whether a server may return to its primary link at any time: once it is shown that its leaf forwards. That is not
// shown as long as the leaf sends some of what goes up to a gateway that has no way down to the link in use.
func (w *World) returnsYet(s *server) bool {
	used, _ := s.sides()
	return s.managed() && w.cfg.habits.through > 0 && used != nil && used != s.links[0] && slices.ContainsFunc(w.gateways, func(g *node) bool {
		return direct(g, s.links[0].peer().node) && !w.joins(g, used.peer().node)
	})
}

// surelyJoined reports whether the first gateway reaches a host by whichever leaf its server chooses.
func (w *World) surelyJoined(h *host) bool {
	homes := w.homes(h.at)
	return len(homes) > 0 && !slices.ContainsFunc(homes, func(l *node) bool { return !w.joins(w.gateways[0], l) })
}

// except grants the hosts of a server so many moves, and losses.
func (c *calm) except(n *node, moves int, lossless bool) {
	for _, x := range c.watched {
		if x.host.at == n {
			x.most, x.moves, x.lossless = moves, 0, lossless
		}
	}
}

// silentFor is how long a leaf leaves a link out that passes nothing, or that everybody has left without a word of it.
const silentFor = 10 * time.Second

// settle waits until every server that returns by itself is on its primary link, and nothing changes any more.
func (w *World) settle() bool {
	w.judge.calm = nil
	pause := 6 * time.Second
	if w.cfg.habits.links > 0 {
		pause += silentFor
	}
	w.runUntil(w.now + pause)
	return w.failure == nil && w.await("calm")
}

// calmDays tries single faults, one after the other.
func (w *World) calmDays(r *rand.Rand) {
	days := []func(*rand.Rand){w.standbyFails, w.activeFails, w.daemonDies, w.sessionBreaks, w.daemonPauses, w.messagesLost, w.hostDies, w.uplinkFails, w.leafBoots,
		w.leafDrained, w.linkFlaps, w.gatewayGone, w.leafMute, w.beyondGone, w.linkSilent, w.leafDaemonDead, w.uninstalls}
	for range 3 {
		if w.failure != nil || !w.settle() {
			return
		}
		w.prepared()
		days[r.IntN(len(days))](r)
		w.judge.calm = nil
	}
}

// sides gives a server's link in use and the other one; nil if it has no second.
func (s *server) sides() (used, other *port) {
	name := s.active
	if s.kind == "bridge" {
		name = s.node.kernel.fdb[s.node.w.cfg.virtualMAC]
	}
	for _, p := range s.links {
		if p.name == name {
			used = p
		} else {
			other = p
		}
	}
	return used, other
}

// dual draws a server with two links.
func (w *World) dual(r *rand.Rand) (*server, *port, *port) {
	for range 8 {
		s := pick(r, w.servers...).server
		if used, other := s.sides(); used != nil && other != nil {
			return s, used, other
		}
	}
	return nil, nil, nil
}

// gentle reports whether a server that leaves a leaf of its own will loses nothing: both of its links hear, and the leaf that it leaves knows
// that it has moved. Without the feed, or a gateway in common, and with clocks that are wrong by years, the old leaf takes a link that everybody has left for one that
// passes nothing, and nobody has told the gateway yet.
func (w *World) gentle(s *server) bool {
	return (s.kind == "bridge" || s.hears) && (w.hearOfEachOther(s) || w.cfg.habits.links == 0)
}

func (w *World) standbyFails(r *rand.Rand) {
	s, _, other := w.dual(r)
	if s == nil {
		return
	}
	w.watchAll("standby-moves-nothing")
	w.injected++
	w.say("DAY the standby link %s fails and returns", other.link.name)
	other.link.change(func() { other.link.up = false })
	w.runUntil(w.now + 2*time.Second)
	other.link.change(func() { other.link.up = true })
	w.runUntil(w.now + 4*time.Second)
}

func (w *World) activeFails(r *rand.Rand) {
	s, used, _ := w.dual(r)
	if s == nil {
		return
	}
	c := w.watchAll("one-move")
	c.except(s.node, 1, false)
	w.injected++
	w.say("DAY the active link %s fails and returns", used.link.name)
	used.link.change(func() { used.link.up = false })
	w.runUntil(w.now + w.recovery())
	if !w.allReached(c) {
		return
	}
	lossless := w.gentle(s)
	c.except(s.node, 1, lossless)
	if lossless {
		c.law = "make-before-break"
	}
	used.link.change(func() { used.link.up = true })
	w.runUntil(w.now + 6*time.Second)
	w.allReached(c)
}

// recovery is how long a single failure may take to be repaired: a silent guest has to be found, and behind a bond that is left to itself
// nobody is announced. What a guest says every third time is a question by ARP, and it is silent for up to one and a half times its pause.
func (w *World) recovery() time.Duration {
	return max(4*time.Second, 5*w.hosts[0].speaks) + 4*w.leaves[0].leaf.HostProbe.Interval
}

func (w *World) allReached(c *calm) bool {
	for _, x := range c.watched {
		if p := w.walk(w.gateways[0], "", x.host.addr); !p.delivered && w.surelyJoined(x.host) {
			w.fail("reach-after-heal", "%s is not reached %s after a single failure: %s", x.host.addr, w.recovery(), p.why)
			return false
		}
	}
	return w.failure == nil
}

func (w *World) daemonDies(r *rand.Rand) {
	d := pick(r, w.daemons()...)
	c := w.watchAll("adopt-not-flush")
	if d.node.server != nil {
		// Which link was in use it is not told: it returns to its primary, without a loss where both links hear.
		c.except(d.node, 1, d.node.server.kind == "bridge" || d.node.server.hears)
	}
	w.injected++
	w.say("DAY the daemon of %s is killed and started again", d.node.name)
	d.die()
	w.runUntil(w.now + between(r, 50*time.Millisecond, w.cfg.grace-1500*time.Millisecond))
	d.start()
	w.runUntil(w.now + w.cfg.grace + 3*time.Second)
}

func (w *World) sessionBreaks(r *rand.Rand) {
	s := pick(r, w.sessions...)
	w.watchAll("soft-never-closes")
	w.injected++
	w.say("DAY the session of %s and %s breaks", s.ends[0].owner.name, s.ends[1].owner.name)
	s.breakConnection()
	w.runUntil(w.now + 5*time.Second)
}

func (w *World) daemonPauses(r *rand.Rand) {
	d := pick(r, w.daemons()...)
	w.watchAll("soft-never-closes")
	w.injected++
	w.say("DAY the daemon of %s is stopped for 2 s", d.node.name)
	d.freeze()
	w.runUntil(w.now + 2*time.Second)
	d.thaw()
	w.runUntil(w.now + 3*time.Second)
}

func (w *World) messagesLost(r *rand.Rand) {
	d := pick(r, w.daemons()...)
	w.watchAll("snapshot-is-the-truth")
	w.injected++
	w.say("DAY netlink of %s overflows", d.node.name)
	d.overflow()
	w.runUntil(w.now + 2*time.Second)
}

// hostDies: no route outlives its host beyond the bound.
func (w *World) hostDies(r *rand.Rand) {
	h := pick(r, w.hosts...)
	if h.tap == "" && h.at.server.managed() && w.cfg.habits.through > 0 {
		return // its daemon lives, misses the answers to its own address, and announces it elsewhere
	}
	w.injected++
	w.say("DAY %s dies", h.addr)
	h.die()
	lf := w.leaves[0].leaf
	w.runUntil(w.now + time.Duration(lf.HostProbe.Multiplier+3)*lf.HostProbe.Interval*2 + 4*time.Second)
	for _, n := range w.nodes {
		for t, tab := range n.kernel.tables {
			if len(tab.hosts[h.addr]) > 0 && (t < leaf.StandbyTable || t > leaf.StandbyTable && n.kernel.looked(t)) {
				w.fail("no-stale-route", "%s has a route to %s in table %d, long after it died", n.name, h.addr, t)
			}
		}
	}
	h.revive()
	w.runUntil(w.now + 3*time.Second)
}

// uplinkFails: the servers of a leaf that loses its gateway move once, and back once.
func (w *World) uplinkFails(r *rand.Rand) {
	l := pick(r, w.leaves...)
	ups := l.uplinks()
	c := w.watchAll("one-move")
	for _, x := range c.watched {
		if x.at == l {
			x.most, x.lossless = 1, false
		}
		x.lossless = x.lossless && len(w.gateways) == 1
	}
	c.watched = slices.DeleteFunc(c.watched, func(x *watch) bool {
		return slices.ContainsFunc(x.host.at.server.links, func(p *port) bool { return p.peer().node == l && x.host.at.server.lured(l) })
	})
	w.injected++
	w.say("DAY the uplinks of %s fail and return", l.name)
	for _, p := range ups {
		p.link.change(func() { p.link.up = false })
	}
	w.runUntil(w.now + w.recovery())
	if !w.allReached(c) {
		return
	}
	for _, x := range c.watched {
		x.moves, x.most = 0, 1
	}
	for _, p := range ups {
		p.link.change(func() { p.link.up = true })
	}
	w.runUntil(w.now + 8*time.Second)
	w.allReached(c)
}

// leafBoots: a leaf dies and comes back with its ports open before its daemon runs. Whoever asks whether it is open returns without a
// loss; a bond that is left to itself goes by the carrier.
func (w *World) leafBoots(r *rand.Rand) {
	l := pick(r, w.leaves...)
	c := w.watchAll("make-before-break")
	for _, x := range c.watched {
		if slices.ContainsFunc(x.host.at.server.links, func(p *port) bool { return p.peer().node == l }) {
			x.most, x.lossless = 1, false
		}
		x.lossless = x.lossless && len(w.gateways) == 1
	}
	w.injected++
	w.say("DAY %s dies and boots", l.name)
	l.powerOff()
	w.runUntil(w.now + w.recovery())
	if !w.allReached(c) {
		return
	}
	for _, x := range c.watched {
		s := x.host.at.server
		x.moves, x.most = 0, 1
		if s.managed() {
			x.lossless = len(w.gateways) == 1 && w.gentle(s)
		} else {
			x.most, x.lossless = 4, x.lossless && len(s.links) > 1 && x.at != l && s.links[0].peer().node != l
		}
	}
	l.powerOn(time.Second)
	w.runUntil(w.now + 12*time.Second)
	w.allReached(c)
}
