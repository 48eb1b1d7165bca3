package leaf

import (
	"net/netip"

	"peerless/internal/claim"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// This file keeps what helps nobody out of the way of a repair. When hosts move, the gateway moves them by the word on their attachment,
// and the other leaf takes them by what it remembers of their server. What is left to do, host by host, is to clean up here and to claim
// there; done at once it would only hold up those two, and everybody else's kernel and routing daemon with them.
//
// It is so only where every gateway says that it heeds attachments: for any other the withdrawals and claims are the repair
// (invariant repair-before-housekeeping).

// heeded reports whether all who listen know by the word on the attachment what becomes of its hosts.
func (m *Machine) heeded(d *downlink) bool {
	if m.cfg.Export.Mode != ByBGP || d.ID == 0 {
		return false
	}
	if _, told := claim.Prefix(m.cfg.AttachmentRange, d.ID); !told {
		return false
	}
	for _, u := range m.ups {
		if u.session && u.Up && !u.heeds {
			return false
		}
	}
	return true
}

// cleanup is what is left to do for the hosts of a port that stopped serving.
type cleanup struct {
	due   bool
	cause step.Cause
	why   string
}

// takeOff ends the hosts of a port that stopped serving: at once, or after a respite if nobody waits for it. On a link that is up and passes
// nothing the neighbours of its hosts wait: the kernel goes on sending there until the route is gone.
func (m *Machine) takeOff(now model.Instant, d *downlink, cause step.Cause, why string) {
	m.dropClaims(d)
	m.shut(d, why)
	n := m.hosts.Count(d.Port)
	if n == 0 || d.trust.silent || !m.heeded(d) {
		m.changeWhy(now, m.hosts.Stop(now.Mono, d.Port), cause, why)
		return
	}
	m.hosts.Halt(d.Port)
	d.cleanup = cleanup{due: true, cause: cause, why: why}
	m.emit(step.Arm{Timer: cleanTimer(d), At: now.Mono + liveness.Respite(n)})
}

func cleanTimer(d *downlink) step.Timer { return step.Timer{Kind: timerClean, Port: d.Port} }

// onCleanTimer takes off the next portion.
func (m *Machine) onCleanTimer(now model.Instant, d *downlink) {
	if !d.cleanup.due {
		return
	}
	list, left := m.hosts.Leave(now.Mono, d.Port, liveness.Portion)
	m.changeWhy(now, list, d.cleanup.cause, d.cleanup.why)
	if d.cleanup.due = left > 0; left > 0 {
		m.emit(step.Arm{Timer: cleanTimer(d), At: now.Mono + liveness.PortionPause})
	}
}

// cleanNow takes off all that are left: the port serves again, the way up is back, or everything is compared with the kernel.
func (m *Machine) cleanNow(now model.Instant, d *downlink) {
	if !d.cleanup.due {
		return
	}
	d.cleanup.due = false
	m.emit(step.Disarm{Timer: cleanTimer(d)})
	m.changeWhy(now, m.hosts.Stop(now.Mono, d.Port), d.cleanup.cause, d.cleanup.why)
}

// unclaimed are hosts that the leaf stands behind and has not told of yet.
type unclaimed struct {
	waits bool // what is claimed on the port waits
	hosts []netip.Addr
	cause step.Cause
}

// holdClaims has the claims of a server's hosts wait, and the probes that are to verify them, while the server is being taken over.
func (m *Machine) holdClaims(now model.Instant, d *downlink, hosts int) {
	if d.unclaimed.waits || !m.heeded(d) {
		return
	}
	d.unclaimed = unclaimed{waits: true}
	until := now.Mono + liveness.Respite(hosts)
	m.hosts.Spare(d.Port, until)
	m.emit(step.Arm{Timer: claimTimer(d), At: until})
}

func claimTimer(d *downlink) step.Timer { return step.Timer{Kind: timerClaim, Port: d.Port} }

// onClaimTimer tells of the next portion.
func (m *Machine) onClaimTimer(now model.Instant, d *downlink) {
	if d.shelf.open && m.takeShelf(now, d) {
		m.emit(step.Arm{Timer: claimTimer(d), At: now.Mono + liveness.PortionPause})
		return
	}
	n := min(liveness.Portion, len(d.unclaimed.hosts))
	m.claim(d, d.unclaimed.hosts[:n])
	if d.unclaimed.hosts = d.unclaimed.hosts[n:]; len(d.unclaimed.hosts) > 0 {
		m.emit(step.Arm{Timer: claimTimer(d), At: now.Mono + liveness.PortionPause})
		return
	}
	d.unclaimed = unclaimed{}
}

// dropClaims forgets what waits: nobody is to be told of hosts on a port that has just stopped serving.
func (m *Machine) dropClaims(d *downlink) {
	if d.unclaimed.waits {
		m.emit(step.Disarm{Timer: claimTimer(d)})
		d.unclaimed = unclaimed{}
	}
}

// claim tells of those of the hosts that the leaf still stands behind.
func (m *Machine) claim(d *downlink, hosts []netip.Addr) {
	n := 0
	for _, a := range hosts {
		h, held := m.hosts.Holder(a)
		adv, standing := m.book.Claim(a)
		if !held || !standing || h.Port != d.Port {
			continue
		}
		n++
		m.want(step.Want{Object: adv, After: m.routeOf(h).Key(), Why: "heard here", Cause: d.unclaimed.cause})
	}
	if n > 0 {
		m.emit(step.Note{What: noteHostVerified, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Stage: step.StageLearn, Hosts: n,
			Cause: d.unclaimed.cause, Text: plural(n, "host") + " heard on " + string(d.Port), Why: "their server has turned up here"})
	}
}
