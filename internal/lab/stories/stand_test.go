package stories

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/lab/netns"
	"peerless/internal/step"
)

const fig7 = "fig7"

// stand is a fig7 that stands for the time of one test.
type stand struct {
	t      *testing.T
	binary string
}

var built struct {
	sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		os.RemoveAll(filepath.Dir(built.path))
	}
	os.Exit(code)
}

// needLab skips where no lab can be built, and builds the binary.
func needLab(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a lab")
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root: network namespaces")
		}
		t.Skip("needs root: network namespaces")
	}
	built.Do(func() {
		dir, err := os.MkdirTemp("", "peerless-stories-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "peerless")
		if out, err := exec.Command("go", "build", "-o", built.path, "peerless/cmd/peerless").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
}

func standing(t *testing.T) *stand {
	t.Helper()
	needLab(t)
	s := &stand{t: t, binary: built.path}
	s.peerless("lab", "up", fig7)
	t.Cleanup(func() {
		if t.Failed() {
			s.logs()
		}
		s.peerless("lab", "down", fig7)
	})
	s.until("every server is with its primary leaf", s.normal)
	return s
}

// logs copies the end of each daemon's log into the test's output.
func (s *stand) logs() {
	paths, _ := filepath.Glob("/run/peerless-lab/" + fig7 + "/log/*")
	for _, p := range paths {
		data, _ := os.ReadFile(p)
		s.t.Logf("%s:\n%s", filepath.Base(p), data[max(0, len(data)-3000):])
	}
}

// peerless runs the binary as a person would and gives what it prints.
func (s *stand) peerless(args ...string) []byte {
	s.t.Helper()
	cmd := exec.Command(s.binary, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("peerless %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

func socket(node string) string { return "/run/peerless-lab/" + fig7 + "/" + node + ".sock" }

// show asks a node by the command line.
func show[T any](s *stand, node, what string) []T {
	s.t.Helper()
	var rows []T
	if err := json.Unmarshal(s.peerless("show", what, "--json", "--socket", socket(node)), &rows); err != nil {
		s.t.Fatalf("show %s of %s: %v", what, node, err)
	}
	return rows
}

func (s *stand) fault(name string) {
	s.t.Helper()
	s.peerless("lab", "fault", fig7, name)
}

// until waits for a condition of the whole; what it returns is why not yet.
func (s *stand) until(what string, why func() string) {
	s.t.Helper()
	var last string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if last = why(); last == "" {
			return
		}
	}
	s.t.Fatalf("not in 20 s: %s: %s", what, last)
}

// normal says what keeps the lab from its normal state.
func (s *stand) normal() string {
	for _, r := range show[step.MappingRow](s, "G", "mapping") {
		if r.Active != (r.Role == "primary") || r.Uplink != "up" || r.Downlink != "up" {
			return fmt.Sprintf("%s port %s: active %v uplink %s downlink %s: %s", r.Leaf, r.LeafPort, r.Active, r.Uplink, r.Downlink, r.Why)
		}
	}
	for _, leaf := range []string{"A", "B"} {
		local := 0
		for _, h := range show[step.HostRow](s, leaf, "hosts") {
			if h.State == "local" {
				local++
			}
		}
		if local != 2 {
			return fmt.Sprintf("%s has %d local hosts", leaf, local)
		}
	}
	return ""
}

func space(node string) string { return "peerless-" + fig7 + "-" + node }

// in runs f inside a node's namespace.
func (s *stand) in(node string, f func() error) {
	s.t.Helper()
	if err := netns.Do(space(node), f); err != nil {
		s.t.Fatalf("in %s: %v", node, err)
	}
}

// routes lists a node's unicast routes of ours in table main as "PREFIX dev PORT".
func (s *stand) routes(node string) []string {
	s.t.Helper()
	var out []string
	s.in(node, func() error {
		list, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: 201},
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return err
		}
		for _, r := range list {
			name := ""
			if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				name = l.Attrs().Name
			}
			out = append(out, fmt.Sprintf("%s dev %s", r.Dst, name))
		}
		return nil
	})
	slices.Sort(out)
	return out
}

// way is the port by which the node would send to the address.
func (s *stand) way(node string, to netip.Addr) string {
	s.t.Helper()
	var name string
	s.in(node, func() error {
		routes, err := netlink.RouteGet(to.AsSlice())
		if err != nil || len(routes) == 0 {
			name = fmt.Sprint("none: ", err)
			return nil
		}
		l, err := netlink.LinkByIndex(routes[0].LinkIndex)
		if err == nil {
			name = l.Attrs().Name
		}
		return err
	})
	return name
}

func server(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 10, 10, i}) }
