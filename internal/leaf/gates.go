package leaf

import (
	"strings"

	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
)

// gate applies one event to a downlink's gate and asks for what follows.
func (m *Machine) gate(now model.Instant, d *downlink, ev linkage.GateEvent) {
	port := string(d.Port)
	cause := d.cause
	switch {
	case d.left != "":
		cause = m.drain.cause
	case d.damped != "" || d.opens != "" || d.trust.hush != "": // the port's own
	case d.group != nil:
		cause = d.group.cause
	}
	do := d.gate.Step(ev)
	if do != linkage.GateNothing {
		d.since = now.Mono
	}
	switch do {
	case linkage.GateNothing:
	case linkage.AskClose:
		m.wantGate(d, true, d.shutWhy(), cause)
	case linkage.AskOpen:
		m.wantGate(d, false, d.whyOpen(), cause)
	case linkage.CloseAgain:
		m.wantGate(d, true, d.shutWhy(), cause)
		m.emit(step.Note{Warn: true, What: notePortReclosed, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Cause: cause,
			Text: "port " + port + " was opened by the operator and is closed again: " + d.predicament(), Why: d.whyShut()})
	case linkage.LeaveOpen:
		m.emit(step.Note{Warn: true, What: notePortYielded, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Cause: cause,
			Text: "port " + port + " was opened by the operator again and is left open, though " + d.predicament(), Why: d.whyShut()})
	case linkage.LetGo:
		m.emit(step.Want{Object: step.Gate{Port: d.Port}, Absent: true, Cause: cause,
			Why: "the operator decides about port " + port})
		if d.gate.State == linkage.Off {
			m.noteOperator(d, cause)
		}
	case linkage.NoteOperator:
		if m.seen {
			m.noteOperator(d, cause)
		}
	case linkage.NoteClosed:
		m.emit(step.Note{What: notePortClosed, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Stage: step.StageClose, Cause: cause,
			Text: "port " + port + " closed", Why: d.whyShut()})
	case linkage.NoteOpened:
		m.emit(step.Note{What: notePortOpened, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Stage: step.StageOpen, Cause: cause,
			Text: "port " + port + " opened", Why: strings.TrimPrefix(d.whyOpen(), "port linkage: ")})
	}
}

func (m *Machine) noteOperator(d *downlink, cause step.Cause) {
	m.emit(step.Note{What: notePortOperator, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Cause: cause,
		Text: "port " + string(d.Port) + " was closed by the operator", Why: "it is not opened by us until he opens it"})
}

// wantGate closes or opens. Both are urgent: servers wait for it.
func (m *Machine) wantGate(d *downlink, closed bool, why string, cause step.Cause) {
	w := step.Want{Object: step.Gate{Port: d.Port, Closed: closed}, Urgent: true, Why: why, Cause: cause}
	if closed {
		w.After = m.closeAfter
	}
	m.emit(w)
}

// onGateApplied takes the verified outcome.
func (m *Machine) onGateApplied(now model.Instant, g step.Gate) {
	d := m.down(g.Port)
	if d == nil {
		return
	}
	ev := linkage.Opened
	if g.Closed {
		ev = linkage.Shut
	}
	m.gate(now, d, ev)
	m.review(now, d, d.cause)
}

// whyOpen is why a port may open.
func (d *downlink) whyOpen() string {
	if d.opens != "" {
		return d.opens
	}
	return "port linkage: " + d.group.why
}
