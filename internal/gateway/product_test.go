package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/gateway/mapping"
	"peerless/internal/step"
	"peerless/internal/step/steptest"
)

type named[T any] struct {
	name string
	v    T
}

// leafPhases puts leaf A of fig7 into each phase.
func leafPhases() []named[func() *kernel] {
	fallen := func() *kernel {
		k := begun(fig7())
		k.step(step.PortChanged{PortState: noCarrier("to-A")}, gone(addrA, step.ReasonOurs))
		k.wait(time.Second)
		return k
	}
	back := func() *kernel {
		k := fallen()
		k.step(step.PortChanged{PortState: up("to-A")})
		return k
	}
	return []named[func() *kernel]{
		{"lost", fallen},
		{"waiting", back},
		{"opening", func() *kernel {
			k := back()
			k.hold = true
			k.step(session(addrA), paths(addrA, allUp(addrA)...))
			return k
		}},
		{"serving", func() *kernel { return begun(fig7()) }},
	}
}

func leafEvents() []named[step.Event] {
	closed, missing, anew := up("to-A"), step.PortState{Port: "to-A"}, up("to-A")
	closed.AdminUp = false
	anew.Index = 99
	rule := step.Rule{Priority: 2001, To: subnet, Table: testBase + 1, SuppressPrefixLen: -1}
	route := step.Route{Table: testBase + 1, Prefix: step.HostPrefix(c(1)), NextHop: step.NextHop{Dev: "to-A", Via: addrA}}
	return []named[step.Event]{
		{"port loses carrier", step.PortChanged{PortState: noCarrier("to-A")}},
		{"port closed", step.PortChanged{PortState: closed}},
		{"port missing", step.PortChanged{PortState: missing}},
		{"port up", step.PortChanged{PortState: up("to-A")}},
		{"port made anew", step.PortChanged{PortState: anew}},
		{"other port changes", step.PortChanged{PortState: up("eth9")}},
		{"session up", session(addrA)},
		{"session reset", gone(addrA, step.ReasonReset)},
		{"hold timer", gone(addrA, step.ReasonHoldTimer)},
		{"cease: shutdown", gone(addrA, step.ReasonCeaseDown)},
		{"other notification", gone(addrA, step.ReasonCeaseOther)},
		{"closed by us", gone(addrA, step.ReasonOurs)},
		{"unreachable", gone(addrA, step.ReasonUnreachable)},
		{"attachments told", paths(addrA, allUp(addrA)...)},
		{"host claimed", paths(addrA, host(addrA, 1, 50))},
		{"host withdrawn", paths(addrA, noHost(c(1)))},
		{"end of RIB", step.EndOfRIB{Peer: addrA}},
		{"rule applied", step.Applied{Want: step.Want{Object: rule}}},
		{"rule deletion applied", step.Applied{Want: step.Want{Object: rule, Absent: true}}},
		{"rule failed", step.Failed{Want: step.Want{Object: rule}, Err: "no buffer space", Attempt: 1}},
		{"route deleted by somebody", step.RouteChanged{RouteState: step.RouteState{Route: route, Ours: true}}},
		{"sweep", step.TimerFired{Timer: step.Timer{Kind: timerSweep}}},
		{"expire", step.TimerFired{Timer: step.Timer{Kind: timerExpire}}},
		{"grace", step.TimerFired{Timer: step.Timer{Kind: timerGrace}}},
		{"restart", step.TimerFired{Timer: step.Timer{Kind: timerRestart}}},
		{"bfd up", step.BFDChanged{Port: "to-A", Peer: addrA, Up: true}},
		{"bfd down that was never up", step.BFDChanged{Port: "to-A", Peer: addrA, Diag: "control detection time expired"}},
		{"doubt", step.TimerFired{Timer: step.Timer{Kind: timerDoubt}}},
		{"started", step.Started{}},
		{"neighbour changed", step.NeighborChanged{}},
		{"arp", step.ARPSeen{}},
		{"rarp", step.RARPSeen{}},
		{"data", step.DataSeen{}},
	}
}

// summary says what effects do, without what only people read.
func summary(effects []step.Effect) string {
	var parts []string
	notes := ""
	for _, ef := range effects {
		switch ef := ef.(type) {
		case step.Note:
			notes += " !" + ef.What
		case step.Want:
			if _, sysctl := ef.Object.(step.Sysctl); !sysctl {
				s := ef.Object.String()
				if ef.Absent {
					s = "no " + s
				}
				parts = append(parts, s)
			}
		case step.Arm:
			parts = append(parts, "arm "+ef.Timer.String())
		case step.Disarm:
			parts = append(parts, ef.String())
		case step.ResetSession:
			parts = append(parts, "reset session "+ef.Peer.String())
		}
	}
	if parts == nil && notes == "" {
		return "nothing"
	}
	return strings.Join(parts, "; ") + notes
}

func TestGateway_EveryPhaseOfALeafMeetsEveryEvent(t *testing.T) {
	out := steptest.New(New(fig7()))
	for _, phase := range leafPhases() {
		for _, ev := range leafEvents() {
			k := phase.v()
			l := k.machine.leaves[0]
			if l.phase.String() != phase.name {
				t.Fatalf("leaf A is %s, want %s", l.phase, phase.name)
			}
			effects := k.machine.Step(k.now, ev.v)
			out.Comment("%s, %s: %s: %s", phase.name, ev.name, l.phase, summary(effects))
			if (l.phase == serving) != k.machine.table.Serving(l.id) {
				t.Errorf("%s, %s: phase %s but the table says serving %v", phase.name, ev.name, l.phase, k.machine.table.Serving(l.id))
			}
		}
	}
	out.Golden(t, "product-leaf")
}

// hostStates puts host 10.10.10.1 into each state.
func hostStates() []named[func() *kernel] {
	begin := func(cfg Config, events ...step.Event) func() *kernel {
		return func() *kernel {
			k := begun(cfg)
			k.step(events...)
			return k
		}
	}
	down := paths(addrA, attachment(addrA, 1, claim.Down, claim.ReasonCarrierLost))
	one := static()
	one.Leaves[0].AS, one.Leaves[1].AS = 65001, 65002
	one.Static = []StaticHost{{Addr: c(1), Attachment: 1, Primary: StaticHop{Leaf: "A"}, Backup: StaticHop{Leaf: "B"}}}
	return []named[func() *kernel]{
		{"claimed by A", begin(fig7())},
		{"claimed by A and newer by B", begin(fig7(), paths(addrB, host(addrB, 1, 10)))},
		{"tentative at B, claim of A stands", begin(fig7(), down)},
		{"tentative at B, withdrawn by A", begin(fig7(), down, paths(addrA, noHost(c(1))))},
		{"sheltered, withdrawn by A", begin(fig7(), paths(addrA, noHost(c(1))))},
		{"sheltered, A lost", begin(fig7(), step.PortChanged{PortState: noCarrier("to-A")}, gone(addrA, step.ReasonOurs))},
		{"unserved", begin(fig7(), paths(addrB, attachment(addrB, 1, claim.Closed, claim.ReasonLinkage)), down)},
		{"unknown", begin(fig7(), paths(addrB, attachment(addrB, 1, claim.Closed, claim.ReasonLinkage)), paths(addrA, noHost(c(1))))},
		{"static", begin(one)},
		{"adopted", func() *kernel {
			old := begun(fig7())
			k := newKernel(New(fig7()))
			k.routes, k.rules = old.routes, old.rules
			k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")), session(addrA), session(addrB))
			return k
		}},
	}
}

func hostEvents() []named[[]step.Event] {
	att := func(leaf string, s claim.State, r claim.Reason) []step.Event {
		peer := addrA
		if leaf == "B" {
			peer = addrB
		}
		return []step.Event{paths(peer, attachment(peer, 1, s, r))}
	}
	return []named[[]step.Event]{
		{"A claims it newer", []step.Event{paths(addrA, host(addrA, 1, 100))}},
		{"B claims it newer", []step.Event{paths(addrB, host(addrB, 1, 100))}},
		{"B claims it older", []step.Event{paths(addrB, host(addrB, 1, -100))}},
		{"A withdraws it", []step.Event{paths(addrA, noHost(c(1)))}},
		{"B withdraws it", []step.Event{paths(addrB, noHost(c(1)))}},
		{"port of A down", att("A", claim.Down, claim.ReasonCarrierLost)},
		{"port of A closed by linkage", att("A", claim.Closed, claim.ReasonLinkage)},
		{"port of A drained", att("A", claim.Closed, claim.ReasonDrain)},
		{"port of A up", att("A", claim.Up, claim.ReasonReady)},
		{"port of B down", att("B", claim.Down, claim.ReasonCarrierLost)},
		{"port of B up", att("B", claim.Up, claim.ReasonReady)},
		{"A lost", []step.Event{step.PortChanged{PortState: noCarrier("to-A")}}},
		{"B lost", []step.Event{step.PortChanged{PortState: noCarrier("to-B")}}},
		{"A's session reset", []step.Event{gone(addrA, step.ReasonReset)}},
		{"A says all without it", []step.Event{session(addrA), paths(addrA, allUp(addrA)...), step.EndOfRIB{Peer: addrA}}},
	}
}

func placement(k *kernel) string {
	h := k.machine.table.Host(c(1))
	if h == nil {
		return "unknown"
	}
	name := func(id mapping.LeafID) string {
		if id == mapping.None {
			return "-"
		}
		return k.machine.leafName(id)
	}
	return fmt.Sprintf("%s P=%s K=%s", h.State, name(h.Primary), name(h.Backup))
}

func TestGateway_EveryStateOfAHostMeetsEveryEvent(t *testing.T) {
	out := steptest.New(New(fig7()))
	for _, state := range hostStates() {
		for _, ev := range hostEvents() {
			k := state.v()
			before := placement(k)
			k.step(ev.v...)
			at, way := placement(k), k.lookup(c(1), "")
			k.wait(4 * time.Second)
			out.Comment("%s (%s), %s: %s via %q; after 4s: %s via %q", state.name, before, ev.name, at, way, placement(k), k.lookup(c(1), ""))
			if in := k.primaries(c(1)); len(in) > 1 {
				t.Errorf("%s, %s: the host is in tables %v", state.name, ev.name, in)
			}
		}
	}
	out.Golden(t, "product-host")
}
