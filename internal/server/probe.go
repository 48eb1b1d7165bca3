package server

import (
	"net/netip"
	"time"

	"peerless/internal/claim"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// side is one link of the pair.
type side struct {
	role    model.Role
	port    model.Port
	index   int
	member  bool      // of the device
	up      bool      // a member that can carry frames
	ready   bool      // its leaf answers for the gateway address
	silent  bool      // its leaf let as many questions pass as prove that the link or the leaf is dead
	shut    bool      // its leaf said that it is about to close the port, and has not answered since
	leaf    model.MAC // that answered last
	silence liveness.Detector
	due     time.Duration // the next question
	through through
}

func newSide(r model.Role, cfg Config) side {
	port := cfg.Primary
	if r == model.Backup {
		port = cfg.Backup
	}
	return side{role: r, port: port, silence: detector(cfg.Leaf), through: through{silence: detector(cfg.Through.Probe)}}
}

func detector(p Probe) liveness.Detector {
	return liveness.Detector{Interval: p.Interval, Multiplier: p.Multiplier, Patience: liveness.Patience(p.Interval)}
}

func (s *side) timer() step.Timer { return step.Timer{Kind: timerProbe, Port: s.port} }

// newborn forgets what was true of the link only while it was up.
func (s *side) newborn() {
	s.ready, s.silent, s.shut, s.due = false, false, false, 0
	s.silence.Heard()
	s.through.reset()
}

// onProbe asks whether the leaf at the end of the link is open: a leaf's kernel answers for the gateway address only on an
// open port. The probe claims no address (RFC 5227 section 2.1.1), so it teaches nobody that we are there
// (no-self-conflict).
func (m *Machine) onProbe(now model.Instant, s *side) {
	if !s.up {
		return
	}
	if s.due != 0 {
		m.pause.Fired(now.Mono, s.due)
	}
	s.silence.Excuse(m.pause.Until())
	s.silence.Interval = m.probeInterval(s)
	s.silence.Patience = liveness.Patience(s.silence.Interval)
	silent := s.silence.Probe(now.Mono)
	if m.device.mac.IsZero() {
		silent = true
	} else {
		m.out = append(m.out, step.SendARP{
			Port: s.port, Op: step.ARPRequest, DstMAC: model.Broadcast, SenderMAC: m.device.mac,
			SenderIP: netip.IPv4Unspecified(), TargetMAC: m.use(s), TargetIP: m.cfg.Gateway, Why: "is the leaf open",
		})
	}
	s.due = s.silence.Next()
	m.arm(s.timer(), s.due)
	if silent && !s.silent {
		s.ready, s.silent = false, true
		before := m.cause
		m.decide(now)
		m.noteSilent(s, before)
	}
}

// use tells the leaf whether it is the one that we send by: silence on a link that we have left says nothing of the link. Before we have chosen
// it is told nothing.
func (m *Machine) use(s *side) model.MAC {
	if m.pair.Active() == model.RoleUnknown {
		return model.MAC{}
	}
	return claim.Use(s.role == m.pair.Active())
}

func (m *Machine) probeInterval(s *side) time.Duration {
	if s.role == m.pair.Active() {
		return m.cfg.Leaf.Interval
	}
	return m.cfg.Probe
}

// probeAnew gives both links the rhythm of the part that they play now. What was asked of them in another part counts no more.
func (m *Machine) probeAnew(now model.Instant) {
	for i := range m.sides {
		s := &m.sides[i]
		s.through.turn(s.role == m.pair.Active())
		if !s.up {
			continue
		}
		m.askAt(s, now.Mono+m.probeInterval(s))
		if m.asksThrough() {
			m.restThrough(s, now.Mono+m.throughInterval(s))
		}
	}
}

// askAt puts the next question off, or brings it forward.
func (m *Machine) askAt(s *side, at time.Duration) {
	s.due = at
	m.arm(s.timer(), at)
}

// onAnswer takes the gateway's answer as the leaf's word that it forwards. An answer with another hardware address is
// somebody else's: frames to the gateway's would not arrive there. Nor does an answer to another host count: that one may be reached
// by a way that we are not (an answer must prove what was asked). Nor does one to our own stack, which asks with its address to send:
// a leaf that is drained, or has no gateway, answers that by every link, and only our question, without an address, not.
func (m *Machine) onAnswer(now model.Instant, s *side, e step.ARPSeen) {
	mine := e.SenderIP == m.cfg.Gateway && e.TargetMAC == m.device.mac && e.TargetIP.IsUnspecified()
	if !mine || !s.up || !m.cfg.GatewayMAC.IsZero() && e.SenderMAC != m.cfg.GatewayMAC {
		return
	}
	if e.Op == step.ARPNak {
		m.onParting(now, s)
	}
	if e.Op != step.ARPReply {
		return
	}
	late := s.silence.Missed() > 0
	s.silence.Heard()
	s.leaf, s.shut = e.SenderMAC, false
	spoke := s.silent
	s.silent = false
	if s.ready && !late {
		return
	}
	s.ready = true
	if spoke {
		m.note(step.Note{What: "leaf-speaks", Port: s.port, Text: "the leaf on " + string(s.port) + " answers again", Why: "it answers ARP for the gateway address"})
	}
	m.decide(now)
}

// onParting takes the leaf's word that it is about to close the port: the link is still up, and no use any more. The word holds until the leaf
// answers again (tell-then-close).
func (m *Machine) onParting(now model.Instant, s *side) {
	if s.shut {
		return
	}
	s.ready, s.shut = false, true
	before := m.cause
	m.decide(now)
	m.noteEvidence(step.Note{What: "leaf-closes", Port: s.port, Text: "the leaf on " + string(s.port) + " is about to close the port",
		Why: "it said so"}, before)
}

// noteSilent tells that a leaf stopped answering; of a leaf that never did there is no news.
func (m *Machine) noteSilent(s *side, before step.Cause) {
	if s.leaf.IsZero() {
		return
	}
	m.noteEvidence(step.Note{What: "leaf-silent", Port: s.port, Text: "the leaf on " + string(s.port) + " is silent",
		Why: "it does not answer ARP for the gateway address"}, before)
}

// noteEvidence tells what a verdict rests on; if it began a transition, it is that one's detection.
func (m *Machine) noteEvidence(n step.Note, before step.Cause) {
	n.Warn = true
	if m.cause != before {
		n.Stage, n.Cause = step.StageDetect, m.cause
	}
	m.note(n)
}
