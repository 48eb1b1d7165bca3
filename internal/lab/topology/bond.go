package topology

import (
	"fmt"
	"net/netip"
	"slices"
)

// Bond is a kernel bond. Its settings are files below /sys/class/net/BOND/bonding, written in this order before it gets members.
type Bond struct {
	Name     string
	MAC      string // empty: its first member's
	Members  []string
	Settings []Setting
	// Home is the member that must be chosen by hand, since the bond does not return to it by itself: which one it takes at first
	// depends on which leaf opens first. Empty: it finds its way.
	Home string
}

// Setting is one option of a bond, in the kernel's words.
type Setting struct{ Name, Value string }

// VLAN is an 802.1Q device on another port.
type VLAN struct {
	Name string
	On   string
	ID   int
}

// bonded is how a server uses its bond.
type bonded struct {
	settings []Setting
	agent    bool // the server runs peerless, which drives the bond
	vlan     int  // tagged traffic: the leaf's downlink is a VLAN device on its port, the server's address is on one on its bond
}

// vlanPort is the VLAN device on a port.
func vlanPort(port string, id int) string { return fmt.Sprintf("%s.%d", port, id) }

const bondPort = "bond0"

// Settings that several servers have.
var (
	activeBackup = Setting{"mode", "active-backup"}
	hears        = Setting{"all_slaves_active", "1"} // the standby link hears
	deaf         = Setting{"all_slaves_active", "0"} // it does not: the default
	preferred    = Setting{"primary", "eth0"}
	staysThere   = Setting{"primary_reselect", "failure"} // returns only when the other link fails
	movesMAC     = Setting{"fail_over_mac", "active"}
)

// byCarrier is a bond that looks at its links' carrier every so many milliseconds.
func byCarrier(miimon string, more ...Setting) *bonded {
	return &bonded{settings: append([]Setting{activeBackup, {"miimon", miimon}}, more...)}
}

// byARP is a bond that asks the gateway by ARP every so many milliseconds.
func byARP(interval string, more ...Setting) *bonded {
	return &bonded{settings: append([]Setting{activeBackup, {"arp_interval", interval}, {"arp_ip_target", "+" + subnetGate.String()},
		{"arp_validate", "none"}}, more...)}
}

// stays reports whether a server does not return to its primary link by itself.
func (sv server) stays() bool { return sv.bond != nil && slices.Contains(sv.bond.settings, staysThere) }

// Unbonded is the measure of the topologies with bonds: as many servers and guests, and none of them with a bond.
const Unbonded = "bond-none"

// Bonded lists the topologies of servers that have a kernel bond and, but for one, no peerless: they want a kernel with bonding,
// and one of them 802.1Q. Each has two servers with their primary link on leaf A, so that one fault shows two ways. The first is what
// the others are held against.
func Bonded() []Topology {
	tagged := byARP("500", hears, preferred)
	tagged.vlan = 10
	driven := byCarrier("100", hears) // no preferred link of the kernel's own: the agent decides
	driven.agent = true
	return []Topology{
		bondPair(Unbonded, "two servers with three guests each on a bridge that peerless drives: what the machine itself costs",
			nil, 3, nil, 3),
		bondPair("bond-miimon", "two servers with three guests each on a bond: miimon 10 and 100, the standby link hears",
			byCarrier("10", hears, preferred), 3, byCarrier("100", hears, preferred), 3),
		bondPair("bond-deaf", "two servers with three guests each on a bond: miimon 10 and 100, the standby link is deaf",
			byCarrier("10", deaf, preferred), 3, byCarrier("100", deaf, preferred), 3),
		bondPair("bond-options", "a server with guests whose bond does not return by itself; one without, whose bond changes its MAC",
			byCarrier("10", hears, preferred, staysThere), 3, byCarrier("100", hears, preferred, movesMAC), 0),
		bondPair("bond-arp", "a server with guests whose bond watches by ARP; one with guests whose bond peerless drives",
			byARP("500", hears, preferred), 3, driven, 3),
		bondPair("bond-vlan", "a server on a tagged leaf port whose bond watches by ARP; one without guests on a plain bond",
			tagged, 0, byCarrier("100", hears, preferred), 0),
	}
}

func bondPair(name, about string, first *bonded, guests1 int, second *bonded, guests2 int) Topology {
	s := shape{
		name: name, about: about, gateways: oneGateway(), leaves: twoLeaves(), uplinks: uplinksOf("G", "A0", "B0"),
		patient: true,
		servers: []server{
			bondServer("S", 1, first, guests1),
			bondServer("T", 2, second, guests2),
		},
		pairs: [][2]string{{"S", "T"}},
	}
	t := s.build()
	t.Faults = s.bondFaults(t.Flows)
	return t
}

func bondServer(name string, id uint32, b *bonded, guests int) server {
	sv := server{
		name: name, id: id, addr: serverAddr(int(id)), bond: b,
		primary: End{"A", fmt.Sprintf("A%d", id)}, backup: End{"B", fmt.Sprintf("B%d", id)},
	}
	for i := range guests {
		n := i + 1
		sv.guests = append(sv.guests, guest{fmt.Sprintf("%sV%d", name, n), fmt.Sprintf("v%d", n), serverAddr(10*int(id) + n)})
	}
	return sv
}

// leafPorts are the ports as the leaf's config names them.
func (sv server) leafPorts() (primary, backup End) {
	primary, backup = sv.primary, sv.backup
	if sv.bond != nil && sv.bond.vlan != 0 {
		primary.Port, backup.Port = vlanPort(primary.Port, sv.bond.vlan), vlanPort(backup.Port, sv.bond.vlan)
	}
	return primary, backup
}

// addBonded is addServer for a server with a bond. With guests the bond is a member of a bridge that has the address, as on a
// hypervisor.
func (s shape) addBonded(t *Topology, sv server) {
	t.Links = append(t.Links,
		Link{A: sv.primary, B: End{sv.name, "eth0"}},
		Link{A: sv.backup, B: End{sv.name, "eth1"}})
	bond := Bond{Name: bondPort, Members: []string{"eth0", "eth1"}, Settings: sv.bond.settings}
	if sv.stays() {
		bond.Home = "eth0"
	}
	n := Node{Name: sv.name, Role: Server, Sysctls: plain, Bonds: []Bond{bond}}
	port := bondPort
	primary, backup := sv.leafPorts()
	attachment := ServerPort{ID: sv.id, Name: sv.name, Server: sv.name, Primary: primary, Backup: backup, Hosts: []netip.Addr{sv.addr}}
	switch {
	case sv.bond.vlan != 0:
		port = vlanPort(bondPort, sv.bond.vlan)
		n.VLANs = []VLAN{{port, bondPort, sv.bond.vlan}}
		addVLAN(t, sv.primary, sv.bond.vlan)
		addVLAN(t, sv.backup, sv.bond.vlan)
	case len(sv.guests) > 0:
		port = "br0"
		n.Bridges = []Bridge{{Name: port, MAC: macOf(sv.addr), Members: []string{bondPort}}}
	}
	var behind []Node
	for _, g := range sv.guests {
		n.Bridges[0].Members = append(n.Bridges[0].Members, g.port)
		t.Links = append(t.Links, Link{A: End{sv.name, g.port}, B: End{g.name, "eth0"}})
		attachment.Hosts = append(attachment.Hosts, g.addr)
		behind = append(behind, guestNode(g))
	}
	n.Addresses = []Address{{port, netip.PrefixFrom(sv.addr, subnet.Bits())}}
	n.Routes = []Route{{Prefix: anywhere, Via: subnetGate, Port: port}}
	if sv.bond.agent {
		n.Config = s.linkPairConfig(sv, bondPort)
	}
	t.Nodes = append(append(t.Nodes, n), behind...)
	t.Servers = append(t.Servers, attachment)
}

var anywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

func guestNode(g guest) Node {
	return Node{
		Name: g.name, Role: Guest, Sysctls: plain,
		Addresses: []Address{{"eth0", netip.PrefixFrom(g.addr, subnet.Bits())}},
		Routes:    []Route{{Prefix: anywhere, Via: subnetGate, Port: "eth0"}},
	}
}

// addVLAN gives a leaf the tagged port.
func addVLAN(t *Topology, at End, id int) {
	i := slices.IndexFunc(t.Nodes, func(n Node) bool { return n.Name == at.Node })
	t.Nodes[i].VLANs = append(t.Nodes[i].VLANs, VLAN{vlanPort(at.Port, id), at.Port, id})
}

// bondFaults break every server's primary link at the server's end, then at the leaf's, then the gateway link. Whatever does not
// return by itself is sent back.
func (s shape) bondFaults(flows []Flow) []Fault {
	var atServer, atLeaf, back []Op
	for _, sv := range s.servers {
		atServer = append(atServer, Op{At: End{sv.name, "eth0"}})
		atLeaf = append(atLeaf, Op{At: sv.primary})
		if sv.stays() {
			back = append(back, Op{At: End{sv.name, "eth0"}, Choose: bondPort})
		}
	}
	up := s.uplinks[0]
	concerned := names(flows, func(f Flow) bool { return f.Sender == "G" || slices.Contains(f.Receivers, "G") })
	first := s.servers[0]
	atServers := Fault{Name: "server-link", Action: "S-A1 and T-A2, at the servers, down", Ops: atServer,
		Link: Link{A: first.primary, B: End{first.name, "eth0"}}, Concerned: concerned}
	atLeaves := Fault{Name: "leaf-port", Action: "A1-S and A2-T, at the leaf, down", Ops: atLeaf, Link: atServers.Link, Concerned: concerned}
	gateway := Fault{Name: "gateway-link", Action: "G-A0 down", Ops: []Op{{At: up.gateway}}, Link: Link{A: up.gateway, B: up.leaf}, Concerned: concerned}
	var out []Fault
	for _, f := range []Fault{atServers, atLeaves, gateway} {
		m := mended(f)
		m.Ops = append(m.Ops, back...)
		out = append(out, f, m)
	}
	return out
}
