package probe

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEvaluate_LossDuplicatesAndGaps(t *testing.T) {
	const step = int64(time.Millisecond) // packet n is sent at n ms
	at := func(seq uint64) int64 { return int64(seq) * step }
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	whole := Span{100, 1100}
	rows := []struct {
		name   string
		window Span
		seen   []Seen
		want   Outcome
	}{
		{"nothing lost", whole, []Seen{{}}, Outcome{Sent: 1000, Recovered: true}},
		{
			"one packet lost is out until the next one is sent", whole, []Seen{{Missing: []Span{{200, 201}}}},
			Outcome{Sent: 1000, Lost: 1, Outage: ms(1), Recovered: true, Gaps: []Gap{{Sent: 200 * step, Until: 201 * step, Lost: 1}}},
		},
		{
			"the longest of two gaps counts", whole, []Seen{{Missing: []Span{{200, 203}, {300, 310}}}},
			Outcome{Sent: 1000, Lost: 13, Outage: ms(10), Recovered: true, Gaps: []Gap{
				{Sent: 200 * step, Until: 203 * step, Lost: 3}, {Sent: 300 * step, Until: 310 * step, Lost: 10},
			}},
		},
		{
			"lost to the end", whole, []Seen{{Missing: []Span{{1000, 1100}}}},
			Outcome{Sent: 1000, Lost: 100, Outage: ms(99), Gaps: []Gap{{Sent: 1000 * step, Until: 1099 * step, Lost: 100, Open: true}}},
		},
		{
			"a loss in the tail is not recovered", whole, []Seen{{Missing: []Span{{950, 951}}}},
			Outcome{Sent: 1000, Lost: 1, Outage: ms(1), Gaps: []Gap{{Sent: 950 * step, Until: 951 * step, Lost: 1}}},
		},
		{
			"a loss right before the tail is", whole, []Seen{{Missing: []Span{{898, 899}}}},
			Outcome{Sent: 1000, Lost: 1, Outage: ms(1), Recovered: true, Gaps: []Gap{{Sent: 898 * step, Until: 899 * step, Lost: 1}}},
		},
		{"duplicates are no loss", whole, []Seen{{Duplicated: 7}}, Outcome{Sent: 1000, Duplicated: 7, Recovered: true}},
		{"nothing sent proves nothing", Span{5, 5}, []Seen{{}}, Outcome{}},
		{
			"two receivers share a flow", whole, []Seen{{Missing: []Span{{100, 600}}}, {Missing: []Span{{590, 1100}}}},
			Outcome{Sent: 1000, Lost: 10, Outage: ms(10), Recovered: true, Gaps: []Gap{{Sent: 590 * step, Until: 600 * step, Lost: 10}}},
		},
		{
			"two receivers got the same packets", whole, []Seen{{Missing: []Span{{100, 600}}}, {Missing: []Span{{650, 1100}}}},
			Outcome{Sent: 1000, Duplicated: 50, Recovered: true},
		},
		{
			"no receiver", Span{0, 10}, nil,
			Outcome{Sent: 10, Lost: 10, Outage: ms(9), Gaps: []Gap{{Until: 9 * step, Lost: 10, Open: true}}},
		},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got := Evaluate(r.window, Merge(r.window, r.seen), at, 200*time.Millisecond)
			if d := cmp.Diff(r.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestSeenLog_CountsLapsApart(t *testing.T) {
	s := newSeenLog()
	for _, seq := range []uint64{0, 1, 1, 1, 3} {
		s.add(seq)
	}
	missing, dup := s.missing(0, 5)
	if d := cmp.Diff([]Span{{2, 3}, {4, 5}}, missing); d != "" || dup != 2 {
		t.Errorf("got %d duplicated, missing (-want +got):\n%s", dup, d)
	}
	s.add(ringLen + 1) // the same slot as packet 1, one lap on
	if s.count(1) != 0 || s.count(ringLen+1) != 1 {
		t.Errorf("packet 1 counts %d, packet %d counts %d; want 0 and 1", s.count(1), ringLen+1, s.count(ringLen+1))
	}
	s.add(1) // far too late: it must not undo the newer lap
	if s.count(ringLen+1) != 1 {
		t.Error("a packet of an older lap overwrote a newer one")
	}
	s.addLate(3, lateMin-1)
	s.addLate(4, lateMin+1)
	s.addLate(9, lateMin+5)
	if got := s.latest(0, 9); got != lateMin+1 {
		t.Errorf("the latest of packets 0 to 8 is %d, want %d", got, lateMin+1)
	}
	for range 2 * countMax {
		s.add(7)
	}
	if s.count(7) != countMax {
		t.Errorf("packet 7 counts %d, want it to stop at %d", s.count(7), countMax)
	}
}

func TestSentLog_WindowAndPause(t *testing.T) {
	s := newSentLog()
	for _, at := range []int64{10, 20, 30, 70, 80} {
		s.add(at)
	}
	rows := []struct {
		name       string
		from, to   int64
		first, end uint64
		pause      int64
	}{
		{"all", 0, 100, 0, 5, 40},
		{"the end is not part of it", 20, 70, 1, 3, 10},
		{"between two packets", 31, 69, 3, 3, 0},
		{"after all", 90, 100, 5, 5, 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			first, end := s.window(r.from, r.to)
			if first != r.first || end != r.end || s.pause(first, end) != r.pause {
				t.Errorf("got [%d,%d) pause %d, want [%d,%d) pause %d", first, end, s.pause(first, end), r.first, r.end, r.pause)
			}
		})
	}
	for i := range int64(ringLen) {
		s.add(100 + i)
	}
	if first, end := s.window(0, 1<<60); first != 5 || end != ringLen+5 || s.at(4) != 0 || s.at(5) != 100 {
		t.Errorf("after a lap: window [%d,%d), packet 4 at %d, packet 5 at %d", first, end, s.at(4), s.at(5))
	}
}

func TestParse_OnlyWholePackets(t *testing.T) {
	want := packet{run: 7, flow: 3, seq: 1 << 40, sent: 99}
	var b [packetLen]byte
	want.put(&b)
	if got, ok := parse(b[:]); !ok || got != want {
		t.Errorf("got %+v %v, want %+v", got, ok, want)
	}
	if _, ok := parse(b[:packetLen-1]); ok {
		t.Error("a short datagram passed")
	}
}

func TestLoop_Turn_AllocatesNothing(t *testing.T) {
	l := &loop{clock: newClock(), rx: -1, seen: map[uint32]*seenLog{0: newSeenLog()}}
	f := &sendFlow{fd: -1, interval: 1, log: newSentLog()}
	l.send = []*sendFlow{f}
	n := testing.AllocsPerRun(100, func() {
		now := l.clock.now()
		f.due = now
		l.sendDue(f, now)
		l.drain()
		l.sleepUntil(now)
	})
	if n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}
