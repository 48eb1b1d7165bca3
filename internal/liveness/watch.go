package liveness

import (
	"net/netip"
	"slices"
	"time"
)

// witnesses bounds how many hosts are asked for one link, and tries how often one that has never answered is asked.
const (
	witnesses = 8
	tries     = 3
	quiet     = 2 // unanswered questions are more than bad luck
)

// Watch decides by the answers of hosts whether the way to them works in both directions: a leaf's link to a server port, a gateway's way
// through a leaf. It decides which hosts are asked and when their joint silence means the way; it never calls a way dead by which nobody
// has answered yet, and never by the silence of one host while another one answers. Build it with NewWatch.
type Watch struct {
	det   Detector
	known []netip.Addr // hosts that have answered, the newest first: the first one is asked, all of them if it is silent
	fresh []newcomer   // hosts that are to show whether they answer
	last  time.Duration
}

type newcomer struct {
	addr  netip.Addr
	asked int
}

// NewWatch makes a watch that knows nobody.
func NewWatch(interval time.Duration, multiplier int) *Watch {
	return &Watch{det: Detector{Interval: interval, Multiplier: multiplier, Patience: Patience(interval)}}
}

// Proven reports whether anybody has answered by this link.
func (w *Watch) Proven() bool { return len(w.known) > 0 }

// Quiet reports whether the last questions, each given its time, had no answer, though it is too early to call the link silent.
func (w *Watch) Quiet() bool { return w.Proven() && w.det.Missed() >= quiet }

// Known is how many hosts have answered by this way.
func (w *Watch) Known() int { return len(w.known) }

// Missed is how many questions in a row nobody has answered.
func (w *Watch) Missed() int { return w.det.Missed() }

// Full reports whether there is no room for another witness.
func (w *Watch) Full() bool { return len(w.known)+len(w.fresh) >= witnesses }

// Keep lets go of witnesses that are not behind this way any more.
func (w *Watch) Keep(here func(netip.Addr) bool) {
	if w.known, w.fresh = slices.DeleteFunc(w.known, func(a netip.Addr) bool { return !here(a) }),
		slices.DeleteFunc(w.fresh, func(n newcomer) bool { return !here(n.addr) }); !w.Proven() {
		w.det.Heard()
	}
}

// Excuse tells that we ourselves were not running until then.
func (w *Watch) Excuse(until time.Duration) { w.det.Excuse(until) }

// Next is when Tick has something to do.
func (w *Watch) Next() time.Duration {
	if w.Proven() {
		return w.det.Next()
	}
	return w.last + w.det.Interval
}

// Tick draws the verdict on the questions before, and gives whom to ask now; the slice is valid until the next call.
func (w *Watch) Tick(now time.Duration) (silent bool, ask []netip.Addr) {
	w.last = now
	if w.Proven() {
		silent = w.det.Probe(now)
		ask = append(ask, w.known[0])
		if w.det.Missed() > 0 {
			ask = append(ask, w.known[1:]...)
		}
	}
	if len(w.fresh) > 0 {
		n := &w.fresh[0]
		ask = append(ask, n.addr)
		if n.asked++; n.asked == tries {
			w.fresh = w.fresh[1:]
		} else {
			w.fresh = append(w.fresh[1:], *n)
		}
	}
	return silent, ask
}

// Meet tells of a host that may become a witness.
func (w *Watch) Meet(addr netip.Addr) {
	if !w.knows(addr) && !w.Full() {
		w.fresh = append(w.fresh, newcomer{addr: addr})
	}
}

// Answered tells that a host answered our question by this link. It reports false for one that is not asked at all.
func (w *Watch) Answered(addr netip.Addr) bool {
	if !w.knows(addr) {
		return false
	}
	w.det.Heard()
	w.drop(addr)
	w.known = slices.Insert(w.known, 0, addr)
	w.known = w.known[:min(len(w.known), witnesses)]
	return true
}

func (w *Watch) knows(addr netip.Addr) bool {
	return slices.Contains(w.known, addr) || slices.ContainsFunc(w.fresh, func(n newcomer) bool { return n.addr == addr })
}

// Gone tells that a host is not behind this link any more, or may not be: its silence says nothing.
func (w *Watch) Gone(addr netip.Addr) {
	w.drop(addr)
	if !w.Proven() {
		w.det.Heard()
	}
}

// Forget knows nobody any more.
func (w *Watch) Forget() {
	w.known, w.fresh = nil, nil
	w.det.Heard()
}

func (w *Watch) drop(addr netip.Addr) {
	w.known = slices.DeleteFunc(w.known, func(a netip.Addr) bool { return a == addr })
	w.fresh = slices.DeleteFunc(w.fresh, func(n newcomer) bool { return n.addr == addr })
}
