package engine

import (
	"sync"

	"peerless/internal/step"
)

// Bounds of what is done at once.
const (
	inlineMax = 64  // wants of one turn carried out on the engine's goroutine; more go to the sink's own
	batchMax  = 512 // wants that a sink's own goroutine takes at a time
)

// Sink applies wants of the kinds it names. Apply is idempotent and gives one result per want, in order: nil when it is so
// now. It is called with a few wants on the engine's goroutine (if Inline), or with many on the sink's own; never by both at once.
type Sink interface {
	Kinds() []step.Kind
	Apply(wants []step.Want) []error
	Inline() bool
}

// ticket is a want on its way, with what is needed to report the outcome.
type ticket struct {
	want step.Want
	gen  uint64
}

// outcome is a ticket's result.
type outcome struct {
	ticket
	err error
}

// lane is a sink with its queue. Urgent wants go first; a newer want replaces a queued one of the same key in its place.
type lane struct {
	sink Sink
	done func([]outcome)

	// For the turn in hand, used by the engine's goroutine only.
	inline   bool
	ordinary int // wants that are not urgent
	outbox   []ticket

	mu     sync.Mutex
	wake   *sync.Cond
	urgent []step.Key
	bulk   []step.Key
	queued map[step.Key]queuedTicket
	most   int  // how many those have been at once
	busy   bool // the lane's goroutine is in Apply
	closed bool
}

type queuedTicket struct {
	ticket
	urgent bool
}

func newLane(s Sink, done func([]outcome)) *lane {
	l := &lane{sink: s, done: done, queued: map[step.Key]queuedTicket{}}
	l.wake = sync.NewCond(&l.mu)
	return l
}

// idle reports that nothing is queued or in hand. Only the engine's goroutine pushes, so what it finds idle stays so while
// it works inline.
func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queued) == 0 && !l.busy
}

// push queues tickets.
func (l *lane) push(ts ...ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range ts {
		key := t.want.Key()
		old, on := l.queued[key]
		switch {
		case !on && t.want.Urgent, on && t.want.Urgent && !old.urgent: // an upgraded key leaves a stale place in bulk: pop skips it
			l.urgent = append(l.urgent, key)
		case !on:
			l.bulk = append(l.bulk, key)
		}
		l.queued[key] = queuedTicket{ticket: t, urgent: t.want.Urgent || (on && old.urgent)}
	}
	l.most = max(l.most, len(l.queued))
	l.wake.Signal()
}

// send queues what the turn gathered, in one piece, so that it is taken in whole batches.
func (l *lane) send() {
	if len(l.outbox) > 0 {
		l.push(l.outbox...)
		l.outbox = empty(l.outbox)
	}
}

// run carries queued wants out until close.
func (l *lane) run() {
	for {
		batch := l.pop()
		if batch == nil {
			return
		}
		if len(batch) > 0 {
			l.done(apply(l.sink, batch))
		}
		l.mu.Lock()
		l.busy = false
		l.mu.Unlock()
	}
}

// pop waits for work and takes a batch: only urgent wants, if there are any.
func (l *lane) pop() []ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queued) == 0 && !l.closed {
		l.wake.Wait()
	}
	if l.closed {
		return nil
	}
	var batch []ticket
	from, urgent := &l.bulk, false
	if len(l.urgent) > 0 {
		from, urgent = &l.urgent, true
	}
	n := 0
	for ; n < len(*from) && len(batch) < batchMax; n++ {
		key := (*from)[n]
		if q, on := l.queued[key]; on && q.urgent == urgent {
			batch = append(batch, q.ticket)
			delete(l.queued, key)
		}
	}
	l.queued = shrunk(l.queued, &l.most)
	*from = (*from)[n:]
	if len(*from) == 0 {
		*from = nil
	}
	if batch == nil && len(l.queued) > 0 { // only stale places were there
		return []ticket{}
	}
	l.busy = true
	return batch
}

// close ends run once the batch in hand is done; what is queued is not carried out.
func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wake.Signal()
}

// apply carries a batch out and pairs the results with it.
func apply(s Sink, batch []ticket) []outcome {
	wants := make([]step.Want, len(batch))
	for i, t := range batch {
		wants[i] = t.want
	}
	errs := s.Apply(wants)
	out := make([]outcome, len(batch))
	for i, t := range batch {
		out[i] = outcome{ticket: t}
		if i < len(errs) {
			out[i].err = errs[i]
		}
	}
	return out
}
