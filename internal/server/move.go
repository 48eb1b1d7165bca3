package server

import (
	"fmt"

	"peerless/internal/model"
	"peerless/internal/server/linkpair"
	"peerless/internal/step"
)

func (m *Machine) sight() linkpair.Sight {
	return linkpair.Sight{Primary: m.link(&m.sides[0]), Backup: m.link(&m.sides[1])}
}

func (m *Machine) link(s *side) linkpair.Link {
	return linkpair.Link{Up: s.up, Ready: s.ready, Fresh: s.silence.Missed() == 0, Silent: s.silent, Shut: s.shut, Dry: m.dry(s), Mute: m.mute(s), Proves: s.through.answers, Passes: s.through.passes, Carries: s.through.carries}
}

// decide asks the pair and does what it says, after a timer or an answer.
func (m *Machine) decide(now model.Instant) {
	if !m.device.there {
		return
	}
	m.choose(now, m.sides[:])
	m.wake()
}

// choose asks the pair and does what it says. It reports whether both ports were set in passing.
func (m *Machine) choose(now model.Instant, before []side) (touched bool) {
	d := m.pair.Decide(now.Mono, m.sight())
	cause := m.number(d)
	m.noteLinks(before, m.detected(d, before), cause)
	switch d.Verb {
	case linkpair.Stay, linkpair.Invalid:
		return false
	case linkpair.Take, linkpair.Resume:
		m.begin(now, "moved", cause)
		if len(m.guests) < urgentMax {
			m.announceMoved(d) // what the leaf has to do takes longer than the switch
			m.selectPort(d.To)
		} else {
			m.selectPort(d.To) // the leaf asks for those whom nobody has announced yet, and their answers go the way of all traffic
			m.announceMoved(d)
		}
		m.retire(linkpair.Other(d.To))
	case linkpair.Prepare:
		m.prepare(now, d, cause)
		return false
	case linkpair.Switch:
		m.begin(now, m.move.what, cause)
		m.selectPort(d.To)
		m.retire(linkpair.Other(d.To))
		m.announceMoved(d)
	case linkpair.Abort:
		what := "fail-back-aborted"
		if d.To == model.Primary {
			what = "move-aborted"
		}
		m.begin(now, what, cause)
		m.endTrial(now, m.side(linkpair.Other(d.To)))
		n := m.announceAll(d.To, "move aborted", false)
		m.note(step.Note{Warn: true, What: m.move.what, Port: m.side(d.To).port, Why: d.Why, Hosts: n.told(), Stage: step.StageAnnounce, Cause: cause,
			Text: fmt.Sprintf("stays on %s, where it %s", m.side(d.To).port, n)})
		m.repeat()
		return false
	case linkpair.Lost:
		m.stopAnnouncing()
		m.note(step.Note{Warn: true, What: "no-link", Port: m.cfg.Device, Text: "no link of the pair is up", Why: d.Why, Cause: cause})
		return false
	}
	m.probeAnew(now)
	return true
}

// number gives the decision its cause: a new one where a transition begins, the running one where it goes on. The first
// choice after a start moves nobody and has none (one-owner).
func (m *Machine) number(d linkpair.Decision) step.Cause {
	if d.From == model.RoleUnknown {
		return 0
	}
	switch d.Verb {
	case linkpair.Take, linkpair.Prepare, linkpair.Lost, linkpair.Resume:
		m.cause++
		return m.cause
	case linkpair.Switch, linkpair.Abort:
		return m.move.cause
	case linkpair.Stay, linkpair.Invalid:
	}
	return 0
}

// detected is the link whose change made the decision; unknown where a start, a timer or an answer did.
func (m *Machine) detected(d linkpair.Decision, before []side) model.Role {
	if d.From == model.RoleUnknown {
		return model.RoleUnknown
	}
	switch d.Verb {
	case linkpair.Take:
		for i := range m.sides {
			if m.sides[i].role == d.From && before[i].up {
				return d.From
			}
		}
		return d.To
	case linkpair.Lost:
		return d.From
	case linkpair.Resume:
		return d.To
	case linkpair.Abort:
		return linkpair.Other(d.To)
	case linkpair.Stay, linkpair.Prepare, linkpair.Switch, linkpair.Invalid:
	}
	return model.RoleUnknown
}

func (m *Machine) begin(now model.Instant, what string, cause step.Cause) {
	m.stopAnnouncing()
	m.move = move{cause: cause, what: what, at: now.Mono}
}

// prepare announces everybody on the new link while the old one is still in use, so that its leaf has installed them when
// the switch comes (make-before-break).
func (m *Machine) prepare(now model.Instant, d linkpair.Decision, cause step.Cause) {
	what := "fail-back"
	if d.From == model.RoleUnknown || d.To == model.Backup {
		what = "moved"
	}
	m.begin(now, what, cause)
	n := m.announceAll(d.To, "before the switch", false)
	m.beginTrial(now, m.side(d.To))
	port := m.side(d.To).port
	m.note(step.Note{What: what, Port: port, Why: d.Why, Hosts: n.told(), Stage: stageIf(cause, step.StageAnnounce), Cause: cause,
		Text: fmt.Sprintf("before the switch to %s: %s", port, n)})
}

func (m *Machine) announceMoved(d linkpair.Decision) {
	n := m.announceAll(d.To, "moved", false)
	m.repeat()
	port := m.side(d.To).port
	m.note(step.Note{What: m.move.what, Port: port, Why: d.Why, Hosts: n.told(), Stage: stageIf(m.move.cause, step.StageAnnounce), Cause: m.move.cause,
		Text: fmt.Sprintf("uses %s, %s", port, n)})
}

// stageIf gives the stage, none for what is not part of a failover.
func stageIf(cause step.Cause, s step.Stage) step.Stage {
	if cause == 0 {
		return step.StageNone
	}
	return s
}

// selector is the want that makes the kernel send by the active link.
func (m *Machine) selector() step.Key {
	switch {
	case m.device.bond:
		return step.BondActive{Bond: m.cfg.Device}.Key()
	case m.cfg.GatewayMAC.IsZero():
		return step.BridgePort{Port: m.side(m.pair.Active()).port}.Key()
	}
	return step.FDB{Bridge: m.cfg.Device, MAC: m.cfg.GatewayMAC}.Key()
}

// selectPort makes the kernel send by that link: known traffic first (one replace), then what is flooded.
func (m *Machine) selectPort(r model.Role) {
	port, why := m.side(r).port, m.pair.Why()
	if m.device.bond {
		m.want(step.Want{Object: step.BondActive{Bond: m.cfg.Device, Active: port}, Urgent: true, Why: why, Cause: m.move.cause})
		return
	}
	if !m.cfg.GatewayMAC.IsZero() {
		m.want(step.Want{Object: step.FDB{Bridge: m.cfg.Device, MAC: m.cfg.GatewayMAC, Port: port}, Urgent: true, Why: why, Cause: m.move.cause})
	}
	m.want(step.Want{Object: bridgePort(port, true), Urgent: true, Why: why, Cause: m.move.cause})
}

// retire makes a link receive-only, once the other one carries the traffic. A port that is not there is set when it comes.
func (m *Machine) retire(r model.Role) {
	if s := m.side(r); s.member && !m.device.bond {
		m.want(step.Want{Object: bridgePort(s.port, false), After: m.selector(), Why: "receive-only: " + m.pair.Why(), Cause: m.move.cause})
	}
}

// assert asks again for what the kernel may have forgotten of a port (reapply-after-open).
func (m *Machine) assert(s *side, why string) {
	active := m.pair.Active()
	if active == model.RoleUnknown || !s.member {
		return
	}
	used := m.side(active)
	switch {
	case m.device.bond:
		if used.up {
			m.want(step.Want{Object: step.BondActive{Bond: m.cfg.Device, Active: used.port}, Why: why})
		}
	case s != used:
		m.want(step.Want{Object: bridgePort(s.port, false), Why: why})
	default:
		if !m.cfg.GatewayMAC.IsZero() {
			m.want(step.Want{Object: step.FDB{Bridge: m.cfg.Device, MAC: m.cfg.GatewayMAC, Port: s.port}, Why: why})
		}
		m.want(step.Want{Object: bridgePort(s.port, true), Why: why})
	}
}

// bridgePort is the whole setting of a port of the pair. Both are isolated, so that no broadcast of one leaf crosses to
// the other, and neither learns: one ARP would turn the gateway's MAC to the wrong port (one-way-out).
func bridgePort(port model.Port, flood bool) step.BridgePort {
	return step.BridgePort{Port: port, Flood: flood, Learning: false, Isolated: true}
}

func (m *Machine) want(w step.Want) { m.out = append(m.out, w) }

// wake arms the pair's timer for its next moment.
func (m *Machine) wake() {
	at, ok := m.pair.Next()
	t := step.Timer{Kind: timerPair}
	switch {
	case !ok && m.pairTimer != 0:
		m.pairTimer = 0
		m.disarm(t)
	case ok && m.pairTimer != at:
		m.pairTimer = at
		m.arm(t, at)
	}
}
