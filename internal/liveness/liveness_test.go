package liveness

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

func TestDetector_Verdicts(t *testing.T) {
	type act struct {
		at     time.Duration
		do     string // probe, heard, excuse
		silent bool
	}
	tests := []struct {
		name       string
		multiplier int
		acts       []act
	}{
		{"first probe proves nothing", 1, []act{{0, "probe", false}}},
		{"one interval without an answer and a multiplier of one", 1, []act{{0, "probe", false}, {100 * ms, "probe", true}}},
		{"multiplier below one is one", 0, []act{{0, "probe", false}, {100 * ms, "probe", true}}},
		{"three misses", 3, []act{{0, "probe", false}, {100 * ms, "probe", false}, {200 * ms, "probe", false}, {300 * ms, "probe", true}}},
		{"an answer starts the count anew", 2, []act{{0, "probe", false}, {100 * ms, "probe", false}, {150 * ms, "heard", false},
			{200 * ms, "probe", false}, {300 * ms, "probe", false}, {400 * ms, "probe", true}}},
		{"a probe replaced before its interval is over is not missed", 1, []act{{0, "probe", false}, {99 * ms, "probe", false},
			{198 * ms, "probe", false}}},
		{"a pause of ours excuses the open probe", 1, []act{{0, "probe", false}, {5000 * ms, "excuse", false}, {5000 * ms, "probe", false},
			{5100 * ms, "probe", true}}},
		{"an excuse older than the probe changes nothing", 1, []act{{0, "probe", false}, {0, "excuse", false}, {100 * ms, "probe", true}}},
		{"without an open probe nothing is excused or missed", 1, []act{{10 * ms, "excuse", false}, {500 * ms, "probe", false}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := Detector{Interval: 100 * ms, Multiplier: tt.multiplier}
			for i, a := range tt.acts {
				switch a.do {
				case "probe":
					if got := d.Probe(a.at); got != a.silent {
						t.Fatalf("step %d at %s: silent=%v, want %v", i, a.at, got, a.silent)
					}
				case "heard":
					d.Heard()
				case "excuse":
					d.Excuse(a.at)
				}
			}
		})
	}
}

func TestDetector_Patience_OnlyForTheProbeThatCompletesTheCount(t *testing.T) {
	d := Detector{Interval: 100 * ms, Multiplier: 3, Patience: Patience(100 * ms)}
	for i, at := range []time.Duration{0, 100 * ms, 200 * ms} {
		if d.Probe(at) || d.Missed() != i {
			t.Fatalf("at %s missed %d", at, d.Missed())
		}
		if want := at + 100*ms; i < 2 && d.Next() != want {
			t.Fatalf("next %s, want %s", d.Next(), want)
		}
	}
	if d.Next() != 250*ms {
		t.Fatalf("verdict at %s, want 250ms", d.Next())
	}
	if early := d; early.Probe(249 * ms) {
		t.Fatal("silent before the last probe had its time")
	}
	if !d.Probe(250 * ms) {
		t.Fatal("not silent")
	}
	if Patience(10*ms) != 10*ms || Patience(30*ms) != 20*ms {
		t.Fatal("a quick pace can spare nothing")
	}
}

func TestDetector_Next_IsOneIntervalAfterTheProbe(t *testing.T) {
	d := Detector{Interval: 100 * ms, Multiplier: 3}
	d.Probe(700 * ms)
	if d.Next() != 800*ms || d.Missed() != 0 {
		t.Fatalf("next %s missed %d", d.Next(), d.Missed())
	}
}

// A far end that answers every probe within its interval is never called silent, however late we call.
func TestDetector_AnsweringPeer_NeverSilent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Detector{Interval: 100 * ms, Multiplier: rapid.IntRange(1, 4).Draw(t, "multiplier")}
		now := time.Duration(0)
		for range rapid.IntRange(1, 50).Draw(t, "probes") {
			now += time.Duration(rapid.IntRange(1, 5000).Draw(t, "gap")) * ms
			if d.Probe(now) {
				t.Fatal("silent")
			}
			d.Heard()
		}
	})
}

// Silence takes at least Multiplier full intervals of our own running time.
func TestDetector_Silence_TakesFullIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Detector{Interval: 100 * ms, Multiplier: rapid.IntRange(1, 4).Draw(t, "multiplier")}
		now := 10 * time.Second
		d.Probe(now)
		ran := time.Duration(0)
		for range 40 {
			gap := time.Duration(rapid.IntRange(1, 300).Draw(t, "gap")) * ms
			now += gap
			if rapid.Bool().Draw(t, "paused") {
				d.Excuse(now)
			} else {
				ran += gap
			}
			if d.Probe(now) {
				if ran < time.Duration(d.Multiplier)*d.Interval {
					t.Fatalf("silent after running %s with multiplier %d", ran, d.Multiplier)
				}
				return
			}
		}
	})
}

func TestHold_Verdicts(t *testing.T) {
	h := Hold{For: 100 * ms}
	if _, on := h.Due(); on || h.Met(time.Hour) {
		t.Fatal("zero value holds")
	}
	if h.Set(0, true) {
		t.Fatal("met at once")
	}
	if due, on := h.Due(); due != 100*ms || !on {
		t.Fatalf("due %s %v", due, on)
	}
	if h.Set(99*ms, true) || !h.Set(100*ms, true) {
		t.Fatal("held time is measured from the first true")
	}
	if h.Set(110*ms, false) || h.Set(120*ms, true) || h.Met(219*ms) || !h.Met(220*ms) {
		t.Fatal("a break starts the time anew")
	}
}

func TestPause_OnlyLateTimersCount(t *testing.T) {
	p := Pause{Slack: 50 * ms}
	if p.Fired(100*ms, 50*ms) || p.Until() != 0 {
		t.Fatal("punctual timer taken for a pause")
	}
	if !p.Fired(101*ms, 50*ms) || p.Until() != 101*ms {
		t.Fatalf("pause missed, until %s", p.Until())
	}
}
