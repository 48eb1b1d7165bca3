package lab

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"peerless/internal/lab/netns"
	"peerless/internal/lab/probe"
	"peerless/internal/lab/topology"
)

// direct is two machines on one cable.
func direct() topology.Topology {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	flow := func(from, to string, src, dst netip.Addr) topology.Flow {
		return topology.Flow{Sender: from, Receivers: []string{to}, From: from, To: to, Source: src, Dest: dst}
	}
	return topology.Topology{
		Name: "direct",
		Nodes: []topology.Node{
			{Name: "x", Role: topology.Host, Addresses: []topology.Address{{Port: "e0", Prefix: netip.PrefixFrom(a, 24)}}},
			{Name: "y", Role: topology.Host, Addresses: []topology.Address{{Port: "e0", Prefix: netip.PrefixFrom(b, 24)}}},
		},
		Links: []topology.Link{{A: topology.End{Node: "x", Port: "e0"}, B: topology.End{Node: "y", Port: "e0"}}},
		Flows: []topology.Flow{flow("x", "y", a, b), flow("y", "x", b, a)},
	}
}

func quietOptions(t *testing.T) Options {
	self := selfBinary(t)
	return Options{Engine: EngineBGP, Binary: self, probeBinary: self, Progress: io.Discard}
}

func spacesLeft(t *testing.T, s site, top topology.Topology) int {
	t.Helper()
	left, err := netns.List(s.prefix + top.Name + "-")
	if err != nil {
		t.Fatal(err)
	}
	return len(left)
}

func TestBegin_AfterCrash_RemovesWhatWasLeft(t *testing.T) {
	needRootHere(t)
	s := testSite(t)
	top, _ := topology.Find("fig4")
	crashed, err := begin(t.Context(), s, top, quietOptions(t), modeRun)
	if err != nil {
		t.Fatal(err)
	}
	old := crashed.procs
	if len(old) != 5 || spacesLeft(t, s, top) != 5 {
		t.Fatalf("%d daemons in %d namespaces, want 5 in 5", len(old), spacesLeft(t, s, top))
	}
	crashed.leave() // gives up the lock as the kernel does for a process that is gone; everything else stays

	in, err := begin(t.Context(), s, top, quietOptions(t), modeRun)
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
	if _, err := os.Stat(s.dir(top.Name)); !os.IsNotExist(err) {
		t.Errorf("the state directory is left (%v)", err)
	}
}

func TestBegin_Twice_IsRefused(t *testing.T) {
	needRootHere(t)
	s := testSite(t)
	top, _ := topology.Find("fig4")
	in, err := begin(t.Context(), s, top, quietOptions(t), modeUp)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := begin(t.Context(), s, top, quietOptions(t), modeRun); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("while it is being built: %v, want an error that it is in use", err)
	}
	if err := s.down(top); err == nil {
		t.Error("it was taken down under its user's feet")
	}
	in.leave()
	if _, err := begin(t.Context(), s, top, quietOptions(t), modeRun); err == nil || !strings.Contains(err.Error(), "lab down fig4") {
		t.Errorf("while it stands: %v, want the way out", err)
	}
	if err := s.down(top); err != nil {
		t.Error(err)
	}
	if n := spacesLeft(t, s, top); n != 0 {
		t.Errorf("%d namespaces are left", n)
	}
}

func TestRun_DaemonDies_SaysWhichAndWhy(t *testing.T) {
	needRootHere(t)
	s := testSite(t)
	top, _ := topology.Find("fig4")
	o := quietOptions(t)
	o.Binary = filepath.Join(t.TempDir(), "broken")
	script := "#!/bin/sh\necho first line\necho no such port >&2\nexit 3\n"
	if err := os.WriteFile(o.Binary, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	res, err := run(t.Context(), s, top, o)
	text := ""
	if err != nil {
		text = err.Error()
	} else {
		text = res.Error
	}
	if !strings.Contains(text, "exit status 3: no such port") {
		t.Errorf("got %q, want the exit status and the log's last line", text)
	}
	if n := spacesLeft(t, s, top); n != 0 {
		t.Errorf("%d namespaces are left", n)
	}
}

func TestRun_Interrupted_LeavesNothing(t *testing.T) {
	needRootHere(t)
	s := testSite(t)
	top, _ := topology.Find("fig4")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := run(ctx, s, top, quietOptions(t)); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v, want an error that it was interrupted", err)
	}
	if n := spacesLeft(t, s, top); n != 0 {
		t.Errorf("%d namespaces are left", n)
	}
}

func TestOptions_Mistakes_AreNamed(t *testing.T) {
	rows := []struct {
		name string
		o    Options
		want string
	}{
		{"an unknown topology lists the known ones", Options{Topology: "fig9"}, "fig4, fig7, guests, two-gateways"},
		{"an engine that is not built", Options{Topology: "fig7", Engine: "ospf"}, `engine "ospf" is not known`},
		{"an unknown gateway lists the known ones", Options{Topology: "fig7", Gateway: "quagga"}, "peerless, frr, bird"},
		{"a gateway of one engine over leaves with another", Options{Topology: "fig7", Engine: "frr-bgp", Gateway: "bird"}, "goes with engine bgp only"},
		{"an engine where gateways are peers", Options{Topology: "two-gateways", Engine: "static"}, "takes engine bgp and gateway peerless"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, _, err := r.o.prepare()
			if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), r.want) {
				t.Errorf("got %v, want a usage error with %q", err, r.want)
			}
		})
	}
}

func TestFleet_OverOneCable(t *testing.T) {
	needRootHere(t)
	if testing.Short() {
		t.Skip("measures time, which needs the machine for itself")
	}
	top := direct()
	in, err := begin(t.Context(), testSite(t), top, quietOptions(t), modeRun)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := in.end(0); err != nil {
			t.Error(err)
		}
	}()
	fleet, err := in.startProbes()
	if err != nil {
		t.Fatal(err)
	}
	all := func(topology.Flow) bool { return true }
	measure := func(pace, span time.Duration, during func()) []probe.Measured {
		if err := fleet.Rate(pace, all); err != nil {
			t.Fatal(err)
		}
		from := probe.Mono()
		during()
		if err := in.pause(t.Context(), span); err != nil {
			t.Fatal(err)
		}
		to := probe.Mono() - int64(probe.Settle)
		got, err := fleet.Measure(from, to, 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	nothing := func() {}
	measure(time.Millisecond, 200*time.Millisecond, nothing) // the first packets resolve addresses
	for _, pace := range []time.Duration{time.Millisecond, 100 * time.Microsecond} {
		for i, m := range measure(pace, 600*time.Millisecond, nothing) {
			if m.Lost != 0 || m.Duplicated != 0 || !m.Recovered || m.Sent < uint64(300*time.Millisecond/pace) {
				t.Errorf("every %s: flow %d: %+v, want nothing lost", pace, i, m)
			}
		}
	}
	const cut = 50 * time.Millisecond
	for i, m := range measure(time.Millisecond, 600*time.Millisecond, func() {
		for _, up := range []bool{false, true} {
			if err := in.net.SetPort("y", "e0", up, func() {}); err != nil {
				t.Fatal(err)
			}
			if err := in.pause(t.Context(), cut); err != nil {
				t.Fatal(err)
			}
		}
	}) {
		// The far end's kernel forgets who its neighbour is when its carrier goes, and keeps a few packets until it knows again: those
		// arrive late instead of being lost: the rest of the cut is either.
		felt := m.Outage + m.Delay
		if felt < cut-5*time.Millisecond || felt > cut+200*time.Millisecond || !m.Recovered {
			t.Errorf("cut for %s: flow %d: lost %d, out for %s, late by %s, recovered %v", cut, i, m.Lost, m.Outage, m.Delay, m.Recovered)
		}
	}
	stats, err := fleet.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for node, st := range stats {
		if st.Drops != 0 {
			t.Errorf("probe of %s dropped %d datagrams itself", node, st.Drops)
		}
	}
}

// BenchmarkProbe_FourFlowsFine tells how much of a processor the probes use: flows there and back at the fine pace.
func BenchmarkProbe_FourFlowsFine(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: network namespaces")
	}
	top := direct()
	for _, f := range top.Flows {
		g := f
		g.From += "'"
		top.Flows = append(top.Flows, g)
	}
	top.Flows = append(top.Flows, top.Flows[0], top.Flows[2]) // x sends four, y sends two
	self, _ := os.Executable()
	in, err := begin(b.Context(), site{b.TempDir(), "pl-test-lab-"}, top, Options{Binary: self, probeBinary: self, Progress: io.Discard}, modeRun)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = in.end(0) }()
	fleet, err := in.startProbes()
	if err != nil {
		b.Fatal(err)
	}
	if err := fleet.Rate(finePace, func(topology.Flow) bool { return true }); err != nil {
		b.Fatal(err)
	}
	_ = in.pause(b.Context(), warmUp)
	for b.Loop() {
		before, _ := fleet.Stats()
		from := probe.Mono()
		_ = in.pause(b.Context(), 2*time.Second)
		after, err := fleet.Stats()
		if err != nil {
			b.Fatal(err)
		}
		to := probe.Mono()
		got, _ := fleet.Measure(from, to, warmUp)
		for node := range after {
			b.ReportMetric(100*float64(after[node].CPUNs-before[node].CPUNs)/float64(to-from), "%cpu-"+node)
		}
		b.ReportMetric(float64(got[0].Pause.Microseconds()), "µs-pause")
		b.ReportMetric(100*float64(got[0].Sent)*float64(finePace)/float64(to-from), "%sent")
	}
}
