package linkage

import "peerless/internal/step"

// GateState is what we and the operator have done to one downlink.
type GateState uint8

// States of a gate.
const (
	Free    GateState = iota // not closed by anybody
	Closing                  // we asked to close it; not verified yet
	Held                     // closed by us, verified
	Freeing                  // we asked to open it; not applied yet
	Off                      // closed by the operator: never opened by us
	Yielded                  // the operator opened it twice while we held it: left to him until the group opens
	gateStates
)

// String names the state.
func (s GateState) String() string {
	return [...]string{"free", "closing", "held", "freeing", "closed by operator", "yielded"}[s]
}

// GateEvent is what can happen to a gate.
type GateEvent uint8

// Events of a gate.
const (
	Close     GateEvent = iota // linkage wants it closed
	Open                       // linkage allows it to be open
	Shut                       // the closing was applied and verified
	Opened                     // the opening was applied
	SeenOurs                   // the kernel shows it closed, by us
	SeenOff                    // the kernel shows it closed, not by us
	SeenOpen                   // the kernel shows it open
	Reopened                   // the kernel shows it open after it showed it closed by us
	Insisted                   // the same for the second time
	Vanished                   // the device is gone
	Inherited                  // the first sight of the kernel shows it closed by an earlier life of this daemon
	gateEvents
)

// String names the event.
func (e GateEvent) String() string {
	return [...]string{"close", "open", "shut", "opened", "seen ours", "seen off", "seen open", "reopened", "insisted", "vanished", "inherited"}[e]
}

// GateDo is what a transition asks for.
type GateDo uint8

// What a transition asks for.
const (
	GateNothing  GateDo = iota
	AskClose            // want the gate closed
	AskOpen             // want the gate open
	CloseAgain          // want the gate closed, and warn: the operator opened it while the leaf cannot forward
	LetGo               // want the gate absent: it is not ours any more
	LeaveOpen           // warn: the operator insists
	NoteClosed          // the closing is verified
	NoteOpened          // the opening is applied
	NoteOperator        // the operator closed it
)

type gateStep struct {
	stated bool // the pair was thought of; a test holds the table against this
	to     GateState
	do     GateDo
}

func gate(to GateState, do GateDo) gateStep { return gateStep{true, to, do} }

// gateTable is the full product of states and events.
var gateTable = [gateStates][gateEvents]gateStep{
	Free: {
		Close: gate(Closing, AskClose), Open: gate(Free, GateNothing),
		Shut: gate(Free, GateNothing), Opened: gate(Free, GateNothing), // outcomes of older wants
		SeenOurs: gate(Free, GateNothing), // a report from before the opening
		SeenOff:  gate(Off, NoteOperator), SeenOpen: gate(Free, GateNothing),
		Reopened: gate(Free, GateNothing), Insisted: gate(Free, GateNothing), Vanished: gate(Free, GateNothing),
		Inherited: gate(Held, GateNothing),
	},
	Closing: {
		Close: gate(Closing, GateNothing), Open: gate(Freeing, AskOpen),
		Shut: gate(Held, NoteClosed), Opened: gate(Closing, GateNothing),
		SeenOurs: gate(Closing, GateNothing), // closed, but only the verified outcome counts
		SeenOff:  gate(Off, LetGo),           // the operator was faster: the port is his
		SeenOpen: gate(Closing, GateNothing), // a report from before
		Reopened: gate(Closing, GateNothing), Insisted: gate(Closing, GateNothing), Vanished: gate(Free, GateNothing),
		Inherited: gate(Closing, GateNothing),
	},
	Held: {
		Close: gate(Held, GateNothing), Open: gate(Freeing, AskOpen),
		Shut: gate(Held, GateNothing), Opened: gate(Held, GateNothing),
		SeenOurs: gate(Held, GateNothing), SeenOff: gate(Off, LetGo),
		SeenOpen: gate(Held, GateNothing), // a report from before the closing
		Reopened: gate(Closing, CloseAgain), Insisted: gate(Yielded, LeaveOpen), Vanished: gate(Free, GateNothing),
		Inherited: gate(Held, GateNothing),
	},
	Freeing: {
		Close: gate(Closing, AskClose), Open: gate(Freeing, GateNothing),
		Shut: gate(Freeing, GateNothing), Opened: gate(Free, NoteOpened),
		SeenOurs: gate(Freeing, GateNothing), // not open yet
		SeenOff:  gate(Freeing, GateNothing), // half-way open: unmarked, admin-up to come
		SeenOpen: gate(Freeing, GateNothing), Reopened: gate(Freeing, GateNothing), Insisted: gate(Freeing, GateNothing),
		Vanished: gate(Free, GateNothing), Inherited: gate(Freeing, GateNothing),
	},
	Off: {
		Close: gate(Off, GateNothing), Open: gate(Off, GateNothing), // the operator's ports are never touched
		Shut: gate(Off, GateNothing), Opened: gate(Off, GateNothing),
		SeenOurs: gate(Off, GateNothing), // a report from before we let it go
		SeenOff:  gate(Off, GateNothing), SeenOpen: gate(Free, GateNothing),
		Reopened: gate(Free, GateNothing), Insisted: gate(Free, GateNothing), Vanished: gate(Free, GateNothing),
		Inherited: gate(Off, GateNothing),
	},
	Yielded: {
		Close: gate(Yielded, GateNothing), Open: gate(Free, LetGo),
		Shut: gate(Yielded, GateNothing), Opened: gate(Yielded, GateNothing),
		SeenOurs: gate(Yielded, GateNothing), SeenOff: gate(Off, LetGo),
		SeenOpen: gate(Yielded, GateNothing), Reopened: gate(Yielded, GateNothing), Insisted: gate(Yielded, GateNothing),
		Vanished: gate(Free, GateNothing), Inherited: gate(Yielded, GateNothing),
	},
}

// Gate is one downlink as linkage sees it. The zero value is a port that nobody closed.
type Gate struct {
	State  GateState
	shown  bool // the kernel has shown our closing, so that an open port is news and not a late report
	fought bool // closed again once already since the group closed
}

// Step applies one event.
func (g *Gate) Step(ev GateEvent) GateDo {
	t := gateTable[g.State][ev]
	g.State = t.to
	switch ev {
	case Open:
		g.shown, g.fought = false, false
	case Vanished:
		g.shown, g.fought = false, false
	case SeenOurs, Inherited:
		g.shown = true
	case Reopened:
		g.shown, g.fought = false, true
	default: // Close, Shut, Opened, SeenOff, SeenOpen, Insisted: the memory stays
	}
	return t.do
}

// Read tells what a report of the kernel means to this gate.
func (g *Gate) Read(s step.PortState) GateEvent {
	switch {
	case !s.Present:
		return Vanished
	case s.Ours:
		return SeenOurs
	case !s.AdminUp || s.ProtoDown:
		return SeenOff
	case g.State != Held || !g.shown:
		return SeenOpen
	case g.fought:
		return Insisted
	}
	return Reopened
}

// Passes reports whether frames may pass as far as linkage and operator are concerned.
func (g *Gate) Passes() bool { return g.State == Free || g.State == Freeing }

// Ours reports whether the port is closed, or being closed, by us.
func (g *Gate) Ours() bool { return g.State == Closing || g.State == Held }
