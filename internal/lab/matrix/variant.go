package matrix

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"peerless/internal/lab/topology"
)

// Base is the topology of which all variants are.
const Base = "fig7"

// GuestPort is the bridge in which a guest's network ends, so that both of its homes have one MAC.
const GuestPort = "br0"

// guestAddr is the guest's.
var guestAddr = netip.MustParseAddr("10.10.10.50")

// Topology gives what a variant's cases run on, with daemons of a profile.
func Topology(v Variant, profile string) (topology.Topology, error) {
	t, ok := topology.Find(Base)
	if !ok {
		return t, fmt.Errorf("no topology %s", Base)
	}
	switch v {
	case Plain:
	case LateCarrier:
		for i, l := range t.Links {
			t.Links[i].SameIndex = slices.Contains([]topology.End{uplinkA.upper, activeLink.upper, otherLink.upper}, l.A)
		}
	case WithGuest:
		addGuest(&t)
	case Guarded:
		guard(&t)
	case LocalOnly:
		configure(&t, "local-only: "+localOnly.String(), "A")
		configure(&t, "local-only: "+(3*localOnly).String(), "B") // so that all servers meet on one leaf
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Role == topology.Gateway || n.Role == topology.Leaf {
			n.Config += "bfd: on\n"
		}
		if n.Config != "" && profile != Default {
			n.Config += "profile: " + profile + "\n"
		}
	}
	return t, nil
}

// restartTime is how long a gateway keeps the routes of a leaf whose daemon is dead, where a guard waits for it, and localOnly how long the
// first leaf waits for its gateway.
const (
	restartTime = 2 * time.Second
	localOnly   = time.Second
)

// configure adds a line to the configs of some nodes.
func configure(t *topology.Topology, line string, nodes ...string) {
	for i, n := range t.Nodes {
		if slices.Contains(nodes, n.Name) {
			t.Nodes[i].Config += line + "\n"
		}
	}
}

// guard has leaf A guarded. Nothing but a lost carrier makes a server move: the dead daemon's kernel still answers for its leaf.
func guard(t *topology.Topology) {
	configure(t, "graceful-restart: "+restartTime.String(), "G", "A", "B")
	for i := range t.Nodes {
		n := &t.Nodes[i]
		n.Guard = n.Name == "A"
		if n.Role == topology.Server {
			n.Config, _, _ = strings.Cut(n.Config, "probe:\n") // it is the last of the config
		}
	}
}

// addGuest gives C1 and C3 a place for one guest each; the guest lives with C1.
func addGuest(t *topology.Topology) {
	for _, home := range []string{"C1", "C3"} {
		place := "V" + home[1:]
		i := slices.IndexFunc(t.Nodes, func(n topology.Node) bool { return n.Name == home })
		server := &t.Nodes[i]
		server.Bridges = []topology.Bridge{server.Bridges[0]}
		server.Bridges[0].Members = append(slices.Clone(server.Bridges[0].Members), "v0")
		guest := topology.Node{
			Name: place, Role: topology.Guest, Sysctls: server.Sysctls,
			Bridges: []topology.Bridge{{Name: GuestPort, MAC: "02:00:0a:0a:0a:32", Members: []string{"eth0"}}},
		}
		if home == "C1" {
			guest.Addresses = []topology.Address{{Port: GuestPort, Prefix: netip.PrefixFrom(guestAddr, 24)}}
			guest.Routes = []topology.Route{{Prefix: server.Routes[0].Prefix, Via: server.Routes[0].Via, Port: GuestPort}}
			s := &t.Servers[slices.IndexFunc(t.Servers, func(s topology.ServerPort) bool { return s.Server == home })]
			s.Hosts = append(slices.Clone(s.Hosts), guestAddr)
		}
		t.Nodes = append(t.Nodes, guest)
		t.Links = append(t.Links, topology.Link{A: topology.End{Node: home, Port: "v0"}, B: topology.End{Node: place, Port: "eth0"}})
	}
	from := func(node string) topology.Flow {
		i := slices.IndexFunc(t.Flows, func(f topology.Flow) bool { return f.Sender == node })
		return topology.Flow{
			Sender: node, Receivers: []string{"V1", "V3"}, From: node, To: "V", Source: t.Flows[i].Source, Dest: guestAddr, Roams: true,
		}
	}
	t.Flows = append(t.Flows, from("G"), from("C2"), from("C4"))
}
