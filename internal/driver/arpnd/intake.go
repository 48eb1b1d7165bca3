package arpnd

import (
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Limits of data packets on one port. Those of ARP and RARP are in limit.go.
const (
	eventsPerSecond = 200 // DataSeen events
	eventsBurst     = 32
	repeatAfter     = 50 * time.Millisecond // one host's packets give an event only so often

	readsPerSecond = 2000 // packets read at all; beyond it the kernel's filter is made stricter
	readsBurst     = 256
	dataPause      = 100 * time.Millisecond // for so long

	echoesPerSecond = 2000 // answers told; we ask far less
	echoesBurst     = 256
)

// intake turns the frames of one port into events. It is pure: time is an argument.
type intake struct {
	port     model.Port
	counters *counters
	events   bucket
	reads    bucket
	echoes   bucket
	ident    uint16 // of the echo replies that are ours; zero: none
	over     bool
	arp      *throttle    // nil: no limit
	recent   [64]sighting // by the low bits of the address; a clash only costs an event
}

type sighting struct {
	event step.DataSeen
	at    time.Duration
}

func newIntake(p model.Port, c *counters) *intake {
	return &intake{
		port: p, counters: c,
		events: bucket{perSecond: eventsPerSecond, burst: eventsBurst, tokens: eventsBurst},
		reads:  bucket{perSecond: readsPerSecond, burst: readsBurst, tokens: readsBurst},
		echoes: bucket{perSecond: echoesPerSecond, burst: echoesBurst, tokens: echoesBurst},
	}
}

// take counts a frame and gives its event, or nil for a frame that is malformed or one too many.
func (in *intake) take(now time.Duration, frame []byte) step.Event {
	in.counters.received.Add(1)
	if echo, is, err := decodeEcho(in.port, frame, in.ident); is {
		if err != nil {
			in.counters.malformed.Add(1)
			return nil
		}
		if !in.echoes.take(now) {
			return nil
		}
		return echo
	}
	if isData(frame) && !in.reads.take(now) {
		in.over = true
	}
	ev, err := decode(in.port, frame)
	if err != nil {
		in.counters.malformed.Add(1)
		return nil
	}
	if data, ok := ev.(step.DataSeen); ok {
		if !in.worthTelling(now, data) {
			return nil
		}
		in.counters.sampled.Add(1)
		return ev
	}
	return in.limited(now, ev)
}

// limited holds ARP and RARP to the port's pace.
func (in *intake) limited(now time.Duration, ev step.Event) step.Event {
	if in.arp == nil {
		return ev
	}
	switch ev.(type) {
	case step.ARPSeen, step.RARPSeen:
	default:
		return ev
	}
	out := in.arp.admit(now, time.Now(), in.port, ev)
	if out != ev {
		in.counters.limited.Add(1)
	}
	return out
}

func (in *intake) worthTelling(now time.Duration, data step.DataSeen) bool {
	last := &in.recent[int(data.Addr.As4()[3])%len(in.recent)]
	if last.event == data && now-last.at < repeatAfter {
		return false
	}
	if !in.events.take(now) {
		return false
	}
	*last = sighting{data, now}
	return true
}

// exhausted reports, once, that more data packets were read than the port is worth. The next report takes a new burst.
func (in *intake) exhausted() bool {
	over := in.over
	if over {
		in.over, in.reads.tokens = false, readsBurst
	}
	return over
}

// bucket is a token bucket.
type bucket struct {
	perSecond, burst, tokens float64
	at                       time.Duration
}

// grow makes room for more, or less, and what room is new is full.
func (b *bucket) grow(burst float64) {
	b.tokens += max(0, burst-b.burst)
	b.burst = burst
}

func (b *bucket) take(now time.Duration) bool {
	b.tokens = min(b.burst, b.tokens+(now-b.at).Seconds()*b.perSecond)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
