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
		got, gap := captured(t, s, fault)
		for again := 0; got.Invalid != "" && again < 2; again++ { // the machine stalled: there was no outage to agree on
			t.Log(got.Invalid)
			got, gap = captured(t, s, fault)
		}
		// The capture's gap begins with the last packet that came, the probes' with the first one that did not.
		slack := 2*ms(pace) + got.PauseMs + 0.1
		if got.Invalid != "" || ms(gap) < got.OutageMs[0]-slack || ms(gap) > got.OutageMs[0]+slack {
			t.Errorf("%s: the probes say %.3f ms (%s), the capture %.3f ms", fault, got.OutageMs[0], got.Invalid, ms(gap))
		}
	}
}

// captured measures one fault with tcpdump listening at the receiving host.
func captured(t *testing.T, s *stage, fault string) (got Sample, gap time.Duration) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "capture")
	// tcpdump gives up root, and with it the right to write here.
	cmd := exec.Command("tcpdump", "-Z", "root", "-i", "eth0", "-w", file, "-s", "96", "-B", "65536", "--time-stamp-precision=nano", "udp", "dst", "port", "9477")
	dump, err := netns.Start(s.stand.Space(nodeV), cmd, true)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // it opens its socket
	if got, err = s.measure(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	if err := netns.Stop([]netns.ID{dump.ID}, 2*time.Second); err != nil {
		t.Fatal(err)
	}
	<-dump.Done()
	gap, frames := longestGap(t, file)
	t.Logf("%s: probes %v ms, capture %.3f ms, %d frames, sender's pause %.3f ms", fault, got.OutageMs, ms(gap), frames, got.PauseMs)
	return got, gap
}

// longestGap reads from a capture file which probes arrived, and gives the longest time without one between which others were lost, by when they
// were sent. Each bears its number and that time: a sender that paused lost none, nor did a machine that held them up on their way. It reads up to
// where the probes change to the pace of the way back: how much of that is in the file depends on when tcpdump last emptied its buffer.
func longestGap(t *testing.T, path string) (gap time.Duration, frames int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const header, record, number = 24, 16, 14 + 20 + 8 + 8 // the last: Ethernet, IPv4, UDP, and the probe's run and flow
	if len(b) < header || binary.NativeEndian.Uint32(b) != 0xa1b23c4d {
		t.Fatalf("%s is no capture", path)
	}
	type arrival struct {
		seq  uint64
		sent int64
	}
	var came []arrival
	for b = b[header:]; len(b) >= record; {
		if p := b[record:]; len(p) >= number+16 {
			came = append(came, arrival{binary.BigEndian.Uint64(p[number:]), int64(binary.BigEndian.Uint64(p[number+8:]))})
		}
		b = b[min(len(b), record+int(binary.NativeEndian.Uint32(b[8:]))):]
	}
	const some = 20 // slow frames in a row are another pace, fewer are pauses
	slow := 0
	for i := 1; i < len(came) && slow < some; i++ {
		passed := time.Duration(came[i].sent - came[i-1].sent)
		slow++
		if passed < backPace/2 {
			slow = 0
		}
		if came[i].seq > came[i-1].seq+1 {
			gap = max(gap, passed)
		}
	}
	return gap, len(came)
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
