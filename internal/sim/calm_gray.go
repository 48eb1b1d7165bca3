package sim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// returnsMax is how often a host may move while the way beyond a leaf is on trial: there and back for each.
const returnsMax = 16

// leafMute: a leaf forwards nothing and answers for itself. Servers that ask what is beyond it leave it, and if its gateways ask through it
// all others, too.
func (w *World) leafMute(r *rand.Rand) {
	if w.cfg.habits.through == 0 && w.cfg.habits.crossing == 0 {
		return
	}
	l := pick(r, w.leaves...)
	c := w.watchAll("silence-moves-only-to-what-works")
	for _, x := range c.watched {
		s := x.host.at.server
		if slices.ContainsFunc(s.links, func(p *port) bool { return p.peer().node == l }) {
			x.most, x.lossless = returnsMax, x.at != l
			x.lossless = x.lossless && !(s.managed() && s.links[0].peer().node == l) // it may be on trial
		}
	}
	w.injected++
	w.say("DAY %s forwards nothing", l.name)
	l.setMute(true)
	w.runUntil(w.now + w.recovery())
	if w.failure != nil {
		return
	}
	w.leftMute(c, l)
	l.setMute(false)
	w.runUntil(w.now + 8*time.Second + w.heldBack())
	w.allReached(c)
}

// leftMute: whoever asks what is beyond his leaf, and has another one, has left the one that forwards nothing. So has everybody if the only
// gateway asks, whom the leaf does not open without.
func (w *World) leftMute(c *calm, l *node) {
	expelled := w.cfg.habits.crossing > 0 && len(w.gateways) == 1 && l.leaf.LocalOnly == 0 && !slices.ContainsFunc(w.servers, func(n *node) bool {
		used, _ := n.server.sides()
		return used != nil && used.peer().node == l && !w.elsewhere(n.server, l)
	})
	for _, x := range c.watched {
		s := x.host.at.server
		used, _ := s.sides()
		if used != nil && used.peer().node == l && expelled {
			w.fail("mute-leaf-needs-another", "%s stays on %s, which forwards nothing", s.node.name, used.name)
		}
		if w.cfg.habits.through == 0 {
			continue
		}
		if used == nil || !s.managed() || !w.elsewhere(s, l) || s.node.daemon.machine == nil {
			continue
		}
		if used.peer().node == l && !w.onTrial(s) && w.hearOfEachOther(s) { // without the feed a wrong clock may make a claim that nobody heeds
			w.fail("silence-moves-only-to-what-works", "%s stays on %s, which forwards nothing", s.node.name, used.name)
		}
	}
}

// onTrial reports whether a server has announced itself on a link that it tries.
func (w *World) onTrial(s *server) bool { return s.usedAt > w.now-time.Second }

// beyondGone: what servers ask beyond their leaves is gone. No leaf is to blame, and nothing is lost.
func (w *World) beyondGone(*rand.Rand) {
	if w.cfg.habits.through == 0 {
		return
	}
	c := w.watchAll("silence-moves-only-to-what-works")
	for _, x := range c.watched {
		if s := x.host.at.server; s.managed() {
			x.most, x.lossless = returnsMax, w.gentle(s)
		}
	}
	w.injected++
	w.say("DAY what is beyond the leaves does not answer")
	w.gone = true
	w.runUntil(w.now + 4*time.Second)
	w.gone = false
	w.runUntil(w.now + w.recovery()) // a leaf without the feed finds out by its own probes that a server tried it and went back
	w.allReached(c)
}

// linkSilent: the active link passes nothing in one direction, or in both, and keeps its carrier.
func (w *World) linkSilent(r *rand.Rand) {
	s, used, _ := w.dual(r)
	if s == nil {
		return
	}
	l := used.peer().node
	c := w.watchAll("silence-moves-only-to-what-works")
	c.except(s.node, returnsMax, false)
	w.injected++
	way := r.IntN(3)
	w.say("DAY the link %s passes nothing (way %d)", used.link.name, way)
	used.link.change(func() { used.link.drop = [2]bool{way != 1, way != 0} })
	w.runUntil(w.now + w.recovery())
	if w.failure != nil {
		return
	}
	closes := l.leaf.CloseSilent && w.feeds(l) && !w.anyMoved() && way != 1 && len(s.hosts) == 1
	if now, _ := s.sides(); now == used && w.hearOfEachOther(s) && w.elsewhere(s, l) && (s.managed() || closes) {
		w.fail("silence-moves-only-to-what-works", "%s stays on %s, which passes nothing", s.node.name, used.name)
	}
	used.link.change(func() { used.link.drop = [2]bool{} })
	w.runUntil(w.now + 8*time.Second)
	w.allReached(c)
}

// leafDaemonDead: of a leaf whose daemon is dead for good nothing is lost before the restart time, and whoever can leaves it after.
func (w *World) leafDaemonDead(r *rand.Rand) {
	l := pick(r, w.leaves...)
	if l.warden == nil {
		return
	}
	c := w.watchAll("adopt-not-flush")
	w.injected++
	w.say("DAY the daemon of %s is dead for good", l.name)
	l.daemon.die()
	w.runUntil(w.now + w.cfg.grace - 200*time.Millisecond)
	c.law = "guard-only-closes"
	for _, x := range c.watched {
		if slices.ContainsFunc(x.host.at.server.links, func(p *port) bool { return p.peer().node == l }) {
			x.most, x.lossless = 1, x.at != l
		}
	}
	w.runUntil(w.now + 2*time.Second + w.recovery())
	if w.failure != nil {
		return
	}
	for _, x := range c.watched {
		if p := w.walk(w.gateways[0], "", x.host.addr); !p.delivered && w.elsewhere(x.host.at.server, l) && w.surelyJoined(x.host) {
			w.fail("guard-only-closes", "%s is not reached long after the restart time of %s: %s", x.host.addr, l.name, p.why)
			return
		}
	}
	w.judge.calm = nil
	l.daemon.start()
	w.await("the daemon is back")
}

// uninstalls: a node is uninstalled, whatever happened to it before, and installed again.
func (w *World) uninstalls(r *rand.Rand) {
	d := pick(r, w.daemons()...)
	w.injected++
	w.say("DAY %s is uninstalled", d.node.name)
	d.leave()
	w.runUntil(w.now + between(r, time.Millisecond, 4*time.Second))
	d.start()
	w.await("it is installed again")
}
