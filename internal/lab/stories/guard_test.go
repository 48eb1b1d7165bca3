package stories

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerless/internal/lab/netns"
)

// open lists A's downlinks that are administratively up.
func (s *site) open() string {
	var out []string
	for _, p := range []string{"A1", "A2", "A3", "A4"} {
		if strings.Contains(s.shell("A", "ip -o link show "+p), ",UP") {
			out = append(out, p)
		}
	}
	return strings.Join(out, " ")
}

// guardA runs a guard beside A's daemon.
func (s *site) guardA() {
	s.t.Helper()
	log, err := os.Create(s.path("A", ".guard.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close() // the guard has its own copy
	cmd := exec.Command(s.binary, "guard", "--config", s.path("A", ".yaml"))
	cmd.Stderr = log
	if _, err := netns.Start(s.space("A"), cmd, true); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if !s.t.Failed() {
			return
		}
		logs, _ := filepath.Glob(filepath.Join(s.dir, "*.log"))
		for _, l := range logs {
			text, _ := os.ReadFile(l)
			s.t.Logf("%s:\n%s", filepath.Base(l), text[max(0, len(text)-4000):])
		}
	})
}

// A leaf whose daemon stays dead lets its servers go at the restart time, and not for any lesser reason.
func TestGuard_LeafDaemonStaysDead_ServersLeaveAtTheRestartTime(t *testing.T) {
	const restartTime = 2 * time.Second
	s := bareSite(t)
	procs := map[string]*netns.Process{}
	for i, n := range s.top.Nodes {
		if n.Name == "G" || n.Name == "A" || n.Name == "B" {
			s.top.Nodes[i].Config += "graceful-restart: 2s\n"
		}
	}
	run := func(node string) {
		n, _ := s.top.Node(node)
		procs[node] = s.start(n)
	}
	kill := func(node string) {
		_ = syscall.Kill(procs[node].PID, syscall.SIGKILL)
		<-procs[node].Done()
	}
	for _, n := range s.top.Daemons() {
		run(n.Name)
	}
	s.guardA()
	s.until("all servers are with their primary leaf", s.carried)
	const all = "A1 A2 A3 A4"
	stays := func(what string) {
		t.Helper()
		for end := time.Now().Add(restartTime + 500*time.Millisecond); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if got := s.open(); got != all {
				t.Fatalf("%s: open is only %q", what, got)
			}
		}
	}

	s.until("all downlinks are open", func() string {
		if got := s.open(); got != all {
			return "open is only " + got
		}
		return ""
	})
	kill("A")
	run("A")
	stays("killed and started again")

	s.shell("A", s.binary+" stop --socket "+s.path("A", ".sock"))
	stays("stopped in an orderly way")
	run("A")
	s.until("all servers are with their primary leaf again", s.carried)

	s.shell("A", "ip link set A3 down") // the operator's
	flows := newTraffic(s)
	time.Sleep(300 * time.Millisecond)
	kill("A")
	dead := time.Now()
	s.until("the downlinks are closed", func() string { return s.open() })
	closed := time.Since(dead)
	s.until("C1 and C2 are reached by B", func() string {
		for _, to := range []string{"10.10.10.1", "10.10.10.2"} {
			if way := s.shell("G", "ip -o route get "+to); !strings.Contains(way, "dev to-B") {
				return way
			}
		}
		return ""
	})
	time.Sleep(300 * time.Millisecond)
	lost := flows.end()
	t.Logf("closed %s after the death; lost %v", closed.Round(time.Millisecond), lost)
	if closed < restartTime-50*time.Millisecond || closed > restartTime+300*time.Millisecond {
		t.Errorf("closed after %s", closed)
	}
	for flow, n := range lost {
		mine := strings.Contains(flow, "C1") || strings.Contains(flow, "C2")
		if n > 300 || n > 0 && !mine {
			t.Errorf("%s lost %d", flow, n)
		}
	}
	run("A")
	s.until("the daemon opens what the guard closed", func() string {
		if got := s.open(); got != "A1 A2 A4" {
			return got
		}
		return s.carried()
	})
	s.shell("A", "ip link set A3 up")

	// With every routing daemon gone nobody has forgotten anything: all goes on as it was, until a gateway without our routes is there.
	time.Sleep(200 * time.Millisecond)
	kill("G")
	kill("A")
	stays("the gateway's daemon is dead too")
	run("G")
	s.until("the downlinks are closed", func() string { return s.open() })
	run("A")
	s.until("all servers are with their primary leaf once more", s.carried)

	kill("A")
	s.shell("G", "ip link set to-A down")
	cut := time.Now()
	s.until("the downlinks are closed", func() string { return s.open() })
	if took := time.Since(cut); took > restartTime/2 {
		t.Errorf("closed %s after the carrier was lost", took)
	}
	if text, err := os.ReadFile(s.path("A", ".guard.log")); err != nil || slices.Contains([]int{0, 1, 2}, strings.Count(string(text), "closed the downlinks of group all")) {
		t.Errorf("the guard says: %s %v", text, err)
	}
}

// While the gateway waits for a leaf's daemon to return (30 s here), a lost carrier is acted upon at once: of a server, which claims its
// place at the other leaf, and of the leaf, whose guard lets all of its servers go.
func TestCarrierLoss_DuringGracefulRestart_ActsAtOnce(t *testing.T) {
	s := bareSite(t)
	procs := map[string]*netns.Process{}
	for _, n := range s.top.Daemons() {
		procs[n.Name] = s.start(n)
	}
	s.guardA()
	s.until("all servers are with their primary leaf", s.carried)
	_ = syscall.Kill(procs["A"].PID, syscall.SIGKILL)
	<-procs["A"].Done()
	for _, cut := range []struct {
		node, port string
		concerns   []string
	}{{"C2", "eth0", []string{"C2"}}, {"G", "to-A", []string{"C1"}}} {
		flows := newTraffic(s)
		time.Sleep(300 * time.Millisecond)
		s.shell(cut.node, "ip link set "+cut.port+" down")
		time.Sleep(time.Second)
		lost := flows.end()
		t.Logf("%s of %s down: lost %v", cut.port, cut.node, lost)
		for flow, n := range lost {
			concerned := slices.ContainsFunc(cut.concerns, func(c string) bool { return strings.Contains(flow, c) })
			if n > 150 || n > 0 && !concerned {
				t.Errorf("%s of %s down: %s lost %d", cut.port, cut.node, flow, n)
			}
		}
	}
}
