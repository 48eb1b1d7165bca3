package liveness

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var usual = Damping{HalfLife: 5 * time.Second, Suppress: 2500, Reuse: 1000, Max: time.Minute}

func TestDamper_Stories(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name   string
		damp   Damping
		losses []time.Duration
		now    time.Duration
		held   bool
	}{
		{"never lost", usual, nil, 0, false},
		{"lost once", usual, []time.Duration{0}, 1 * ms, false},
		{"lost twice", usual, []time.Duration{0, 250 * ms}, 251 * ms, false},
		{"lost three times in a second", usual, []time.Duration{0, 250 * ms, 500 * ms}, 501 * ms, true},
		{"lost every five seconds", usual, []time.Duration{0, 5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second}, 20 * time.Second, false},
		{"quiet for one and a half half-lives", usual, []time.Duration{0, 250 * ms, 500 * ms}, 9 * time.Second, false},
		{"not quite", usual, []time.Duration{0, 250 * ms, 500 * ms}, 7 * time.Second, true},
		{"off", Damping{}, []time.Duration{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 10, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := Damper{Damping: tt.damp}
			for _, at := range tt.losses {
				d.Lost(at)
			}
			if until, held := d.Held(tt.now); held != tt.held || held && until <= tt.now {
				t.Fatalf("held %v until %s, penalty %.0f", held, until, d.Penalty(tt.now))
			}
		})
	}
}

// However often a link is lost, it is believed again after Max of quiet, and what Held promises comes true.
func TestDamper_AnyHistory_EndsInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, now := Damper{Damping: usual}, time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "losses") {
			now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "gap")) * time.Millisecond
			before := d.Penalty(now)
			d.Lost(now)
			if p := d.Penalty(now); p < before {
				t.Fatalf("a loss lowers the penalty from %.0f to %.0f", before, p)
			}
		}
		until, held := d.Held(now)
		if !held {
			return
		}
		if until > now+usual.Max+time.Second {
			t.Fatalf("held for %s", until-now)
		}
		if _, still := d.Held(until); still {
			t.Fatal("held beyond its time")
		}
		if p := d.Penalty(until); p > usual.Reuse+1 {
			t.Fatalf("released at %.0f", p)
		}
	})
}
