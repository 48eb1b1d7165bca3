package neighbor

import (
	"container/heap"
	"time"
)

// pace is the unit of pacing, and burst the number of probes that may leave within one: 10,000 probes a second at most,
// whatever happens to fall due at once. What is left over from one unit to the next is sent together, and answered together: waking up
// for each probe and each answer would be most of a leaf's work.
const (
	pace  = 10 * time.Millisecond
	burst = 100
)

// schedule orders entries by when they are due: one timer for all hosts, never one for each.
type schedule struct {
	heap   entryHeap
	ready  []*entry // due and waiting for their turn to be probed, in order
	window time.Duration
	spent  int
	tail   time.Duration // the latest periodic instant handed out, to spread hosts evenly
	serial uint64
}

// at sets when an entry is due.
func (s *schedule) at(e *entry, due time.Duration) {
	s.drop(e)
	s.serial++
	e.due, e.serial = due, s.serial
	heap.Push(&s.heap, e)
}

// drop takes an entry out.
func (s *schedule) drop(e *entry) {
	if e.pos >= 0 {
		heap.Remove(&s.heap, e.pos)
	}
	e.waiting = false // a stale place in ready is skipped
}

// later gives the next periodic instant: one interval ahead, moved back a little where others are crowded there, so that
// hosts that were learned in one burst are not probed in one burst for ever.
func (s *schedule) later(now, interval time.Duration) time.Duration {
	due := now + interval
	if gap := interval / time.Duration(2*(len(s.heap)+1)); due < s.tail+gap {
		due = min(s.tail+gap, now+2*interval)
	}
	s.tail = due
	return onGrid(due, interval)
}

// onGrid puts off a probe a little, so that it falls together with others.
func onGrid(due, interval time.Duration) time.Duration {
	const fine = 100 // the part of an interval that does not matter
	grid := min(pace, interval/fine)
	if grid <= 0 {
		return due
	}
	return (due + grid - 1) / grid * grid
}

// due pops the next entry whose time has come.
func (s *schedule) due(now time.Duration) *entry {
	if len(s.heap) == 0 || s.heap[0].due > now {
		return nil
	}
	return heap.Pop(&s.heap).(*entry)
}

// enqueue puts an entry in line for a probe.
func (s *schedule) enqueue(e *entry) {
	e.waiting = true
	s.ready = append(s.ready, e)
}

// turn gives the next entry that may be probed now, within the pace.
func (s *schedule) turn(now time.Duration) *entry {
	if now-s.window >= pace {
		s.window, s.spent = now, 0
	}
	for len(s.ready) > 0 && s.spent < burst {
		e := s.ready[0]
		s.ready = s.ready[1:]
		if !e.waiting {
			continue
		}
		e.waiting = false
		s.spent++
		return e
	}
	if len(s.ready) == 0 {
		s.ready = nil
	}
	return nil
}

// next is when something is due.
func (s *schedule) next() (time.Duration, bool) {
	if len(s.ready) > 0 {
		return s.window + pace, true
	}
	if len(s.heap) == 0 {
		return 0, false
	}
	return s.heap[0].due, true
}

type entryHeap []*entry

func (h entryHeap) Len() int { return len(h) }
func (h entryHeap) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].serial < h[j].serial
}
func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

// Push and Pop are container/heap's.
func (h *entryHeap) Push(x any) {
	e := x.(*entry)
	e.pos = len(*h)
	*h = append(*h, e)
}

// Pop takes the last one.
func (h *entryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.pos = -1
	return e
}
