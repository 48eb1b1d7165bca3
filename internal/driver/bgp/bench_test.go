//go:build !race

package bgp

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"peerless/internal/step"
)

// BenchmarkOneRoute measures from Apply on one speaker to post on the other, one route at a time.
func BenchmarkOneRoute(b *testing.B) {
	gateway, leaf := newWorld(b).pair(nil)
	var took []time.Duration
	med := uint32(0)
	for b.Loop() {
		med++
		from := time.Now()
		leaf.apply(tell(host1, med))
		gateway.awaitPath(host1, false)
		took = append(took, time.Since(from))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
}

// BenchmarkTenThousandRoutes measures the same for 10,000 routes, each with communities of its own, and their withdrawal.
func BenchmarkTenThousandRoutes(b *testing.B) {
	const n = 10000
	gateway, leaf := newWorld(b).pair(func(g, _ *Options) { g.Accept = []netip.Prefix{everything} })
	hosts := make([]netip.Prefix, n)
	for i := range hosts {
		hosts[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 11, byte(i >> 8), byte(i)}), 32)
	}
	all := func() (events int) {
		for got := 0; got < n; {
			for _, e := range gateway.take("paths", func(e step.Event) bool { _, ok := e.(step.PathsChanged); return ok }) {
				if c, ok := e.(step.PathsChanged); ok {
					got += len(c.Paths)
					events++
				}
			}
		}
		return events
	}
	var events int
	for b.Loop() {
		wants := make([]step.Want, n)
		for i, h := range hosts {
			wants[i] = tell(h, uint32(i))
		}
		leaf.apply(wants...)
		events += all()
		b.StopTimer()
		for i, h := range hosts {
			wants[i] = untell(h)
		}
		leaf.apply(wants...)
		all()
		b.StartTimer()
	}
	b.ReportMetric(float64(events)/float64(b.N), "events/op")
}

// BenchmarkReset measures from ResetSession to the next session.
func BenchmarkReset(b *testing.B) {
	gateway, leaf := newWorld(b).pair(withGracefulRestart)
	for b.Loop() {
		if _, err := gateway.Emit(step.ResetSession{Peer: leaf.addr}); err != nil {
			b.Fatal(err)
		}
		gateway.awaitUp(leaf.addr)
		leaf.awaitUp(gateway.addr)
	}
}
