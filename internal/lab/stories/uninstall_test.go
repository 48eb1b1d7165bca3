package stories

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerless/internal/lab/netns"
)

// fickle is what the kernel changes by itself in what ip and bridge print: carrier, lifetimes, counters, learned neighbours.
var fickle = regexp.MustCompile(` (NO-CARRIER,|state \S+|linkdown|qlen \d+|expires \d+\w*|valid_lft \S+|preferred_lft \S+|mode \S+|used \S+|\w+_timer +\S+)|(NO-CARRIER|,LOWER_UP|,M-DOWN)`)

// tables is the network state of a node, as an operator would print it, and every sysctl below net.
func (s *site) tables(node string) []string {
	s.t.Helper()
	var lines []string
	for _, c := range []string{"ip -d link", "ip -d addr", "ip -d -4 route show table all", "ip -d -6 route show table all", "ip -4 rule", "ip -6 rule",
		"ip neigh show nud permanent", "ip neigh show nud noarp", "bridge -d link", "bridge fdb show"} {
		for _, l := range strings.Split(s.shell(node, c), "\n") {
			learned := strings.HasPrefix(c, "bridge fdb") && !strings.Contains(l, "static") && !strings.Contains(l, "permanent")
			cache := strings.HasPrefix(l, "ff02::") || strings.Contains(l, "dev lo ") // the kernel's own, as it sends
			if learned || cache && strings.HasPrefix(c, "ip neigh") {
				continue
			}
			lines = append(lines, c+": "+fickle.ReplaceAllString(l, ""))
		}
	}
	err := netns.Do(s.space(node), func() error {
		return filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if value, err := os.ReadFile(path); err == nil { // some cannot be read
				lines = append(lines, path+" = "+string(bytes.TrimSpace(value)))
			}
			return nil
		})
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return lines
}

// peculiar gives the machines settings of their owners' own, some of them what the daemons change, others beside it.
func (s *site) peculiar() {
	for node, lines := range map[string][]string{
		"G": {"ip rule add from 192.0.2.7 lookup 77 priority 500", "ip route add blackhole 192.0.2.0/24 table 77",
			"echo 2 > /proc/sys/net/ipv4/conf/to-A/rp_filter"},
		"A": {"echo 0 > /proc/sys/net/ipv4/conf/all/accept_redirects", "echo 1 > /proc/sys/net/ipv4/conf/A2/forwarding",
			"echo 1 > /proc/sys/net/ipv4/conf/A1/rp_filter", "echo 1 > /proc/sys/net/ipv4/conf/A3/proxy_arp",
			"ip addr add 192.0.2.1/24 dev A4", "ip link set A1 address 02:00:00:00:aa:01", "echo 0 > /proc/sys/net/ipv6/conf/A1/accept_dad", "echo 0 > /proc/sys/net/ipv6/conf/A1/disable_ipv6",
			"ip neigh add 172.31.1.9 lladdr 02:00:00:00:00:99 dev A0 nud permanent", "ip route add 198.51.100.0/24 via 172.31.1.1"},
		"B": {"echo 0 > /proc/sys/net/ipv6/conf/B1/accept_dad", "echo 0 > /proc/sys/net/ipv6/conf/B1/disable_ipv6"},
		"C1": {"bridge link set dev eth0 learning off", "bridge link set dev eth1 mcast_flood off",
			"bridge fdb add 02:00:5e:00:00:01 dev eth1 master static"},
		"C3": {"bridge link set dev eth0 isolated on"},
	} {
		for _, l := range lines {
			s.shell(node, l)
		}
	}
}

func TestUninstall_EveryRole_LeavesTheTablesAsTheyWere(t *testing.T) {
	s := bareSite(t)
	s.peculiar()
	s.shell("B", "ip link set B4 down") // the operator's
	before := map[string][]string{}
	for _, n := range s.top.Daemons() {
		before[n.Name] = s.tables(n.Name)
	}
	procs := map[string]*netns.Process{}
	for _, n := range s.top.Daemons() {
		procs[n.Name] = s.start(n)
	}
	s.shell("B", "ip link set B4 up")
	s.until("all servers are with their primary leaf", s.carried)
	// Two leave by a crash, one of them with ports that it closed, and are run once more.
	s.shell("G", "ip link set to-A down")
	s.until("A has closed its ports", func() string {
		if out := s.shell("A", "ip -o link show A1"); strings.Contains(out, ",UP") {
			return out
		}
		return ""
	})
	for _, n := range s.top.Daemons() {
		if n.Name == "A" || n.Name == "C1" {
			_ = syscall.Kill(procs[n.Name].PID, syscall.SIGKILL)
			<-procs[n.Name].Done()
			procs[n.Name] = s.start(n)
		}
	}
	s.shell("G", "ip link set to-A up")
	s.until("all servers are with their primary leaf again", s.carried)
	s.shell("G", "ip link set to-A down")
	s.until("A has closed its ports again", func() string {
		if out := s.shell("A", "ip -o link show A4"); strings.Contains(out, ",UP") {
			return out
		}
		return ""
	})
	for _, n := range s.top.Daemons() {
		if slices.Equal(before[n.Name], s.tables(n.Name)) {
			t.Errorf("%s changed nothing: the test proves nothing", n.Name)
		}
	}
	for node, p := range procs {
		if node == "A" || node == "C2" {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
			<-p.Done()
		} else {
			s.shell(node, s.binary+" stop --socket "+s.path(node, ".sock"))
		}
	}
	s.shell("G", "ip link set to-A up")
	s.shell("B", "ip link set B4 down")
	for _, n := range s.top.Daemons() {
		t.Logf("%s", strings.TrimSpace(s.shell(n.Name, s.binary+" uninstall --config "+s.path(n.Name, ".yaml"))))
	}
	for _, n := range s.top.Daemons() {
		after := s.tables(n.Name)
		for _, l := range without(before[n.Name], after) {
			t.Errorf("%s before: %s", n.Name, l)
		}
		for _, l := range without(after, before[n.Name]) {
			t.Errorf("%s after:  %s", n.Name, l)
		}
		if left, _ := filepath.Glob(s.state(n.Name) + "*"); len(left) != 0 {
			t.Errorf("%s left files: %v", n.Name, left)
		}
	}
}

// without gives the lines of a that are not among those of b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(l string) bool { return slices.Contains(b, l) })
}

// The three verbs, one after the other: nobody notices. The other leaf does it all afterwards.
func TestDrainStopUninstall_UnderTraffic_LosesNothing(t *testing.T) {
	s := standing(t)
	s.untilWhole(time.Now())
	flows := s.traffic()
	time.Sleep(300 * time.Millisecond)
	config := "/run/peerless-lab/" + fig7 + "/A.yaml"
	if out, err := exec.Command(s.binary, "uninstall", "--config", config).CombinedOutput(); err == nil || !strings.Contains(string(out), "its daemon runs; stop it first") {
		t.Errorf("uninstall of a daemon that runs: %v %s", err, out)
	}
	s.peerless("drain", "--wait", "--timeout", "20s", "--socket", socket("A"))
	s.peerless("stop", "--socket", socket("A"))
	s.in("A", func() error {
		out, err := exec.Command(s.binary, "uninstall", "--config", config).CombinedOutput()
		t.Logf("%s", out)
		return err
	})
	time.Sleep(1500 * time.Millisecond) // time for servers to return to a leaf that has carrier, were they so foolish
	for flow, lost := range flows.end() {
		if lost != 0 {
			t.Errorf("%s lost %d", flow, lost)
		}
	}
	if got := s.routes("A"); len(got) != 0 {
		t.Errorf("left on A: %v", got)
	}
}
