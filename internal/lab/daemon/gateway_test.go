package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"peerless/internal/engineconf"
)

// speaker is a leaf that says what a leaf's embedded speaker says: a host with large communities, and an attachment that is nobody's
// destination. It takes all that it is told.
func speaker(as int, own, gateway, host, attachment string, med int) engineconf.Files {
	text := fmt.Sprintf(`log stderr all;
router id %[2]s;
protocol device {}
protocol static {
	ipv4;
	route %[4]s blackhole { bgp_med = %[6]d; bgp_large_community.add((%[1]d, 2, 7)); };
	route %[5]s blackhole { bgp_large_community.add((%[1]d, 6, 1)); bgp_community.add((65535, 65281)); };
}
protocol bgp up {
	local as %[1]d;
	neighbor %[3]s external;
	connect delay time 1;
	connect retry time 1;
	ipv4 { import all; export where source = RTS_STATIC; };
}
`, as, own, gateway, host, attachment, med)
	return engineconf.Files{Engine: engineconf.BIRD, Name: "bird.conf", Text: text, Programs: []engineconf.Program{{Name: "bird"}}}
}

func TestGateway_OverEmbeddedSpeakers_KeepsCommunitiesAndFeedsTheOtherLeaf(t *testing.T) {
	for engine, show := range map[engineconf.Engine]string{
		engineconf.FRR:  "show bgp ipv4 unicast %s",
		engineconf.BIRD: "show route for %s all",
	} {
		t.Run(string(engine), func(t *testing.T) {
			needEngine(t, engineconf.BIRD)
			needEngine(t, engine)
			w := newWorld(t)
			w.start("G", w.files("G", engine, engineconf.BGP))
			w.start("A", speaker(65001, "10.0.0.11", "172.31.1.1", "10.10.10.1/32", "10.255.0.1/32", 2000))
			w.start("B", speaker(65002, "10.0.0.12", "172.31.2.1", "10.10.10.1/32", "10.255.0.2/32", 3000))

			w.hears("B", "show route for 10.10.10.1/32 all", "65001, 2, 7")
			w.eventually("G", slash32(host1), viaA) // the lower MED
			w.hears("G", fmt.Sprintf(show, "10.10.10.1/32"), "65001")
			w.hears("G", fmt.Sprintf(show, "10.255.0.1/32"), "65001")
			w.hears("G", fmt.Sprintf(show, "10.255.0.2/32"), "65002")
			w.hears("A", "show route for 0.0.0.0/0 all", "172.31.1.1")
			if got := w.via("G", netip.MustParsePrefix("10.255.0.1/32")); len(got) > 0 {
				t.Errorf("an attachment is in the gateway's kernel, via %v", got)
			}
			if out, err := w.engines["B"].Ask(t.Context(), "show route"); err != nil || strings.Contains(out, "10.255.0.1") {
				t.Errorf("B hears of A's attachment (%v):\n%s", err, out)
			}
			w.t.Logf("killed leaf: A's host moves after %v", w.killed("A"))
		})
	}
}

// killed ends a leaf's engine while its link goes down, and gives the time until the gateway uses the other.
func (w *world) killed(node string) time.Duration {
	w.t.Helper()
	port, err := w.handles[node].LinkByName(node + "0")
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.handles[node].LinkSetDown(port); err != nil {
		w.t.Fatal(err)
	}
	return w.eventually("G", slash32(host1), viaB)
}

// hears waits until a node's engine answers with the words.
func (w *world) hears(node, question, words string) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		out, err := w.engines[node].Ask(w.ctx, question)
		if err == nil && strings.Contains(out, words) {
			return
		}
		if time.Since(began) > patience {
			w.t.Fatalf("%s: %q has no %q (%v):\n%s", node, question, words, err, out)
		}
	}
}
