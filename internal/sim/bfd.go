package sim

import (
	"time"

	"peerless/internal/step"
)

// detectors are the two ends of bidirectional forwarding detection on a link between leaf and gateway, as internal/driver/bfd behaves: in
// the daemon, so that it dies and stops with it.
type detectors struct {
	s        *session
	interval time.Duration
	ends     [2]detector
}

type detector struct {
	up      bool
	life    int // of the daemon: another life begins anew
	heardAt time.Duration
}

const detectMultiplier = 3

// watched has a session's link watched by both ends.
func (s *session) watched(interval time.Duration) {
	b := &detectors{s: s, interval: interval}
	s.w.after(between(s.w.rng, 0, interval), b.tick)
}

// runs reports whether an end sends: its daemon lives, is not stopped, and was asked to.
func (b *detectors) runs(side int) bool {
	d := b.s.ends[side].owner.daemon
	return d.running && !d.frozen && d.detects[b.s.ends[side].port().name]
}

func (b *detectors) tick() {
	w := b.s.w
	for side := range b.ends {
		e, d := &b.ends[side], b.s.ends[side].owner.daemon
		if d.life != e.life {
			*e = detector{life: d.life}
		}
		if d.frozen {
			e.heardAt = w.now // a pause of our own is not the neighbour's silence
		}
		if !b.runs(side) {
			continue
		}
		other := 1 - side
		if b.runs(other) && b.s.link.passes(b.s.ends[other].port().end) {
			e.heardAt = w.now
		}
		switch {
		case e.up && w.now-e.heardAt > detectMultiplier*b.interval:
			b.tell(side, false, "control detection time expired")
		case e.up && !b.ends[other].up && e.heardAt == w.now:
			b.tell(side, false, "neighbor signaled session down")
		case !e.up && b.runs(other) && b.s.link.works() && w.now-e.heardAt < b.interval:
			b.tell(0, true, "")
			b.tell(1, true, "")
		}
	}
	w.after(b.interval, b.tick)
}

// tell changes an end's state and has its machine hear of it.
func (b *detectors) tell(side int, up bool, why string) {
	p := b.s.ends[side]
	if b.ends[side].up == up {
		return
	}
	b.ends[side].up, b.ends[side].heardAt = up, b.s.w.now
	p.owner.post(fromDetector, step.BFDChanged{Port: p.port().name, Peer: p.addr, Up: up, Detect: detectMultiplier * b.interval, Diag: why})
}
