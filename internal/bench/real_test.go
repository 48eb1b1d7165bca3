package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/lab/netns"
)

func needRootHere(t *testing.T) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("builds a lab")
	case os.Geteuid() == 0:
	case os.Getenv("CI") != "":
		t.Fatal("needs root: network namespaces")
	default:
		t.Skip("needs root: network namespaces")
	}
}

func daemonBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "peerless")
	if out, err := exec.Command("go", "build", "-o", path, "peerless/cmd/peerless").CombinedOutput(); err != nil {
		t.Fatalf("build peerless: %v\n%s", err, out)
	}
	return path
}

// leftNothing looks for namespaces of these engines only: a measurement beside this one, or one that was killed, may have others.
func leftNothing(t *testing.T, engines ...string) {
	t.Helper()
	all, err := netns.List("peerless-bench-")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range engines {
		top := network(name, 1)
		for _, n := range top.Nodes {
			if space := "peerless-" + top.Name + "-" + n.Name; slices.Contains(all, space) {
				t.Errorf("namespace %s is left", space)
			}
		}
	}
}

// TestFailover_SmallRound_EveryRunCounts is one run of both faults on the floors and on peerless, with one host and with a few.
func TestFailover_SmallRound_EveryRunCounts(t *testing.T) {
	needRootHere(t)
	o := Options{Hosts: []int{1, 40}, Runs: 1, Engines: []string{"floor", "floor-gobgp", "bgp"}, Binary: daemonBinary(t), Progress: t.Output()}
	res, err := Failover(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Samples) != 2*3*2 {
		t.Errorf("%d samples, want 12", len(res.Samples))
	}
	paused := 0
	for _, s := range res.Samples {
		if strings.Contains(s.Invalid, "paused") && paused == 0 {
			paused++ // the machine may stall once
			continue
		}
		if s.Invalid != "" {
			t.Errorf("%s, %s, %d hosts: %s", s.Engine, s.Fault, s.Hosts, s.Invalid)
		}
		if slices.Max(s.OutageMs) > 200 || s.Duplicated > 0 {
			t.Errorf("%s, %s, %d hosts: outages %v ms, %d packets twice", s.Engine, s.Fault, s.Hosts, s.OutageMs, s.Duplicated)
		}
	}
	leftNothing(t, o.Engines...)
}

// TestMeasure_AgreesWithACapture holds the probes' figure against the longest gap that tcpdump saw at the receiving host.
func TestMeasure_AgreesWithACapture(t *testing.T) {
	needRootHere(t)
	if _, err := exec.LookPath("tcpdump"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	e, err := pick([]string{"floor"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := build(t.Context(), e[0], 1, Options{Binary: daemonBinary(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.end(); err != nil {
			t.Error(err)
		}
	}()
	for _, fault := range []string{ServerLink, GatewayLink} {
		file := filepath.Join(t.TempDir(), "capture")
		// tcpdump gives up root, and with it the right to write here.
		cmd := exec.Command("tcpdump", "-Z", "root", "-i", "eth0", "-w", file, "-s", "96", "-B", "65536", "--time-stamp-precision=nano", "udp", "dst", "port", "9477")
		dump, err := netns.Start(s.stand.Space(nodeV), cmd, true)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond) // it opens its socket
		got, err := s.measure(t.Context(), fault)
		if err != nil {
			t.Fatal(err)
		}
		if err := netns.Stop([]netns.ID{dump.ID}, 2*time.Second); err != nil {
			t.Fatal(err)
		}
		<-dump.Done()
		gap, frames := longestGap(t, file)
		t.Logf("%s: probes %.3f ms, capture %.3f ms, %d frames, sender's pause %.3f ms", fault, got.OutageMs[0], ms(gap), frames, got.PauseMs)
		// The capture's gap begins with the last packet that came, the probes' with the first one that did not.
		slack := 2*ms(pace) + got.PauseMs + 0.1
		if got.Invalid != "" || ms(gap) < got.OutageMs[0]-slack || ms(gap) > got.OutageMs[0]+slack {
			t.Errorf("%s: the probes say %.3f ms (%s), the capture %.3f ms", fault, got.OutageMs[0], got.Invalid, ms(gap))
		}
	}
}

// longestGap reads from a capture file which probes arrived, and gives the longest time between two of them by when they were sent, which each
// bears: a machine that stalls on their way holds them up and loses none. It reads up to where the probes change to the pace of the way back: how much of that is in the file
// depends on when tcpdump last emptied its buffer.
func longestGap(t *testing.T, path string) (gap time.Duration, frames int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const header, record, sent = 24, 16, 14 + 20 + 8 + 16 // the last: Ethernet, IPv4, UDP, and the probe's run, flow and number
	if len(b) < header || binary.NativeEndian.Uint32(b) != 0xa1b23c4d {
		t.Fatalf("%s is no capture", path)
	}
	var times []int64
	for b = b[header:]; len(b) >= record; {
		if len(b) >= record+sent+8 {
			times = append(times, int64(binary.BigEndian.Uint64(b[record+sent:])))
		}
		b = b[min(len(b), record+int(binary.NativeEndian.Uint32(b[8:]))):]
	}
	const some = 20 // frames in a row tell the pace
	for i := range times {
		ahead := times[i:min(len(times), i+some+1)]
		if span := time.Duration(ahead[len(ahead)-1] - ahead[0]); span > time.Duration(len(ahead)-1)*backPace/2 {
			return gap, i
		}
		if i > 0 {
			gap = max(gap, time.Duration(times[i]-times[i-1]))
		}
	}
	return gap, len(times)
}

func TestFailover_Interrupted_LeavesNothing(t *testing.T) {
	needRootHere(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := Failover(ctx, Options{Hosts: []int{1}, Runs: 100, Engines: []string{"floor"}, Binary: daemonBinary(t)})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	leftNothing(t, "floor")
}
