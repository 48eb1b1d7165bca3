package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"peerless/internal/config"
	"peerless/internal/engineconf"
	"peerless/internal/lab/netns"
	"peerless/internal/lab/topology"
)

const (
	testPrefix = "pl-test-daemon-"
	patience   = 20 * time.Second // for what must come
	ourMark    = 201              // the route protocol of a leaf's routes
)

var anywhere = netip.MustParsePrefix("0.0.0.0/0")

func needEngine(t *testing.T, engine engineconf.Engine) {
	t.Helper()
	missing := func(reason string) {
		if os.Getenv("CI") != "" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	if testing.Short() {
		t.Skip("short: routing engines take seconds")
	}
	if os.Geteuid() != 0 {
		missing("needs root: network namespaces")
	}
	if err := Installed(engine); err != nil {
		missing(err.Error())
	}
}

var nodeConfigs = map[string]string{
	"G": `
role: gateway
name: G
router-id: 10.0.0.1
as: 65000
subnets: [{prefix: 10.10.10.0/24}]
attachment-range: 10.255.0.0/16
leaves:
  - {name: A, port: to-A, address: 172.31.1.2, as: 65001}
  - {name: B, port: to-B, address: 172.31.2.2, as: 65002}
`,
	"A": `
role: leaf
name: A
router-id: 10.0.0.11
as: 65001
subnets: [{prefix: 10.10.10.0/24, gateway: 10.10.10.254, mac: "02:00:5e:00:00:01"}]
attachment-range: 10.255.0.0/16
uplinks: [{port: A0, neighbor: 172.31.1.1, as: 65000}]
downlinks: [{port: A1, attachment: 1, role: primary}]
`,
	"B": `
role: leaf
name: B
router-id: 10.0.0.12
as: 65002
subnets: [{prefix: 10.10.10.0/24, gateway: 10.10.10.254, mac: "02:00:5e:00:00:01"}]
attachment-range: 10.255.0.0/16
uplinks: [{port: B0, neighbor: 172.31.2.1, as: 65000}]
downlinks: [{port: B1, attachment: 1, role: backup}]
`,
}

// triangle is a gateway over two leaves, and a machine at the end of both downlinks.
func triangle() topology.Topology {
	end := func(node, port string) topology.End { return topology.End{Node: node, Port: port} }
	address := func(port, prefix string) topology.Address {
		return topology.Address{Port: port, Prefix: netip.MustParsePrefix(prefix)}
	}
	routes := []topology.Sysctl{{Path: "ipv4/ip_forward", Value: "1"}, {Path: "ipv4/conf/all/rp_filter", Value: "0"}}
	return topology.Topology{
		Name: "triangle",
		Nodes: []topology.Node{
			{Name: "G", Role: topology.Host, Sysctls: routes, Addresses: []topology.Address{
				address("lo", "10.0.0.1/32"), address("to-A", "172.31.1.1/30"), address("to-B", "172.31.2.1/30"),
			}},
			{Name: "A", Role: topology.Host, Sysctls: routes, Addresses: []topology.Address{address("A0", "172.31.1.2/30"), address("A1", "10.10.10.254/32")}},
			{Name: "B", Role: topology.Host, Sysctls: routes, Addresses: []topology.Address{address("B0", "172.31.2.2/30"), address("B1", "10.10.10.254/32")}},
			{Name: "C", Role: topology.Host},
		},
		Links: []topology.Link{
			{A: end("G", "to-A"), B: end("A", "A0")}, {A: end("G", "to-B"), B: end("B", "B0")},
			{A: end("A", "A1"), B: end("C", "eth0")}, {A: end("B", "B1"), B: end("C", "eth1")},
		},
	}
}

// world is the triangle with an engine in each of its routers.
type world struct {
	t       *testing.T
	dir     string
	ctx     context.Context
	engines map[string]*Engine
	handles map[string]*netlink.Handle
}

func newWorld(t *testing.T) *world {
	t.Helper()
	top := triangle()
	nameOf := func(node string) string { return testPrefix + node }
	clean := func() {
		for _, n := range top.Nodes {
			if err := netns.Delete(nameOf(n.Name)); err != nil {
				t.Error(err)
			}
		}
	}
	clean()
	t.Cleanup(clean)
	n, err := netns.Build(top, nameOf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	w := &world{t: t, ctx: t.Context(), engines: map[string]*Engine{}, handles: map[string]*netlink.Handle{}}
	// FRR's own user must be able to enter it, so t.TempDir will not do.
	if w.dir, err = os.MkdirTemp("/run", testPrefix); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(w.dir) })
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"G", "A", "B"} {
		ns, err := vnetns.GetFromName(nameOf(node))
		if err != nil {
			t.Fatal(err)
		}
		h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
		_ = ns.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Close)
		w.handles[node] = h
	}
	return w
}

// run starts an engine in every router.
func (w *world) run(engine engineconf.Engine, protocol engineconf.Protocol) {
	w.t.Helper()
	for _, node := range []string{"G", "A", "B"} {
		w.start(node, w.files(node, engine, protocol))
	}
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.dump()
		}
	})
}

func (w *world) files(node string, engine engineconf.Engine, protocol engineconf.Protocol) engineconf.Files {
	w.t.Helper()
	file, err := config.Parse(node+".yaml", []byte(nodeConfigs[node]))
	if err != nil {
		w.t.Fatal(err)
	}
	files, err := engineconf.Generate(engine, protocol, file, engineconf.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

func (w *world) start(node string, files engineconf.Files) {
	w.t.Helper()
	e, err := Start(w.ctx, Spec{Space: testPrefix + node, Dir: filepath.Join(w.dir, node), Files: files, Tied: true})
	if err != nil {
		w.t.Fatal(err)
	}
	w.engines[node] = e
	w.t.Cleanup(func() {
		if err := e.Stop(0); err != nil {
			w.t.Error(err)
		}
	})
}

// dump shows what the engines said.
func (w *world) dump() {
	for _, node := range []string{"G", "A", "B"} {
		for _, p := range w.engines[node].Processes() {
			b, _ := os.ReadFile(w.engines[node].LogPath(p.Name))
			w.t.Logf("%s of %s:\n%s", p.Name, node, b)
		}
		w.t.Logf("%s has %s", node, w.routes(node))
	}
}

func (w *world) routes(node string) string {
	routes, err := w.handles[node].RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	return fmt.Sprint(routes, err)
}

// host puts a host's route into the leaf's table, or takes it out.
func (w *world) host(leaf string, host netip.Addr, metric int, present bool) {
	w.t.Helper()
	port, err := w.handles[leaf].LinkByName(leaf + "1")
	if err != nil {
		w.t.Fatal(err)
	}
	r := &netlink.Route{
		Table: engineconf.DefaultTable, LinkIndex: port.Attrs().Index, Dst: &net.IPNet{IP: host.AsSlice(), Mask: net.CIDRMask(32, 32)},
		Protocol: ourMark, Scope: netlink.SCOPE_LINK, Priority: metric,
	}
	change := w.handles[leaf].RouteDel
	if present {
		change = w.handles[leaf].RouteAdd
	}
	if err := change(r); err != nil {
		w.t.Fatalf("host %s on %s: %v", host, leaf, err)
	}
}

// via gives the addresses that a node's main table sends a prefix to.
func (w *world) via(node string, p netip.Prefix) []string {
	w.t.Helper()
	routes, err := w.handles[node].RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, netlink.ErrDumpInterrupted) {
		w.t.Fatal(err)
	}
	var out []string
	for _, r := range routes {
		if prefixOf(r.Dst) != p {
			continue
		}
		out = append(out, r.Gw.String())
		for _, hop := range r.MultiPath {
			out = append(out, hop.Gw.String())
		}
	}
	return out
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return anywhere
	}
	a, _ := netip.AddrFromSlice(n.IP.To4())
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a, bits)
}

// eventually waits until a node sends a prefix to exactly this address ("": nowhere) and gives the time that took.
func (w *world) eventually(node string, p netip.Prefix, want string) time.Duration {
	w.t.Helper()
	began := time.Now()
	for {
		got := w.via(node, p)
		if want == "" && len(got) == 0 || len(got) == 1 && got[0] == want {
			return time.Since(began)
		}
		if time.Since(began) > patience {
			w.t.Fatalf("%s sends %s to %v, want %q", node, p, got, want)
		}
	}
}
