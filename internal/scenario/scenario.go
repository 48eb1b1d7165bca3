// Package scenario is the form of the stories in testdata/scenarios: a topology, what breaks and when, what must follow.
//
// It decides what a well-formed story is. It never runs one: the simulator and the lab do, and must agree on the outcome.
package scenario

import (
	"net/netip"
	"time"
)

// Story is one text file.
type Story struct {
	Name     string // the file's name without its extension
	About    string // one line
	Topology string // as in `peerless lab list`
	Steps    []Step // in the order of the text, which is that of time
	End      time.Duration
}

// Step is an action or an expectation. All times count from the moment at which the network has converged.
type Step struct {
	Line   int
	At     time.Duration // of an action: when; of an expectation: until when it must have come true, zero for Always
	Always bool          // the expectation holds from the beginning to the end
	Action *Action       // nil: an expectation
	Expect *Expect       // nil: an action
}

// Verb is what is done.
type Verb string

// Verbs. Each comment says which fields of the action count.
const (
	LinkDown     Verb = "link down"     // Link: the cable is cut, both ends lose their carrier
	LinkUp       Verb = "link up"       // Link: it is mended
	LinkDrops    Verb = "link drops"    // Link, Way: the carrier stays and frames are lost without a word
	PortDown     Verb = "port down"     // Port: closed by the operator
	PortUp       Verb = "port up"       // Port: opened by the operator
	DaemonKill   Verb = "daemon kill"   // Node: it dies without a word
	DaemonStop   Verb = "daemon stop"   // Node: it ends in an orderly way and leaves the kernel as it is
	DaemonStart  Verb = "daemon start"  // Node
	DaemonFreeze Verb = "daemon freeze" // Node: SIGSTOP
	DaemonThaw   Verb = "daemon thaw"   // Node: SIGCONT
	NodeDown     Verb = "node down"     // Node: the device dies, all of its links with it
	NodeUp       Verb = "node up"       // Node: it boots anew
	SessionReset Verb = "session reset" // Node, Peer: the TCP connection breaks
	SessionCease Verb = "session cease" // Node, Peer: the first says goodbye to the second
	GuestMoves   Verb = "guest moves"   // Host, Node: to that server
	HostDies     Verb = "host dies"     // Host: silent for good
	LeafDrain    Verb = "leaf drain"    // Node: the operator has everybody leave it
	LeafUndrain  Verb = "leaf undrain"  // Node: and come back
	LeafMute     Verb = "leaf mute"     // Node: it answers for itself and forwards nothing
	LeafForward  Verb = "leaf forward"  // Node: it forwards again
	FeedOff      Verb = "feed off"      // Node: the gateway tells its leaves nothing but the default route
	FeedOn       Verb = "feed on"       // Node
)

// Way is a direction in which a link loses frames.
type Way string

// Ways. Up is towards the gateway.
const (
	Both    Way = "both"
	Up      Way = "up"
	Down    Way = "down"
	Nothing Way = "nothing"
)

// Action is one thing that happens to the network. Unused fields are zero.
type Action struct {
	Verb Verb
	Link Link
	Way  Way
	Port string
	Node string
	Peer string
	Host netip.Addr
}

// Link is a cable: the node at one end, and the leaf's port at the other (of two gateways: the other node).
type Link struct{ Node, Port string }

// Fact is what an expectation is about.
type Fact string

// Facts. Each comment says which fields of the expectation count.
const (
	FlowWorks    Fact = "flow works"   // From, To
	FlowBroken   Fact = "flow broken"  // From, To
	FlowLossless Fact = "flow loses"   // From, To: nothing is lost; only with always
	HostBehind   Fact = "host behind"  // Host, Leaf: the gateways forward it there
	HostNowhere  Fact = "host nowhere" // Host: no gateway has a way to it
	HostMoves    Fact = "host moves"   // Host, Most: so often it changes its leaf at most; only with always
	PortOpen     Fact = "port open"    // Port
	PortClosed   Fact = "port closed"  // Port
)

// Expect is something that must be so. Unused fields are zero.
type Expect struct {
	Fact     Fact
	From, To string // names of nodes
	Host     netip.Addr
	Leaf     string
	Port     string
	Most     int
}
