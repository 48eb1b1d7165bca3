package gateway

import (
	"time"

	"peerless/internal/claim"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// A leaf that loses a server port says so by ARP before its announcement has passed two BGP speakers (foretold-by-arp).

const (
	// foretoldFor is how long the announcement may take, and longer where many hosts move.
	foretoldFor = time.Second
	// steadyFor is how long a port must have been announced as up. The two ways are not in step: what came by ARP may be older than
	// the newest announcement.
	steadyFor = 100 * time.Millisecond
)

// onWord moves hosts as the announcement would. It is believed only for what this leaf announces as up now, in a session that is up.
func (m *Machine) onWord(ev step.ARPSeen) {
	l := m.leafAt(ev.SenderIP)
	state, reason, ok := claim.ParseForetold(ev.TargetMAC)
	if !ok || l == nil || l.Port != ev.Port || !l.port.Up() || !l.session || l.resetting {
		return
	}
	id, ok := m.attachmentOf(step.HostPrefix(ev.TargetIP))
	k := m.table.Link(l.id, id)
	if !ok || id == 0 || k == nil || !m.table.Up(k) || int64(m.now.Mono)-k.SaidAt < int64(steadyFor) {
		return
	}
	m.table.Foretell(k, state, reason)
	m.emit(step.Arm{Timer: step.Timer{Kind: timerWord, Addr: l.Address, ID: uint32(id)}, At: m.now.Mono + foretoldFor + liveness.Word(k.Standing())})
	m.portFailed(l, k)
}

// onWordOver goes back to what the leaf announces. Without a session it announces nothing: then its word stands until there is one.
func (m *Machine) onWordOver(t step.Timer) {
	l := m.leafAt(t.Addr)
	if l == nil || !l.session {
		return
	}
	k := m.table.Link(l.id, model.AttachmentID(t.ID))
	if k == nil {
		return
	}
	if announced, foretold := k.Foretold(); foretold {
		m.attachmentNote(l, k, whatNotAnnounced, "is up after all", "the leaf said by ARP that it is not, and has not announced it")
		m.announced(l, announced)
	}
}
