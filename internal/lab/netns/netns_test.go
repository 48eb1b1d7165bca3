package netns

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"peerless/internal/lab/topology"
)

const testPrefix = "pl-test-netns-"

func needRootHere(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("needs root: network namespaces")
	}
	t.Skip("needs root: network namespaces")
}

// path is three machines in a row, the middle one with a bridge that has only the stub.
func path() topology.Topology {
	return topology.Topology{
		Name: "path",
		Nodes: []topology.Node{
			{Name: "l", Role: topology.Host, Addresses: []topology.Address{{Port: "e0", Prefix: netip.MustParsePrefix("192.0.2.1/24")}}},
			{
				Name: "m", Role: topology.Host, Sysctls: []topology.Sysctl{{Path: "ipv4/ip_forward", Value: "1"}},
				Bridges: []topology.Bridge{{Name: "br0", MAC: "02:00:0a:00:00:01"}},
			},
			{
				Name: "r", Role: topology.Host, Addresses: []topology.Address{{Port: "e0", Prefix: netip.MustParsePrefix("198.51.100.1/24")}},
				Routes: []topology.Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("198.51.100.2"), Port: "e0"}},
			},
		},
		Links: []topology.Link{
			{A: topology.End{Node: "m", Port: "p1"}, B: topology.End{Node: "l", Port: "e0"}},
			{A: topology.End{Node: "m", Port: "p2"}, B: topology.End{Node: "r", Port: "e0"}, SameIndex: true},
		},
	}
}

func build(t *testing.T, top topology.Topology) *Net {
	t.Helper()
	nameOf := func(node string) string { return testPrefix + node }
	clean := func() {
		for _, n := range top.Nodes {
			if err := Delete(nameOf(n.Name)); err != nil {
				t.Error(err)
			}
		}
	}
	clean()
	t.Cleanup(clean)
	n, err := Build(top, nameOf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func TestBuild_Path_IsAsDescribed(t *testing.T) {
	needRootHere(t)
	n := build(t, path())
	index := func(node, port string) int {
		l, err := n.handles[node].LinkByName(port)
		if err != nil {
			t.Fatal(err)
		}
		return l.Attrs().Index
	}
	if index("m", "p1") == index("l", "e0") {
		t.Error("a plain link has the same index on both ends")
	}
	if index("m", "p2") != index("r", "e0") {
		t.Error("a link with SameIndex has different ones")
	}
	br, err := n.handles["m"].LinkByName("br0")
	if err != nil {
		t.Fatal(err)
	}
	if got := br.Attrs().HardwareAddr.String(); got != "02:00:0a:00:00:01" {
		t.Errorf("bridge has address %s", got)
	}
	stub, err := n.handles["m"].LinkByName(stubPeer)
	if err != nil {
		t.Fatal(err)
	}
	const noARP = 0x80 // IFF_NOARP: it would answer for the bridge's addresses
	if stub.Attrs().RawFlags&noARP == 0 {
		t.Error("the stub answers ARP")
	}
	deadline := time.Now().Add(2 * time.Second)
	for br.Attrs().OperState != netlink.OperUp && time.Now().Before(deadline) {
		if br, err = n.handles["m"].LinkByName("br0"); err != nil {
			t.Fatal(err)
		}
	}
	if br.Attrs().OperState != netlink.OperUp {
		t.Errorf("a bridge with only its stub is %s", br.Attrs().OperState)
	}
	err = Do(testPrefix+"m", func() error {
		b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		if strings.TrimSpace(string(b)) != "1" {
			t.Errorf("ip_forward is %q", b)
		}
		for _, s := range noFilters { // a kernel without them has no such file
			if b, err := os.ReadFile(filepath.Join("/proc/sys/net", s.Path)); err == nil && strings.TrimSpace(string(b)) != s.Value {
				t.Errorf("%s is %q", s.Path, b)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	routes, err := n.handles["r"].RouteList(nil, netlink.FAMILY_V4)
	if err != nil || len(routes) != 2 {
		t.Errorf("r has routes %v (%v), want a connected and a default one", routes, err)
	}
}

func TestSetPort_DownAndUp(t *testing.T) {
	needRootHere(t)
	n := build(t, path())
	calls := 0
	for _, up := range []bool{false, true} {
		if err := n.SetPort("m", "p1", up, func() { calls++ }); err != nil {
			t.Fatal(err)
		}
		if got, err := n.PortUp("m", "p1"); err != nil || got != up {
			t.Errorf("port is up: %v (%v), want %v", got, err, up)
		}
	}
	if calls != 2 {
		t.Errorf("the clock was asked %d times for 2 messages", calls)
	}
	if err := n.SetPort("m", "p9", true, func() {}); err == nil {
		t.Error("a port that is not there was set up")
	}
}

func TestCreate_TwiceOrDeleteNothing(t *testing.T) {
	needRootHere(t)
	name := testPrefix + "twice"
	t.Cleanup(func() { _ = Delete(name) })
	if err := Create(name); err != nil {
		t.Fatal(err)
	}
	if err := Create(name); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("second create: %v, want an error that it is there already", err)
	}
	names, err := List(testPrefix)
	if d := cmp.Diff([]string{name}, names); d != "" || err != nil {
		t.Errorf("list %v (-want +got):\n%s", err, d)
	}
	for range 2 { // the second time there is nothing
		if err := Delete(name); err != nil {
			t.Error(err)
		}
	}
}

func TestDo_ThisThreadsNamespace_IsLeftAlone(t *testing.T) {
	needRootHere(t)
	build(t, path())
	for range 8 {
		err := Do(testPrefix+"l", func() error {
			if _, err := net.InterfaceByName("e0"); err != nil {
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := net.InterfaceByName("e0"); err == nil {
		t.Error("this process sees the namespace's port")
	}
}

func TestStart_ProcessSeesItsNamespace(t *testing.T) {
	needRootHere(t)
	build(t, path())
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/bin/cat", "/proc/net/dev")
	cmd.Stdout = f
	p, err := Start(testPrefix+"l", cmd, true)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if b, err := os.ReadFile(f.Name()); err != nil || !strings.Contains(string(b), "e0:") || p.Err() != nil {
		t.Errorf("the process did not see its namespace (%v, %v):\n%s", err, p.Err(), b)
	}
}

func TestStop_EndsOnlyThatProcess(t *testing.T) {
	needRootHere(t)
	build(t, path())
	p, err := Start(testPrefix+"l", exec.Command("/bin/sleep", "60"), true)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Fatal("it is not alive right after its start")
	}
	other := ID{PID: p.PID, Start: p.ID.Start + 1}
	if err := Stop([]ID{other}, 0); err != nil || !p.Alive() {
		t.Fatalf("a process with the same number but another start time was ended (%v)", err)
	}
	if err := Stop([]ID{p.ID}, 0); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	var exit *exec.ExitError
	if !errors.As(p.Err(), &exit) {
		t.Errorf("it ended with %v, want an exit error", p.Err())
	}
	if err := Stop([]ID{p.ID, {}}, time.Second); err != nil {
		t.Errorf("stopping what is gone: %v", err)
	}
}
