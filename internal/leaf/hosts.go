package leaf

import (
	"cmp"
	"net/netip"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf/announce"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/model"
	"peerless/internal/step"
)

// arrivalGap is how close together hosts arrive on a port when they are one failover: a server and its guests.
const arrivalGap = 500 * time.Millisecond

// change turns the host table's changes into effects.
func (m *Machine) change(now model.Instant, list []neighbor.Change, cause step.Cause) {
	m.changeWhy(now, list, cause, "")
}

// changeWhy is change with a reason that the table cannot know.
func (m *Machine) changeWhy(now model.Instant, list []neighbor.Change, cause step.Cause, why string) {
	for _, c := range list {
		if why != "" {
			c.Why = why
		}
		m.one(now, c, cause)
	}
}

func (m *Machine) one(now model.Instant, c neighbor.Change, cause step.Cause) {
	d := m.down(c.Host.Port)
	h := c.Host
	switch c.Do {
	case neighbor.Ask:
		m.ask(h, c.Why)
	case neighbor.Install, neighbor.Move:
		m.arrive(now, d, c)
	case neighbor.Stand:
		m.install(d, h, announce.Unverified(d.Role), step.Want{Why: c.Why, Cause: m.causeOr(cause)})
		m.noteHost(noteHostAdopted, d, h, "host "+h.Addr.String()+" on "+string(d.Port)+" is taken as it was", c.Why, step.StageNone, cause)
	case neighbor.Verify:
		m.verify(now, d, c)
	case neighbor.Restamp:
		cause = m.arrivalCause(now, d)
		m.advertise(d, h, m.heard.Next(h.Addr, now.Wall), step.Want{Why: "it announced itself here", Cause: cause})
		m.noteVerified(d, h, "announced itself on "+string(d.Port), "gratuitous ARP", step.StageLearn, cause)
	case neighbor.Renew:
		m.advertise(d, h, m.heard.Next(h.Addr, now.Wall), step.Want{Why: c.Why})
	case neighbor.Rewrite:
		m.want(step.Want{Object: neighborOf(h), Why: c.Why, Cause: cause})
		if stamp, standing := m.book.Stamp(h.Addr); standing {
			m.advertise(d, h, stamp, step.Want{Why: c.Why, Cause: cause})
		}
		m.noteHost(noteHostMoved, d, h, "host "+h.Addr.String()+" on "+string(d.Port)+" has a new MAC "+h.MAC.String(), c.Why, step.StageNone, cause)
	case neighbor.Entry:
		m.want(step.Want{Object: neighborOf(h), Why: c.Why, Cause: cause})
	case neighbor.Withdraw:
		m.withdraw(now, d, c, cause)
	case neighbor.Remove:
		m.remove(d, h, c.Why, cause)
	case neighbor.Duplicate, neighbor.Full, neighbor.Conflict, neighbor.Unstable:
		m.warnHost(d, c)
	case neighbor.Nothing:
	}
}

// ask sends one probe: from the gateway's address, so that the answer comes to us and changes nothing at the host.
func (m *Machine) ask(h neighbor.Host, why string) {
	n, ok := m.admit.Net(h.Addr)
	if !ok {
		return
	}
	dst := h.MAC
	if dst.IsZero() {
		dst = model.Broadcast
	}
	m.emit(step.SendARP{Port: h.Port, Op: step.ARPRequest, DstMAC: dst, SenderMAC: n.MAC, SenderIP: n.Gateway,
		TargetMAC: h.MAC, TargetIP: h.Addr, Why: why})
}

// arrive is the whole of learning: neighbour, route, advertisement, in one step, with a new stamp. The first of its server goes before
// everything that is queued: by it the other leaf learns why nobody answers there any more.
func (m *Machine) arrive(now model.Instant, d *downlink, c neighbor.Change) {
	h := c.Host
	before := d.arrival
	cause := m.arrivalCause(now, d)
	stamp := m.heard.Next(h.Addr, now.Wall)
	w := step.Want{Why: c.Why, Cause: cause, Urgent: d.arrival != before}
	if c.Do == neighbor.Install && d.unclaimed.waits && d.shelf.serves(h.Addr) {
		m.advertise(d, h, stamp, w) // it waits; and it is taken with the rest of the shelf before
		return
	}
	m.install(d, h, stamp, w)
	if c.Do == neighbor.Move {
		m.want(step.Want{Object: step.Neighbor{Port: c.From, Addr: h.Addr}, Absent: true, Why: "moved to " + string(d.Port), Cause: cause})
		m.noteHost(noteHostMoved, d, h, "host "+h.Addr.String()+" moved from "+string(c.From)+" to "+string(d.Port), c.Why, step.StageLearn, cause)
		m.down(c.From).unmeet(h.Addr)
		if from := m.down(c.From); from != nil {
			if from.shelf.open {
				m.unshelve(from, h.Addr, "it moved to "+string(d.Port))
			}
			m.listen(from)
		}
	} else {
		m.noteHost(noteHostLearned, d, h, "host "+h.Addr.String()+" arrived on "+string(d.Port), c.Why, step.StageLearn, cause)
	}
	m.listen(d)
}

// arrivalCause joins hosts that arrive together into one failover.
func (m *Machine) arrivalCause(now model.Instant, d *downlink) step.Cause {
	if d.arrival == 0 || now.Mono-d.arrived > arrivalGap {
		d.arrival = m.newCause()
	}
	d.arrived = now.Mono
	return d.arrival
}

// inherit takes those who stand by for a server that has just turned up on its port: with one rule whoever is on the port's shelf, the others
// host by host. They are claimed only when they are heard themselves: until then the word on the attachment, which has come before, moves
// their traffic here.
func (m *Machine) inherit(now model.Instant, d *downlink) {
	if d.shelf.open {
		return // it is being taken already
	}
	cause := m.arrivalCause(now, d)
	var others []netip.Addr
	n := m.serveShelf(d, cause)
	if n > 0 {
		others = m.missing(d)
	} else {
		others = m.hosts.Standby(d.Port)
	}
	for _, c := range m.hosts.Inherit(now.Mono, d.Port, others, func(a netip.Addr) bool { return m.behindAnother(d, a) }) {
		if c.Do == neighbor.Stand {
			n++
			m.hold(c.Host, step.Want{Why: c.Why, Cause: cause})
		}
	}
	if n > 0 {
		m.holdClaims(now, d, n)
		m.emit(step.Note{What: noteInherited, Port: d.Port, Attachment: d.ID, ServerPort: d.ServerPort, Stage: step.StageLearn, Hosts: n, Cause: cause,
			Text: plural(n, "remembered host") + " taken on " + string(d.Port), Why: "their server has turned up here"})
	}
}

// behindAnother reports whether another leaf claims a host behind another server port than the downlink's.
func (m *Machine) behindAnother(d *downlink, a netip.Addr) bool {
	r := m.heard.Rival(a)
	return r.Stamp != 0 && r.Attachment != d.ID
}

// claimedBehind reports whether another leaf claims a host behind the very server port that a downlink is a link of.
func (m *Machine) claimedBehind(p model.Port, a netip.Addr) bool {
	r := m.heard.Rival(a)
	return r.Stamp != 0 && r.Attachment != 0 && r.Attachment == m.down(p).ID
}

// install makes the kernel hold the host before anybody is told of it: the route and the neighbour entry on one socket, in this order.
// What arrives between the two waits in the kernel for the entry; without one, which a host that was never heard here has not got, the
// kernel asks by itself. What it wants is like w.
func (m *Machine) install(d *downlink, h neighbor.Host, stamp claim.Stamp, w step.Want) {
	m.hold(h, w)
	m.advertise(d, h, stamp, w)
}

func (m *Machine) hold(h neighbor.Host, w step.Want) {
	w.Object = m.routeOf(h)
	m.want(w)
	if !h.MAC.IsZero() {
		w.Object = neighborOf(h)
		m.want(w)
	}
}

func (m *Machine) advertise(d *downlink, h neighbor.Host, stamp claim.Stamp, w step.Want) {
	adv := m.book.Host(h.Addr, d.Attachment, stamp, h.MAC)
	switch m.cfg.Export.Mode {
	case ByBGP:
		if d.unclaimed.waits {
			d.unclaimed.hosts, d.unclaimed.cause = append(d.unclaimed.hosts, h.Addr), cmp.Or(w.Cause, d.unclaimed.cause)
			return
		}
		w.Object, w.After = adv, m.routeOf(h).Key()
		m.want(w)
	case ByTable:
		m.export(h, stamp, w.Why, w.Cause)
	case ByNobody: // the gateway's routes are static, and it asks by ARP
	}
}

// verify raises the stamp of an inherited claim, unless another leaf claims the host at present: its claim is then newer than
// anything we know, and only the host's own announcement here may beat it. What came with its server was not claimed yet: it
// arrives now, like any host that is heard.
func (m *Machine) verify(now model.Instant, d *downlink, c neighbor.Change) {
	h := c.Host
	text := "on " + string(d.Port) + " answers"
	_, standing := m.book.Stamp(h.Addr)
	if r := m.heard.Rival(h.Addr); r.Stamp != 0 && standing {
		m.noteVerified(d, h, text, "another leaf claims it too: the inherited stamp is kept", step.StageNone, 0)
		return
	}
	cause := m.arrivalCause(now, d)
	m.advertise(d, h, m.heard.Next(h.Addr, now.Wall), step.Want{Why: "verified", Cause: cause})
	m.noteVerified(d, h, text, "verified", step.StageNone, cause)
}

// noteVerified tells of a host that was heard, unless all of its server are told of together.
func (m *Machine) noteVerified(d *downlink, h neighbor.Host, text, why string, stage step.Stage, cause step.Cause) {
	if !d.unclaimed.waits {
		m.noteHost(noteHostVerified, d, h, "host "+h.Addr.String()+" "+text, why, stage, cause)
	}
}

// withdraw stops standing behind a host; its route stays for the drain.
func (m *Machine) withdraw(_ model.Instant, d *downlink, c neighbor.Change, cause step.Cause) {
	adv, ok := m.book.Drop(c.Host.Addr)
	if !ok {
		return
	}
	d.unmeet(c.Host.Addr)
	alone := cause == 0 // not part of a port's failure
	cause = m.causeOr(cause)
	d.cause = cause
	m.retract(adv, c.Why, cause)
	if alone {
		m.noteHost(noteHostGone, d, c.Host, "host "+c.Host.Addr.String()+" left "+string(d.Port), c.Why, step.StageDetect, cause)
	}
}

// remove deletes the host's route and then its neighbour entry.
func (m *Machine) remove(d *downlink, h neighbor.Host, why string, cause step.Cause) {
	if cause == 0 {
		cause = d.cause
	}
	m.want(step.Want{Object: m.routeOf(h), Absent: true, Why: why, Cause: cause})
	m.want(step.Want{Object: neighborOf(h), Absent: true, Why: why, Cause: cause})
	if d.shelf.open {
		m.unshelve(d, h.Addr, why)
	}
	if d.serving {
		m.listen(d)
	}
}

func (m *Machine) warnHost(d *downlink, c neighbor.Change) {
	addr := c.Host.Addr.String()
	switch c.Do {
	case neighbor.Full:
		m.noteWarn(noteHostLimit, d, c.Host.Addr, "host "+addr+" on "+string(d.Port)+" is not learned", c.Why)
	case neighbor.Conflict:
		m.noteWarn(noteConflict, d, c.Host.Addr, "host "+addr+" is used twice", c.Why)
	case neighbor.Unstable:
		m.noteWarn(noteHostUnstable, d, c.Host.Addr, "moves of host "+addr+" are ignored for a while", c.Why)
	default:
		m.noteWarn(noteDuplicate, d, c.Host.Addr, "host "+addr+" answers on "+string(d.Port)+" and on another leaf", c.Why)
	}
}

func (m *Machine) noteHost(what string, d *downlink, h neighbor.Host, text, why string, stage step.Stage, cause step.Cause) {
	m.emit(step.Note{What: what, Port: d.Port, Addr: h.Addr, Attachment: d.ID, ServerPort: d.ServerPort, Text: text, Why: why,
		Stage: stage, Hosts: 1, Cause: cause})
}

func (m *Machine) noteWarn(what string, d *downlink, addr netip.Addr, text, why string) {
	m.emit(step.Note{Warn: true, What: what, Port: d.Port, Addr: addr, Attachment: d.ID, ServerPort: d.ServerPort, Text: text, Why: why})
}

// routeOf is the route that forwards to a host.
func (m *Machine) routeOf(h neighbor.Host) step.Route {
	return step.Route{Table: m.table, Prefix: step.HostPrefix(h.Addr), NextHop: step.NextHop{Dev: h.Port}}
}

// isHosts reports whether a table is the one that hosts are forwarded by.
func (m *Machine) isHosts(table uint32) bool {
	return table == m.table || m.table == 0 && isMain(table)
}

func neighborOf(h neighbor.Host) step.Neighbor {
	return step.Neighbor{Port: h.Port, Addr: h.Addr, MAC: h.MAC}
}
