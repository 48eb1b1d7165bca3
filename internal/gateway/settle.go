package gateway

import (
	"time"

	"peerless/internal/gateway/mapping"
	"peerless/internal/liveness"
	"peerless/internal/step"
)

// Reasons of deletions.
const (
	whyUnclaimed = "no leaf claims it"
	whyNoStandby = "no other leaf has its server port up"
)

// touch has a host settled at the end of this step: a withdrawal and a claim in one UPDATE are one change.
func (m *Machine) touch(h *mapping.Host) {
	if !h.Touched {
		h.Touched = true
		m.touched = append(m.touched, h)
	}
}

func (m *Machine) settleTouched() {
	for _, h := range m.touched {
		h.Touched = false
		m.settle(h)
	}
}

// settle makes a host's routes what they ought to be.
func (m *Machine) settle(h *mapping.Host) {
	choice := m.choose(h)
	cause := m.causeOf(h, choice)
	m.report(h, choice, cause)
	m.place(h, choice, cause)
	if h.Basis == nil || choice.Basis == nil || h.Basis.Link != choice.Basis.Link {
		h.Since = int64(m.now.Mono)
	}
	h.Basis, h.State = choice.Basis, choice.State
	m.restock(h)
	if !h.Claimed() && h.Primary == mapping.None && h.Backup == mapping.None {
		m.table.Remove(h)
	}
}

// choose is the table's choice, save that after a start what was found in the kernel stays until it is confirmed, or all
// leaves have said all they have.
func (m *Machine) choose(h *mapping.Host) mapping.Choice {
	choice := m.table.Choose(h)
	if !h.Adopted || !m.restarting {
		return choice
	}
	if !h.Claimed() && m.table.Serving(h.Primary) {
		choice.Primary = h.Primary
	}
	if choice.Backup == mapping.None && h.Backup != choice.Primary && m.table.Serving(h.Backup) && !m.knownDown(h.Backup, choice.Basis) {
		choice.Backup = h.Backup
	}
	return choice
}

func (m *Machine) knownDown(l mapping.LeafID, basis *mapping.Claim) bool {
	if basis == nil {
		return false
	}
	k := m.table.Link(l, basis.Link.ID)
	return k != nil && k.Heard && !m.table.Up(k)
}

// causeOf is the transition that moves a host: the loss of its leaf, the failure of its server port, else this step's
// event. A host that is new or stays where it is belongs to none.
func (m *Machine) causeOf(h *mapping.Host, choice mapping.Choice) step.Cause {
	b := h.Basis
	switch {
	case b == nil && h.Primary == mapping.None:
		return 0
	case b != nil && m.leaves[b.Link.Leaf].cause != 0:
		return m.leaves[b.Link.Leaf].cause
	case h.Primary != mapping.None && m.leaves[h.Primary].cause != 0:
		return m.leaves[h.Primary].cause
	case b != nil && b.Link.Cause != 0:
		return b.Link.Cause
	case choice.Primary != h.Primary:
		return m.ownCause()
	}
	return 0
}

// place asks for the difference: new routes first, then the old primary is deleted, so that the host is never without a
// route. Where the old leaf still draws traffic that it cannot deliver, this is the repair and goes first; the rest waits
// until the new route is confirmed. Where the backup leads to the same leaf as the new route, the deletion alone is the repair. What is
// only preparation for the next failure comes last.
func (m *Machine) place(h *mapping.Host, choice mapping.Choice, cause step.Cause) {
	oldP, oldK := h.Primary, h.Backup
	if h.Waits > 0 && (oldP != choice.Primary || oldK != choice.Backup) {
		m.catchUp()
	}
	h.Primary, h.Backup = choice.Primary, choice.Backup
	repair := m.table.Serving(oldP) && (choice.State != mapping.Claimed || (h.Basis != nil && m.table.Down(h.Basis)))
	var after step.Key
	if choice.Primary != oldP && choice.Primary != mapping.None {
		l := m.leaves[choice.Primary]
		l.primaries++
		w := step.Want{Object: m.primaryRoute(h, l), Urgent: repair, Why: l.claimedWhy, Cause: cause}
		switch {
		case choice.State == mapping.Tentative:
			w.Why = l.tentativeWhy
		case choice.Basis.Static:
			w.Why = "static host"
		}
		after = w.Key()
		if repair && oldK == choice.Primary {
			w.Urgent = false
			m.putOff(h, w)
		} else {
			m.emit(w)
		}
	}
	backup := m.backupChange(h, oldK, choice.Basis != nil && choice.Basis.Static, cause)
	if choice.Primary == mapping.None && choice.Backup != mapping.None && backup.Object != nil {
		after = backup.Key() // nothing else will serve
		m.emit(backup)
		backup.Object = nil
	}
	m.strays(h, choice, after)
	if oldP != choice.Primary && oldP != mapping.None {
		m.dropPrimary(h, m.leaves[oldP], choice, step.Want{After: after, Urgent: repair, Cause: cause})
	}
	if backup.Object != nil {
		backup.Cause = 0 // no part of this repair: it prepares for the next one
		if choice.Primary != oldP {
			backup.After = after // until then it serves
		}
		m.putOff(h, backup)
	}
}

func (m *Machine) dropPrimary(h *mapping.Host, old *leaf, choice mapping.Choice, w step.Want) {
	old.primaries--
	if old.phase != serving {
		old.deleting[h.Addr] = struct{}{}
	}
	if w.Urgent {
		w.After = step.Key{} // the old route leads nowhere, whatever becomes of the new one
	}
	w.Object, w.Absent = m.primaryRoute(h, old), true
	switch {
	case choice.Primary != mapping.None:
		w.Why = "moved to leaf " + m.leaves[choice.Primary].Name
	case old.phase != serving:
		w.Why = "leaf " + old.Name + " is lost"
	case choice.Backup != mapping.None:
		w.Why = "leaf " + old.Name + " does not claim it any more; its backup serves"
	case !h.Claimed():
		w.Why = whyUnclaimed
	default:
		w.Why = whyNoStandby
	}
	if b := m.bypasses[h.BypassOf]; b != nil && b.open {
		b.moving[h.Addr] = struct{}{}
	}
	m.emit(w)
}

// backupChange is the want that brings the backup route about; without an object if it is so already.
func (m *Machine) backupChange(h *mapping.Host, old mapping.LeafID, static bool, cause step.Cause) step.Want {
	switch {
	case h.Backup == old:
		return step.Want{}
	case h.Backup != mapping.None:
		l := m.leaves[h.Backup]
		w := step.Want{Object: m.backupRoute(h, l), Why: l.backupWhy, Cause: cause}
		if static {
			w.Why = "static host"
		}
		return w
	}
	w := step.Want{Object: m.backupRoute(h, m.leaves[old]), Absent: true, Why: whyNoStandby, Cause: cause}
	if !h.Claimed() {
		w.Why = whyUnclaimed
	}
	return w
}

// The queue: hosts that are settled chunk by chunk.

func (m *Machine) enqueue(h *mapping.Host) {
	if !h.Queued {
		h.Queued = true
		m.queue = append(m.queue, h)
		m.queued++
	}
}

func (m *Machine) enqueueAll(hosts []*mapping.Host) {
	for i, h := range hosts {
		m.enqueue(h)
		hosts[i] = nil
	}
}

// queueLeaf queues all hosts that the leaf claims, claimed or stands by for.
func (m *Machine) queueLeaf(l *leaf) {
	m.scratch = m.table.AppendHosts(m.scratch[:0], l.id)
	m.enqueueAll(m.scratch)
	if m.restarting {
		for _, h := range m.adopted {
			m.enqueue(h)
		}
	}
}

func (m *Machine) settleQueued() {
	n := min(len(m.queue), sweepChunk)
	for i, h := range m.queue[:n] {
		m.queue[i] = nil
		h.Queued = false
		m.settle(h)
	}
	m.settled += uint64(n)
	if m.queue = m.queue[n:]; len(m.queue) == 0 {
		m.queue = nil
	}
}

func (m *Machine) scheduleSweep() {
	if m.sweeping {
		return
	}
	delay := time.Duration(-1)
	for _, l := range m.leaves {
		if l.unclean {
			delay = max(delay, cleanupDelay, liveness.Respite(l.primaries))
		}
	}
	if len(m.queue) > 0 {
		delay = sweepPace
	}
	if delay >= 0 {
		m.sweeping = true
		m.emit(step.Arm{Timer: step.Timer{Kind: timerSweep}, At: m.now.Mono + delay})
	}
}

func (m *Machine) onSweep() {
	m.sweeping = false
	for _, l := range m.leaves {
		if l.unclean {
			m.queueLeaf(l)
			l.unclean, l.cleanAt = false, m.queued
		}
	}
	m.hurry = true
}
