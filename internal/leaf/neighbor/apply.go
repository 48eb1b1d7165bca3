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
			if do == Install || do == Verify || do == Restamp || do == Renew {
				e.stamped = now
			}
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
	t.review(e)
	t.sched.drop(e)
	e.det = liveness.Detector{Interval: t.cfg.Interval, Multiplier: t.cfg.Multiplier}
	if to == Suspect {
		e.det = liveness.Detector{Interval: e.asking().pace, Multiplier: e.asking().multiplier}
	}
	switch to {
	case Absent, states:
	case Target:
		e.moved, e.lost = false, false
		e.until = now + t.cfg.Remember
		t.rest(now, e)
	case Inherited, Local:
		e.moved, e.lost = false, false
		t.sched.at(e, t.sched.later(now, t.cfg.Interval))
	case Suspect:
		e.until = now + e.asking().bound
		t.sched.at(e, now)
	case Draining:
		t.sched.at(e, now+t.drainOf(e))
	}
}

// asking is how a doubted host is asked.
func (e *entry) asking() *doubt {
	if e.moved {
		return &moved
	}
	return &returning
}

// drainOf is how long a withdrawn host is still delivered to. The more hosts are on the port, the more may be moving: the gateway passes on
// what another leaf claims before it has acted on it itself.
func (t *Table) drainOf(e *entry) time.Duration {
	many := liveness.Word(t.ports[e.Port].held)
	switch {
	case e.moved:
		return 0
	case e.lost:
		return many
	}
	return t.cfg.Drain + many
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
