package leaf

import (
	"peerless/internal/claim"
	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
)

// This file is common-mode protection: where the gateway itself is gone, both leaves have closed everything, and servers on one leaf could
// still reach each other. The leaf cannot know whether the other one still has a gateway: hence it is opt-in, and hence a leaf that opens
// without a gateway does not answer the servers' question whether it is open, so that a server with a better link keeps it.

// watchLocal arms or disarms the time after which a group that lost its gateway serves its own servers.
func (m *Machine) watchLocal(now model.Instant, g *group) {
	if m.cfg.LocalOnly <= 0 {
		return
	}
	t := step.Timer{Kind: timerLocal, ID: g.id}
	switch lost := g.State == linkage.Shutdown; {
	case lost && !g.watched:
		g.watched = true
		m.emit(step.Arm{Timer: t, At: now.Mono + m.cfg.LocalOnly})
	case !lost && g.watched:
		g.watched = false
		m.emit(step.Disarm{Timer: t})
	}
}

func (m *Machine) onLocalTimer(now model.Instant, g *group) {
	g.watched = false
	if g.Step(linkage.Alone) != linkage.OpenLocal {
		return
	}
	g.cause, g.since = m.newCause(), now.Mono
	g.why = "without a gateway for " + m.cfg.LocalOnly.String() + ": its servers reach each other (local-only); " + g.closed
	m.emit(step.Note{Warn: true, What: noteLocalOnly, Hosts: m.hostsOf(g), Cause: g.cause,
		Text: "group " + g.Name + " opens without a gateway, for traffic among its own servers", Why: g.why})
	m.reanswer(g)
	m.openLocal(now, g)
}

// openLocal opens every downlink of a group that is to serve without a gateway.
func (m *Machine) openLocal(now model.Instant, g *group) {
	for _, d := range g.downs {
		if d.left == "" && d.damped == "" && d.trust.hush == "" && (d.gate.Ours() || d.gate.State == linkage.Yielded) {
			m.gate(now, d, linkage.Open)
		}
	}
	for _, d := range g.downs {
		m.review(now, d, g.cause)
	}
}

// endLocal makes a group that served alone an ordinary one: nothing is closed, so nothing is lost.
func (m *Machine) endLocal(now model.Instant, g *group) {
	g.cause, g.since, g.why, g.reason = m.newCause(), now.Mono, "the gateway is back", claim.ReasonReady
	m.reanswer(g)
	m.openNext(now, g) // if anything was left closed
}

func (m *Machine) reanswer(g *group) {
	for _, d := range g.downs {
		if d.state.Present {
			m.setupAnswering(d)
		}
	}
}
