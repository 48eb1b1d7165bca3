package sim

import (
	"net/netip"
	"slices"
	"time"

	"peerless/internal/step"
)

// advertise makes an advertisement true.
func (sp *speaker) advertise(a step.Advertisement, absent bool) {
	sp.lastWord = sp.d.node.w.now
	if absent {
		delete(sp.adv, a.Prefix)
	} else {
		sp.adv[a.Prefix] = a
	}
	for _, e := range sp.ends {
		if e.up {
			e.mark(a.Prefix)
			e.soon()
		}
	}
}

// offered lists what a neighbour is to be told at first, in order.
func (sp *speaker) offered(to *peering) []netip.Prefix {
	var out []netip.Prefix
	for p := range sp.adv {
		out = append(out, p)
	}
	if to.side == 1 {
		for _, e := range sp.ends {
			for p := range e.in {
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// offer is what the neighbour is to hear of a prefix; false: nothing.
func (e *peering) offer(prefix netip.Prefix) (step.Path, bool) {
	sp := e.owner.daemon.speaker
	if a, ok := sp.adv[prefix]; ok {
		if slices.Contains(a.Withheld, e.addr) {
			return step.Path{}, false
		}
		return step.Path{Prefix: prefix, NextHop: e.other().addr, ASPath: []uint32{e.owner.as()}, MED: a.MED, Large: a.Large}, true
	}
	if e.side == 0 || e.s.w.cfg.feedCut {
		return step.Path{}, false
	}
	from, best := sp.best(prefix)
	if from == nil || from == e {
		return step.Path{}, false
	}
	best.ASPath = append([]uint32{e.owner.as()}, best.ASPath...)
	best.MED = 0
	return best, true
}

// best is the gateway's own choice among what the leaves said, for the feed: the lowest MED, then the oldest.
func (sp *speaker) best(prefix netip.Prefix) (from *peering, best step.Path) {
	var order uint64
	attachments := sp.d.node.w.cfg.attach
	if attachments.Contains(prefix.Addr()) {
		return nil, best // NO_EXPORT
	}
	for _, e := range sp.ends {
		p, ok := e.in[prefix]
		if ok && (from == nil || p.path.MED < best.MED || p.path.MED == best.MED && p.order < order) {
			from, best, order = e, p.path, p.order
		}
	}
	return from, best
}

func (e *peering) mark(p netip.Prefix) {
	if !e.isDue[p] {
		e.isDue[p] = true
		e.due = append(e.due, p)
	}
}

// soon tells what is due in a moment, so that what comes together leaves in one UPDATE.
func (e *peering) soon() {
	if e.pumping {
		return
	}
	e.pumping = true
	gen := e.s.gen
	w := e.s.w
	e.owner.daemon.live(w.now+between(w.rng, 50*time.Microsecond, 2*time.Millisecond), func() {
		e.pumping = false
		if e.up && e.s.gen == gen {
			e.flush()
		}
	})
}

func (e *peering) flush() {
	var paths []step.Path
	for _, prefix := range e.due {
		p, ok := e.offer(prefix)
		_, told := e.out[prefix]
		switch {
		case ok:
			e.out[prefix] = p
			paths = append(paths, p)
		case told:
			delete(e.out, prefix)
			paths = append(paths, step.Path{Prefix: prefix, Withdrawn: true})
		}
	}
	e.due, e.isDue = nil, map[netip.Prefix]bool{}
	if len(paths) > 0 {
		e.transmit(message{paths: paths})
	}
}

// transmit sends in order; what a broken link holds up arrives when it works again, if the session lives so long.
func (e *peering) transmit(m message) {
	e.wire = append(e.wire, m)
	if len(e.wire) == 1 {
		e.pump()
	}
}

func (e *peering) pump() {
	s, gen := e.s, e.s.gen
	w := s.w
	wait := s.link.delay + between(w.rng, 20*time.Microsecond, 300*time.Microsecond)
	if w.now < s.slow {
		wait += between(w.rng, 100*time.Millisecond, time.Second)
	}
	w.after(wait, func() {
		switch {
		case s.gen != gen || !e.up || len(e.wire) == 0:
			return
		case !s.link.works():
			w.after(between(w.rng, 100*time.Millisecond, 300*time.Millisecond), func() {
				if s.gen == gen && e.up && len(e.wire) > 0 {
					e.pump()
				}
			})
			return
		}
		m := e.wire[0]
		e.wire = e.wire[1:]
		if o := e.other(); o.up {
			o.take(m)
		}
		if len(e.wire) > 0 {
			e.pump()
		}
	})
}

// take is a message that arrived.
func (e *peering) take(m message) {
	if m.cease != step.ReasonNone {
		e.down(m.cease)
		return
	}
	if m.eor {
		e.sweep()
		e.owner.post(fromSpeaker, step.EndOfRIB{Peer: e.addr})
		return
	}
	var told []step.Path
	for _, p := range m.paths {
		_, known := e.in[p.Prefix]
		if p.Withdrawn {
			if !known {
				continue
			}
			delete(e.in, p.Prefix)
		} else {
			order := e.in[p.Prefix].order
			if !known {
				e.s.w.seq++
				order = e.s.w.seq
			}
			e.in[p.Prefix] = inPath{p, e.session, order, e.s.w.now}
		}
		told = append(told, p)
	}
	if len(told) > 0 {
		e.owner.post(fromSpeaker, step.PathsChanged{Peer: e.addr, Paths: told})
		e.reflect(told)
	}
}

// reflect has the gateway tell its other leaves.
func (e *peering) reflect(paths []step.Path) {
	if e.side == 0 {
		return
	}
	for _, o := range e.owner.daemon.speaker.ends {
		if !o.up {
			continue
		}
		for _, p := range paths {
			o.mark(p.Prefix)
		}
		o.soon()
	}
}

// feed turns what the gateways tell of hosts off or on.
func (w *World) setFeed(off bool) {
	w.cfg.feedCut = off
	for _, s := range w.sessions {
		e := s.ends[1]
		if !e.up {
			continue
		}
		for _, p := range e.owner.daemon.speaker.offered(e) {
			e.mark(p)
		}
		e.soon()
	}
}
