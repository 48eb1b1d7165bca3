package sim

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"peerless/internal/claim"
	"peerless/internal/engine"
	"peerless/internal/leaf"
	"peerless/internal/model"
	"peerless/internal/step"
)

// patrolEvery is the pause between two looks at what must not last.
const patrolEvery = 250 * time.Millisecond

// What may be odd for a while must not stay so: effects that failed are tried again after 5 s at the latest.
const (
	oddFor      = time.Second
	troubleOver = 6 * time.Second
)

// patrol looks at what is allowed for a moment and wrong when it lasts.
func (j *judge) patrol() {
	w := j.w
	now := map[string]oddity{}
	for _, g := range w.gateways {
		if g.steady() {
			j.patrolClaims(g, now)
			j.patrolShelves(g, now)
		}
	}
	for _, l := range w.leaves {
		if l.steady() {
			j.patrolDamped(l, now)
			j.patrolShelves(l, now)
		}
	}
	for _, s := range w.servers {
		if s.steady() && s.server.managed() {
			j.patrolPair(s, now)
		}
	}
	for key, o := range now {
		if since, was := j.odd[key]; was {
			o.since = since.since
		} else {
			o.since = w.now
		}
		now[key] = o
	}
	j.odd = now
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if o := now[key]; w.now-o.since > oddFor {
			w.fail(o.law, "%s: %s", key, o.text)
		}
	}
	if w.failure == nil {
		w.after(patrolEvery, j.patrol)
	}
}

// oddity is something that must not last.
type oddity struct {
	law, text string
	since     time.Duration
}

// steady reports whether a node's daemon has had every chance to put things right.
func (n *node) steady() bool {
	d := n.daemon
	return d != nil && d.running && !d.frozen && d.known && !d.deaf && n.w.now > n.trouble.until+troubleOver &&
		n.w.now > d.memory.frozeAt+troubleOver && n.w.now > d.started+troubleOver
}

// patrolClaims: of the claims that a gateway can use, the newest has the host.
func (j *judge) patrolClaims(g *node, odd map[string]oddity) {
	for _, h := range j.w.hosts {
		var best *peering
		var newest claim.Stamp
		n := 0
		for _, e := range g.daemon.speaker.ends {
			c, ok := j.usable(g, e, h.addr)
			if !ok {
				continue
			}
			n++
			if best == nil || c.Stamp > newest || c.Stamp == newest && e.other().owner.own.Less(best.other().owner.own) {
				best, newest = e, c.Stamp
			}
		}
		if n < 2 {
			continue
		}
		for t, tab := range g.kernel.tables {
			if t >= g.gw.TableBase+98 || len(tab.hosts[h.addr]) == 0 {
				continue
			}
			if via := tab.hosts[h.addr][0].NextHop.Via; via != best.addr {
				odd[fmt.Sprintf("%s %s", g.name, h.addr)] = oddity{law: "newest-wins",
					text: fmt.Sprintf("forwarded to %s, and the newest claim is that of %s", via, best.addr)}
			}
		}
	}
}

// patrolShelves: nobody looks into a leaf's shelf, or a gateway's bypass, for longer than it takes to give its hosts their routes.
func (j *judge) patrolShelves(n *node, odd map[string]oddity) {
	law := "shelf-is-shut"
	if n.role == gatewayRole {
		law = "bypass-is-shut"
	}
	for _, r := range n.kernel.rules {
		if r.Table > leaf.StandbyTable {
			odd[fmt.Sprintf("%s table %d", n.name, r.Table)] = oddity{law: law, text: "a rule looks into it still"}
		}
	}
}

// shelf: one is opened only for a server that has just been heard on its port. A retry is the same decision.
func (j *judge) shelf(d *daemon, a engine.Action) {
	w := a.Want
	r, ok := w.Object.(step.Rule)
	if ok && !w.Absent && r.Table == leaf.StandbyTable && !d.node.isUplink(r.IIF) {
		j.w.fail("standby-takes-what-comes-down", "%s sends others than its gateways to whoever stands by: %s", d.node.name, r)
	}
	if !ok || w.Absent || r.Table <= leaf.StandbyTable || d.node.kernel.looked(r.Table) || d.memory.decided[w.Key()] == a.Gen {
		return
	}
	d.memory.decided[w.Key()] = a.Gen
	port, _ := d.node.byIndex(r.Table - leaf.StandbyTable)
	for at, when := range d.memory.heardOn {
		if at.port == port && j.w.now-when <= oddFor {
			return
		}
	}
	j.w.fail("shelf-is-shut", "%s looks into the shelf of %s, where nobody was heard", d.node.name, port)
}

// shuts: a port that has just gone down shuts its shelf in the same turn, unless it is being shut already.
func (j *judge) shuts(d *daemon, actions []engine.Action) {
	for _, dl := range d.node.leaf.Downlinks {
		table := leaf.StandbyTable + dl.PortIndex
		at, down := d.memory.portDown[dl.Port]
		if !down || at != j.w.now || !d.node.kernel.looked(table) {
			continue
		}
		gone := func(w step.Want) bool {
			r, ok := w.Object.(step.Rule)
			return ok && w.Absent && r.Table == table
		}
		if !slices.ContainsFunc(actions, func(a engine.Action) bool { return gone(a.Want) }) && !slices.ContainsFunc(d.turn.Pending(), gone) {
			j.w.fail("shelf-is-shut", "%s looks into the shelf of %s still, which is down", d.node.name, dl.Port)
		}
	}
}

// usable is a leaf's claim that a gateway was told and may act upon: the session lives, the leaf is let in, its port is up.
func (j *judge) usable(g *node, e *peering, addr netip.Addr) (claim.Host, bool) {
	m := &g.daemon.memory
	_, ended := m.ended[e.addr]
	in := e.port()
	if ended || m.doubted[e.addr] || m.mute[e.other().owner.name] || slices.Contains(m.withheld, e.addr) || !in.toldOnce || !in.told.Up() {
		return claim.Host{}, false
	}
	slot := uint32(0)
	for i, l := range g.gw.Leaves {
		if l.Address == e.addr {
			slot = uint32(i + 1)
		}
	}
	as := e.other().owner.leaf.AS
	p, ok := m.rib[ribKey{e.addr, netip.PrefixFrom(addr, 32)}]
	c, stamped := claim.ParseHost(as, p.path.Large)
	if !ok || !stamped || !g.kernel.looked(g.gw.TableBase+slot) {
		return claim.Host{}, false
	}
	return c, j.attached(g.daemon, e, c.Attachment)
}

// patrolPair: a server uses a link that is up if there is one, and its bridge ports are set as they ought to be.
func (j *judge) patrolPair(n *node, odd map[string]oddity) {
	s := n.server
	used, other := s.sides()
	if used == nil || other == nil {
		return
	}
	if !used.up() && other.up() {
		odd[n.name+" link"] = oddity{law: "any-link-beats-none", text: fmt.Sprintf("%s is in use and down, %s is up", used.name, other.name)}
	}
	if s.kind != "bridge" {
		return
	}
	for _, p := range s.links {
		want := step.BridgePort{Port: p.name, Flood: p == used, Isolated: true}
		if p.up() && p.flags != want {
			odd[n.name+" "+string(p.name)] = oddity{law: "one-way-out", text: fmt.Sprintf("%s, want %s", p.flags, want)}
		}
	}
}

// admission: a leaf that was heard in this life is let in only while its session is up and it has told of its attachments since
// its link came back.
func (j *judge) admission(g *node, r step.Rule) {
	slot := int(r.Table-g.gw.TableBase) - 1
	if r.Blackhole || slot < 0 || slot >= len(g.gw.Leaves) {
		return
	}
	l := g.gw.Leaves[slot]
	m := &g.daemon.memory
	_, ended := m.ended[l.Address]
	if _, lost := m.portDown[l.Port]; m.spoke[l.Address] && ended && lost {
		j.w.fail("no-early-return", "%s lets %s in again, whose session is not up", g.name, l.Name)
	}
}

// withdrawals judges what a leaf tells when a port fails: first what failed, then whose routes go.
func (j *judge) withdrawals(d *daemon, w step.Want) {
	a, ok := w.Object.(step.Advertisement)
	if !ok {
		return
	}
	m := &d.memory
	if j.w.cfg.attach.Contains(a.Prefix.Addr()) {
		c, _ := claim.ParseAttachment(d.node.leaf.AS, a.Large)
		m.attached[c.PortIndex] = c.State
		if word := m.words[c.PortIndex]; word != nil && word.state == c.State {
			delete(m.words, c.PortIndex)
		}
		return
	}
	if c, ok := claim.ParseHost(d.node.leaf.AS, a.Large); ok && !w.Absent {
		at, _ := d.node.byIndex(c.PortIndex)
		key := claimKey{a.Prefix.Addr(), c.Stamp}
		if _, known := m.claimed[key]; !known {
			m.claimed[key] = m.announced[neighKey{at, key.addr}]
		}
		return
	}
	var port model.Port
	if _, err := fmt.Sscanf(w.Why, "port %s", &port); err != nil || !w.Absent {
		return
	}
	port = port[:max(0, len(port)-1)] // its colon
	if dl, ok := d.node.downlink(port); ok && m.attached[dl.PortIndex] == claim.Up {
		j.w.fail("worst-news-first", "%s withdraws %s (%s) and has not told that the port failed", d.node.name, a.Prefix, w.Why)
	}
}

// prepared: in a world that is well, every host with two links has its way out in the gateways' tables before anything fails.
func (w *World) prepared() {
	for _, g := range w.gateways {
		for _, h := range w.hosts {
			homes := w.homes(h.at)
			if len(homes) < 2 || h.dead || !direct(g, homes[0]) || !direct(g, homes[1]) {
				continue
			}
			if t := g.kernel.tables[g.gw.TableBase+99]; t == nil || len(t.hosts[h.addr]) == 0 {
				w.fail("repair-before-failure", "%s has no backup for %s, though two leaves have its server port up", g.name, h.addr)
			}
			w.preparedBelow(h)
		}
	}
}

// shelfRoom is how many may stand by on a port of downlinkHosts.
const shelfRoom = downlinkHosts - downlinkHosts/4

// standing is the number of hosts that a leaf has a way down to by a port though they are not known to be there.
func (n *node) standing(p model.Port) int {
	c := 0
	for _, list := range n.kernel.table(leaf.StandbyTable).hosts {
		for _, r := range list {
			if r.NextHop.Dev == p {
				c++
			}
		}
	}
	return c
}

// preparedBelow: the leaf that a host's server does not use delivers what comes down for it, by whatever leads there if the server's link hears.
func (w *World) preparedBelow(h *host) {
	used, other := h.at.server.sides()
	if used == nil || other == nil || !w.hearOfEachOther(h.at.server) {
		return
	}
	l := other.peer().node
	if !l.steady() || l.leaf.AS == used.peer().node.leaf.AS { // it cannot tell the other's claim from its own, told back
		return
	}
	v, hops := l.kernel.lookup(l.uplinks()[0].name, h.addr)
	e := l.kernel.neigh[neighKey{other.peer().name, h.addr}]
	switch {
	case l.standing(other.peer().name) >= shelfRoom: // others that were there take its place
	case v != forward || hops[0].Dev != other.peer().name:
		w.fail("standby-takes-what-comes-down", "%s has no way down to %s by %s", l.name, h.addr, other.peer().name)
	case e == nil || !e.ours || e.mac != h.mac:
		w.fail("standby-takes-what-comes-down", "%s has no neighbour entry of %s on %s", l.name, h.addr, other.peer().name)
	}
}

// direct reports whether a gateway has a link of its own to a leaf that works.
func direct(g, l *node) bool {
	for _, p := range l.uplinks() {
		if p.peer().node == g && p.link.works() {
			return true
		}
	}
	return false
}
