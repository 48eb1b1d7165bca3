package leaf

import (
	"time"

	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// detection is what BFD says of the path to a gateway. Down is soft evidence (soft-never-closes): the gateway's daemon may be gone while
// its kernel forwards. So the kernel is asked at once and quickly, and only its silence is hard.
type detection struct {
	up     bool
	lost   bool // it was up, and went down for a reason other than the gateway's own wish
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

// onBFD weighs what BFD says. A session that never came up is never told of.
func (m *Machine) onBFD(now model.Instant, e step.BFDChanged) {
	u, ok := m.ports[e.Port].(*uplink)
	if !ok || e.Peer != u.Neighbor {
		return
	}
	b := &u.bfd
	was := b.up
	if e.Up != was {
		b.since = now.Mono
	}
	b.up, b.detect, b.why = e.Up, e.Detect, e.Diag
	if e.Up {
		b.lost = false
		m.endDoubt(u)
		if !was {
			m.emit(step.Note{What: noteBFDUp, Port: u.Port, Peer: u.Neighbor.String(), Text: "BFD over " + string(u.Port) + " is up",
				Why: "silence of the gateway is noticed in " + e.Detect.String()})
		}
		m.settle(now, 0)
		return
	}
	if e.Admin {
		b.lost, b.why = false, "turned off by the gateway"
	}
	if !was {
		return
	}
	b.lost = !e.Admin && u.Up
	m.emit(step.Note{Warn: b.lost, What: noteBFDDown, Port: u.Port, Peer: u.Neighbor.String(), Text: "BFD over " + string(u.Port) + " is down", Why: b.why})
	if b.lost && !u.Silent && u.own.IsValid() {
		b.asking, b.due = true, 0
		b.det.Heard()
		m.pressUplink(now, u)
	}
	m.settle(now, 0)
}

// pressUplink draws the verdict on the quick question before and asks the next one.
func (m *Machine) pressUplink(now model.Instant, u *uplink) {
	b := &u.bfd
	if !b.asking || !u.Up || !u.own.IsValid() {
		b.asking = false
		return
	}
	if b.due != 0 {
		b.pause.Fired(now.Mono, b.due)
	}
	b.det.Excuse(b.pause.Until())
	if b.det.Probe(now.Mono) {
		b.asking = false
		if !u.Silent {
			u.Mute()
			m.settle(now, 0)
		}
		return
	}
	b.due = now.Mono + b.det.Interval
	m.emit(step.Arm{Timer: step.Timer{Kind: timerDoubt, Port: u.Port}, At: b.due})
	m.askGateway(u, "BFD is down: is the gateway's kernel silent too?")
}

// refute ends the doubt: the gateway's kernel answered. Its daemon is gone, and that closes nothing.
func (m *Machine) refute(u *uplink) {
	if !u.bfd.asking {
		return
	}
	m.endDoubt(u)
	m.emit(step.Note{Warn: true, What: noteUplinkSoft, Port: u.Port, Peer: u.Neighbor.String(), Why: "BFD is down (" + u.bfd.why + "), and the gateway's kernel answers ARP",
		Text: "paths over " + string(u.Port) + " are kept"})
}

func (m *Machine) endDoubt(u *uplink) {
	if u.bfd.asking {
		u.bfd.asking = false
		m.emit(step.Disarm{Timer: step.Timer{Kind: timerDoubt, Port: u.Port}})
	}
}

func (u *uplink) bfdRow(now model.Instant) step.SessionRow {
	r := step.SessionRow{Peer: u.Neighbor.String(), Name: string(u.Port) + " (bfd)", Port: u.Port, State: "down", Why: u.bfd.why}
	if u.bfd.up {
		r.State, r.Why = "up", "silence is noticed in "+u.bfd.detect.String()
	}
	if u.bfd.since != 0 {
		r.SinceMs = (now.Mono - u.bfd.since).Milliseconds()
	}
	return r
}
