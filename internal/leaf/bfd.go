package leaf

import (
	"peerless/internal/model"
	"peerless/internal/step"
)

// onBFD weighs what BFD says. A session that never came up is never told of.
func (m *Machine) onBFD(now model.Instant, e step.BFDChanged) {
	u, ok := m.ports[e.Port].(*uplink)
	if !ok || e.Peer != u.Neighbor {
		return
	}
	b := &u.bfd
	was := b.Told(now.Mono, e, "gateway")
	if e.Up {
		b.Lost = false
		m.endDoubt(u)
		if !was {
			m.emit(step.Note{What: noteBFDUp, Port: u.Port, Peer: u.Neighbor.String(), Text: "BFD over " + string(u.Port) + " is up",
				Why: "silence of the gateway is noticed in " + e.Detect.String()})
		}
		m.settle(now, 0)
		return
	}
	if e.Admin {
		b.Lost = false
	}
	if !was {
		return
	}
	b.Lost = !e.Admin && u.Up
	m.emit(step.Note{Warn: b.Lost, What: noteBFDDown, Port: u.Port, Peer: u.Neighbor.String(), Text: "BFD over " + string(u.Port) + " is down", Why: b.Why})
	if b.Lost && !u.Silent && u.own.IsValid() {
		b.Begin()
		m.pressUplink(now, u)
	}
	m.settle(now, 0)
}

// pressUplink draws the verdict on the quick question before and asks the next one.
func (m *Machine) pressUplink(now model.Instant, u *uplink) {
	b := &u.bfd
	if !b.On() || !u.Up || !u.own.IsValid() {
		b.End()
		return
	}
	if b.Ask(now.Mono) {
		b.End()
		if !u.Silent {
			u.Mute()
			m.settle(now, 0)
		}
		return
	}
	m.emit(step.Arm{Timer: step.Timer{Kind: timerDoubt, Port: u.Port}, At: b.Rest(now.Mono, 0)})
	m.askGateway(u, "BFD is down: is the gateway's kernel silent too?")
}

// refute ends the doubt: the gateway's kernel answered. Its daemon is gone, and that closes nothing.
func (m *Machine) refute(u *uplink) {
	if !u.bfd.On() {
		return
	}
	m.endDoubt(u)
	m.emit(step.Note{Warn: true, What: noteUplinkSoft, Port: u.Port, Peer: u.Neighbor.String(), Why: "BFD is down (" + u.bfd.Why + "), and the gateway's kernel answers ARP",
		Text: "paths over " + string(u.Port) + " are kept"})
}

func (m *Machine) endDoubt(u *uplink) {
	if u.bfd.End() {
		m.emit(step.Disarm{Timer: step.Timer{Kind: timerDoubt, Port: u.Port}})
	}
}
