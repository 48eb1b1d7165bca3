package liveness

import (
	"math"
	"time"
)

// LossPenalty is what one loss of a link costs.
const LossPenalty = 1000

// Damping says when a link that comes and goes is no longer believed when it comes. The zero value never damps.
type Damping struct {
	HalfLife time.Duration // of the penalty; zero: no damping
	Suppress float64       // from this penalty on its return waits
	Reuse    float64       // until the penalty has fallen to this
	Max      time.Duration // and never longer than this
}

// Damper is the penalty of one link (RFC 2439 section 4.2). It only ever delays a return: that a link is lost is believed at once.
type Damper struct {
	Damping
	penalty float64
	at      time.Duration // when it was reckoned
	held    bool
}

// Lost adds the price of one loss.
func (d *Damper) Lost(now time.Duration) {
	if d.HalfLife <= 0 {
		return
	}
	ceiling := d.Reuse * math.Exp2(d.Max.Seconds()/d.HalfLife.Seconds())
	d.penalty, d.at = min(d.Penalty(now)+LossPenalty, ceiling), now
	if d.penalty >= d.Suppress {
		d.held = true
	}
}

// Penalty is what is left of it now.
func (d *Damper) Penalty(now time.Duration) float64 {
	if d.penalty == 0 || d.HalfLife <= 0 {
		return 0
	}
	return d.penalty * math.Exp2(-(now-d.at).Seconds()/d.HalfLife.Seconds())
}

// Held reports whether the link's return waits, and until when.
func (d *Damper) Held(now time.Duration) (until time.Duration, held bool) {
	if !d.held {
		return 0, false
	}
	until = d.at + time.Duration(math.Log2(d.penalty/d.Reuse)*float64(d.HalfLife))
	if now >= until {
		d.held = false
		return 0, false
	}
	return until, true
}
