package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"peerless/internal/model"
	"peerless/internal/step"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a fake beside the interface: it remembers what it was asked in order and can be slow or failing.
type sink struct {
	kinds  []step.Kind
	inline bool
	pause  time.Duration
	fail   func(step.Want) error

	mu    sync.Mutex
	calls [][]step.Want
}

func (s *sink) Kinds() []step.Kind { return s.kinds }
func (s *sink) Inline() bool       { return s.inline }
func (s *sink) Apply(wants []step.Want) []error {
	time.Sleep(s.pause) // synctest: virtual time
	errs := make([]error, len(wants))
	for i, w := range wants {
		if s.fail != nil {
			errs[i] = s.fail(w)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, append([]step.Want{}, wants...))
	return errs
}

func (s *sink) applied() []step.Want {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []step.Want
	for _, c := range s.calls {
		out = append(out, c...)
	}
	return out
}

func clock() func() model.Instant {
	start := time.Now()
	return func() model.Instant { return model.Instant{Mono: time.Since(start), Wall: time.Now().UnixMilli()} }
}

// running starts an engine inside a synctest bubble and ends it with the test.
func running(t *testing.T, m step.Machine, drivers ...any) *Engine {
	t.Helper()
	e, err := New(Options{
		Name: "n", Machine: m, Clock: clock(), Drivers: drivers, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return e
}

func TestEngine_ClosingsGoBeforeWhatWasAskedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{kinds: []step.Kind{step.KindRoute, step.KindGate}, inline: true}
		running(t, say(
			step.Want{Object: route, Absent: true},
			step.Want{Object: step.Gate{Port: "A1", Closed: true}, Urgent: true},
			step.Want{Object: step.Gate{Port: "A2", Closed: true}, Urgent: true},
		), s)
		synctest.Wait()
		got := s.applied()
		if len(got) != 3 || got[0].Key().Port != "A1" || got[1].Key().Port != "A2" || got[2].Key().Kind != step.KindRoute {
			t.Fatalf("order: %v", got)
		}
		if len(s.calls[0]) != 2 {
			t.Fatalf("the closings were not one call: %v", s.calls)
		}
	})
}

func TestEngine_SlowSink_NeverDelaysAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &sink{kinds: []step.Kind{step.KindAdvertisement}, pause: time.Minute}
		fast := &sink{kinds: []step.Kind{step.KindRoute}, inline: true}
		running(t, say(step.Want{Object: advertise}, step.Want{Object: route}), slow, fast)
		synctest.Wait()
		if len(fast.applied()) != 1 || len(slow.applied()) != 0 {
			t.Fatalf("fast %v, slow %v", fast.applied(), slow.applied())
		}
		time.Sleep(2 * time.Minute)
	})
}

func TestEngine_NewerWantReplacesTheQueuedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{kinds: []step.Kind{step.KindAdvertisement}, pause: time.Second}
		m := &script{on: func(_ model.Instant, ev step.Event) []step.Effect {
			if a, ok := ev.(step.AddressChanged); ok {
				return []step.Effect{step.Want{Object: step.Advertisement{Prefix: host, MED: uint32(a.Prefix.Bits())}}}
			}
			return nil
		}}
		e := running(t, m, s)
		for bits := range 5 {
			e.Post(step.AddressChanged{Address: step.Address{Prefix: mustBits(bits)}})
		}
		time.Sleep(10 * time.Second)
		got := s.applied()
		if len(got) > 2 || got[len(got)-1].Object.(step.Advertisement).MED != 4 {
			t.Fatalf("applied %v, want the newest last and nothing between", got)
		}
	})
}

func TestEngine_ManyWants_AreBatchedWithUrgentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{kinds: []step.Kind{step.KindNeighbor, step.KindGate}, inline: true}
		var effects []step.Effect
		for i := range 1000 {
			effects = append(effects, step.Want{Object: step.Neighbor{Port: "A1", Addr: addr(i)}})
		}
		effects = append(effects, step.Want{Object: step.Gate{Port: "A1", Closed: true}, Urgent: true})
		running(t, say(effects...), s)
		synctest.Wait()
		got := s.applied()
		if len(got) != 1001 || got[0].Key().Kind != step.KindGate {
			t.Fatalf("%d applied, first %v", len(got), got[0])
		}
		if len(s.calls) > 6 {
			t.Fatalf("%d calls for 1000 wants", len(s.calls))
		}
	})
}

func TestEngine_FailedWant_IsRetriedAndRecordedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		s := &sink{kinds: []step.Kind{step.KindRoute}, inline: true, fail: func(step.Want) error {
			if n++; n < 4 {
				return errors.New("EBUSY")
			}
			return nil
		}}
		e := running(t, say(step.Want{Object: route, Cause: 7}), s)
		time.Sleep(time.Second)
		if len(s.applied()) != 4 {
			t.Fatalf("%d attempts, want 4", len(s.applied()))
		}
		entries := e.Journal().Since(-1)
		if len(entries) != 1 || entries[0].What != "failed" {
			t.Fatalf("journal: %v", entries)
		}
		f := e.Journal().Failovers()
		if len(f) != 1 || f[0].Cause != 7 || f[0].Stages[0].Count != 1 {
			t.Fatalf("ledger: %+v", f)
		}
	})
}

func TestEngine_TimersFireInOrderAndViewAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired []string
		m := &script{on: func(now model.Instant, ev step.Event) []step.Effect {
			switch ev := ev.(type) {
			case step.Started:
				return []step.Effect{
					step.Arm{Timer: step.Timer{Kind: "b"}, At: now.Mono + 2*time.Second},
					step.Arm{Timer: step.Timer{Kind: "a"}, At: now.Mono + time.Second},
				}
			case step.TimerFired:
				fired = append(fired, ev.Timer.Kind)
			}
			return nil
		}}
		e := running(t, m)
		time.Sleep(3 * time.Second)
		v, err := e.View(t.Context())
		if err != nil || v.Name != "script" {
			t.Fatalf("view %v, %v", v, err)
		}
		if len(fired) != 2 || fired[0] != "a" || fired[1] != "b" {
			t.Fatalf("fired %v", fired)
		}
	})
}

func TestEngine_WhatCameWhileItWasBusy_GoesBeforeTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		m := &script{on: func(now model.Instant, ev step.Event) []step.Effect {
			switch ev := ev.(type) {
			case step.Started:
				return []step.Effect{step.Arm{Timer: step.Timer{Kind: "verdict"}, At: now.Mono + 20*time.Millisecond}}
			case step.PortChanged:
				order = append(order, "much work")
				time.Sleep(50 * time.Millisecond)
			case step.AddressChanged:
				order = append(order, "answer")
			case step.TimerFired:
				order = append(order, ev.Timer.Kind)
			}
			return nil
		}}
		e := running(t, m)
		e.Post(step.PortChanged{})
		time.Sleep(30 * time.Millisecond)
		e.Post(step.AddressChanged{})
		time.Sleep(time.Second)
		if want := []string{"much work", "answer", "verdict"}; !slices.Equal(order, want) {
			t.Fatalf("%v, want %v", order, want)
		}
	})
}

// Timers that are always due, each with work to do, are as bad.
func TestEngine_WhatCameWhileTimersWorked_GoesBeforeTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		m := &script{on: func(now model.Instant, ev step.Event) []step.Effect {
			arm := func(kind string, after time.Duration) []step.Effect {
				return []step.Effect{step.Arm{Timer: step.Timer{Kind: kind}, At: now.Mono + after}}
			}
			switch ev := ev.(type) {
			case step.Started:
				return append(arm("verdict", 100*time.Millisecond), arm("work", 0)...)
			case step.AddressChanged:
				order = append(order, "answer")
			case step.TimerFired:
				if ev.Timer.Kind == "verdict" {
					order = append(order, "verdict")
					return nil
				}
				if time.Sleep(2 * time.Millisecond); len(order) < 2 {
					return arm("work", 0)
				}
			}
			return nil
		}}
		e := running(t, m)
		time.Sleep(50 * time.Millisecond)
		e.Post(step.AddressChanged{})
		time.Sleep(time.Second)
		if want := []string{"answer", "verdict"}; !slices.Equal(order, want) {
			t.Fatalf("%v, want %v", order, want)
		}
	})
}

type brokenSource struct{}

func (brokenSource) Run(context.Context, func(step.Event)) error { return errors.New("no netlink") }

func TestEngine_SourceFails_RunReturnsItsError(t *testing.T) {
	e, err := New(Options{Machine: &script{}, Clock: clock(), Drivers: []any{brokenSource{}}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context()); err == nil || err.Error() != "no netlink" {
		t.Fatalf("got %v", err)
	}
	if _, err := e.View(t.Context()); !errors.Is(err, errStopped) {
		t.Fatalf("view after the end: %v", err)
	}
}

func TestEngine_TwoSinksOfOneKind_IsAnError(t *testing.T) {
	a, b := &sink{kinds: []step.Kind{step.KindRoute}}, &sink{kinds: []step.Kind{step.KindRoute}}
	if _, err := New(Options{Machine: &script{}, Drivers: []any{a, b}}); err == nil {
		t.Fatal("no error")
	}
}

func TestJournal_SlowFollower_IsCutOffAndOldEntriesFallOut(t *testing.T) {
	j := NewJournal("A")
	ch, stop := j.Follow()
	defer stop()
	for i := range entriesMax + 10 {
		j.Note(instant(time.Duration(i)), step.Note{What: "x", Cause: step.Cause(i + 1)})
	}
	n := 0
	for range ch {
		n++
	}
	if n != followMax {
		t.Errorf("follower got %d entries before it was cut off, want %d", n, followMax)
	}
	if got := j.Since(-1); len(got) != entriesMax || got[0].Seq != 11 {
		t.Errorf("%d entries, first %d", len(got), got[0].Seq)
	}
	if got := len(j.Failovers()); got != failoversMax || len(j.byCause) != failoversMax {
		t.Errorf("%d failovers, %d causes", got, len(j.byCause))
	}
}

func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

func mustBits(bits int) netip.Prefix { return netip.PrefixFrom(host.Addr(), bits) }
