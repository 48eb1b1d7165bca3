// Package engine runs one machine: it feeds events in, carries effects out, and reports every outcome back.
//
// Turn is its pure half (wants, their order, retries, timers); Engine is the goroutine around it. It decides when an effect is
// carried out, never which: that is the machine's.
package engine

import (
	"container/heap"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Retry pauses of a want that failed: the first, and the longest.
const (
	retryMin = 10 * time.Millisecond
	retryMax = 5 * time.Second
)

// burst is from when on the room that something took is given back once it is empty: thousands of hosts move, and then nothing happens for
// weeks.
const burst = 1024

// empty gives a slice to fill anew.
func empty[T any](s []T) []T {
	if cap(s) > burst {
		return nil
	}
	return s[:0]
}

// shrunk is a map like this one that has just become empty, and most the size that it had had.
func shrunk[K comparable, V any](m map[K]V, most *int) map[K]V {
	if len(m) > 0 || *most < burst {
		return m
	}
	*most = 0
	return map[K]V{}
}

// Action is one thing the runner is to do now, in order: carry out a want (then report its outcome), or an emit.
type Action struct {
	Want   step.Want   // valid if Emit is nil
	Gen    uint64      // goes back with the outcome
	Emit   step.Effect // SendARP, Resolve, ResetSession or Note
	Urgent bool
}

// Turn holds what the machine has asked for and what has become of it. It is deterministic and does no I/O.
type Turn struct {
	machine step.Machine
	gen     uint64
	wants   map[step.Key]*wanted    // not applied yet
	most    int                     // how many those have been at once
	waiting map[step.Key][]step.Key // wants that wait for this key, in the order asked
	timers  timerQueue
	armed   map[step.Timer]*timer
	actions []Action
}

type wanted struct {
	want    step.Want
	gen     uint64
	asked   time.Duration
	attempt int
	state   state
	retry   *timer
}

type state uint8

const (
	waitingAfter state = iota // for the key it comes after
	inHand                    // with the runner
	pausing                   // failed, a retry is set
)

// NewTurn makes a turn around a machine.
func NewTurn(m step.Machine) *Turn {
	return &Turn{
		machine: m, wants: map[step.Key]*wanted{}, waiting: map[step.Key][]step.Key{}, armed: map[step.Timer]*timer{},
	}
}

// Step feeds one event and returns what is to be done. The slice is valid until the next call.
func (t *Turn) Step(now model.Instant, ev step.Event) []Action {
	t.actions = empty(t.actions)
	t.feed(now, ev)
	return t.actions
}

// Outcome takes the result of an action's want and feeds it to the machine. An outcome of a want that was superseded
// meanwhile says nothing about the present and is dropped.
func (t *Turn) Outcome(now model.Instant, key step.Key, gen uint64, err error) []Action {
	t.actions = empty(t.actions)
	w := t.wants[key]
	if w == nil || w.gen != gen {
		return nil
	}
	if err != nil {
		w.attempt++
		w.state = pausing
		w.retry = t.at(now.Mono+pause(w.attempt), step.Timer{})
		w.retry.key, w.retry.gen = key, gen
		t.feed(now, step.Failed{Want: w.want, Err: err.Error(), Attempt: w.attempt})
		return t.actions
	}
	delete(t.wants, key) // what is so needs no memory: asking again applies again
	t.wants = shrunk(t.wants, &t.most)
	t.release(key)
	t.feed(now, step.Applied{Want: w.want, Took: now.Mono - w.asked})
	return t.actions
}

// Fire runs the next timer that is due, if one is.
func (t *Turn) Fire(now model.Instant) (actions []Action, fired bool) {
	if len(t.timers) == 0 || t.timers[0].at > now.Mono {
		return nil, false
	}
	t.actions = empty(t.actions)
	tm := heap.Pop(&t.timers).(*timer)
	if tm.key != (step.Key{}) {
		if w := t.wants[tm.key]; w != nil && w.gen == tm.gen && w.state == pausing {
			w.retry = nil
			t.start(w)
		}
		return t.actions, true
	}
	delete(t.armed, tm.name)
	t.feed(now, step.TimerFired{Timer: tm.name})
	return t.actions, true
}

// Next is when the next timer is due.
func (t *Turn) Next() (at time.Duration, ok bool) {
	if len(t.timers) == 0 {
		return 0, false
	}
	return t.timers[0].at, true
}

// View asks the machine for its state.
func (t *Turn) View(now model.Instant) step.View { return t.machine.View(now) }

// Current reports whether an action's want is still what is wanted.
func (t *Turn) Current(a *Action) bool {
	w := t.wants[a.Want.Key()]
	return w != nil && w.gen == a.Gen && w.state == inHand
}

// attempt is how often the key's want has failed in a row.
func (t *Turn) attempt(key step.Key) int {
	if w := t.wants[key]; w != nil {
		return w.attempt
	}
	return 0
}

// Pending lists the wants that are not applied, for reports. Order is not defined.
func (t *Turn) Pending() []step.Want {
	var out []step.Want
	for _, w := range t.wants {
		out = append(out, w.want)
	}
	return out
}

func (t *Turn) feed(now model.Instant, ev step.Event) {
	for _, ef := range t.machine.Step(now, ev) {
		switch ef := ef.(type) {
		case step.Want:
			t.want(now, ef)
		case step.Arm:
			t.arm(ef)
		case step.Disarm:
			t.disarm(ef.Timer)
		case step.SendARP:
			t.actions = append(t.actions, Action{Emit: ef, Urgent: ef.Urgent})
		default:
			t.actions = append(t.actions, Action{Emit: ef})
		}
	}
}

func (t *Turn) want(now model.Instant, w step.Want) {
	key := w.Key()
	cur := t.wants[key]
	if cur == nil {
		cur = &wanted{}
		t.wants[key] = cur
		t.most = max(t.most, len(t.wants))
	}
	if cur.retry != nil {
		heap.Remove(&t.timers, cur.retry.index)
	}
	t.gen++
	*cur = wanted{want: w, gen: t.gen, asked: now.Mono}
	if after := t.wants[w.After]; w.After != (step.Key{}) && after != nil {
		cur.state = waitingAfter
		t.waiting[w.After] = append(t.waiting[w.After], key)
		return
	}
	t.start(cur)
}

func (t *Turn) start(w *wanted) {
	w.state = inHand
	t.actions = append(t.actions, Action{Want: w.want, Gen: w.gen, Urgent: w.want.Urgent})
}

// release starts what waited for the key. A waiter that was superseded by a want without this condition has moved on.
func (t *Turn) release(key step.Key) {
	keys := t.waiting[key]
	if keys == nil {
		return
	}
	delete(t.waiting, key)
	for _, k := range keys {
		if w := t.wants[k]; w != nil && w.state == waitingAfter && w.want.After == key {
			t.start(w)
		}
	}
}

func (t *Turn) arm(a step.Arm) {
	t.disarm(a.Timer)
	t.armed[a.Timer] = t.at(a.At, a.Timer)
}

func (t *Turn) disarm(name step.Timer) {
	if tm := t.armed[name]; tm != nil {
		heap.Remove(&t.timers, tm.index)
		delete(t.armed, name)
	}
}

func (t *Turn) at(at time.Duration, name step.Timer) *timer {
	t.gen++
	tm := &timer{at: at, seq: t.gen, name: name}
	heap.Push(&t.timers, tm)
	return tm
}

// pause doubles from retryMin to retryMax.
func pause(attempt int) time.Duration {
	d := retryMin
	for range min(attempt-1, 16) {
		d = min(2*d, retryMax)
	}
	return d
}

type timer struct {
	at    time.Duration
	seq   uint64 // equal instants fire in the order armed
	index int
	name  step.Timer
	key   step.Key // set: the retry of this want, of generation gen
	gen   uint64
}

type timerQueue []*timer

func (q timerQueue) Len() int { return len(q) }
func (q timerQueue) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].seq < q[j].seq
}
func (q timerQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *timerQueue) Push(x any) {
	tm := x.(*timer)
	tm.index = len(*q)
	*q = append(*q, tm)
}
func (q *timerQueue) Pop() any {
	old := *q
	tm := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return tm
}
