package gateway

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

func (k *kernel) noted(what string) []step.Note {
	var out []step.Note
	for _, n := range k.notes {
		if n.What == what {
			out = append(out, n)
		}
	}
	return out
}

func TestPaths_OutsideSubnetsOrAboveTheLimit_AreDroppedCountedAndSaidOnce(t *testing.T) {
	cfg := fig7()
	cfg.MaxHosts = 2
	k := begun(cfg)
	k.step(paths(addrA, host(addrA, 10, 0), host(addrA, 11, 0), plain(addrA, netip.MustParseAddr("192.0.2.1"))))
	k.step(paths(addrA, plain(addrA, netip.MustParseAddr("192.0.2.2")), step.Path{Prefix: netip.MustParsePrefix("10.10.10.0/25"), NextHop: addrA}))
	if n := len(k.noted(whatHostLimit)); n != 1 {
		t.Errorf("%d notes of the limit, want 1", n)
	}
	if n := len(k.noted(whatForeign)); n != 1 {
		t.Errorf("%d notes of foreign prefixes, want 1", n)
	}
	if got := k.machine.View(k.now).Sessions[0]; !strings.Contains(got.Why, "5 paths refused") || got.Received != 2 {
		t.Errorf("session row %+v, want 5 refused and 2 received", got)
	}
	k.step(paths(addrA, noHost(c(1))), paths(addrA, host(addrA, 10, 1)))
	k.wantLookup(t, c(10), "to-A")
	k.wantLookup(t, c(11), "")
}

func TestPaths_AttachmentRouteWithoutAnAttachment_IsRefused(t *testing.T) {
	k := begun(fig7())
	bad := attachment(addrA, 2, claim.Up, claim.ReasonReady)
	bad.Prefix = netip.MustParsePrefix("10.255.0.3/32")
	k.step(paths(addrA, bad, step.Path{Prefix: netip.MustParsePrefix("10.255.0.9/32")}))
	if n := len(k.noted(whatForeign)); n != 1 {
		t.Errorf("%d notes, want 1", n)
	}
}

func TestPaths_WithdrawnAndClaimedInOneUpdate_LeavesTheRouteAlone(t *testing.T) {
	k := begun(fig7())
	changes := 0
	k.watch = func() { changes++ }
	k.step(paths(addrA, noHost(c(1)), host(addrA, 1, 5)))
	if changes != 0 {
		t.Errorf("%d changes of the kernel, want none", changes)
	}
}

func TestPaths_OfASessionThatWeTornDown_DoNotCount(t *testing.T) {
	k := begun(fig7())
	k.step(step.PortChanged{PortState: noCarrier("to-A")}, step.PortChanged{PortState: up("to-A")})
	k.wait(time.Second)
	k.step(paths(addrA, host(addrA, 1, 7))) // was on its way
	k.wait(time.Second)
	if in := k.primaries(c(1)); in != nil {
		t.Errorf("%s is in tables %v, want none", c(1), in)
	}
	k.step(gone(addrA, step.ReasonOurs), session(addrA), paths(addrA, allUp(addrA)...), paths(addrA, host(addrA, 1, 7)))
	k.wantLookup(t, c(1), "to-A")
}

func TestPaths_BeforeTheWordThatTheSessionIsUp_Count(t *testing.T) {
	k := newKernel(New(fig7()))
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
	k.step(paths(addrA, host(addrA, 1, 0)), session(addrA), step.EndOfRIB{Peer: addrA})
	k.wantLookup(t, c(1), "to-A")
}

func TestFault_NamesLeafPortServerPortHostsAndReason(t *testing.T) {
	k := begun(fig7())
	k.step(paths(addrA, hostUnder(addrA, c(20), 2, 1)))
	k.step(paths(addrA, attachment(addrA, 2, claim.Closed, claim.ReasonLinkage)))
	f := k.noted(whatFault)
	if len(f) != 1 {
		t.Fatalf("%d faults, want 1", len(f))
	}
	n := f[0]
	if n.Port != "A2" || n.ServerPort != "C2" || n.Peer != "A" || n.Attachment != 2 || n.Hosts != 2 || !n.Warn || n.Cause == 0 {
		t.Errorf("fault %+v", n)
	}
	for _, want := range []string{"A2", "C2", "10.10.10.2", "10.10.10.20", "leaf B"} {
		if !strings.Contains(n.Text, want) {
			t.Errorf("fault %q does not name %s", n.Text, want)
		}
	}
	if !strings.Contains(n.Why, "linkage") {
		t.Errorf("fault because %q, want the leaf's reason", n.Why)
	}
	k.step(paths(addrB, host(addrB, 2, 10)))
	if l := k.noted(whatLearned); l[len(l)-1].Cause != n.Cause {
		t.Errorf("the confirmation belongs to transition %d, want the fault's %d", l[len(l)-1].Cause, n.Cause)
	}
}

func TestFault_OfAStandbyPort_MovesNobody(t *testing.T) {
	k := begun(fig7())
	k.step(paths(addrA, attachment(addrA, 3, claim.Down, claim.ReasonCarrierLost)))
	k.wantLookup(t, c(3), "to-B")
	if f := k.noted(whatFault); len(f) != 1 || f[0].Hosts != 0 {
		t.Errorf("faults %v, want one with no host", f)
	}
	if h := k.machine.table.Host(c(3)); h.Backup >= 0 {
		t.Errorf("backup of %s is still leaf %s", c(3), k.machine.leafName(h.Backup))
	}
}

func TestLeafLost_CriticalPathDoesNotGrowWithHosts(t *testing.T) {
	k := loaded(t, 1500)
	effects := k.machine.Step(k.now, step.PortChanged{PortState: noCarrier("to-A")})
	if len(effects) > 6 {
		t.Errorf("%d effects, want a handful: %v", len(effects), effects[:6])
	}
	w, ok := effects[0].(step.Want)
	if !ok || !w.Absent || !w.Urgent || w.Object.Key().Kind != step.KindRule {
		t.Errorf("first effect %v, want the rule's deletion", effects[0])
	}
	k.take(effects)
	k.step(step.PortChanged{PortState: up("to-A")}, session(addrA), paths(addrA, allUp(addrA)...))
	if l := k.machine.leaves[0]; l.phase != waiting {
		t.Errorf("leaf A is %s before its table is clean, want waiting", l.phase)
	}
	k.wait(liveness.Respite(1500))
	if l := k.machine.leaves[0]; l.phase != waiting || l.primaries == 0 {
		t.Errorf("leaf A is %s with %d primaries after the first chunk, want waiting", l.phase, l.primaries)
	}
	k.wait(time.Second)
	if l := k.machine.leaves[0]; l.phase != serving || l.primaries != 0 {
		t.Errorf("leaf A is %s with %d primaries, want serving and a clean table", l.phase, l.primaries)
	}
}

func TestLeafBack_WhileDeletionsAreNotConfirmed_IsNotLetIn(t *testing.T) {
	k := begun(fig7())
	k.step(step.PortChanged{PortState: noCarrier("to-A")}, step.PortChanged{PortState: up("to-A")})
	k.hold = true
	k.step(session(addrA), paths(addrA, allUp(addrA)...))
	k.wait(time.Second)
	if l := k.machine.leaves[0]; l.phase != waiting || l.why != "the port is back; its table is being cleaned up" {
		t.Errorf("leaf A is %s: %s", l.phase, l.why)
	}
	k.hold = false
	k.apply()
	if l := k.machine.leaves[0]; l.phase != serving {
		t.Errorf("leaf A is %s, want serving", l.phase)
	}
}

// loaded is a gateway with n hosts behind leaf A, on four server ports, without its kernel's own books.
func loaded(tb testing.TB, n int) *kernel { return crowded(tb, fig7(), n, 4) }

func crowded(tb testing.TB, cfg Config, n, ports int) *kernel {
	tb.Helper()
	cfg.MaxHosts, cfg.Burst, cfg.Subnets = n, n, []netip.Prefix{netip.MustParsePrefix("10.64.0.0/10")}
	k := newKernel(New(cfg))
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
	k.step(session(addrA), session(addrB), paths(addrA, allUp(addrA)...), paths(addrB, allUp(addrB)...))
	var ps []step.Path
	for i := range n {
		addr := netip.AddrFrom4([4]byte{10, 64 + byte(i>>16), byte(i >> 8), byte(i)})
		if ps = append(ps, hostUnder(addrA, addr, model.AttachmentID(1+i%ports), 0)); len(ps) == 500 || i == n-1 {
			for _, ef := range k.machine.Step(k.now, paths(addrA, ps...)) {
				if w, ok := ef.(step.Want); ok && n <= 10_000 {
					k.routes[w.Key()] = w.Object.(step.Route)
				}
			}
			ps = ps[:0]
		}
	}
	return k
}

func TestMemory_OfAHostIsBelowAKibibyte(t *testing.T) {
	const n = 100_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	k := loaded(t, n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n; each > 1024 {
		t.Errorf("%d bytes a host", each)
	} else {
		t.Logf("%d bytes a host", each)
	}
	if k.machine.table.Len() != n {
		t.Errorf("%d hosts, want %d", k.machine.table.Len(), n)
	}
}

func BenchmarkStep_OneHostMoves(b *testing.B) {
	k := loaded(b, 100_000)
	addr := netip.AddrFrom4([4]byte{10, 64, 1, 1})
	for i := 0; b.Loop(); i++ {
		peer := peers[1-i%2]
		k.machine.Step(k.now, paths(peer, hostUnder(peer, addr, 2, i+1)))
	}
}

func BenchmarkStep_LeafLost(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			k := loaded(b, n)
			for b.Loop() {
				k.machine.Step(k.now, step.PortChanged{PortState: noCarrier("to-A")})
				k.machine.leaves[0].phase, k.machine.leaves[0].session = serving, true
			}
		})
	}
}

func TestAdoption_RulesThatAnEarlierLifeHadWithdrawn_CleanTheTableFirst(t *testing.T) {
	old := begun(fig7())
	m := New(fig7())
	k := newKernel(m)
	k.routes, k.rules = old.routes, old.rules
	delete(k.rules, m.leafRules(m.leaves[0])[0].Key())
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
	if l := m.leaves[0]; l.phase != waiting {
		t.Errorf("leaf A is %s, want waiting", l.phase)
	}
	k.wantLookup(t, c(1), "to-B")
	k.wait(time.Second)
	if l := m.leaves[0]; l.phase != serving || l.primaries != 0 {
		t.Errorf("leaf A is %s with %d primaries", l.phase, l.primaries)
	}
	k.step(normal()...)
	k.wantLookup(t, c(1), "to-A")
}

func TestAdoption_NobodyComesBack_RoutesGoAfterGracefulRestart(t *testing.T) {
	old := begun(fig7())
	k := newKernel(New(fig7()))
	k.routes, k.rules = old.routes, old.rules
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
	k.wait(29 * time.Second)
	k.wantLookup(t, c(1), "to-A")
	k.wait(2 * time.Second)
	k.wantLookup(t, c(1), "")
	if len(k.routes) != 1 {
		t.Errorf("routes %v, want the blackhole only", k.routes)
	}
}

func TestAdoption_LeavesAreNumberedOtherwise_HostsKeepTheirLeaf(t *testing.T) {
	old := begun(fig7())
	cfg := fig7()
	cfg.Leaves[0], cfg.Leaves[1] = cfg.Leaves[1], cfg.Leaves[0]
	k := newKernel(New(cfg))
	k.routes, k.rules = old.routes, old.rules
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
	for i, want := range []model.Port{"to-A", "to-A", "to-B", "to-B"} {
		k.wantLookup(t, c(byte(i+1)), want)
		if in := k.primaries(c(byte(i + 1))); len(in) != 1 {
			t.Errorf("%s is in tables %v", c(byte(i+1)), in)
		}
	}
}

func TestAdoption_LeafOfARange_KeepsItsTable(t *testing.T) {
	x := netip.MustParseAddr("172.31.16.2")
	cfg := fig7()
	k := newKernel(New(cfg))
	r := step.Route{Table: testBase + 7, Prefix: step.HostPrefix(c(9)), NextHop: step.NextHop{Dev: "sw0", Via: x}}
	rule := step.Rule{Priority: 2007, To: subnet, Table: testBase + 7, SuppressPrefixLen: -1}
	k.routes[r.Key()], k.rules[rule.Key()] = r, rule
	ev := k.snapshot("start", up("to-A"), up("to-B"), up("sw0"))
	ev.Addresses = []step.Address{{Port: "sw0", Prefix: netip.MustParsePrefix("172.31.16.1/24")}}
	k.step(step.Started{}, ev)
	k.wantLookup(t, c(9), "sw0")
	k.step(step.SessionChanged{Peer: x, AS: 65100, Up: true}, paths(x, plain(x, c(9))), step.EndOfRIB{Peer: x})
	k.wantLookup(t, c(9), "sw0")
	k.wait(31 * time.Second)
	k.wantLookup(t, c(9), "sw0")
}

func TestSnapshot_AfterLostMessages_RepairsRulesAndRoutes(t *testing.T) {
	k := begun(fig7())
	m := k.machine
	stray := step.Route{Table: testBase + 2, Prefix: step.HostPrefix(c(1)), NextHop: step.NextHop{Dev: "to-B", Via: addrB}}
	wrong := m.primaryRoute(m.table.Host(c(2)), m.leaves[0])
	delete(k.routes, m.primaryRoute(m.table.Host(c(1)), m.leaves[0]).Key())
	delete(k.routes, m.backupRoute(m.table.Host(c(3)), m.leaves[0]).Key())
	delete(k.routes, m.standingRoutes()[0].Key())
	k.routes[stray.Key()] = stray
	wrong.NextHop.Via = netip.MustParseAddr("172.31.1.9")
	k.routes[wrong.Key()] = wrong
	delete(k.rules, m.leafRules(m.leaves[1])[0].Key())
	other := step.Rule{Priority: 2050, To: subnet, Table: testBase + 50, SuppressPrefixLen: -1}
	k.rules[other.Key()] = other
	k.step(k.snapshot("no buffer space", up("to-A"), up("to-B")))
	clean := begun(fig7())
	if got, want := fmt.Sprint(k.snapshot("", up("to-A")).Routes), fmt.Sprint(clean.snapshot("", up("to-A")).Routes); got != want {
		t.Errorf("routes %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(k.snapshot("").Rules), fmt.Sprint(clean.snapshot("").Rules); got != want {
		t.Errorf("rules %s, want %s", got, want)
	}
	k.step(k.snapshot("no buffer space", up("to-A")))
	if l := m.leaves[1]; l.phase != lost {
		t.Errorf("leaf B is %s though its port is missing from the snapshot", l.phase)
	}
}

func TestRoutes_FlushedWhileThePortWasDown_AreBackBeforeTrafficIs(t *testing.T) {
	k := begun(fig7())
	k.step(step.PortChanged{PortState: noCarrier("to-A")}, gone(addrA, step.ReasonOurs))
	for key, r := range k.routes { // admin-down flushes without a word
		if r.NextHop.Dev == "to-A" {
			delete(k.routes, key)
		}
	}
	k.step(step.PortChanged{PortState: up("to-A")}, session(addrA), paths(addrA, allUp(addrA)...), paths(addrA, host(addrA, 1, 0), host(addrA, 2, 0)))
	k.wait(time.Second)
	for i, want := range []model.Port{"to-A", "to-A", "to-B", "to-B"} {
		k.wantLookup(t, c(byte(i+1)), want)
	}
	if r, ok := k.routes[k.machine.backupRoute(k.machine.table.Host(c(3)), k.machine.leaves[0]).Key()]; !ok {
		t.Errorf("backup of %s by leaf A is missing: %v", c(3), r)
	}
}

func TestPeer_NoPacketCrossesTheLinkTwice(t *testing.T) {
	k := newKernel(New(withPeer()))
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B"), up("to-P")))
	k.step(normal()...)
	everywhere := []model.Port{"", "to-A", "to-B", "to-P"}
	for _, down := range [][]model.Port{nil, {"to-A"}, {"to-B"}, {"to-A", "to-B"}} {
		for _, p := range down {
			k.step(step.PortChanged{PortState: noCarrier(p)})
		}
		for i := range 256 {
			for _, from := range everywhere {
				to := k.lookup(c(byte(i)), from, down...)
				if from == "to-P" && to == "to-P" {
					t.Fatalf("%s from the other gateway goes back to it with %v down", c(byte(i)), down)
				}
			}
		}
	}
}

func TestTooManyLeaves_AreRefusedOnce(t *testing.T) {
	k := newKernel(New(fig7()))
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
	for i := range 100 {
		k.step(step.SessionChanged{Peer: netip.AddrFrom4([4]byte{172, 31, 16, byte(i)}), AS: 65100, Up: true})
	}
	if n := len(k.machine.leaves); n != leavesMax {
		t.Errorf("%d leaves, want %d", n, leavesMax)
	}
	if n := len(k.noted(whatLeafLimit)); n != 1 {
		t.Errorf("%d notes, want 1", n)
	}
}

func TestManyHosts_AreOneNote(t *testing.T) {
	k := loaded(t, 1000)
	k.notes = nil
	k.step(paths(addrA, attachment(addrA, 1, claim.Down, claim.ReasonCarrierLost)))
	if len(k.notes) != 2 || k.notes[0].Hosts != 250 || k.notes[1].Hosts != 250 {
		t.Errorf("notes %v, want the fault and one of 250 moves", k.notes)
	}
}

func TestView_SaysWhyInWords(t *testing.T) {
	k := begun(fig7())
	k.step(step.PortChanged{PortState: noCarrier("to-A")}, gone(addrA, step.ReasonOurs))
	v := k.machine.View(k.now)
	for _, row := range []struct{ name, got, want string }{
		{"port", v.Ports[0].Why, "leaf A: lost: carrier lost"},
		{"session", v.Sessions[0].Why, "carrier lost"},
		{"host of the lost leaf", v.Hosts[0].Why, "leaf A cannot be used (carrier lost): leaf B serves as backup"},
		{"host of the other leaf", v.Hosts[2].Why, "leaf B has the newest claim; leaf A stands by"},
		{"mapping", v.Mapping[0].Why, "uplink: carrier lost; the downlink is as last told (ready)"},
	} {
		if row.got != row.want {
			t.Errorf("%s: because %q, want %q", row.name, row.got, row.want)
		}
	}
	if v.Hosts[0].Leaf != "B" || v.Hosts[0].Port != "to-B" || v.Hosts[0].ServerPort != "C1" || v.Hosts[0].Role != "backup" {
		t.Errorf("host row %+v", v.Hosts[0])
	}
}

func TestGateway_FaultAfterTheHostMoved_StillNamesPortServerHostAndReason(t *testing.T) {
	k := begun(fig7())
	k.notes = nil
	k.step(paths(addrB, host(addrB, 2, 100)), paths(addrA, attachment(addrA, 2, claim.Down, claim.ReasonCarrierLost)))
	for _, n := range k.notes {
		if n.What != whatFault {
			continue
		}
		if n.Port != "A2" || n.ServerPort != "C2" || n.Addr != c(2) || n.Why != "down: carrier lost" {
			t.Fatalf("fault: %+v", n)
		}
		if !strings.Contains(n.Text, "10.10.10.2 moved to leaf B already") {
			t.Fatalf("text: %s", n.Text)
		}
		return
	}
	t.Fatalf("no fault among %v", k.notes)
}

func TestSession_TimeOverWhileWeDidNotRun_LeafIsHeardFirst(t *testing.T) {
	k := begun(fig7())
	k.step(step.SessionChanged{Peer: addrA, AS: 65001, Reason: step.ReasonReset})
	k.now.Mono += time.Minute // frozen, past the graceful-restart time
	k.step(step.TimerFired{Timer: step.Timer{Kind: timerExpire, ID: uint32(k.machine.leaves[0].id)}})
	if got := k.lookup(c(1), ""); got == "" {
		t.Fatal("the host's last route is deleted before what its leaf said meanwhile was read")
	}
	k.step(session(addrA), paths(addrA, append(allUp(addrA), host(addrA, 1, 0))...))
	k.wait(2 * listenFor)
	if got := k.lookup(c(1), ""); got == "" {
		t.Fatal("the host is claimed, and has no route")
	}
}
