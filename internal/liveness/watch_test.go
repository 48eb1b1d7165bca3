package liveness

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func host(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 10, 10, n}) }

// run ticks until an instant; answers says who answers, and silent is when the verdict came.
func run(w *Watch, from, to time.Duration, answers ...byte) (silent time.Duration, asked []netip.Addr) {
	at := max(from, w.Next())
	for ; at <= to; at = w.Next() {
		down, ask := w.Tick(at)
		if down && silent == 0 {
			silent = at
		}
		for _, a := range ask {
			asked = append(asked, a)
			if slices.Contains(answers, a.As4()[3]) {
				w.Answered(a)
			}
		}
	}
	return silent, asked
}

func TestWatch_NobodyEverAnswered_IsNeverSilent(t *testing.T) {
	w := NewWatch(100*ms, 3)
	w.Meet(host(1))
	silent, asked := run(w, 0, 10*time.Second)
	if silent != 0 || len(asked) != tries {
		t.Fatalf("silent at %s after %d questions", silent, len(asked))
	}
}

func TestWatch_Witness_SilentWithinTheBound(t *testing.T) {
	for _, pace := range []struct{ interval, bound time.Duration }{{100 * ms, 350 * ms}, {10 * ms, 40 * ms}} {
		w := NewWatch(pace.interval, 3)
		w.Meet(host(1))
		run(w, 0, time.Second, 1)
		silent, _ := run(w, time.Second, 5*time.Second)
		if took := silent - time.Second; silent == 0 || took > pace.bound {
			t.Errorf("%s: silent after %s", pace.interval, took)
		}
	}
}

func TestWatch_OneHostDies_AnotherSpeaksForTheLink(t *testing.T) {
	w := NewWatch(100*ms, 3)
	for n := byte(1); n <= 3; n++ {
		w.Meet(host(n))
	}
	run(w, 0, 2*time.Second, 1, 2, 3)
	first := w.known[0]
	if silent, _ := run(w, 2*time.Second, 10*time.Second, slices.DeleteFunc([]byte{1, 2, 3}, func(n byte) bool { return host(n) == first })...); silent != 0 {
		t.Fatalf("silent at %s though others answer", silent)
	}
	if w.known[0] == first {
		t.Error("the dead host is still the one that is asked")
	}
	if silent, _ := run(w, 10*time.Second, 11*time.Second); silent == 0 {
		t.Error("all are silent, and the link is not")
	}
}

func TestWatch_HostThatLeft_SaysNothing(t *testing.T) {
	w := NewWatch(100*ms, 3)
	w.Meet(host(1))
	run(w, 0, time.Second, 1)
	w.Tick(w.Next())
	w.Gone(host(1))
	if silent, asked := run(w, 2*time.Second, 5*time.Second); silent != 0 || len(asked) != 0 {
		t.Fatalf("silent at %s, asked %v", silent, asked)
	}
}

func TestWatch_OwnPause_IsExcused(t *testing.T) {
	w := NewWatch(100*ms, 1)
	w.Meet(host(1))
	run(w, 0, time.Second, 1)
	w.Tick(w.Next())
	w.Excuse(5 * time.Second)
	if silent, _ := w.Tick(5 * time.Second); silent {
		t.Error("our own pause is taken for silence")
	}
}

func TestWatch_ManyHosts_AFewAreAsked(t *testing.T) {
	w := NewWatch(100*ms, 3)
	for n := byte(1); n < 200; n++ {
		w.Meet(host(n))
	}
	_, asked := run(w, 0, 10*time.Second, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	slices.SortFunc(asked, netip.Addr.Compare)
	if n := len(slices.Compact(asked)); n > witnesses {
		t.Errorf("%d hosts were asked", n)
	}
}
