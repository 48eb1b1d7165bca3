package leaf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf/linkage"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/model"
	"peerless/internal/step"
)

// lines gives the effects that contain a text.
func lines(effects []step.Effect, text string) []string {
	var out []string
	for _, e := range effects {
		if s := e.String(); strings.Contains(s, text) {
			out = append(out, s)
		}
	}
	return out
}

func TestLeaf_Healing(t *testing.T) {
	host := step.Neighbor{Port: "A2", Addr: addrOf(2), MAC: macOf(2)}
	route := func(i int) step.Route {
		return step.Route{Table: 254, Prefix: step.HostPrefix(addrOf(i)), NextHop: step.NextHop{Dev: "A2"}}
	}
	def := step.Route{Table: 254, Prefix: anywhere, Metric: defaultMetric, NextHop: step.NextHop{Dev: "A0", Via: upper}}
	gw := netip.MustParsePrefix("10.10.10.254/32")
	tests := []struct {
		name string
		ev   step.Event
		want string // in exactly one effect; empty: no effect at all
	}{
		{"our neighbour entry deleted", step.NeighborChanged{NeighborState: step.NeighborState{Neighbor: host}}, "want neighbour 10.10.10.2"},
		{"our neighbour entry replaced", step.NeighborChanged{NeighborState: step.NeighborState{Neighbor: host, Present: true, Resolved: true}},
			"want neighbour 10.10.10.2"},
		{"our neighbour entry as it should be", step.NeighborChanged{NeighborState: step.NeighborState{Neighbor: host, Present: true, Resolved: true,
			Ours: true}}, ""},
		{"our host route deleted", step.RouteChanged{RouteState: step.RouteState{Route: route(2), Ours: true}}, "want route 10.10.10.2/32 dev A2"},
		{"a host route of ours that we do not want", step.RouteChanged{RouteState: step.RouteState{Route: route(9), Ours: true, Present: true}},
			"want no route 10.10.10.9/32"},
		{"somebody else's route", step.RouteChanged{RouteState: step.RouteState{Route: route(9), Present: true}}, ""},
		{"our default route deleted", step.RouteChanged{RouteState: step.RouteState{Route: def, Ours: true}}, "want route 0.0.0.0/0 via 172.31.1.1"},
		{"gateway address removed", step.AddressChanged{Address: step.Address{Port: "A2", Prefix: gw}}, "want address 10.10.10.254/32 dev A2"},
		{"the operator's address removed", step.AddressChanged{Address: step.Address{Port: "A2", Prefix: netip.MustParsePrefix("192.0.2.1/24")}}, ""},
		{"a port that is none of ours", step.PortChanged{PortState: step.PortState{Port: "lo", Present: true}}, ""},
		{"a kernel entry of an unknown host is only a hint", step.NeighborChanged{NeighborState: step.NeighborState{
			Neighbor: step.Neighbor{Port: "A2", Addr: addrOf(5), MAC: macOf(5)}, Present: true, Resolved: true}}, "send arp request on A2"},
		{"virtual MAC changed", step.PortChanged{PortState: step.PortState{Port: "A2", Index: 2, Present: true, AdminUp: true, Carrier: true,
			MAC: macOf(77)}}, "want port A2 address 02:00:5e:00:00:01"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, small())
			w.open()
			w.do(garp("A2", 2))
			effects := slices.DeleteFunc(slices.Clone(w.one(tt.ev)), func(e step.Effect) bool { _, arm := e.(step.Arm); return arm })
			if tt.want == "" && len(effects) > 0 || tt.want != "" && (len(effects) != 1 || len(lines(effects, tt.want)) != 1) {
				t.Fatalf("%v", effects)
			}
		})
	}
}

func TestLeaf_LostMessages_ReappliesWhatIsMissing(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(garp("A2", 2))
	w.do(garp("A2", 3))
	s := w.snapshot()
	s.Neighbors = []step.NeighborState{resolved(w.m.cfg.Uplinks[0]),
		{Neighbor: step.Neighbor{Port: "A2", Addr: addrOf(2), MAC: macOf(2)}, Present: true, Ours: true, Resolved: true}}
	s.Routes = []step.RouteState{{Route: w.m.routeOf(neighbor.Host{Addr: addrOf(2), Port: "A2"}), Present: true, Ours: true}}
	effects := w.do(s)
	if len(lines(effects, "want neighbour 10.10.10.2")) != 0 || len(lines(effects, "want route 10.10.10.2/32")) != 0 {
		t.Fatalf("re-applies what is right: %v", effects)
	}
	if len(lines(effects, "want neighbour 10.10.10.3")) != 1 || len(lines(effects, "want route 10.10.10.3/32")) != 1 {
		t.Fatalf("host 3 not healed: %v", effects)
	}
	if len(lines(effects, "closed urgent")) != 0 {
		t.Fatalf("closes: %v", effects)
	}
}

func TestLeaf_KernelMode_WatchesDefaultsAndInstallsNone(t *testing.T) {
	cfg := small()
	cfg.DefaultFromBGP = false
	w := newWorld(t, cfg)
	def := step.RouteState{Route: step.Route{Table: 254, Prefix: anywhere, Metric: 100, NextHop: step.NextHop{Dev: "A0", Via: upper}}, Present: true, Protocol: 186}
	s := w.snapshot()
	s.Routes = []step.RouteState{def}
	s.Neighbors = []step.NeighborState{resolved(cfg.Uplinks[0])}
	w.do(step.Started{})
	all := w.do(s)
	if !w.m.downs[0].serving {
		t.Fatalf("not open: %s", w.m.downs[0].why)
	}
	def.Present = false
	all = append(all, w.do(step.RouteChanged{RouteState: def})...)
	if w.m.downs[0].gate.State != linkage.Held {
		t.Fatal("open without a default route")
	}
	def.Present = true
	all = append(all, w.do(step.RouteChanged{RouteState: def})...)
	all = append(all, w.pass(time.Second)...)
	if !w.m.downs[0].serving {
		t.Fatalf("did not open again: %s", w.m.groups[0].why)
	}
	if got := lines(all, "0.0.0.0/0"); len(got) != 0 {
		t.Fatalf("touches the default route: %v", got)
	}
	w.port("A0", admin(false))
	w.port("A0", admin(true))
	w.do(step.NeighborChanged{NeighborState: resolved(cfg.Uplinks[0])})
	w.pass(10 * time.Second)
	if w.m.downs[0].serving {
		t.Fatal("trusts a default route that the kernel erased silently with the port")
	}
}

func TestLeaf_DefaultWithdrawnOrCease_ClosesAndKeepsTheSession(t *testing.T) {
	for name, ev := range map[string]step.Event{
		"withdrawn": step.PathsChanged{Peer: upper, Paths: []step.Path{{Prefix: anywhere, Withdrawn: true}}},
		"cease":     step.SessionChanged{Peer: upper, Reason: step.ReasonCeaseDown},
	} {
		w := newWorld(t, small())
		w.open()
		effects := w.do(ev)
		if len(lines(effects, "port A2 closed")) == 0 || len(lines(effects, "reset session")) != 0 {
			t.Errorf("%s: %v", name, effects)
		}
	}
}

func TestLeaf_TwoGateways_SoftEvidenceDemotesOnly(t *testing.T) {
	w := newWorld(t, twoUplinks(small()))
	w.open()
	effects := w.do(step.SessionChanged{Peer: upper, Reason: step.ReasonReset})
	if len(lines(effects, "want route 0.0.0.0/0 via 172.31.3.1 dev A9 metric 20")) != 1 || len(lines(effects, "closed")) != 0 {
		t.Fatalf("%v", effects)
	}
	w.m.View(w.Now)
	effects = w.port("A9", carrier(false))
	if len(lines(effects, "want route 0.0.0.0/0 via 172.31.1.1 dev A0 metric 20")) != 1 || len(lines(effects, "port A2 closed")) != 0 {
		t.Fatalf("the last path must be kept in the graceful-restart time: %v", effects)
	}
}

// Link and neighbour reports come by different netlink groups: the gateway may be resolved before its link is known to be up. Nobody tells of
// it again, also where the word that the link came up was among what got lost.
func TestLeaf_GatewayResolvedBeforeItsLinkIsUp_OpensAllTheSame(t *testing.T) {
	for name, learns := range map[string]func(w *world, u Uplink){
		"told": func(w *world, u Uplink) {
			w.do(step.NeighborChanged{NeighborState: resolved(u)})
			w.port(u.Port, carrier(true))
		},
		"lost": func(w *world, u Uplink) {
			p := w.ports[u.Port]
			p.Carrier = true
			w.ports[u.Port] = p
			s := w.snapshot()
			s.Reason, s.Neighbors = "netlink lost messages", []step.NeighborState{resolved(u)}
			w.do(s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, small())
			w.open()
			u := w.m.cfg.Uplinks[0]
			gone := resolved(u)
			gone.Present, gone.Resolved = false, false
			w.port(u.Port, carrier(false))
			w.do(step.NeighborChanged{NeighborState: gone})
			w.pass(time.Second)
			learns(w, u)
			w.do(step.SessionChanged{Peer: u.Neighbor, AS: 65000, Up: true})
			w.do(step.PathsChanged{Peer: u.Neighbor, Paths: defaultPath()})
			w.do(step.EndOfRIB{Peer: u.Neighbor})
			w.pass(time.Second)
			for _, d := range w.m.downs {
				if !d.serving {
					t.Errorf("port %s does not serve: %s", d.Port, d.why)
				}
			}
		})
	}
}

func TestLeaf_DeviceRecreated_IsDownAndUpAgain(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(garp("A2", 2))
	effects := w.port("A2", func(s *step.PortState) { s.Index = 99 })
	if len(lines(effects, "want no advertise 10.10.10.2/32")) != 1 || len(lines(effects, "attachment 2 up")) != 1 ||
		len(lines(effects, "want port A2 address")) != 1 {
		t.Fatalf("%v", effects)
	}
}

func TestLeaf_MutedPort_ServesNothing(t *testing.T) {
	w := newWorld(t, small())
	w.mute = true
	w.open()
	w.do(garp("A2", 2))
	w.port("A0", carrier(false))
	if got := w.do(garp("A2", 2)); len(lines(got, "want")) != 0 {
		t.Fatalf("learns on a closed port: %v", got)
	}
	if got := w.do(request("A2", 2, 9)); len(got) != 0 {
		t.Fatalf("answers on a closed port: %v", got)
	}
}

func TestLeaf_ClosingFails_IsReportedOnce(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	want := step.Want{Object: step.Gate{Port: "A2", Closed: true}}
	if got := lines(w.do(step.Failed{Want: want, Err: "EBUSY", Attempt: 1}), noteCloseFailed); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	if got := w.do(step.Failed{Want: want, Err: "EBUSY", Attempt: 2}); len(got) != 0 {
		t.Fatalf("%v", got)
	}
}

func TestLeaf_Feed_WhatIsIgnored(t *testing.T) {
	own := claim.Host{PortIndex: 2, Attachment: 2, Stamp: 5}
	tests := []struct {
		name string
		path step.Path
	}{
		{"our own word told back", step.Path{Prefix: step.HostPrefix(addrOf(2)), Large: own.Communities(65001)}},
		{"an older claim", claimed(2, 2, 5)},
		{"a foreign leaf without stamp", step.Path{Prefix: step.HostPrefix(addrOf(2))}},
		{"a whole subnet", step.Path{Prefix: netip.MustParsePrefix("10.10.10.0/24")}},
		{"outside our subnets", step.Path{Prefix: netip.MustParsePrefix("10.99.0.1/32")}},
		{"the gateway's address", claimed(254, 2, 1<<50)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, small())
			w.open()
			w.do(garp("A2", 2))
			if got := w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{tt.path}}); len(got) != 0 {
				t.Fatalf("%v", got)
			}
			if h, _ := w.m.hosts.Holder(addrOf(2)); h.State != neighbor.Local {
				t.Fatalf("host is %s", h.State)
			}
		})
	}
}

// The guard, or an earlier life, closed it; somebody opens it while this life cannot forward yet.
func TestLeaf_PortOfAnEarlierLifeOpenedTooEarly_IsClosedAgainForANamedReason(t *testing.T) {
	w := newWorld(t, small())
	w.quiet = true // the kernel takes no default route
	closed := w.ports["A2"]
	closed.AdminUp, closed.Carrier, closed.Ours = false, false, true
	w.ports["A2"] = closed
	w.do(step.Started{})
	w.do(restarted(w))
	got := lines(w.port("A2", admin(true)), "want port A2 closed")
	if len(got) != 1 || !strings.Contains(got[0], "because port linkage: it was closed before the daemon started, and this leaf cannot forward yet by uplink A0") {
		t.Fatalf("%q", got)
	}
}

func TestLeaf_ServerTurnsUp_BringsWhatIsRememberedOfIt(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	const stamp = 1_790_000_000_000
	feed := step.PathsChanged{Peer: upper}
	for i := 1; i <= 4; i++ {
		feed.Paths = append(feed.Paths, claimed(i, 2, stamp))
	}
	feed.Paths = append(feed.Paths, claimed(5, 2, stamp))
	feed.Paths[1].Large = claimOf(2, stamp, model.MAC{}).Communities(65002) // that leaf does not know its MAC
	w.do(feed)
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(5, 7, stamp+1)}}) // moved to another server since
	if got := lines(w.last, "want"); len(got) != 0 {
		t.Fatalf("the feed alone: %v", got)
	}
	got := w.do(garp("A2", 1))
	for i := 1; i <= 5; i++ {
		routes := lines(got, "want route 10.10.10."+strconv.Itoa(i)+"/32 dev A2")
		_, claims := w.m.book.Stamp(addrOf(i))
		if want := i < 5; (len(routes) == 1) != want || claims != (i == 1) {
			t.Errorf("host %d: %v, want %v; claimed %v", i, routes, want, claims)
		}
	}
	if n := lines(got, noteInherited); len(n) != 1 || !strings.Contains(n[0], "3 remembered hosts") {
		t.Errorf("told as %v", n)
	}
	if got := w.do(reply("A2", 2)); len(lines(got, "want neighbour 10.10.10.2")) != 1 {
		t.Errorf("its MAC becomes known: %v", got)
	}
	// The other leaf still claims it, with the stamp of the feed: the server has moved, and so has whoever answers here.
	if got, ok := w.m.book.Stamp(addrOf(2)); !ok || got <= stamp {
		t.Errorf("heard, it is claimed with stamp %d, %v; the other leaf's is %d", got, ok, stamp)
	}
	for range 50 {
		w.pass(100 * time.Millisecond)
		w.do(reply("A2", 1))
		w.do(reply("A2", 2))
	}
	if _, held := w.m.hosts.Holder(addrOf(2)); !held {
		t.Error("host 2 answers and is gone")
	}
	for _, i := range []int{3, 4} {
		if h, held := w.m.hosts.Holder(addrOf(i)); held {
			t.Errorf("host %d never answered: %+v", i, h)
		}
	}
}

func TestLeaf_Question_TeachesNothingUntilTheSenderAnswers(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	got := w.do(request("A2", 2, 3))
	if len(lines(got, "send arp request")) != 1 || len(lines(got, "want")) != 0 {
		t.Fatalf("a question: %v", got)
	}
	if got := w.do(reply("A2", 2)); len(lines(got, "want advertise 10.10.10.2/32")) != 1 {
		t.Fatalf("the answer: %v", got)
	}
	// A question does not keep alive what is silent to probes either.
	for range 10 {
		w.pass(time.Second)
		w.do(request("A2", 2, 3))
	}
	if h, held := w.m.hosts.Holder(addrOf(2)); held {
		t.Fatalf("10 s silent to probes: %+v", h)
	}
}

func TestLeaf_BadSenders_AreToldOnce(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	gateway := garp("A2", 2)
	gateway.SenderIP, gateway.TargetIP = gwAddr, gwAddr
	loop := garp("A2", 2)
	loop.SrcMAC = vmac
	group := garp("A2", 2)
	group.SenderMAC = model.Broadcast
	for what, ev := range map[string]step.ARPSeen{noteGatewayClaimed: gateway, noteLoop: loop, noteMalformed: group} {
		if got := w.do(ev); len(lines(got, what)) != 1 || len(lines(got, "want")) != 0 {
			t.Errorf("%s: %v", what, got)
		}
		if got := w.do(ev); len(got) != 0 {
			t.Errorf("%s again: %v", what, got)
		}
	}
}

func TestLeaf_ServerAndGuests_AreOneFailover(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	causes := map[step.Cause]bool{}
	for i := range 3 {
		w.pass(10 * time.Millisecond)
		for _, e := range w.do(garp("A2", i+1)) {
			if n, ok := e.(step.Note); ok && n.What == noteHostLearned {
				causes[n.Cause] = true
			}
		}
	}
	if len(causes) != 1 {
		t.Fatalf("%d causes", len(causes))
	}
}

func TestLeaf_View_SaysWhy(t *testing.T) {
	w := newWorld(t, fig7A())
	w.open()
	w.do(garp("A1", 1))
	v := w.m.View(w.Now)
	if r := v.Ports[1]; !r.Active || r.State != "up" || r.Hosts != 1 {
		t.Errorf("%+v", r)
	}
	if r := v.Mapping[0]; r.Uplink != "up" || r.Downlink != "up" || !r.Active || fmt.Sprint(r.Hosts) != "[10.10.10.1]" {
		t.Errorf("%+v", r)
	}
	w.port("A4", admin(false))
	w.port("A0", carrier(false))
	w.pass(12300 * time.Millisecond)
	v = w.m.View(w.Now)
	want := "closed by us: uplink A0: no carrier, for 12.3s; opens when 1 uplink of 1 can be used again"
	if r := v.Ports[1]; r.State != "closed" || r.ClosedBy != "peerless" || r.Why != want {
		t.Errorf("%+v", r)
	}
	if r := v.Ports[4]; r.State != "closed" || r.ClosedBy != "operator" || !strings.HasPrefix(r.Why, "closed by the operator") {
		t.Errorf("%+v", r)
	}
	if r := v.Linkage[0]; r.State != "closed" || len(r.ClosedByUs) != 3 || fmt.Sprint(r.OperatorOff) != "[A4]" || r.UplinksUp != 0 {
		t.Errorf("%+v", r)
	}
	if r := v.Hosts[0]; r.State != "remembered" || r.Advertised {
		t.Errorf("%+v", r)
	}
	if r := v.Mapping[0]; r.Uplink != "down" || r.Downlink != "closed" || r.Active {
		t.Errorf("%+v", r)
	}
}

func TestLeaf_Refresh_AllocatesAlmostNothing(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(garp("A2", 2))
	var ev step.Event = reply("A2", 2)
	if n := testing.AllocsPerRun(100, func() { w.m.Step(w.Now, ev) }); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestLeaf_Restart_WhatAnEarlierLifeClosed_WaitsUntilTheLeafCanForward(t *testing.T) {
	w := newWorld(t, small())
	held := w.ports["A2"]
	held.AdminUp, held.Carrier, held.Ours = false, false, true
	w.ports["A2"] = held
	s := w.snapshot() // the default route is still there; the gateway's neighbour entry is not
	s.Routes = []step.RouteState{{Route: step.Route{Table: 254, Prefix: anywhere, Metric: 20, NextHop: step.NextHop{Dev: "A0", Via: upper}},
		Present: true, Ours: true, Protocol: 201}}
	w.deaf = true
	w.do(step.Started{})
	if got := lines(w.do(s), "port A2 open"); len(got) != 0 {
		t.Fatalf("opens before the gateway is resolved: %v", got)
	}
	if got := lines(w.do(step.NeighborChanged{NeighborState: resolved(w.m.cfg.Uplinks[0])}), "want port A2 open"); len(got) != 1 {
		t.Fatalf("does not open when it is: %v", w.last)
	}
}
