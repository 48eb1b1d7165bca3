package leaf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
)

// anywhere is the default route's prefix; defaultMetric leaves room below it for the operator's own.
var anywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

const defaultMetric = 20

// group is one linkage group with its ports.
type group struct {
	*linkage.Linkage
	id      uint32
	ups     []*uplink
	downs   []*downlink // in the order of closing and opening
	reason  claim.Reason
	cause   step.Cause
	closed  string // why the group closed last: it names the uplinks
	why     string // the state it is in now
	since   time.Duration
	due     time.Duration // when the group, or its next downlink, opens
	armed   bool
	watched bool // the time until it serves without a gateway runs
}

func (g *group) timer() step.Timer { return step.Timer{Kind: timerOpen, ID: g.id} }

// count gives how many uplinks are usable, and how many of them are ready for opening: the kernel can send to the gateway.
func (g *group) count() (usable, ready, told int) {
	for _, u := range g.ups {
		if !u.usable {
			continue
		}
		usable++
		if u.Resolved {
			ready++
		}
		if u.told || !u.everUp {
			told++
		}
	}
	return usable, ready, told
}

// settle draws every consequence of what is known of the uplinks: closings first, then notes, then the default route. It is
// called after each event that may change a verdict, and does nothing until the kernel is known.
func (m *Machine) settle(now model.Instant, cause step.Cause) {
	if !m.seen {
		return
	}
	changed := m.judgeUplinks(now, &cause)
	for _, g := range m.groups {
		m.settleGroup(now, g, cause)
	}
	for _, u := range changed {
		m.noteUplink(now, u, cause)
		if u.usable {
			m.repeatUnheard(cause)
		}
	}
	m.wantDefault(cause)
	for _, g := range m.groups {
		m.awaitReady(now, g)
	}
}

// judgeUplinks renews every verdict. A change of verdict is a transition of its own unless the caller named one.
func (m *Machine) judgeUplinks(now model.Instant, cause *step.Cause) []*uplink {
	var changed []*uplink
	for _, u := range m.ups {
		usable, why := u.Usable()
		if usable != u.usable {
			u.since = now.Mono
			changed = append(changed, u)
			if *cause == 0 {
				*cause = m.newCause()
			}
		}
		u.usable, u.why = usable, why
	}
	return changed
}

func (m *Machine) noteUplink(_ model.Instant, u *uplink, cause step.Cause) {
	if u.usable {
		m.emit(step.Note{What: noteUplinkUp, Port: u.Port, Peer: u.Neighbor.String(), Cause: cause,
			Text: "uplink " + string(u.Port) + " is usable", Why: "carrier, default route and gateway are there"})
		return
	}
	m.emit(step.Note{Warn: true, What: noteUplinkDown, Port: u.Port, Peer: u.Neighbor.String(), Stage: step.StageDetect, Cause: cause,
		Text: "uplink " + string(u.Port) + " is unusable", Why: u.why})
	if u.Up && !u.Silent {
		return // the session works; it must go on telling us
	}
	if m.cfg.DefaultFromBGP {
		u.Default = linkage.NoDefault // the session is forgotten, and what it told with it
	}
	u.Soft, u.told = false, false
	if m.cfg.Export.Mode != ByBGP {
		return
	}
	m.emit(step.ResetSession{Peer: u.Neighbor, Why: "uplink " + string(u.Port) + ": " + u.why})
}

func (m *Machine) settleGroup(now model.Instant, g *group, cause step.Cause) {
	usable, _, _ := g.count()
	was := g.State
	do := g.Usable(usable)
	if g.State != was {
		g.since = now.Mono
	}
	m.watchLocal(now, g)
	switch do {
	case linkage.CloseAll:
		g.cause = m.causeOr(cause)
		m.closeGroup(now, g)
	case linkage.GiveUp:
		g.closed = g.lost()
		g.why = g.closed
		m.disarmOpen(g)
	case linkage.Wait:
		g.cause = m.causeOr(cause)
		m.emit(step.Note{What: noteLinkageWaiting, Cause: g.cause, Text: "group " + g.Name + " waits to open",
			Why: "uplinks are back; waiting until the leaf can forward"})
	case linkage.Resume:
		g.cause = m.causeOr(cause)
		g.why = "it was forwarding when the daemon started"
		m.openNext(now, g)
	case linkage.Nothing, linkage.OpenNext, linkage.NoteOpen, linkage.OpenLocal, linkage.EndLocal:
	}
}

func (m *Machine) causeOr(c step.Cause) step.Cause {
	if c != 0 {
		return c
	}
	return m.newCause()
}

// lost names the uplinks that are missing: a closing without a named reason does not exist.
func (g *group) lost() string {
	var why string
	for _, u := range g.ups {
		if u.usable {
			continue
		}
		if why != "" {
			why += "; "
		}
		why += "uplink " + string(u.Port) + ": " + u.why
	}
	if len(g.ups) == 0 {
		why = "the group has no uplink"
	}
	return why
}

// whyClosed names the evidence that closed the group, and what it still waits for.
func (g *group) whyClosed() string {
	switch {
	case g.closed == "": // an earlier life closed it, or the guard
		return "it was closed before the daemon started, and this leaf cannot forward yet by " + g.uplinks()
	case g.State == linkage.Shutdown || g.why == g.closed:
		return g.closed
	}
	return g.closed + " before; now: " + g.why
}

func (g *group) uplinks() string {
	names := make([]string, len(g.ups))
	for i, u := range g.ups {
		names[i] = "uplink " + string(u.Port)
	}
	return strings.Join(names, ", ")
}

// closeGroup closes every downlink first and cleans up after: a server that loses its carrier moves at once, and what is left
// in our tables harms nobody meanwhile.
func (m *Machine) closeGroup(now model.Instant, g *group) {
	m.disarmOpen(g)
	g.closed = g.lost()
	g.why = g.closed
	if g.reason == claim.ReasonUnknown || m.everLinked(g) {
		g.reason = claim.ReasonLinkage
	}
	m.closeAfter = m.retractFirst(g)
	for _, d := range g.downs {
		if d.drained && d.left == "" {
			d.left = "drain, cut short: " + g.why
		}
		if d.state.Present {
			m.gate(now, d, linkage.Close)
		}
	}
	m.closeAfter = step.Key{}
	m.emit(step.Note{Warn: true, What: noteLinkageClosed, Hosts: m.hostsOf(g), Cause: g.cause,
		Text: fmt.Sprintf("group %s closes %s", g.Name, plural(len(g.downs), "downlink")), Why: g.why})
	for _, d := range g.downs {
		m.review(now, d, g.cause)
	}
}

// everLinked reports whether the group served before: else it is not a loss that keeps it closed, it is not ready yet.
func (m *Machine) everLinked(g *group) bool {
	for _, d := range g.downs {
		if d.serving {
			return true
		}
	}
	return g.reason == claim.ReasonLinkage || g.reason == claim.ReasonReady
}

func (m *Machine) hostsOf(g *group) int {
	n := 0
	for _, d := range g.downs {
		n += m.hosts.Count(d.Port)
	}
	return n
}

// awaitReady opens a waiting group when the leaf can forward and the delay is over, and keeps its timer.
func (m *Machine) awaitReady(now model.Instant, g *group) {
	hard, told := m.canForward(g)
	due, waiting := g.Ready(now.Mono, hard, told)
	if g.State == linkage.Local {
		m.awaitGateway(now, g, due, waiting)
		return
	}
	if g.State == linkage.Opening && hard && !g.armed {
		m.openNext(now, g)
	}
	if g.State != linkage.Waiting {
		return
	}
	if until, damped := m.dampedUntil(now, g); damped && waiting && until > due {
		m.armOpen(g, until)
		return
	}
	switch {
	case !waiting:
		g.why = "waits for the default route and the gateway's neighbour entry"
		m.disarmOpen(g)
	case due <= now.Mono:
		g.Step(linkage.Due)
		g.since = now.Mono
		g.why = "the leaf can forward again"
		m.openNext(now, g)
	default:
		g.why = "waits for End-of-RIB or the end of the opening delay"
		m.armOpen(g, due)
	}
}

// canForward reports whether the hard conditions of opening hold for a group: uplinks usable, default route in the kernel, the
// gateways' neighbour entries resolved; and whether the gateways have told all they have.
func (m *Machine) canForward(g *group) (hard, allTold bool) {
	usable, ready, told := g.count()
	need := max(1, g.MinUplinks)
	return usable >= need && ready >= need && m.hasDefault(), told >= need
}

// awaitGateway ends the time without a gateway once the leaf can forward.
func (m *Machine) awaitGateway(now model.Instant, g *group, due time.Duration, waiting bool) {
	switch {
	case !waiting:
		m.disarmOpen(g)
	case due > now.Mono:
		m.armOpen(g, due)
	default:
		m.disarmOpen(g)
		if g.Step(linkage.Due) == linkage.EndLocal {
			m.endLocal(now, g)
		}
	}
}

// hasDefault reports whether the kernel holds the default route.
func (m *Machine) hasDefault() bool {
	if m.cfg.DefaultFromBGP {
		return m.defaultSet && len(m.defaultHops) > 0
	}
	return len(m.kernel) > 0
}

func (m *Machine) armOpen(g *group, at time.Duration) {
	if g.armed && g.due == at {
		return
	}
	g.armed, g.due = true, at
	m.emit(step.Arm{Timer: g.timer(), At: at})
}

func (m *Machine) disarmOpen(g *group) {
	if g.armed {
		g.armed = false
		m.emit(step.Disarm{Timer: g.timer()})
	}
}

func (m *Machine) onOpenTimer(now model.Instant, g *group) {
	g.armed = false
	switch g.State {
	case linkage.Waiting, linkage.Local:
		m.settle(now, g.cause)
	case linkage.Opening:
		g.Step(linkage.Due)
		m.openNext(now, g)
	case linkage.Starting, linkage.Shutdown, linkage.Linked:
	}
}

// openNext opens the next downlink that is ours to open; the rest follow, staggered, so that servers do not all come at once.
// After a start that found the leaf forwarding, what an earlier life closed waits until that is certain
// (open-only-when-forwarding).
func (m *Machine) openNext(now model.Instant, g *group) {
	left := 0
	opened := false
	ready, _ := m.canForward(g)
	for _, d := range g.downs {
		if d.left != "" || d.damped != "" || d.trust.hush != "" {
			continue
		}
		if d.gate.State != linkage.Held && d.gate.State != linkage.Closing && d.gate.State != linkage.Yielded {
			continue
		}
		if !ready || opened && m.cfg.OpenStagger > 0 {
			left++
			continue
		}
		opened = true
		m.gate(now, d, linkage.Open)
	}
	switch {
	case left > 0 && ready:
		m.armOpen(g, now.Mono+m.cfg.OpenStagger)
	case left > 0: // settle comes back here when the leaf can forward
	default:
		g.Step(linkage.Done)
		g.reason = claim.ReasonReady
		g.since = now.Mono
		m.emit(step.Note{What: noteLinkageOpen, Cause: g.cause, Text: "group " + g.Name + " is open", Why: g.why})
	}
	for _, d := range g.downs {
		m.review(now, d, g.cause)
	}
}

// wantDefault keeps the default route on the usable uplinks: those with a living session where there are any, else those
// that only soft evidence speaks against. It is the only route that a leaf installs from what it hears.
func (m *Machine) wantDefault(cause step.Cause) {
	if !m.cfg.DefaultFromBGP {
		return
	}
	var fresh, all []step.NextHop
	for _, u := range m.ups {
		if !u.usable {
			continue
		}
		hop := step.NextHop{Dev: u.Port, Via: u.Neighbor}
		all = append(all, hop)
		if !u.Soft && !u.bfd.Lost {
			fresh = append(fresh, hop)
		}
	}
	hops := all
	if len(fresh) > 0 {
		hops = fresh
	}
	if m.defaultAsked && slices.Equal(hops, m.defaultHops) {
		return
	}
	m.defaultAsked, m.defaultHops, m.defaultSet = true, hops, false
	m.askDefault(cause, "usable uplinks changed")
}

func (m *Machine) askDefault(cause step.Cause, why string) {
	r := step.Route{Prefix: anywhere, Metric: defaultMetric}
	if len(m.defaultHops) == 0 {
		m.want(step.Want{Object: r, Absent: true, Why: "no usable uplink", Cause: cause})
		return
	}
	r.NextHop = m.defaultHops[0]
	r.More = slices.Clone(m.defaultHops[1:])
	if len(r.More) == 0 {
		r.More = nil
	}
	m.want(step.Want{Object: r, After: m.lastRule(), Why: why, Cause: cause})
}
