package gateway

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"peerless/internal/claim"
	"peerless/internal/gateway/mapping"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// A leaf may answer for itself and forward nothing, and a server without peerless stays with it as long as its link has carrier. So the
// gateway sends itself an echo through each leaf and back, and asks hosts behind it, one under each server port, by ICMP echo by that very
// way. That none of them comes back while the leaf itself answers is soft evidence: it moves hosts that another leaf claims, and no others.
// If there is another leaf that is seen to forward and has all the server ports, the leaf is not told the default route any more: its own
// linkage closes its downlinks then, and its servers move.

const (
	throughIdent  = 0x706d // told apart from the pings of people, and of servers that run peerless
	throughStride = 40503  // odd: sequence numbers look random and come round only after all of them

	// A leaf must have been seen to forward for so long before another one is given up for it.
	worksAfter = time.Second
	// It is told the default route again once it has forwarded for backMin without a break, and twice as long each time that it fell silent
	// again within backReset, up to backMax.
	backMin   = time.Second
	backMax   = 2 * time.Minute
	backReset = 10 * time.Minute
	// Of a leaf by which our own echo never came back nothing can be seen while its downlinks are closed: it is tried again, later and later.
	retryMin = 10 * time.Second
	retryMax = 10 * time.Minute
	// Hosts alone speak against a leaf only together.
	togetherMin = 2
)

// crossing is what is known of a leaf's forwarding.
type crossing struct {
	loop   liveness.Detector // our echo through it
	hosts  *liveness.Watch   // nil: nothing is asked
	pause  liveness.Pause
	due    time.Duration
	mac    model.MAC // of the leaf
	own    bool      // the leaf itself answered the newest question
	looped bool      // our echo came back since the link came up: only then does its silence mean anything
	open   [16]sent  // questions that may still be answered
	count  int
	next   model.AttachmentID // whose host may become a witness next

	silent   bool
	since    time.Duration // of the silence, or of its end
	cause    step.Cause
	works    liveness.Hold
	withheld bool // it is not told the default route
	kept     string
	heldAt   time.Duration
	back     liveness.Hold
	gap      time.Duration // of the last trial of a leaf that cannot be seen
}

// sent is one question: the address that was asked, or our own for the echo that comes back by itself.
type sent struct {
	to  netip.Addr
	seq uint16
}

func newCrossing(p Probe) crossing {
	if p.Interval <= 0 {
		return crossing{}
	}
	return crossing{
		loop:  liveness.Detector{Interval: p.Interval, Multiplier: p.Multiplier, Patience: liveness.Patience(p.Interval)},
		hosts: liveness.NewWatch(p.Interval, p.Multiplier), pause: liveness.Pause{Slack: p.Interval}, works: liveness.Hold{For: worksAfter},
		back: liveness.Hold{For: backMin},
	}
}

// cross begins to ask through a leaf whose link has come up. Leaves are spread over the interval.
func (m *Machine) cross(l *leaf) {
	if l.cross.hosts == nil {
		return
	}
	l.cross.due = 0
	m.armThrough(l, m.now.Mono+m.cfg.Through.Interval*time.Duration(l.slot%8)/8)
}

// uncross forgets what was true of the link only while it was up.
func (m *Machine) uncross(l *leaf) {
	c := &l.cross
	if c.hosts == nil {
		return
	}
	m.emit(step.Disarm{Timer: step.Timer{Kind: timerThrough, ID: uint32(l.id)}})
	c.loop.Heard()
	c.hosts.Forget()
	c.looped, c.own, c.count, c.kept = false, false, 0, ""
	c.unsteady(m.now.Mono)
	if c.silent {
		c.silent = false
		m.redoubt(l)
	}
}

// unsteady begins all waiting for steady answers anew.
func (c *crossing) unsteady(now time.Duration) {
	c.works.Set(now, false)
	c.back.Set(now, false)
}

func (m *Machine) armThrough(l *leaf, at time.Duration) {
	l.cross.due = at
	m.emit(step.Arm{Timer: step.Timer{Kind: timerThrough, ID: uint32(l.id)}, At: at})
}

// onThrough draws the verdict on the questions before and asks again.
func (m *Machine) onThrough(l *leaf) {
	c := &l.cross
	own, ok := m.ownOn(l)
	if c.hosts == nil || !l.port.Up() {
		return
	}
	if !ok {
		c.unsteady(m.now.Mono)
		m.armThrough(l, m.now.Mono+m.cfg.Through.Interval)
		return
	}
	c.pause.Fired(m.now.Mono, c.due)
	c.loop.Excuse(c.pause.Until())
	c.hosts.Excuse(c.pause.Until())
	m.meetWitnesses(l)
	lost := c.loop.Probe(m.now.Mono)
	deserted, ask := c.hosts.Tick(m.now.Mono)
	m.judgeThrough(l, lost, deserted)
	c.own = false
	m.question(l, own, l.via, "does the leaf itself answer")
	if !c.mac.IsZero() {
		m.echo(l, own, own, "does the leaf forward")
		for _, a := range ask {
			m.echo(l, own, a, "does a host behind the leaf answer")
		}
	}
	m.armThrough(l, c.loop.Next())
}

func (m *Machine) echo(l *leaf, own, to netip.Addr, why string) {
	m.echoes++
	q := sent{to, m.echoes * throughStride}
	l.cross.open[l.cross.count%len(l.cross.open)] = q
	l.cross.count++
	m.emit(step.SendEcho{Port: l.Port, DstMAC: l.cross.mac, SrcMAC: l.port.MAC, From: own, To: to, Ident: throughIdent, Seq: q.seq, Loop: to == own, Why: why})
}

// meetWitnesses keeps the witnesses to hosts that are forwarded through the leaf, and looks for another one under the next server port.
func (m *Machine) meetWitnesses(l *leaf) {
	c := &l.cross
	c.hosts.Keep(func(a netip.Addr) bool {
		h := m.table.Host(a)
		return h != nil && h.Primary == l.id
	})
	links := m.table.Links(l.id)
	for i := range links {
		k := links[i]
		if k.ID < c.next || c.hosts.Full() {
			continue
		}
		c.next = k.ID + 1
		for said := range k.Claims() {
			if said.Host.Primary == l.id {
				c.hosts.Meet(said.Host.Addr)
				return
			}
		}
	}
	c.next = 0
}

// onEcho takes an answer: from the host that was asked, or our own echo, by the leaf's own port and to our address there. Whatever somebody else
// sends proves nothing (answer-proves-the-question).
func (m *Machine) onEcho(ev step.EchoSeen) {
	for _, l := range m.leaves {
		own, ok := m.ownOn(l)
		if l.Port != ev.Port || l.cross.hosts == nil || !ok || ev.Ident != throughIdent || ev.To != own || !l.cross.asked(sent{ev.From, ev.Seq}) {
			continue
		}
		if ev.From == own {
			l.cross.loop.Heard()
			l.cross.looped = true
		} else if !l.cross.hosts.Answered(ev.From) {
			continue
		}
		m.passedThrough(l)
	}
}

func (c *crossing) asked(q sent) bool {
	for _, have := range c.open[:min(c.count, len(c.open))] {
		if have == q {
			return true
		}
	}
	return false
}

// hearThrough takes the leaf's own answer.
func (m *Machine) hearThrough(ev step.ARPSeen) {
	for _, l := range m.leaves {
		if l.Port == ev.Port && l.via == ev.SenderIP && ev.Op == step.ARPReply && l.cross.hosts != nil {
			l.cross.own, l.cross.mac = true, ev.SenderMAC
		}
	}
}

// judgeThrough weighs what has not come back. Where our own echo ever came back, it decides, and any host that answers acquits; where it
// never did, hosts under several server ports do. A leaf that does not answer itself is another matter.
func (m *Machine) judgeThrough(l *leaf, lost, deserted bool) {
	c := &l.cross
	quiet := !c.hosts.Proven() || deserted
	silent := c.looped && lost && quiet || !c.looped && deserted && c.hosts.Known() >= togetherMin
	if missing := c.loop.Missed(); c.looped && missing > 0 || !c.looped && (!c.hosts.Proven() || c.hosts.Missed() > 0) {
		c.unsteady(m.now.Mono)
	}
	if silent && !c.silent && c.own {
		c.silent, c.since, c.cause, c.kept = true, m.now.Mono, m.newCause(), ""
		m.redoubt(l)
		m.note(step.Note{Warn: true, What: whatLeafMute, Port: l.Port, Peer: l.Name, Stage: step.StageDetect, Hosts: l.primaries, Cause: c.cause,
			Text: "leaf " + l.Name + " answers and forwards nothing", Why: c.evidence()})
	}
	m.reviewThrough()
}

func (c *crossing) evidence() string {
	var what []string
	if c.looped {
		what = append(what, "our own echo through it does not come back")
	}
	if n := c.hosts.Known(); n > 0 {
		what = append(what, fmt.Sprintf("of %d hosts behind it that answered none does", n))
	}
	return strings.Join(what, ", and ")
}

// passedThrough notes that something came back.
func (m *Machine) passedThrough(l *leaf) {
	c := &l.cross
	c.works.Set(m.now.Mono, true)
	c.back.Set(m.now.Mono, true)
	if c.silent {
		c.silent, c.since = false, m.now.Mono
		m.redoubt(l)
		m.note(step.Note{What: whatLeafForwards, Port: l.Port, Peer: l.Name, Text: "leaf " + l.Name + " forwards again", Why: "something came back through it"})
	}
}

// redoubt prefers what other leaves claim while soft evidence of either kind speaks against one.
func (m *Machine) redoubt(l *leaf) {
	on := l.bfd.Lost || l.cross.silent || l.cross.withheld
	if m.table.Doubted(l.id) == on {
		return
	}
	m.table.SetDoubt(l.id, on)
	m.queueLeaf(l)
	m.hurry = true
}

// reviewThrough withholds the default route from leaves that forward nothing, and tells it again.
func (m *Machine) reviewThrough() {
	for _, l := range m.leaves {
		c := &l.cross
		switch {
		case c.hosts == nil:
		case c.withheld:
			if why := m.mayReturn(l); why != "" {
				m.tellAgain(l, why)
			}
		case c.silent && c.own:
			why := m.mustKeep(l)
			if why == "" {
				m.withhold(l)
			} else if why != c.kept {
				c.kept = why
				m.note(step.Note{Warn: true, What: whatLeafKept, Port: l.Port, Peer: l.Name, Cause: c.cause,
					Text: "leaf " + l.Name + " is told the default route all the same", Why: why})
			}
		}
	}
}

// mustKeep says why a leaf that forwards nothing is not given up: soft evidence never takes a last path before the graceful-restart time
// (soft-never-closes, mute-leaf-needs-another).
func (m *Machine) mustKeep(l *leaf) string {
	switch {
	case !m.cfg.Default:
		return "this gateway tells no default route"
	case l.dynamic:
		return "it is not in the config"
	case !l.session:
		return "its session is not up"
	}
	other := false
	for _, o := range m.leaves {
		other = other || o != l && m.works(o) && o.session && o.told
	}
	if !other {
		return "no other leaf is seen to forward"
	}
	if m.now.Mono-l.cross.since >= m.cfg.GracefulRestart {
		return ""
	}
	for _, k := range m.table.Links(l.id) {
		for c := range k.Claims() {
			if c.Host.Primary == l.id && !m.elsewhere(c) {
				return c.Host.Addr.String() + " has no other leaf that works"
			}
		}
	}
	return ""
}

// elsewhere reports whether a leaf that works has the same server port up.
func (m *Machine) elsewhere(c *mapping.Claim) bool {
	if c.Link.ID == 0 {
		return false
	}
	for _, o := range m.leaves {
		if k := m.table.Link(o.id, c.Link.ID); o.id != c.Link.Leaf && k != nil && m.table.Up(k) && m.works(o) {
			return true
		}
	}
	return false
}

// works reports whether a leaf is in use and seen to forward.
func (m *Machine) works(l *leaf) bool {
	return l.phase == serving && !l.cross.silent && !l.cross.withheld && !l.bfd.Lost && l.cross.works.Met(m.now.Mono)
}

func (m *Machine) withhold(l *leaf) {
	c := &l.cross
	if m.now.Mono-c.heldAt < backReset && c.heldAt != 0 {
		c.back.For = min(2*c.back.For, backMax)
	} else {
		c.back.For, c.gap = backMin, 0
	}
	c.withheld, c.heldAt, c.kept = true, m.now.Mono, ""
	c.gap = min(max(retryMin, 2*c.gap), retryMax)
	m.note(step.Note{Warn: true, What: whatWithheld, Port: l.Port, Peer: l.Name, Stage: step.StageWithdraw, Hosts: l.primaries, Cause: c.cause,
		Text: "leaf " + l.Name + " is not told the default route any more", Why: "it forwards nothing, and another leaf works"})
	m.tellDefault(c.cause, "leaf "+l.Name+" forwards nothing")
	m.redoubt(l)
}

// mayReturn says why a leaf is told the default route again: it forwards, or it is the last one, or it cannot be seen to.
func (m *Machine) mayReturn(l *leaf) string {
	c := &l.cross
	switch {
	case !c.silent && c.back.Met(m.now.Mono):
		return "it has forwarded for " + c.back.For.String()
	case !c.looped && m.now.Mono-c.heldAt >= c.gap:
		return "nothing can be seen of it while its downlinks are closed"
	}
	for _, o := range m.leaves {
		if o != l && o.phase == serving && !o.cross.silent && !o.cross.withheld {
			return ""
		}
	}
	return "no other leaf works any more"
}

func (m *Machine) tellAgain(l *leaf, why string) {
	l.cross.withheld = false
	m.note(step.Note{What: whatTold, Port: l.Port, Peer: l.Name, Text: "leaf " + l.Name + " is told the default route again", Why: why})
	m.tellDefault(0, "leaf "+l.Name+" is told it again: "+why)
	m.redoubt(l)
}

// tellDefault tells the default route to all leaves that may have it, and with it that this gateway heeds attachments.
func (m *Machine) tellDefault(cause step.Cause, why string) {
	ad := step.Advertisement{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Large: claim.Heeding(m.cfg.AS)}
	for _, l := range m.leaves {
		if l.cross.withheld {
			ad.Withheld = append(ad.Withheld, l.Address)
		}
	}
	m.emit(step.Want{Object: ad, Urgent: cause != 0, Why: why, Cause: cause})
}

// throughRows are the leaves' forwarding, among the sessions.
func (m *Machine) throughRows(now model.Instant) []step.SessionRow {
	var rows []step.SessionRow
	for _, l := range m.leaves {
		c := &l.cross
		if c.hosts == nil {
			continue
		}
		r := step.SessionRow{Peer: l.Address.String(), Name: l.Name + " (through)", Port: l.Port, State: "up", Received: c.hosts.Known(), Why: c.seen()}
		switch {
		case !l.port.Up():
			r.State, r.Why = "down", downWhy(l.port)
		case c.silent:
			r.State, r.Why = "down", "it forwards nothing: "+c.evidence()
		case !c.looped && !c.hosts.Proven():
			r.State, r.Why = "down", "nothing has come back through it yet: no evidence"
		}
		if c.withheld {
			r.Why += "; the default route is withheld from it until it has forwarded for " + c.back.For.String()
		} else if c.kept != "" {
			r.Why += "; the default route is left to it: " + c.kept
		}
		if c.since != 0 {
			r.SinceMs = (now.Mono - c.since).Milliseconds()
		}
		rows = append(rows, r)
	}
	return rows
}

func (c *crossing) seen() string {
	if c.looped {
		return "our own echo comes back through it"
	}
	return "hosts behind it answer"
}
