package lab

import (
	"strings"
	"testing"
	"time"

	"peerless/internal/lab/probe"
	"peerless/internal/lab/topology"
)

// withdrawnMax is how long a withdrawal may take from a leaf's carrier loss to the gateway's BIRD. A scan of the kernel's table, by which
// BIRD would find out as well, comes once a second.
const withdrawnMax = 100 * time.Millisecond

// A leaf's BIRD hears of every withdrawal by the kernel's messages, not by its scan. One round could be lucky: a scan may be near. What
// the other leaf claims is another matter, so what counts is what the gateway has from leaf A.
func TestBIRDBGP_ServerLinkFails_GatewayHearsAtOnceEachTime(t *testing.T) {
	r := standsBeside(t, topology.Carrier{Engine: "bird-bgp"})
	down, _ := r.top.Fault("server-link")
	up, _ := r.top.Fault("server-link-restore")
	fromA := func() bool {
		out, err := r.engines["G"].Ask(t.Context(), "show route protocol leaf1")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(out, "10.10.10.2/32")
	}
	for round := range 3 {
		if !fromA() {
			t.Fatalf("round %d: the gateway has no route of leaf A", round)
		}
		at, err := inject(r.net, down)
		if err != nil {
			t.Fatal(err)
		}
		for bound := at + int64(5*time.Second); fromA() && probe.Mono() < bound; {
			if err := r.pause(t.Context(), time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
		took := time.Duration(probe.Mono() - at)
		t.Logf("round %d: withdrawn after %s", round, took)
		if took > withdrawnMax {
			t.Errorf("round %d: the gateway had the route of leaf A for %s, want at most %s", round, took, withdrawnMax)
		}
		if _, err := inject(r.net, up); err != nil {
			t.Fatal(err)
		}
		err = r.await(t.Context(), 10*time.Second, func() ([]string, error) {
			if !fromA() {
				return []string{"leaf A does not claim 10.10.10.2"}, nil
			}
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
