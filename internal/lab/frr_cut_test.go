package lab

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/lab/netns"
	"peerless/internal/lab/probe"
	"peerless/internal/lab/topology"
)

// movedHosts are those whose primary link is on leaf A.
var movedHosts = []string{"10.10.10.1", "10.10.10.2"}

// ports tells by which ports G sends to the moved hosts.
func portsToMoved(t *testing.T, r *runner) (out []string) {
	t.Helper()
	routes, err := r.net.HostRoutes("G")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range routes {
		if slices.Contains(movedHosts, h.Host.String()) {
			out = append(out, h.Port)
		}
	}
	return out
}

// Leaf B's claim reaches the gateway before it has seen that its link to leaf A is gone. ospfd weighs what it already has again a second
// after that; the claim must have won before. When the link is back the gateway still knows what leaf A told once, and must not believe
// it, not even where leaf A's daemon is not there to take it back.
func TestFRROSPF_GatewayLinkLost_ClaimOfTheBackupWinsAtOnceAndStays(t *testing.T) {
	r := standsBeside(t, topology.Carrier{Engine: "frr-ospf"})
	pause := func(d time.Duration) {
		if err := r.pause(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	down, _ := r.top.Fault("gateway-link")
	up, _ := r.top.Fault("gateway-link-restore")

	frozen := freeze(t, r, "G", "zebra")
	if _, err := inject(r.net, down); err != nil {
		t.Fatal(err)
	}
	pause(100 * time.Millisecond) // time enough for the claims; nothing else can happen
	if err := unix.Kill(frozen.PID, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	const bound = 400 * time.Millisecond
	woken := probe.Mono()
	for !slices.Equal(portsToMoved(t, r), []string{"to-B", "to-B"}) && probe.Mono()-woken < int64(5*time.Second) {
		pause(time.Millisecond)
	}
	if took := time.Duration(probe.Mono() - woken); took > bound {
		t.Errorf("the gateway sent to leaf B %s after it could know, want at most %s", took, bound)
	}

	if err := r.kill("A", "daemon"); err != nil {
		t.Fatal(err)
	}
	if _, err := inject(r.net, up); err != nil {
		t.Fatal(err)
	}
	since := probe.Mono()
	for round := 1; ; round++ {
		if got := portsToMoved(t, r); !slices.Equal(got, []string{"to-B", "to-B"}) {
			t.Fatalf("%s after the link's return the gateway sends by %v", time.Duration(probe.Mono()-since), got)
		}
		if round%100 == 0 { // until leaf A is heard again: its ospfd takes the claims back by retransmission
			if _, flushed := externals(t, r); slices.Contains(flushed[movedHosts[0]], idA) && slices.Contains(flushed[movedHosts[1]], idA) {
				return
			}
		}
		if probe.Mono()-since > int64(10*time.Second) {
			t.Fatal("leaf A's old claims are still there")
		}
		pause(time.Millisecond)
	}
}

// freeze stops a program of an engine until it is continued, at the latest at the end of the test.
func freeze(t *testing.T, r *runner, node, program string) netns.ID {
	t.Helper()
	for _, p := range r.engines[node].Processes() {
		if p.Name != program {
			continue
		}
		if err := unix.Kill(p.PID, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Kill(p.PID, unix.SIGCONT) })
		return p.ID
	}
	t.Fatalf("%s has no %s", node, program)
	return netns.ID{}
}
