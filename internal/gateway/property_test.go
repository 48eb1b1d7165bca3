package gateway

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"peerless/internal/claim"
	"peerless/internal/gateway/mapping"
	"peerless/internal/model"
	"peerless/internal/step"
)

// ideal is what a gateway ought to know, kept in the simplest way.
type ideal struct {
	port, session [2]bool
	claims        [2]map[netip.Addr]claim.Stamp // of the present session, by leaf
	state         [2][5]claim.State             // by leaf and attachment
	seen          [2][5]uint64                  // when the attachment went down
	news          [2]map[netip.Addr]uint64
	clock         uint64
}

var peers = [2]netip.Addr{addrA, addrB}

func newIdeal() *ideal {
	i := &ideal{port: [2]bool{true, true}}
	for l := range peers {
		i.forget(l)
	}
	return i
}

func (i *ideal) forget(l int) {
	i.claims[l], i.news[l] = map[netip.Addr]claim.Stamp{}, map[netip.Addr]uint64{}
	i.state[l], i.seen[l] = [5]claim.State{}, [5]uint64{}
}

// best is the leaf with the newest stamp among those that can be used; -1 if there is none.
func (i *ideal) best(host byte, k *kernel) int {
	best, stamp := -1, claim.Stamp(0)
	for l := range peers {
		s, claimed := i.claims[l][c(host)]
		st := i.state[l][host]
		down := (st == claim.Down || st == claim.Closed) && i.news[l][c(host)] < i.seen[l][host]
		if !claimed || down || k.machine.leaves[l].phase != serving {
			continue
		}
		if best < 0 || s > stamp {
			best, stamp = l, s
		}
	}
	return best
}

func TestGateway_AnyStory_EndsWithEveryHostInTheTableOfItsNewestUsableClaim(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := fig7()
		cfg.Burst = rapid.IntRange(0, 2).Draw(t, "burst")
		cfg.BypassFrom = rapid.IntRange(0, 2).Draw(t, "bypassFrom")
		k := newKernel(New(cfg))
		k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
		world := newIdeal()
		stamp := claim.Stamp(0)
		k.watch = func() { checkAlways(t, k) }
		act := func(name string, ev step.Event) {
			t.Logf("%s: %s", name, ev)
			k.step(ev)
		}
		for range rapid.IntRange(5, 60).Draw(t, "length") {
			l := rapid.IntRange(0, 1).Draw(t, "leaf")
			i := byte(rapid.IntRange(1, 4).Draw(t, "host"))
			k.hold = rapid.IntRange(0, 5).Draw(t, "hold") == 0
			world.act(rapid.IntRange(0, 9).Draw(t, "action"), l, i, &stamp, k, act)
			k.hold = false
			k.apply()
			k.wait(time.Duration(rapid.SampledFrom([]int{0, 1, 60, 4000}).Draw(t, "pause")) * time.Millisecond)
		}
		k.wait(5 * time.Second)
		checkQuiet(t, k, world)
	})
}

func (i *ideal) act(what, l int, host byte, stamp *claim.Stamp, k *kernel, act func(string, step.Event)) {
	peer, port := peers[l], []model.Port{"to-A", "to-B"}[l]
	i.clock++
	switch {
	case what == 0 && i.port[l]:
		i.port[l], i.session[l] = false, false
		i.forget(l)
		act("port", step.PortChanged{PortState: noCarrier(port)})
		act("reset", gone(peer, step.ReasonOurs))
	case what <= 1 && !i.port[l]:
		i.port[l] = true
		act("port", step.PortChanged{PortState: up(port)})
	case what <= 3 && i.port[l] && !i.session[l]:
		i.session[l] = true
		i.forget(l)
		act("session", session(peer))
		for id := range i.state[l] {
			if id > 0 {
				i.state[l][id] = claim.Up
			}
		}
		act("attachments", paths(peer, allUp(peer)...))
		act("all", step.EndOfRIB{Peer: peer})
	case !i.session[l]: // nothing can be said
	case what <= 5:
		*stamp++
		i.claims[l][c(host)], i.news[l][c(host)] = *stamp, i.clock
		act("claim", paths(peer, host7(peer, host, *stamp)))
	case what == 6:
		delete(i.claims[l], c(host))
		act("withdraw", paths(peer, noHost(c(host))))
	case what == 7 && i.state[l][host] == claim.Up:
		i.state[l][host], i.seen[l][host] = claim.Down, i.clock
		act("attachment", paths(peer, attachment(peer, model.AttachmentID(host), claim.Down, claim.ReasonCarrierLost)))
	case what == 8:
		i.state[l][host] = claim.Up
		act("attachment", paths(peer, attachment(peer, model.AttachmentID(host), claim.Up, claim.ReasonReady)))
	case what == 9:
		ports := []step.PortState{up("to-A"), up("to-B")}
		for j := range ports {
			ports[j].Carrier = i.port[j]
		}
		act("snapshot", k.snapshot("no buffer space", ports...))
	}
}

func host7(peer netip.Addr, i byte, stamp claim.Stamp) step.Path { return host(peer, i, int(stamp)) }

// checkAlways is what holds after every single change of the kernel.
func checkAlways(t *rapid.T, k *kernel) {
	for _, r := range k.routes {
		if !subnet.Contains(r.Prefix.Addr()) {
			t.Fatalf("%s is outside the subnets", r)
		}
	}
}

func checkQuiet(t *rapid.T, k *kernel, world *ideal) {
	if len(k.pending) > 0 {
		t.Fatalf("not quiet: %v", k.pending)
	}
	for i := byte(1); i <= 4; i++ {
		in := k.primaries(c(i))
		if len(in) > 1 {
			t.Fatalf("%s is in tables %v", c(i), in)
		}
		if best := world.best(i, k); best >= 0 && !slices.Equal(in, []uint32{uint32(best + 1)}) {
			t.Fatalf("%s is in tables %v, best is leaf %d", c(i), in, best)
		}
		for slot := range in {
			if l := k.machine.leaves[in[slot]-1]; !l.port.Up() {
				t.Fatalf("%s is in the table of leaf %s, whose port is down", c(i), l.Name)
			}
		}
	}
	for _, l := range k.machine.leaves {
		_, in := k.rules[k.machine.leafRules(l)[0].Key()]
		if in != (l.phase == serving) {
			t.Fatalf("leaf %s is %s, its rule in place: %v", l.Name, l.phase, in)
		}
		if world.port[l.id] && world.session[l.id] && l.phase != serving {
			t.Fatalf("leaf %s is %s though its port and session are up", l.Name, l.phase)
		}
		n := 0
		for _, r := range k.routes {
			if r.Table == testBase+l.slot {
				n++
			}
		}
		if n != l.primaries {
			t.Fatalf("leaf %s: %d routes in its table, %d counted", l.Name, n, l.primaries)
		}
	}
	checkBooks(t, k)
}

// checkBooks: the machine's idea of the kernel is the kernel.
func checkBooks(t *rapid.T, k *kernel) {
	want := map[step.Key]step.Route{}
	for _, r := range k.machine.standingRoutes() {
		want[r.Key()] = r
	}
	for _, h := range k.machine.table.Hosts() {
		if h.Primary >= 0 {
			r := k.machine.primaryRoute(h, k.machine.leaves[h.Primary])
			want[r.Key()] = r
		}
		if h.Backup >= 0 {
			r := k.machine.backupRoute(h, k.machine.leaves[h.Backup])
			want[r.Key()] = r
			if h.Backup == h.Primary {
				t.Fatalf("%s is backed up by its own leaf", h.Addr)
			}
		}
	}
	under := map[model.AttachmentID]int{}
	for _, l := range k.machine.leaves {
		for _, link := range k.machine.table.Links(l.id) {
			n := 0
			for range link.Claims() {
				n++
			}
			if n != link.Standing() {
				t.Fatalf("%d claims stand under server port %d of leaf %s, and %d are counted", n, link.ID, l.Name, link.Standing())
			}
			under[link.ID] = len(k.machine.table.AppendUnder(nil, link.ID))
		}
	}
	for id, n := range under {
		if have := k.machine.table.Under(id); have != n {
			t.Fatalf("%d hosts are under server port %d, and %d are counted", n, id, have)
		}
	}
	for id, b := range k.machine.bypasses {
		if b.open {
			t.Fatalf("the bypass of server port %d is open, and all is settled", id)
		}
		leads := map[mapping.LeafID]int{}
		for a, h := range b.hosts {
			if h.BypassOf != id || h.Addr != a || k.machine.fits(h) != (by{id, h.BypassBy}) {
				t.Fatalf("%s is on the bypass of server port %d by leaf %d, and belongs on that of %v", a, id, h.BypassBy, k.machine.fits(h))
			}
			r := k.machine.bypassRoute(h, id, h.BypassBy)
			want[r.Key()] = r
			leads[h.BypassBy]++
		}
		for l, n := range b.leads {
			if n != leads[l] {
				t.Fatalf("the bypass of server port %d counts %d routes by leaf %d, and has %d", id, n, l, leads[l])
			}
		}
	}
	if len(want) != len(k.routes) {
		t.Fatalf("kernel has %d routes, the machine thinks %d", len(k.routes), len(want))
	}
	for key, r := range want {
		if k.routes[key].NextHop != r.NextHop {
			t.Fatalf("kernel has %s, want %s", k.routes[key], r)
		}
	}
}

// Make before break: while a leaf that has the host serves, no single change of the kernel leaves the host without a way.
func TestGateway_MovesBetweenLeavesThatServe_NeverLeaveAHostWithoutARoute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := begun(fig7())
		if rapid.Bool().Draw(t, "leaves tell nothing of ports") {
			k = newKernel(New(fig7()))
			k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")), session(addrA), session(addrB))
			k.step(paths(addrA, plain(addrA, c(1)), plain(addrA, c(2))), paths(addrB, plain(addrB, c(3)), plain(addrB, c(4))))
		}
		plainly := len(k.machine.View(k.now).Mapping) == 0
		k.watch = func() {
			for i := byte(1); i <= 4; i++ {
				if k.lookup(c(i), "") == "" {
					t.Fatalf("%s goes nowhere", c(i))
				}
			}
		}
		holder := [5]int{0, 0, 0, 1, 1}
		for n := range rapid.IntRange(1, 20).Draw(t, "moves") {
			i := byte(rapid.IntRange(1, 4).Draw(t, "host"))
			from, to := holder[i], 1-holder[i]
			failing := !plainly && rapid.Bool().Draw(t, "link fails")
			if failing {
				k.step(paths(peers[from], attachment(peers[from], model.AttachmentID(i), claim.Down, claim.ReasonCarrierLost)),
					paths(peers[from], noHost(c(i))))
			}
			if plainly {
				k.step(paths(peers[to], plain(peers[to], c(i))))
			} else {
				k.step(paths(peers[to], host(peers[to], i, 10*(n+1))))
			}
			if !failing {
				k.step(paths(peers[from], noHost(c(i))))
			} else {
				k.step(paths(peers[from], attachment(peers[from], model.AttachmentID(i), claim.Up, claim.ReasonReady)))
			}
			k.wait(time.Duration(rapid.IntRange(0, 4000).Draw(t, "pause")) * time.Millisecond)
			holder[i] = to
		}
	})
}
