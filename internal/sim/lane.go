package sim

import (
	"time"

	"peerless/internal/step"
)

// ticket is a want on its way, with what is needed to report the outcome.
type ticket struct {
	want step.Want
	gen  uint64
}

// lane is a sink's own goroutine as internal/engine has it: urgent wants first, a newer want in the place of a queued one of its key.
type lane struct {
	d      *daemon
	sink   func(step.Want) error
	urgent []step.Key
	bulk   []step.Key
	queued map[step.Key]waiting
	busy   bool
}

type waiting struct {
	ticket
	urgent bool
}

func newLane(d *daemon, sink func(step.Want) error) lane {
	return lane{d: d, sink: sink, queued: map[step.Key]waiting{}}
}

func (l *lane) idle() bool { return len(l.queued) == 0 && !l.busy }

func (l *lane) push(t ticket) {
	key := t.want.Key()
	old, on := l.queued[key]
	switch {
	case !on && t.want.Urgent, on && t.want.Urgent && !old.urgent:
		l.urgent = append(l.urgent, key)
	case !on:
		l.bulk = append(l.bulk, key)
	}
	l.queued[key] = waiting{t, t.want.Urgent || on && old.urgent}
	l.schedule()
}

func (l *lane) schedule() {
	if l.busy || len(l.queued) == 0 {
		return
	}
	l.busy = true
	w := l.d.node.w
	l.d.live(w.now+between(w.rng, 20*time.Microsecond, 500*time.Microsecond), l.work)
}

// work takes a batch, applies it, and reports.
func (l *lane) work() {
	life := l.d.life
	from, urgent := &l.bulk, false
	if len(l.urgent) > 0 {
		from, urgent = &l.urgent, true
	}
	var done []outcome
	n := 0
	for ; n < len(*from) && len(done) < batchMax; n++ {
		q, on := l.queued[(*from)[n]]
		if !on || q.urgent != urgent {
			continue
		}
		delete(l.queued, (*from)[n])
		done = append(done, outcome{q.ticket, l.sink(q.want)})
	}
	*from = (*from)[n:]
	if l.d.fate() {
		return
	}
	l.busy = false
	l.d.finish(life, done)
	if l.d.life == life {
		l.schedule()
	}
}
