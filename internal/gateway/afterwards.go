package gateway

import (
	"peerless/internal/gateway/mapping"
	"peerless/internal/liveness"
	"peerless/internal/step"
)

// This file puts off what does not repair anything: where the backup serves a host already, its new primary route and the end of its
// backup only prepare for the next failure; and the end of a session that nothing can come by any more has the speaker drop each of its
// paths and tell all other leaves of it (invariant repair-before-housekeeping).

// afterwards is a want of a host that is served without it.
type afterwards struct {
	host *mapping.Host
	want step.Want
}

func (m *Machine) putOff(h *mapping.Host, w step.Want) {
	m.later = append(m.later, afterwards{h, w})
}

// conclude asks for what this step left for afterwards: at once, or if it is much when the repair can be over.
func (m *Machine) conclude() {
	putOff, armed := len(m.later) > m.cfg.Burst, len(m.waiting) > 0
	for _, a := range m.later {
		// One that is forgotten may come back as another; one that nobody serves must not lose what it gets meanwhile (seed 66).
		if !putOff || !a.host.Claimed() || a.host.Primary == mapping.None {
			m.emit(a.want)
			continue
		}
		a.host.Waits++
		m.waiting = append(m.waiting, a)
	}
	if !armed && len(m.waiting) > 0 {
		m.emit(step.Arm{Timer: step.Timer{Kind: timerLater}, At: m.now.Mono + liveness.Respite(len(m.waiting))})
	}
}

// onLater asks for the next portion of what was put off.
func (m *Machine) onLater() {
	n := min(liveness.Portion, len(m.waiting))
	m.release(n)
	if len(m.waiting) > 0 {
		m.emit(step.Arm{Timer: step.Timer{Kind: timerLater}, At: m.now.Mono + liveness.PortionPause})
	}
}

// catchUp asks for all that was put off, before anything else is asked for one of its hosts.
func (m *Machine) catchUp() {
	if len(m.waiting) > 0 {
		m.release(len(m.waiting))
		m.emit(step.Disarm{Timer: step.Timer{Kind: timerLater}})
	}
}

func (m *Machine) release(n int) {
	for i, a := range m.waiting[:n] {
		a.host.Waits--
		m.emit(a.want)
		m.waiting[i] = afterwards{}
	}
	if m.waiting = m.waiting[n:]; len(m.waiting) == 0 {
		m.waiting = nil
	}
}

// partFrom ends the session with a leaf that was lost, when its hosts can have been repaired. Nothing that comes by it counts from now
// on.
func (m *Machine) partFrom(l *leaf, why string) {
	l.reason, l.resetting = why, true
	switch {
	case l.parting:
	case l.primaries > 0:
		l.parting = true
		m.arm(timerPart, l.id, liveness.Respite(l.primaries))
	default:
		m.reset(l)
	}
}

func (m *Machine) reset(l *leaf) {
	m.emit(step.ResetSession{Peer: l.Address, Why: "leaf " + l.Name + " lost: " + l.reason})
}

// part ends a session now whose end was put off. It may have ended or begun anew meanwhile.
func (m *Machine) part(l *leaf) {
	if l.parting {
		l.parting = false
		m.reset(l)
	}
}
