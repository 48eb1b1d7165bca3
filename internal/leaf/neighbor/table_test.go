package neighbor

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"peerless/internal/model"
)

const sec = time.Second

func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 10, byte(i >> 8), byte(i)}) }

func mac(i int) model.MAC { return model.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)} }

func newTable(maxHosts int) *Table {
	t := New(Config{Interval: sec, Multiplier: 3, Drain: 50 * time.Millisecond, Remember: time.Minute})
	for _, p := range []model.Port{"A1", "A2"} {
		t.AddPort(p, maxHosts)
	}
	return t
}

func serving(maxHosts int) *Table {
	t := newTable(maxHosts)
	t.Start(0, "A1")
	t.Start(0, "A2")
	return t
}

func dos(list []Change) []Do {
	var out []Do
	for _, c := range list {
		out = append(out, c.Do)
	}
	return out
}

// run lets time go by and collects what the table asks for.
func run(t *Table, from, to time.Duration, each func(time.Duration, Change)) {
	for range 1000000 {
		at, any := t.Next()
		if !any || at > to {
			return
		}
		from = max(from, at)
		for _, c := range slices.Clone(t.Tick(from)) {
			each(from, c)
		}
	}
	panic("the table never rests")
}

func TestHost_Product_EveryPairIsStated(t *testing.T) {
	for s := Absent; s < states; s++ {
		for e := Heard; e < events; e++ {
			tr := next(s, e)
			name := fmt.Sprintf("(%s, %s)", s, e)
			if !tr.stated {
				t.Errorf("%s is not stated", name)
			}
			has := func(d ...Do) bool {
				return slices.ContainsFunc(tr.do[:], func(o Do) bool { return slices.Contains(d, o) })
			}
			if !s.Installed() && tr.to.Installed() && !has(Install, Stand) {
				t.Errorf("%s installs without asking", name)
			}
			if s.Installed() && !tr.to.Installed() && !has(Remove) && e != Elsewhere {
				t.Errorf("%s leaves the kernel's entries behind", name)
			}
			if s.Advertised() && !tr.to.Advertised() && !has(Withdraw) && e != Elsewhere {
				t.Errorf("%s stays advertised", name)
			}
			if !s.Advertised() && tr.to.Advertised() && !has(Install, Stand) {
				t.Errorf("%s is not advertised", name)
			}
			if tr.to == Local && s != Local && e != Heard && e != Announced && e != Stood {
				t.Errorf("%s is local without having spoken", name)
			}
			if e == Hinted && !s.Installed() && tr.to.Installed() {
				t.Errorf("%s installs on a hint", name)
			}
			if e == Stopped && tr.to.Installed() {
				t.Errorf("%s stays installed on a dead port", name)
			}
		}
	}
}

func TestAdmission_Sender(t *testing.T) {
	vmac := model.MAC{2, 0, 0x5e, 0, 0, 1}
	a := Admission{Nets: []Net{{Prefix: netip.MustParsePrefix("10.10.10.0/24"), Gateway: netip.MustParseAddr("10.10.10.254"), MAC: vmac},
		{Prefix: netip.MustParsePrefix("10.20.0.0/31"), Gateway: netip.MustParseAddr("10.20.0.1"), MAC: vmac}}}
	host := mac(1)
	tests := []struct {
		name string
		addr string
		mac  model.MAC
		src  model.MAC
		want Refusal
	}{
		{"a host", "10.10.10.1", host, host, Admitted},
		{"a host behind a proxying bridge", "10.10.10.1", host, mac(2), Admitted},
		{"a probe without address", "0.0.0.0", host, host, NoSender},
		{"the gateway's address", "10.10.10.254", host, host, ClaimsGateway},
		{"network address", "10.10.10.0", host, host, OutsideSubnet},
		{"broadcast address", "10.10.10.255", host, host, OutsideSubnet},
		{"both addresses of a /31 are hosts", "10.20.0.0", host, host, Admitted},
		{"another subnet", "10.10.11.1", host, host, OutsideSubnet},
		{"IPv6", "fe80::1", host, host, NoSender},
		{"multicast MAC", "10.10.10.1", model.MAC{1, 0, 0x5e, 0, 0, 1}, host, BadMAC},
		{"broadcast source", "10.10.10.1", host, model.Broadcast, BadMAC},
		{"zero MAC", "10.10.10.1", model.MAC{}, host, BadMAC},
		{"our own MAC as sender", "10.10.10.1", vmac, host, OwnMAC},
		{"our own MAC as Ethernet source", "10.10.10.1", host, vmac, OwnMAC},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := a.Sender(netip.MustParseAddr(tt.addr), tt.mac, tt.src); got != tt.want {
				t.Fatalf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestTable_Limit_ReportedOnceWhileOver(t *testing.T) {
	tb := serving(2)
	for i := 1; i <= 2; i++ {
		tb.Hear(sec, "A1", addr(i), mac(i), false)
	}
	if got := dos(tb.Hear(sec, "A1", addr(3), mac(3), false)); !slices.Equal(got, []Do{Full}) {
		t.Fatalf("third host: %v", got)
	}
	if got := tb.Hear(sec, "A1", addr(4), mac(4), false); len(got) != 0 {
		t.Fatalf("reported again: %v", got)
	}
	if tb.Count("A1") != 2 {
		t.Fatalf("holds %d", tb.Count("A1"))
	}
	tb.Hear(sec, "A2", addr(1), mac(1), false)
	if got := dos(tb.Hear(sec, "A1", addr(3), mac(3), false)); !slices.Equal(got, []Do{Install}) {
		t.Fatalf("after a host left: %v", got)
	}
}

// It may have been elsewhere meanwhile, and nobody has told us: but what comes within a second repeats the announcement before it.
func TestTable_AnnouncementOfAHostThatIsHere_IsAnArrivalAtMostOnceASecond(t *testing.T) {
	tests := []struct {
		name      string
		announced bool
		at        []time.Duration
		want      int // renewals
	}{
		{"repeated as after a move", true, []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}, 0},
		{"one that comes later", true, []time.Duration{sec}, 1},
		{"one that comes later, repeated", true, []time.Duration{sec, sec + 20*time.Millisecond, sec + 500*time.Millisecond}, 1},
		{"a flood", true, []time.Duration{sec, sec + 1, 2*sec - 1, 2 * sec, 2*sec + 1, 3 * sec}, 3},
		{"answers and questions", false, []time.Duration{sec, 2 * sec, 3 * sec}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tb := serving(8)
			tb.Hear(sec, "A1", addr(1), mac(1), true)
			var got []Do
			for _, at := range tt.at {
				got = append(got, dos(tb.Hear(sec+at, "A1", addr(1), mac(1), tt.announced))...)
			}
			if !slices.Equal(got, slices.Repeat([]Do{Renew}, tt.want)) {
				t.Fatalf("%v, want %d renewals", got, tt.want)
			}
		})
	}
}

func TestTable_AnnouncementOnAHaltedPort_RenewsNothing(t *testing.T) {
	tb := serving(8)
	tb.Hear(sec, "A1", addr(1), mac(1), true)
	tb.Halt("A1")
	if got := tb.Hear(3*sec, "A1", addr(1), mac(1), true); len(got) != 0 {
		t.Fatalf("%v on a port that no longer serves", dos(got))
	}
}

func TestTable_Move_IsOneReplacement(t *testing.T) {
	tb := serving(8)
	tb.Hear(sec, "A1", addr(1), mac(1), false)
	got := tb.Hear(2*sec, "A2", addr(1), mac(1), false)
	if !slices.Equal(dos(got), []Do{Move}) || got[0].From != "A1" {
		t.Fatalf("%+v", got)
	}
	if h, _ := tb.Holder(addr(1)); h.Port != "A2" || tb.Count("A1") != 0 || tb.Count("A2") != 1 {
		t.Fatalf("holder %+v", h)
	}
}

func TestTable_Silence_TakesMultiplierProbes(t *testing.T) {
	tb := serving(8)
	tb.Hear(sec, "A1", addr(1), mac(1), false)
	asks, gone := 0, time.Duration(0)
	run(tb, sec, 20*sec, func(at time.Duration, c Change) {
		switch {
		case c.Do == Ask && gone == 0:
			asks++
		case c.Do == Withdraw:
			gone = at
		}
	})
	if asks != 3 || gone < 5*sec || gone > 7*sec {
		t.Fatalf("%d probes, withdrawn at %s", asks, gone)
	}
}

// A host on its way between two links of one server is delivered to by the old one for a while; behind another server it is gone.
func TestTable_DoubtedHost_LeavesAtOnceIfItIsClaimedBehindAnotherServer(t *testing.T) {
	for _, tc := range []struct {
		name           string
		hosts          int
		moved          bool
		withdraw, gone time.Duration // at the latest after the doubt
		keeps          time.Duration // installed at least
	}{
		{"behind the same server", 1, false, 80 * time.Millisecond, 130 * time.Millisecond, 100 * time.Millisecond},
		{"of many behind the same server", 200, false, 80 * time.Millisecond, 160 * time.Millisecond, 130 * time.Millisecond},
		{"behind another server", 1, true, 3 * time.Millisecond, 3 * time.Millisecond, 2 * time.Millisecond},
		{"of many, behind another server", 200, true, 3 * time.Millisecond, 3 * time.Millisecond, 2 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tb := serving(256)
			for i := range tc.hosts {
				tb.Hear(2*sec, "A1", addr(1+i), mac(1+i), false)
			}
			tb.Doubt(2*sec, addr(1), tc.moved)
			var withdrawn, removed time.Duration
			run(tb, 2*sec, 3*sec, func(at time.Duration, c Change) {
				switch c.Do {
				case Withdraw:
					withdrawn = at - 2*sec
				case Remove:
					removed = at - 2*sec
				}
			})
			if withdrawn == 0 || withdrawn > tc.withdraw || removed < tc.keeps || removed > tc.gone {
				t.Errorf("withdrawn after %s, removed after %s", withdrawn, removed)
			}
		})
	}
}

func TestTable_DoubtedHostThatAnswers_StaysAndIsReported(t *testing.T) {
	for _, moved := range []bool{false, true} {
		tb := serving(8)
		tb.Hear(sec, "A1", addr(1), mac(1), false)
		tb.Doubt(2*sec, addr(1), moved)
		duplicate := false
		run(tb, 2*sec, 3*sec, func(at time.Duration, c Change) {
			switch c.Do {
			case Ask:
				tb.Hear(at, "A1", addr(1), mac(1), false)
			case Duplicate:
				duplicate = true
			case Withdraw, Remove:
				t.Errorf("moved %v: it answers and was given up", moved)
			}
		})
		if !duplicate {
			t.Errorf("moved %v: nobody was told", moved)
		}
	}
}

func TestTable_OurPause_BlamesNobody(t *testing.T) {
	tb := serving(8)
	tb.Hear(sec, "A1", addr(1), mac(1), false)
	now := sec
	for range 10 { // stopped for 10 s each time; the answers wait in our queue behind the timer
		now += 10 * sec
		for _, c := range slices.Clone(tb.Tick(now)) {
			if c.Do == Withdraw {
				t.Fatal("a host was blamed for our pause")
			}
		}
		tb.Hear(now, "A1", addr(1), mac(1), false)
	}
}

func TestTable_ThousandHosts_AreProbedWithinThePace(t *testing.T) {
	tb := serving(2000)
	for i := range 1000 {
		tb.Hear(sec, "A1", addr(i+1), mac(i+1), false) // all learned in one instant
	}
	slots := map[time.Duration]int{}
	seconds := map[time.Duration]int{}
	run(tb, sec, 6*sec, func(at time.Duration, c Change) {
		if c.Do == Ask {
			slots[at/pace]++
			seconds[at/sec]++
			tb.Hear(at, "A1", c.Host.Addr, c.Host.MAC, false)
		}
	})
	for at, n := range slots {
		if n > 2*burst {
			t.Fatalf("%d probes in the millisecond %d", n, at)
		}
	}
	for s := time.Duration(2); s < 6; s++ {
		if seconds[s] == 0 {
			t.Fatalf("no probe in second %d: %v", s, seconds)
		}
	}
}

func TestTable_Memory_EndsAndIsBounded(t *testing.T) {
	tb := serving(4)
	tb.Hear(sec, "A1", addr(1), mac(1), false)
	tb.Stop(2*sec, "A1")
	if !tb.Known("A1", addr(1)) {
		t.Fatal("forgotten at once")
	}
	run(tb, 2*sec, 63*sec, func(_ time.Duration, c Change) { t.Errorf("unexpected %v on a dead port", c.Do) })
	if tb.Known("A1", addr(1)) {
		t.Fatal("remembered for ever")
	}
	for i := range 100 {
		tb.Hint(70*sec, "A2", addr(i+1), mac(i+1), FromData)
	}
	if n := len(tb.Hosts("A2")); n != 4 {
		t.Fatalf("%d hints kept", n)
	}
	run(tb, 70*sec, 80*sec, func(time.Duration, Change) {})
	if n := len(tb.Hosts("A2")); n != 0 {
		t.Fatalf("%d glimpsed addresses still probed", n)
	}
}

func TestTable_Refresh_AllocatesNothing(t *testing.T) {
	tb := serving(8)
	tb.Hear(sec, "A1", addr(1), mac(1), false)
	now := sec
	if n := testing.AllocsPerRun(100, func() { now++; tb.Hear(now, "A1", addr(1), mac(1), false) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestTable_BoundHost_IsNotWithdrawnForSilence(t *testing.T) {
	tb := newTable(8)
	tb.AddStatic(model.HostRoute{Addr: addr(1), Port: "A1", MAC: mac(1)})
	if got := dos(tb.Start(sec, "A1")); !slices.Equal(got, []Do{Stand}) {
		t.Fatalf("start: %v", got)
	}
	run(tb, sec, 60*sec, func(_ time.Duration, c Change) {
		if c.Do != Ask {
			t.Errorf("unexpected %d", c.Do)
		}
	})
	if got := dos(tb.Stop(61*sec, "A1")); !slices.Equal(got, []Do{Withdraw, Remove}) {
		t.Fatalf("stop: %v", got)
	}
}

// Whatever happens, the books agree: one holder for each address, on a serving port, never more than the limit, and what was
// asked for adds up to what is held.
func TestTable_AnyStory_BooksAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := serving(3)
		if rapid.Bool().Draw(t, "static") {
			tb.AddStatic(model.HostRoute{Addr: addr(1), Port: "A1", MAC: mac(1)})
		}
		installed, told := map[netip.Addr]model.Port{}, map[netip.Addr]bool{}
		take := func(list []Change) {
			for _, c := range list {
				switch c.Do {
				case Install, Stand, Move:
					installed[c.Host.Addr], told[c.Host.Addr] = c.Host.Port, true
				case Withdraw:
					delete(told, c.Host.Addr)
				case Remove:
					if installed[c.Host.Addr] != c.Host.Port {
						t.Fatalf("removes %s from %s, which is on %s", c.Host.Addr, c.Host.Port, installed[c.Host.Addr])
					}
					delete(installed, c.Host.Addr)
				}
			}
		}
		now := sec
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += time.Duration(rapid.SampledFrom([]int{0, 1, 20, 60, 500, 1500, 70000}).Draw(t, "gap")) * time.Millisecond
			p := rapid.SampledFrom([]model.Port{"A1", "A2"}).Draw(t, "port")
			i := rapid.IntRange(1, 5).Draw(t, "host")
			switch rapid.IntRange(0, 8).Draw(t, "event") {
			case 0, 1, 2:
				take(tb.Hear(now, p, addr(i), mac(i), rapid.Bool().Draw(t, "announced")))
			case 3:
				take(tb.Hint(now, p, addr(i), mac(i), FromData))
			case 4:
				take(tb.RARP(now, p, mac(i)))
			case 5:
				take(tb.Adopt(now, p, addr(i), mac(i)))
			case 6:
				take(tb.Doubt(now, addr(i), rapid.Bool().Draw(t, "moved")))
			case 7:
				take(tb.Stop(now, p))
			case 8:
				take(tb.Start(now, p))
			}
			take(tb.Tick(now))
			held := map[model.Port]int{}
			for i := 1; i <= 5; i++ {
				h, ok := tb.Holder(addr(i))
				if ok != (installed[addr(i)] != "") || ok && installed[addr(i)] != h.Port {
					t.Fatalf("%s: holder %+v, installed on %q", addr(i), h, installed[addr(i)])
				}
				if ok && h.State.Advertised() != told[addr(i)] {
					t.Fatalf("%s: %s but advertised %v", addr(i), h.State, told[addr(i)])
				}
				if ok {
					held[h.Port]++
				}
			}
			for _, p := range []model.Port{"A1", "A2"} {
				if held[p] != tb.Count(p) || held[p] > 3 {
					t.Fatalf("%s holds %d, counts %d", p, held[p], tb.Count(p))
				}
				if !tb.ports[p].serving && held[p] > 0 {
					t.Fatalf("%s holds %d without serving", p, held[p])
				}
			}
		}
	})
}
