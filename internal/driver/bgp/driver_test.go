//go:build !race

package bgp

import (
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
var comparePrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func TestRun_NeighbourAnswers_SessionUpWithItsIdentity(t *testing.T) {
	w := newWorld(t)
	g, l := w.options(1), w.options(2)
	g.Neighbors = []Neighbor{w.leaf(2)}
	gateway, leaf := w.start(g), w.start(l)
	want := step.SessionChanged{Peer: gateway.addr, RouterID: g.RouterID, AS: 65001, Up: true}
	if d := cmp.Diff(want, leaf.awaitUp(gateway.addr), compareAddr); d != "" {
		t.Error(d)
	}
	gateway.awaitUp(leaf.addr)
}

func TestApply_HostClaim_ArrivesWhole(t *testing.T) {
	gateway, leaf := newWorld(t).pair(nil)
	host := claim.Host{PortIndex: 3, Attachment: 7, Role: model.Primary, Stamp: 1767225600000 + 12345678}
	large := host.Communities(65002)
	leaf.apply(step.Want{Object: step.Advertisement{Prefix: host1, MED: host.Stamp.MED(), HasMED: true, Large: large}})
	got := gateway.awaitPath(host1, false)
	want := step.Path{Prefix: host1, NextHop: leaf.addr, ASPath: []uint32{65002}, MED: host.Stamp.MED(), Large: large}
	if d := cmp.Diff(want, got, compareAddr, comparePrefix); d != "" {
		t.Error(d)
	}
	if parsed, ok := claim.ParseHost(65002, got.Large); !ok || parsed != host {
		t.Errorf("claim %+v, %t; want %+v", parsed, ok, host)
	}
}

func TestApply_DefaultRouteWithNextHop_NextHopIsKept(t *testing.T) {
	gateway, leaf := newWorld(t).pair(nil)
	via := netip.MustParseAddr("192.0.2.1")
	gateway.apply(step.Want{Object: step.Advertisement{Prefix: everything, NextHop: via}})
	if got := leaf.awaitPath(everything, false); got.NextHop != via {
		t.Errorf("next hop %s, want %s", got.NextHop, via)
	}
}

func TestApply_ToldAgain_ReplacedWithoutWithdrawal(t *testing.T) {
	gateway, leaf := newWorld(t).pair(nil)
	leaf.apply(tell(host1, 100))
	gateway.awaitPath(host1, false)
	leaf.apply(tell(host1, 50), tell(host2, 1))
	gateway.take("MED 50", func(e step.Event) bool {
		c, _ := e.(step.PathsChanged)
		for _, p := range c.Paths {
			if p.Withdrawn {
				t.Errorf("withdrawal of %s", p.Prefix)
			}
		}
		return slices.ContainsFunc(c.Paths, func(p step.Path) bool { return p.MED == 50 })
	})
}

func TestApply_MixedRun_EachAppliedInOrder(t *testing.T) {
	gateway, leaf := newWorld(t).pair(nil)
	errs := leaf.Apply([]step.Want{tell(host1, 1), untell(host1), {Object: step.Gate{Port: "A1"}}, untell(attachment2), tell(host2, 2)})
	for i, err := range errs {
		if (err != nil) != (i == 2) {
			t.Errorf("want %d: %v", i, err)
		}
	}
	gateway.awaitPath(host2, false)
	if known := gateway.mentions(host1); len(known) > 0 && !known[len(known)-1].Withdrawn {
		t.Errorf("host 1 at the end: %v", known)
	}
}

// Without spacing it is so in 5 of 100 runs.
func TestApply_AttachmentDownThenWithdrawals_ExplanationComesFirst(t *testing.T) {
	const runs = 50
	gateway, leaf := newWorld(t).pair(nil)
	first := 0
	for med := range uint32(runs) {
		leaf.apply(tell(host1, med), tell(attachment2, 0))
		gateway.awaitPath(host1, false)
		leaf.apply(tell(attachment2, med+1), untell(host1))
		told := gateway.take("withdrawal", func(e step.Event) bool {
			c, _ := e.(step.PathsChanged)
			return slices.ContainsFunc(c.Paths, func(p step.Path) bool { return p.Withdrawn })
		})
		for _, e := range told {
			for _, p := range e.(step.PathsChanged).Paths {
				if p.Withdrawn {
					break
				}
				if p.Prefix == attachment2 && p.MED == med+1 {
					first++
				}
			}
		}
	}
	if first < runs*3/4 {
		t.Errorf("in %d of %d runs only", first, runs)
	}
}

func TestApply_NotRunning_IsAnError(t *testing.T) {
	d, err := New(newWorld(t).options(2))
	if err != nil {
		t.Fatal(err)
	}
	close(d.ended)
	if err := d.Apply([]step.Want{tell(host1, 1)})[0]; err == nil {
		t.Error("no error")
	}
}

func TestTransit_Gateway_FeedsHostsButNotAttachments(t *testing.T) {
	w := newWorld(t)
	g := w.options(1)
	g.Neighbors = []Neighbor{w.leaf(2)}
	g.Dynamic = []DynamicRange{{Prefix: netip.PrefixFrom(w.addr(0), 24)}}
	gateway, a := w.start(g), w.start(w.options(2))
	gateway.awaitUp(a.addr)
	b := w.start(w.options(3))
	gateway.awaitUp(b.addr)
	a.apply(step.Want{Object: step.Advertisement{Prefix: attachment2, NoExport: true}}, tell(netip.MustParsePrefix("10.20.0.1/32"), 1), tell(host2, 7))
	got := b.awaitPath(host2, false)
	want := step.Path{Prefix: host2, NextHop: gateway.addr, ASPath: []uint32{65001, 65002}, Large: []model.LargeCommunity{{Global: 65002, Local1: 1, Local2: 7}}}
	if d := cmp.Diff(want, got, compareAddr, comparePrefix); d != "" {
		t.Error(d)
	}
	gateway.awaitPath(attachment2, false)
	if leaked := b.mentions(attachment2); len(leaked) > 0 {
		t.Errorf("attachment was passed on: %v", leaked)
	}
	if c := (b.Counters()); c.Refused != 0 {
		t.Errorf("the gateway passed on %d routes of no accepted prefix", c.Refused)
	}
}

func TestTransit_NewestClaim_WinsInTheFeed(t *testing.T) {
	w := newWorld(t)
	g := w.options(1)
	g.Neighbors = []Neighbor{w.leaf(2), w.leaf(3)}
	gateway, a := w.start(g), w.start(w.options(2))
	gateway.awaitUp(a.addr)
	b := w.start(w.options(3))
	gateway.awaitUp(b.addr)
	a.apply(tell(host1, 1000))
	b.awaitPath(host1, false) // the older claim
	b.apply(tell(host1, 900)) // newer: lower
	a.awaitPath(host1, false)
	a.apply(tell(host1, 800))
	b.awaitPath(host1, false)
}

func TestTransit_LeafOfTwoGateways_TellsNeitherOfTheOther(t *testing.T) {
	w := newWorld(t)
	g1, g2, l := w.options(1), w.options(3), w.options(2)
	g1.Neighbors, g2.Neighbors = []Neighbor{w.leaf(2)}, []Neighbor{w.leaf(2)}
	l.Neighbors = []Neighbor{w.gateway(2, 1), w.gateway(2, 3)}
	one, two, leaf := w.start(g1), w.start(g2), w.start(l)
	one.awaitUp(leaf.addr)
	two.awaitUp(leaf.addr)
	one.apply(tell(everything, 0), tell(host1, 1))
	leaf.awaitPath(host1, false)
	leaf.apply(tell(host2, 1))
	two.awaitPath(host2, false) // sent after host 1 would have been
	if leaked := slices.Concat(two.mentions(host1), two.mentions(everything)); len(leaked) > 0 {
		t.Errorf("the leaf is transit: %v", leaked)
	}
}

func TestAccept_ForeignPrefixes_CountedNotTold(t *testing.T) {
	gateway, leaf := newWorld(t).pair(nil)
	leaf.apply(tell(everything, 0), tell(netip.MustParsePrefix("192.0.2.1/32"), 0), tell(netip.MustParsePrefix("10.10.10.0/25"), 0), tell(host1, 0))
	told := gateway.take("host 1", func(e step.Event) bool {
		c, ok := e.(step.PathsChanged)
		return ok && c.Paths[len(c.Paths)-1].Prefix == host1
	})
	if n := len(told[len(told)-1].(step.PathsChanged).Paths); n != 1 {
		t.Errorf("%d paths told", n)
	}
	if c := gateway.Counters(); c.Refused != 3 {
		t.Errorf("%+v, want 3 refused", c)
	}
}

func TestMaxPrefixes_OneMore_IgnoredUntilThereIsRoom(t *testing.T) {
	gateway, leaf := newWorld(t).pair(func(g, _ *Options) { g.MaxPrefixes = 1 })
	leaf.apply(tell(host1, 1))
	gateway.awaitPath(host1, false)
	leaf.apply(tell(host2, 1))
	for from := time.Now(); gateway.Counters().OverLimit == 0; runtime.Gosched() {
		if time.Since(from) > patience {
			t.Fatal("host 2 was not counted")
		}
	}
	leaf.apply(tell(host1, 2)) // a known prefix can always change
	gateway.awaitPath(host1, false)
	if over := gateway.mentions(host2); len(over) > 0 {
		t.Errorf("told %v", over)
	}
	leaf.apply(untell(host1))
	gateway.awaitPath(host1, true)
	leaf.apply(tell(host2, 2))
	gateway.awaitPath(host2, false)
}

func TestRun_PortInUse_SaysWhichAndWhere(t *testing.T) {
	w := newWorld(t)
	o := w.options(1)
	taken, err := net.Listen("tcp4", netip.AddrPortFrom(w.addr(1), uint16(w.port)).String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	err = d.Run(t.Context(), func(step.Event) {})
	if err == nil || !strings.HasPrefix(err.Error(), "listen on "+taken.Addr().String()+": address already in use (BGP") {
		t.Errorf("error %v", err)
	}
}

func TestNew_BadOptions_SaysWhich(t *testing.T) {
	good := newWorld(t).options(2)
	for name, change := range map[string]func(*Options){
		"AS number":  func(o *Options) { o.AS = 0 },
		"router id":  func(o *Options) { o.RouterID = netip.Addr{} },
		"hold time":  func(o *Options) { o.HoldTime = time.Second },
		"neighbour":  func(o *Options) { o.Neighbors = []Neighbor{{Address: netip.IPv6Loopback()}} },
		"accept ::/": func(o *Options) { o.Accept = []netip.Prefix{netip.MustParsePrefix("::/64")} },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestPassword_BothEnds_SessionUp(t *testing.T) {
	newWorld(t).pair(func(g, l *Options) { g.Neighbors[0].Password, l.Neighbors[0].Password = "secret", "secret" })
}

func TestListenPort_None_SessionUp(t *testing.T) {
	newWorld(t).pair(func(_, l *Options) { l.ListenPort = -1 })
}

func TestConnect_BothActive_SessionUp(t *testing.T) {
	w := newWorld(t)
	w.pair(func(g, _ *Options) { g.Neighbors[0] = w.gateway(1, 2) })
}

func TestNeighborAS_NotTold_AnyIsTakenAndPathsKeepTheirASPath(t *testing.T) {
	gateway, leaf := newWorld(t).pair(func(_, l *Options) { l.Neighbors[0].AS = 0 })
	leaf.apply(step.Want{Object: step.Advertisement{Prefix: host1}})
	if got := gateway.awaitPath(host1, false); len(got.ASPath) != 1 || got.ASPath[0] != 65002 || got.NextHop != leaf.addr {
		t.Errorf("path %+v", got)
	}
}

// A route is withheld from one of two neighbours, and told to it again: only that one hears a change, and at once.
func TestApply_Withheld_OnlyThatNeighbourIsToldTheWithdrawal(t *testing.T) {
	w := newWorld(t)
	g := w.options(1)
	g.Neighbors, g.Withholds = []Neighbor{w.leaf(2), w.leaf(3)}, true
	gateway, one := w.start(g), w.start(w.options(2))
	gateway.awaitUp(one.addr)
	two := w.start(w.options(3))
	gateway.awaitUp(two.addr)
	withheld := func(from ...netip.Addr) step.Want {
		return step.Want{Object: step.Advertisement{Prefix: everything, Withheld: from}}
	}
	gateway.apply(withheld())
	one.awaitPath(everything, false)
	two.awaitPath(everything, false)
	one.apply(tell(host1, 1))
	two.awaitPath(host1, false)
	gateway.apply(withheld(one.addr))
	one.awaitPath(everything, true)
	gateway.apply(withheld())
	one.awaitPath(everything, false)
	gateway.apply(withheld(two.addr))
	two.awaitPath(everything, true)
	for _, p := range one.mentions(everything) {
		if p.Withdrawn {
			t.Error("what is withheld from one is withdrawn from the other")
		}
	}
	two.apply(tell(host2, 1))
	one.awaitPath(host2, false)
	if got := two.mentions(host1); len(got) != 0 {
		t.Errorf("told again what did not change: %v", got)
	}
}

// A neighbour that comes back, or comes later, is not told what is withheld from it.
func TestApply_Withheld_FromANeighbourThatComesLater(t *testing.T) {
	w := newWorld(t)
	g := w.options(1)
	g.Neighbors, g.Withholds = []Neighbor{w.leaf(2), w.leaf(3)}, true
	gateway := w.start(g)
	gateway.apply(step.Want{Object: step.Advertisement{Prefix: everything, Withheld: []netip.Addr{w.addr(2)}}})
	one, two := w.start(w.options(2)), w.start(w.options(3))
	two.awaitPath(everything, false)
	one.awaitUp(gateway.addr)
	two.apply(tell(host1, 1))
	one.awaitPath(host1, false)
	if got := one.mentions(everything); len(got) != 0 {
		t.Errorf("told %v", got)
	}
	gateway.apply(step.Want{Object: step.Advertisement{Prefix: everything}})
	one.awaitPath(everything, false)
}
