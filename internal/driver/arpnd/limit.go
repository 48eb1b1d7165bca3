package arpnd

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Limits of ARP and RARP on one port. A server that announces thousands of guests at once stays below; one that sends without end is
// heard at this pace, and every other port as if nothing were.
const (
	arpPerSecond  = 2000
	arpBurst      = 16384       // and twice as many as hosts may be there
	naksPerSecond = 16          // a leaf says once that it closes a port
	floodNotice   = time.Second // between two words on a flood

	askedFor = 2 * time.Second // an answer within that time is one to our question
	askedMax = 8192            // questions that are remembered on a port; and twice as many as hosts may be there
)

// asked remembers what was asked on a port: the answers pass whatever else comes in, so that a flood cannot silence the hosts beside it.
// It can be answered only once, hence a flood of answers is no way around the limit. The zero value is ready.
type asked struct {
	hosts atomic.Int64 // that may be behind the port

	mu   sync.Mutex
	open map[netip.Addr]question
}

type question struct {
	mac model.MAC // zero: whoever has the address
	at  time.Time
}

// ask remembers a request that leaves now.
func (a *asked) ask(now time.Time, e *step.SendARP) {
	if e.Op != step.ARPRequest {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil || len(a.open) >= max(askedMax, 2*int(a.hosts.Load())) {
		a.open = map[netip.Addr]question{} // to forget costs only the privilege of answers under way
	}
	a.open[e.TargetIP] = question{e.TargetMAC, now}
}

// answered reports whether a packet is the first answer to a question of ours.
func (a *asked) answered(now time.Time, e step.ARPSeen) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	q, ok := a.open[e.SenderIP]
	if !ok || !q.mac.IsZero() && q.mac != e.SenderMAC {
		return false
	}
	delete(a.open, e.SenderIP)
	return now.Sub(q.at) <= askedFor
}

// throttle limits what is not asked for. Build it with newThrottle.
type throttle struct {
	asked  *asked
	budget bucket
	naks   bucket
	missed int           // since the last notice
	told   time.Duration // when the last notice was given
}

func newThrottle(a *asked) *throttle {
	return &throttle{asked: a, budget: bucket{perSecond: arpPerSecond, burst: arpBurst, tokens: arpBurst},
		naks: bucket{perSecond: naksPerSecond, burst: naksPerSecond, tokens: naksPerSecond}, told: -floodNotice}
}

// admit gives the event that a packet is worth: itself, now and then the notice that there are too many, or nothing.
func (t *throttle) admit(now time.Duration, wall time.Time, port model.Port, ev step.Event) step.Event {
	if arp, ok := ev.(step.ARPSeen); ok {
		switch nak := arp.Op == step.ARPNak; {
		case nak && t.naks.take(now), !nak && t.asked.answered(wall, arp):
			return ev
		}
	}
	t.budget.grow(max(arpBurst, 2*float64(t.asked.hosts.Load())))
	if t.budget.take(now) {
		return ev
	}
	t.missed++
	if now-t.told < floodNotice {
		return nil
	}
	notice := step.Flooded{Port: port, Frames: t.missed}
	t.told, t.missed = now, 0
	return notice
}
