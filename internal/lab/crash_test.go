package lab

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"peerless/internal/lab/probe"
	"peerless/internal/lab/topology"
)

// crash is one program that dies on one node.
type crash struct{ node, program string }

// crashesOf lists the deaths that a carrier must survive: its own program on a leaf and on the gateway, and ours on the leaf.
func crashesOf(c topology.Carrier) []crash {
	program := map[string]string{"frr-ospf": "ospfd", "frr-bgp": "bgpd", "bird-ospf": "bird", "bird-bgp": "bird"}[c.Engine]
	if c.Gateway != topology.Peerless {
		return []crash{{"G", map[string]string{"frr": "bgpd", "bird": "bird"}[c.Gateway]}, {"A", "daemon"}}
	}
	if program == "" {
		return []crash{{"A", "daemon"}}
	}
	out := []crash{{"A", program}, {"G", program}, {"A", "daemon"}}
	if strings.HasPrefix(c.Engine, "frr") {
		out = append(out, crash{"A", "zebra"})
	}
	return out
}

// deadInterval is how long an OSPF router of the lab believes in a neighbour that says nothing (RFC 2328 section C.3), and a little.
const deadInterval = 4 * time.Second

// bgpdAftermath is how long after its start a bgpd may still disturb: what it took over goes when its restart is over, and is laid anew.
const bgpdAftermath = 5 * time.Second

// deathTime is how long a program stays dead: a supervisor's pause.
const deathTime = time.Second

// crash kills, waits, revives, and judges.
func (r *runner) crash(t *testing.T, x crash) {
	t.Helper()
	ctx := t.Context()
	if err := r.pause(ctx, warmUp); err != nil {
		t.Fatal(err)
	}
	at := probe.Mono()
	if err := r.kill(x.node, x.program); err != nil {
		t.Fatal(err)
	}
	if err := r.pause(ctx, deathTime); err != nil {
		t.Fatal(err)
	}
	if err := r.revive(ctx, x.node, x.program); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	if err := r.untilSteady(ctx, 2*returnMax); err != nil {
		t.Fatalf("%s of %s killed and started again: %v", x.program, x.node, err)
	}
	whole := time.Since(back)
	if strings.HasSuffix(r.opts.Engine, "ospf") { // its neighbour may notice only now
		if err := r.pause(ctx, deadInterval); err != nil {
			t.Fatal(err)
		}
		if err := r.untilSteady(ctx, 2*returnMax); err != nil {
			t.Fatalf("%s of %s killed and started again: %v", x.program, x.node, err)
		}
	}
	if x.program == "bgpd" {
		if err := r.pause(ctx, bgpdAftermath); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.pause(ctx, watchAfter); err != nil {
		t.Fatal(err)
	}
	got, err := r.fleet.Measure(at-int64(warmUp), probe.Mono()-int64(probe.Settle), recoveredFor)
	if err != nil {
		t.Fatal(r.better(err))
	}
	var worst time.Duration
	var hit []string
	for i, m := range got {
		if !m.Recovered {
			t.Errorf("%s of %s: flow %s did not recover", x.program, x.node, r.top.Flows[i].Name())
		}
		if m.Lost > 0 {
			hit = append(hit, fmt.Sprintf("%s %.0f", r.top.Flows[i].Name(), msOf(m.Outage)))
		}
		worst = max(worst, m.Outage)
	}
	t.Logf("%s of %s killed, started again after %s: worst outage %.0f ms, all as before %.1f s after the start; lost: %s",
		x.program, x.node, deathTime, msOf(worst), whole.Seconds(), strings.Join(hit, ", "))
}
