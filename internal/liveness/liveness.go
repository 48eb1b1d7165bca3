// Package liveness turns heard and unheard probes into verdicts. It is pure and shared by the roles.
//
// It decides when something is silent and when something has been steady for long enough. It never decides what to do about
// either, and it never blames the far end for a pause of our own: a probe counts as missed only when it was really sent, its
// full interval has passed since, and we were running for that whole interval.
package liveness

import "time"

// Detector counts probes without an answer. The zero value has not probed yet and is not silent.
type Detector struct {
	Interval   time.Duration
	Multiplier int // below 1 counts as 1: no number of answers proves silence
	// Patience is what the probe that completes the count is given; zero: a full interval. Answers take far less than an interval,
	// and the probes before it had all of theirs.
	Patience time.Duration

	sent   time.Duration // when the newest probe left
	missed int
	open   bool // a probe is out and unanswered
}

// Probe is called when it is time for a probe, just before it is sent. It reports whether the far end is to be
// called silent: Multiplier probes in a row, each given a full interval, had no answer.
func (d *Detector) Probe(now time.Duration) (silent bool) {
	if d.open && now-d.sent >= d.given() {
		d.missed++
	}
	d.sent, d.open = now, true
	return d.missed >= max(1, d.Multiplier)
}

// Heard is called on every sign of life that counts.
func (d *Detector) Heard() { d.missed, d.open = 0, false }

// Excuse tells that we ourselves were not running until the given instant. An answer may still wait in our own queues, so
// a probe that left before gets its full interval from there.
func (d *Detector) Excuse(until time.Duration) {
	if d.open && d.sent < until {
		d.sent = until
	}
}

// Missed is the number of unanswered probes in a row.
func (d *Detector) Missed() int { return d.missed }

// Next is when the next probe is due, or the verdict.
func (d *Detector) Next() time.Duration { return d.sent + d.given() }

// given is how long the newest probe has to be answered.
func (d *Detector) given() time.Duration {
	if d.open && d.Patience > 0 && d.missed+1 == max(1, d.Multiplier) {
		return min(d.Patience, d.Interval)
	}
	return d.Interval
}

// Patience is what a pace can spare: half of an interval, but not so little that a busy machine is taken for a dead one.
func Patience(interval time.Duration) time.Duration {
	return min(interval, max(interval/2, patienceMin))
}

const patienceMin = 20 * time.Millisecond

// Hold tells whether a condition has held without a break for long enough. The zero value is not holding.
type Hold struct {
	For   time.Duration
	since time.Duration
	on    bool
}

// Set tells the condition as of now; it reports whether it has now held for long enough.
func (h *Hold) Set(now time.Duration, on bool) bool {
	if on && !h.on {
		h.since = now
	}
	h.on = on
	return h.Met(now)
}

// Met reports whether the condition has held for long enough.
func (h *Hold) Met(now time.Duration) bool { return h.on && now-h.since >= h.For }

// Due is when it will be met if nothing changes; false if the condition does not hold.
func (h *Hold) Due() (time.Duration, bool) { return h.since + h.For, h.on }

// Pause notices from late timers that this process was not running (stopped, starved of CPU, machine suspended). The zero
// value has seen no pause.
type Pause struct {
	Slack time.Duration // a timer this late is still punctual
	until time.Duration
}

// Fired tells that something due at one instant was looked at only now. It reports whether that was a pause.
func (p *Pause) Fired(now, due time.Duration) bool {
	if now-due <= p.Slack {
		return false
	}
	p.until = now
	return true
}

// Until is when the last pause ended; zero if there was none.
func (p *Pause) Until() time.Duration { return p.until }
