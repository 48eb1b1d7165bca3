package server

import (
	"net/netip"
	"time"

	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// slower is how much less often the link in use is probed while its leaf answers: its silence is only the wish that we leave.
const slower = 10

// quitProbes is how many probes in the quick rhythm the leaf of the link in use must leave unanswered before we do.
const quitProbes = 3

// side is one link of the pair.
type side struct {
	role    model.Role
	port    model.Port
	index   int
	member  bool // of the device
	up      bool // a member that can carry frames
	ready   bool // its leaf answers for the gateway address
	silence liveness.Detector
}

func newSide(r model.Role, cfg Config) side {
	port := cfg.Primary
	if r == model.Backup {
		port = cfg.Backup
	}
	return side{role: r, port: port, silence: liveness.Detector{Interval: cfg.Probe, Multiplier: 1}}
}

func (s *side) timer() step.Timer { return step.Timer{Kind: timerProbe, Port: s.port} }

// onProbe asks whether the leaf at the end of the link is open: a leaf's kernel answers for the gateway address only on an
// open port. The probe claims no address (RFC 5227 section 2.1.1), so it teaches nobody that we are there
// (no-self-conflict).
func (m *Machine) onProbe(now model.Instant, s *side) {
	if !s.up {
		return
	}
	silent := s.silence.Probe(now.Mono)
	if m.device.mac.IsZero() {
		silent = true
	} else {
		m.out = append(m.out, step.SendARP{
			Port: s.port, Op: step.ARPRequest, DstMAC: model.Broadcast, SenderMAC: m.device.mac,
			SenderIP: netip.IPv4Unspecified(), TargetIP: m.cfg.Gateway, Why: "is the leaf open",
		})
	}
	fell := silent && s.ready
	if fell {
		s.ready = false
	}
	m.arm(s.timer(), now.Mono+m.probeInterval(s))
	if fell {
		m.decide(now)
	}
}

func (m *Machine) probeInterval(s *side) time.Duration {
	if s.role == m.pair.Active() && s.ready {
		return slower * m.cfg.Probe
	}
	return m.cfg.Probe
}

// probeSoon brings a link that has become the standby back to the quick rhythm.
func (m *Machine) probeSoon(now model.Instant, r model.Role) {
	if s := m.side(r); s.up {
		m.arm(s.timer(), now.Mono+m.cfg.Probe)
	}
}

// onAnswer takes the gateway's answer as the leaf's word that it forwards. An answer with another hardware address is
// somebody else's: frames to the gateway's would not arrive there.
func (m *Machine) onAnswer(now model.Instant, s *side, e step.ARPSeen) {
	mine := e.Op == step.ARPReply && e.SenderIP == m.cfg.Gateway
	if !mine || !s.up || !m.cfg.GatewayMAC.IsZero() && e.SenderMAC != m.cfg.GatewayMAC {
		return
	}
	s.silence.Heard()
	if !s.ready {
		s.ready = true
		m.decide(now)
	}
}
