package session

import (
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bfd"
	"pgregory.net/rapid"
)

// pair is two sessions with a link between them, under virtual time.
type pair struct {
	ends [2]*Session
	lost [2]bool // by sender
	now  time.Duration
	wire []flight
	sent [2]int
}

type flight struct {
	to int
	at time.Duration
	p  bfd.BFDHeader
}

const delay = time.Millisecond

func newPair(a, b Config) *pair {
	return &pair{ends: [2]*Session{New(a, epoch), New(b, epoch)}, now: epoch}
}

func both(interval time.Duration, multiplier uint8) *pair {
	return newPair(Config{Interval: interval, Multiplier: multiplier, Discriminator: 1, Seed: 3},
		Config{Interval: interval, Multiplier: multiplier, Discriminator: 2, Seed: 9})
}

func (l *pair) send(from int, p bfd.BFDHeader) {
	l.sent[from]++
	if !l.lost[from] {
		l.wire = append(l.wire, flight{1 - from, l.now + delay, p})
	}
}

// run lets a time go by, in steps of a tenth of a millisecond.
func (l *pair) run(d time.Duration) {
	for end := l.now + d; l.now < end; l.now += 100 * time.Microsecond {
		for len(l.wire) > 0 && l.wire[0].at <= l.now {
			f := l.wire[0]
			l.wire = l.wire[1:]
			if Accepts(&f.p, 0) && l.ends[f.to].Receive(l.now, l.now, &f.p, false) {
				l.send(f.to, l.ends[f.to].Final())
			}
		}
		for i, s := range l.ends {
			s.Expire(l.now)
			if p, ok := s.Transmit(l.now); ok {
				l.send(i, p)
			}
		}
	}
}

func (l *pair) states() [2]bfd.StateType { return [2]bfd.StateType{l.ends[0].state, l.ends[1].state} }

var bothUp = [2]bfd.StateType{bfd.StateUp, bfd.StateUp}

func TestPair_ComesUpWithinASecond_AndRunsAtItsPace(t *testing.T) {
	for _, interval := range []time.Duration{10 * ms, 100 * ms} {
		l := both(interval, 3)
		l.run(1100 * ms)
		if l.states() != bothUp || l.ends[0].polling || l.ends[1].polling {
			t.Fatalf("%s: %v", interval, l.states())
		}
		l.sent = [2]int{}
		l.run(10 * time.Second)
		for i, n := range l.sent {
			if least, most := int(10*time.Second/interval), int(10*time.Second/interval)*100/75; n < least || n > most {
				t.Errorf("%s: end %d sent %d packets in 10 s", interval, i, n)
			}
		}
		if l.states() != bothUp {
			t.Errorf("%s: %v after 10 s", interval, l.states())
		}
	}
}

// Each direction alone: the end that is not heard learns it from the other one.
func TestPair_LossOfEitherDirection_TakesBothDown(t *testing.T) {
	for _, lost := range [][2]bool{{true, false}, {false, true}, {true, true}} {
		l := both(10*ms, 3)
		l.run(1100 * ms)
		l.lost = lost
		l.run(35 * ms)
		down := 0
		for _, s := range l.states() {
			if s == bfd.StateDown || s == bfd.StateInit {
				down++
			}
		}
		if down != 2 {
			t.Errorf("lost %v: %v after 35 ms", lost, l.states())
		}
		l.lost = [2]bool{}
		if l.run(2100 * ms); l.states() != bothUp {
			t.Errorf("lost %v: %v after healing", lost, l.states())
		}
	}
}

func TestPair_OneEndTurnedOff_TheOtherIsDownAndKnowsWhy(t *testing.T) {
	l := both(100*ms, 3)
	l.run(1100 * ms)
	l.ends[0].Disable(l.now)
	l.run(10 * ms)
	if s := l.ends[1].Status(); s.State != bfd.StateDown || s.RemoteState != bfd.StateAdminDown {
		t.Errorf("%+v", s)
	}
}

// Any two configs come up, and one packet lost now and then is never silence.
func TestPair_AnyConfigs_ComeUpAndBearSingleLosses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := func(id uint32) Config {
			return Config{Interval: time.Duration(rapid.IntRange(10, 500).Draw(t, "interval")) * ms, Multiplier: uint8(rapid.IntRange(3, 6).Draw(t, "multiplier")),
				Discriminator: id, Seed: rapid.Uint64().Draw(t, "seed")}
		}
		l := newPair(config(1), config(2))
		l.run(2500 * ms)
		for range 5 {
			l.run(time.Duration(rapid.IntRange(1000, 2000).Draw(t, "apart")) * ms)
			if l.states() != bothUp {
				t.Fatalf("%v", l.states())
			}
			l.lost[rapid.IntRange(0, 1).Draw(t, "end")] = true
			l.run(8 * ms) // less than three quarters of the shortest interval: at most one packet
			l.lost = [2]bool{}
		}
	})
}
