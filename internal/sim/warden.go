package sim

import (
	"time"

	"peerless/internal/guard"
	"peerless/internal/model"
	"peerless/internal/step"
)

// warden is `peerless guard` of a leaf: a process of its own, which looks only while the daemon does not run, since it does nothing else.
type warden struct {
	n     *node
	guard *guard.Guard
	pause time.Duration // after a closing that failed
}

const (
	wardenPace  = 20 * time.Millisecond
	wardenPause = time.Second
)

func (n *node) newWarden() *warden {
	g := n.leaf.Groups[0]
	return &warden{n: n, guard: guard.New(guard.Config{RestartTime: n.w.cfg.grace, AskPause: wardenPause, Groups: []guard.Group{
		{Name: g.Name, Uplinks: g.Uplinks, Downlinks: g.Downlinks, MinUplinks: g.MinUplinks}}})}
}

// life is what the daemon's lock and its file say.
func (n *node) life() guard.Life {
	switch d := n.daemon; {
	case d.running:
		return guard.Alive
	case n.stopped:
		return guard.Stopped
	case d.diedAt == 0:
		return guard.Unborn
	}
	return guard.Dead
}

// look is one look; others follow as long as the daemon does not run.
func (g *warden) look() {
	n := g.n
	if n.dead {
		return // and the guard with it
	}
	w := n.w
	for _, o := range g.guard.Look(w.now, n.life(), guard.Eyes{Carrier: func(p model.Port) bool { return n.kernel.port(p).up() }, Speaks: n.speaks}) {
		if w.now >= g.pause {
			g.close(o)
		}
	}
	if !n.daemon.running {
		life := n.daemon.life
		w.after(wardenPace, func() {
			if n.daemon.life == life {
				g.look()
			}
		})
	}
}

// speaks reports whether a routing daemon answers at the gateway's end of an uplink.
func (n *node) speaks(up model.Port) bool {
	p := n.kernel.port(up)
	d := p.peer().node.daemon
	return p.link.works() && d.running && !d.frozen
}

func (g *warden) close(o guard.Order) {
	n := g.n
	n.w.say("%s: GUARD closes group %s: %s", n.name, o.Group.Name, o.Why)
	n.w.judge.guarded(n)
	done := true
	for _, p := range o.Group.Downlinks {
		if err := n.kernel.apply(step.Want{Object: step.Gate{Port: p, Closed: true}, Urgent: true, Why: o.Why}); err != nil {
			n.w.say("%s: GUARD fails on %s: %v", n.name, p, err)
			g.pause, done = n.w.now+wardenPause, false
		}
	}
	if done {
		g.guard.Closed(o)
	}
}
