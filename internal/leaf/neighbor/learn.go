package neighbor

import (
	"net/netip"
	"slices"
	"time"

	"peerless/internal/model"
)

// Every method that learns returns what is to be done; the slice is valid until the next call.

// Hear tells that a host sent ARP on a port; announced means gratuitous ARP. A refresh of what is known costs nothing and asks
// for nothing; an announcement of a host that has been here for a while is an arrival (newest-wins): where the feed is cut, or late, nobody
// else can tell us that it was elsewhere.
func (t *Table) Hear(now time.Duration, port model.Port, addr netip.Addr, mac model.MAC, announced bool) []Change {
	t.out = t.out[:0]
	e := t.entries[place{port, addr}]
	if e != nil && e.State == Local && e.MAC == mac {
		e.Heard = now
		e.det.Heard()
		if announced && now >= e.stamped+renewGap && t.ports[port].serving {
			t.apply(now, e, Announced, "it announced itself anew")
		}
		return t.out
	}
	p := t.ports[port]
	if !p.serving {
		t.remember(now, p, addr, mac, FromARP)
		return t.out
	}
	if t.refuse(now, p, e, addr, mac) {
		return t.out
	}
	old := t.holder[addr]
	if e == nil {
		t.makeRoom(p)
		e = t.ensure(p, addr)
	}
	if !e.State.Installed() && !e.Static {
		e.Source = FromARP
	}
	changed, known := e.State.Advertised() && e.MAC != mac, !e.MAC.IsZero()
	t.setMAC(e, mac)
	e.Heard = now
	e.det.Heard()
	switch {
	case changed && known:
		t.emit(Rewrite, e, "its MAC changed")
	case changed:
		t.emit(Entry, e, "its MAC is known now")
	}
	ev := Heard
	if announced {
		ev = Announced
	}
	if old != nil && old != e {
		t.depart(now, old, e, ev)
		return t.out
	}
	t.apply(now, e, ev, "heard by ARP")
	return t.out
}

// depart moves a host from one port of this leaf to another: one Move instead of an installation and a removal.
func (t *Table) depart(now time.Duration, old, e *entry, ev Event) {
	t.apply(now, old, Elsewhere, "")
	at := len(t.out)
	t.apply(now, e, ev, "heard on another port")
	for i := at; i < len(t.out); i++ {
		if t.out[i].Do == Install {
			t.out[i].Do, t.out[i].From = Move, old.Port
		}
	}
}

// refuse says whether a speaker is not to be believed, and reports it once.
func (t *Table) refuse(now time.Duration, p *portTable, e *entry, addr netip.Addr, mac model.MAC) bool {
	old := t.holder[addr]
	switch {
	case e != nil && e.bound && e.MAC != mac:
		t.report(e, Conflict, "another MAC claims an address that the config binds: "+mac.String())
		return true
	case old != nil && old != e && old.bound:
		t.report(old, Conflict, "heard on port "+string(p.name)+", but the config binds it elsewhere")
		return true
	case (e == nil || !e.State.Installed()) && p.held >= p.max:
		if !p.full {
			p.full = true
			t.out = append(t.out, Change{Do: Full, Host: Host{Port: p.name, Addr: addr, MAC: mac}, Why: "the port holds as many hosts as it may"})
		}
		return true
	case old != nil && old != e && old.State.Advertised() && old.MAC != mac:
		t.challenge(now, old, p, addr, mac)
		return true
	case old != nil && old != e:
		return t.unstable(now, old)
	case e != nil && e.State.Advertised() && e.MAC != mac:
		return t.unstable(now, e)
	}
	return false
}

func (t *Table) report(e *entry, do Do, why string) {
	if !e.told {
		e.told = true
		t.emit(do, e, why)
	}
}

// challenge answers a claim to an address that somebody with another MAC holds on another port: whoever has it is asked whether he is
// still there, and keeps it if he is. A guest that moved kept its MAC, and is believed at once.
func (t *Table) challenge(now time.Duration, old *entry, p *portTable, addr netip.Addr, mac model.MAC) {
	known := t.entries[place{p.name, addr}] != nil
	t.remember(now, p, addr, mac, FromARP)
	if e := t.entries[place{p.name, addr}]; e != nil && !known {
		e.gap = arrivalProbe
	}
	if now < old.settled {
		return // he was asked, and answered, a moment ago
	}
	old.doubt = "claimed by " + mac.String() + " on port " + string(p.name)
	t.apply(now, old, Doubted, old.doubt)
}

// unstable counts moves of an address between our ports, and changes of its MAC, and says whether it moves too often to be followed.
func (t *Table) unstable(now time.Duration, old *entry) bool {
	if len(t.moved) > maxMoved {
		clear(t.moved)
	}
	m := t.moved[old.Addr]
	if m == nil || now-m.since > flapWindow {
		m = &moves{since: now}
		t.moved[old.Addr] = m
	}
	m.count++
	if m.count <= flapMoves {
		return false
	}
	if !m.told {
		m.told = true
		t.emit(Unstable, old, "its port or its MAC changes too often: two hosts with one address?")
	}
	return true
}

// Hint tells that an address may be behind a port: probe it, install nothing. A zero MAC is unknown.
func (t *Table) Hint(now time.Duration, port model.Port, addr netip.Addr, mac model.MAC, from Source) []Change {
	t.out = t.out[:0]
	t.remember(now, t.ports[port], addr, mac, from)
	return t.out
}

// Expect tells that an address that belongs behind a port has just been given up by whoever had it: it is probed there at once,
// and again and again until the server has had time to move.
func (t *Table) Expect(now time.Duration, port model.Port, addr netip.Addr) []Change {
	t.out = t.out[:0]
	p := t.ports[port]
	t.remember(now, p, addr, model.MAC{}, FromFeed)
	if e := t.entries[place{port, addr}]; e != nil && e.State == Target && p.serving {
		e.gap = arrivalProbe
		p.scout(now, e)
		t.sched.at(e, max(now, e.asked+returning.pace))
	}
	return t.out
}

// scout has a few of the hosts that are expected asked at a quick pace for a while: the first one that answers brings the others of its
// server with it.
func (p *portTable) scout(now time.Duration, e *entry) {
	if now >= p.scoutsUntil {
		p.scouts, p.scoutsUntil = 0, now+scoutFor
	}
	if now >= e.scouts && p.scouts < maxScouts {
		p.scouts++
		e.scouts = p.scoutsUntil
	}
}

func (t *Table) remember(now time.Duration, p *portTable, addr netip.Addr, mac model.MAC, from Source) {
	e := t.entries[place{p.name, addr}]
	switch {
	case e == nil:
		if !t.makeRoom(p) {
			return
		}
		e = t.ensure(p, addr)
		e.Source = from
	case e.State.Installed():
		return
	}
	if !mac.IsZero() && !e.bound && e.MAC != mac {
		t.setMAC(e, mac)
		t.turn(e)
	}
	e.kin = e.kin || from == FromFeed || from == FromRestart
	t.review(e)
	if now < e.asked+t.patience(from) {
		t.soon(e, from)
		return // asked just now
	}
	until := now + t.lifetime(from)
	if e.State == Target {
		until = max(until, e.until)
	}
	t.apply(now, e, Hinted, "")
	e.until = until
	if !p.serving {
		t.rest(now, e)
	}
}

// soon has a host asked again that sends data here and was asked a moment ago: nobody heard the question, perhaps, because he came
// only after it.
func (t *Table) soon(e *entry, from Source) {
	at := e.asked + returning.pace
	if from == FromData && e.State == Target && e.pos >= 0 && e.due > at && t.ports[e.Port].serving {
		t.sched.at(e, at)
	}
}

// makeRoom bounds what a port remembers beside its installed hosts: a flood of addresses must not cost memory, and must not keep
// out for long whoever really speaks there. What never spoke itself goes first, the oldest of it.
func (t *Table) makeRoom(p *portTable) bool {
	if len(p.list)-p.held < p.max {
		return true
	}
	var victim *entry
	for _, e := range p.list {
		if e.State != Target || e.Static {
			continue
		}
		silent := e.Heard == 0
		if victim == nil || silent && victim.Heard > 0 || silent == (victim.Heard == 0) && e.Since < victim.Since {
			victim = e
		}
	}
	if victim != nil {
		t.apply(victim.Since, victim, Expired, "") // the moment does not matter: it is forgotten
	}
	return victim != nil
}

// patience is how long after a probe another hint of the same address is ignored. Data is no lesser sign than ARP: a host that
// is remembered here and has just moved here sends data first, and its last probe may have found nobody a moment ago.
func (t *Table) patience(from Source) time.Duration {
	if from == FromKernel {
		return t.cfg.Interval
	}
	return returning.pace
}

// lifetime is how long a hint is worth probing. What was only glimpsed is asked a few times; what a server is known to own is
// remembered.
func (t *Table) lifetime(from Source) time.Duration {
	switch from {
	case FromData, FromKernel:
		return min(t.cfg.Remember, time.Duration(max(1, t.cfg.Multiplier))*t.cfg.Interval)
	case FromARP, FromRARP, FromStatic, FromFeed, FromRestart:
	}
	return t.cfg.Remember
}

// RARP tells that a MAC announced itself on a port without an address: every address known for it, on any port, is probed
// on this one.
func (t *Table) RARP(now time.Duration, port model.Port, mac model.MAC) []Change {
	t.out = t.out[:0]
	addrs := make([]netip.Addr, 0, len(t.byMAC[mac]))
	for _, e := range t.byMAC[mac] {
		addrs = append(addrs, e.Addr)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, a := range slices.Compact(addrs) {
		t.remember(now, t.ports[port], a, mac, FromRARP)
	}
	return t.out
}

// Adopt tells that the kernel holds a host as ours after a restart.
func (t *Table) Adopt(now time.Duration, port model.Port, addr netip.Addr, mac model.MAC) []Change {
	t.out = t.out[:0]
	p := t.ports[port]
	if t.holder[addr] != nil || p.held >= p.max || !p.serving {
		return nil
	}
	e := t.ensure(p, addr)
	if e.bound && e.MAC != mac {
		return nil
	}
	if !e.Static {
		e.Source = FromRestart
	}
	t.setMAC(e, mac)
	t.apply(now, e, Adopted, "found in the kernel after a restart")
	return t.out
}

// Inherit tells that the server behind a port has turned up there: those of the addresses that stand by on it are installed at once and
// then probed, unless they are known to be elsewhere now. A quarter of the port's room is left for hosts that are really heard.
func (t *Table) Inherit(now time.Duration, port model.Port, addrs []netip.Addr, elsewhere func(netip.Addr) bool) []Change {
	t.out = t.out[:0]
	p := t.ports[port]
	for _, a := range addrs {
		if p.held >= p.room() {
			break
		}
		if e := t.entries[place{port, a}]; e != nil && e.standby && t.holder[a] == nil && !elsewhere(a) {
			t.apply(now, e, Adopted, "its server has turned up here")
		}
	}
	return t.out
}

// Spare puts off the first probes of the hosts that Inherit took, which are most likely to be heard anyway.
func (t *Table) Spare(port model.Port, until time.Duration) {
	for _, e := range t.ports[port].list {
		if e.State == Inherited {
			t.sched.at(e, onGrid(until, t.cfg.Interval))
		}
	}
}

// Doubt tells that another leaf has a newer claim to an address; moved: behind another server port than ours.
func (t *Table) Doubt(now time.Duration, addr netip.Addr, moved bool) []Change {
	t.out = t.out[:0]
	if e := t.holder[addr]; e != nil {
		if e.State != Suspect { // the pace of a doubt that has begun stays
			e.doubt, e.moved = feedDoubt, moved
		}
		t.apply(now, e, Doubted, "another leaf has a newer claim")
	}
	return t.out
}

// Departed tells that a host is behind another leaf for certain: it is withdrawn without being asked again; moved: behind another server port
// than ours; lost: what still comes for it is lost, so that there is nothing to drain unless many move.
func (t *Table) Departed(now time.Duration, addr netip.Addr, moved, lost bool) []Change {
	t.out = t.out[:0]
	if e := t.holder[addr]; e != nil && !e.bound {
		e.moved, e.lost = moved, lost
		t.apply(now, e, Fell, "another leaf has it, and nobody answers by this link")
	}
	return t.out
}

// Start tells that a port serves: what is bound to it is installed, and everything remembered there is probed at once.
func (t *Table) Start(now time.Duration, port model.Port) []Change {
	t.out = t.out[:0]
	p := t.ports[port]
	p.serving = true
	for _, e := range t.sorted(p) {
		if e.State != Target {
			continue
		}
		if e.bound && t.holder[e.Addr] == nil && p.held < p.max {
			t.apply(now, e, Bound, "bound by config")
			continue
		}
		e.gap = arrivalProbe
		t.sched.at(e, now)
	}
	return t.out
}
