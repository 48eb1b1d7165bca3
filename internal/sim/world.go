// Package sim runs the very machines of the daemons, under the very engine turn, in a world of modelled links, kernels and
// routing sessions, with virtual time and one seed.
//
// It decides what a world looks like, what breaks in it and when, and whether what the machines did then keeps the invariants of
// docs/invariants.md. It never touches a real kernel, socket or clock: two runs of one seed are the same to the last step.
package sim

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"peerless/internal/model"
)

// World is everything there is in one run.
type World struct {
	seed  uint64
	rng   *rand.Rand // of what happens while it runs; topology and faults have streams of their own
	now   time.Duration
	queue eventQueue
	seq   uint64
	steps int
	still int // of them at the present instant

	cfg      worldConfig
	gateways []*node
	leaves   []*node
	servers  []*node
	nodes    []*node // all of them, in that order
	links    []*link
	sessions []*session
	hosts    []*host
	byAddr   map[netip.Addr]*host

	judge    judge
	failure  *Violation
	injected int  // faults so far
	feedOff  bool // the feed is cut for the whole life of this world
	gone     bool // what is beyond the gateways answers nobody
	trace    io.Writer
	verbose  bool // ARP too
}

// worldConfig is what concerns all nodes of a world.
type worldConfig struct {
	subnet     netip.Prefix
	gatewayIP  netip.Addr
	virtualMAC model.MAC
	attach     netip.Prefix
	grace      time.Duration // graceful restart
	hold       time.Duration // of routing sessions
	feedCut    bool          // the gateways tell their leaves nothing but the default route
	tellNeigh  bool          // the kernel tells of the neighbours that a lost carrier took
	tableBase  uint32
	habits     habits
}

// Violation is an invariant that did not hold.
type Violation struct {
	Invariant string        `json:"invariant"`
	At        time.Duration `json:"at_ns"`
	Text      string        `json:"text"`
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s at %s: %s", v.Invariant, v.At, v.Text)
}

// event is something that happens at an instant; equal instants keep the order in which they were set.
type event struct {
	at  time.Duration
	seq uint64
	run func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push and Pop are container/heap's.
func (q *eventQueue) Push(x any) { *q = append(*q, x.(event)) }

// Pop takes the last one.
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

// at has something happen at an instant, now at the earliest.
func (w *World) at(when time.Duration, run func()) {
	w.seq++
	heap.Push(&w.queue, event{at: max(when, w.now), seq: w.seq, run: run})
}

// after has something happen some time from now.
func (w *World) after(d time.Duration, run func()) { w.at(w.now+d, run) }

// stillMax is how many steps may be due at one instant: far more than any burst has.
const stillMax = 1_000_000

// runUntil lets everything happen that is due by an instant; it ends early when an invariant breaks.
func (w *World) runUntil(end time.Duration) {
	for w.failure == nil && len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		if w.still++; e.at > w.now {
			w.still = 0
		}
		w.now = e.at
		w.steps++
		if w.still > stillMax {
			w.fail("time-goes-on", "%d steps at one instant: a timer that is armed for the past, again and again?", w.still)
		}
		e.run()
		w.judge.afterStep()
	}
	if w.failure == nil {
		w.now = end
	}
}

// fail records the first violation.
func (w *World) fail(invariant, format string, args ...any) {
	if w.failure == nil {
		w.failure = &Violation{Invariant: invariant, At: w.now, Text: fmt.Sprintf(format, args...)}
		w.say("VIOLATED %s: %s", invariant, w.failure.Text)
	}
}

// say writes a line of the trace.
func (w *World) say(format string, args ...any) {
	if w.trace != nil {
		// A trace that cannot be written is no reason to end the world.
		_, _ = fmt.Fprintf(w.trace, "%12.6f  "+format+"\n", append([]any{w.now.Seconds()}, args...)...)
	}
}

// between draws a duration, low included.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// chance draws true so many times in a hundred.
func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

// pick draws one of a list.
func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// nodeNamed finds a node; nil if there is none.
func (w *World) nodeNamed(name string) *node {
	for _, n := range w.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}
