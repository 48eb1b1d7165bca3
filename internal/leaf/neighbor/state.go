package neighbor

// State is what a leaf knows of one address on one of its ports.
type State uint8

// States of an address on a port.
const (
	Absent    State = iota // not known there
	Target                 // remembered or hinted at: probed, never in the kernel's tables, never advertised
	Inherited              // installed and advertised on the word of an earlier life or of the config; not verified by the host
	Local                  // installed and advertised; the host itself has spoken on this port
	Suspect                // as Local, but another leaf has a newer claim: probed fast
	Draining               // withdrawn; still installed until the gateway has moved its traffic
	states
)

// String names the state as output does.
func (s State) String() string {
	return [...]string{"absent", "remembered", "inherited", "local", "suspect", "draining"}[s]
}

// Installed reports whether the kernel holds the host's route and neighbour entry.
func (s State) Installed() bool { return s >= Inherited }

// Advertised reports whether the leaf stands behind the host.
func (s State) Advertised() bool { return s == Inherited || s == Local || s == Suspect }

// Event is what can happen to an address on a port.
type Event uint8

// Events.
const (
	Heard     Event = iota // the host sent ARP on this port
	Announced              // the host sent gratuitous ARP on this port: it says that it arrived
	Hinted                 // data, RARP, the kernel or the feed names it: probe
	Adopted                // the kernel holds it as ours, after a restart
	Bound                  // the config binds it to this port with its MAC
	Doubted                // the feed has a newer claim of another leaf
	Fell                   // its probes were not answered
	Stood                  // doubted, it kept answering on this port
	Elsewhere              // it was heard on another port of this leaf
	Stopped                // the port stopped serving: carrier lost or closed
	Expired                // drain over, or memory too old
	events
)

// String names the event.
func (e Event) String() string {
	return [...]string{"heard", "announced", "hinted", "adopted", "bound", "doubted", "fell silent", "still answers", "heard elsewhere",
		"port stopped", "time over"}[e]
}

// Do is what a transition asks of the leaf.
type Do uint8

// What transitions ask for.
const (
	Nothing   Do = iota
	Install      // it arrived: neighbour entry, route, new stamp, advertisement
	Move         // it arrived from another port of this leaf: replace neighbour and route, new stamp, delete the old neighbour
	Stand        // install and advertise without a new stamp: nobody has verified it
	Verify       // an unverified claim is confirmed by the host
	Restamp      // it arrived again while doubted
	Renew        // it announced itself where it is: it may have been elsewhere meanwhile
	Rewrite      // its MAC changed on the same port
	Entry        // its MAC was not known and is now: neighbour entry
	Withdraw     // stop advertising; it stays installed for the drain
	Remove       // delete route and neighbour entry
	Duplicate    // it answers here although another leaf claims it too
	Full         // the port holds as many hosts as it may: not learned
	Conflict     // the config binds the address elsewhere or to another MAC
	Unstable     // it moves between our ports too often: moves are ignored for a while
	Ask          // send one probe
	probeNow     // internal: due at once
)

type transition struct {
	stated bool // the pair was thought of; a test holds the table against this
	to     State
	do     [2]Do
}

func to(s State, do ...Do) transition {
	t := transition{stated: true, to: s}
	copy(t.do[:], do)
	return t
}

// table is the full product of states and events.
var table = [states][events]transition{
	Absent: {
		Heard: to(Local, Install), Announced: to(Local, Install), Hinted: to(Target, probeNow), Adopted: to(Inherited, Stand, probeNow),
		Bound:   to(Inherited, Stand, probeNow),
		Doubted: to(Absent), Fell: to(Absent), Stood: to(Absent), Elsewhere: to(Absent), Stopped: to(Absent), Expired: to(Absent),
	},
	Target: {
		Heard: to(Local, Install), Announced: to(Local, Install), Hinted: to(Target, probeNow), Adopted: to(Inherited, Stand, probeNow),
		Bound:   to(Inherited, Stand, probeNow),
		Doubted: to(Target), Stood: to(Target), Elsewhere: to(Target),
		Fell:    to(Target), // silence of a target means "not active here", never "dead"
		Stopped: to(Target), Expired: to(Absent),
	},
	Inherited: {
		Heard: to(Local, Verify), Announced: to(Local, Restamp),
		Hinted: to(Inherited), Adopted: to(Inherited), Bound: to(Inherited), // it is being probed already
		Doubted: to(Suspect, probeNow), Fell: to(Draining, Withdraw), Stood: to(Inherited),
		Elsewhere: to(Target), Stopped: to(Target, Withdraw, Remove), Expired: to(Inherited),
	},
	Local: {
		Heard: to(Local), Announced: to(Local, Renew), // a refresh is free; an announcement says that it arrives
		Hinted: to(Local), Adopted: to(Local), Bound: to(Local),
		Doubted: to(Suspect, probeNow), Fell: to(Draining, Withdraw), Stood: to(Local),
		Elsewhere: to(Target), Stopped: to(Target, Withdraw, Remove), Expired: to(Local),
	},
	Suspect: {
		Heard:     to(Suspect), // perhaps sent just before it moved: only lasting answers count
		Announced: to(Local, Restamp),
		Hinted:    to(Suspect), Adopted: to(Suspect), Bound: to(Suspect), Doubted: to(Suspect),
		Fell: to(Draining, Withdraw), Stood: to(Local, Duplicate),
		Elsewhere: to(Target), Stopped: to(Target, Withdraw, Remove), Expired: to(Suspect),
	},
	Draining: {
		Heard: to(Local, Install), Announced: to(Local, Install),
		Hinted: to(Draining), Adopted: to(Draining), Bound: to(Draining), Doubted: to(Draining), Fell: to(Draining), Stood: to(Draining),
		Elsewhere: to(Target), Stopped: to(Target, Remove), Expired: to(Target, Remove),
	},
}

// next is the transition of a pair.
func next(s State, ev Event) transition { return table[s][ev] }
