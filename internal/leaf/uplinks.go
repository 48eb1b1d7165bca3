package leaf

import (
	"net/netip"
	"time"

	"peerless/internal/leaf/linkage"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// uplink is a port to a gateway, with its routing session.
type uplink struct {
	linkage.Uplink
	state  step.PortState
	own    netip.Prefix // our address on the link: sender of our probes
	det    liveness.Detector
	damper liveness.Damper
	pause  liveness.Pause
	due    time.Duration
	early  bool // the kernel resolved the gateway before we heard that the link is up; the driver does not say so twice
	usable bool
	why    string
	since  time.Duration
	bfd    liveness.Path

	session    bool
	everUp     bool
	as         uint32
	told       bool // End-of-RIB came in this session
	heeds      bool // the gateway says that it moves hosts by the word on their attachment
	paths      map[netip.Prefix]struct{}
	sessionWhy string
	sessionAt  time.Duration
}

func newUplink(u Uplink, p, bfd Probe) *uplink {
	return &uplink{
		Uplink: linkage.Uplink{Port: u.Port, Neighbor: u.Neighbor},
		det:    liveness.Detector{Interval: p.Interval, Multiplier: p.Multiplier}, pause: liveness.Pause{Slack: p.Interval},
		bfd: liveness.NewPath(bfd.Interval), paths: map[netip.Prefix]struct{}{}, why: "not seen yet", sessionWhy: "never came up",
	}
}

// onUplinkPort takes the kernel's word on an uplink port. Carrier loss is hard evidence.
func (m *Machine) onUplinkPort(now model.Instant, u *uplink, s step.PortState) {
	was := u.state
	u.state = s
	if recreated(was, s) && u.Up {
		u.LinkLost()
		m.endDoubt(u)
		m.settle(now, 0)
	}
	switch {
	case u.Up && !s.Up():
		if flapped(was, s) {
			u.damper.Lost(now.Mono)
		}
		u.LinkLost()
		u.early = false
		if !s.Present || !s.AdminUp {
			m.flushedByKernel(u.Port)
		}
		m.settle(now, 0)
		u.due = 0
		m.emit(step.Disarm{Timer: step.Timer{Kind: timerUplink, Port: u.Port}})
		m.endDoubt(u)
	case !u.Up && s.Up():
		u.Up = true
		u.det.Heard()
		if u.early {
			u.early = false
			u.Entry(true, false)
		}
		for _, d := range m.downs {
			m.cleanNow(now, d) // a session may begin, and with it all that we seem to stand behind is told
		}
		m.setupUplink(u)
		m.emit(step.Resolve{Port: u.Port, Addr: u.Neighbor, Why: "the uplink came up"})
		m.probeUplink(now, u)
		m.settle(now, 0)
	case s.Present && !was.Present:
		m.setupUplink(u)
	}
}

// flushedByKernel forgets default routes by a port that the kernel erased without a word (admin-down, device gone).
func (m *Machine) flushedByKernel(port model.Port) {
	kept := m.kernel[:0]
	for _, r := range m.kernel {
		if !viaPort(r.Route, port) {
			kept = append(kept, r)
		}
	}
	m.kernel = kept
	m.readKernelDefaults()
}

func viaPort(r step.Route, port model.Port) bool {
	if r.NextHop.Dev == port {
		return true
	}
	for _, h := range r.More {
		if h.Dev == port {
			return true
		}
	}
	return false
}

// recreated reports whether a device was replaced by another of the same name while we saw it up.
func recreated(was, is step.PortState) bool {
	return was.Present && is.Present && was.Index != 0 && is.Index != 0 && was.Index != is.Index
}

// probeUplink draws the verdict on the ARP probe before and sends the next one.
func (m *Machine) probeUplink(now model.Instant, u *uplink) {
	if !u.Up || u.det.Interval <= 0 {
		return
	}
	if u.due != 0 {
		u.pause.Fired(now.Mono, u.due)
	}
	u.det.Excuse(u.pause.Until())
	u.due = now.Mono + u.det.Interval
	m.emit(step.Arm{Timer: step.Timer{Kind: timerUplink, Port: u.Port}, At: u.due})
	if !u.Resolved {
		m.emit(step.Resolve{Port: u.Port, Addr: u.Neighbor, Why: "no neighbour entry for the gateway yet"})
	}
	if u.Asked = u.own.IsValid(); !u.Asked {
		return // without an address of ours nothing proves silence
	}
	if u.det.Probe(now.Mono) && !u.Silent {
		u.Mute()
		m.settle(now, 0)
	}
	m.askGateway(u, "is the gateway's kernel alive?")
}

func (m *Machine) askGateway(u *uplink, why string) {
	m.emit(step.SendARP{Port: u.Port, Op: step.ARPRequest, DstMAC: model.Broadcast, SenderMAC: u.state.MAC, SenderIP: u.own.Addr(),
		TargetIP: u.Neighbor, Why: why})
}

// hearUplink takes an answer of the gateway as a sign of life. A question of its own is none: it shows that we hear the gateway, not that
// the gateway hears us.
func (m *Machine) hearUplink(now model.Instant, u *uplink, e step.ARPSeen) {
	if e.SenderIP != u.Neighbor || !u.Up || u.Asked && e.Op != step.ARPReply {
		return
	}
	u.det.Heard()
	m.refute(u)
	if !u.Alive || u.Silent {
		u.Spoke()
		m.settle(now, 0)
	}
}

// onAddress learns our own address on an uplink, and heals the gateway address on a downlink.
func (m *Machine) onAddress(now model.Instant, e step.AddressChanged) {
	switch p := m.ports[e.Port].(type) {
	case *uplink:
		if !e.Present {
			if e.Prefix == p.own {
				p.own = netip.Prefix{}
				p.det.Heard()
			}
			return
		}
		p.own = betterAddress(p.own, e.Prefix, p.Neighbor)
		m.probeUplink(now, p)
	case *downlink:
		if !e.Present && m.seen && p.state.Present && m.isGateway(e.Prefix.Addr()) {
			m.setupAddresses(p, "it was removed")
		}
	}
}

// betterAddress prefers the address whose subnet holds the neighbour.
func betterAddress(have, offered netip.Prefix, neighbor netip.Addr) netip.Prefix {
	if !offered.Addr().Is4() {
		return have
	}
	if !have.IsValid() || (!have.Contains(neighbor) && offered.Contains(neighbor)) {
		return offered
	}
	return have
}

// onSession weighs the end of a routing session: soft evidence only starts the graceful-restart time.
func (m *Machine) onSession(now model.Instant, e step.SessionChanged) {
	u := m.uplinkOf(e.Peer)
	if u == nil {
		return
	}
	soft := step.Timer{Kind: timerSoft, Port: u.Port}
	if e.Up {
		wasSoft := u.Soft
		u.session, u.everUp, u.as, u.told, u.sessionWhy, u.sessionAt = true, true, e.AS, false, "established", now.Mono
		u.SessionUp()
		if wasSoft || u.Default == linkage.InheritedDefault {
			m.emit(step.Disarm{Timer: soft})
		}
		if u.Default == linkage.InheritedDefault {
			// The gateway has the word now; should it not confirm the inherited route, the same time bounds that.
			m.emit(step.Arm{Timer: soft, At: now.Mono + m.cfg.GracefulRestart})
		}
		m.settle(now, 0)
		return
	}
	if u.session || u.sessionWhy == "" {
		u.sessionAt = now.Mono
	}
	wasUp := u.session
	u.session, u.told, u.sessionWhy = false, false, e.Reason.String()
	if e.Reason == step.ReasonOurs && e.Detail != "" {
		u.sessionWhy += " (" + e.Detail + ")"
	}
	if !wasUp && linkage.Weigh(e.Reason) == linkage.Soft {
		return // an attempt that came to nothing says nothing new
	}
	switch u.SessionDown(e.Reason) {
	case linkage.Soft:
		m.emit(step.Arm{Timer: soft, At: now.Mono + m.cfg.GracefulRestart})
		m.emit(step.Note{Warn: true, What: noteUplinkSoft, Port: u.Port, Peer: u.Neighbor.String(), Why: e.Reason.String(),
			Text: "routing session over " + string(u.Port) + " ended; paths are kept for " + m.cfg.GracefulRestart.String()})
		m.settle(now, 0)
	case linkage.Hard:
		if m.cfg.DefaultFromBGP {
			u.Default = linkage.NoDefault
		}
		m.settle(now, 0)
	case linkage.NoEvidence:
	}
}

// onGraceOver ends the time for which soft evidence, or an inherited default route, is borne.
func (m *Machine) onGraceOver(now model.Instant, u *uplink) {
	unconfirmed := u.Default == linkage.InheritedDefault
	if !m.cfg.DefaultFromBGP || (u.session && !unconfirmed) || (!u.Soft && !unconfirmed) {
		return
	}
	u.Default = linkage.NoDefault
	m.settle(now, 0)
}

// onEndOfRIB notes that the gateway has told all it had.
func (m *Machine) onEndOfRIB(now model.Instant, e step.EndOfRIB) {
	if u := m.uplinkOf(e.Peer); u != nil {
		u.told = true
		m.settle(now, 0)
	}
}
