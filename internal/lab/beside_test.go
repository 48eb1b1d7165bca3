package lab

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"peerless/internal/engineconf"
	"peerless/internal/lab/daemon"
	"peerless/internal/lab/topology"
	"peerless/internal/model"
)

// engineSite is a site that FRR's own user can enter.
func engineSite(t *testing.T) site {
	t.Helper()
	root, err := os.MkdirTemp("/run", "pl-test-lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return site{root: filepath.Join(root, "lab"), prefix: "pl-test-lab-"}
}

// needEngines skips without the engines of the topology, and fails where nobody would see the skip.
func needEngines(t *testing.T, top topology.Topology) {
	t.Helper()
	err := installed(top)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// carriers are all but the embedded speaker on both sides.
func carriers() []topology.Carrier {
	var out []topology.Carrier
	engines, gateways := topology.Carriers()
	for _, e := range engines[1:] {
		out = append(out, topology.Carrier{Engine: e, Gateway: topology.Peerless})
	}
	for _, g := range gateways[1:] {
		out = append(out, topology.Carrier{Engine: topology.Embedded, Gateway: g})
	}
	return out
}

// TestEngine_FaultsAndCrashes_AreRecoveredFrom runs the real daemons beside the real engines, one lab for each, through all faults of the
// reference topology; then programs die under traffic and are started again.
func TestEngine_FaultsAndCrashes_AreRecoveredFrom(t *testing.T) {
	needRootHere(t)
	if testing.Short() {
		t.Skip("takes half a minute an engine")
	}
	binary := daemonBinary(t)
	for _, c := range append([]topology.Carrier{{Engine: topology.Embedded, Gateway: topology.Peerless}}, carriers()...) {
		t.Run(c.Engine+" under "+c.Gateway, func(t *testing.T) {
			r := labBeside(t, c, binary)
			var res Result
			if err := r.whole(t.Context(), &res); err != nil {
				t.Fatal(err)
			}
			if err := res.WriteTable(t.Output()); err != nil {
				t.Fatal(err)
			}
			if !res.OK || len(res.Faults) != len(r.top.Faults) {
				t.Errorf("not ok: %d faults", len(res.Faults))
			}
			for _, x := range crashesOf(c) {
				r.crash(t, x)
			}
		})
	}
}

// labBeside builds fig7 with a carrier. If its test fails, it tells what the daemons said; nothing of it may be left.
func labBeside(t *testing.T, c topology.Carrier, binary string) *runner {
	t.Helper()
	plain, _ := topology.Find("fig7")
	top, err := plain.With(c)
	if err != nil {
		t.Fatal(err)
	}
	needEngines(t, top)
	o := Options{Engine: c.Engine, Gateway: c.Gateway, Binary: binary, probeBinary: selfBinary(t), Progress: os.Stderr}
	s := engineSite(t)
	in, err := begin(t.Context(), s, top, o, modeRun)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range top.Nodes {
				b, _ := os.ReadFile(in.path("log", n.Name+".log"))
				t.Logf("%s:\n%s", n.Name, b[max(0, len(b)-4000):])
			}
		}
		if err := in.end(downGrace); err != nil {
			t.Error(err)
		}
		if n := spacesLeft(t, s, top); n != 0 {
			t.Errorf("%d namespaces are left", n)
		}
	})
	return &runner{instance: in, ask: newAsker(s, top, in.net), drops: map[string]uint32{}}
}

func TestBegin_AfterCrashBesideAnEngine_RemovesItsPrograms(t *testing.T) {
	needRootHere(t)
	if testing.Short() {
		t.Skip("starts routing engines")
	}
	plain, _ := topology.Find("fig4")
	top, err := plain.With(topology.Carrier{Engine: "frr-ospf"})
	if err != nil {
		t.Fatal(err)
	}
	needEngines(t, top)
	s, o := engineSite(t), quietOptions(t)
	crashed, err := begin(t.Context(), s, top, o, modeRun)
	if err != nil {
		t.Fatal(err)
	}
	old := crashed.procs
	if want := 5 + 2*3; len(old) != want { // daemons; zebra and ospfd on the gateway and both leaves
		t.Errorf("%d processes, want %d", len(old), want)
	}
	crashed.leave()
	in, err := begin(t.Context(), s, top, o, modeRun)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range old {
		if p.Alive() {
			t.Errorf("process %d of the crashed lab still runs", p.PID)
		}
	}
	if err := in.end(0); err != nil {
		t.Error(err)
	}
	if n := spacesLeft(t, s, top); n != 0 {
		t.Errorf("%d namespaces are left", n)
	}
}

func TestInstalled_MissingEngine_NamesThePackage(t *testing.T) {
	plain, _ := topology.Find("fig7")
	for _, c := range carriers() {
		top, err := plain.With(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range top.Nodes {
			if n.Engine == nil {
				continue
			}
			var missing *daemon.NotInstalledError
			if err := daemon.Installed(engineconf.Engine(n.Engine.Program)); err != nil && !errors.As(err, &missing) {
				t.Errorf("%s of %s: %v", n.Engine.Program, n.Name, err)
			}
			if missing != nil {
				if err := installed(top); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), missing.Package) {
					t.Errorf("got %v, want a usage error that names %s", err, missing.Package)
				}
			}
		}
	}
}

func TestUnready_GatewayWithoutWordFromItsLeaves(t *testing.T) {
	top, _ := topology.Find("guests")
	for i := range top.Nodes {
		top.Nodes[i].Unaware = top.Nodes[i].Role == topology.Gateway
	}
	states := wellGuests()
	states["G"].Mapping[1].Downlink = "unknown"
	for _, leaf := range []string{"A", "B"} {
		s := states[leaf]
		s.Ports = append(s.Ports, portRow{Port: model.Port(leaf + "1"), State: "up"})
		states[leaf] = s
	}
	if got := unready(top, states, nil); len(got) > 0 {
		t.Errorf("got %q, want nothing: the leaf says that the backup is open", got)
	}
	before := mappingOf(top, states)
	states["G"].Mapping[1].Downlink = "down"
	if mappingOf(top, states) != before {
		t.Error("what was last seen of a downlink counts as a move")
	}
	states["B"].Ports[0].State = "closed"
	if got, want := unready(top, states, nil), "B: backup of S on B1 is closed"; !slices.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
