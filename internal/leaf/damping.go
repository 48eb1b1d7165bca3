package leaf

import (
	"fmt"
	"net/netip"
	"time"

	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
)

// This file keeps ports that come and go from drawing their servers to and fro (invariant damping-delays-only-returns). A damped port stays
// closed only as long as everybody who was behind it is known to be elsewhere: it is never anybody's only way.

// flapped counts one loss of a link. What we, or the operator, did to the port is none.
func flapped(was, is step.PortState) bool {
	return was.Up() && is.Present && is.AdminUp && !is.ProtoDown && !is.Carrier && !is.Ours && was.Index == is.Index
}

// allElsewhere reports whether the hosts that were behind a port are now claimed by another leaf for the same server port, every one of
// them, by the word of a gateway whose session lives. Nobody known means nobody safe.
func (m *Machine) allElsewhere(d *downlink) (claimed int, all bool) {
	for _, h := range m.hosts.Hosts(d.Port) {
		r := m.heard.RivalBy(h.Addr, m.speaks)
		switch {
		case h.State.Installed():
			return claimed, false
		case r.Stamp != 0 && r.Attachment == d.ID:
			claimed++
		case h.Heard > 0 || h.Static:
			return claimed, false
		}
	}
	return claimed, true
}

// speaks reports whether a gateway would tell us if what it told last were not so any more.
func (m *Machine) speaks(gateway netip.Addr) bool {
	u := m.uplinkOf(gateway)
	return u != nil && u.session
}

func (m *Machine) hearsFeed() bool {
	for _, u := range m.ups {
		if u.session && u.usable {
			return true
		}
	}
	return false
}

// damp holds a flapping port closed when it comes back, if that harms nobody. It reports whether it does.
func (m *Machine) damp(now model.Instant, d *downlink) bool {
	until, held := d.damper.Held(now.Mono)
	if !held || d.group == nil || !m.hearsFeed() {
		return false
	}
	if n, all := m.allElsewhere(d); n == 0 || !all {
		return false
	}
	d.cause = m.newCause()
	d.damped = fmt.Sprintf("damping: it was lost too often (penalty %.0f), its hosts reach the other leaf", d.damper.Penalty(now.Mono))
	m.gate(now, d, linkage.Close)
	m.emit(step.Arm{Timer: step.Timer{Kind: timerReuse, Port: d.Port}, At: until})
	m.emit(step.Note{Warn: true, What: notePortDamped, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Cause: d.cause,
		Text: "port " + string(d.Port) + " flaps: it is held closed for " + (until - now.Mono).Round(100*time.Millisecond).String(), Why: d.damped})
	return true
}

// relax opens damped ports whose time is over, or whose hosts have lost their other way. It is called after every event.
func (m *Machine) relax(now model.Instant) {
	for _, d := range m.downs {
		if d.damped == "" {
			continue
		}
		_, held := d.damper.Held(now.Mono)
		n, all := m.allElsewhere(d)
		why := "damping: it has been quiet for long enough"
		switch {
		case held && n > 0 && all && m.hearsFeed():
			continue
		case held:
			why = "damping is over: the other leaf does not have its hosts any more"
		}
		d.damped, d.opens = "", why
		m.emit(step.Disarm{Timer: step.Timer{Kind: timerReuse, Port: d.Port}})
		m.reopen(now, d.group, d.cause, why)
		m.review(now, d, d.cause)
	}
}

// dampedUntil is when a group that could open may do so in view of its uplinks' past; false if it may now. It waits only while every host
// that was behind it is known to be elsewhere.
func (m *Machine) dampedUntil(now model.Instant, g *group) (until time.Duration, waits bool) {
	need := max(1, g.MinUplinks)
	calm := 0
	var name model.Port
	for _, u := range g.ups {
		at, held := u.damper.Held(now.Mono)
		switch {
		case !u.usable:
		case !held:
			calm++
		case !waits || at < until:
			until, waits, name = at, true, u.Port
		}
	}
	if calm >= need || !waits || !m.hearsFeed() {
		return 0, false
	}
	claimed := 0
	for _, d := range g.downs {
		n, all := m.allElsewhere(d)
		if !all {
			return 0, false
		}
		claimed += n
	}
	if claimed > 0 {
		g.why = "waits until uplink " + string(name) + " has been steady: it was lost too often"
	}
	return until, claimed > 0
}
