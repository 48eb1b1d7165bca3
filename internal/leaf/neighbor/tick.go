package neighbor

import "time"

// Tick does what is due: probes within the pace, verdicts, ends of drains, forgetting. It is cheap when nothing is due.
func (t *Table) Tick(now time.Duration) []Change {
	t.out = t.out[:0]
	due, any := t.sched.next()
	if !any || due > now {
		return nil
	}
	t.pause.Fired(now, due)
	for e := t.sched.due(now); e != nil; e = t.sched.due(now) {
		t.ripen(now, e)
	}
	for e := t.sched.turn(now); e != nil; e = t.sched.turn(now) {
		t.probe(now, e)
	}
	return t.out
}

// halted reports whether an entry waits for nothing but to be taken off its port.
func (t *Table) halted(e *entry) bool { return e.State.Installed() && !t.ports[e.Port].serving }

// ripen decides what an entry whose time has come needs.
func (t *Table) ripen(now time.Duration, e *entry) {
	if t.halted(e) {
		return
	}
	switch e.State {
	case Draining:
		t.apply(now, e, Expired, "drained")
	case Target:
		if !e.Static && now >= e.until {
			if t.cfg.Remember == 0 || !t.claimed(e) {
				t.apply(now, e, Expired, "")
				return
			}
			e.until = now + t.cfg.Remember
		}
		if t.ports[e.Port].serving {
			t.sched.enqueue(e)
		} else if !e.Static {
			t.sched.at(e, e.until)
		}
	case Inherited, Local:
		if fresh := e.Heard + t.cfg.Interval; e.Heard > 0 && fresh > now {
			t.sched.at(e, fresh) // it speaks by itself: no probe needed
			return
		}
		t.sched.enqueue(e)
	case Suspect:
		t.sched.enqueue(e)
	case Absent, states:
	}
}

// probe draws the verdict on the probe before and sends the next one.
func (t *Table) probe(now time.Duration, e *entry) {
	if t.halted(e) {
		return
	}
	e.det.Excuse(t.pause.Until())
	silent := e.det.Probe(now)
	switch e.State {
	case Suspect:
		if silent {
			t.apply(now, e, Fell, "silent, and "+e.doubt)
			return
		}
		if now >= e.until && e.det.Missed() == 0 && e.Heard >= e.Since {
			t.stand(now, e)
			return
		}
		t.ask(now, e, e.doubt)
		t.sched.at(e, now+e.asking().pace)
		return
	case Inherited, Local:
		if silent && !e.bound {
			t.apply(now, e, Fell, "silent to probes")
			return
		}
	case Target, Absent, Draining, states:
	}
	t.ask(now, e, askWhy(e.State))
	t.sched.at(e, t.again(now, e))
}

// claimed reports whether another leaf stands for whoever is remembered here: he is not forgotten then.
func (t *Table) claimed(e *entry) bool { return t.cfg.Claimed != nil && t.cfg.Claimed(e.Port, e.Addr) }

// again is when a host is probed next.
func (t *Table) again(now time.Duration, e *entry) time.Duration {
	gap := e.gap
	if e.State != Target || gap == 0 || gap >= t.cfg.Interval {
		e.gap = 0
		if e.standby && t.claimed(e) {
			return t.seldom(now, t.ports[e.Port])
		}
		return t.sched.later(now, t.cfg.Interval)
	}
	if now < e.scouts {
		return now + scoutPace
	}
	e.gap = 2 * gap
	return now + gap
}

// seldom is when somebody is asked next for whom another leaf stands. One of a port's is asked at the usual pace, so that a bond that watches its
// links by ARP hears somebody on the one that stands by. All of it is beside the line of those who are here.
func (t *Table) seldom(now time.Duration, p *portTable) time.Duration {
	if p.vigil > now {
		return onGrid(now+time.Duration(min(p.standby, standbyRest))*t.cfg.Interval, t.cfg.Interval)
	}
	p.vigil = onGrid(now+t.cfg.Interval, t.cfg.Interval)
	return p.vigil
}

// stand ends a doubt in the host's favour.
func (t *Table) stand(now time.Duration, e *entry) {
	at := len(t.out)
	why := "it answers here, and another leaf claims it too"
	if e.doubt != feedDoubt {
		why, e.settled = "it answers here, and was "+e.doubt, now+settledFor
	}
	t.apply(now, e, Stood, why)
	if e.told {
		t.out = t.out[:at]
	}
	e.told = true
}

func (t *Table) ask(now time.Duration, e *entry, why string) {
	e.asked = now
	t.emit(Ask, e, why)
}

func askWhy(s State) string {
	switch s {
	case Target:
		return "remembered here"
	case Inherited:
		return "not verified"
	case Absent, Local, Suspect, Draining, states:
	}
	return "still there?"
}
