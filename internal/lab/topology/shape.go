package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Addresses that every topology shares.
var (
	subnet     = netip.MustParsePrefix("10.10.10.0/24")
	subnetGate = netip.MustParseAddr("10.10.10.254")
	anycast    = netip.MustParseAddr("10.0.0.1") // the outside that servers talk to
)

// Subnet is the servers' in every topology.
func Subnet() netip.Prefix { return subnet }

// shape is the short form of an MLAG topology, from which build makes the long one.
type shape struct {
	name, about string
	gateways    []gateway
	leaves      []leaf
	uplinks     []uplink
	servers     []server
	peers       []peer
	pairs       [][2]string // server-to-server flows
	carrier     Carrier     // of host routes; zero: the embedded speaker
	patient     bool        // silence is asked for seldom: on a machine that may be too slow to answer, a late answer is none
}

type gateway struct {
	name string
	owns netip.Addr // its own address; several gateways hold the anycast address too
	as   uint32
}

type leaf struct {
	name     string
	as       uint32
	routerID netip.Addr
}

// uplink is a link between a gateway and a leaf; its two addresses are the hosts of a /30.
type uplink struct {
	gateway, leaf End
	net           netip.Prefix
}

// peer is the link between two gateways, seen from one of them.
type peer struct {
	self, other End
	net         netip.Prefix
	first       bool // self has the first address of the net
}

type server struct {
	name            string
	id              uint32
	addr            netip.Addr
	primary, backup End
	guests          []guest
	bond            *bonded // its links are in a kernel bond; nil: in a bridge
}

// guest is a machine behind a server's bridge.
type guest struct {
	name string
	port string // on the server's bridge
	addr netip.Addr
}

// hostAddr is the n-th host of a prefix.
func hostAddr(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// macOf gives each host a hardware address that people can read the IP address from.
func macOf(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

func (s shape) build() Topology {
	t := Topology{Name: s.name, About: s.about, from: &s}
	for _, g := range s.gateways {
		t.Nodes = append(t.Nodes, s.gatewayNode(g))
	}
	for _, l := range s.leaves {
		t.Nodes = append(t.Nodes, s.leafNode(l))
	}
	for _, u := range s.uplinks {
		t.Links = append(t.Links, Link{A: u.gateway, B: u.leaf})
	}
	for _, p := range s.peers {
		if p.first {
			t.Links = append(t.Links, Link{A: p.self, B: p.other})
		}
	}
	for _, sv := range s.servers {
		s.addServer(&t, sv)
	}
	t.Flows = s.flows()
	t.Faults = s.faults(t.Flows)
	return t
}

func (s shape) gatewayNode(g gateway) Node {
	n := Node{Name: g.name, Role: Gateway, Sysctls: quiet, Config: s.gatewayConfig(g)}
	n.Addresses = append(n.Addresses, Address{"lo", netip.PrefixFrom(g.owns, 32)})
	if g.owns != anycast {
		n.Addresses = append(n.Addresses, Address{"lo", netip.PrefixFrom(anycast, 32)})
	}
	for _, u := range s.uplinks {
		if u.gateway.Node == g.name {
			n.Addresses = append(n.Addresses, Address{u.gateway.Port, netip.PrefixFrom(hostAddr(u.net, 1), u.net.Bits())})
		}
	}
	for _, p := range s.peers {
		if p.self.Node == g.name {
			n.Addresses = append(n.Addresses, Address{p.self.Port, netip.PrefixFrom(p.addr(true), p.net.Bits())})
		}
	}
	s.onGateway(&n)
	return n
}

// addr is the address of one end: mine, or the other's.
func (p peer) addr(mine bool) netip.Addr {
	if p.first == mine {
		return hostAddr(p.net, 1)
	}
	return hostAddr(p.net, 2)
}

func (s shape) leafNode(l leaf) Node {
	n := Node{Name: l.name, Role: Leaf, Sysctls: quiet, Config: s.leafConfig(l)}
	for _, u := range s.uplinks {
		if u.leaf.Node == l.name {
			n.Addresses = append(n.Addresses, Address{u.leaf.Port, netip.PrefixFrom(hostAddr(u.net, 2), u.net.Bits())})
		}
	}
	s.onLeaf(&n)
	return n
}

// quiet keeps IPv6's own chatter out of IPv4 labs; plain is a machine that does not route.
var (
	quiet = []Sysctl{{"ipv6/conf/all/disable_ipv6", "1"}, {"ipv6/conf/default/disable_ipv6", "1"}}
	plain = append(slices.Clone(quiet), Sysctl{"ipv4/ip_forward", "0"})
)

func (s shape) addServer(t *Topology, sv server) {
	if sv.bond != nil {
		s.addBonded(t, sv)
		return
	}
	toGateway := Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Via: subnetGate, Port: "br0"}
	br := Bridge{Name: "br0", MAC: macOf(sv.addr), Members: []string{"eth0", "eth1"}}
	t.Links = append(t.Links,
		Link{A: sv.primary, B: End{sv.name, "eth0"}},
		Link{A: sv.backup, B: End{sv.name, "eth1"}})
	port := ServerPort{ID: sv.id, Name: sv.name, Server: sv.name, Primary: sv.primary, Backup: sv.backup, Hosts: []netip.Addr{sv.addr}}
	var behind []Node
	for _, g := range sv.guests {
		br.Members = append(br.Members, g.port)
		t.Links = append(t.Links, Link{A: End{sv.name, g.port}, B: End{g.name, "eth0"}})
		port.Hosts = append(port.Hosts, g.addr)
		behind = append(behind, Node{
			Name: g.name, Role: Guest, Sysctls: plain,
			Addresses: []Address{{"eth0", netip.PrefixFrom(g.addr, subnet.Bits())}},
			Routes:    []Route{{Prefix: toGateway.Prefix, Via: subnetGate, Port: "eth0"}},
		})
	}
	t.Nodes = append(t.Nodes, Node{
		Name: sv.name, Role: Server, Sysctls: plain, Bridges: []Bridge{br}, Config: s.serverConfig(sv),
		Addresses: []Address{{"br0", netip.PrefixFrom(sv.addr, subnet.Bits())}},
		Routes:    []Route{toGateway},
	})
	t.Nodes = append(t.Nodes, behind...)
	t.Servers = append(t.Servers, port)
}

// flows lists gateway to host, host to gateway, then host to host.
func (s shape) flows() []Flow {
	var out []Flow
	type host struct {
		name string
		addr netip.Addr
	}
	var hosts []host
	for _, sv := range s.servers {
		hosts = append(hosts, host{sv.name, sv.addr})
		for _, g := range sv.guests {
			hosts = append(hosts, host{g.name, g.addr})
		}
	}
	var names []string
	for _, g := range s.gateways {
		names = append(names, g.name)
		for _, h := range hosts {
			out = append(out, Flow{Sender: g.name, Receivers: []string{h.name}, From: g.name, To: h.name, Source: g.owns, Dest: h.addr})
		}
	}
	for _, h := range hosts {
		out = append(out, Flow{
			Sender: h.name, Receivers: names, From: h.name, To: strings.Join(names, "|"), Source: h.addr, Dest: anycast,
		})
	}
	for _, p := range s.pairs {
		a := hosts[slices.IndexFunc(hosts, func(h host) bool { return h.name == p[0] })]
		b := hosts[slices.IndexFunc(hosts, func(h host) bool { return h.name == p[1] })]
		out = append(out, Flow{Sender: a.name, Receivers: []string{b.name}, From: a.name, To: b.name, Source: a.addr, Dest: b.addr})
	}
	return out
}
