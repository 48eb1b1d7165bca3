package leaf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"peerless/internal/leaf/linkage"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/model"
	"peerless/internal/step"
)

// DrainMemo is the name under which a drain is written down, and its two texts.
const (
	DrainMemo   = "drain"
	DrainText   = "drained"
	DrainForced = "drained by force"
)

// drain is planned maintenance: servers are asked to leave, what they leave is closed (invariant drain-loses-nothing).
type drain struct {
	linkage.Drain
	cause   step.Cause
	refused string // why the newest order was not taken
	stuck   bool   // it was told that hosts cannot leave
}

// resumeDrain takes up what an earlier life was ordered: nothing but an order ends a drain. Hosts get their time anew.
func (m *Machine) resumeDrain() {
	m.drain.Max = m.cfg.DrainMax
	if m.cfg.Drained == nil {
		return
	}
	m.drain.State, m.drain.Force = linkage.Leaving, m.cfg.Drained.Force
	m.book.Shy(true)
	for _, d := range m.downs {
		d.drained = true
	}
}

// restartDrain begins the time of a resumed drain, once the clock is known.
func (m *Machine) restartDrain(now model.Instant) {
	if m.drain.State == linkage.Leaving {
		m.drain.cause, m.drain.Since = m.newCause(), now.Mono
		m.emit(step.Arm{Timer: step.Timer{Kind: timerDrain}, At: m.drain.Over()})
	}
}

// onCommand takes or refuses an operator's order.
func (m *Machine) onCommand(now model.Instant, e step.Commanded) {
	m.drain.refused = ""
	switch e.Order {
	case step.OrderDrain:
		m.orderDrain(now, e.Force)
	case step.OrderUndrain:
		m.orderUndrain(now)
	case step.OrderNone:
	}
}

func (m *Machine) orderDrain(now model.Instant, force bool) {
	if doomed := m.doomed(); len(doomed) > 0 && !force && !m.drain.On() {
		m.drain.refused = "no other link: " + strings.Join(doomed, ", ") + "; order it by force if they may die"
		m.emit(step.Note{Warn: true, What: noteDrainRefused, Text: "the leaf is not drained", Why: m.drain.refused})
		return
	}
	do := m.drain.Step(now.Mono, linkage.Ordered)
	if do != linkage.Begin && (!force || m.drain.Force) {
		return // it is under way
	}
	m.drain.Force = force
	m.want(step.Want{Object: step.Memo{Name: DrainMemo, Text: drainText(force)}, Why: "only an order ends a drain"})
	if do == linkage.Begin {
		m.beginDrain(now)
	}
}

func drainText(force bool) string {
	if force {
		return DrainForced
	}
	return DrainText
}

// beginDrain stops answering the servers and tells upstream. Everything is still forwarded.
func (m *Machine) beginDrain(now model.Instant) {
	cause := m.newCause()
	m.drain.cause, m.drain.stuck = cause, false
	n := 0
	for _, d := range m.downs {
		d.drained = true
		if d.state.Present {
			m.setupAnswering(d)
		}
		m.review(now, d, cause)
		n += m.hosts.Count(d.Port)
	}
	m.book.Shy(true)
	m.advertiseAgain("drain: anybody else is a better choice", cause)
	m.emit(step.Note{What: noteDraining, Hosts: n, Cause: cause, Text: "the leaf is being drained of " + plural(n, "host"), Why: "ordered"})
	m.emit(step.Arm{Timer: step.Timer{Kind: timerDrain}, At: m.drain.Over()})
}

// orderUndrain opens what the drain closed, where the leaf can forward.
func (m *Machine) orderUndrain(now model.Instant) {
	if m.drain.Step(now.Mono, linkage.Recalled) != linkage.TakeBack {
		return
	}
	cause := m.newCause()
	m.drain.cause, m.drain.Force = cause, false
	m.emit(step.Disarm{Timer: step.Timer{Kind: timerDrain}})
	m.want(step.Want{Object: step.Memo{Name: DrainMemo}, Absent: true, Why: "undrain was ordered"})
	m.emit(step.Note{What: noteUndrained, Cause: cause, Text: "the leaf is not drained any more", Why: "ordered"})
	m.book.Shy(false)
	for _, d := range m.downs {
		d.reopens = d.left != "" && d.gate.Ours()
		d.drained, d.left = false, ""
		if d.state.Present {
			m.setupAnswering(d)
		}
	}
	m.advertiseAgain("undrain", cause)
	for _, g := range m.groups {
		m.reopen(now, g, cause, "the leaf is not drained any more")
	}
	for _, d := range m.downs {
		m.review(now, d, cause)
	}
}

// reopen opens what may open of a group that is open already; of any other it opens when that does.
func (m *Machine) reopen(now model.Instant, g *group, cause step.Cause, why string) {
	switch g.Step(linkage.Reopen) {
	case linkage.OpenNext:
		g.cause, g.why, g.since = cause, why, now.Mono
		m.openNext(now, g)
	case linkage.OpenLocal:
		m.openLocal(now, g)
	default: // it opens when it can forward
	}
}

// advertiseAgain tells every host anew, since what is told of all of them has changed.
func (m *Machine) advertiseAgain(why string, cause step.Cause) {
	for _, d := range m.downs {
		for _, h := range m.hosts.Hosts(d.Port) {
			if stamp, standing := m.book.Stamp(h.Addr); standing && h.State.Advertised() {
				m.advertise(d, h, stamp, step.Want{Why: why, Cause: cause})
			}
		}
	}
}

// leave closes what the hosts have left, or what must be closed at the end of their time. It is called after every event.
func (m *Machine) leave(now model.Instant) {
	if !m.seen || m.drain.State != linkage.Leaving {
		return
	}
	left := 0
	var stuck []string
	for _, d := range m.downs {
		switch fate, closeNow := m.drain.Fate(now.Mono, m.behind(d)); {
		case d.left != "":
		case closeNow:
			m.closeDrained(now, d, fate)
		default:
			left++
			if now.Mono >= m.drain.Over() {
				stuck = append(stuck, m.named(d))
			}
		}
	}
	switch {
	case left == 0:
		m.drain.Step(now.Mono, linkage.Emptied)
		m.emit(step.Disarm{Timer: step.Timer{Kind: timerDrain}})
		m.emit(step.Note{What: noteDrained, Cause: m.drain.cause, Text: "the leaf is drained", Why: "every downlink is closed"})
	case len(stuck) > 0 && !m.drain.stuck:
		m.drain.stuck = true
		m.emit(step.Note{Warn: true, What: noteDrainStuck, Cause: m.drain.cause, Text: "hosts cannot leave: " + strings.Join(stuck, ", "),
			Why: "their server's other link does not work; their port stays open"})
	}
}

// closeDrained closes one port. Where an engine reads our routes they go first.
func (m *Machine) closeDrained(now model.Instant, d *downlink, fate linkage.Fate) {
	why := "drain: its hosts have left"
	switch fate {
	case linkage.Nobody, linkage.Moves:
	case linkage.Cut:
		why = fmt.Sprintf("drain: its hosts have had %s; their server moves when its link goes", m.drain.Max)
	case linkage.Stays, linkage.Dies:
		why = "drain by force: its hosts have no other way"
	}
	if m.hosts.Count(d.Port) > 0 {
		m.closeAfter = m.retractPort(d, why, m.drain.cause)
	}
	d.left = why
	if d.state.Present {
		m.gate(now, d, linkage.Close)
	}
	m.closeAfter = step.Key{}
	m.review(now, d, m.drain.cause)
}

func (m *Machine) behind(d *downlink) linkage.Behind {
	return linkage.Behind{Hosts: m.hosts.Count(d.Port), Asks: d.asks(), Single: d.Single}
}

// doomed names everybody who would die.
func (m *Machine) doomed() []string {
	var out []string
	for _, d := range m.downs {
		if d.Single && m.hosts.Count(d.Port) > 0 {
			out = append(out, m.named(d))
		}
	}
	return out
}

// named is a port with those behind it.
func (m *Machine) named(d *downlink) string {
	const shown = 4
	var hosts []string
	for _, a := range m.hostsOn(d) {
		hosts = append(hosts, a.String())
	}
	if extra := len(hosts) - shown; extra > 0 {
		hosts = append(hosts[:shown], fmt.Sprintf("%d more", extra))
	}
	name := string(d.Port)
	if d.ServerPort != "" {
		name += " (" + d.ServerPort + ")"
	}
	return name + ": " + strings.Join(hosts, " ")
}

func (m *Machine) hostsOn(d *downlink) []netip.Addr {
	list := slices.DeleteFunc(m.hosts.Hosts(d.Port), func(h neighbor.Host) bool { return !h.State.Installed() })
	out := make([]netip.Addr, len(list))
	for i, h := range list {
		out[i] = h.Addr
	}
	return out
}

// drainView is the drain as operators see it; of a leaf that serves it is what a drain would do.
func (m *Machine) drainView(now model.Instant) *step.Drain {
	v := &step.Drain{State: m.drain.State.String(), Refused: m.drain.refused, SinceMs: (now.Mono - m.drain.Since).Milliseconds()}
	switch {
	case m.drain.State == linkage.Serving:
		v.Why, v.SinceMs = "not drained", 0
	case m.drain.State == linkage.Away:
		v.Why = "every downlink is closed; `undrain` ends it"
	case m.drain.stuck:
		v.State, v.Why = "stuck", "hosts have had their time and cannot leave: their server's other link does not work"
	default:
		v.Why = "hosts are leaving; they have " + m.drain.Max.String()
	}
	for _, d := range m.downs {
		fate, _ := m.drain.Fate(now.Mono, m.behind(d))
		row := step.DrainedRow{Port: d.Port, ServerPort: d.ServerPort, Open: d.serving, Hosts: m.hostsOn(d), Fate: fate.String(), Why: whyFate(fate)}
		if d.left != "" {
			row.Why = d.left
		}
		v.Ports = append(v.Ports, row)
	}
	return v
}

func whyFate(f linkage.Fate) string {
	return [...]string{
		linkage.Nobody: "no host uses this port",
		linkage.Moves:  "its server asks whether this leaf is open, and moves when it is not",
		linkage.Cut:    "its server does not ask: it moves when its link goes, with a short interruption",
		linkage.Stays:  "its server's other link does not work",
		linkage.Dies:   "its server has no other link",
	}[f]
}
