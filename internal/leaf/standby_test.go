package leaf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// waysDown is what the kernel has for what comes down for a host, by any port.
func (w *world) waysDown(i int) (routes []step.Route, entries []step.Neighbor) {
	for _, d := range w.m.downs {
		if r, ok := w.held[standbyRoute(d, addrOf(i)).Key()].(step.Route); ok {
			routes = append(routes, r)
		}
		if n, ok := w.held[step.Neighbor{Port: d.Port, Addr: addrOf(i)}.Key()].(step.Neighbor); ok {
			entries = append(entries, n)
		}
	}
	return routes, entries
}

// wayDown fails the test unless what comes down for a host goes by one port, to one MAC; an empty port: nowhere.
func (w *world) wayDown(i int, port model.Port, mac model.MAC) {
	w.t.Helper()
	var routes []step.Route
	var entries []step.Neighbor
	if port != "" {
		routes = []step.Route{standbyRoute(w.m.down(port), addrOf(i))}
	}
	if !mac.IsZero() {
		entries = []step.Neighbor{{Port: cmp.Or(port, "A2"), Addr: addrOf(i), MAC: mac}}
	}
	if r, e := w.waysDown(i); !slices.EqualFunc(r, routes, func(a, b step.Route) bool { return a.String() == b.String() }) || !slices.Equal(e, entries) {
		w.t.Errorf("what comes down for host %d: %v %v, want %v %v", i, r, e, routes, entries)
	}
}

func TestStandby_ClaimedBehindOurServerPort_WhatComesDownIsDelivered(t *testing.T) {
	w := stocked(t, true)
	for i := 1; i <= 4; i++ {
		w.wayDown(i, "A2", macOf(i))
	}
	for _, h := range w.m.View(w.Now).Hosts {
		if h.State != "remembered" || !strings.HasPrefix(h.Why, "stands by: ") {
			t.Errorf("shown as %s: %s", h.State, h.Why)
		}
	}
	for _, u := range w.m.cfg.Uplinks {
		rule := step.Rule{Priority: standbyRule, IIF: u.Port, Table: StandbyTable, SuppressPrefixLen: -1}
		if w.held[rule.Key()] == nil {
			t.Errorf("what enters by %s does not look", u.Port)
		}
	}
	for _, o := range w.held {
		if r, ok := o.(step.Rule); ok && r.Table == StandbyTable && !slices.ContainsFunc(w.m.cfg.Uplinks, func(u Uplink) bool { return u.Port == r.IIF }) {
			t.Errorf("others look too: %s", r)
		}
	}
}

// Whatever becomes of a host, the entry that it is forwarded by stays with the port that it is on, and nothing else stays.
func TestStandby_Turns(t *testing.T) {
	tests := []struct {
		name string
		do   func(*world)
		port model.Port // what comes down goes there
		mac  model.MAC  // the neighbour entry that is left
	}{
		{"is heard here", func(w *world) { w.do(garp("A2", 3)) }, "", macOf(3)},
		{"is claimed behind another server port", func(w *world) {
			w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(3, 7, otherStamp+1000)}})
		}, "", model.MAC{}},
		{"is claimed there, and here again", func(w *world) {
			w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(3, 7, otherStamp+1000)}})
			w.pass(200 * time.Millisecond)
			w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(3, 2, otherStamp+2000)}})
		}, "A2", macOf(3)},
		{"has another MAC", func(w *world) {
			p := claimed(3, 2, otherStamp+1000)
			p.Large = claimOf(2, otherStamp+1000, macOf(33)).Communities(65002)
			w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{p}})
		}, "A2", macOf(33)},
		{"its port was away", func(w *world) {
			w.port("A2", carrier(false))
			w.pass(time.Second)
			delete(w.held, step.Neighbor{Port: "A2", Addr: addrOf(3)}.Key()) // as the kernel does
			w.port("A2", carrier(true))
		}, "A2", macOf(3)},
		{"its port was away, and a route of it that failed is there before its turn comes", func(w *world) {
			w.port("A2", carrier(false))
			w.pass(time.Second)
			delete(w.held, step.Neighbor{Port: "A2", Addr: addrOf(3)}.Key())
			w.port("A2", carrier(true))
			w.do(step.Applied{Want: step.Want{Object: shelfRoute(w.m.down("A2"), addrOf(3))}})
		}, "A2", macOf(3)},
		{"nobody claims it any more, for long", func(w *world) {
			w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{{Prefix: step.HostPrefix(addrOf(3)), Withdrawn: true}}})
			w.pass(2 * w.m.cfg.Remember)
		}, "", model.MAC{}},
		{"is claimed for longer than anybody is remembered", func(w *world) { w.pass(3 * w.m.cfg.Remember) }, "A2", macOf(3)},
		{"somebody deletes its route", func(w *world) {
			r := standbyRoute(w.m.down("A2"), addrOf(3))
			delete(w.held, r.Key())
			w.do(step.RouteChanged{RouteState: step.RouteState{Route: r, Ours: true}})
		}, "A2", macOf(3)},
		{"somebody deletes its entry", func(w *world) {
			n := step.Neighbor{Port: "A2", Addr: addrOf(3), MAC: macOf(3)}
			delete(w.held, n.Key())
			w.do(step.NeighborChanged{NeighborState: step.NeighborState{Neighbor: n, Ours: true}})
		}, "A2", macOf(3)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := stocked(t, true)
			w.t = t
			tt.do(w)
			w.pass(200 * time.Millisecond)
			w.wayDown(3, tt.port, tt.mac)
			if tt.port == "A2" {
				w.wayDown(4, "A2", macOf(4))
			}
		})
	}
}

// Whoever is remembered on two ports had a way by each: giving up the one leaves the other alone.
func TestStandby_FromPortToPort_NeitherTakesTheOthersWay(t *testing.T) {
	cfg := fig7A()
	cfg.ShelfFrom = 2
	w := newWorld(t, cfg)
	w.open()
	for n, id := range []model.AttachmentID{3, 2, 3} {
		w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(5, id, otherStamp+1000*claim.Stamp(n))}})
		w.pass(200 * time.Millisecond)
		w.wayDown(5, model.Port(fmt.Sprintf("A%d", id)), macOf(5))
	}
}

// The ways of an earlier life are kept, with the entries that belong to them; what belongs to nobody goes.
func TestStandby_Restart_KeepsWhatIsThere(t *testing.T) {
	before := stocked(t, true)
	w := newWorld(t, before.m.cfg)
	s := w.snapshot()
	s.Routes = append(s.Routes, step.RouteState{Route: step.Route{Prefix: anywhere, Metric: defaultMetric,
		NextHop: step.NextHop{Dev: "A0", Via: upper}}, Ours: true, Present: true})
	d := before.m.down("A2")
	stray := standbyRoute(d, addrOf(9))
	for _, r := range []step.Route{standbyRoute(d, addrOf(3)), shelfRoute(d, addrOf(3)), stray} {
		s.Routes = append(s.Routes, step.RouteState{Route: r, Ours: true, Present: true})
		w.held[r.Key()] = r
	}
	for _, i := range []int{3, 8} {
		n := step.Neighbor{Port: "A2", Addr: addrOf(i), MAC: macOf(i)}
		s.Neighbors = append(s.Neighbors, step.NeighborState{Neighbor: n, Present: true, Ours: true})
		w.held[n.Key()] = n
	}
	w.do(step.Started{})
	got := w.do(s)
	w.wayDown(3, "A2", macOf(3))
	w.wayDown(8, "", model.MAC{})
	w.wayDown(9, "", model.MAC{})
	if n := lines(append(got, w.pass(200*time.Millisecond)...), "want route 10.10.10.3"); len(n) != 0 {
		t.Errorf("laid again: %v", n)
	}
}

// narrow is an open leaf with a port for few.
func narrow(t *testing.T) *world {
	t.Helper()
	cfg := small()
	cfg.ShelfFrom, cfg.Downlinks[0].MaxHosts = 2, 16
	w := newWorld(t, cfg)
	w.open()
	return w
}

// Whoever was there once and is silent leaves room for those who are claimed.
func TestStandby_CrowdOfTheForgotten_LeavesRoom(t *testing.T) {
	w := narrow(t)
	for i := 20; i < 36; i++ {
		w.do(garp("A2", i))
	}
	w.pass(10 * time.Second) // all are silent
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(1, 2, otherStamp)}})
	w.pass(time.Second)
	w.wayDown(1, "A2", macOf(1))
}

// Whom the shelf had no room for is taken with his server all the same, by a route of his own.
func TestStandby_NoRoom_IsTakenWithHisServer(t *testing.T) {
	w := narrow(t)
	heeding := defaultPath()
	heeding[0].Large = claim.Heeding(65000)
	w.do(step.PathsChanged{Peer: upper, Paths: heeding})
	for i := 20; i < 30; i++ {
		w.do(garp("A2", i))
	}
	w.pass(10 * time.Second) // all are silent, and nobody claims them: six have room
	got := append(w.do(garp("A2", 29)), w.pass(time.Second)...)
	if !slices.Contains(lines(got, noteInherited), "note hosts-inherited: 9 remembered hosts taken on A2 because their server has turned up here [learn]") {
		t.Errorf("told as %v", lines(got, noteInherited))
	}
	for i := 20; i < 30; i++ {
		if !w.routed(i) {
			t.Errorf("host %d has no route", i)
		}
	}
}
