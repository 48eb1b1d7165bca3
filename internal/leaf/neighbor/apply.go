package neighbor

import (
	"time"

	"peerless/internal/liveness"
)

// apply moves an entry by one event: the only place where a state changes.
func (t *Table) apply(now time.Duration, e *entry, ev Event, why string) {
	tr := next(e.State, ev)
	was := e.State
	t.enter(now, e, tr.to)
	for _, do := range tr.do {
		switch do {
		case Nothing:
		case probeNow:
			if t.ports[e.Port].serving {
				t.sched.at(e, now)
			}
		default:
			t.emit(do, e, why)
		}
	}
	if was != Absent && e.State == Absent {
		t.forget(e)
	}
}

// enter does the book-keeping of a new state: who holds the address, how many the port holds, and when it is due next.
func (t *Table) enter(now time.Duration, e *entry, to State) {
	p := t.ports[e.Port]
	if !e.State.Installed() && to.Installed() {
		e.kin = true
		p.held++
		t.holder[e.Addr] = e
	}
	if e.State.Installed() && !to.Installed() {
		p.held--
		p.full = false
		if t.holder[e.Addr] == e {
			delete(t.holder, e.Addr)
		}
	}
	if e.State == to {
		return
	}
	e.State, e.Since = to, now
	t.sched.drop(e)
	e.det = liveness.Detector{Interval: t.cfg.Interval, Multiplier: t.cfg.Multiplier}
	if to == Suspect {
		e.det = liveness.Detector{Interval: doubtProbe, Multiplier: doubtMultiplier}
	}
	switch to {
	case Absent, states:
	case Target:
		e.until = now + t.cfg.Remember
		t.rest(now, e)
	case Inherited, Local:
		t.sched.at(e, t.sched.later(now, t.cfg.Interval))
	case Suspect:
		e.until = now + doubtFor
		t.sched.at(e, now)
	case Draining:
		t.sched.at(e, now+t.cfg.Drain)
	}
}

// rest schedules a target: probed while its port serves, else only forgotten in time.
func (t *Table) rest(now time.Duration, e *entry) {
	switch {
	case t.ports[e.Port].serving:
		t.sched.at(e, t.sched.later(now, t.cfg.Interval))
	case e.Static:
		t.sched.drop(e)
	default:
		t.sched.at(e, e.until)
	}
}
