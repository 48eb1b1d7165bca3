package bench

import (
	"fmt"
	"net/netip"

	"peerless/internal/bench/hand"
	"peerless/internal/lab/topology"
)

// Addresses of the one network that every engine is measured on. Hosts are numbered from the subnet's first address.
var (
	subnet   = netip.MustParsePrefix("10.32.0.0/14")
	anyHost  = netip.MustParsePrefix("10.32.0.0/15") // what the machine of the hosts answers to
	first    = netip.MustParseAddr("10.32.0.1")
	gate     = netip.MustParseAddr("10.34.0.1") // the hosts' default gateway
	behind   = netip.MustParseAddr("10.34.0.2") // the machine that has all the hosts
	server   = netip.MustParseAddr("10.34.0.3")
	outside  = netip.MustParseAddr("10.0.0.1") // who talks to the hosts
	toOld    = netip.MustParsePrefix("172.31.1.0/30")
	toNew    = netip.MustParsePrefix("172.31.2.0/30")
	anywhere = netip.MustParsePrefix("0.0.0.0/0")
)

// Hardware addresses: the hosts' machine, the server's bridge, and the gateway that both leaves are.
const (
	behindMAC = "02:00:0a:22:00:02"
	serverMAC = "02:00:0a:22:00:03"
	gateMAC   = "02:00:5e:00:00:01"
)

// HostsMax is how many hosts the network has room for.
const HostsMax = 1<<17 - 2

// Nodes. The link between gateway and old leaf is two links with the node X between: a cut takes the carrier of both ends and sets
// neither down. The server's link is one, since the leaf must be able to take the server's carrier; its end at the server is set down.
const nodeG, nodeA, nodeB, nodeS, nodeV, nodeX = "G", "A", "B", "S", "V", "X"

// hostTable is the leaf's kernel table that a routing engine reads.
const hostTable = 210

// host is the n-th host, from 0.
func host(n int) netip.Addr {
	b := first.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// end is an address of a /30: 1 the gateway's, 2 the leaf's.
func end(p netip.Prefix, n int) netip.Addr {
	a := p.Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// sampled are the hosts that probes are sent to, spread over the range: the first, the last, and between.
func sampled(hosts int) []netip.Addr {
	if hosts < samples {
		return []netip.Addr{host(0)}
	}
	var out []netip.Addr
	for i := range samples {
		out = append(out, host(i*(hosts-1)/(samples-1)))
	}
	return out
}

// samples is how many hosts are probed: two cores cannot send to more of them at the finest pace without being what is measured.
const samples = 3

// network is the topology without daemons.
func network(name string, hosts int) topology.Topology {
	quiet := []topology.Sysctl{{Path: "ipv6/conf/all/disable_ipv6", Value: "1"}, {Path: "ipv6/conf/default/disable_ipv6", Value: "1"}}
	still := append(quiet[:2:2], topology.Sysctl{Path: "ipv4/ip_forward", Value: "0"})
	t := topology.Topology{
		Name: "bench-" + name,
		Nodes: []topology.Node{
			{Name: nodeG, Role: topology.Gateway, Sysctls: quiet, Addresses: []topology.Address{
				{Port: "lo", Prefix: netip.PrefixFrom(outside, 32)},
				{Port: "to-A", Prefix: netip.PrefixFrom(end(toOld, 1), 30)}, {Port: "to-B", Prefix: netip.PrefixFrom(end(toNew, 1), 30)},
			}},
			{Name: nodeA, Role: topology.Leaf, Sysctls: quiet, Addresses: []topology.Address{{Port: "A0", Prefix: netip.PrefixFrom(end(toOld, 2), 30)}}},
			{Name: nodeB, Role: topology.Leaf, Sysctls: quiet, Addresses: []topology.Address{{Port: "B0", Prefix: netip.PrefixFrom(end(toNew, 2), 30)}}},
			{
				Name: nodeS, Role: topology.Server, Sysctls: still,
				Bridges:   []topology.Bridge{{Name: "br0", MAC: serverMAC, Members: []string{"eth0", "eth1", "v0"}}},
				Addresses: []topology.Address{{Port: "br0", Prefix: netip.PrefixFrom(server, subnet.Bits())}},
				Routes:    []topology.Route{{Prefix: anywhere, Via: gate, Port: "br0"}},
			},
			{
				Name: nodeV, Role: topology.Guest, Sysctls: still,
				Addresses: []topology.Address{{Port: "eth0", Prefix: netip.PrefixFrom(behind, subnet.Bits())}},
				Routes:    []topology.Route{{Prefix: anywhere, Via: gate, Port: "eth0"}},
			},
			{Name: nodeX, Role: topology.Host, Sysctls: still, Bridges: []topology.Bridge{{Name: "br0", MAC: "02:00:00:00:00:01", Members: []string{"far", "near"}}}},
		},
		Links: []topology.Link{
			link(nodeG, "to-A", nodeX, "near"), link(nodeA, "A0", nodeX, "far"),
			link(nodeG, "to-B", nodeB, "B0"),
			link(nodeA, "A1", nodeS, "eth0"),
			link(nodeB, "B1", nodeS, "eth1"),
			link(nodeS, "v0", nodeV, "eth0"),
		},
	}
	for _, h := range sampled(hosts) {
		t.Flows = append(t.Flows, topology.Flow{Sender: nodeG, Receivers: []string{nodeV}, From: nodeG, To: h.String(), Source: outside, Dest: h})
	}
	return t
}

func link(a, port, b, far string) topology.Link {
	return topology.Link{A: topology.End{Node: a, Port: port}, B: topology.End{Node: b, Port: far}}
}

// setConfig sets a node's YAML.
func setConfig(t *topology.Topology, name, text string) {
	for i := range t.Nodes {
		if t.Nodes[i].Name == name {
			t.Nodes[i].Config = text
		}
	}
}

// peerless gives every node its daemon.
func peerless(t *topology.Topology, hosts int) {
	setConfig(t, nodeG, gatewayYAML(hosts))
	setConfig(t, nodeA, leafYAML(nodeA, hosts))
	setConfig(t, nodeB, leafYAML(nodeB, hosts))
	setConfig(t, nodeS, serverYAML(hosts))
}

// room is a limit that the hosts do not reach.
func room(hosts int) int { return max(1024, 2*hosts) }

func gatewayYAML(hosts int) string {
	return fmt.Sprintf(`role: gateway
name: G
router-id: %s
as: 65000
subnets:
  - prefix: %s
attachment-range: 10.255.0.0/16
max-hosts: %d
leaves:
  - {name: A, port: to-A, address: %s, as: 65001, ports: {1: A1}}
  - {name: B, port: to-B, address: %s, as: 65002, ports: {1: B1}}
server-ports: {1: S}
`, outside, subnet, room(hosts), end(toOld, 2), end(toNew, 2))
}

// leafYAML is the leaf's own config, or what a routing engine's is made from.
func leafYAML(name string, hosts int) string {
	as, net, role := 65001, toOld, "primary"
	if name == nodeB {
		as, net, role = 65002, toNew, "backup"
	}
	return fmt.Sprintf(`role: leaf
name: %[1]s
router-id: 10.0.0.%[9]d
as: %[2]d
subnets:
  - prefix: %[3]s
    gateway: %[4]s
    mac: %[5]s
attachment-range: 10.255.0.0/16
uplinks:
  - {port: %[1]s0, neighbor: %[6]s, as: 65000}
downlinks:
  - {port: %[1]s1, attachment: 1, server-port: S, role: %[7]s, index: 1, max-hosts: %[8]d}
`, name, as, subnet, gate, gateMAC, end(net, 1), role, room(hosts), as-65000+10)
}

func serverYAML(hosts int) string {
	return fmt.Sprintf(`role: server
name: S
max-guests: %d
link-pair:
  device: br0
  primary: eth0
  backup: eth1
  gateway: %s
  gateway-mac: %s
fail-back:
  policy: after
  stable: 1s
`, room(hosts), gate, gateMAC)
}

// standIns are the processes of an engine without peerless, in the order in which they start.
func standIns(act hand.Act, hosts int) []hand.Spec {
	all := hand.Spec{Act: act, First: first, Hosts: hosts}
	leaf := all
	leaf.Table, leaf.Via, leaf.MAC = hostTable, behind, behindMAC
	newLeaf, oldLeaf := leaf, leaf
	newLeaf.Role, newLeaf.Port, newLeaf.Other, newLeaf.Local, newLeaf.Far = hand.New, "B1", "B0", end(toNew, 2), end(toNew, 1)
	oldLeaf.Role, oldLeaf.Port, oldLeaf.Other = hand.Old, "A1", "A0"
	gateway := all
	gateway.Role, gateway.Table, gateway.Port, gateway.Other = hand.Gateway, 254, "to-A", "to-B"
	gateway.Via, gateway.Next, gateway.Local, gateway.Far = end(toOld, 2), end(toNew, 2), end(toNew, 1), end(toNew, 2)
	serverSpec := all
	serverSpec.Role, serverSpec.Port, serverSpec.Other = hand.Server, "eth0", "eth1"
	if act == hand.Routes {
		return []hand.Spec{newLeaf, oldLeaf, serverSpec}
	}
	return []hand.Spec{gateway, newLeaf, oldLeaf, serverSpec}
}

// nodeOf is where a stand-in runs.
func nodeOf(r hand.Role) string {
	return map[hand.Role]string{hand.Gateway: nodeG, hand.Old: nodeA, hand.New: nodeB, hand.Server: nodeS}[r]
}
