package gateway

import (
	"fmt"
	"time"

	"peerless/internal/gateway/mapping"
	"peerless/internal/liveness"
	"peerless/internal/step"
)

func (m *Machine) onSession(ev step.SessionChanged) {
	l := m.leafAt(ev.Peer)
	if l == nil && ev.Up {
		l = m.leafOf(ev.Peer, ev.AS)
	}
	if l == nil {
		return
	}
	if ev.AS != 0 {
		l.asn = ev.AS
	}
	if ev.RouterID.IsValid() {
		m.table.SetTie(l.id, ev.RouterID)
	}
	l.resetting = false
	if ev.Up {
		m.part(l) // what came up may be a session of before
		if !l.implied {
			m.sessionUp(l)
		}
		l.implied = false
		return
	}
	l.parting = false
	m.sessionDown(l, ev)
}

func (m *Machine) sessionUp(l *leaf) {
	m.endSession(l)
	l.session, l.spoke, l.since, l.reason = true, true, m.now.Mono, ""
	l.dropped, l.saidForeign, l.saidLimit = 0, false, false
	m.table.OpenSession(l.id)
	m.note(step.Note{What: whatSessionUp, Port: l.Port, Peer: l.Name, Text: "session with leaf " + l.Name + " up"})
}

// sessionDown is soft evidence unless the leaf said goodbye, or we did: paths stay for the graceful-restart time. Withdrawals that
// come meanwhile are real. A loss of the port has been dealt with already.
func (m *Machine) sessionDown(l *leaf, ev step.SessionChanged) {
	if !l.session {
		if l.phase != lost {
			l.reason = reasonOf(ev)
		}
		return
	}
	m.endSession(l)
	l.reason = reasonOf(ev)
	keep, text := m.cfg.GracefulRestart, "its routes stay for "+m.cfg.GracefulRestart.String()
	if ev.Reason == step.ReasonCeaseDown || ev.Reason == step.ReasonOurs {
		keep, text = ceaseGrace, "its routes go as it withdraws them"
	}
	m.armPatience(timerExpire, l.id, keep)
	m.note(step.Note{
		Warn: true, What: whatSessionDown, Port: l.Port, Peer: l.Name, Why: l.reason, Hosts: l.primaries,
		Text: "session with leaf " + l.Name + " down: " + text,
	})
	if ev.Reason != step.ReasonCeaseDown {
		m.inquire(l) // its daemon may be gone, or all of it
	}
}

func reasonOf(ev step.SessionChanged) string {
	if ev.Detail != "" {
		return ev.Reason.String() + " (" + ev.Detail + ")"
	}
	return ev.Reason.String()
}

// onEndOfRIB: the leaf has said all it has. What it did not say again is gone (RFC 4724 section 4.2).
func (m *Machine) onEndOfRIB(ev step.EndOfRIB) {
	l := m.leafAt(ev.Peer)
	if l == nil || !l.session {
		return
	}
	l.told, l.endOfRIB, l.confirmed = true, true, true
	m.emit(step.Disarm{Timer: step.Timer{Kind: timerExpire, ID: uint32(l.id)}})
	m.forget(l, false)
	m.checkRestart()
}

// onExpire: the graceful-restart time of a leaf is over.
func (m *Machine) onExpire(l *leaf) {
	if n := m.forget(l, !l.session); n > 0 {
		m.note(step.Note{
			Warn: true, What: whatExpired, Port: l.Port, Peer: l.Name, Hosts: n,
			Text: fmt.Sprintf("what leaf %s said of %s is forgotten", l.Name, hosts(n)), Why: "it did not say it again in time",
		})
	}
}

// forget drops what the leaf said in former sessions, or all, and returns how many hosts that concerns.
func (m *Machine) forget(l *leaf, all bool) int {
	before := m.queued
	hosts, kept := m.table.Sweep(m.scratch[:0], l.id, all)
	for _, c := range kept {
		m.remember(c)
	}
	m.enqueueAll(hosts)
	m.scratch = hosts
	m.hurry = true
	return int(m.queued - before)
}

// remembered is a withdrawn claim whose host may turn up behind the other leaf.
type remembered struct {
	until   time.Duration // when it is forgotten, unless another leaf is still claiming
	last    time.Duration // when it is in any case
	claim   *mapping.Claim
	arrival uint64
}

// claimingMax is how many times as long as usual a withdrawn claim is remembered at most.
const claimingMax = 10

// remember looks for the host of a withdrawn claim for a while. The more there are that may be moving, the longer it takes another leaf to
// claim them; once it has begun they are waited for until it has ended.
func (m *Machine) remember(c *mapping.Claim) {
	wait := graceMax + liveness.Claiming(max(len(m.grace), m.table.Under(c.Link.ID)))
	m.grant(remembered{until: m.now.Mono + wait, last: m.now.Mono + claimingMax*wait, claim: c, arrival: c.Arrival()})
}

// grant queues it behind those that are let go before.
func (m *Machine) grant(r remembered) {
	if n := len(m.grace); n > 0 {
		r.until = max(r.until, m.grace[n-1].until)
	}
	m.grace = append(m.grace, r)
	if len(m.grace) == 1 {
		m.emit(step.Arm{Timer: step.Timer{Kind: timerGrace}, At: r.until})
	}
}

func (m *Machine) onGrace() {
	n := 0
	for ; n < len(m.grace) && m.grace[n].until <= m.now.Mono; n++ {
		r := m.grace[n]
		h := r.claim.Host
		switch {
		case !r.claim.Gone() || r.claim.Arrival() != r.arrival:
		case m.now.Mono < r.last && m.table.Choose(h).State != mapping.Claimed && m.claiming(r.claim.Link):
			r.until = min(m.now.Mono+graceMax, r.last)
			m.grant(r)
		default:
			m.table.Forget(r.claim)
			m.touch(h)
		}
	}
	if m.grace = m.grace[n:]; len(m.grace) == 0 {
		m.grace = nil
		return
	}
	m.emit(step.Arm{Timer: step.Timer{Kind: timerGrace}, At: m.grace[0].until})
}

// claiming reports whether another leaf has lately claimed a host anew behind the server port of a link.
func (m *Machine) claiming(of *mapping.Link) bool {
	for _, l := range m.leaves {
		k := m.table.Link(l.id, of.ID)
		if k != nil && l.id != of.Leaf && k.ClaimedAt != 0 && int64(m.now.Mono)-k.ClaimedAt < int64(graceMax) {
			return true
		}
	}
	return false
}
