package gateway

import (
	"time"

	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// detection is what BFD says of the path to a leaf. Down is soft evidence (soft-never-closes): the leaf's daemon may be gone while its
// kernel forwards. Alone it moves only the hosts that another leaf claims in a session that is up. The leaf's kernel is asked at once and
// quickly; its silence is hard, as the loss of the link would be.
type detection struct {
	up     bool
	lost   bool // it was up, and went down for a reason other than the leaf's own wish
	deaf   bool // the leaf's kernel is silent too; it has to answer before the leaf is let in again
	why    string
	detect time.Duration
	since  time.Duration

	asking bool
	det    liveness.Detector
	pause  liveness.Pause
	due    time.Duration
}

func newDetection(p Probe) detection {
	det := liveness.Doubt(p.Interval)
	return detection{why: "never came up: no evidence", det: det, pause: liveness.Pause{Slack: det.Interval}}
}

// watch asks for BFD with a leaf, when its port is there or was made anew.
func (m *Machine) watch(l *leaf) {
	if m.cfg.BFD.Interval > 0 {
		m.want(m.bfdOf(l), "a path to leaf "+l.Name+" that is silent is noticed soon")
	}
}

func (m *Machine) unwatch(l *leaf) {
	m.endDoubt(l)
	if m.cfg.BFD.Interval > 0 {
		m.absent(m.bfdOf(l), "leaf "+l.Name+" is not on that port any more")
	}
}

func (m *Machine) bfdOf(l *leaf) step.BFDSession {
	return step.BFDSession{Port: l.Port, Peer: l.via, Interval: m.cfg.BFD.Interval, Multiplier: m.cfg.BFD.Multiplier}
}

// onBFD weighs what BFD says. A session that never came up is never told of.
func (m *Machine) onBFD(ev step.BFDChanged) {
	for _, l := range m.leaves {
		if l.Port == ev.Port && l.via == ev.Peer {
			m.leafBFD(l, ev)
		}
	}
}

func (m *Machine) leafBFD(l *leaf, ev step.BFDChanged) {
	b := &l.bfd
	was := b.up
	if ev.Up != was {
		b.since = m.now.Mono
	}
	b.up, b.detect, b.why = ev.Up, ev.Detect, ev.Diag
	switch {
	case ev.Up:
		m.doubt(l, false)
		if !was {
			m.note(step.Note{What: whatBFDUp, Port: l.Port, Peer: l.Name, Text: "BFD with leaf " + l.Name + " is up", Why: "its silence is noticed in " + ev.Detect.String()})
		}
		m.speaksAgain(l)
		return
	case ev.Admin:
		b.why = "turned off by the leaf"
		m.doubt(l, false)
	case was && l.port.Up():
		m.doubt(l, true)
	}
	if was {
		m.note(step.Note{Warn: b.lost, What: whatBFDDown, Port: l.Port, Peer: l.Name, Text: "BFD with leaf " + l.Name + " is down", Why: b.why})
	}
	if _, ok := m.ownOn(l); b.lost && ok && !b.deaf {
		b.asking, b.due = true, 0
		b.det.Heard()
		m.press(l)
	}
}

// doubt prefers what other leaves claim to what this one does.
func (m *Machine) doubt(l *leaf, on bool) {
	if l.bfd.lost == on {
		return
	}
	l.bfd.lost = on
	m.redoubt(l)
}

// press draws the verdict on the quick question before and asks the next one. A leaf that is silent is asked on, so that it is heard when
// it is back.
func (m *Machine) press(l *leaf) {
	b := &l.bfd
	own, ok := m.ownOn(l)
	if !b.asking || !ok && !b.deaf {
		b.asking = false
		return
	}
	if b.due != 0 {
		b.pause.Fired(m.now.Mono, b.due)
	}
	b.det.Excuse(b.pause.Until())
	if b.det.Probe(m.now.Mono) && !b.deaf {
		b.deaf = true
		m.lose(l, "BFD is down and its kernel is silent to ARP")
	}
	b.due = m.now.Mono + b.det.Interval
	if b.deaf {
		b.due = m.now.Mono + max(b.det.Interval, m.cfg.BFD.Interval)
	}
	m.emit(step.Arm{Timer: step.Timer{Kind: timerDoubt, ID: uint32(l.id)}, At: b.due})
	if ok {
		m.question(l, own, l.via, "BFD is down: is the leaf's kernel silent too?")
	}
}

// hear takes the answer of a leaf that is doubted.
func (m *Machine) hear(ev step.ARPSeen) {
	for _, l := range m.leaves {
		if l.Port != ev.Port || l.via != ev.SenderIP || ev.Op != step.ARPReply || !l.bfd.asking {
			continue
		}
		if !l.bfd.deaf {
			m.endDoubt(l)
			continue
		}
		m.speaksAgain(l)
	}
}

// speaksAgain lets a leaf that was silent begin anew, as if its link had come back.
func (m *Machine) speaksAgain(l *leaf) {
	deaf := l.bfd.deaf
	m.endDoubt(l)
	if !deaf {
		return
	}
	m.note(step.Note{What: whatLeafSpeaks, Port: l.Port, Peer: l.Name, Text: "leaf " + l.Name + " answers again", Why: "it is let in when it has told of its attachments"})
	if l.port.Up() && l.phase == lost {
		l.phase = waiting
	}
}

func (m *Machine) endDoubt(l *leaf) {
	l.bfd.deaf = false
	if l.bfd.asking {
		l.bfd.asking = false
		m.emit(step.Disarm{Timer: step.Timer{Kind: timerDoubt, ID: uint32(l.id)}})
	}
}

func (m *Machine) bfdRows(now model.Instant) []step.SessionRow {
	if m.cfg.BFD.Interval <= 0 {
		return nil
	}
	rows := make([]step.SessionRow, 0, len(m.leaves))
	for _, l := range m.leaves {
		r := step.SessionRow{Peer: l.Address.String(), Name: l.Name + " (bfd)", Port: l.Port, State: "down", Why: l.bfd.why}
		switch {
		case l.bfd.up:
			r.State, r.Why = "up", "silence is noticed in "+l.bfd.detect.String()
		case l.bfd.deaf:
			r.Why += "; its kernel is silent to ARP"
		}
		if l.bfd.since != 0 {
			r.SinceMs = (now.Mono - l.bfd.since).Milliseconds()
		}
		rows = append(rows, r)
	}
	return rows
}
