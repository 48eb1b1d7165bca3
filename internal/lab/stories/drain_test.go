package stories

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerless/internal/step"
)

func (s *stand) drainOf(leaf string) step.Drain {
	s.t.Helper()
	var d step.Drain
	if err := json.Unmarshal(s.peerless("drain", "--preview", "--json", "--socket", socket(leaf)), &d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

// closedOn counts a leaf's downlinks that peerless holds closed.
func (s *stand) closedOn(leaf string) int {
	n := 0
	for _, p := range show[step.PortRow](s, leaf, "ports") {
		if p.ClosedBy == "peerless" {
			n++
		}
	}
	return n
}

func TestDrainAndUndrain_UnderLoad_NothingLost(t *testing.T) {
	s := standing(t)
	s.until("A knows what a drain would do", func() string { // of a server that came just now it does not know yet that it asks
		for _, row := range s.drainOf("A").Ports {
			if want := map[string]string{"A1": "moves", "A2": "moves", "A3": "none", "A4": "none"}[string(row.Port)]; row.Fate != want {
				return fmt.Sprintf("%s %s, want %s (%s)", row.Port, row.Fate, want, row.Why)
			}
		}
		return ""
	})
	load := s.traffic()
	time.Sleep(500 * time.Millisecond)
	for _, leaf := range []string{"A", "B"} {
		t.Logf("%s", s.peerless("drain", "--wait", "--timeout", "20s", "--socket", socket(leaf)))
		if n := s.closedOn(leaf); n != 4 {
			t.Errorf("%s is drained with %d ports closed", leaf, n)
		}
		for _, h := range show[step.HostRow](s, leaf, "hosts") {
			if h.Advertised {
				t.Errorf("%s is drained and advertises %s", leaf, h.Addr)
			}
		}
		t.Logf("%s", s.peerless("undrain", "--wait", "--timeout", "20s", "--socket", socket(leaf)))
		s.until("everything is back after undrain of "+leaf, s.normal)
	}
	time.Sleep(500 * time.Millisecond)
	for name, lost := range load.end() {
		if lost != 0 {
			t.Errorf("%s: %d lost", name, lost)
		}
	}
}

// Nothing but undrain ends a drain, not even the death of the daemon; and what was closed stays so meanwhile.
func TestDrain_DaemonKilledAndStarted_StaysDrained(t *testing.T) {
	s := standing(t)
	s.peerless("drain", "--wait", "--socket", socket("A"))
	if err := syscall.Kill(s.pid("A"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	s.start("A")
	s.until("A is drained again", func() string {
		out, err := exec.Command(s.binary, "drain", "--preview", "--json", "--socket", socket("A")).CombinedOutput()
		if err != nil || !strings.Contains(string(out), `"drained"`) {
			return string(out)
		}
		return ""
	})
	time.Sleep(2 * time.Second) // by now it can forward, and would open
	if n := s.closedOn("A"); n != 4 {
		t.Errorf("%d ports closed", n)
	}
	for _, l := range show[step.LinkageRow](s, "A", "linkage") {
		if l.State != "drained" {
			t.Errorf("group %s is shown as %s: %s", l.Group, l.State, l.Why)
		}
	}
	s.peerless("undrain", "--wait", "--socket", socket("A"))
	s.until("everything is back", s.normal)
}
