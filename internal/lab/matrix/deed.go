package matrix

import (
	"fmt"
	"strings"
	"time"

	"peerless/internal/lab/topology"
)

// Verb is what a deed does.
type Verb string

// Verbs. Those of a port need At, those of a machine Node, those of a session both a node and the peer's node.
const (
	PortDown  Verb = "port-down" // administratively; the far end loses its carrier
	PortUp    Verb = "port-up"
	Deafen    Verb = "deafen"     // the port loses what it receives, by Lost, and keeps its carrier
	Hear      Verb = "hear"       // the end of it
	NoForward Verb = "no-forward" // the machine answers for itself and passes nothing on
	Forward   Verb = "forward"
	Kill      Verb = "kill"      // its daemon, without warning
	Terminate Verb = "terminate" // its daemon, politely
	Freeze    Verb = "freeze"    // its daemon stands still, and its sockets stay open
	Thaw      Verb = "thaw"
	Start     Verb = "start" // its daemon; one that runs is not started again
	Die       Verb = "die"   // the machine: daemon, ports, and all that its kernel knew
	Boot      Verb = "boot"
	Reset     Verb = "reset"    // the routing connection with Peer, by TCP
	Shut      Verb = "shut"     // the routing session with Peer, by order of its operator
	Open      Verb = "open"     // the end of it
	Reconfig  Verb = "reconfig" // its config gains the line Text; the next start reads it
	Drain     Verb = "drain"    // its daemon is told to let everybody leave, and that is waited for
	Undrain   Verb = "undrain"
	Flood     Verb = "flood"      // ARP of random owners by At, PerSecond, and the next deed does not wait for its end
	MoveGuest Verb = "move-guest" // an address leaves Node and arrives, with its MAC and an announcement, at Peer
)

// Deed is one thing that is done to a lab.
type Deed struct {
	Verb Verb
	At   topology.End
	Node string
	Peer string        // a node
	Lost string        // of Deafen: what; empty: everything
	Text string        // of Reconfig
	Rate int           // of Flood: frames a second
	Long time.Duration // of Flood
	Wait time.Duration // before it
}

// String tells it to people.
func (d Deed) String() string {
	switch d.Verb {
	case PortDown:
		return d.At.String() + " down"
	case PortUp:
		return d.At.String() + " up"
	case Deafen:
		what := d.Lost
		if what == "" {
			what = "all"
		}
		return fmt.Sprintf("%s loses %s that it receives", d.At, what)
	case Hear:
		return d.At.String() + " hears again"
	case NoForward:
		return d.Node + " forwards nothing"
	case Forward:
		return d.Node + " forwards again"
	case Reset:
		return fmt.Sprintf("routing connection %s-%s reset", d.Node, d.Peer)
	case Shut, Open:
		return fmt.Sprintf("routing session with %s: %s at %s", d.Peer, d.Verb, d.Node)
	case Reconfig:
		return fmt.Sprintf("config of %s gains %q", d.Node, d.Text)
	case MoveGuest:
		return fmt.Sprintf("guest moves from %s to %s", d.Node, d.Peer)
	case Kill, Terminate, Freeze, Thaw, Start:
		return fmt.Sprintf("%s daemon of %s", d.Verb, d.Node)
	case Flood:
		return fmt.Sprintf("%s floods with %d ARP frames a second for %s", d.At, d.Rate, d.Long)
	case Drain, Undrain:
		return fmt.Sprintf("%s %s", d.Verb, d.Node)
	case Die:
		return d.Node + " dies"
	case Boot:
		return d.Node + " boots"
	}
	return string(d.Verb)
}

// Tell puts deeds on one line.
func Tell(deeds []Deed) string {
	var out []string
	for i, d := range deeds {
		if i > 0 && out[len(out)-1] == d.String() {
			continue
		}
		out = append(out, d.String())
	}
	return strings.Join(out, ", ")
}
