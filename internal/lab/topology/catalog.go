package topology

import "net/netip"

var (
	netA = netip.MustParsePrefix("172.31.1.0/30")
	netB = netip.MustParsePrefix("172.31.2.0/30")
)

func twoLeaves() []leaf {
	return []leaf{
		{"A", 65001, netip.MustParseAddr("10.0.0.11")},
		{"B", 65002, netip.MustParseAddr("10.0.0.12")},
	}
}

func oneGateway() []gateway { return []gateway{{name: "G", owns: anycast, as: 65000}} }

func uplinksOf(g, a, b string) []uplink {
	return []uplink{
		{End{g, "to-A"}, End{"A", a}, netA},
		{End{g, "to-B"}, End{"B", b}, netB},
	}
}

func serverAddr(n int) netip.Addr { return hostAddr(subnet, n) }

// fig4 is the small form of figures 4, 5, 6, 8 and 9.
func fig4() Topology {
	return shape{
		name: "fig4", about: "one gateway, two leaves, two servers (figures 4-6, 8, 9)",
		gateways: oneGateway(), leaves: twoLeaves(), uplinks: uplinksOf("G", "A1", "B1"),
		servers: []server{
			{name: "S1", id: 1, addr: serverAddr(1), primary: End{"A", "A2"}, backup: End{"B", "B2"}},
			{name: "S2", id: 2, addr: serverAddr(2), primary: End{"B", "B3"}, backup: End{"A", "A3"}},
		},
		pairs: [][2]string{{"S1", "S2"}, {"S2", "S1"}},
	}.build()
}

// fourServers are those of figures 7 and 10: half have their primary on A, half on B.
func fourServers() []server {
	return []server{
		{name: "C1", id: 1, addr: serverAddr(1), primary: End{"A", "A1"}, backup: End{"B", "B1"}},
		{name: "C2", id: 2, addr: serverAddr(2), primary: End{"A", "A2"}, backup: End{"B", "B2"}},
		{name: "C3", id: 3, addr: serverAddr(3), primary: End{"B", "B3"}, backup: End{"A", "A3"}},
		{name: "C4", id: 4, addr: serverAddr(4), primary: End{"B", "B4"}, backup: End{"A", "A4"}},
	}
}

// fourPairs are two flows on the same leaf and two across leaves.
func fourPairs() [][2]string {
	return [][2]string{{"C1", "C2"}, {"C3", "C4"}, {"C1", "C3"}, {"C4", "C2"}}
}

// fig7 is the reference topology.
func fig7() Topology {
	return shape{
		name: "fig7", about: "the reference: one gateway, two leaves, four servers (figures 7 and 10)",
		gateways: oneGateway(), leaves: twoLeaves(), uplinks: uplinksOf("G", "A0", "B0"),
		servers: fourServers(), pairs: fourPairs(),
	}.build()
}

// guests has one server whose guests must move with it.
func guests() Topology {
	return shape{
		name: "guests", about: "one gateway, two leaves, one server with three guests on its bridge",
		gateways: oneGateway(), leaves: twoLeaves(), uplinks: uplinksOf("G", "A0", "B0"),
		servers: []server{{
			name: "S", id: 1, addr: serverAddr(1), primary: End{"A", "A1"}, backup: End{"B", "B1"},
			guests: []guest{{"V1", "v1", serverAddr(11)}, {"V2", "v2", serverAddr(12)}, {"V3", "v3", serverAddr(13)}},
		}},
		pairs: [][2]string{{"V1", "V2"}},
	}.build()
}

// twoGateways is fig7 with a second gateway: both hold the outside's address, and each is the other's last resort.
func twoGateways() Topology {
	const linkAS = 65000
	link := netip.MustParsePrefix("172.31.9.0/30")
	return shape{
		name: "two-gateways", about: "fig7 with a second gateway over both leaves, default route by ECMP",
		gateways: []gateway{
			{name: "G1", owns: netip.MustParseAddr("10.0.0.101"), as: linkAS},
			{name: "G2", owns: netip.MustParseAddr("10.0.0.102"), as: linkAS},
		},
		leaves: twoLeaves(),
		uplinks: append(uplinksOf("G1", "A0", "B0"),
			uplink{End{"G2", "to-A"}, End{"A", "A5"}, netip.MustParsePrefix("172.31.3.0/30")},
			uplink{End{"G2", "to-B"}, End{"B", "B5"}, netip.MustParsePrefix("172.31.4.0/30")}),
		peers: []peer{
			{End{"G1", "to-G2"}, End{"G2", "to-G1"}, link, true},
			{End{"G2", "to-G1"}, End{"G1", "to-G2"}, link, false},
		},
		servers: fourServers(), pairs: fourPairs(),
	}.build()
}
