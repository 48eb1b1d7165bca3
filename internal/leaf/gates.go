package leaf

import (
	"net/netip"
	"strings"

	"peerless/internal/leaf/linkage"
	"peerless/internal/liveness"
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
		m.endParting(d)
	}
	switch do {
	case linkage.GateNothing:
	case linkage.AskClose:
		m.part(now, d, cause)
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
	m.emit(m.gateWant(d, closed, why, cause))
}

func (m *Machine) gateWant(d *downlink, closed bool, why string, cause step.Cause) step.Want {
	w := step.Want{Object: step.Gate{Port: d.Port, Closed: closed}, Urgent: true, Why: why, Cause: cause}
	if closed {
		w.After = m.closeAfter
	}
	return w
}

// asker is a server that asks whether this leaf is open. The zero value is none.
type asker struct {
	mac     model.MAC
	gateway netip.Addr // the address of which it asks
}

// asks reports whether the server behind the port asks whether this leaf is open.
func (d *downlink) asks() bool { return !d.asker.mac.IsZero() }

// part closes a port. A server that asks for us is told before and given the time to move: it need not wait until its kernel tells of the
// carrier, which is late where the link is slow to notice or the closing keeps the kernel busy (tell-then-close). For any other
// the loss of carrier is the word, and comes at once.
func (m *Machine) part(now model.Instant, d *downlink, cause step.Cause) {
	w := m.gateWant(d, true, d.shutWhy(), cause)
	n, ok := m.admit.Net(d.asker.gateway)
	if !d.asks() || !ok || d.group == nil || d.group.Forwards() { // a drain closes behind those who have left
		m.emit(w)
		return
	}
	m.emit(step.SendARP{Port: d.Port, Op: step.ARPNak, DstMAC: d.asker.mac, SenderMAC: n.MAC, SenderIP: d.asker.gateway,
		TargetMAC: d.asker.mac, TargetIP: netip.IPv4Unspecified(), Why: "this port is about to be closed"})
	d.parting = &w
	m.emit(step.Arm{Timer: partTimer(d), At: now.Mono + liveness.Parting(m.hosts.Count(d.Port))})
}

func partTimer(d *downlink) step.Timer { return step.Timer{Kind: timerPart, Port: d.Port} }

// onPartTimer closes the port.
func (m *Machine) onPartTimer(d *downlink) {
	if d.parting == nil {
		return
	}
	w := *d.parting
	d.parting = nil
	if d.gate.State == linkage.Closing {
		m.emit(w)
	}
}

func (m *Machine) endParting(d *downlink) {
	if d.parting != nil {
		d.parting = nil
		m.emit(step.Disarm{Timer: partTimer(d)})
	}
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
