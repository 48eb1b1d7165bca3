package neighbor

import (
	"slices"
	"testing"
	"time"

	"peerless/internal/model"
)

func TestTable_Flapping_IsHeldForAWhile(t *testing.T) {
	tb := serving(8)
	ports := []model.Port{"A1", "A2"}
	told, followed := 0, 0
	for i := range 20 {
		for _, c := range tb.Hear(sec+time.Duration(i)*100*time.Millisecond, ports[i%2], addr(1), mac(1), false) {
			switch c.Do {
			case Unstable:
				told++
			case Move:
				followed++
			}
		}
	}
	if told != 1 || followed != flapMoves {
		t.Fatalf("told %d times, followed %d moves", told, followed)
	}
	if got := dos(tb.Hear(time.Minute, "A1", addr(1), mac(1), false)); len(got) > 1 {
		t.Fatalf("after the window: %v", got)
	}
}

func TestTable_FloodOfAddresses_KeepsNobodyOut(t *testing.T) {
	tb := serving(4)
	for i := range 200 { // announced, so installed as far as there is room, then silent
		at := time.Duration(i) * 500 * time.Millisecond
		tb.Hear(at, "A1", addr(1000+i), mac(1000+i), true)
		run(tb, at, at+500*time.Millisecond, func(time.Duration, Change) {})
		if n := len(tb.Hosts("A1")); n > 2*4 {
			t.Fatalf("%d addresses kept after %d", n, i)
		}
	}
	for i := range 100 {
		tb.Hint(110*sec, "A1", addr(2000+i), mac(2000+i), FromARP)
	}
	run(tb, 110*sec, 115*sec, func(time.Duration, Change) {})
	asked := slices.ContainsFunc(tb.Hint(115*sec, "A1", addr(1), mac(1), FromData), func(c Change) bool { return c.Host.Addr == addr(1) })
	run(tb, 115*sec, 116*sec, func(_ time.Duration, c Change) { asked = asked || c.Do == Ask && c.Host.Addr == addr(1) })
	if !asked {
		t.Fatal("who speaks there is never asked")
	}
}

// A claim with another MAC from another port is answered by asking whoever holds the address. A guest that moved kept its MAC.
func TestTable_ClaimFromAnotherPort_TheHolderIsAskedFirst(t *testing.T) {
	other := model.MAC{0x02, 9, 9, 9, 9, 9}
	for _, tt := range []struct {
		name    string
		mac     model.MAC
		answers bool
		port    model.Port // of the holder after 300 ms
	}{
		{"holder is alive", other, true, "A1"},
		{"holder is gone", other, false, "A2"},
		{"a guest moved", mac(1), false, "A2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab, now := serving(8), time.Second
			tab.Hear(now, "A1", addr(1), mac(1), true)
			tab.Hear(now, "A2", addr(1), tt.mac, true)
			if h, _ := tab.Holder(addr(1)); tt.mac == other && h.Port != "A1" {
				t.Fatal("taken before anybody was asked")
			}
			asked := 0
			for end := now + 600*time.Millisecond; now < end; now += time.Millisecond {
				for _, c := range tab.Tick(now) {
					if c.Do == Ask && c.Host.Port == "A1" {
						asked++
						if tt.answers {
							tab.Hear(now, "A1", addr(1), mac(1), false)
						}
					}
				}
				if now%(10*time.Millisecond) == 0 {
					tab.Hear(now, "A2", addr(1), tt.mac, true)
				}
			}
			h, ok := tab.Holder(addr(1))
			if !ok || h.Port != tt.port || h.MAC != tt.mac && tt.port == "A2" {
				t.Fatalf("held by %+v", h)
			}
			if tt.answers && (h.MAC != mac(1) || asked > 40) {
				t.Fatalf("held by %+v after %d questions", h, asked)
			}
		})
	}
}

func TestTable_OwnersWithoutEnd_RewriteLittleAndStayWithinBounds(t *testing.T) {
	tab := serving(16)
	rewrites, installs := 0, 0
	for i := range 100_000 {
		now := time.Duration(i) * 20 * time.Microsecond
		a := addr(i % 4000)
		for _, c := range tab.Hear(now, "A1", a, model.MAC{2, 1, byte(i >> 16), byte(i >> 8), byte(i), 1}, true) {
			switch c.Do {
			case Rewrite:
				rewrites++
			case Install:
				installs++
			}
		}
		tab.Tick(now)
	}
	if n := tab.Count("A1"); n > tab.ports["A1"].max || rewrites > tab.ports["A1"].max*flapMoves || installs > 2*tab.ports["A1"].max {
		t.Fatalf("%d hosts, %d rewrites, %d installations", n, rewrites, installs)
	}
	if len(tab.entries) > 3*tab.ports["A1"].max || len(tab.moved) > maxMoved+1 {
		t.Fatalf("%d entries, %d counts", len(tab.entries), len(tab.moved))
	}
}
