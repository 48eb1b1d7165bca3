package neighbor

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"peerless/internal/model"
)

// A server that moves sends data through its new link first; the probe before may have found nobody a moment ago.
func TestTable_DataOfARememberedHost_IsAskedAtOnce(t *testing.T) {
	tb := serving(8)
	tb.Hint(sec, "A1", addr(1), mac(1), FromFeed)
	if got := dos(tb.Tick(sec)); !slices.Equal(got, []Do{Ask}) {
		t.Fatalf("remembered: %v", got)
	}
	for _, r := range []struct {
		name  string
		after time.Duration
		want  []Do
	}{
		{"while the answer may be under way", 10 * time.Millisecond, []Do{}},
		{"after it, though no more data came", 20 * time.Millisecond, []Do{Ask}},
		{"after it, by more data", 50 * time.Millisecond, []Do{Ask}},
	} {
		if r.after != 20*time.Millisecond {
			tb.Hint(sec+r.after, "A1", addr(1), mac(1), FromData)
		}
		if got := dos(tb.Tick(sec + r.after)); !slices.Equal(got, r.want) {
			t.Errorf("%s: %v", r.name, got)
		}
	}
}

func TestTable_HostThatLeft_IsGoneAtOnce(t *testing.T) {
	tb := serving(8)
	tb.Hear(sec, "A1", addr(1), mac(1), true)
	tb.Doubt(2*sec, addr(1), false)
	if got := dos(tb.Departed(2*sec, addr(1), true, true)); !slices.Equal(got, []Do{Withdraw}) {
		t.Fatalf("withdrawn first: %v", got)
	}
	if got := dos(tb.Tick(2 * sec)); !slices.Equal(got, []Do{Remove}) {
		t.Fatalf("nothing to drain: %v", got)
	}
	if _, held := tb.Holder(addr(1)); held || !tb.Known("A1", addr(1)) {
		t.Error("it is remembered, and not held")
	}
	if got := tb.Departed(3*sec, addr(1), true, true); len(got) != 0 {
		t.Errorf("again: %v", got)
	}
}

func TestTable_ExpectedHost_IsAskedAgainAndAgain(t *testing.T) {
	scouts := func(tb *Table) { // others of the same server
		for i := range maxScouts {
			tb.Expect(sec, "A1", addr(10+i))
		}
	}
	slow := []time.Duration{0, 50, 150, 350, 750}
	var quick []time.Duration
	for at := time.Duration(0); at <= scoutFor; at += scoutPace {
		quick = append(quick, at/time.Millisecond)
	}
	quick = append(quick, 350, 450, 650) // after that like the others
	rows := []struct {
		name   string
		want   []time.Duration
		expect func(tb *Table)
	}{
		{"given up elsewhere", slow, func(tb *Table) { scouts(tb); tb.Expect(sec, "A1", addr(1)) }},
		{"given up elsewhere just after a probe", slow, func(tb *Table) {
			tb.Hint(sec-time.Millisecond, "A1", addr(1), mac(1), FromFeed)
			tb.Tick(sec - time.Millisecond)
			scouts(tb)
			tb.Expect(sec, "A1", addr(1))
		}},
		{"remembered on a port that opens", slow, func(tb *Table) {
			tb.Hear(sec/2, "A1", addr(1), mac(1), false)
			tb.Stop(sec/2, "A1")
			tb.Start(sec, "A1")
		}},
		{"the first of its server to be given up", quick, func(tb *Table) { tb.Expect(sec, "A1", addr(1)) }},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			tb := serving(8)
			r.expect(tb)
			var asked []time.Duration
			run(tb, sec, 5*sec, func(at time.Duration, c Change) {
				if c.Do == Ask && c.Host.Addr == addr(1) {
					asked = append(asked, (at-sec).Round(10*time.Millisecond)/time.Millisecond)
				}
			})
			if len(asked) <= len(r.want) || asked[0] == 20 { // it was asked just before
				asked[0] = 0
			}
			for i := range r.want {
				if d := asked[i] - r.want[i]; d < -20 || d > 20 {
					t.Fatalf("asked after %d ms, want %d and then once a second", asked, r.want)
				}
			}
			if last := asked[len(asked)-1] - asked[len(asked)-2]; last < 990 {
				t.Fatalf("asked after %d ms: in the end once a second", asked)
			}
		})
	}
}

func TestTable_RARP_ProbesEveryAddressOfTheMAC(t *testing.T) {
	tb := serving(8)
	tb.Hear(sec, "A1", addr(2), mac(1), false)
	tb.Hear(sec, "A1", addr(1), mac(1), false)
	tb.RARP(2*sec, "A2", mac(1))
	var asked []netip.Addr
	for _, c := range tb.Tick(2 * sec) {
		if c.Do == Ask && c.Host.Port == "A2" {
			asked = append(asked, c.Host.Addr)
		}
	}
	if !slices.Equal(asked, []netip.Addr{addr(1), addr(2)}) {
		t.Fatalf("asked %v", asked)
	}
}

// Whoever another leaf claims behind our server port is remembered for as long as it does, and asked now and then only. But somebody on the port
// is asked at the usual pace: a bond that watches by ARP must hear something.
func TestTable_Claimed_IsNotForgottenAndSeldomAsked(t *testing.T) {
	for _, n := range []int{1, 2, 5, 40} {
		claims := true
		tb := New(Config{Interval: sec, Multiplier: 3, Remember: time.Minute, Claimed: func(model.Port, netip.Addr) bool { return claims }})
		tb.AddPort("A1", 64)
		tb.Start(0, "A1")
		for i := range n {
			tb.Hint(sec, "A1", addr(i), mac(i), FromFeed)
		}
		asked, last, pause := 0, sec, time.Duration(0)
		pass := func(from, to time.Duration) {
			for now := from; now < to; now += 10 * time.Millisecond {
				for _, c := range tb.Tick(now) {
					if c.Do == Ask {
						pause, last = max(pause, now-last), now
						asked++
					}
				}
			}
		}
		pass(sec, 10*time.Minute)
		if k := 600 + n*600/min(n, standbyRest); tb.StandbyCount("A1") != n || asked > k || pause > sec+20*time.Millisecond {
			t.Errorf("%d claimed for ten minutes: %d stand by, asked %d times, %d at most, and nobody for %s", n, tb.StandbyCount("A1"), asked, k, pause)
		}
		claims = false
		pass(10*time.Minute, 12*time.Minute)
		if tb.Known("A1", addr(0)) {
			t.Error("nobody claims him any more, and he is not forgotten")
		}
	}
}

// The kernel may have named him a moment before the feed does: he is of this port's server all the same.
func TestTable_FeedNamesWhoeverWasJustAsked_StandsBy(t *testing.T) {
	tb := New(Config{Interval: sec, Multiplier: 3, Remember: time.Minute})
	tb.AddPort("A1", 8)
	tb.Start(0, "A1")
	tb.Hint(sec, "A1", addr(1), model.MAC{}, FromKernel)
	tb.Tick(sec)
	tb.Hint(sec+5*time.Millisecond, "A1", addr(1), mac(1), FromFeed)
	if !tb.StandsBy("A1", addr(1)) || tb.MAC("A1", addr(1)) != mac(1) {
		t.Errorf("stands by %v, MAC %s", tb.StandsBy("A1", addr(1)), tb.MAC("A1", addr(1)))
	}
}
