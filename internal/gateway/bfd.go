package gateway

import (
	"time"

	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// detection is what BFD says of the path to a leaf. Down alone moves only the hosts that another leaf claims in a session that is up. The
// leaf's kernel is asked; its silence is hard, as the loss of the link would be. A session that ends softly is such a doubt as well.
type detection struct {
	liveness.Path
	deaf bool // the leaf's kernel is silent too; it has to answer before the leaf is let in again
}

// askAgain is the pause until a leaf whose session is down, and whose kernel answered, is asked once more.
const askAgain = time.Second

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
	was := b.Told(m.now.Mono, ev, "leaf")
	switch {
	case ev.Up:
		m.doubt(l, false)
		if !was {
			m.note(step.Note{What: whatBFDUp, Port: l.Port, Peer: l.Name, Text: "BFD with leaf " + l.Name + " is up", Why: "its silence is noticed in " + ev.Detect.String()})
		}
		m.speaksAgain(l)
		return
	case ev.Admin:
		m.doubt(l, false)
	case was && l.port.Up():
		m.doubt(l, true)
	}
	if was {
		m.note(step.Note{Warn: b.Lost, What: whatBFDDown, Port: l.Port, Peer: l.Name, Text: "BFD with leaf " + l.Name + " is down", Why: b.Why})
	}
	if b.Lost {
		m.inquire(l)
	}
}

// doubt prefers what other leaves claim to what this one does.
func (m *Machine) doubt(l *leaf, on bool) {
	if l.bfd.Lost == on {
		return
	}
	l.bfd.Lost = on
	m.redoubt(l)
}

// inquire asks the kernel of a leaf that soft evidence speaks against.
func (m *Machine) inquire(l *leaf) {
	if _, ok := m.ownOn(l); !ok || l.bfd.deaf {
		return
	}
	if !m.listens(l.Port) {
		m.want(step.Listen{Port: l.Port, ARPOnly: true, Answers: true}, "words and answers of the leaf")
	}
	l.bfd.Begin()
	m.press(l)
}

// onDoubt goes on asking. A leaf whose session is down is asked again and again, since nothing else may tell of its death.
func (m *Machine) onDoubt(l *leaf) {
	if !l.bfd.On() && l.phase == serving && !l.session && m.table.Claims(l.id) > 0 {
		m.inquire(l)
		return
	}
	m.press(l)
}

func (l *leaf) doubtWhy() string {
	if l.bfd.Lost {
		return "BFD is down"
	}
	return "its session is down"
}

// press draws the verdict on the quick question before and asks the next one. A leaf that is silent is asked on, so that it is heard when
// it is back.
func (m *Machine) press(l *leaf) {
	b := &l.bfd
	own, ok := m.ownOn(l)
	if !b.On() || !ok && !b.deaf {
		b.End()
		return
	}
	if b.Ask(m.now.Mono) && !b.deaf {
		b.deaf = true
		m.lose(l, l.doubtWhy()+" and its kernel is silent to ARP")
	}
	pause := time.Duration(0)
	if b.deaf {
		pause = max(m.cfg.BFD.Interval, m.cfg.LeafProbe.Interval)
	}
	m.emit(step.Arm{Timer: step.Timer{Kind: timerDoubt, ID: uint32(l.id)}, At: b.Rest(m.now.Mono, pause)})
	if ok {
		m.question(l, own, l.via, l.doubtWhy()+": is the leaf's kernel silent too?")
	}
}

// hear takes the answer of a leaf that is doubted.
func (m *Machine) hear(ev step.ARPSeen) {
	for _, l := range m.leaves {
		if l.Port != ev.Port || l.via != ev.SenderIP || ev.Op != step.ARPReply || !l.bfd.On() {
			continue
		}
		if !l.bfd.deaf {
			m.endDoubt(l)
			if !l.session && !m.cfg.NoBGP {
				m.arm(timerDoubt, l.id, askAgain)
			}
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
		m.await(l)
	}
}

func (m *Machine) endDoubt(l *leaf) {
	l.bfd.deaf = false
	if l.bfd.End() {
		m.emit(step.Disarm{Timer: step.Timer{Kind: timerDoubt, ID: uint32(l.id)}})
	}
}

func (m *Machine) bfdRows(now model.Instant) []step.SessionRow {
	if m.cfg.BFD.Interval <= 0 {
		return nil
	}
	rows := make([]step.SessionRow, 0, len(m.leaves))
	for _, l := range m.leaves {
		r := l.bfd.Row(now.Mono, l.Address.String(), l.Name, l.Port)
		if l.bfd.deaf && !l.bfd.Up {
			r.Why += "; its kernel is silent to ARP"
		}
		rows = append(rows, r)
	}
	return rows
}
