package sim

import (
	"net/netip"
	"strings"
	"time"

	"peerless/internal/claim"
	"peerless/internal/engine"
	"peerless/internal/model"
	"peerless/internal/step"
)

// judge holds every step against the invariants of docs/invariants.md, by their names. It sees what the machines were told and
// what they ask for, and the kernels; of the machines' own state it sees nothing.
type judge struct {
	w      *World
	dirty  map[netip.Addr]bool
	list   []netip.Addr // dirty ones in order
	all    bool
	turnOf int // whose turn it is among the hosts when everything changed
	calm   *calm
	odd    map[string]oddity
	also   func() // looks after every step that changed forwarding; nil: nobody
}

func newJudge(w *World) judge {
	return judge{w: w, dirty: map[netip.Addr]bool{}}
}

// memory is what a daemon was told in this life, as far as its deeds are judged by it.
type memory struct {
	heardOn   map[neighKey]time.Duration   // announcements and answers of a host on a port
	announced map[neighKey]time.Duration   // announcements alone
	heights   map[netip.Addr][]height      // stamps heard of a host, each higher than the one before
	arrived   map[netip.Addr]time.Duration // when the machine last asked for its neighbour entry: it arrived
	said      map[netip.Prefix]said
	resolved  map[model.Port]bool
	ceased    map[netip.Addr]bool
	applied   map[step.Key]bool            // default route
	routed    map[netip.Addr]model.Port    // host routes that were applied or found
	gates     map[model.Port]uint64        // the newest decision on a port that was judged
	held      map[model.Port]bool          // ports that it closed last
	rib       map[ribKey]inPath            // what it was told
	withdrawn map[netip.Addr]bool          // it took its default route back in this life
	inherited map[model.Port]bool          // uplinks by which the kernel had our default route when this life began
	asked     map[netip.Addr]uint64        // the newest want of its neighbour entry
	portDown  map[model.Port]time.Duration // when it was last told so
	spoke     map[netip.Addr]bool          // a session with it was up in this life
	attached  map[uint32]claim.State       // what was last told of its ports, by index
	found     map[netip.Addr]bool          // hosts whose routes an earlier life had left
	doubted   map[netip.Addr]bool          // BFD with it went down
	ended     map[netip.Addr]time.Duration // when it was told of the session's end
	decided   map[step.Key]uint64          // the newest decision on a route that was judged
	suspect   map[step.Key]bool            // routes whose deletion was decided though a claim stands behind them
	served    bool                         // the group was open in this life
	frozeAt   time.Duration
}

type ribKey struct {
	peer   netip.Addr
	prefix netip.Prefix
}

type height struct {
	stamp claim.Stamp
	at    time.Duration
}

type said struct {
	claim claim.Host
	at    time.Duration
}

func newMemory() memory {
	return memory{heardOn: map[neighKey]time.Duration{}, announced: map[neighKey]time.Duration{}, heights: map[netip.Addr][]height{}, arrived: map[netip.Addr]time.Duration{},
		said: map[netip.Prefix]said{}, resolved: map[model.Port]bool{}, ceased: map[netip.Addr]bool{}, applied: map[step.Key]bool{},
		routed: map[netip.Addr]model.Port{}, gates: map[model.Port]uint64{}, held: map[model.Port]bool{}, rib: map[ribKey]inPath{}, doubted: map[netip.Addr]bool{}, found: map[netip.Addr]bool{}, spoke: map[netip.Addr]bool{}, attached: map[uint32]claim.State{}, portDown: map[model.Port]time.Duration{}, asked: map[netip.Addr]uint64{}, inherited: map[model.Port]bool{}, withdrawn: map[netip.Addr]bool{}, ended: map[netip.Addr]time.Duration{}, suspect: map[step.Key]bool{}, decided: map[step.Key]uint64{}}
}

// touch has a prefix walked after this step.
func (j *judge) touch(p netip.Prefix) {
	switch {
	case j.dirty == nil:
	case !p.IsSingleIP():
		j.all = true
	case !j.dirty[p.Addr()]:
		j.dirty[p.Addr()] = true
		j.list = append(j.list, p.Addr())
	}
}

func (j *judge) touchAll() { j.all = true }

// walksMax bounds the walks after a step that changed everything: the hosts take turns.
const walksMax = 6

// afterStep walks what the step may have changed.
func (j *judge) afterStep() {
	if !j.all && len(j.list) == 0 {
		return
	}
	if j.calm != nil {
		j.calm.look()
	}
	if j.also != nil {
		j.also()
	}
	for _, a := range j.list {
		j.walks(a)
		delete(j.dirty, a)
	}
	j.list = j.list[:0]
	if !j.all || len(j.w.hosts) == 0 {
		return
	}
	j.all = false
	for range min(walksMax, len(j.w.hosts)) {
		j.turnOf = (j.turnOf + 1) % len(j.w.hosts)
		j.walks(j.w.hosts[j.turnOf].addr)
	}
}

// walks follows packets for one address from every gateway and from below every leaf.
func (j *judge) walks(a netip.Addr) {
	if !j.w.cfg.subnet.Contains(a) {
		return
	}
	for _, g := range j.w.gateways {
		j.walk(g, "", a)
	}
	for _, l := range j.w.leaves {
		if len(l.leaf.Downlinks) > 0 {
			j.walk(l, l.leaf.Downlinks[0].Port, a)
		}
	}
}

func (j *judge) walk(n *node, iif model.Port, a netip.Addr) {
	p := j.w.walk(n, iif, a)
	switch {
	case p.returned != "":
		j.w.fail("no-return-up", "a packet for %s goes up again on %s", a, p.returned)
	case p.bounced != "":
		j.w.fail("no-gateway-loop", "a packet for %s is handed back on %s", a, p.bounced)
	case p.loop:
		j.w.fail("no-forwarding-loop", "a packet for %s from %s goes round", a, n.name)
	}
}

// heard notes what a daemon is told.
func (j *judge) heard(d *daemon, ev step.Event) {
	m := &d.memory
	now := j.w.now
	switch ev := ev.(type) {
	case step.ARPSeen:
		announced := ev.SenderIP == ev.TargetIP
		if ev.Op == step.ARPReply || announced {
			m.heardOn[neighKey{ev.Port, ev.SenderIP}] = now
		}
		if announced {
			m.announced[neighKey{ev.Port, ev.SenderIP}] = now
		}
	case step.PathsChanged:
		for _, p := range ev.Paths {
			j.heardPath(d, ev.Peer, p)
		}
	case step.SessionChanged:
		m.ended[ev.Peer] = now
		if ev.Up {
			m.ceased[ev.Peer] = false
			delete(m.ended, ev.Peer)
			m.spoke[ev.Peer] = true
		} else if ev.Reason == step.ReasonCeaseDown {
			m.ceased[ev.Peer] = true
		}
	case step.BFDChanged:
		m.doubted[ev.Peer] = !ev.Up && !ev.Admin
	case step.NeighborChanged:
		m.resolved[ev.Port] = ev.Present && ev.Resolved
	case step.PortChanged:
		if !ev.Up() {
			m.resolved[ev.Port] = false
			m.portDown[ev.Port] = now
		}
	case step.Snapshot:
		for _, u := range d.node.leaf.Uplinks {
			m.resolved[u.Port] = false
		}
		for _, r := range ev.Routes {
			if r.Ours && r.Prefix.IsSingleIP() {
				m.routed[r.Prefix.Addr()] = r.NextHop.Dev
				m.found[r.Prefix.Addr()] = m.found[r.Prefix.Addr()] || ev.Reason == reasonStart
			}
			for _, h := range r.Hops() {
				if ev.Reason == reasonStart && r.Ours && r.Prefix.Bits() == 0 {
					m.inherited[h.Dev] = true
				}
			}
		}
		for _, n := range ev.Neighbors {
			if n.Resolved {
				m.resolved[n.Port] = true
			}
		}
	}
}

func (j *judge) heardPath(d *daemon, peer netip.Addr, p step.Path) {
	if p.Withdrawn {
		delete(d.memory.rib, ribKey{peer, p.Prefix})
		d.memory.withdrawn[peer] = d.memory.withdrawn[peer] || p.Prefix == anywhere
	} else {
		d.memory.rib[ribKey{peer, p.Prefix}] = inPath{path: p, at: j.w.now}
	}
	if p.Withdrawn || d.node.role == gatewayRole {
		return
	}
	for _, l := range p.Large {
		c, ok := claim.ParseHost(l.Global, p.Large)
		if !ok {
			continue
		}
		list := d.memory.heights[p.Prefix.Addr()]
		if n := len(list); n == 0 || c.Stamp > list[n-1].stamp {
			d.memory.heights[p.Prefix.Addr()] = append(list, height{stamp: c.Stamp, at: j.w.now})
		}
		return
	}
}

// turn judges the order of one turn's actions: closings go before every withdrawal and deletion.
func (j *judge) turn(d *daemon, actions []engine.Action) {
	switch d.node.role {
	case gatewayRole:
		j.decisions(d, actions)
		return
	case serverRole:
		return
	case leafRole:
	}
	cleaned := ""
	for _, urgent := range [...]bool{true, false} {
		for _, a := range actions {
			if a.Urgent != urgent {
				continue
			}
			if n, ok := a.Emit.(step.Note); ok {
				j.note(d, n)
				continue
			}
			g, gate := a.Want.Object.(step.Gate)
			if gate && !a.Want.Absent && d.memory.gates[g.Port] != a.Gen {
				d.memory.gates[g.Port] = a.Gen // a retry is the same decision
				j.gate(d.node, g, a.Want)
			}
			if a.Emit == nil {
				j.withdrawals(d, a.Want)
			}
			if nb, ok := a.Want.Object.(step.Neighbor); ok && !a.Want.Absent && d.memory.asked[nb.Addr] < a.Gen {
				d.memory.asked[nb.Addr], d.memory.arrived[nb.Addr] = a.Gen, j.w.now
			}
			switch {
			case a.Emit != nil:
			case gate && g.Closed && !a.Want.Absent && cleaned != "":
				j.w.fail("close-first", "%s: %s comes after %s", d.node.name, a.Want.Object, cleaned)
			case a.Want.Absent && !gate:
				cleaned = a.Want.Object.String()
				if adv, ok := a.Want.Object.(step.Advertisement); ok {
					delete(d.memory.said, adv.Prefix) // though it may come again before the speaker has carried it out
				}
			}
		}
	}
}

func (j *judge) note(d *daemon, n step.Note) {
	switch n.What {
	case "linkage-open":
		d.memory.served = true
	case "port-closed":
		if p := d.node.kernel.port(n.Port); p != nil && p.open() {
			j.w.fail("closing-is-verified", "%s takes %s for closed, and it is open", d.node.name, n.Port)
		}
	}
}

// before judges a want that is about to be applied.
func (j *judge) before(n *node, w step.Want) {
	if n.role == leafRole {
		j.beforeLeaf(n, w)
	}
}

func (j *judge) beforeLeaf(n *node, w step.Want) {
	switch o := w.Object.(type) {
	case step.Route:
		if !w.Absent {
			j.leafRoute(n, o)
		}
	case step.Advertisement:
		j.advertisement(n, o, w.Absent)
	}
}

// after notes outcomes. In calm worlds what is lost for the time of one system call counts.
func (j *judge) after(n *node, w step.Want, err error) {
	if j.calm != nil && n.role == gatewayRole {
		j.calm.look()
	}
	r, ok := w.Object.(step.Route)
	if !ok || err != nil {
		return
	}
	switch n.role {
	case leafRole:
		if r.Prefix.Bits() == 0 {
			n.daemon.memory.applied[step.Key{Kind: step.KindRoute}] = !w.Absent
		} else if w.Absent {
			delete(n.daemon.memory.routed, r.Prefix.Addr())
		} else {
			n.daemon.memory.routed[r.Prefix.Addr()] = r.NextHop.Dev
		}
	case gatewayRole:
		if w.Absent {
			j.lastPath(n, r)
		}
	case serverRole:
	}
}

// gate judges a closing or an opening.
func (j *judge) gate(n *node, o step.Gate, w step.Want) {
	p := n.kernel.port(o.Port)
	if p == nil {
		return
	}
	off := p.toldOnce && p.told.Present && (!p.told.AdminUp || p.told.ProtoDown) && !p.told.Ours
	held := n.daemon.memory.held[o.Port]
	n.daemon.memory.held[o.Port] = o.Closed
	switch {
	case off && o.Closed: // asked in the same breath; the driver finds it closed and leaves it to him
	case off:
		j.w.fail("operator-closed-stays", "%s asks for %s, which the operator closed", n.name, o)
	case o.Closed && held: // somebody opened what was held closed: no new decision
	case o.Closed:
		j.closing(n, o, w)
	case !j.toldForwarding(n):
		j.w.fail("open-only-when-forwarding", "%s opens %s without uplink, default route or gateway", n.name, o.Port)
	}
}

func (j *judge) closing(n *node, o step.Gate, w step.Want) {
	if !strings.Contains(w.Why, "uplink") {
		j.w.fail("closed-for-a-reason", "%s closes %s and names no uplink: %q", n.name, o.Port, w.Why)
	}
	if !n.daemon.memory.served {
		return // it has not been able to forward in this life: not ready is the reason
	}
	good := 0
	for i, u := range n.leaf.Uplinks {
		if j.hard(n, i) == "" {
			good++
		}
		_ = u
	}
	if good >= max(1, n.leaf.Groups[0].MinUplinks) {
		j.w.fail("soft-never-closes", "%s closes %s (%s) though no hard evidence speaks against %d of its uplinks", n.name, o.Port, w.Why, good)
	}
}

// evidenceFor is how long ago a link may have been bad for a verdict that comes now.
const evidenceFor = 5 * time.Second

// hard names the hard evidence against an uplink; empty if there is none.
func (j *judge) hard(n *node, i int) string {
	u := n.leaf.Uplinks[i]
	p := n.kernel.port(u.Port)
	since := j.w.now - evidenceFor
	if f := n.daemon.memory.frozeAt; f > 0 && j.w.now-f < time.Minute {
		since = min(since, f-evidenceFor)
	}
	switch {
	case !p.toldOnce || !p.told.Up():
		return "no carrier"
	case p.link.badAt() >= since:
		return "silence"
	case n.daemon.memory.ceased[u.Neighbor]:
		return "cease"
	}
	m := &n.daemon.memory
	_, told := m.rib[ribKey{u.Neighbor, anywhere}]
	ended, down := m.ended[u.Neighbor]
	inherited := m.inherited[u.Port] && j.w.now-n.daemon.started < j.w.cfg.grace
	switch {
	case !told && !inherited, down && j.w.now-ended > j.w.cfg.grace-100*time.Millisecond:
		return "no default route"
	case !told && m.withdrawn[u.Neighbor]:
		return "default route withdrawn"
	}
	return ""
}

var anywhere = netip.MustParsePrefix("0.0.0.0/0")

// toldForwarding reports whether the leaf was told that it can forward.
func (j *judge) toldForwarding(n *node) bool {
	m := &n.daemon.memory
	if !m.applied[step.Key{Kind: step.KindRoute}] {
		return false
	}
	for _, u := range n.leaf.Uplinks {
		if p := n.kernel.port(u.Port); p.toldOnce && p.told.Up() && m.resolved[u.Port] {
			return true
		}
	}
	return false
}

// leafRoute judges a route of a leaf.
func (j *judge) leafRoute(n *node, r step.Route) {
	if r.Prefix.Bits() == 0 {
		for _, h := range r.Hops() {
			if !n.isUplink(h.Dev) {
				j.w.fail("own-hosts-only", "%s has a default route by %s", n.name, h.Dev)
			}
		}
		return
	}
	d, down := n.downlink(r.NextHop.Dev)
	a := r.Prefix.Addr()
	switch {
	case !r.Prefix.IsSingleIP() || !down || r.NextHop.Via.IsValid() || len(r.More) > 0:
		j.w.fail("own-hosts-only", "%s installs %s, which is no host of its own", n.name, r)
	case !j.w.cfg.subnet.Contains(a) || a == j.w.cfg.gatewayIP:
		j.w.fail("admit-narrowly", "%s installs %s", n.name, r)
	case j.count(n, d.Port, a) >= d.MaxHosts && j.count(n, d.Port, a)-going(n, d.Port) >= d.MaxHosts:
		j.w.fail("admit-narrowly", "%s holds more than %d hosts on %s", n.name, d.MaxHosts, d.Port)
	}
}

// count is the number of other hosts that the kernel holds on a port.
func (j *judge) count(n *node, p model.Port, but netip.Addr) int {
	c := 0
	for a, list := range n.kernel.table(mainTable).hosts {
		if a != but && len(list) > 0 && list[0].NextHop.Dev == p {
			c++
		}
	}
	return c
}

// going counts the routes of a port that the daemon has given up and the kernel refuses to delete: they take no host's place.
func going(n *node, p model.Port) int {
	c := 0
	for _, w := range n.daemon.turn.Pending() {
		if r, ok := w.Object.(step.Route); ok && w.Absent && r.NextHop.Dev == p {
			c++
		}
	}
	return c
}

// sent judges a packet that a daemon sends.
func (j *judge) sent(d *daemon, e step.SendARP) {
	if d.node.role != serverRole || e.SenderIP != e.TargetIP {
		return
	}
	h := j.w.byAddr[e.SenderIP]
	p := d.node.kernel.port(e.Port)
	switch {
	case h == nil, h.mac != e.SenderMAC:
		j.w.fail("announce-the-truth", "%s announces %s (%s), which nobody has", d.node.name, e.SenderIP, e.SenderMAC)
	case h.at != d.node && j.w.now-h.movedAt > time.Second && j.w.now > d.memory.frozeAt+10*time.Second:
		j.w.fail("announce-the-truth", "%s announces %s, which moved away %s ago", d.node.name, e.SenderIP, j.w.now-h.movedAt)
	case p.toldOnce && !p.told.Up():
		j.w.fail("announce-the-truth", "%s announces %s out of %s, which is down", d.node.name, e.SenderIP, e.Port)
	}
}
