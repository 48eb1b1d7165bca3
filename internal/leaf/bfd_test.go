package leaf

import (
	"slices"
	"testing"
	"time"

	"peerless/internal/step"
)

const ms = time.Millisecond

func withBFD(cfg Config) Config {
	cfg.BFD = Probe{Interval: 100 * ms, Multiplier: 3}
	return cfg
}

func bfdUp() step.BFDChanged {
	return step.BFDChanged{Port: "A0", Peer: upper, Up: true, Detect: 300 * ms}
}

func bfdDown() step.BFDChanged {
	return step.BFDChanged{Port: "A0", Peer: upper, Diag: "control detection time expired"}
}

// soft-never-closes: BFD alone says that a daemon is gone. Only where the kernel is silent too, downlinks close, and soon.
func TestLeaf_BFDDown_ClosesOnlyWhereTheKernelIsSilentToo(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before []step.Event
		ev     step.BFDChanged
		deaf   bool
		closed bool
	}{
		{"dead path", []step.Event{bfdUp()}, bfdDown(), true, true},
		{"dead daemon, living kernel", []step.Event{bfdUp()}, bfdDown(), false, false},
		{"never came up", nil, bfdDown(), true, false},
		{"turned off by the gateway", []step.Event{bfdUp()}, step.BFDChanged{Port: "A0", Peer: upper, Admin: true, Diag: "neighbor signaled session down"}, true, false},
		{"another neighbour's", []step.Event{bfdUp()}, step.BFDChanged{Port: "A0", Peer: upper2, Diag: "control detection time expired"}, true, false},
		{"a port that is no uplink", []step.Event{bfdUp()}, step.BFDChanged{Port: "A2", Peer: upper, Diag: "control detection time expired"}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, withBFD(small()))
			w.open()
			for _, ev := range tt.before {
				w.do(ev)
			}
			w.deaf = tt.deaf
			all := w.do(tt.ev)
			all = append(all, w.pass(60*ms)...) // three questions, 20 ms apart
			if closed := len(lines(all, "port A2 closed")) > 0; closed != tt.closed {
				t.Errorf("closed %v: %v", closed, all)
			}
			if asked := len(lines(all, "send arp request on A0")); asked > 3 {
				t.Errorf("%d questions: a burst", asked)
			}
			if !tt.closed {
				all = append(all, w.pass(2*time.Second)...) // the ordinary probe needs three seconds
				if len(lines(all, "port A2 closed")) > 0 {
					t.Errorf("closed in the end")
				}
			}
		})
	}
}

func TestLeaf_BFDDown_Transcripts(t *testing.T) {
	w := newWorld(t, withBFD(small()))
	w.open()
	w.do(garp("A2", 2))
	w.reset()
	w.Comment("BFD comes up; then the gateway's daemon dies, and its kernel lives")
	w.do(bfdUp())
	w.do(bfdDown())
	w.pass(100 * ms)
	w.Comment("it is back; then the path dies")
	w.do(bfdUp())
	w.deaf = true
	w.do(bfdDown())
	w.pass(100 * ms)
	w.Comment("the gateway asks us, which shows one direction only; then it answers us")
	w.do(step.ARPSeen{Port: "A0", Op: step.ARPRequest, SrcMAC: macOf(200), SenderMAC: macOf(200), SenderIP: upper, TargetIP: upper.Next()})
	w.do(step.NeighborChanged{NeighborState: resolved(w.m.cfg.Uplinks[0])})
	w.deaf = false
	w.pass(time.Second)
	w.Golden(t, "bfd")
}

// A path that carries the gateway's questions to us and nothing back is dead: what the gateway asks is no answer.
func TestLeaf_GatewayOnlyAsks_IsSilent(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.deaf = true
	question := step.ARPSeen{Port: "A0", Op: step.ARPRequest, SrcMAC: macOf(200), SenderMAC: macOf(200), SenderIP: upper, TargetIP: upper.Next()}
	var all []step.Effect
	for range 50 {
		all = append(all, w.do(question)...)
		stale := resolved(w.m.cfg.Uplinks[0])
		all = append(all, w.do(step.NeighborChanged{NeighborState: stale})...)
		gone := stale
		gone.Resolved = false
		all = append(all, w.do(step.NeighborChanged{NeighborState: gone})...)
		all = append(all, w.pass(100*ms)...)
	}
	if n := len(lines(all, noteLinkageClosed)); n != 1 {
		t.Errorf("the group closed %d times, want once and for good", n)
	}
	w.deaf = false
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.pass(10 * time.Second)
	if !w.m.downs[0].serving {
		t.Errorf("does not open again: %s", w.m.downs[0].why)
	}
}

// Of two uplinks the one without doubt is preferred; the other one is not given up.
func TestLeaf_BFDDown_OnlyDemotes(t *testing.T) {
	w := newWorld(t, withBFD(twoUplinks(small())))
	w.open()
	w.do(bfdUp())
	all := append(w.do(bfdDown()), w.pass(100*ms)...)
	if want := []step.NextHop{{Dev: "A9", Via: upper2}}; !slices.Equal(w.m.defaultHops, want) || len(lines(all, "reset session")) > 0 {
		t.Errorf("default by %v: %v", w.m.defaultHops, all)
	}
	w.do(bfdUp())
	if len(w.m.defaultHops) != 2 {
		t.Errorf("default by %v after BFD is back", w.m.defaultHops)
	}
}

func TestLeaf_BFD_IsWantedOnlyWhereConfigured_AndShown(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	for k := range w.held {
		if k.Kind == step.KindBFDSession {
			t.Errorf("%s without config", k)
		}
	}
	w = newWorld(t, withBFD(small()))
	w.open()
	if _, ok := w.held[step.BFDSession{Port: "A0", Peer: upper}.Key()]; !ok {
		t.Error("not wanted")
	}
	row := func() step.SessionRow { return w.m.View(w.Now).Sessions[1] }
	if r := row(); r.State != "down" || r.Name != "A0 (bfd)" || r.Why != "never came up: no evidence" {
		t.Errorf("%+v", r)
	}
	w.do(bfdUp())
	if r := row(); r.State != "up" || r.Why != "silence is noticed in 300ms" {
		t.Errorf("%+v", r)
	}
	w.do(bfdDown())
	if r := row(); r.State != "down" || r.Why != "control detection time expired" {
		t.Errorf("%+v", r)
	}
}

// The link itself goes while BFD is in doubt: carrier is the better evidence, and the doubt ends with it.
func TestLeaf_CarrierLostWhileAsking_AsksNoMore(t *testing.T) {
	w := newWorld(t, withBFD(small()))
	w.open()
	w.do(bfdUp())
	w.deaf = true
	w.do(bfdDown())
	w.port("A0", carrier(false))
	if all := w.pass(200 * ms); len(lines(all, "send arp")) > 0 {
		t.Errorf("%v", all)
	}
	w.deaf = false
	w.port("A0", carrier(true))
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.pass(10 * time.Second)
	if !w.m.downs[0].serving {
		t.Errorf("does not open again: %s", w.m.downs[0].why)
	}
}
