package gateway

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// laid is a gateway with hosts 11 to 14 behind server port 1, enough for a bypass, and host 21 alone behind server port 2.
func laid(t *testing.T) (*kernel, []step.Path) {
	t.Helper()
	cfg := fig7()
	cfg.BypassFrom = 3
	k := newKernel(New(cfg))
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
	k.step(session(addrA), session(addrB), paths(addrA, allUp(addrA)...), paths(addrB, allUp(addrB)...))
	hosts := []step.Path{hostUnder(addrA, c(21), 2, 0)}
	for i := byte(11); i <= 14; i++ {
		hosts = append(hosts, hostUnder(addrA, c(i), 1, 0))
	}
	k.step(paths(addrA, hosts...))
	k.wait(time.Second)
	return k, hosts
}

// onBypass is the port by which a server port's bypass leads to a host; empty if it is not on it.
func (k *kernel) onBypass(id model.AttachmentID, i byte) model.Port {
	key := step.Route{Table: testBase + bypassTable + uint32(id), Prefix: step.HostPrefix(c(i))}.Key()
	return k.routes[key].NextHop.Dev
}

func (k *kernel) bypassOpen(id model.AttachmentID) bool {
	for _, r := range k.rules {
		if r.Table == testBase+bypassTable+uint32(id) {
			return true
		}
	}
	return false
}

func portDown(id model.AttachmentID) step.PathsChanged {
	return paths(addrA, attachment(addrA, id, claim.Down, claim.ReasonCarrierLost))
}

func TestBypass_OnlyWhereManyAre_AndNobodyLooks(t *testing.T) {
	k, _ := laid(t)
	for i := byte(11); i <= 14; i++ {
		if got := k.onBypass(1, i); got != "to-B" {
			t.Errorf("host %s: by %q, want to-B", c(i), got)
		}
	}
	if got := k.onBypass(2, 21); got != "" || k.bypassOpen(1) {
		t.Errorf("one host alone has a bypass by %q; the other one is open: %v", got, k.bypassOpen(1))
	}
}

func TestBypass_PortFails_OneRuleRepairsAndTheRestFollows(t *testing.T) {
	k, _ := laid(t)
	k.hold = true
	k.step(portDown(1))
	if present, absent := k.asked(); present+absent != 0 {
		t.Fatalf("%d routes and %d deletions are asked for at once", present, absent)
	}
	k.hold = false
	k.apply()
	for i := byte(11); i <= 14; i++ {
		k.wantLookup(t, c(i), "to-B")
	}
	k.wantLookup(t, c(21), "to-A")
	k.wait(liveness.Respite(4) + time.Second)
	if k.bypassOpen(1) {
		t.Error("the bypass is open though all have their routes")
	}
	for i := byte(11); i <= 14; i++ {
		k.wantLookup(t, c(i), "to-B")
		if got := k.onBypass(1, i); got != "" {
			t.Errorf("host %s has a bypass by %q, and nobody stands by for it", c(i), got)
		}
	}
	k.step(paths(addrA, attachment(addrA, 1, claim.Up, claim.ReasonReady)))
	for i := byte(11); i <= 14; i++ {
		k.step(paths(addrB, hostUnder(addrB, c(i), 1, 1000)))
	}
	k.wait(time.Second)
	if got := k.onBypass(1, 12); got != "to-A" {
		t.Errorf("with the hosts behind leaf B, the bypass leads by %q", got)
	}
}

func TestBypass_OldRoutesAreNotGoneYet_StaysOpen(t *testing.T) {
	k, _ := laid(t)
	k.step(portDown(1))
	k.hold = true
	k.wait(liveness.Respite(4) + 10*time.Millisecond)
	if _, absent := k.asked(); absent < 4 || len(k.machine.opened) != 1 {
		t.Fatalf("%d old routes are about to go, and %d bypasses are open", absent, len(k.machine.opened))
	}
	k.hold = false
	k.apply()
	if k.bypassOpen(1) {
		t.Error("all are gone, and the bypass is open")
	}
}

// A server that has left does not come back with its link: the bypass serves whoever is not claimed there any more until his old route is gone.
func TestBypass_PortIsUpAgain_WhoeverHasLeftIsServed(t *testing.T) {
	k, hosts := laid(t)
	k.step(portDown(1))
	k.hold = true
	for _, p := range hosts {
		if p.Prefix.Addr() != c(21) {
			k.step(paths(addrA, step.Path{Prefix: p.Prefix, Withdrawn: true}))
		}
	}
	k.step(paths(addrA, attachment(addrA, 1, claim.Up, claim.ReasonReady)))
	if _, absent := k.asked(); absent < 4 {
		t.Fatalf("%d old routes are about to go", absent)
	}
	for _, w := range k.pending {
		if r, rule := w.Object.(step.Rule); rule && w.Absent {
			t.Errorf("%s is to go before them", r)
		}
	}
	k.hold = false
	k.apply()
	k.wait(100 * time.Millisecond)
	for i := byte(11); i <= 14; i++ {
		k.wantLookup(t, c(i), "to-B")
	}
	if k.bypassOpen(1) {
		t.Error("the bypass is still open")
	}
}

// While it is open, whatever is news about its hosts or its ends goes before.
func TestBypass_NewsWhileOpen(t *testing.T) {
	tests := []struct {
		name  string
		news  []step.Event
		via   model.Port // of host 12
		other model.Port // of host 13
	}{
		{"the port is up again", []step.Event{paths(addrA, attachment(addrA, 1, claim.Up, claim.ReasonReady)), paths(addrA, hostUnder(addrA, c(12), 1, 2000), hostUnder(addrA, c(13), 1, 2000))}, "to-A", "to-A"},
		{"a host has moved to a server behind the old leaf", []step.Event{paths(addrA, hostUnder(addrA, c(12), 2, 2000))}, "to-A", "to-B"},
		{"the port is up again, and all are claimed as before", []step.Event{paths(addrA, attachment(addrA, 1, claim.Up, claim.ReasonReady))}, "to-A", "to-A"},
		{"the old leaf claims one anew before it tells that its port is up", []step.Event{paths(addrA, hostUnder(addrA, c(12), 1, 2000))}, "to-A", "to-B"},
		{"the new leaf claims one", []step.Event{paths(addrB, hostUnder(addrB, c(12), 1, 2000))}, "to-B", "to-B"},
		{"the old leaf is lost too", []step.Event{step.PortChanged{PortState: noCarrier("to-A")}}, "to-B", "to-B"},
		{"the new leaf is lost", []step.Event{step.PortChanged{PortState: noCarrier("to-B")}}, "", ""},
		{"the new leaf's port fails", []step.Event{paths(addrB, attachment(addrB, 1, claim.Down, claim.ReasonCarrierLost))}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, _ := laid(t)
			k.step(portDown(1))
			if !k.bypassOpen(1) {
				t.Fatal("the bypass is shut")
			}
			k.step(tt.news...)
			if tt.via != "" { // else what is left of the old route ends at the old leaf
				k.wantLookup(t, c(12), tt.via)
				k.wantLookup(t, c(13), tt.other)
			}
			k.wait(liveness.Respite(4) + 100*time.Millisecond)
			k.wantLookup(t, c(12), tt.via)
			k.wantLookup(t, c(13), tt.other)
			if k.bypassOpen(1) {
				t.Error("the bypass is still open")
			}
		})
	}
}

// Somebody who has come since the bypass was laid is not on it yet, and is not forgotten for it.
func TestBypass_HostIsNotOnItYet_IsRepairedAtOnce(t *testing.T) {
	k, _ := laid(t)
	k.step(paths(addrA, hostUnder(addrA, c(15), 1, 0)))
	if got := k.onBypass(1, 15); got != "" {
		t.Fatalf("on the bypass already, by %q", got)
	}
	k.step(portDown(1))
	k.wantLookup(t, c(11), "to-B")
	k.wantLookup(t, c(15), "to-A") // whoever is not on it is looked for behind the rule
	k.wait(0)
	for _, i := range []byte{11, 14, 15} {
		k.wantLookup(t, c(i), "to-B")
	}
	if !k.bypassOpen(1) {
		t.Error("the bypass is shut")
	}
}

func TestBypass_HostHasJustMovedToAnotherServer_IsNotDrawnAlong(t *testing.T) {
	k, _ := laid(t)
	k.step(paths(addrA, hostUnder(addrA, c(12), 2, 1000)), portDown(1))
	k.wantLookup(t, c(12), "to-A")
	k.wantLookup(t, c(13), "to-B")
	if !k.bypassOpen(1) {
		t.Error("the bypass is shut")
	}
}

// What cannot be relied on is not used: each host is repaired by itself.
func TestBypass_NotWhole_HostByHost(t *testing.T) {
	tests := []struct {
		name string
		do   func(k *kernel)
	}{
		{"the standby has just been let in again", func(k *kernel) {
			k.step(step.PortChanged{PortState: step.PortState{Port: "to-B", Index: 'B', Present: true}})
			for key, r := range k.routes { // the kernel does not tell
				if r.NextHop.Dev == "to-B" {
					delete(k.routes, key)
				}
			}
			k.wait(time.Millisecond)
			k.step(step.PortChanged{PortState: up("to-B")}, session(addrB), paths(addrB, allUp(addrB)...))
			for range 100 {
				if k.machine.table.Serving(k.machine.leaves[1].id) {
					return
				}
				k.wait(time.Millisecond)
			}
		}},
		{"the kernel has too few of them", func(k *kernel) {
			k.hold = true
			for i := byte(12); i <= 14; i++ {
				h := k.machine.table.Host(c(i))
				k.step(step.RouteChanged{RouteState: step.RouteState{Route: k.machine.bypassRoute(h, 1, k.machine.leaves[1].id), Ours: true}})
			}
			k.hold = false
			k.pending = nil
		}},
		{"some are by the standby already", func(k *kernel) {
			k.step(paths(addrB, hostUnder(addrB, c(11), 1, 1000)))
			k.wait(time.Second)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, _ := laid(t)
			tt.do(k)
			k.step(portDown(1))
			if k.bypassOpen(1) {
				t.Error("the bypass is open")
			}
			for i := byte(11); i <= 14; i++ {
				k.wantLookup(t, c(i), "to-B")
			}
		})
	}
}

// The kernel drops the routes of a port that is set down, without a word.
func TestBypass_StandbyIsSetDownForAMoment_IsLaidAnew(t *testing.T) {
	k, _ := laid(t)
	k.step(step.PortChanged{PortState: step.PortState{Port: "to-B", Index: 'B', Present: true}})
	for key, r := range k.routes {
		if r.NextHop.Dev == "to-B" {
			delete(k.routes, key)
		}
	}
	k.step(step.PortChanged{PortState: up("to-B")}, session(addrB), paths(addrB, allUp(addrB)...))
	k.wait(time.Second)
	for i := byte(11); i <= 14; i++ {
		if got := k.onBypass(1, i); got != "to-B" {
			t.Errorf("host %s: by %q, want to-B", c(i), got)
		}
	}
}

func TestBypass_EarlierLife_IsTakenAway(t *testing.T) {
	before, _ := laid(t)
	before.step(portDown(1))
	k := newKernel(New(before.machine.cfg))
	k.routes, k.rules = before.routes, before.rules
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
	if k.bypassOpen(1) || k.onBypass(1, 12) != "" {
		t.Error("an earlier life's bypass is still there")
	}
}

// Run it with -benchtime 20x: each time begins with a gateway of its own.
func BenchmarkStep_ServerPortFails(b *testing.B) {
	for _, n := range []int{1, 1000} {
		for _, from := range []int{0, liveness.Crowd} {
			b.Run(fmt.Sprintf("hosts=%d/bypass=%v", n, from > 0), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					cfg := fig7()
					cfg.BypassFrom = from
					k := crowded(b, cfg, n, 1)
					for len(k.machine.waiting)+len(k.machine.stock) > 0 { // the kernel of the tests is too slow for so many
						k.now.Mono += liveness.StockRest
						for _, kind := range []string{timerLater, timerStock} {
							for _, ef := range slices.Clone(k.machine.Step(k.now, step.TimerFired{Timer: step.Timer{Kind: kind}})) {
								if w, ok := ef.(step.Want); ok {
									k.machine.Step(k.now, step.Applied{Want: w})
								}
							}
						}
					}
					b.StartTimer()
					k.machine.Step(k.now, portDown(1))
				}
			})
		}
	}
}
