package leaf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"peerless/internal/claim"
	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
)

// judge checks the invariants of every step against what the machine has asked for so far.
type judge struct {
	t     *rapid.T
	w     *world
	gates map[model.Port]bool // asked closed
	here  netip.Addr          // whom the event asks for, if he was here before it: his verdict may fall due behind the answer
	on    *downlink           // the port on which the event asks, if it served before: it may be left behind the answer
}

func (j *judge) step(ev step.Event) {
	off := map[model.Port]bool{}
	for p, s := range j.w.ports {
		off[p] = s.Present && !s.AdminUp && !s.Ours
	}
	j.here, j.on = netip.Addr{}, nil
	if asked, ok := ev.(step.ARPSeen); ok {
		if d := j.w.m.down(asked.Port); d != nil && d.serving {
			j.on = d
		}
		if h, held := j.w.m.hosts.Holder(asked.TargetIP); held && h.State.Advertised() {
			j.here = h.Addr
		}
	}
	for _, e := range j.w.one(ev) {
		switch e := e.(type) {
		case step.SendARP:
			j.arp(e)
		case step.Want:
			j.want(e, off)
		}
	}
	for _, d := range j.w.m.downs {
		if n := j.w.m.hosts.Count(d.Port); n > d.MaxHosts {
			j.t.Fatalf("%s holds %d hosts", d.Port, n)
		}
		_, armed := j.w.timers[cleanTimer(d)]
		if !d.serving && j.w.m.hosts.Count(d.Port) > 0 && !(d.cleanup.due && armed) {
			j.t.Fatalf("%s holds hosts without serving, and nothing will take them off", d.Port)
		}
		if d.serving && d.gate.Ours() {
			j.t.Fatalf("%s serves although we hold it closed", d.Port)
		}
		if d.serving && !d.group.Forwards() {
			j.t.Fatalf("%s serves although the leaf cannot forward", d.Port)
		}
	}
	if !j.w.m.drain.On() {
		for _, d := range j.w.m.downs {
			if d.drained || d.left != "" {
				j.t.Fatalf("%s is still drained: %s", d.Port, d.left)
			}
		}
	}
	j.exports()
	for k, o := range j.w.held {
		if a, ok := o.(step.Advertisement); ok && !a.NoExport {
			if _, ok := j.w.held[step.Route{Prefix: k.Prefix}.Key()]; !ok {
				j.t.Fatalf("%s is advertised without a route", k.Prefix)
			}
		}
	}
}

// exports: what an engine is to tell is forwarded, by the same port, and told once.
func (j *judge) exports() {
	seen := map[netip.Prefix]bool{}
	for k, o := range j.w.held {
		r, ok := o.(step.Route)
		if !ok || k.Number != engineTable || r.Blackhole { // a blackhole is there to be deleted
			continue
		}
		forward, ok := j.w.held[step.Route{Table: HostTable, Prefix: k.Prefix}.Key()].(step.Route)
		if !ok || forward.NextHop != r.NextHop {
			j.t.Fatalf("%s is for the engine to tell, but forwarded by %v", r, forward)
		}
		if seen[k.Prefix] {
			j.t.Fatalf("%s is in the engine's table twice", k.Prefix)
		}
		seen[k.Prefix] = true
	}
}

func (j *judge) arp(e step.SendARP) {
	if e.Op != step.ARPReply {
		return
	}
	if u, ok := j.w.m.ports[e.Port].(*uplink); ok {
		if e.TargetIP != u.Neighbor || e.SenderIP != j.here {
			j.t.Fatalf("tells a gateway of a host that is not here: %s", e)
		}
		return
	}
	d := j.w.m.down(e.Port)
	switch {
	case e.SenderIP == gwAddr && (j.w.m.drain.On() || d.group.State == linkage.Local) && !e.TargetIP.IsUnspecified() && e.TargetIP != gwAddr: // in the kernel's place
	case e.SenderIP == gwAddr, e.TargetIP.IsUnspecified(), e.SenderIP == e.TargetIP:
		j.t.Fatalf("answers %s", e)
	case d == nil || !d.serving && d != j.on:
		j.t.Fatalf("answers on a port that does not serve: %s", e)
	}
	if h, ok := j.w.m.hosts.Holder(e.SenderIP); ok && h.Port == e.Port && e.SenderIP != e.TargetIP {
		j.t.Fatalf("answers for a host behind the asker's port: %s", e)
	}
}

func (j *judge) want(e step.Want, off map[model.Port]bool) {
	if e.Why == "" {
		j.t.Fatalf("without a reason: %s", e)
	}
	switch o := e.Object.(type) {
	case step.Gate:
		switch {
		case e.Absent:
			delete(j.gates, o.Port)
		case o.Closed:
			if !strings.Contains(e.Why, "uplink") && !strings.Contains(e.Why, "drain") {
				j.t.Fatalf("closes without a named reason: %s", e)
			}
			j.gates[o.Port] = true
		default:
			if off[o.Port] && !j.gates[o.Port] {
				j.t.Fatalf("opens an operator's port: %s", e)
			}
			delete(j.gates, o.Port)
		}
	case step.Advertisement:
		if !e.Absent && !o.NoExport {
			if e.After == (step.Key{}) {
				j.t.Fatalf("advertised without waiting for the route: %s", e)
			}
		}
	}
}

func drawEvent(t *rapid.T, w *world) step.Event {
	port := model.Port(fmt.Sprintf("A%d", rapid.IntRange(1, 4).Draw(t, "port")))
	up := w.m.cfg.Uplinks[rapid.IntRange(0, len(w.m.cfg.Uplinks)-1).Draw(t, "uplink")]
	i := rapid.IntRange(1, 6).Draw(t, "host")
	change := func(p model.Port, f func(*step.PortState)) step.Event {
		s := w.ports[p]
		f(&s)
		w.ports[p] = s
		return step.PortChanged{PortState: s}
	}
	on := rapid.Bool().Draw(t, "on")
	switch rapid.IntRange(0, 22).Draw(t, "event") {
	case 21:
		return asksOpen(port, i)
	case 22:
		return step.Commanded{Order: rapid.SampledFrom([]step.Order{step.OrderDrain, step.OrderUndrain}).Draw(t, "order"), Force: i == 1}
	case 0, 1:
		return garp(port, i)
	case 2:
		return request(port, i, rapid.SampledFrom([]int{0, 1, 2, 3, 254, 255}).Draw(t, "target"))
	case 3:
		return step.ARPSeen{Port: port, Op: step.ARPRequest, SrcMAC: macOf(i), SenderMAC: macOf(i),
			SenderIP: rapid.SampledFrom([]netip.Addr{netip.IPv4Unspecified(), gwAddr, addrOf(0)}).Draw(t, "sender"), TargetIP: addrOf(i)}
	case 4:
		return change(port, func(s *step.PortState) { s.Carrier = on && s.AdminUp })
	case 5:
		return change(port, admin(on))
	case 6, 7:
		return change(up.Port, carrier(on))
	case 8:
		return step.NeighborChanged{NeighborState: step.NeighborState{Neighbor: resolved(up).Neighbor, Present: true, Resolved: on, Failed: !on && i == 1}}
	case 9:
		return step.SessionChanged{Peer: up.Neighbor, AS: 65000, Up: true}
	case 10:
		return step.SessionChanged{Peer: up.Neighbor, Reason: rapid.SampledFrom([]step.SessionReason{step.ReasonReset, step.ReasonCeaseDown,
			step.ReasonOurs, step.ReasonUnreachable}).Draw(t, "reason")}
	case 11, 12:
		return step.PathsChanged{Peer: up.Neighbor, Paths: []step.Path{{Prefix: anywhere, Withdrawn: !on && i == 1}}}
	case 13:
		p := claimed(i, model.AttachmentID(i), claim.Stamp(w.Now.Wall+int64(rapid.IntRange(-500, 500).Draw(t, "skew"))))
		p.Withdrawn = on
		return step.PathsChanged{Peer: up.Neighbor, Paths: []step.Path{p}}
	case 14:
		return step.EndOfRIB{Peer: up.Neighbor}
	case 15:
		s := w.snapshot()
		s.Reason = "netlink lost messages"
		return s
	case 18:
		return step.RouteChanged{RouteState: engineDefault(up.Port, up.Neighbor, on)}
	case 19:
		return step.EngineState{Engine: w.m.cfg.Export.Engine, Running: on, Routes: engineHas("", rapid.SampledFrom([][]int{nil, {1}, {2, 3}, {1, 2, 3, 4, 5, 6}}).Draw(t, "has")...).Routes}
	case 20:
		return step.ARPSeen{Port: up.Port, Op: step.ARPRequest, SrcMAC: macOf(200), SenderMAC: macOf(200), SenderIP: up.Neighbor, TargetIP: addrOf(i)}
	case 16:
		return step.DataSeen{Port: port, MAC: macOf(i), Addr: addrOf(i)}
	default:
		return step.RARPSeen{Port: port, MAC: macOf(i)}
	}
}

// Any story, with outcomes and timers that come late and interleaved, keeps the invariants; and two machines that are told
// the same do the same.
func TestLeaf_AnyStory_KeepsTheInvariants(t *testing.T) {
	tb := t
	rapid.Check(t, func(t *rapid.T) {
		cfg := fig7A()
		if rapid.Bool().Draw(t, "two uplinks") {
			cfg = twoUplinks(cfg)
		}
		for i := range cfg.Downlinks {
			cfg.Downlinks[i].MaxHosts = 2
			cfg.Downlinks[i].Single = i == 3
		}
		if engine := rapid.SampledFrom([]string{"", "", "frr", "bird"}).Draw(t, "engine"); engine != "" {
			cfg = byTable(cfg, engine)
		}
		cfg.DrainMax = 5 * time.Second
		if rapid.Bool().Draw(t, "damping") {
			cfg = damping(cfg)
		}
		if rapid.Bool().Draw(t, "local only") {
			cfg.LocalOnly = 3 * time.Second
		}
		told := defaultPath()
		if rapid.Bool().Draw(t, "gateway heeds attachments") {
			told[0].Large = claim.Heeding(65000)
		}
		w := newWorld(tb, cfg)
		w.mute = rapid.Bool().Draw(t, "closed by muting")
		twin := New(cfg)
		j := &judge{t: t, w: w, gates: map[model.Port]bool{}}
		tell := func(ev step.Event) {
			j.step(ev)
			got := fmt.Sprint(w.last)
			if want := fmt.Sprint(twin.Step(w.Now, ev)); got != want {
				t.Fatalf("not deterministic at %s:\n%s\n%s", ev, got, want)
			}
		}
		tell(step.Started{})
		tell(w.snapshot())
		if rapid.Bool().Draw(t, "start open") {
			for _, u := range cfg.Uplinks {
				tell(step.NeighborChanged{NeighborState: resolved(u)})
				tell(step.SessionChanged{Peer: u.Neighbor, AS: 65000, Up: true})
				tell(step.PathsChanged{Peer: u.Neighbor, Paths: told})
				tell(step.EndOfRIB{Peer: u.Neighbor})
				tell(step.RouteChanged{RouteState: engineDefault(u.Port, u.Neighbor, true)})
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			w.Pass(time.Duration(rapid.SampledFrom([]int{0, 1, 30, 300, 2000, 40000}).Draw(t, "gap")) * time.Millisecond)
			for range rapid.IntRange(0, len(w.queue)).Draw(t, "outcomes") {
				tell(w.next())
			}
			for _, due := range dueTimers(w) {
				if rapid.Bool().Draw(t, "fire") {
					delete(w.timers, due)
					tell(step.TimerFired{Timer: due})
				}
			}
			tell(drawEvent(t, w))
			w.m.View(w.Now)
		}
		j.liveness(tell, told)
	})
}

// liveness: once everything is healthy and the operator has opened his ports, the leaf opens and stays open.
func (j *judge) liveness(tell func(step.Event), told []step.Path) {
	w := j.w
	drain := func() {
		for range 10000 {
			if len(w.queue) > 0 {
				tell(w.next())
				continue
			}
			due := dueTimers(w)
			if len(due) == 0 {
				return
			}
			delete(w.timers, due[0])
			tell(step.TimerFired{Timer: due[0]})
		}
		j.t.Fatal("never rests")
	}
	drain()
	tell(order(step.OrderUndrain))
	drain()
	for _, u := range w.m.cfg.Uplinks {
		s := w.ports[u.Port]
		s.Carrier = true
		w.ports[u.Port] = s
		tell(step.PortChanged{PortState: s})
		drain()
		tell(step.NeighborChanged{NeighborState: resolved(u)})
		tell(step.SessionChanged{Peer: u.Neighbor, AS: 65000, Up: true})
		tell(step.PathsChanged{Peer: u.Neighbor, Paths: told})
		tell(step.EndOfRIB{Peer: u.Neighbor})
	}
	def := engineDefault("A0", upper, true)
	for _, u := range w.m.cfg.Uplinks[1:] {
		def.More = append(def.More, step.NextHop{Dev: u.Port, Via: u.Neighbor})
	}
	tell(step.RouteChanged{RouteState: def})
	settling := 40
	if w.m.cfg.Damping.HalfLife > 0 {
		settling = 400
	}
	for range settling {
		w.Pass(200 * time.Millisecond)
		drain()
	}
	for _, d := range w.m.downs {
		s := w.ports[d.Port]
		if s.AdminUp && !s.Carrier {
			s.Carrier = true
			w.ports[d.Port] = s
			tell(step.PortChanged{PortState: s})
		}
		if !d.serving && (s.AdminUp || s.Ours) {
			j.t.Fatalf("%s does not serve in the end: %s (gate %s, group %s, port %s)", d.Port, d.why, d.gate.State, d.group.State, s)
		}
	}
	if w.m.groups[0].State != linkage.Linked {
		j.t.Fatalf("group is %s in the end: %s", w.m.groups[0].State, w.m.groups[0].why)
	}
}

func dueTimers(w *world) []step.Timer {
	var due []step.Timer
	for t, at := range w.timers {
		if at <= w.Now.Mono {
			due = append(due, t)
		}
	}
	slices.SortFunc(due, func(a, b step.Timer) int { return strings.Compare(a.String(), b.String()) })
	return due
}
