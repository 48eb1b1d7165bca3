package daemon

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"peerless/internal/engineconf"
)

const (
	viaA = "172.31.1.2"
	viaB = "172.31.2.2"
)

var (
	host1 = netip.MustParseAddr("10.10.10.1")
	host2 = netip.MustParseAddr("10.10.10.2")
)

func slash32(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 32) }

// every runs a test for all pairs of engine and protocol.
func every(t *testing.T, f func(t *testing.T, w *world, engine engineconf.Engine, protocol engineconf.Protocol)) {
	for _, engine := range []engineconf.Engine{engineconf.FRR, engineconf.BIRD} {
		for _, protocol := range []engineconf.Protocol{engineconf.OSPF, engineconf.BGP} {
			t.Run(string(engine)+"-"+string(protocol), func(t *testing.T) {
				needEngine(t, engine)
				w := newWorld(t)
				w.run(engine, protocol)
				f(t, w, engine, protocol)
			})
		}
	}
}

func TestGenerated_HostsInTheLeavesTables_ReachTheGatewayAndNoOtherLeaf(t *testing.T) {
	every(t, func(t *testing.T, w *world, _ engineconf.Engine, _ engineconf.Protocol) {
		const older, newer, newest = 3_000_000, 2_000_000, 1_000_000
		w.host("A", host1, older, true)
		w.host("B", host2, older, true)
		t.Logf("default route at A after %v", w.eventually("A", anywhere, "172.31.1.1"))
		t.Logf("default route at B after another %v", w.eventually("B", anywhere, "172.31.2.1"))
		t.Logf("host at G after another %v", w.eventually("G", slash32(host1), viaA))
		w.eventually("G", slash32(host2), viaB)

		began := time.Now()
		w.host("A", host1, older, false)
		w.host("B", host1, newer, true)
		w.eventually("G", slash32(host1), viaB)
		t.Logf("host moved, withdrawn first: %v", time.Since(began))
		began = time.Now()
		w.host("A", host1, newest, true)
		w.host("B", host1, newer, false)
		w.eventually("G", slash32(host1), viaA)
		t.Logf("host moved back, announced first: %v", time.Since(began))
		began = time.Now()
		w.host("A", host1, newest, false)
		w.eventually("G", slash32(host1), "")
		t.Logf("host gone: %v", time.Since(began))

		w.host("A", host1, newest, true)
		w.eventually("G", slash32(host1), viaA)
		for leaf, foreign := range map[string]netip.Addr{"A": host2, "B": host1} {
			if got := w.via(leaf, slash32(foreign)); len(got) > 0 {
				t.Errorf("%s has the other leaf's host %s, via %v", leaf, foreign, got)
			}
		}
		if got := w.via("G", anywhere); len(got) > 0 {
			t.Errorf("the gateway took a default route, via %v", got)
		}
	})
}

// Both leaves claim a host for a while: a host that has moved, and a leaf that has not noticed.
func TestGenerated_TwoClaims_TheNewerOneWinsWhereTheMetricIsCarried(t *testing.T) {
	every(t, func(t *testing.T, w *world, engine engineconf.Engine, protocol engineconf.Protocol) {
		if engine == engineconf.FRR && protocol == engineconf.OSPF {
			t.Skip("FRR's ospfd does not see a kernel route's metric")
		}
		w.host("A", host1, 3_000_000, true)
		w.eventually("G", slash32(host1), viaA)
		w.eventually("B", anywhere, "172.31.2.1")
		w.host("B", host1, 2_000_000, true)
		t.Logf("newer claim won after %v", w.eventually("G", slash32(host1), viaB))
		w.host("B", host1, 2_000_000, false)
		t.Logf("older claim back after %v", w.eventually("G", slash32(host1), viaA))
	})
}

func TestRestart_KilledProgram_EverythingComesBack(t *testing.T) {
	every(t, func(t *testing.T, w *world, _ engineconf.Engine, _ engineconf.Protocol) {
		w.host("A", host1, 1_000_000, true)
		w.eventually("G", slash32(host1), viaA)
		w.eventually("A", anywhere, "172.31.1.1")
		for _, node := range []string{"A", "G"} {
			e := w.engines[node]
			for _, p := range e.Processes() {
				if err := e.Kill(p.Name); err != nil {
					t.Fatal(err)
				}
				if p.Alive() {
					t.Fatalf("%s of %s lives on", p.Name, node)
				}
				if err := e.Restart(t.Context(), p.Name); err != nil {
					t.Fatal(err)
				}
				gone := len(w.via("G", slash32(host1))) == 0
				took := w.eventually("G", slash32(host1), viaA)
				took += w.eventually("A", anywhere, "172.31.1.1")
				// What is there may be what was kept: only a change shows that the engines work again.
				w.host("A", host2, 1_000_000, true)
				took += w.eventually("G", slash32(host2), viaA)
				w.host("A", host2, 1_000_000, false)
				w.eventually("G", slash32(host2), "")
				t.Logf("%s of %s killed and restarted: host gone at the gateway meanwhile: %v; works again after %v", p.Name, node, gone, took)
			}
		}
	})
}

func TestStart_ConfigRefused_SaysWhatAndLeavesNothing(t *testing.T) {
	for engine, line := range map[engineconf.Engine]string{
		engineconf.FRR:  "route-map X permit 10\n set metric +0\nexit\n", // the parser takes it, the program does not
		engineconf.BIRD: "protocol nonsense;\n",
	} {
		t.Run(string(engine), func(t *testing.T) {
			needEngine(t, engine)
			w := newWorld(t)
			files := w.files("A", engine, engineconf.OSPF)
			files.Text += line
			e, err := Start(t.Context(), Spec{Space: testPrefix + "A", Dir: filepath.Join(w.dir, "A"), Files: files, Tied: true})
			if err == nil {
				t.Fatalf("it started: %v", errors.Join(e.Stop(0)))
			}
			t.Log(err)
			pids, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, p := range pids {
				if b, _ := os.ReadFile(p); strings.Contains(string(b), w.dir) {
					t.Errorf("left behind: %q", b)
				}
			}
		})
	}
}

func TestStart_DirectoryClosedToFRR_SaysSo(t *testing.T) {
	needEngine(t, engineconf.FRR)
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Spec{Space: "none", Dir: filepath.Join(dir, "A"), Files: engineconf.Files{Engine: engineconf.FRR, Name: "frr.conf"}})
	if err == nil || !strings.Contains(err.Error(), "cannot enter") {
		t.Errorf("error %v", err)
	}
}

func TestAsk_Command_IsAnswered(t *testing.T) {
	for engine, q := range map[engineconf.Engine][2]string{
		engineconf.FRR:  {"show zebra", "Forwarding"},
		engineconf.BIRD: {"show status", "Router ID is 10.0.0.11"},
	} {
		t.Run(string(engine), func(t *testing.T) {
			needEngine(t, engine)
			w := newWorld(t)
			w.start("A", w.files("A", engine, engineconf.BGP))
			if out, err := w.engines["A"].Ask(t.Context(), q[0]); err != nil || !strings.Contains(out, q[1]) {
				t.Errorf("%s: %q, %v", q[0], out, err)
			}
			if out, err := w.engines["A"].Ask(t.Context(), "no such command"); err == nil {
				t.Errorf("nonsense was answered: %q", out)
			}
		})
	}
}

func TestNotInstalled_NamesThePackage(t *testing.T) {
	err := &NotInstalledError{engineconf.FRR, frrDir + "zebra", "frr"}
	if got := err.Error(); !strings.Contains(got, "Debian's package frr") {
		t.Error(got)
	}
	var exit *exec.ExitError
	if errors.As(error(err), &exit) {
		t.Error("not an exit status")
	}
}
