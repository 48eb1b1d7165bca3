package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Carrier is what carries host routes from the leaves to the gateway. The zero value is the embedded speaker on both.
type Carrier struct {
	Engine  string // Embedded, Static, or a routing engine and its protocol: frr-ospf
	Gateway string // Peerless, or the routing engine of a gateway that runs no peerless
}

// Values of a Carrier that name no routing engine.
const (
	Embedded = "bgp"
	Static   = "static"
	Peerless = "peerless"
)

// Carriers lists the engines that a Carrier may name, and its gateways.
func Carriers() (engines, gateways []string) {
	return []string{Embedded, "frr-ospf", "frr-bgp", "bird-ospf", "bird-bgp", Static}, []string{Peerless, "frr", "bird"}
}

// Engine is a routing engine on a node. A daemon beside it has a Config that ends inside the mapping of what it knows of the
// engine, so that the socket's path can follow.
type Engine struct {
	Program  string // frr or bird
	Protocol string // ospf or bgp
	Config   string // YAML of a node, from which the engine's own configuration is made
}

// exportTable is the kernel table of a leaf's hosts beside an engine.
const exportTable = 210

func (c Carrier) check(t Topology) error {
	engines, gateways := Carriers()
	switch {
	case !slices.Contains(engines, c.Engine):
		return fmt.Errorf("engine %q is not known: known are %s", c.Engine, strings.Join(engines, ", "))
	case !slices.Contains(gateways, c.Gateway):
		return fmt.Errorf("gateway %q is not known: known are %s", c.Gateway, strings.Join(gateways, ", "))
	case c.Gateway != Peerless && c.Engine != Embedded:
		return fmt.Errorf("gateway %s goes with engine %s only: with engine %s the gateway has what the leaves have", c.Gateway, Embedded, c.Engine)
	case c == Carrier{Embedded, Peerless}:
		return nil
	case t.from == nil:
		return fmt.Errorf("topology %s can only be had with engine %s and gateway %s", t.Name, Embedded, Peerless)
	case len(t.from.peers) > 0:
		return fmt.Errorf("topology %s has gateways that stand in for each other, which takes engine %s and gateway %s", t.Name, Embedded, Peerless)
	}
	return nil
}

// With gives the topology with another carrier of its host routes. Empty fields mean the embedded speaker and peerless.
func (t Topology) With(c Carrier) (Topology, error) {
	if c.Engine == "" {
		c.Engine = Embedded
	}
	if c.Gateway == "" {
		c.Gateway = Peerless
	}
	if err := c.check(t); err != nil {
		return t, err
	}
	if c == (Carrier{Embedded, Peerless}) {
		return t, nil
	}
	s := *t.from
	s.carrier = c
	other := s.build()
	other.Faults = t.Faults
	return other, nil
}

// engine gives the program and the protocol of an engine beside the daemons; empty without one.
func (c Carrier) engine() (program, protocol string) {
	program, protocol, both := strings.Cut(c.Engine, "-")
	if !both {
		return "", ""
	}
	return program, protocol
}

// foreign tells whether the gateway runs no peerless.
func (c Carrier) foreign() bool { return c.Gateway != "" && c.Gateway != Peerless }

// slow tells whether what comes down may turn to a new leaf only when the old one withdraws. There a server does not ask beyond its
// leaf: a move would wait for an answer that takes the old way.
func (c Carrier) slow() bool { return c != (Carrier{}) && c != (Carrier{Embedded, Peerless}) }

// onLeaf adds what a leaf needs for the carrier.
func (s shape) onLeaf(n *Node) {
	program, protocol := s.carrier.engine()
	switch {
	case program != "":
		n.Config += fmt.Sprintf("advertise:\n  kernel-table:\n    table: %d\n    engine: %s\n", exportTable, program)
		n.Engine = &Engine{program, protocol, n.Config}
	case s.carrier.Engine == Static:
		n.Config += "advertise: none\n"
		for _, u := range s.uplinks {
			if u.leaf.Node == n.Name {
				n.Routes = append(n.Routes, Route{Prefix: anywhere, Via: hostAddr(u.net, 1), Port: u.leaf.Port})
			}
		}
	}
}

// onGateway adds what a gateway needs for the carrier.
func (s shape) onGateway(n *Node) {
	program, protocol := s.carrier.engine()
	switch {
	case s.carrier.foreign():
		n.Engine = &Engine{s.carrier.Gateway, "bgp", n.Config}
		n.Config, n.Sysctls = "", append(slices.Clone(n.Sysctls), router...)
	case program != "":
		n.Config += s.attachments(true) + fmt.Sprintf("routes:\n  kernel:\n    engine: %s\n", program)
		n.Engine = &Engine{program, protocol, n.Config}
	case s.carrier.Engine == Static:
		n.Config += "routes: none\n" + s.attachments(false) + s.staticHosts()
	default:
		return
	}
	n.Unaware = true
}

// router is what an operator sets on a gateway without peerless.
var router = []Sysctl{
	{"ipv4/ip_forward", "1"},
	{"ipv4/conf/all/rp_filter", "0"}, {"ipv4/conf/default/rp_filter", "0"},
	{"ipv4/conf/all/send_redirects", "0"}, {"ipv4/conf/default/send_redirects", "0"},
	{"ipv4/conf/default/ignore_routes_with_linkdown", "1"},
}

// attachments tells a gateway what no leaf does.
func (s shape) attachments(hosts bool) string {
	var y yamlText
	y.line("attachments:")
	for _, sv := range s.servers {
		primary, backup := sv.leafPorts()
		y.line("  - id: %d\n    primary: {leaf: %s, port: %d}\n    backup: {leaf: %s, port: %d}",
			sv.id, primary.Node, portIndex(primary.Port), backup.Node, portIndex(backup.Port))
		if hosts {
			var all []string
			for _, a := range sv.addresses() {
				all = append(all, a.String())
			}
			y.line("    hosts: [%s]", strings.Join(all, ", "))
		}
	}
	return y.String()
}

func (s shape) staticHosts() string {
	var y yamlText
	y.line("static-hosts:")
	for _, sv := range s.servers {
		primary, backup := sv.leafPorts()
		for _, a := range sv.addresses() {
			y.line("  - {address: %s, attachment: %d, primary: %s, backup: %s}", a, sv.id, primary.Node, backup.Node)
		}
	}
	return y.String()
}

// addresses are the server's own and its guests'.
func (sv server) addresses() []netip.Addr {
	out := []netip.Addr{sv.addr}
	for _, g := range sv.guests {
		out = append(out, g.addr)
	}
	return out
}
