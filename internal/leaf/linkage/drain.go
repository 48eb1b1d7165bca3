package linkage

import "time"

// DrainState is how far planned maintenance of a leaf is.
type DrainState uint8

// States of a drain.
const (
	Serving DrainState = iota // not drained
	Leaving                   // hosts are being moved away; what is left is still forwarded
	Away                      // every downlink is closed; only an order ends that
	drainStates
)

// String names the state as output does.
func (s DrainState) String() string { return [...]string{"serving", "draining", "drained"}[s] }

// DrainEvent is what can happen to a drain.
type DrainEvent uint8

// Events of a drain.
const (
	Ordered  DrainEvent = iota // the operator orders it
	Recalled                   // he takes it back
	Emptied                    // the last downlink is closed
	drainEvents
)

// String names the event.
func (e DrainEvent) String() string { return [...]string{"ordered", "recalled", "emptied"}[e] }

// DrainDo is what a transition asks for.
type DrainDo uint8

// What a transition asks for.
const (
	DrainNothing DrainDo = iota
	Begin                // stop answering the servers' probes, and tell upstream
	Finish               // tell that nothing is left
	TakeBack             // answer again, and open what the drain closed
)

type drainStep struct {
	stated bool
	to     DrainState
	do     DrainDo
}

// drainTable is the full product of states and events. Nothing but an order ends a drain.
var drainTable = [drainStates][drainEvents]drainStep{
	Serving: {Ordered: {true, Leaving, Begin}, Recalled: {true, Serving, DrainNothing}, Emptied: {true, Serving, DrainNothing}},
	Leaving: {Ordered: {true, Leaving, DrainNothing}, Recalled: {true, Serving, TakeBack}, Emptied: {true, Away, Finish}},
	Away:    {Ordered: {true, Away, DrainNothing}, Recalled: {true, Serving, TakeBack}, Emptied: {true, Away, DrainNothing}},
}

// Drain is the planned maintenance of a leaf. The zero value serves.
type Drain struct {
	State DrainState
	Max   time.Duration // after so long a port with hosts is closed, if they can move only then
	Force bool          // or cannot move at all
	Since time.Duration // when it entered its state
}

// Step applies one event.
func (d *Drain) Step(now time.Duration, ev DrainEvent) DrainDo {
	t := drainTable[d.State][ev]
	if t.to != d.State {
		d.State, d.Since = t.to, now
	}
	return t.do
}

// On reports whether the leaf is drained or being drained.
func (d *Drain) On() bool { return d.State != Serving }

// Over is when the hosts have had their time.
func (d *Drain) Over() time.Duration { return d.Since + d.Max }

// Fate is what a drain does to the hosts behind a downlink.
type Fate uint8

// Fates.
const (
	Nobody Fate = iota // there are none
	Moves              // their server moves by itself when this leaf does not answer any more
	Cut                // their server moves when its link is closed
	Stays              // their server moves by itself, and has not: its other link is no use
	Dies               // they have no other link
)

// String names the fate as output does.
func (f Fate) String() string { return [...]string{"none", "moves", "cut", "stays", "dies"}[f] }

// Behind is what is known of a downlink.
type Behind struct {
	Hosts  int
	Asks   bool // its server asks whether this leaf is open, and moves when it is not
	Single bool // the config says that its server has no other link
}

// Fate tells what becomes of those behind a downlink, and whether it is to be closed now. A host without another way is never
// cut off but by force.
func (d *Drain) Fate(now time.Duration, b Behind) (fate Fate, closeNow bool) {
	over := d.State == Leaving && now >= d.Over()
	switch {
	case b.Hosts == 0:
		return Nobody, d.State == Leaving
	case b.Single:
		return Dies, over && d.Force
	case b.Asks && over:
		return Stays, d.Force
	case b.Asks:
		return Moves, false
	}
	return Cut, over
}
