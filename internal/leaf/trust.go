package leaf

import (
	"net/netip"
	"time"

	"peerless/internal/leaf/linkage"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// A link may be up and pass nothing, in one direction or both. So one host behind each downlink is asked at a quick pace, and more of
// them when it is silent. The question bears an address of this leaf alone: an ordinary probe bears the gateway's, which the other leaf
// has too, and its answer, sent by the server's other link, would come here (answer-proves-the-question).

const (
	// silentMax is how long a link that passes nothing is left out. Its server has gone to its other link by then, and so nobody is
	// left by whom it could be proven: it counts as a standby again, but nobody is learned on it before he has answered.
	silentMax = 10 * time.Second
	// doubtMax bounds that caution: whoever does not answer such questions at all is learned like anybody after it.
	doubtMax = time.Minute
	// A downlink that was closed for its silence opens again after hushMin, and after twice as long each time that it is found silent again.
	hushMin = 10 * time.Second
	hushMax = 10 * time.Minute
	// A server that comes back announces itself by its other link before it leaves this one, so that hosts still answer here after another leaf was
	// first heard to have one of them; of many the other claims come late. One that asks for us says itself by which link it sends. For awayFor
	// after either word their silence says nothing of the link, unless one arrives here anew.
	awayFor = 10 * time.Second
	// againGap is the pause between two questions to a host that shows up on a link in doubt.
	againGap = 5 * time.Millisecond
)

// trust is what is known of a downlink's passing frames.
type trust struct {
	watch   *liveness.Watch // nil: nobody is asked
	due     time.Duration
	silent  bool // its hosts answered, and none of them does any more
	doubted bool // it was silent, and nobody has answered since
	since   time.Duration
	quiet   time.Duration // since when nobody has answered though all were asked; zero: somebody has
	vacated bool          // another leaf has heard its server, and nobody has answered since: their silence says nothing of the link
	away    time.Duration // when its server was last heard to be at its other link, and has not arrived here since; zero: it was not
	asked   time.Duration
	sign    time.Duration // in doubt: when somebody first showed himself
	hush    string        // why we closed it; empty: we did not, for its silence
	gap     time.Duration // how long it was closed the last time
}

func newTrust(p Probe) trust {
	if p.Interval <= 0 {
		return trust{}
	}
	return trust{watch: liveness.NewWatch(p.Interval, p.Multiplier)}
}

func (d *downlink) watched() bool {
	return d.trust.watch != nil && d.state.Up() && (d.serving || d.trust.silent)
}

// renew trusts a link anew: its carrier was lost, so another server may be at its end.
func (d *downlink) renew() {
	if d.trust.watch == nil || d.trust.hush != "" {
		return
	}
	d.trust.silent, d.trust.doubted, d.trust.vacated, d.trust.away, d.trust.sign = false, false, false, 0, 0
	d.trust.watch.Forget()
}

// startWatch begins to ask; ports are spread over the interval.
func (m *Machine) startWatch(now model.Instant, d *downlink) {
	if d.trust.watch == nil {
		return
	}
	spread := m.cfg.LinkProbe.Interval / time.Duration(len(m.downs))
	m.armWatch(d, now.Mono+time.Duration(d.PortIndex%uint32(len(m.downs)))*spread)
}

func (m *Machine) armWatch(d *downlink, at time.Duration) {
	d.trust.due = at
	m.emit(step.Arm{Timer: step.Timer{Kind: timerWatch, Port: d.Port}, At: at})
}

// onWatch draws the verdict on the questions before and asks again. Many hosts may all be silent for longer: they may have gone with their
// server to its other link, and the more they are the later the other leaf's claims come through.
func (m *Machine) onWatch(now model.Instant, d *downlink) {
	if !d.watched() {
		return
	}
	t := &d.trust
	m.links.Fired(now.Mono, t.due)
	t.watch.Excuse(m.links.Until())
	silent, ask := t.watch.Tick(now.Mono)
	if !silent {
		t.quiet = 0
	} else if t.quiet == 0 {
		t.quiet = now.Mono
	}
	for _, a := range ask {
		m.askLink(d, a, "does the link pass frames")
	}
	m.armWatch(d, t.watch.Next())
	pace := m.cfg.LinkProbe
	switch {
	case silent && !t.silent && !t.left(now.Mono) && d.serving && now.Mono-t.quiet >= liveness.Word(m.hosts.Count(d.Port)+m.hosts.StandbyCount(d.Port)):
		m.fallSilent(now, d)
	case t.silent && now.Mono-t.since >= silentMax:
		m.doubt(now, d, "nobody is left behind it who could answer")
	case t.doubted && now.Mono-t.since >= doubtMax:
		t.doubted = false
	case t.doubted && d.serving && t.sign != 0 && now.Mono-t.sign >= time.Duration(2*pace.Multiplier)*pace.Interval && m.mayHush(d):
		m.fallSilent(now, d)
	}
}

// linkSource is an address that the other leaf does not have.
func (m *Machine) linkSource() netip.Addr {
	if _, served := m.admit.Net(m.cfg.RouterID); m.cfg.RouterID.Is4() && !served {
		return m.cfg.RouterID
	}
	for _, u := range m.ups {
		if u.own.IsValid() {
			return u.own.Addr()
		}
	}
	return netip.Addr{}
}

func (m *Machine) askLink(d *downlink, addr netip.Addr, why string) {
	n, ok := m.admit.Net(addr)
	from := m.linkSource()
	if !ok || !from.IsValid() {
		return
	}
	mac := m.hosts.MAC(d.Port, addr)
	dst := mac
	if dst.IsZero() {
		dst = model.Broadcast
	}
	m.emit(step.SendARP{Port: d.Port, Op: step.ARPRequest, DstMAC: dst, SenderMAC: n.MAC, SenderIP: from, TargetMAC: mac, TargetIP: addr, Why: why})
}

// hearLink takes an answer to our question, and only that: of a host that was asked, to the address that only we have.
func (m *Machine) hearLink(now model.Instant, d *downlink, e step.ARPSeen) {
	if d.trust.watch == nil || e.Op != step.ARPReply || e.TargetIP != m.linkSource() || !m.admit.Own(e.TargetMAC) ||
		!d.trust.watch.Answered(e.SenderIP) {
		return
	}
	t := &d.trust
	t.vacated = false
	if !t.silent && !t.doubted {
		return
	}
	was := t.silent
	t.silent, t.doubted, t.sign = false, false, 0
	m.emit(step.Note{What: noteLinkProven, Port: d.Port, Addr: e.SenderIP, Attachment: d.ID, ServerPort: d.ServerPort,
		Text: "port " + string(d.Port) + " passes frames", Why: e.SenderIP.String() + " answers"})
	if was {
		m.review(now, d, 0)
	}
}

// vouched takes the announcement of a server that asks for us: it comes to a link only after that has carried its question and our
// kernel's answer, and it could not answer us yet, since it still sends by its other link.
func (m *Machine) vouched(now model.Instant, d *downlink) {
	t := &d.trust
	if t.hush != "" || !t.silent && !t.doubted {
		return
	}
	was := t.silent
	t.silent, t.doubted, t.sign = false, false, 0
	t.watch.Forget()
	m.emit(step.Note{What: noteLinkProven, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort,
		Text: "port " + string(d.Port) + " passes frames", Why: "its server has asked, and comes back to it"})
	if was {
		m.review(now, d, 0)
	}
}

// prove asks somebody who shows up on a link in doubt: only his answer to us teaches, since all else may be one-way.
func (m *Machine) prove(now model.Instant, d *downlink, addr netip.Addr) {
	t := &d.trust
	if t.sign == 0 {
		t.sign = now.Mono
	}
	t.watch.Meet(addr)
	if now.Mono-t.asked >= againGap {
		t.asked = now.Mono
		m.askLink(d, addr, "does the link pass frames again")
	}
}

// meet tells the watch of a host that answers here, so that it may be asked.
func (d *downlink) meet(addr netip.Addr) {
	d.trust.vacated = false
	if d.trust.watch != nil {
		d.trust.watch.Meet(addr)
	}
}

// unmeet tells it of one that left, or may have left: its silence says nothing of the link.
func (d *downlink) unmeet(addr netip.Addr) {
	if d != nil && d.trust.watch != nil && !d.trust.silent {
		d.trust.watch.Gone(addr)
	}
}

// moved tells it of a host that another leaf has. If it is there behind our own server port, the server has gone to its other link, unless
// somebody answers by this one: nobody behind it says anything of the link by his silence.
func (d *downlink) moved(now model.Instant, addr netip.Addr, behind model.AttachmentID) {
	if d != nil && d.trust.watch != nil && !d.trust.silent && behind == d.ID && behind != 0 {
		d.trust.vacated, d.trust.away = true, now.Mono
		return
	}
	d.unmeet(addr)
}

// used takes the word of a server that asks for us on whether it sends by this link.
func (d *downlink) used(now model.Instant, inUse bool) {
	if d.trust.away = now.Mono; inUse {
		d.trust.away = 0
	}
}

// left reports whether the server has gone to its other link, or may be about to.
func (t *trust) left(now time.Duration) bool {
	return t.vacated || t.away != 0 && now-t.away < awayFor
}

// quiet reports whether nobody behind the link has answered lately, or is left who could; lost: so that what goes there is lost.
func (d *downlink) quiet() (quiet, lost bool) {
	if d == nil || d.trust.watch == nil || d.trust.silent {
		return false, false
	}
	lost = d.trust.watch.Quiet()
	return lost || d.trust.vacated && !d.trust.watch.Proven(), lost
}

// fallSilent gives up a downlink that is up: everything behind it is withdrawn. Where nothing else makes its server move, the port is
// closed, so that it does.
func (m *Machine) fallSilent(now model.Instant, d *downlink) {
	t := &d.trust
	cause := m.newCause()
	d.cause = cause
	t.silent, t.doubted, t.since, t.sign = true, false, now.Mono, 0
	m.emit(step.Note{Warn: true, What: noteLinkSilent, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Stage: step.StageDetect, Cause: cause,
		Hosts: m.hosts.Count(d.Port), Text: "port " + string(d.Port) + " is up and passes nothing", Why: "no host behind it answers any more"})
	if m.mayHush(d) {
		t.gap = min(max(hushMin, 2*t.gap), hushMax)
		t.hush = "no host behind it answered; its server moves when its link goes"
		m.emit(step.Arm{Timer: step.Timer{Kind: timerHush, Port: d.Port}, At: now.Mono + t.gap})
		m.gate(now, d, linkage.Close)
	}
	m.review(now, d, cause)
}

// mayHush reports whether a silent downlink may be closed. It may not if its server asks for us, since it moves by itself; if it
// has no other link; or if this leaf cannot tell a host that died from one that moved: without the feed, or if another leaf claims one.
func (m *Machine) mayHush(d *downlink) bool {
	if !m.cfg.CloseSilent || d.asks() || d.Single || d.gate.Ours() {
		return false
	}
	fed := false
	for _, u := range m.ups {
		fed = fed || u.usable && u.session && u.told
	}
	for _, h := range m.hosts.Hosts(d.Port) {
		fed = fed && m.heard.Rival(h.Addr).Stamp == 0
	}
	return fed
}

// onHushOver opens a downlink that was closed for its silence.
func (m *Machine) onHushOver(now model.Instant, d *downlink) {
	if d.trust.hush == "" {
		return
	}
	d.trust.hush = ""
	m.doubt(now, d, "it was closed for long enough")
	if d.left == "" && d.damped == "" && (d.group == nil || d.group.Forwards()) {
		m.gate(now, d, linkage.Open)
	}
	m.review(now, d, 0)
}

// doubt takes a link back that passed nothing, without trusting it.
func (m *Machine) doubt(now model.Instant, d *downlink, why string) {
	t := &d.trust
	if t.hush != "" {
		return // the other timer decides
	}
	t.silent, t.doubted, t.since, t.sign = false, true, now.Mono, 0
	t.watch.Forget()
	m.emit(step.Note{What: noteLinkProven, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort,
		Text: "port " + string(d.Port) + " is given another chance: hosts are learned on it once they answer", Why: why})
	m.review(now, d, 0)
}
