package arpnd

import (
	"testing"
	"time"
)

// dataFrom is a data frame of the n-th host.
func dataFrom(n int) []byte {
	frame := unhex(dataHex)
	frame[ipSourceAt+2], frame[ipSourceAt+3] = byte(n>>8), byte(n)
	return frame
}

func TestIntake_SameHost_ToldOnceInAWhile(t *testing.T) {
	in := newIntake("A2", new(counters))
	told := 0
	for at := time.Duration(0); at < time.Second; at += time.Millisecond {
		if in.take(at, dataFrom(2)) != nil {
			told++
		}
	}
	if want := int(time.Second / repeatAfter); told != want {
		t.Errorf("told %d times, want %d", told, want)
	}
}

func TestIntake_ManyHosts_ToldAtTheEventRate(t *testing.T) {
	in := newIntake("A2", new(counters))
	told := 0
	for i := range 10_000 {
		if in.take(time.Duration(i)*100*time.Microsecond, dataFrom(i)) != nil {
			told++
		}
	}
	if want := eventsPerSecond + eventsBurst; told < want-2 || told > want {
		t.Errorf("told %d times in a second, want %d", told, want)
	}
}

func TestIntake_HostRefusedForRate_IsToldLater(t *testing.T) {
	in := newIntake("A2", new(counters))
	for i := range eventsBurst {
		in.take(0, dataFrom(i))
	}
	if in.take(0, dataFrom(200)) != nil {
		t.Fatal("told beyond the burst")
	}
	if in.take(10*time.Millisecond, dataFrom(200)) == nil {
		t.Error("a refused packet suppressed the next one")
	}
}

func TestIntake_ARPInAnyNumber_IsNeverLimited(t *testing.T) {
	in := newIntake("A2", new(counters))
	frame := unhex(arpHex)
	for range 10_000 {
		if in.take(0, frame) == nil || in.exhausted() {
			t.Fatal("ARP was limited")
		}
	}
}

func TestIntake_Flood_IsReportedOncePerBurst(t *testing.T) {
	in := newIntake("A2", new(counters))
	reports := 0
	for range 2*readsBurst + 2 {
		in.take(0, dataFrom(2))
		if in.exhausted() {
			reports++
		}
	}
	if reports != 2 {
		t.Errorf("reported %d times, want 2", reports)
	}
}

func TestIntake_MalformedFrame_IsCounted(t *testing.T) {
	c := new(counters)
	in := newIntake("A2", c)
	if ev := in.take(0, unhex(arpHex)[:40]); ev != nil {
		t.Errorf("got %s", ev)
	}
	if c.received.Load() != 1 || c.malformed.Load() != 1 {
		t.Errorf("received %d, malformed %d; want 1, 1", c.received.Load(), c.malformed.Load())
	}
}
