package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"peerless/internal/scenario"
	"peerless/internal/step"
)

// shapes are the topologies that stories are told on: those of the lab, by the same names, ports and addresses.
func storyShape(name string) (shape, bool) {
	fig7 := shape{gateways: 1, leaves: 2, uplinks: [][]int{{0}, {0}}, servers: []serverShape{
		{name: "C1", primary: 0, backup: 1, index: 1}, {name: "C2", primary: 0, backup: 1, index: 2},
		{name: "C3", primary: 1, backup: 0, index: 3}, {name: "C4", primary: 1, backup: 0, index: 4},
	}}
	switch name {
	case "fig7":
		return fig7, true
	case "fig4":
		return shape{gateways: 1, leaves: 2, uplinks: [][]int{{0}, {0}}, uplinkPorts: []int{1}, servers: []serverShape{
			{name: "S1", primary: 0, backup: 1, index: 2}, {name: "S2", primary: 1, backup: 0, index: 3}}}, true
	case "two-gateways":
		fig7.gateways, fig7.peers, fig7.uplinks, fig7.uplinkPorts = 2, true, [][]int{{0, 1}, {0, 1}}, []int{0, 5}
		return fig7, true
	case "guests":
		return shape{gateways: 1, leaves: 2, uplinks: [][]int{{0}, {0}}, servers: []serverShape{
			{name: "S", primary: 0, backup: 1, index: 1, guests: 3, guestNames: []string{"V1", "V2", "V3"}}}}, true
	}
	return shape{}, false
}

// teller runs one story.
type teller struct {
	w        *World
	story    *scenario.Story
	names    map[string]*host
	problems []string
	always   []*promise
	watching bool
}

// promise is an expectation that holds from the beginning to the end.
type promise struct {
	line   int
	expect scenario.Expect
	at     *node
	moves  int
	broken bool
}

// RunStory runs a story and gives what did not come true; an error means that it cannot be told here.
func RunStory(s *scenario.Story, o Options) ([]string, error) {
	sh, ok := storyShape(s.Topology)
	if !ok {
		return nil, fmt.Errorf("story %s: topology %s is not one of the simulator's", s.Name, s.Topology)
	}
	w := &World{seed: o.Seed, rng: stream(o.Seed, streamRun), trace: o.Trace}
	w.judge = newJudge(w)
	w.cfg.tellNeigh = true
	w.build(sh, usual(), usualHabits())
	t := &teller{w: w, story: s, names: map[string]*host{}}
	for i, n := range w.servers {
		t.names[n.name] = n.server.hosts[0]
		for g, name := range sh.servers[i].guestNames {
			t.names[name] = n.server.hosts[1+g]
		}
	}
	if !w.await("start") || !w.settle() {
		return []string{w.failure.Error()}, nil
	}
	w.judge.also = t.look
	err := t.tell()
	if w.failure != nil {
		t.problems = append(t.problems, w.failure.Error())
	}
	return t.problems, err
}

func (t *teller) tell() error {
	zero := t.w.now
	for _, st := range t.story.Steps {
		if st.Always {
			t.always = append(t.always, &promise{line: st.Line, expect: *st.Expect})
		}
	}
	t.watching = true
	t.look()
	for _, st := range t.story.Steps {
		if st.Always {
			continue
		}
		t.w.runUntil(zero + st.At)
		if st.Action != nil {
			if err := t.act(*st.Action); err != nil {
				return fmt.Errorf("story %s, line %d: %w", t.story.Name, st.Line, err)
			}
			continue
		}
		t.expect(st)
	}
	t.w.runUntil(zero + t.story.End)
	return nil
}

func (t *teller) problem(line int, format string, args ...any) {
	t.problems = append(t.problems, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
}

func (t *teller) act(a scenario.Action) error {
	w := t.w
	w.injected++
	w.say("STORY %+v", a)
	switch a.Verb {
	case scenario.LinkDown, scenario.LinkUp, scenario.LinkDrops:
		return t.actLink(a)
	case scenario.PortDown, scenario.PortUp:
		p := t.port(a.Port)
		if p == nil {
			return fmt.Errorf("no port %s", a.Port)
		}
		p.node.operate(p, a.Verb == scenario.PortUp)
		return nil
	case scenario.SessionReset, scenario.SessionCease:
		return t.actSession(a)
	case scenario.GuestMoves, scenario.HostDies:
		return t.actHost(a)
	default: // the rest concerns a node
	}
	n := w.nodeNamed(a.Node)
	if n == nil {
		return fmt.Errorf("no node %s", a.Node)
	}
	switch a.Verb {
	case scenario.DaemonKill, scenario.DaemonStop:
		n.daemon.die()
	case scenario.DaemonStart:
		n.daemon.start()
	case scenario.DaemonFreeze:
		n.daemon.freeze()
	case scenario.DaemonThaw:
		n.daemon.thaw()
	case scenario.NodeDown:
		n.powerOff()
	case scenario.NodeUp:
		n.powerOn(200 * time.Millisecond)
	case scenario.LeafDrain:
		n.order(step.OrderDrain, false)
	case scenario.LeafUndrain:
		n.order(step.OrderUndrain, false)
	case scenario.LeafMute, scenario.LeafForward:
		n.setMute(a.Verb == scenario.LeafMute)
	case scenario.FeedOff, scenario.FeedOn:
		w.setFeed(a.Verb == scenario.FeedOff)
	default:
		return fmt.Errorf("%s cannot be told here", a.Verb)
	}
	return nil
}

func (t *teller) actLink(a scenario.Action) error {
	i := slices.IndexFunc(t.w.links, func(l *link) bool { return l.name == a.Link.Node+"-"+a.Link.Port })
	if i < 0 {
		return fmt.Errorf("no link %s-%s", a.Link.Node, a.Link.Port)
	}
	l := t.w.links[i]
	switch a.Verb {
	case scenario.LinkDown:
		l.change(func() { l.up = false })
	case scenario.LinkUp:
		l.change(func() { l.up = true })
	default:
		l.change(func() {
			l.drop = [2]bool{a.Way == scenario.Both || a.Way == scenario.Down, a.Way == scenario.Both || a.Way == scenario.Up}
		})
	}
	return nil
}

func (t *teller) actSession(a scenario.Action) error {
	for _, s := range t.w.sessions {
		for _, e := range s.ends {
			if e.owner.name != a.Node || e.other().owner.name != a.Peer {
				continue
			}
			if a.Verb == scenario.SessionReset {
				s.breakConnection()
			} else if e.up {
				e.transmit(message{cease: ceaseDown})
			}
			return nil
		}
	}
	return fmt.Errorf("no session between %s and %s", a.Node, a.Peer)
}

func (t *teller) actHost(a scenario.Action) error {
	h := t.w.byAddr[a.Host]
	if h == nil {
		return fmt.Errorf("no host %s", a.Host)
	}
	if a.Verb == scenario.HostDies {
		h.die()
		return nil
	}
	to := t.w.nodeNamed(a.Node)
	if to == nil || to.server == nil || h.tap == "" {
		return fmt.Errorf("%s cannot move to %s", a.Host, a.Node)
	}
	h.move(to)
	return nil
}

func (t *teller) port(name string) *port {
	for _, n := range t.w.leaves {
		for _, p := range n.kernel.ports {
			if string(p.name) == name {
				return p
			}
		}
	}
	return nil
}

// expect holds a fact against the present.
func (t *teller) expect(st scenario.Step) {
	e := *st.Expect
	switch e.Fact {
	case scenario.FlowWorks, scenario.FlowBroken:
		p := t.flow(e)
		if p.delivered != (e.Fact == scenario.FlowWorks) {
			t.problem(st.Line, "flow %s->%s: %s", e.From, e.To, p)
		}
	case scenario.HostBehind, scenario.HostNowhere:
		for _, g := range t.w.gateways {
			p := t.w.walk(g, "", e.Host)
			switch {
			case e.Fact == scenario.HostNowhere && p.delivered:
				t.problem(st.Line, "%s reaches %s by %s", g.name, e.Host, p.leaf.name)
			case e.Fact == scenario.HostBehind && (!p.delivered || p.leaf.name != e.Leaf):
				t.problem(st.Line, "%s is not behind %s for %s: %s", e.Host, e.Leaf, g.name, p)
			}
		}
	case scenario.PortOpen, scenario.PortClosed:
		p := t.port(e.Port)
		if p == nil || p.open() != (e.Fact == scenario.PortOpen) {
			t.problem(st.Line, "port %s is not as told", e.Port)
		}
	case scenario.FlowLossless, scenario.HostMoves:
	}
}

// flow follows a packet of a flow.
func (t *teller) flow(e scenario.Expect) path {
	if g := t.w.nodeNamed(e.From); g != nil && g.role == gatewayRole {
		return t.w.walk(g, "", t.addr(e.To))
	}
	h := t.names[e.From]
	if h == nil {
		h = t.w.byAddr[t.addr(e.From)]
	}
	if h == nil {
		return path{why: "no node " + e.From}
	}
	if g := t.w.nodeNamed(e.To); g != nil && g.role == gatewayRole {
		return t.w.outward(h)
	}
	return t.w.ascend(h, t.addr(e.To))
}

func (t *teller) addr(name string) netip.Addr {
	if h := t.names[name]; h != nil {
		return h.addr
	}
	a, _ := netip.ParseAddr(name)
	return a
}

// look holds the promises against every step.
func (t *teller) look() {
	if !t.watching {
		return
	}
	for _, p := range t.always {
		switch {
		case p.broken:
		case p.expect.Fact == scenario.HostMoves:
			t.count(p)
		case p.expect.Fact == scenario.FlowLossless, p.expect.Fact == scenario.FlowWorks:
			if way := t.flow(p.expect); !way.delivered {
				p.broken = true
				t.problem(p.line, "flow %s->%s loses at %s: %s", p.expect.From, p.expect.To, t.w.now, way)
			}
		}
	}
}

func (t *teller) count(p *promise) {
	way := t.w.walk(t.w.gateways[0], "", p.expect.Host)
	if !way.delivered || way.leaf == p.at {
		return
	}
	if p.at != nil {
		p.moves++
	}
	p.at = way.leaf
	if p.moves > p.expect.Most {
		p.broken = true
		t.problem(p.line, "%s moves for the %d. time at %s, to %s", p.expect.Host, p.moves, t.w.now, way.leaf.name)
	}
}
