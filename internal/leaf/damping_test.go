package leaf

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"peerless/internal/leaf/linkage"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

func damping(cfg Config) Config {
	cfg.Damping = liveness.Damping{HalfLife: 5 * time.Second, Suppress: 2500, Reuse: 1000, Max: time.Minute}
	return cfg
}

// flap loses a link and gives it back, some times.
func (w *world) flap(p model.Port, times int) {
	for range times {
		w.port(p, carrier(false))
		w.pass(125 * time.Millisecond)
		w.port(p, carrier(true))
		w.pass(125 * time.Millisecond)
	}
}

// claims makes another leaf claim hosts under their server ports, or give them up.
func (w *world) claims(gone bool, hosts ...int) {
	for _, i := range hosts {
		p := claimed(i, model.AttachmentID(i), 1_990_000_000_000)
		p.Withdrawn = gone
		w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{p}})
	}
}

func TestLeaf_FlappingDownlink_IsHeldClosedOnlyWhileItsHostsAreElsewhere(t *testing.T) {
	w := newWorld(t, damping(small()))
	w.open()
	w.do(garp("A2", 2))
	w.port("A2", carrier(false))
	w.claims(false, 2) // the server has moved
	w.port("A2", carrier(true))
	w.flap("A2", 1)
	w.reset()
	w.Comment("the third loss within a second: the return waits")
	w.flap("A2", 1)
	if got := w.closedPorts(); !slices.Equal(got, []model.Port{"A2"}) {
		t.Fatalf("closed: %v", got)
	}
	row := w.m.View(w.Now).Ports[1]
	if row.Penalty < 2500 || row.ReuseMs < 5000 || row.ClosedBy != "peerless" {
		t.Fatalf("%+v", row)
	}
	w.Comment("its time is over")
	w.pass(10 * time.Second)
	if got := w.closedPorts(); len(got) != 0 || !w.m.down("A2").serving {
		t.Fatalf("closed: %v", got)
	}
	w.Golden(t, "damping")
}

// What one gateway withdraws another may still tell; and what a gateway told in a session that has ended it could not take back.
func TestLeaf_FlappingDownlink_OfTwoGateways(t *testing.T) {
	gone := claimed(2, 2, 1_990_000_000_000)
	gone.Withdrawn = true
	tell := func(by netip.Addr, p step.Path) step.Event { return step.PathsChanged{Peer: by, Paths: []step.Path{p}} }
	end := func(by netip.Addr) step.Event { return step.SessionChanged{Peer: by, Reason: step.ReasonReset} }
	for _, tt := range []struct {
		name   string
		events []step.Event
		held   bool
	}{
		{"both tell it", nil, true},
		{"one withdraws it", []step.Event{tell(upper, gone)}, true},
		{"both withdraw it", []step.Event{tell(upper, gone), tell(upper2, gone)}, false},
		{"the session of one ends", []step.Event{end(upper)}, true},
		{"the session of one ends, and the other withdraws it", []step.Event{end(upper), tell(upper2, gone)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, twoUplinks(damping(small())))
			w.open()
			w.do(garp("A2", 2))
			w.port("A2", carrier(false))
			w.do(tell(upper, claimed(2, 2, 1_990_000_000_000)))
			w.do(tell(upper2, claimed(2, 2, 1_990_000_000_000)))
			w.port("A2", carrier(true))
			w.flap("A2", 4)
			if len(w.closedPorts()) != 1 {
				t.Fatal("not damped")
			}
			for _, e := range tt.events {
				w.do(e)
			}
			if held := len(w.closedPorts()) == 1; held != tt.held {
				t.Fatalf("held closed: %v", held)
			}
		})
	}
}

// A damped port that is somebody's only way is used: at once where nobody else has its hosts, and again as soon as nobody has.
func TestLeaf_FlappingDownlink_IsNeverTheOnlyWay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(*world)
		after  func(*world) // while it is held, if it is
	}{
		{"its host is nowhere else", func(w *world) { w.do(garp("A2", 2)) }, nil},
		{"nobody was ever seen there", func(*world) {}, nil},
		{"one of two hosts is nowhere else", func(w *world) {
			w.do(garp("A2", 2))
			w.do(garp("A2", 5))
			w.claims(false, 2)
		}, nil},
		{"its host is claimed under another server port", func(w *world) {
			w.do(garp("A2", 2))
			w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 7, 1_990_000_000_000)}})
		}, nil},
		{"the other leaf gives its host up", func(w *world) {
			w.do(garp("A2", 2))
			w.claims(false, 2)
		}, func(w *world) { w.claims(true, 2) }},
		{"the feed ends", func(w *world) {
			w.do(garp("A2", 2))
			w.claims(false, 2)
		}, func(w *world) { w.do(step.SessionChanged{Peer: upper, Reason: step.ReasonReset}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, damping(small()))
			w.open()
			tt.before(w)
			w.flap("A2", 5)
			if held := len(w.closedPorts()) == 1; held != (tt.after != nil) {
				t.Fatalf("held closed: %v, %s", held, w.m.down("A2").why)
			}
			if tt.after != nil {
				tt.after(w)
			}
			if !w.m.down("A2").serving {
				t.Fatalf("does not serve: %s", w.m.down("A2").why)
			}
		})
	}
}

func TestLeaf_FlappingUplink_DelaysOnlyTheReturn(t *testing.T) {
	u := Uplink{Port: "A0", Neighbor: upper}
	lose := func(w *world) {
		w.port("A0", carrier(false))
		w.do(step.SessionChanged{Peer: upper, Reason: step.ReasonOurs})
		w.pass(100 * time.Millisecond)
	}
	for _, elsewhere := range []bool{true, false} {
		w := newWorld(t, damping(small()))
		w.open()
		w.do(garp("A2", 2))
		for i := range 4 {
			lose(w)
			if got := w.closedPorts(); len(got) != 1 {
				t.Fatalf("loss %d closes %v: a closing must not be delayed", i, got)
			}
			w.port("A0", carrier(true))
			w.gatewayUp(u)
			w.claims(!elsewhere, 2)
			w.pass(time.Second)
		}
		if held := len(w.closedPorts()) == 1; held != elsewhere {
			t.Fatalf("hosts elsewhere %v: held %v: %s", elsewhere, held, w.m.groups[0].why)
		}
		w.pass(20 * time.Second)
		if got := w.closedPorts(); len(got) != 0 {
			t.Fatalf("held for too long: %s", w.m.groups[0].why)
		}
	}
}

func TestLeaf_OurOwnClosings_AreNoFlaps(t *testing.T) {
	w := newWorld(t, damping(fig7A()))
	w.open()
	for range 10 {
		w.port("A0", carrier(false))
		w.pass(time.Second)
		w.port("A2", admin(false))
		w.port("A2", admin(true))
		w.port("A0", carrier(true))
		w.gatewayUp(Uplink{Port: "A0", Neighbor: upper})
		w.pass(10 * time.Second)
	}
	for _, d := range w.m.downs {
		if p := d.damper.Penalty(w.Now.Mono); p != 0 {
			t.Errorf("%s has a penalty of %.0f", d.Port, p)
		}
	}
}

func localOnly(cfg Config) Config {
	cfg.LocalOnly = 3 * time.Second
	return cfg
}

func TestLeaf_LocalOnly_ServesItsOwnWithoutGatewayAndBecomesNormalWithoutClosing(t *testing.T) {
	w := newWorld(t, localOnly(small()))
	w.open()
	w.do(garp("A2", 2))
	w.reset()
	w.Comment("the gateway is gone")
	w.port("A0", carrier(false))
	w.do(step.SessionChanged{Peer: upper, Reason: step.ReasonOurs})
	w.pass(3100 * time.Millisecond)
	g := w.m.groups[0]
	if g.State != linkage.Local || !w.m.down("A2").serving {
		t.Fatalf("%s: %s", g.State, w.m.down("A2").why)
	}
	w.do(garp("A2", 2))
	w.Comment("who has a better link is not called back; who needs the gateway's address gets it")
	w.do(asksOpen("A2", 2))
	w.do(asksGateway("A2", 2))
	w.Comment("the gateway is back")
	w.port("A0", carrier(true))
	w.gatewayUp(Uplink{Port: "A0", Neighbor: upper})
	w.pass(time.Second)
	if g.State != linkage.Linked || !w.m.down("A2").serving {
		t.Fatalf("%s: %s", g.State, w.m.down("A2").why)
	}
	w.Golden(t, "local-only")
}

func TestLeaf_LocalOnly_IsOptInAndLeavesDrainedAndOperatorsPortsAlone(t *testing.T) {
	lose := func(w *world) {
		w.port("A0", carrier(false))
		w.pass(time.Minute)
	}
	w := newWorld(t, fig7A())
	w.open()
	lose(w)
	if got := w.closedPorts(); len(got) != 4 {
		t.Fatalf("not asked for, but open: closed %v", got)
	}
	w = newWorld(t, localOnly(drainable()))
	w.open()
	w.do(order(step.OrderDrain))
	lose(w)
	if got := w.closedPorts(); len(got) != 4 {
		t.Fatalf("drained, but open: closed %v", got)
	}
	w = newWorld(t, localOnly(fig7A()))
	w.open()
	w.port("A3", admin(false))
	lose(w)
	if w.ports["A3"].AdminUp || len(w.closedPorts()) != 0 {
		t.Fatalf("A3 up %v, closed %v", w.ports["A3"].AdminUp, w.closedPorts())
	}
	w.Comment("a second loss is like the first")
	w.port("A0", carrier(true))
	w.gatewayUp(Uplink{Port: "A0", Neighbor: upper})
	w.pass(10 * time.Second)
	w.port("A0", carrier(false))
	if got := w.closedPorts(); len(got) != 3 {
		t.Fatalf("closed %v", got)
	}
}
