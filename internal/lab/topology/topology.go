// Package topology describes test networks as data: nodes, links, addresses, daemons' configs, flows and faults.
//
// It decides what a lab consists of. It never touches a kernel, a process or a file.
package topology

import (
	"net/netip"
	"time"
)

// Role is what a node is.
type Role string

// Roles. A guest runs no daemon: it is a plain machine behind a server. A host is a plain machine in tests.
const (
	Gateway Role = "gateway"
	Leaf    Role = "leaf"
	Server  Role = "server"
	Guest   Role = "guest"
	Host    Role = "host"
)

// Topology is one network.
type Topology struct {
	Name    string
	About   string // one line for `lab list`
	Nodes   []Node // in the order in which daemons start
	Links   []Link
	Servers []ServerPort
	Flows   []Flow
	Faults  []Fault
	from    *shape // what it was built from; nil: it was written out
}

// Node is one machine: a network namespace, and a daemon if Config is set.
type Node struct {
	Name      string
	Role      Role
	Bonds     []Bond
	VLANs     []VLAN
	Bridges   []Bridge
	Addresses []Address
	Routes    []Route
	Sysctls   []Sysctl // what the machine, not the daemon, is responsible for
	// Config is the daemon's YAML but for the keys that say where its files are; empty: no daemon.
	Config string
	Guard  bool    // a guard runs beside the daemon
	Engine *Engine // a routing engine, beside the daemon or alone; nil: none
	// Unaware is a gateway that no leaf tells of its ports: it sees routes and answers only.
	Unaware bool
}

// Bridge is a Linux bridge kept up by a stub member, as a server's bridge is by its own always-up interface.
type Bridge struct {
	Name    string
	MAC     string
	Members []string
}

// Address is an address of a port.
type Address struct {
	Port   string
	Prefix netip.Prefix
}

// Route is a static route of the machine. An invalid Via means directly connected.
type Route struct {
	Prefix netip.Prefix
	Via    netip.Addr
	Port   string
}

// Sysctl is a value below /proc/sys/net, with slashes.
type Sysctl struct{ Path, Value string }

// End is one end of a link.
type End struct{ Node, Port string }

// String gives port@node.
func (e End) String() string { return e.Port + "@" + e.Node }

// Link is a cable. Its ends have different interface indexes unless SameIndex is set: for veth with equal indexes the
// kernel reports a carrier loss up to one second late, as it does for physical NICs.
type Link struct {
	A, B      End
	SameIndex bool
}

// ServerPort is one attachment: what a gateway's mapping must show when all is well.
type ServerPort struct {
	ID      uint32
	Name    string
	Server  string // the node
	Primary End    // the leaf's port
	Backup  End
	Hosts   []netip.Addr
}

// Flow is a stream of numbered datagrams in one direction.
type Flow struct {
	Sender    string // the node
	Receivers []string
	From, To  string // names for people: a node, or the two receivers of an anycast address
	Source    netip.Addr
	Dest      netip.Addr
	Roams     bool // the destination is the first receiver's, and moves to the others
}

// Name is the flow's identity within its topology.
func (f Flow) Name() string { return f.From + "->" + f.To }

// Fault is one thing that breaks, or is mended.
type Fault struct {
	Name      string
	Action    string // for people: "C2-A2 down"
	Ops       []Op
	Concerned []string // names of the flows that it concerns
	Mends     string   // the name of the fault that this one undoes; empty: it breaks something
	Link      Link     // what is drawn as failed
}

// Op sets one port administratively up or down, or has it chosen.
type Op struct {
	At     End
	Up     bool
	Choose string        // the bond of which it is made the active link, as soon as the bond takes it; empty: none
	Pause  time.Duration // before it
}

// All lists the topologies in the order that people should meet them.
func All() []Topology { return []Topology{fig4(), fig7(), guests(), twoGateways()} }

// Find gives the named topology, also one that not every kernel can build.
func Find(name string) (Topology, bool) {
	for _, t := range append(All(), Bonded()...) {
		if t.Name == name {
			return t, true
		}
	}
	return Topology{}, false
}

// Node gives the named node.
func (t Topology) Node(name string) (Node, bool) {
	for _, n := range t.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// Ends gives the two leaf ports of a server port, by role.
func (s ServerPort) Ends() map[string]End {
	return map[string]End{"primary": s.Primary, "backup": s.Backup}
}

// Fault gives the named fault.
func (t Topology) Fault(name string) (Fault, bool) {
	for _, f := range t.Faults {
		if f.Name == name {
			return f, true
		}
	}
	return Fault{}, false
}

// Daemons lists the nodes that run a daemon.
func (t Topology) Daemons() []Node {
	var out []Node
	for _, n := range t.Nodes {
		if n.Config != "" {
			out = append(out, n)
		}
	}
	return out
}
