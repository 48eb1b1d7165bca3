package linkage

import (
	"time"

	"peerless/internal/liveness"
)

// State is the state of a group.
type State uint8

// States of a group.
const (
	Starting State = iota // the kernel is not known yet
	Shutdown              // too few usable uplinks: downlinks are closed
	Waiting               // uplinks are back; downlinks stay closed until the leaf can forward and the delay is over
	Opening               // downlinks open one after the other
	Linked                // open
	Local                 // open without a gateway, for traffic among the group's own servers
	states
)

// String names the state as output does.
func (s State) String() string {
	return [...]string{"starting", "closed", "waiting", "opening", "open", "local-only"}[s]
}

// Event is what can happen to a group.
type Event uint8

// Events of a group.
const (
	Lost   Event = iota // fewer usable uplinks than needed
	Enough              // enough usable uplinks
	Due                 // the leaf can forward and the delay is over; or it is the next downlink's turn to open
	Done                // every downlink that is ours to open is open
	Alone               // the gateway has been gone for so long that servers are to reach at least each other
	Reopen              // downlinks that were closed for another reason than the uplinks may open
	events
)

// String names the event.
func (e Event) String() string {
	return [...]string{"lost", "enough", "due", "done", "alone", "reopen"}[e]
}

// Do is what a transition asks for.
type Do uint8

// What a transition asks for.
const (
	Nothing   Do = iota
	CloseAll     // close every downlink: primaries' ports first
	Wait         // start waiting for readiness
	GiveUp       // stop waiting; the downlinks are closed already
	OpenNext     // open the next downlink
	Resume       // at start, the kernel shows that the leaf was forwarding all the time: close nothing
	NoteOpen     // the group is open
	OpenLocal    // open every downlink, though there is no gateway
	EndLocal     // the gateway is back: the group is an ordinary one again, and nothing is closed
)

type transition struct {
	stated bool
	to     State
	do     Do
}

func then(to State, do Do) transition { return transition{true, to, do} }

// table is the full product of states and events.
var table = [states][events]transition{
	Starting: {Lost: then(Shutdown, CloseAll), Enough: then(Opening, Resume), Due: then(Starting, Nothing), Done: then(Starting, Nothing),
		Alone: then(Starting, Nothing), Reopen: then(Starting, Nothing)},
	Shutdown: {Lost: then(Shutdown, Nothing), Enough: then(Waiting, Wait), Due: then(Shutdown, Nothing), Done: then(Shutdown, Nothing),
		Alone: then(Local, OpenLocal), Reopen: then(Shutdown, Nothing)},
	Waiting: {Lost: then(Shutdown, GiveUp), Enough: then(Waiting, Nothing), Due: then(Opening, OpenNext), Done: then(Waiting, Nothing),
		Alone: then(Waiting, Nothing), Reopen: then(Waiting, Nothing)},
	Opening: {Lost: then(Shutdown, CloseAll), Enough: then(Opening, Nothing), Due: then(Opening, OpenNext), Done: then(Linked, NoteOpen),
		Alone: then(Opening, Nothing), Reopen: then(Opening, Nothing)}, // the next to open comes anyway
	Linked: {Lost: then(Shutdown, CloseAll), Enough: then(Linked, Nothing), Due: then(Linked, Nothing), Done: then(Linked, Nothing),
		Alone: then(Linked, Nothing), Reopen: then(Opening, OpenNext)},
	Local: {Lost: then(Local, Nothing), Enough: then(Local, Nothing), Due: then(Opening, EndLocal), Done: then(Local, Nothing),
		Alone: then(Local, Nothing), Reopen: then(Local, OpenLocal)},
}

// Linkage is the state of one group. Build it with New.
type Linkage struct {
	Group
	State State
	hard  liveness.Hold // since when the hard conditions of opening hold
	min   time.Duration
	max   time.Duration
}

// New makes a group that knows nothing yet.
func New(g Group, openDelayMin, openDelayMax time.Duration) *Linkage {
	return &Linkage{Group: g, min: openDelayMin, max: max(openDelayMin, openDelayMax)}
}

// Step applies one event.
func (l *Linkage) Step(ev Event) Do {
	t := table[l.State][ev]
	l.State = t.to
	return t.do
}

// Usable tells how many of the group's uplinks are usable.
func (l *Linkage) Usable(n int) Do {
	if n < max(1, l.MinUplinks) {
		l.hard.Set(0, false)
		return l.Step(Lost)
	}
	return l.Step(Enough)
}

// Ready tells whether the hard conditions of opening hold (uplinks, default route in the kernel, the gateway's neighbour
// entry) and whether the gateway has told all it had (End-of-RIB, which only shortens the wait). It returns when the group is
// to open; false while nothing is to be waited for.
func (l *Linkage) Ready(now time.Duration, hard, told bool) (time.Duration, bool) {
	if l.State != Waiting && l.State != Local {
		return 0, false
	}
	l.hard.For = l.max
	if told {
		l.hard.For = l.min
	}
	l.hard.Set(now, hard)
	return l.hard.Due()
}

// Forwards reports whether traffic of open downlinks may rely on this leaf, be it only among themselves.
func (l *Linkage) Forwards() bool { return l.State == Opening || l.State == Linked || l.State == Local }
