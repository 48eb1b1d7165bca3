package liveness

import (
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Path is what BFD says of the way to a neighbour. Down is soft evidence (soft-never-closes): the neighbour's daemon may be gone while its
// kernel forwards. So the kernel is asked at once and quickly, and only its silence is hard. Build it with NewPath.
type Path struct {
	Inquiry
	Up     bool
	Lost   bool // it was up, and went down for a reason other than the neighbour's own wish
	Why    string
	Detect time.Duration

	since time.Duration
}

// NewPath is a path of which BFD, at that pace, has said nothing yet.
func NewPath(interval time.Duration) Path {
	return Path{Inquiry: NewInquiry(interval), Why: "never came up: no evidence"}
}

// Told takes BFD's word, of a neighbour with that name; whether it speaks against the path is the caller's to say. It reports whether the
// session was up before.
func (p *Path) Told(now time.Duration, e step.BFDChanged, neighbor string) (was bool) {
	was = p.Up
	if e.Up != was {
		p.since = now
	}
	p.Up, p.Detect, p.Why = e.Up, e.Detect, e.Diag
	if e.Admin && !e.Up {
		p.Why = "turned off by the " + neighbor
	}
	return was
}

// Row shows the session as a routing neighbour.
func (p *Path) Row(now time.Duration, peer, name string, port model.Port) step.SessionRow {
	r := step.SessionRow{Peer: peer, Name: name + " (bfd)", Port: port, State: "down", Why: p.Why}
	if p.Up {
		r.State, r.Why = "up", "silence is noticed in "+p.Detect.String()
	}
	if p.since != 0 {
		r.SinceMs = (now - p.since).Milliseconds()
	}
	return r
}

// Inquiry is the question that follows soft evidence: is the neighbour's kernel silent too? It is asked at once and so often that the
// answer, or the proof that there is none, comes soon after the evidence. Build it with NewInquiry.
type Inquiry struct {
	det   Detector
	pause Pause
	due   time.Duration
	on    bool
}

const (
	doubtShare  = 5
	doubtLeast  = 10 * time.Millisecond
	doubtMost   = 20 * time.Millisecond
	doubtMissed = 3
)

// NewInquiry paces the question by the evidence, whose own pace was interval; zero: it has none.
func NewInquiry(interval time.Duration) Inquiry {
	pace := doubtMost
	if interval > 0 {
		pace = min(max(interval/doubtShare, doubtLeast), doubtMost)
	}
	return Inquiry{det: Detector{Interval: pace, Multiplier: doubtMissed}, pause: Pause{Slack: pace}}
}

// On reports whether the question is being asked.
func (q *Inquiry) On() bool { return q.on }

// Begin starts it anew.
func (q *Inquiry) Begin() {
	q.on, q.due = true, 0
	q.det.Heard()
}

// End ends it, and reports whether it was being asked.
func (q *Inquiry) End() (was bool) {
	was, q.on = q.on, false
	return was
}

// Ask draws the verdict on the questions before; the next one follows, and Ask is called again at Rest.
func (q *Inquiry) Ask(now time.Duration) (silent bool) {
	if q.due != 0 {
		q.pause.Fired(now, q.due)
	}
	q.det.Excuse(q.pause.Until())
	return q.det.Probe(now)
}

// Rest is when to ask again, after at least so long.
func (q *Inquiry) Rest(now, atLeast time.Duration) time.Duration {
	q.due = now + max(q.det.Interval, atLeast)
	return q.due
}
