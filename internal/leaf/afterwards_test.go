package leaf

import (
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/liveness"
	"peerless/internal/step"
)

// crowded is a leaf with three hosts behind one port; its gateway heeds attachments or does not.
func crowded(t *testing.T, heeds bool) *world {
	cfg := small()
	w := newWorld(t, cfg)
	w.open()
	if heeds {
		def := defaultPath()
		def[0].Large = claim.Heeding(65000)
		w.do(step.PathsChanged{Peer: upper, Paths: def})
	}
	for i := 2; i <= 4; i++ {
		w.do(garp("A2", i))
	}
	return w
}

func TestAfterwards_PortFails_AttachmentFirstAndHostsAfterARespite(t *testing.T) {
	w := crowded(t, true)
	got := w.port("A2", carrier(false))
	if len(lines(got, "want advertise 10.255.0.2/32")) != 1 {
		t.Fatalf("the word on the attachment is missing: %v", got)
	}
	if n := lines(got, "want no "); len(n) > 0 {
		t.Fatalf("hosts were cleaned up while their traffic was being repaired: %v", n)
	}
	got = w.pass(liveness.Respite(3))
	if n := lines(got, "want no advertise"); len(n) != 3 {
		t.Fatalf("%d withdrawals after the respite, want 3: %v", len(n), got)
	}
	if n := lines(got, "want no route"); len(n) != 3 {
		t.Fatalf("%d routes removed after the respite, want 3", len(n))
	}
}

func TestAfterwards_GatewayDoesNotHeedAttachments_WithdrawsAtOnce(t *testing.T) {
	w := crowded(t, false)
	if n := lines(w.port("A2", carrier(false)), "want no advertise"); len(n) != 3 {
		t.Fatalf("%d withdrawals at once, want 3", len(n))
	}
}

func TestAfterwards_PortReturnsBeforeTheCleanup_CleansUpFirst(t *testing.T) {
	w := crowded(t, true)
	w.port("A2", carrier(false))
	w.pass(time.Millisecond)
	got := w.port("A2", carrier(true))
	gone, set := -1, -1
	for i, e := range got {
		if want, ok := e.(step.Want); ok && want.Key() == (step.Advertisement{Prefix: step.HostPrefix(addrOf(2))}).Key() && want.Absent {
			gone = i
		}
		if n, ok := e.(step.Note); ok && n.What == notePortUp {
			set = i
		}
	}
	if gone < 0 || set < gone {
		t.Fatalf("withdrawn at %d, port up at %d: %v", gone, set, got)
	}
	w.do(garp("A2", 2))
	got = w.pass(liveness.Respite(3))
	if n := lines(got, "want no "); len(n) > 0 {
		t.Fatalf("a host that has come back was cleaned up: %v", n)
	}
}

// A session that begins tells all that the leaf stands behind, and to a gateway that hears it anew it counts as news.
func TestAfterwards_UplinkReturnsBeforeTheCleanup_CleansUpFirst(t *testing.T) {
	w := crowded(t, true)
	if n := lines(w.port("A0", carrier(false)), "want no advertise"); len(n) != 0 {
		t.Fatalf("cleaned up at once: %v", n)
	}
	got := w.port("A0", carrier(true))
	if n := lines(got, "want no advertise"); len(n) != 3 {
		t.Fatalf("%d withdrawals when the link is back, want 3: %v", len(n), got)
	}
}

func TestAfterwards_SnapshotBeforeTheCleanup_PutsNothingBack(t *testing.T) {
	w := crowded(t, true)
	w.port("A2", carrier(false))
	got := w.do(w.snapshot())
	if n := lines(got, "missing in the kernel"); len(n) > 0 {
		t.Fatalf("hosts of a dead port were put back: %v", n)
	}
	if n := lines(got, "want no advertise"); len(n) != 3 {
		t.Fatalf("%d withdrawals, want 3", len(n))
	}
}

func TestAfterwards_ServerTurnsUp_HostsAreTakenAtOnceAndClaimedAfter(t *testing.T) {
	w := crowded(t, true)
	w.port("A2", carrier(false))
	w.pass(time.Second)
	w.port("A2", carrier(true))
	got := w.do(garp("A2", 2))
	got = append(got, w.do(garp("A2", 3))...)
	got = append(got, w.do(garp("A2", 4))...)
	for _, i := range []int{2, 3, 4} {
		if len(lines(got, "want route "+addrOf(i).String())) == 0 {
			t.Fatalf("host %d is not in the kernel: %v", i, got)
		}
	}
	if n := lines(got, "want advertise 10.10.10."); len(n) != 1 { // the one that was heard first
		t.Fatalf("%d claims before the takeover is over, want 1: %v", len(n), n)
	}
	got = w.pass(liveness.Respite(3))
	if n := lines(got, "want advertise 10.10.10."); len(n) != 2 {
		t.Fatalf("%d claims after the respite, want 2: %v", len(n), got)
	}
	if w.port("A2", carrier(false)); len(w.held) == 0 {
		t.Fatal("nothing is left in the kernel")
	}
}

func TestAfterwards_PortFailsBeforeTheClaims_NothingIsClaimed(t *testing.T) {
	w := crowded(t, true)
	w.port("A2", carrier(false))
	w.pass(time.Second)
	w.port("A2", carrier(true))
	for i := 2; i <= 4; i++ {
		w.do(garp("A2", i))
	}
	w.port("A2", carrier(false))
	w.pass(time.Second)
	for i := 2; i <= 4; i++ {
		if _, told := w.held[step.Advertisement{Prefix: step.HostPrefix(addrOf(i))}.Key()]; told {
			t.Errorf("host %d is claimed although its port is dead", i)
		}
	}
}

func TestAfterwards_GatewayDoesNotHeedAttachments_WhoCameWithItsServerIsAskedAtOnce(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		w := crowded(t, heeds)
		w.port("A2", carrier(false))
		w.pass(time.Minute / 2)
		w.port("A2", carrier(true))
		w.pass(200 * time.Millisecond) // the questions that the port's return calls for
		effects := w.do(garp("A2", 2))
		asked := lines(append(effects, w.pass(liveness.Respite(3)/2)...), "send arp request on A2")
		if got := len(asked) > 0; got == heeds {
			t.Errorf("heeds %v: asked %v before the respite is over", heeds, asked)
		}
	}
}

// The port is up: the kernel does not skip it, and what its neighbours send a host behind it is lost until the route is gone.
func TestAfterwards_LinkPassesNothing_RouteIsRemovedAtOnce(t *testing.T) {
	w := served(t, watching(false))
	def := defaultPath()
	def[0].Large = claim.Heeding(65000)
	w.do(step.PathsChanged{Peer: upper, Paths: def})
	route := step.Route{Prefix: step.HostPrefix(addrOf(2))}.Key()
	w.cut["A2"] = true
	d := w.m.down("A2")
	for range 400 {
		if w.pass(time.Millisecond); d.trust.silent {
			break
		}
	}
	if _, held := w.held[route]; !d.trust.silent || held {
		t.Fatalf("silent: %v, its host's route is there: %v", d.trust.silent, held)
	}
}
