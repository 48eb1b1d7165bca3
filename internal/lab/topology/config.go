package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A lab returns servers sooner than a production network would; nothing else is tuned.
const failBackStable = "1s"

const attachmentRange = "10.255.0.0/16"

type yamlText struct{ strings.Builder }

func (y *yamlText) line(format string, args ...any) { fmt.Fprintf(&y.Builder, format+"\n", args...) }

// portIndex is the number in a leaf port's name: A2 is port 2.
func portIndex(port string) uint32 {
	port, _, _ = strings.Cut(port, ".") // a VLAN device on it
	n, err := strconv.ParseUint(strings.TrimLeft(port, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 10, 32)
	if err != nil {
		panic("topology: leaf port " + port + " has no number") // data of this package, covered by its tests
	}
	return uint32(n)
}

// downlink is a server's link as its leaf sees it.
type downlink struct {
	port   string
	role   string
	server server
}

func (s shape) downlinks(leaf string) []downlink {
	var out []downlink
	for _, sv := range s.servers {
		primary, backup := sv.leafPorts()
		if primary.Node == leaf {
			out = append(out, downlink{primary.Port, "primary", sv})
		}
		if backup.Node == leaf {
			out = append(out, downlink{backup.Port, "backup", sv})
		}
	}
	slices.SortFunc(out, func(a, b downlink) int { return strings.Compare(a.port, b.port) })
	return out
}

func (s shape) gatewayConfig(g gateway) string {
	var y yamlText
	y.line("role: gateway\nname: %s\nrouter-id: %s\nas: %d", g.name, g.owns, g.as)
	y.line("subnets:\n  - prefix: %s\nattachment-range: %s\nleaves:", subnet, attachmentRange)
	for _, u := range s.uplinks {
		if u.gateway.Node != g.name {
			continue
		}
		l := s.leaves[slices.IndexFunc(s.leaves, func(l leaf) bool { return l.name == u.leaf.Node })]
		var ports []string
		for _, d := range s.downlinks(l.name) {
			ports = append(ports, fmt.Sprintf("%d: %s", portIndex(d.port), d.port))
		}
		y.line("  - name: %s\n    port: %s\n    address: %s\n    as: %d\n    ports: {%s}",
			l.name, u.gateway.Port, hostAddr(u.net, 2), l.as, strings.Join(ports, ", "))
	}
	var servers []string
	for _, sv := range s.servers {
		servers = append(servers, fmt.Sprintf("%d: %s", sv.id, sv.name))
	}
	y.line("server-ports: {%s}", strings.Join(servers, ", "))
	for _, p := range s.peers {
		if p.self.Node == g.name {
			y.line("peer:\n  port: %s\n  address: %s", p.self.Port, p.addr(false))
		}
	}
	return y.String()
}

func (s shape) leafConfig(l leaf) string {
	var y yamlText
	y.line("role: leaf\nname: %s\nrouter-id: %s\nas: %d", l.name, l.routerID, l.as)
	y.line("subnets:\n  - prefix: %s\n    gateway: %s\n    mac: %s", subnet, subnetGate, gatewayMAC)
	y.line("attachment-range: %s\nuplinks:", attachmentRange)
	var ups, downs []string
	for _, u := range s.uplinks {
		if u.leaf.Node == l.name {
			ups = append(ups, u.leaf.Port)
			g := s.gateways[slices.IndexFunc(s.gateways, func(g gateway) bool { return g.name == u.gateway.Node })]
			y.line("  - port: %s\n    neighbor: %s\n    as: %d", u.leaf.Port, hostAddr(u.net, 1), g.as)
		}
	}
	y.line("downlinks:")
	for _, d := range s.downlinks(l.name) {
		downs = append(downs, d.port)
		y.line("  - port: %s\n    attachment: %d\n    server-port: %s\n    role: %s\n    index: %d\n    max-hosts: %d",
			d.port, d.server.id, d.server.name, d.role, portIndex(d.port), HostsMax)
	}
	y.line("guard-owners: true")
	if s.patient {
		y.line("probe:\n  uplinks:\n    interval: %[1]s\n  links:\n    interval: %[1]s", patience)
	}
	y.line("linkage:\n  - name: all\n    uplinks: [%s]\n    downlinks: [%s]\n    min-uplinks: 1",
		strings.Join(ups, ", "), strings.Join(downs, ", "))
	return y.String()
}

func (s shape) serverConfig(sv server) string { return s.linkPairConfig(sv, "br0") }

func (s shape) linkPairConfig(sv server, device string) string {
	var y yamlText
	y.line("role: server\nname: %s", sv.name)
	y.line("link-pair:\n  device: %s\n  primary: eth0\n  backup: eth1\n  gateway: %s\n  gateway-mac: %s", device, subnetGate, gatewayMAC)
	y.line("fail-back:\n  policy: after\n  stable: %s", failBackStable)
	switch {
	case s.patient:
		y.line("probe:\n  leaf:\n    interval: %s", patience)
	case !s.carrier.slow():
		y.line("probe:\n  through:\n    target: %s", anycast)
	}
	return y.String()
}

// patience is how seldom a patient shape asks for silence.
const patience = time.Second

const gatewayMAC = "02:00:5e:00:00:01"

// HostsMax is how many hosts a leaf learns on one port.
const HostsMax = 16
