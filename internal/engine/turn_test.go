package engine

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// script is a machine that answers each event by a function and remembers the events.
type script struct {
	on   func(now model.Instant, ev step.Event) []step.Effect
	seen []step.Event
}

func (s *script) Step(now model.Instant, ev step.Event) []step.Effect {
	s.seen = append(s.seen, ev)
	if s.on == nil {
		return nil
	}
	return s.on(now, ev)
}
func (s *script) View(model.Instant) step.View { return step.View{Name: "script"} }

func instant(d time.Duration) model.Instant { return model.Instant{Mono: d} }

// say answers Started by the given effects and nothing else.
func say(effects ...step.Effect) *script {
	return &script{on: func(_ model.Instant, ev step.Event) []step.Effect {
		if _, ok := ev.(step.Started); ok {
			return effects
		}
		return nil
	}}
}

var (
	host      = netip.MustParsePrefix("10.10.10.2/32")
	route     = step.Route{Prefix: host, NextHop: step.NextHop{Dev: "A2"}}
	neighbor  = step.Neighbor{Port: "A2", Addr: host.Addr()}
	advertise = step.Advertisement{Prefix: host}
)

func keys(actions []Action) []step.Kind {
	var out []step.Kind
	for _, a := range actions {
		out = append(out, a.Want.Object.Key().Kind)
	}
	return out
}

func TestTurn_WantAfterAnother_StartsOnceThatIsApplied(t *testing.T) {
	turn := NewTurn(say(
		step.Want{Object: neighbor},
		step.Want{Object: route, After: neighbor.Key()},
		step.Want{Object: advertise, After: route.Key()},
	))
	first := append([]Action{}, turn.Step(instant(0), step.Started{})...)
	if got := keys(first); len(got) != 1 || got[0] != step.KindNeighbor {
		t.Fatalf("before the neighbour is applied: got %v", got)
	}
	second := append([]Action{}, turn.Outcome(instant(1), neighbor.Key(), first[0].Gen, nil)...)
	if got := keys(second); len(got) != 1 || got[0] != step.KindRoute {
		t.Fatalf("after the neighbour: got %v", got)
	}
	third := turn.Outcome(instant(2), route.Key(), second[0].Gen, nil)
	if got := keys(third); len(got) != 1 || got[0] != step.KindAdvertisement {
		t.Fatalf("after the route: got %v", got)
	}
}

func TestTurn_WantAfterAKeyNeverWanted_StartsAtOnce(t *testing.T) {
	turn := NewTurn(say(step.Want{Object: advertise, After: route.Key()}))
	if got := keys(turn.Step(instant(0), step.Started{})); len(got) != 1 {
		t.Fatalf("got %v", got)
	}
}

func TestTurn_WaiterSuperseded_IsNotStartedTwice(t *testing.T) {
	m := &script{}
	turn := NewTurn(m)
	m.on = func(model.Instant, step.Event) []step.Effect {
		return []step.Effect{step.Want{Object: route}, step.Want{Object: advertise, After: route.Key()}}
	}
	gen := turn.Step(instant(0), step.Started{})[0].Gen
	m.on = func(model.Instant, step.Event) []step.Effect {
		return []step.Effect{step.Want{Object: advertise, Absent: true}}
	}
	if got := turn.Step(instant(0), step.Started{}); len(got) != 1 || !got[0].Want.Absent {
		t.Fatalf("withdrawal: got %v", got)
	}
	m.on = nil
	if got := turn.Outcome(instant(1), route.Key(), gen, nil); len(got) != 0 {
		t.Fatalf("the superseded advertisement was started: %v", got)
	}
}

func TestTurn_Failure_RetriesWithGrowingPausesUntilApplied(t *testing.T) {
	m := say(step.Want{Object: route})
	turn := NewTurn(m)
	gen := turn.Step(instant(0), step.Started{})[0].Gen
	now := time.Duration(0)
	for i, want := range []time.Duration{10, 20, 40, 80} {
		turn.Outcome(instant(now), route.Key(), gen, errors.New("EBUSY"))
		failed, ok := m.seen[len(m.seen)-1].(step.Failed)
		if !ok || failed.Attempt != i+1 {
			t.Fatalf("attempt %d: machine saw %v", i+1, m.seen[len(m.seen)-1])
		}
		at, _ := turn.Next()
		if at-now != want*time.Millisecond {
			t.Fatalf("pause %d: got %v, want %v ms", i+1, at-now, want)
		}
		now = at
		actions, fired := turn.Fire(instant(now))
		if !fired || len(actions) != 1 {
			t.Fatalf("retry %d: fired %v, actions %v", i+1, fired, actions)
		}
	}
	turn.Outcome(instant(now), route.Key(), gen, nil)
	if _, ok := m.seen[len(m.seen)-1].(step.Applied); !ok {
		t.Fatalf("machine saw %v, want Applied", m.seen[len(m.seen)-1])
	}
	if len(turn.Pending()) != 0 {
		t.Fatalf("pending: %v", turn.Pending())
	}
}

func TestTurn_OutcomeOfSupersededWant_IsDropped(t *testing.T) {
	m := &script{on: func(model.Instant, step.Event) []step.Effect { return []step.Effect{step.Want{Object: route}} }}
	turn := NewTurn(m)
	old := turn.Step(instant(0), step.Started{})[0].Gen
	turn.Step(instant(0), step.Started{})
	n := len(m.seen)
	turn.Outcome(instant(1), route.Key(), old, nil)
	if len(m.seen) != n {
		t.Fatalf("machine saw %v", m.seen[n:])
	}
	if len(turn.Pending()) != 1 {
		t.Fatal("the newer want is taken for applied")
	}
}

func TestTurn_TimerArmedAgain_FiresOnceAtTheNewTime(t *testing.T) {
	name := step.Timer{Kind: "probe"}
	m := say(step.Arm{Timer: name, At: 5}, step.Arm{Timer: name, At: 9}, step.Arm{Timer: step.Timer{Kind: "off"}, At: 6},
		step.Disarm{Timer: step.Timer{Kind: "off"}})
	turn := NewTurn(m)
	turn.Step(instant(0), step.Started{})
	if _, fired := turn.Fire(instant(8)); fired {
		t.Fatal("fired before its time")
	}
	if _, fired := turn.Fire(instant(9)); !fired {
		t.Fatal("did not fire")
	}
	if _, fired := turn.Fire(instant(100)); fired {
		t.Fatal("fired twice")
	}
	if got := m.seen[len(m.seen)-1]; got != (step.TimerFired{Timer: name}) {
		t.Fatalf("machine saw %v", got)
	}
}

func TestClock_IsTheKernelsMonotonicClock(t *testing.T) {
	const slack = 100 * time.Microsecond // between two readings of the origin
	for range 3 {
		before := kernelClock()
		got := Clock().Mono
		if after := kernelClock(); got < before-slack || got > after+slack {
			t.Fatalf("%s, want between %s and %s", got, before, after)
		}
	}
}
