package server

import (
	"net/netip"
	"time"

	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// A leaf that answers for itself may yet forward nothing. So an address beyond it is asked, by ICMP echo sent straight out of each link.
// What counts as an answer depends on what is asked. Of the link in use: that the way there and back by this very link works. Of
// the standby link: that its leaf carries upward, since the answer comes down by the link in use. Of a link on trial, to which the
// announcement has just turned what comes down: there and back by this link again, or at the trial's end that its leaf carries upward.
const (
	echoIdent  = 0x706c // told apart from the pings of people
	echoStride = 40503  // odd: sequence numbers look random and come round only after all of them

	trialMax  = 300 * time.Millisecond // within which a new leaf has to show that it forwards
	trialPace = 3 * time.Millisecond   // between two questions of a trial
	// throughSlow is the least pace for a standby link: nothing is lost while nobody knows.
	throughSlow = 250 * time.Millisecond

	asked = 8 // questions that may still be answered
)

// through is what is known of the way beyond the leaf of one link.
type through struct {
	silence liveness.Detector
	due     time.Duration
	seqs    [asked]uint16
	count   int  // questions of this part
	known   bool // it was answered since the link took its part: only then does silence mean anything
	answers bool // the newest questions are answered
	silent  bool
	trial   bool
	passes  bool
	carries bool // an answer of the trial came, by the other link
}

// reset forgets everything.
func (t *through) reset() {
	t.silence.Heard()
	t.due, t.count, t.known, t.answers, t.silent, t.trial, t.passes, t.carries = 0, 0, false, false, false, false, false, false
}

// turn begins another part. A link that passed its trial has answered in it.
func (t *through) turn(active bool) {
	passed := active && t.passes
	t.reset()
	t.known, t.answers = passed, passed
}

func (m *Machine) asksThrough() bool { return m.cfg.Through.Target.IsValid() }

func (m *Machine) throughInterval(s *side) time.Duration {
	switch {
	case s.through.trial:
		return trialPace
	case s.role == m.pair.Active():
		return m.cfg.Through.Interval
	}
	return max(m.cfg.Through.Interval, throughSlow)
}

// mute reports whether a link's leaf forwards nothing though it answers for itself. The silence of what is beyond a standby's leaf
// counts only while the link in use gets answers: else what is beyond may be gone.
func (m *Machine) mute(s *side) bool {
	if !s.through.silent {
		return false
	}
	if s.role == m.pair.Active() {
		return s.through.known
	}
	return m.pair.Active() != model.RoleUnknown && m.side(m.pair.Active()).through.answers
}

// dry reports whether the newest question that has had its time was not answered from beyond the leaf, though one was before.
func (m *Machine) dry(s *side) bool { return s.through.known && s.through.silence.Missed() > 0 }

// onThrough draws the verdict on the questions before and asks again.
func (m *Machine) onThrough(now model.Instant, s *side) {
	if !s.up || !m.asksThrough() {
		return
	}
	t := &s.through
	if t.due != 0 {
		m.pause.Fired(now.Mono, t.due)
	}
	t.silence.Excuse(m.pause.Until())
	interval := m.throughInterval(s)
	if !t.trial {
		t.silence.Interval, t.silence.Patience = interval, liveness.Patience(interval)
		if !m.askThrough(s) {
			m.restThrough(s, now.Mono+interval)
			return
		}
		silent := t.silence.Probe(now.Mono)
		m.restThrough(s, t.silence.Next())
		if silent && !t.silent {
			t.answers, t.silent = false, true
			before := m.cause
			m.decide(now)
			m.noteMute(s, before)
		}
		return
	}
	m.askThrough(s)
	m.restThrough(s, now.Mono+interval)
}

func (m *Machine) restThrough(s *side, at time.Duration) {
	s.through.due = at
	m.arm(step.Timer{Kind: timerThrough, Port: s.port}, at)
}

// askThrough sends one question, if we have an address to ask from and know the leaf's.
func (m *Machine) askThrough(s *side) bool {
	from, mac, ok := m.asker()
	dst := m.cfg.GatewayMAC
	if dst.IsZero() {
		dst = s.leaf
	}
	if !ok || dst.IsZero() {
		return false
	}
	m.echoes++
	seq := m.echoes * echoStride
	s.through.seqs[s.through.count%asked] = seq
	s.through.count++
	m.out = append(m.out, step.SendEcho{Port: s.port, DstMAC: dst, SrcMAC: mac, From: from, To: m.cfg.Through.Target, Ident: echoIdent, Seq: seq,
		Why: "does the leaf forward"})
	return true
}

// asker is an own address in the gateway's subnet, with its hardware address.
func (m *Machine) asker() (netip.Addr, model.MAC, bool) {
	upper := m.upper()
	for _, a := range m.addresses {
		if a.Port != m.cfg.Device && (upper == "" || a.Port != upper) || !m.announceable(a.Prefix.Addr()) || !a.Prefix.Contains(m.cfg.Gateway) {
			continue
		}
		if mac := m.port(a.Port).MAC; usableMAC(mac) {
			return a.Prefix.Addr(), mac, true
		}
	}
	return netip.Addr{}, model.MAC{}, false
}

// onEcho takes an answer from beyond a leaf: of the link by which it was asked, whichever it came in by.
func (m *Machine) onEcho(now model.Instant, e step.EchoSeen) {
	in := m.sideOf(e.Port)
	if in == nil || !in.up || e.Ident != echoIdent || e.From != m.cfg.Through.Target {
		return
	}
	for i := range m.sides {
		if s := &m.sides[i]; s.up && s.through.asked(e.Seq) {
			m.passed(now, s, s == in)
			return
		}
	}
}

func (t *through) asked(seq uint16) bool {
	for _, have := range t.seqs[:min(t.count, asked)] {
		if have == seq {
			return true
		}
	}
	return false
}

// passed counts an answer for what it proves.
func (m *Machine) passed(now model.Instant, s *side, sameLink bool) {
	t := &s.through
	if !sameLink && (t.trial || s.role == m.pair.Active()) {
		t.carries = t.trial
		return
	}
	was := *t
	t.silence.Heard()
	t.known, t.answers, t.silent = true, true, false
	t.passes = t.trial
	if was.silent {
		m.note(step.Note{What: "leaf-forwards", Port: s.port, Text: "the leaf on " + string(s.port) + " forwards again",
			Why: m.cfg.Through.Target.String() + " answers through it"})
	}
	if was.silent || t.passes && !was.passes || !was.answers {
		m.decide(now)
	}
}

// beginTrial asks quickly whether the new link's leaf forwards, if anything can show it.
func (m *Machine) beginTrial(now model.Instant, s *side) {
	if !m.asksThrough() || !s.up {
		return
	}
	s.through.reset()
	s.through.trial = true
	m.restThrough(s, now.Mono+trialPace)
}

// endTrial brings the link back to its standby's rhythm.
func (m *Machine) endTrial(now model.Instant, s *side) {
	if s.through.trial {
		s.through.reset()
		m.restThrough(s, now.Mono+m.throughInterval(s))
	}
}

func (m *Machine) noteMute(s *side, before step.Cause) {
	if m.mute(s) {
		m.noteEvidence(step.Note{What: "leaf-mute", Port: s.port, Text: "the leaf on " + string(s.port) + " forwards nothing",
			Why: "it answers, and " + m.cfg.Through.Target.String() + " does not answer through it"}, before)
	}
}
