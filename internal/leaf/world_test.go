package leaf

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
	"peerless/internal/step/steptest"
)

var (
	vmac   = model.MAC{0x02, 0, 0x5e, 0, 0, 1}
	gwAddr = netip.MustParseAddr("10.10.10.254")
	upper  = netip.MustParseAddr("172.31.1.1")
	upper2 = netip.MustParseAddr("172.31.3.1")
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func macOf(i int) model.MAC { return model.MAC{0x02, 0, 0, 0, 0xc0, byte(i)} }

func addrOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 10, 10, byte(i)}) }

// fig7A is leaf A of the reference topology.
func fig7A() Config {
	role := map[int]model.Role{1: model.Primary, 2: model.Primary, 3: model.Backup, 4: model.Backup}
	cfg := Config{
		Name: "A", RouterID: ip("10.0.0.11"), AS: 65001,
		Subnets:         []Subnet{{Prefix: netip.MustParsePrefix("10.10.10.0/24"), Gateway: gwAddr, MAC: vmac}},
		AttachmentRange: netip.MustParsePrefix("10.255.0.0/16"),
		Uplinks:         []Uplink{{Port: "A0", Neighbor: upper}},
		OpenDelayMin:    200 * time.Millisecond, OpenDelayMax: 5 * time.Second, OpenStagger: 50 * time.Millisecond,
		HostProbe: Probe{Interval: time.Second, Multiplier: 3}, UplinkProbe: Probe{Interval: time.Second, Multiplier: 3},
		Drain: 50 * time.Millisecond, GracefulRestart: 30 * time.Second, Remember: time.Minute, DefaultFromBGP: true,
	}
	g := linkage.Group{Name: "all", Uplinks: []model.Port{"A0"}, MinUplinks: 1}
	for i := 1; i <= 4; i++ {
		p := model.Port(fmt.Sprintf("A%d", i))
		cfg.Downlinks = append(cfg.Downlinks, Downlink{MaxHosts: 8, Attachment: model.Attachment{
			ID: model.AttachmentID(i), Port: p, PortIndex: uint32(i), ServerPort: fmt.Sprintf("C%d", i), Role: role[i]}})
		g.Downlinks = append(g.Downlinks, p)
	}
	cfg.Groups = []linkage.Group{g}
	return cfg
}

// small is a leaf with one downlink, for short transcripts.
func small() Config {
	cfg := fig7A()
	cfg.Downlinks = cfg.Downlinks[1:2]
	cfg.Groups[0].Downlinks = []model.Port{"A2"}
	return cfg
}

func twoUplinks(cfg Config) Config {
	cfg.Uplinks = append(cfg.Uplinks, Uplink{Port: "A9", Neighbor: upper2})
	cfg.Groups[0].Uplinks = append(cfg.Groups[0].Uplinks, "A9")
	return cfg
}

// world is a kernel and a gateway that do what the machine asks, at once and without fail.
type world struct {
	*steptest.Transcript
	t      testing.TB
	m      *Machine
	ports  map[model.Port]step.PortState
	gates  map[model.Port]bool
	held   map[step.Key]step.Object
	timers map[step.Timer]time.Duration
	last   []step.Effect
	queue  []step.Event
	quiet  bool                // do not report outcomes
	mute   bool                // ports are closed by dropping everything: admin and carrier stay up
	deaf   bool                // gateways' kernels do not answer ARP
	behind map[model.Port]int  // a host behind a downlink that answers ARP; none: nobody does
	cut    map[model.Port]bool // downlinks that are up and pass nothing
}

func newWorld(t testing.TB, cfg Config) *world {
	m := New(cfg)
	w := &world{Transcript: steptest.New(m), t: t, m: m, ports: map[model.Port]step.PortState{}, gates: map[model.Port]bool{},
		held: map[step.Key]step.Object{}, timers: map[step.Timer]time.Duration{}}
	i := 1
	add := func(p model.Port) {
		w.ports[p] = step.PortState{Port: p, Index: i, Present: true, AdminUp: true, Carrier: true, MAC: macOf(100 + i), Kind: "veth"}
		i++
	}
	for _, u := range cfg.Uplinks {
		add(u.Port)
	}
	for _, d := range cfg.Downlinks {
		add(d.Port)
	}
	return w
}

func (w *world) do(ev step.Event) []step.Effect {
	w.t.Helper()
	all := w.one(ev)
	for len(w.queue) > 0 {
		all = append(all, w.one(w.next())...)
	}
	return all
}

// next takes what the kernel tells next. Of a port it tells what is now: news of it may have been told meanwhile.
func (w *world) next() step.Event {
	ev := w.queue[0]
	w.queue = w.queue[1:]
	if e, ok := ev.(step.PortChanged); ok {
		return step.PortChanged{PortState: w.ports[e.Port]}
	}
	return ev
}

// one gives an event and plays the kernel for its effects.
func (w *world) one(ev step.Event) []step.Effect {
	effects := w.Step(ev)
	w.last = effects
	for _, e := range effects {
		switch e := e.(type) {
		case step.Arm:
			w.timers[e.Timer] = e.At
		case step.Disarm:
			delete(w.timers, e.Timer)
		case step.SendARP:
			if u, ok := w.m.ports[e.Port].(*uplink); ok && !w.deaf {
				w.queue = append(w.queue, step.ARPSeen{Port: e.Port, Op: step.ARPReply, SrcMAC: macOf(200), SenderMAC: macOf(200),
					SenderIP: u.Neighbor, TargetIP: e.SenderIP})
			}
			if i, ok := w.behind[e.Port]; ok && !w.cut[e.Port] && e.Op == step.ARPRequest && e.TargetIP == addrOf(i) {
				answer := reply(e.Port, i)
				answer.TargetMAC, answer.TargetIP = e.SenderMAC, e.SenderIP
				w.queue = append(w.queue, answer)
			}
		case step.Want:
			if e.Absent {
				delete(w.held, e.Key())
			} else {
				w.held[e.Key()] = e.Object
			}
			if w.quiet {
				continue
			}
			switch o := e.Object.(type) {
			case step.Gate:
				w.queue = append(w.queue, step.Applied{Want: e})
				w.gateKernel(o, e.Absent)
			case step.Route, step.Rule, step.Advertisement:
				w.queue = append(w.queue, step.Applied{Want: e})
			}
		}
	}
	return effects
}

// gateKernel closes by admin-down.
func (w *world) gateKernel(g step.Gate, absent bool) {
	s := w.ports[g.Port]
	switch {
	case absent:
		s.Ours = false
	case g.Closed && w.mute:
		s.Ours = true
	case g.Closed:
		s.AdminUp, s.Carrier, s.Ours = false, false, true
	default:
		s.AdminUp, s.Carrier, s.Ours = true, true, false
	}
	w.ports[g.Port] = s
	w.queue = append(w.queue, step.PortChanged{PortState: s})
}

// port changes a port and tells.
func (w *world) port(p model.Port, change func(*step.PortState)) []step.Effect {
	s := w.ports[p]
	change(&s)
	w.ports[p] = s
	return w.do(step.PortChanged{PortState: s})
}

func carrier(on bool) func(*step.PortState) { return func(s *step.PortState) { s.Carrier = on } }
func admin(on bool) func(*step.PortState) {
	return func(s *step.PortState) { s.AdminUp, s.Carrier, s.Ours = on, on, false }
}

// pass lets time go by and fires what is due, in order.
func (w *world) pass(d time.Duration) []step.Effect {
	w.t.Helper()
	var all []step.Effect
	end := w.Now.Mono + d
	for range 100000 {
		var first step.Timer
		at := end + 1
		for t, due := range w.timers {
			if due < at || due == at && t.String() < first.String() {
				first, at = t, due
			}
		}
		if at > end {
			w.Pass(end - w.Now.Mono)
			return all
		}
		if at > w.Now.Mono {
			w.Pass(at - w.Now.Mono)
		}
		delete(w.timers, first)
		all = append(all, w.do(step.TimerFired{Timer: first})...)
	}
	w.t.Fatal("timers never rest")
	return nil
}

func (w *world) snapshot() step.Snapshot {
	s := step.Snapshot{Reason: "start"}
	for _, u := range w.m.cfg.Uplinks {
		s.Ports = append(s.Ports, w.ports[u.Port])
		own := u.Neighbor.Next()
		s.Addresses = append(s.Addresses, step.Address{Port: u.Port, Prefix: netip.PrefixFrom(own, 30)})
	}
	for _, d := range w.m.cfg.Downlinks {
		s.Ports = append(s.Ports, w.ports[d.Port])
	}
	return s
}

func resolved(u Uplink) step.NeighborState {
	return step.NeighborState{Neighbor: step.Neighbor{Port: u.Port, Addr: u.Neighbor, MAC: macOf(200)}, Present: true, Resolved: true}
}

func defaultPath() []step.Path { return []step.Path{{Prefix: anywhere, ASPath: []uint32{65000}}} }

// gatewayUp is what a healthy gateway does on an uplink.
func (w *world) gatewayUp(u Uplink) {
	w.do(step.NeighborChanged{NeighborState: resolved(u)})
	w.do(step.SessionChanged{Peer: u.Neighbor, AS: 65000, Up: true})
	w.do(step.PathsChanged{Peer: u.Neighbor, Paths: defaultPath()})
	w.do(step.EndOfRIB{Peer: u.Neighbor})
}

// open brings the leaf up to the open state.
func (w *world) open() {
	w.do(step.Started{})
	w.do(w.snapshot())
	for _, u := range w.m.cfg.Uplinks {
		w.gatewayUp(u)
	}
	w.pass(time.Second)
	for _, d := range w.m.downs {
		if !d.serving {
			w.t.Fatalf("port %s does not serve: %s", d.Port, d.why)
		}
	}
}

// reset starts a fresh transcript with the machine as it is.
func (w *world) reset() {
	now := w.Now
	w.Transcript = steptest.New(w.m)
	w.Now = now
}

func garp(port model.Port, i int) step.ARPSeen {
	return step.ARPSeen{Port: port, Op: step.ARPRequest, SrcMAC: macOf(i), SenderMAC: macOf(i), SenderIP: addrOf(i), TargetIP: addrOf(i)}
}

func reply(port model.Port, i int) step.ARPSeen {
	return step.ARPSeen{Port: port, Op: step.ARPReply, SrcMAC: macOf(i), SenderMAC: macOf(i), SenderIP: addrOf(i), TargetMAC: vmac, TargetIP: gwAddr}
}

func request(port model.Port, i, target int) step.ARPSeen {
	return step.ARPSeen{Port: port, Op: step.ARPRequest, SrcMAC: macOf(i), SenderMAC: macOf(i), SenderIP: addrOf(i), TargetIP: addrOf(target)}
}

func claimed(i int, id model.AttachmentID, stamp claim.Stamp) step.Path {
	return step.Path{Prefix: step.HostPrefix(addrOf(i)), ASPath: []uint32{65000, 65002}, Large: claimOf(id, stamp, macOf(i)).Communities(65002)}
}

func claimOf(id model.AttachmentID, stamp claim.Stamp, mac model.MAC) claim.Host {
	return claim.Host{PortIndex: uint32(id), Attachment: id, Role: model.Backup, Stamp: stamp, MAC: mac}
}
