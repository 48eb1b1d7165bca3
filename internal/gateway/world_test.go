package gateway

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
	"peerless/internal/step/steptest"
)

const (
	stampBase = claim.Stamp(1_790_000_000_000)
	testBase  = 20100
)

var (
	addrA  = netip.MustParseAddr("172.31.1.2")
	addrB  = netip.MustParseAddr("172.31.2.2")
	subnet = netip.MustParsePrefix("10.10.10.0/24")
	attach = netip.MustParsePrefix("10.255.0.0/16")
)

// fig7 is the gateway of the reference topology.
func fig7() Config {
	return Config{
		Name: "G", RouterID: netip.MustParseAddr("10.0.0.1"), AS: 65000, Subnets: []netip.Prefix{subnet}, AttachmentRange: attach,
		Leaves: []Leaf{
			{Name: "A", Port: "to-A", Address: addrA, AS: 65001, Ports: []LeafPort{{1, "A1"}, {2, "A2"}, {3, "A3"}, {4, "A4"}}},
			{Name: "B", Port: "to-B", Address: addrB, AS: 65002, Ports: []LeafPort{{1, "B1"}, {2, "B2"}, {3, "B3"}, {4, "B4"}}},
		},
		ServerPorts: []ServerPort{{1, "C1"}, {2, "C2"}, {3, "C3"}, {4, "C4"}},
		MaxHosts:    16, GracefulRestart: 30 * time.Second, TableBase: testBase, Default: true,
	}
}

func c(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 10, 10, i}) }

func up(p model.Port) step.PortState {
	return step.PortState{Port: p, Index: int(p[len(p)-1]), Present: true, AdminUp: true, Carrier: true}
}

func noCarrier(p model.Port) step.PortState {
	st := up(p)
	st.Carrier = false
	return st
}

func session(peer netip.Addr) step.SessionChanged {
	as := uint32(65000) + uint32(peer.As4()[2])
	return step.SessionChanged{Peer: peer, RouterID: netip.AddrFrom4([4]byte{10, 0, 0, 10 + peer.As4()[2]}), AS: as, Up: true}
}

func gone(peer netip.Addr, why step.SessionReason) step.SessionChanged {
	return step.SessionChanged{Peer: peer, Reason: why}
}

func paths(peer netip.Addr, ps ...step.Path) step.PathsChanged {
	return step.PathsChanged{Peer: peer, Paths: ps}
}

// host is a claim of one of fig7's leaves: port and attachment have the server's number.
func host(peer netip.Addr, i byte, after int) step.Path {
	return hostUnder(peer, c(i), model.AttachmentID(i), after)
}

func hostUnder(peer, addr netip.Addr, id model.AttachmentID, after int) step.Path {
	as := uint32(65000) + uint32(peer.As4()[2])
	said := claim.Host{PortIndex: uint32(id), Attachment: id, Role: roleAt(peer, id), Stamp: stampBase + claim.Stamp(after)}
	return step.Path{Prefix: step.HostPrefix(addr), NextHop: peer, ASPath: []uint32{as}, Large: said.Communities(as)}
}

func roleAt(peer netip.Addr, id model.AttachmentID) model.Role {
	if (peer == addrA) == (id <= 2) {
		return model.Primary
	}
	return model.Backup
}

func plain(peer, addr netip.Addr) step.Path {
	return step.Path{Prefix: step.HostPrefix(addr), NextHop: peer, ASPath: []uint32{65100}}
}

func noHost(addr netip.Addr) step.Path {
	return step.Path{Prefix: step.HostPrefix(addr), Withdrawn: true}
}

func attachment(peer netip.Addr, id model.AttachmentID, s claim.State, r claim.Reason) step.Path {
	as := uint32(65000) + uint32(peer.As4()[2])
	p, _ := claim.Prefix(attach, id)
	said := claim.Attachment{PortIndex: uint32(id), ID: id, Role: roleAt(peer, id), State: s, Reason: r}
	return step.Path{Prefix: p, NextHop: peer, ASPath: []uint32{as}, Large: said.Communities(as)}
}

func allUp(peer netip.Addr) []step.Path {
	var ps []step.Path
	for id := model.AttachmentID(1); id <= 4; id++ {
		ps = append(ps, attachment(peer, id, claim.Up, claim.ReasonReady))
	}
	return ps
}

// kernel applies wants as the engine and the kernel would: urgent ones first, After honoured, a newer want of a key in place of
// an older one. It runs the machine's timers, too.
type kernel struct {
	machine *Machine
	now     model.Instant
	routes  map[step.Key]step.Route
	rules   map[step.Key]step.Rule
	pending []step.Want
	timers  []step.Arm
	hold    bool               // nothing is applied
	fed     func(step.Applied) // how outcomes are fed back
	watch   func()             // after every change of the kernel
	resets  int
	notes   []step.Note
	emitted func(step.Effect) // sees what is fired
}

func newKernel(m *Machine) *kernel {
	k := &kernel{machine: m, now: steptest.Epoch, routes: map[step.Key]step.Route{}, rules: map[step.Key]step.Rule{}}
	k.fed = func(ev step.Applied) { k.take(m.Step(k.now, ev)) }
	return k
}

func (k *kernel) step(events ...step.Event) {
	for _, ev := range events {
		k.take(k.machine.Step(k.now, ev))
		k.apply()
	}
}

func (k *kernel) take(effects []step.Effect) {
	for _, ef := range effects {
		switch ef := ef.(type) {
		case step.Want:
			k.pending = slices.DeleteFunc(k.pending, func(w step.Want) bool { return w.Key() == ef.Key() })
			k.pending = append(k.pending, ef)
		case step.Arm:
			k.disarm(ef.Timer)
			k.timers = append(k.timers, ef)
		case step.Disarm:
			k.disarm(ef.Timer)
		case step.ResetSession:
			k.resets++
		case step.Note:
			k.notes = append(k.notes, ef)
		case step.SendARP, step.SendEcho:
			if k.emitted != nil {
				k.emitted(ef)
			}
		}
	}
}

func (k *kernel) disarm(t step.Timer) {
	k.timers = slices.DeleteFunc(k.timers, func(a step.Arm) bool { return a.Timer == t })
}

// apply carries out all that is pending.
func (k *kernel) apply() {
	for !k.hold {
		i := k.next()
		if i < 0 {
			return
		}
		w := k.pending[i]
		k.pending = slices.Delete(k.pending, i, i+1)
		switch o := w.Object.(type) {
		case step.Route:
			set(k.routes, w.Key(), o, w.Absent)
		case step.Rule:
			set(k.rules, w.Key(), o, w.Absent)
		}
		if k.watch != nil {
			k.watch()
		}
		k.fed(step.Applied{Want: w})
	}
}

func (k *kernel) next() int {
	for _, urgent := range []bool{true, false} {
		for i, w := range k.pending {
			waits := slices.ContainsFunc(k.pending, func(o step.Want) bool { return o.Key() == w.After })
			if w.Urgent == urgent && !waits {
				return i
			}
		}
	}
	return -1
}

func set[K comparable, V any](m map[K]V, key K, v V, absent bool) {
	if absent {
		delete(m, key)
	} else {
		m[key] = v
	}
}

// pass lets time go by and fires what is due; fire feeds one firing.
func (k *kernel) pass(d time.Duration, fire func(step.TimerFired)) {
	until := k.now.Mono + d
	for {
		i := -1
		for j, a := range k.timers {
			if a.At <= until && (i < 0 || a.At < k.timers[i].At) {
				i = j
			}
		}
		if i < 0 {
			break
		}
		a := k.timers[i]
		k.timers = slices.Delete(k.timers, i, i+1)
		k.now = k.now.Add(max(0, a.At-k.now.Mono))
		fire(step.TimerFired{Timer: a.Timer})
	}
	k.now = k.now.Add(until - k.now.Mono)
}

func (k *kernel) wait(d time.Duration) {
	k.pass(d, func(ev step.TimerFired) { k.step(ev) })
}

// lookup follows the rules as the kernel does for a packet to addr from port; an empty answer is a blackhole.
func (k *kernel) lookup(addr netip.Addr, from model.Port, down ...model.Port) model.Port {
	rules := slices.SortedFunc(maps.Values(k.rules), func(a, b step.Rule) int { return int(a.Priority) - int(b.Priority) })
	for _, r := range rules {
		if (r.IIF != "" && r.IIF != from) || !r.To.Contains(addr) {
			continue
		}
		if r.Blackhole {
			return ""
		}
		bits, found := -1, step.Route{}
		for _, rt := range k.routes {
			dead := !rt.Blackhole && slices.Contains(down, rt.NextHop.Dev)
			if rt.Table == r.Table && rt.Prefix.Contains(addr) && !dead && rt.Prefix.Bits() > bits {
				bits, found = rt.Prefix.Bits(), rt
			}
		}
		if bits >= 0 {
			return found.NextHop.Dev
		}
	}
	return ""
}

// primaries lists the leaf tables that have the address.
func (k *kernel) primaries(addr netip.Addr) []uint32 {
	var in []uint32
	for _, r := range k.routes {
		if slot := r.Table - testBase; slot <= leavesMax && r.Prefix == step.HostPrefix(addr) {
			in = append(in, slot)
		}
	}
	slices.Sort(in)
	return in
}

// snapshot is what a dump of this kernel says.
func (k *kernel) snapshot(reason string, ports ...step.PortState) step.Snapshot {
	ev := step.Snapshot{Reason: reason, Ports: ports}
	for _, key := range sortedKeys(k.routes) {
		ev.Routes = append(ev.Routes, step.RouteState{Route: k.routes[key], Present: true, Ours: true, Protocol: 201})
	}
	for _, key := range sortedKeys(k.rules) {
		ev.Rules = append(ev.Rules, k.rules[key])
	}
	return ev
}

func sortedKeys[V any](m map[step.Key]V) []step.Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b step.Key) int {
		if a.Number != b.Number {
			return int(a.Number) - int(b.Number)
		}
		if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
			return c
		}
		return a.Prefix.Bits() - b.Prefix.Bits()
	})
}

// story is a kernel whose events go through a transcript. Outcomes are written only where something depends on them.
type story struct {
	*kernel
	t *steptest.Transcript
}

func newStory(cfg Config) *story {
	m := New(cfg)
	s := &story{kernel: newKernel(m), t: steptest.New(m)}
	s.fed = func(ev step.Applied) {
		_, rule := ev.Want.Object.(step.Rule)
		if rule && !ev.Want.Absent {
			s.take(s.t.Step(ev))
			return
		}
		s.take(m.Step(s.now, ev))
	}
	return s
}

func (s *story) tell(events ...step.Event) {
	for _, ev := range events {
		s.t.Now = s.now
		s.take(s.t.Step(ev))
		s.apply()
	}
}

func (s *story) later(d time.Duration) {
	s.pass(d, func(ev step.TimerFired) { s.tell(ev) })
}

// begun is fig7 in its normal state: every server is with its primary leaf.
func begun(cfg Config) *kernel {
	k := newKernel(New(cfg))
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
	k.step(normal()...)
	return k
}

func normal() []step.Event {
	return []step.Event{
		session(addrA), paths(addrA, allUp(addrA)...), paths(addrA, host(addrA, 1, 0), host(addrA, 2, 0)), step.EndOfRIB{Peer: addrA},
		session(addrB), paths(addrB, allUp(addrB)...), paths(addrB, host(addrB, 3, 0), host(addrB, 4, 0)), step.EndOfRIB{Peer: addrB},
	}
}

func (k *kernel) wantLookup(tb testing.TB, addr netip.Addr, want model.Port) {
	tb.Helper()
	if got := k.lookup(addr, ""); got != want {
		tb.Errorf("%s goes to %q, want %q", addr, got, want)
	}
}
