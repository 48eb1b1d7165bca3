package server

import (
	"cmp"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"peerless/internal/model"
	"peerless/internal/step"
	"peerless/internal/step/steptest"
)

// fakeKernel is what the wants have made of a server, with the habits of the real one: a port that joins a bridge floods,
// one that leaves takes its forwarding entries along.
type fakeKernel struct {
	t       *rapid.T
	cfg     Config
	m       *Machine
	now     model.Instant
	ports   map[model.Port]step.PortState
	flood   map[model.Port]bool
	fdb     model.Port
	slave   model.Port
	timers  map[step.Timer]time.Duration
	answers map[model.Port]bool
	cause   step.Cause
	hosts   map[netip.Addr]bool // announced in the newest step
	away    bool                // the guests have left, and nothing but their silence tells
	left    time.Duration
}

func newFakeKernel(t *rapid.T, cfg Config) *fakeKernel {
	k := &fakeKernel{t: t, cfg: cfg, m: New(cfg), now: steptest.Epoch, ports: map[model.Port]step.PortState{}, flood: map[model.Port]bool{},
		timers: map[step.Timer]time.Duration{}, answers: map[model.Port]bool{}}
	k.ports[cfg.Device] = dev(cfg.Device, k.kind())
	k.ports["tap0"] = member("tap0", cfg.Device, true)
	for _, p := range []model.Port{cfg.Primary, cfg.Backup} {
		k.ports[p] = member(p, cfg.Device, rapid.Bool().Draw(t, "up at start"))
		k.flood[p] = true
		k.answers[p] = rapid.Bool().Draw(t, "leaf open at start")
	}
	// An earlier life may have left anything.
	k.fdb = rapid.SampledFrom([]model.Port{"", cfg.Primary, cfg.Backup}).Draw(t, "inherited fdb")
	k.slave = rapid.SampledFrom([]model.Port{"", cfg.Primary, cfg.Backup}).Draw(t, "inherited slave")
	inherited := map[string]model.Port{kindBridge: k.fdb, kindBond: k.slave}[k.kind()]
	bothUp := k.ports[cfg.Primary].Up() && k.ports[cfg.Backup].Up()
	k.step(step.Started{})
	k.step(k.snapshot("start"))
	if active := k.m.pair.Active(); inherited != "" && bothUp && (active == model.RoleUnknown || k.m.side(active).port != inherited) {
		t.Fatalf("uses the %v after a restart, want %s as before", active, inherited)
	}
	return k
}

func (k *fakeKernel) kind() string {
	if k.cfg.Device == "bond0" {
		return kindBond
	}
	return kindBridge
}

func (k *fakeKernel) snapshot(reason string) step.Snapshot {
	s := step.Snapshot{Reason: reason, Addresses: []step.Address{own(k.cfg.Device, "10.10.10.2/24"), own("lo", "127.0.0.1/8")}}
	for _, p := range []model.Port{k.cfg.Device, k.cfg.Primary, k.cfg.Backup, "tap0"} {
		if k.ports[p].Present {
			s.Ports = append(s.Ports, k.ports[p])
		}
	}
	switch {
	case k.kind() == kindBond && k.slave != "":
		s.Bonds = []step.BondActive{{Bond: k.cfg.Device, Active: k.slave}}
	case k.kind() == kindBridge && k.fdb != "":
		s.Entries = []step.FDB{{Bridge: k.cfg.Device, MAC: k.cfg.GatewayMAC, Port: k.fdb}}
	}
	return s
}

// setPort changes a port in the kernel without telling the machine.
func (k *fakeKernel) setPort(p step.PortState) {
	was := k.ports[p.Port]
	k.ports[p.Port] = p
	if p.Master != was.Master || p.Index != was.Index || p.Present != was.Present {
		k.flood[p.Port] = p.Master == k.cfg.Device
		if k.fdb == p.Port {
			k.fdb = ""
		}
	}
}

func (k *fakeKernel) step(ev step.Event) {
	effects := slices.Clone(k.m.Step(k.now, ev))
	k.hosts = map[netip.Addr]bool{}
	var answers []step.ARPSeen
	for _, ef := range effects {
		if a, ok := ef.(step.SendARP); ok && a.Port == "tap0" && !k.away && k.ports["tap0"].Up() {
			reply := guestARP("tap0", a.TargetIP.String(), guestMAC)
			reply.Op, reply.TargetMAC, reply.TargetIP = step.ARPReply, a.SenderMAC, a.SenderIP
			answers = append(answers, reply)
		}
	}
	for _, ef := range effects {
		switch ef := ef.(type) {
		case step.Arm:
			if ef.At < k.now.Mono {
				k.t.Fatalf("%v is in the past", ef)
			}
			k.timers[ef.Timer] = ef.At
		case step.Disarm:
			delete(k.timers, ef.Timer)
		case step.Want:
			k.apply(ef)
		case step.SendARP:
			k.checkARP(ef)
			if ef.SenderIP.IsUnspecified() && k.answers[ef.Port] {
				answers = append(answers, answer(ef.Port))
			}
		}
	}
	k.check(ev)
	for _, ef := range effects {
		if w, ok := ef.(step.Want); ok {
			k.step(step.Applied{Want: w})
		}
	}
	for _, a := range answers {
		k.step(a)
	}
}

func (k *fakeKernel) apply(w step.Want) {
	if w.Why == "" {
		k.t.Fatalf("%v without a reason", w)
	}
	if w.Cause != 0 && w.Cause < k.cause {
		k.t.Fatalf("cause %d after %d", w.Cause, k.cause)
	}
	k.cause = max(k.cause, w.Cause)
	switch o := w.Object.(type) {
	case step.FDB:
		if k.ports[o.Port].Master != k.cfg.Device {
			k.t.Fatalf("%v: not a member", w)
		}
		k.fdb = o.Port
	case step.BridgePort:
		if o.Learning || !o.Isolated || k.ports[o.Port].Master != k.cfg.Device {
			k.t.Fatalf("%v: learning, not isolated, or not a member", w)
		}
		k.flood[o.Port] = o.Flood
	case step.BondActive:
		k.slave = o.Active
	}
}

func (k *fakeKernel) checkARP(a step.SendARP) {
	if a.Port == "tap0" {
		if a.DstMAC != guestMAC || a.SenderMAC != hostMAC || a.SenderIP != netip.MustParseAddr("10.10.10.2") {
			k.t.Fatalf("%v: not a question to a guest", a)
		}
		return
	}
	p := k.ports[a.Port]
	if !p.Up() || p.Master != k.cfg.Device {
		k.t.Fatalf("%v: the port is not up", a)
	}
	if a.SenderMAC.IsZero() || a.SenderMAC.IsGroup() || a.DstMAC != model.Broadcast {
		k.t.Fatalf("%v: bad hardware address", a)
	}
	switch {
	case a.SenderIP.IsUnspecified():
		if a.TargetIP != gateway {
			k.t.Fatalf("%v: probe for another than the gateway", a)
		}
	case a.SenderIP != a.TargetIP || !k.m.announceable(a.SenderIP):
		k.t.Fatalf("%v: not an announcement of ours", a)
	case k.away && a.SenderMAC == guestMAC && (a.Why == "again" || k.now.Mono-k.left > lately):
		k.t.Fatalf("%v: the guest left %v ago", a, k.now.Mono-k.left)
	default:
		k.hosts[a.SenderIP] = true
	}
}

// check holds the kernel against the laws, after every single step.
func (k *fakeKernel) check(ev step.Event) {
	pair := k.m.pair
	_, paired := k.timers[step.Timer{Kind: timerPair}]
	if pair.Target() != model.RoleUnknown && !paired {
		k.t.Fatalf("after %v: a move without a timer", ev)
	}
	if !k.m.device.there {
		return
	}
	up := map[model.Role]bool{}
	for _, r := range roles {
		p := k.ports[k.m.side(r).port]
		up[r] = p.Up() && p.Master == k.cfg.Device
	}
	active := pair.Active()
	if active == model.RoleUnknown {
		if up[model.Primary] != up[model.Backup] {
			k.t.Fatalf("after %v: nothing chosen though one link is up", ev)
		}
		return
	}
	if !up[active] && (up[model.Primary] || up[model.Backup]) {
		k.t.Fatalf("after %v: %v is in use, down, and the other is up", ev, active)
	}
	used := k.m.side(active)
	switch {
	case k.kind() == kindBond:
		if used.up && k.slave != used.port {
			k.t.Fatalf("after %v: bond uses %s, want %s", ev, k.slave, used.port)
		}
		return
	case used.member && (k.fdb != used.port || !k.flood[used.port]):
		k.t.Fatalf("after %v: fdb on %s, flood %v, want %s", ev, k.fdb, k.flood, used.port)
	}
	if k.flood[k.cfg.Primary] && k.flood[k.cfg.Backup] {
		k.t.Fatalf("after %v: both ports flood", ev)
	}
}

// run lets time go by, firing what is due in order.
func (k *fakeKernel) run(d time.Duration) {
	end := k.now.Add(d)
	for {
		var due []step.Timer
		for t, at := range k.timers {
			if at <= end.Mono {
				due = append(due, t)
			}
		}
		if len(due) == 0 {
			break
		}
		slices.SortFunc(due, func(a, b step.Timer) int {
			return cmp.Or(cmp.Compare(k.timers[a], k.timers[b]), cmp.Compare(a.String(), b.String()))
		})
		if wait := k.timers[due[0]] - k.now.Mono; wait > 0 {
			k.now = k.now.Add(wait)
		}
		delete(k.timers, due[0])
		k.step(step.TimerFired{Timer: due[0]})
	}
	k.now = end
}

// happen is one random event.
func (k *fakeKernel) happen() {
	t := k.t
	port := rapid.SampledFrom([]model.Port{k.cfg.Primary, k.cfg.Backup}).Draw(t, "port")
	p := k.ports[port]
	switch what := rapid.SampledFrom([]string{"carrier", "carrier", "carrier", "admin", "leaf", "leaf", "leave", "vanish", "device", "guest", "guest leaves", "guest port",
		"lost messages", "device replaced", "nothing"}).Draw(t, "what"); what {
	case "carrier":
		if p.Present {
			p.Carrier = !p.Carrier
			k.tell(p)
		}
	case "admin":
		if p.Present {
			p.AdminUp = !p.AdminUp
			k.tell(p)
		}
	case "leaf":
		k.answers[port] = !k.answers[port]
	case "leave":
		if p.Present {
			if p.Master == "" {
				p.Master = k.cfg.Device
			} else {
				p.Master = ""
			}
			k.tell(p)
		}
	case "vanish":
		if p.Present {
			k.tell(step.PortState{Port: port})
		} else {
			back := member(port, k.cfg.Device, rapid.Bool().Draw(t, "carrier"))
			back.Index = p.Index + 100 + int(k.now.Mono%97)
			k.tell(back)
		}
	case "device":
		d := k.ports[k.cfg.Device]
		if d.Present {
			k.tell(step.PortState{Port: d.Port})
			k.fdb, k.slave = "", ""
		} else {
			back := dev(k.cfg.Device, k.kind())
			back.Index = int(k.now.Mono % 1000)
			k.tell(back)
		}
	case "guest leaves":
		k.away, k.left = true, k.now.Mono
	case "guest":
		k.away = false
		k.step(guestARP("tap0", rapid.SampledFrom([]string{"10.10.10.101", "10.10.10.102", "10.10.10.2", "10.10.10.254"}).Draw(t, "guest"), guestMAC))
	case "guest port":
		g := k.ports["tap0"]
		g.Carrier = !g.Carrier
		k.tell(g)
	case "lost messages":
		// The port leaves and joins, and perhaps its carrier changes, before anybody hears of it.
		if p.Present && p.Master == k.cfg.Device {
			away := p
			away.Master = ""
			k.setPort(away)
			p.Carrier = rapid.Bool().Draw(t, "carrier")
			k.setPort(p)
		}
		k.step(k.snapshot("ENOBUFS"))
	case "device replaced":
		d := k.ports[k.cfg.Device]
		if d.Present {
			d.Index++
			k.ports[d.Port], k.fdb, k.slave = d, "", ""
			for _, r := range []model.Port{k.cfg.Primary, k.cfg.Backup} {
				k.flood[r] = k.ports[r].Master == k.cfg.Device
			}
			k.step(step.PortChanged{PortState: d})
		}
	}
	k.run(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 5, 10, 50, 150, 1500}).Draw(t, "ms")) * time.Millisecond)
}

func (k *fakeKernel) tell(p step.PortState) {
	k.setPort(p)
	k.step(step.PortChanged{PortState: p})
}

func testAnyHistory(t *testing.T, cfg Config) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := cfg
		cfg.FailBack.Never = rapid.Bool().Draw(t, "never")
		cfg.FailBack.Stable = time.Second
		k := newFakeKernel(t, cfg)
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			k.happen()
		}
		// Then the world mends: the pair must end on a link that is up, and on the primary where it may return.
		k.answers[cfg.Primary], k.answers[cfg.Backup] = true, true
		if !k.ports[cfg.Device].Present {
			k.tell(dev(cfg.Device, k.kind()))
		}
		k.tell(member(cfg.Backup, cfg.Device, true))
		k.tell(member(cfg.Primary, cfg.Device, true))
		k.run(5 * time.Second)
		active := k.m.pair.Active()
		if k.m.pair.Target() != model.RoleUnknown || active == model.RoleUnknown {
			t.Fatalf("not settled: active %v, target %v", active, k.m.pair.Target())
		}
		if active != model.Primary && !cfg.FailBack.Never {
			t.Fatalf("on the %v though the primary has been ready for long", active)
		}
		// A failure now announces every address there is, at once, on the other link; a guest that was silent for long is asked before.
		want := len(k.m.hosts())
		lost := k.ports[k.m.side(active).port]
		lost.Carrier = false
		k.setPort(lost)
		effects := k.m.Step(k.now, step.PortChanged{PortState: lost})
		n := 0
		for _, ef := range effects {
			if a, ok := ef.(step.SendARP); ok && !a.SenderIP.IsUnspecified() && a.Port != lost.Port { // or its question
				n++
			}
		}
		if n != want {
			t.Fatalf("announced %d addresses, want %d", n, want)
		}
	})
}

func TestServer_AnyHistoryOnBridge_KeepsLaws(t *testing.T) { testAnyHistory(t, bridgeConfig()) }

func TestServer_AnyHistoryOnBond_KeepsLaws(t *testing.T) { testAnyHistory(t, bondConfig()) }
