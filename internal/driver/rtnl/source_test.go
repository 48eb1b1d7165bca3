package rtnl

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

func TestRun_Start_TellsTheWholeState(t *testing.T) {
	k := newKernel(t)
	k.veth("s0", "s0-p")
	k.veth("s1", "s1-p")
	k.newLink("sbr", "bridge", 0, nil, nil)
	k.master("s1", "sbr")
	k.up("sbr")
	d := newDriver(t, Options{Ports: []model.Port{"sbr", "s0", "ghost"}, WatchTables: []uint32{20500}})
	apply(t, d,
		step.HardwareAddress{Port: "s0", MAC: macOne},
		step.Address{Port: "s0", Prefix: prefix("172.31.1.2/30")},
		step.Neighbor{Port: "s0", Addr: addr("10.10.10.2"), MAC: macTwo},
		step.Route{Prefix: prefix("10.10.10.2/32"), NextHop: step.NextHop{Dev: "s0"}},
		step.Route{Table: 20101, Prefix: prefix("10.10.10.3/32"), NextHop: step.NextHop{Dev: "s0", Via: addr("172.31.1.1")}},
		step.Rule{Priority: 2000, To: prefix("10.10.10.0/24"), Table: 20101, SuppressPrefixLen: -1})
	t.Cleanup(func() {
		applyAbsent(t, d, step.Rule{Priority: 2000, To: prefix("10.10.10.0/24"), Table: 20101, SuppressPrefixLen: -1})
	})
	foreign(k, "0.0.0.0/0", "s0", unix.RTPROT_STATIC, 5, false)
	foreign(k, "10.77.0.0/16", "s0", unix.RTPROT_STATIC, 0, false) // of no concern

	_, have := watch(t, d)
	want := step.Snapshot{
		Reason: "start",
		Ports: []step.PortState{
			{Port: "sbr", Present: true, AdminUp: true, Carrier: true, Kind: "bridge"},
			{Port: "s0", Present: true, AdminUp: true, Carrier: true, Kind: "veth", MAC: macOne},
			{Port: "ghost"},
			{Port: "s1", Present: true, AdminUp: true, Carrier: true, Kind: "veth", Master: "sbr"},
		},
		Addresses: []step.Address{{Port: "s0", Prefix: prefix("172.31.1.2/30")}},
		Routes: []step.RouteState{
			{Route: step.Route{Prefix: prefix("0.0.0.0/0"), Metric: 5, NextHop: step.NextHop{Dev: "s0"}}, Present: true, Protocol: unix.RTPROT_STATIC},
			{Route: step.Route{Prefix: prefix("10.10.10.2/32"), NextHop: step.NextHop{Dev: "s0"}}, Present: true, Ours: true, Protocol: mark},
			{Route: step.Route{Table: 20101, Prefix: prefix("10.10.10.3/32"), NextHop: step.NextHop{Dev: "s0", Via: addr("172.31.1.1")}},
				Present: true, Ours: true, Protocol: mark},
		},
		Neighbors: []step.NeighborState{{Neighbor: step.Neighbor{Port: "s0", Addr: addr("10.10.10.2"), MAC: macTwo},
			Present: true, Resolved: true, Ours: true}},
		Rules: []step.Rule{{Priority: 2000, To: prefix("10.10.10.0/24"), Table: 20101, SuppressPrefixLen: -1}},
	}
	ignore := cmp.FilterPath(func(p cmp.Path) bool { f := p.Last().String(); return f == ".Index" || f == ".MAC" }, cmp.Ignore())
	if diff := cmp.Diff(want, have, compareAddrs, ignore); diff != "" {
		t.Errorf("snapshot (-want +have):\n%s", diff)
	}
	if have.Ports[1].MAC != macOne || have.Ports[1].Index != k.index("s0") {
		t.Errorf("port is %+v", have.Ports[1])
	}
}

func TestRun_Start_TellsWhatSelectsTheWayOutOfABridge(t *testing.T) {
	k := newKernel(t)
	k.newLink("tbr", "bridge", 0, nil, nil)
	k.up("tbr")
	for _, p := range []model.Port{"t0", "t1", "t2"} {
		k.veth(p, p+"-p")
		k.master(p, "tbr")
	}
	options := Options{Ports: []model.Port{"tbr", "t0", "t1"}, Selects: step.FDB{Bridge: "tbr", MAC: macOne}}
	_, s := watch(t, newDriver(t, options))
	if len(s.Entries) != 0 || len(s.Members) != 2 || !s.Members[0].Flood || !s.Members[1].Flood {
		t.Errorf("before anybody chose: entries %v, members %v", s.Entries, s.Members)
	}
	d := newDriver(t, options)
	apply(t, d, step.FDB{Bridge: "tbr", MAC: macOne, Port: "t1"}, step.BridgePort{Port: "t0", Isolated: true}, step.BridgePort{Port: "t1", Flood: true, Isolated: true})
	_, s = watch(t, d)
	if want := []step.FDB{{Bridge: "tbr", MAC: macOne, Port: "t1"}}; !slices.Equal(s.Entries, want) {
		t.Errorf("entries %v, want %v", s.Entries, want)
	}
	if want := []step.BridgePort{{Port: "t0", Isolated: true}, {Port: "t1", Flood: true, Isolated: true}}; !slices.Equal(s.Members, want) {
		t.Errorf("members %v, want %v", s.Members, want)
	}
	options.Selects.Bridge = "t2" // no bridge
	if _, s = watch(t, newDriver(t, options)); len(s.Entries)+len(s.Members) != 0 {
		t.Errorf("entries %v, members %v of what is no bridge", s.Entries, s.Members)
	}
}

func TestRun_PortComesAndGoes(t *testing.T) {
	k := newKernel(t)
	d := newDriver(t, Options{Ports: []model.Port{"late"}})
	s, first := watch(t, d)
	if len(first.Ports) != 1 || first.Ports[0].Present {
		t.Fatalf("ports are %v", first.Ports)
	}
	k.veth("late", "late-p")
	await(s, "the port to come up", func(e step.PortChanged) bool { return e.Port == "late" && e.Up() })
	k.down("late-p")
	await(s, "carrier loss", func(e step.PortChanged) bool { return e.AdminUp && !e.Carrier })
	k.remove("late")
	if e := await(s, "the port to vanish", func(e step.PortChanged) bool { return !e.Present }); e.Up() || e.Port != "late" {
		t.Errorf("vanished port is %+v", e)
	}
}

func TestRun_BridgeMembers_AreToldUntilTheyLeave(t *testing.T) {
	k := newKernel(t)
	k.newLink("mbr", "bridge", 0, nil, nil)
	k.up("mbr")
	k.veth("m0", "m0-p")
	k.veth("m1", "m1-p")
	d := newDriver(t, Options{Ports: []model.Port{"mbr", "m1"}})
	s, first := watch(t, d)
	if len(first.Ports) != 2 {
		t.Fatalf("ports are %v", first.Ports)
	}
	k.master("m0", "mbr")
	await(s, "m0 to join", func(e step.PortChanged) bool { return e.Port == "m0" && e.Master == "mbr" })
	k.down("m0-p")
	await(s, "m0 to lose its carrier", func(e step.PortChanged) bool { return e.Port == "m0" && !e.Carrier })
	k.master("m0", "")
	await(s, "m0 to leave", func(e step.PortChanged) bool { return e.Port == "m0" && e.Present && e.Master == "" })
	k.up("m0-p")
	for _, ev := range s.fence(k, "m1") {
		if e, ok := ev.(step.PortChanged); ok && e.Port == "m0" {
			t.Errorf("still told of: %s", e)
		}
	}
}

func TestRun_OwnChanges_AreNotTold(t *testing.T) {
	k := newKernel(t)
	k.veth("o0", "o0-p")
	d := newDriver(t, Options{Ports: []model.Port{"o0"}})
	s, _ := watch(t, d)
	host := step.Neighbor{Port: "o0", Addr: addr("10.10.10.2"), MAC: macTwo}
	way := step.Route{Prefix: prefix("10.10.10.2/32"), NextHop: step.NextHop{Dev: "o0"}}
	def := step.Route{Prefix: prefix("0.0.0.0/0"), Metric: 20, NextHop: step.NextHop{Dev: "o0"}}
	apply(t, d, host, way, def)
	if evs := s.fence(k, "o0"); len(evs) != 0 {
		t.Errorf("told of own additions: %v", evs)
	}
	// Another hand changes them.
	foreign(k, "10.10.10.2/32", "o0", mark, 0, true)
	await(s, "our route to be deleted", func(e step.RouteChanged) bool { return e.Ours && !e.Present && e.Prefix == way.Prefix })
	foreign(k, "0.0.0.0/0", "o0", unix.RTPROT_STATIC, 20, false)
	await(s, "our default to be gone", func(e step.RouteChanged) bool { return e.Ours && !e.Present && e.Prefix == def.Prefix })
	await(s, "the other's default", func(e step.RouteChanged) bool { return !e.Ours && e.Present && e.Metric == 20 })
	n := neighborHeader(unix.AF_INET, k.index("o0"), 0, 0)
	n.addr(unix.NDA_DST, host.Addr)
	k.do(choose(true, 0, unix.RTM_DELNEIGH, n))
	await(s, "our neighbour to be deleted", func(e step.NeighborChanged) bool { return !e.Present && e.Addr == host.Addr })
	apply(t, d, host, way)
	applyAbsent(t, d, host, way)
	if evs := s.fence(k, "o0"); len(evs) != 0 {
		t.Errorf("told of own changes: %v", evs)
	}
}

func TestRun_DefaultRoute_FollowsItsPort(t *testing.T) {
	k := newKernel(t)
	k.veth("d0", "d0-p")
	d := newDriver(t, Options{Ports: []model.Port{"d0"}, WatchPrefixes: []netip.Prefix{prefix("10.20.0.0/16")}})
	s, _ := watch(t, d)
	is := func(present, linkDown bool) func(step.RouteChanged) bool {
		return func(e step.RouteChanged) bool {
			return e.Prefix.Bits() == 0 && e.Present == present && e.LinkDown == linkDown && e.Protocol == unix.RTPROT_BGP
		}
	}
	foreign(k, "10.21.0.0/16", "d0", unix.RTPROT_BGP, 0, false)
	foreign(k, "0.0.0.0/0", "d0", unix.RTPROT_BGP, 0, false)
	await(s, "the default route", is(true, false))
	for _, ev := range s.seen {
		if e, ok := ev.(step.RouteChanged); ok && e.Prefix.Bits() != 0 {
			t.Errorf("told of what is not watched: %s", e)
		}
	}
	foreign(k, "10.20.1.0/24", "d0", unix.RTPROT_BGP, 0, false)
	await(s, "a route inside a watched prefix", func(e step.RouteChanged) bool { return e.Prefix == prefix("10.20.1.0/24") })
	k.down("d0-p")
	await(s, "the default route without carrier", is(true, true))
	k.up("d0-p")
	await(s, "the default route with carrier", is(true, false))
	k.down("d0")
	await(s, "the default route to be flushed", is(false, false))
	if _, ok := k.route(254, "0.0.0.0/0"); ok {
		t.Error("the kernel still has it")
	}
}

// The kernel tells of the nexthop object, and not of the routes by it.
func TestRun_NexthopObjectDeleted_TakesItsRoutesAlong(t *testing.T) {
	k := newKernel(t)
	k.veth("h0", "h0-p")
	d := newDriver(t, Options{Ports: []model.Port{"h0"}})
	s, _ := watch(t, d)
	const oif = 5 // NHA_OIF
	object, which := payload{unix.AF_INET, 0, unix.RTPROT_ZEBRA, 0, 0, 0, 0, 0}, make(payload, nexthopSize)
	object.u32(nexthopID, 77)
	which.u32(nexthopID, 77)
	gone := change(unix.RTM_DELNEXTHOP, which)
	object.u32(oif, uint32(k.index("h0")))
	k.do(choose(false, unix.RTM_NEWNEXTHOP, 0, object))
	def := payload{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_OSPF, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	def.u32(rtaNexthopID, 77)
	k.do(choose(false, unix.RTM_NEWROUTE, 0, def))
	await(s, "the default route by a nexthop object", func(e step.RouteChanged) bool { return e.Present && e.NextHop.Dev == "h0" })
	k.do(gone)
	await(s, "the default route to be gone with it", func(e step.RouteChanged) bool { return !e.Present && e.Prefix.Bits() == 0 })
	if _, ok := k.route(254, "0.0.0.0/0"); ok {
		t.Error("the kernel still has it")
	}
}

func TestRun_LastAddressDeleted_TakesTheRoutesAlong(t *testing.T) {
	k := newKernel(t)
	k.veth("l0", "l0-p")
	d := newDriver(t, Options{Ports: []model.Port{"l0"}})
	one, two := step.Address{Port: "l0", Prefix: prefix("172.31.1.2/30")}, step.Address{Port: "l0", Prefix: prefix("172.31.9.2/30")}
	apply(t, d, one, two)
	foreign(k, "0.0.0.0/0", "l0", unix.RTPROT_STATIC, 0, false)
	s, _ := watch(t, d)
	applyAbsent(t, d, one)
	for _, ev := range s.fence(k, "l0") {
		if e, ok := ev.(step.RouteChanged); ok {
			t.Errorf("told of %s", e)
		}
	}
	applyAbsent(t, d, two)
	await(s, "the default route to be flushed", func(e step.RouteChanged) bool { return e.Prefix.Bits() == 0 && !e.Present })
	if _, ok := k.route(254, "0.0.0.0/0"); ok {
		t.Error("the kernel still has it")
	}
}

func TestRun_RepeatedLinkMessage_IsNotTold(t *testing.T) {
	k := newKernel(t)
	k.veth("q0", "q0-p")
	d := newDriver(t, Options{Ports: []model.Port{"q0"}})
	s, _ := watch(t, d)
	alias := linkHeader(unix.AF_UNSPEC, k.index("q0"), 0, 0) // an RTM_NEWLINK that changes nothing of what is told
	alias.text(unix.IFLA_IFALIAS, "to somewhere")
	k.do(change(unix.RTM_SETLINK, alias))
	if evs := s.fence(k, "q0"); len(evs) != 0 {
		t.Errorf("told of %v", evs)
	}
}

// TestRun_LateCarrier_IsForcedByThePoll uses a veth whose ends have the same interface index: the kernel does not call its
// carrier loss urgent and delivers one such event a second.
func TestRun_LateCarrier_IsForcedByThePoll(t *testing.T) {
	const index, losses = 4000, 4
	measure := func(poll time.Duration) (slowest time.Duration) {
		k := newKernel(t)
		far, fd := k.namespace()
		k.vethAt("late0", index, "late1", index, fd)
		k.up("late0")
		far.up("late1")
		d := newDriver(t, Options{Ports: []model.Port{"late0"}, PollPorts: []model.Port{"late0"}, CarrierPoll: poll})
		s, _ := watch(t, d)
		for range losses {
			for !k.link("late0").carrier {
				time.Sleep(time.Millisecond)
			}
			start := time.Now()
			far.down("late1")
			await(s, "carrier loss", func(e step.PortChanged) bool { return e.AdminUp && !e.Carrier })
			slowest = max(slowest, time.Since(start))
			far.up("late1")
			await(s, "carrier", func(e step.PortChanged) bool { return e.Up() })
		}
		k.remove("late0")
		return slowest
	}
	without, with := measure(-1), measure(5*time.Millisecond)
	t.Logf("slowest of %d carrier losses: %v without the poll, %v with it", losses, without, with)
	if without < 200*time.Millisecond {
		t.Skip("this kernel does not hold carrier events back")
	}
	if with > 100*time.Millisecond {
		t.Errorf("carrier loss took %v with the poll", with)
	}
}

func TestRun_Overflow_ReadsEverythingAnew(t *testing.T) {
	k := newKernel(t)
	k.veth("v0", "v0-p")
	d, err := open(Options{Ports: []model.Port{"v0"}, Logger: quiet()}, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	post := make(chan step.Event)
	s := &story{TB: t, events: make(chan step.Event, 1<<20)}
	ended := make(chan error)
	ctx := t.Context()
	go func() { ended <- d.Run(ctx, func(ev step.Event) { <-post; s.events <- ev }) }() // stuck at its first post
	for i := range 2000 {
		a := netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)})
		req, err := encodeNeighbor(step.Neighbor{Port: "v0", Addr: a, MAC: macTwo}, false, d.links.index)
		if err != nil {
			t.Fatal(err)
		}
		k.do(req)
	}
	close(post)
	await(s, "first snapshot", func(e step.Snapshot) bool { return e.Reason == "start" })
	snap := await(s, "snapshot after the overflow", func(e step.Snapshot) bool { return e.Reason == reasonOverflow })
	if len(snap.Neighbors) != 2000 {
		t.Errorf("%d neighbours, want 2000", len(snap.Neighbors))
	}
	s.fence(k, "v0") // it goes on as before
}

// A port that is closed takes its neighbours along. Of each of thousands the kernel tells, faster than it can be read, and nobody needs to
// hear it.
func TestRun_ClosingAPortWithManyNeighbors_DoesNotOverflow(t *testing.T) {
	k := newKernel(t)
	k.veth("h0", "h0-p")
	k.veth("h1", "h1-p")
	d, err := open(Options{Ports: []model.Port{"h0", "h1"}, StatePath: statePath(t), Logger: quiet()}, 64<<10)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	s, _ := watch(t, d)
	var objects []step.Object
	for i := range 20 * manyNeighbors {
		objects = append(objects, step.Neighbor{Port: "h0", Addr: netip.AddrFrom4([4]byte{10, 11, byte(i >> 8), byte(i)}), MAC: macTwo})
	}
	one := step.Neighbor{Port: "h1", Addr: addr("10.12.0.1"), MAC: macTwo}
	apply(t, d, append(objects, one)...)
	s.fence(k, "h1")
	must(t, gate(t, d, "h0", true))
	told := s.fence(k, "h1")
	if len(told) != 1 {
		t.Fatalf("told %d times, want of the port alone: %.200v", len(told), told)
	}
	if e, ok := told[0].(step.PortChanged); !ok || e.Port != "h0" {
		t.Errorf("told %v", told[0])
	}
	gone := func(n step.Neighbor) {
		t.Helper()
		p := neighborHeader(unix.AF_INET, k.index(n.Port), 0, 0)
		p.addr(unix.NDA_DST, n.Addr)
		k.do(choose(true, 0, unix.RTM_DELNEIGH, p))
		await(s, "our neighbour to be deleted by another hand", func(e step.NeighborChanged) bool {
			return !e.Present && e.Port == n.Port && e.Addr == n.Addr
		})
	}
	gone(one)
	must(t, gate(t, d, "h0", false))
	apply(t, d, objects[0])
	gone(objects[0].(step.Neighbor))
}

func TestRun_BulkOfOurOwn_DoesNotOverflow(t *testing.T) {
	k := newKernel(t)
	k.veth("u0", "u0-p")
	d := newDriver(t, Options{Ports: []model.Port{"u0"}})
	s, _ := watch(t, d)
	wants := hostRoutes(20_000, "u0")
	for _, err := range d.Apply(wants) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if evs := s.fence(k, "u0"); len(evs) != 0 {
		t.Errorf("told of %d events, first %v", len(evs), evs[0])
	}
}
