package neighbor

import (
	"math"
	"slices"
	"time"

	"peerless/internal/model"
)

// Stop tells that a port no longer serves: first every withdrawal, then every removal. The hosts are remembered.
func (t *Table) Stop(now time.Duration, port model.Port) []Change {
	t.Halt(port)
	list, _ := t.Leave(now, port, math.MaxInt)
	return list
}

// Halt tells that a port no longer serves, and leaves its hosts as they are until Leave takes them off, some at a time. Nobody asks
// for them meanwhile. It costs the same whatever their number: what repairs their traffic waits for it.
func (t *Table) Halt(port model.Port) {
	p := t.ports[port]
	p.serving, p.halted = false, true
}

// begin finds out whom Leave is to take off.
func (t *Table) begin(now time.Duration, p *portTable) {
	p.halted, p.leaving = false, p.leaving[:0]
	for _, e := range t.sorted(p) {
		if e.State == Target {
			t.rest(now, e)
			continue
		}
		t.sched.drop(e)
		p.leaving = append(p.leaving, e)
	}
}

// Leave takes at most so many hosts off a port that was halted, and tells how many are left.
func (t *Table) Leave(now time.Duration, port model.Port, most int) ([]Change, int) {
	t.out = t.out[:0]
	p := t.ports[port]
	if p.halted {
		t.begin(now, p)
	}
	n := min(most, len(p.leaving))
	for i, e := range p.leaving[:n] {
		p.leaving[i] = nil
		if e.State != Target && e.State != Absent { // else it has been heard elsewhere meanwhile
			t.apply(now, e, Stopped, "")
		}
	}
	if p.leaving = p.leaving[n:]; len(p.leaving) == 0 {
		p.leaving = nil
	}
	slices.SortStableFunc(t.out, func(a, b Change) int { return int(a.Do) - int(b.Do) }) // Withdraw < Remove
	return t.out, len(p.leaving)
}
