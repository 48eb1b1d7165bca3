package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

func TestDynamicLeaf_FollowsTheAddressOfItsLink(t *testing.T) {
	loop, next := netip.MustParseAddr("10.0.0.77"), netip.MustParseAddr("172.31.16.2")
	here := step.AddressChanged{Address: step.Address{Port: "sw0", Prefix: netip.MustParsePrefix("172.31.16.1/24")}, Present: true}
	k := newKernel(New(fig7()))
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B"), up("sw0")))
	k.step(step.SessionChanged{Peer: loop, AS: 65100, Up: true})
	path := plain(loop, c(9))
	path.NextHop = next
	k.step(paths(loop, path))
	k.wantLookup(t, c(9), "")
	if why := k.machine.View(k.now).Ports[2].Why; !strings.Contains(why, "no port has a subnet with its address") {
		t.Errorf("the leaf is out because %q", why)
	}
	k.step(here)
	k.wantLookup(t, c(9), "sw0")
	here.Present = false
	k.step(here)
	k.wantLookup(t, c(9), "")
	k.step(step.EndOfRIB{Peer: netip.MustParseAddr("192.0.2.9")}, gone(netip.MustParseAddr("192.0.2.9"), step.ReasonReset))
	if n := len(k.machine.leaves); n != 3 {
		t.Errorf("%d leaves, want 3: who never was up is no leaf", n)
	}
}

func TestAttachment_NotAnnouncedAnyMore_StandsByNoLonger(t *testing.T) {
	k := begun(fig7())
	withdrawn := attachment(addrB, 1, 1, 1)
	withdrawn.Withdrawn, withdrawn.Large = true, nil
	k.step(paths(addrB, withdrawn), paths(addrB, withdrawn))
	if n := len(k.noted(whatAttachmentDown)); n != 1 {
		t.Errorf("%d notes, want 1", n)
	}
	if h := k.machine.table.Host(c(1)); h.Backup >= 0 || h.Primary != 0 {
		t.Errorf("%s: primary %d, backup %d, want leaf A alone", c(1), h.Primary, h.Backup)
	}
}

func TestRoutes_DeletedBySomebody_ArePutBack(t *testing.T) {
	k := newKernel(New(withPeer()))
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B"), up("to-P")))
	k.step(normal()...)
	whole := len(k.routes)
	for _, key := range sortedKeys(k.routes) {
		r := k.routes[key]
		delete(k.routes, key)
		k.step(step.RouteChanged{RouteState: step.RouteState{Route: r, Ours: true}})
		if k.routes[key].NextHop != r.NextHop || len(k.routes) != whole {
			t.Errorf("%s was not put back", r)
		}
	}
	for _, not := range []step.RouteState{
		{Route: step.Route{Table: testBase + 2, Prefix: step.HostPrefix(c(1))}, Ours: true}, // of the other leaf
		{Route: step.Route{Table: testBase + 1, Prefix: step.HostPrefix(c(99))}, Ours: true},
		{Route: step.Route{Prefix: netip.MustParsePrefix("0.0.0.0/0")}},
	} {
		if effects := k.machine.Step(k.now, step.RouteChanged{RouteState: not}); len(effects) != 0 {
			t.Errorf("%s: %v, want nothing", not, effects)
		}
	}
}

func TestPeer_ServesHostsOfALostLeaf_AndTheViewSaysSo(t *testing.T) {
	k := newKernel(New(withPeer()))
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B"), up("to-P")))
	k.step(normal()...)
	k.step(step.PortChanged{PortState: noCarrier("to-A")})
	k.wait(time.Second)
	v := k.machine.View(k.now)
	if h := v.Hosts[0]; h.State != "detour" || h.Port != "to-P" || !strings.Contains(h.Why, "the other gateway") {
		t.Errorf("host row %+v", h)
	}
	for _, row := range v.Mapping {
		if row.Attachment == 1 && row.Active {
			t.Errorf("row %+v is active while the other gateway serves the host", row)
		}
	}
	k.step(step.PortChanged{PortState: step.PortState{Port: "to-P"}})
	if h := k.machine.View(k.now).Hosts[0]; h.State != "sheltered" || h.Leaf != "B" {
		t.Errorf("host row %+v, want leaf B as backup", h)
	}
	k.step(step.PortChanged{PortState: noCarrier("to-B")})
	k.wait(time.Second)
	if h := k.machine.View(k.now).Hosts[0]; h.State != "unreachable" || h.Why == "" {
		t.Errorf("host row %+v, want unreachable", h)
	}
}

func TestSession_Cease_ForgetsWhatWasNotWithdrawn(t *testing.T) {
	k := begun(fig7())
	k.step(gone(addrA, step.ReasonCeaseDown))
	k.wantLookup(t, c(1), "to-A")
	k.wait(1100 * time.Millisecond)
	k.wantLookup(t, c(1), "")
	if s := k.machine.View(k.now).Sessions[0]; s.State != "down" || s.Why != "cease: shutdown" {
		t.Errorf("session row %+v", s)
	}
}

func TestView_IsSortedAndSharesNothing(t *testing.T) {
	k := begun(fig7())
	v := k.machine.View(k.now)
	for i := range v.Mapping {
		for j := range v.Mapping[i].Hosts {
			v.Mapping[i].Hosts[j] = netip.Addr{}
		}
	}
	var last model.AttachmentID
	for _, row := range k.machine.View(k.now).Mapping {
		if row.Attachment < last {
			t.Errorf("mapping is not sorted at %+v", row)
		}
		last = row.Attachment
		for _, h := range row.Hosts {
			if !h.IsValid() {
				t.Error("the view shares memory with the machine")
			}
		}
	}
}

// A dump that finds a host in the wrong table only: the wrong route goes when the right one is in the kernel, not before.
func TestGateway_LostMessages_WrongRouteServesUntilTheRightOneIsThere(t *testing.T) {
	k := begun(fig7())
	right := step.Route{Table: testBase + 1, Prefix: step.HostPrefix(c(1)), NextHop: step.NextHop{Dev: "to-A", Via: addrA}}
	wrong := step.Route{Table: testBase + 2, Prefix: right.Prefix, NextHop: step.NextHop{Dev: "to-B", Via: addrB}}
	delete(k.routes, right.Key())
	k.routes[wrong.Key()] = wrong
	ev := k.snapshot("netlink overflow", up("to-A"), up("to-B"))
	k.hold = true
	k.step(ev)
	i := slices.IndexFunc(k.pending, func(w step.Want) bool { return w.Key() == wrong.Key() })
	if i < 0 || !k.pending[i].Absent || k.pending[i].After != right.Key() {
		t.Fatalf("pending: %v", k.pending)
	}
	k.hold = false
	k.apply()
	k.wantLookup(t, c(1), "to-A")
	if _, left := k.routes[wrong.Key()]; left {
		t.Error("the wrong route stays")
	}
}

// While another leaf is claiming who was behind a server port, whoever is left is waited for, but not without end.
func TestWithdrawn_AnotherLeafIsClaiming_TheOthersAreWaitedFor(t *testing.T) {
	const hosts = 10
	lost := func(claims int) time.Duration { // of the last one; so many are claimed, one a second
		k := begun(fig7())
		var said, withdrawn []step.Path
		for i := range hosts {
			said, withdrawn = append(said, hostUnder(addrA, c(byte(10+i)), 1, 1)), append(withdrawn, noHost(c(byte(10+i))))
		}
		k.step(paths(addrA, said...))
		k.step(paths(addrA, withdrawn...))
		for s := range 120 {
			if k.lookup(c(byte(10+hosts-1)), "") == "" {
				return time.Duration(s) * time.Second
			}
			if s < claims {
				again := c(byte(10 + s%(hosts-1)))
				k.step(paths(addrB, noHost(again)))
				k.step(paths(addrB, hostUnder(addrB, again, 1, 2+s)))
			}
			k.wait(time.Second)
		}
		return 0
	}
	for claims, want := range map[int]time.Duration{0: graceMax, 5: 5*time.Second + graceMax, 100: claimingMax * graceMax} {
		if got := lost(claims); got < want-time.Second || got > want+graceMax {
			t.Errorf("%d are claimed: the last one is looked for %s, want %s", claims, got, want)
		}
	}
}

// Whoever is withdrawn is looked for behind the other leaf, and the more there are the longer: it takes that leaf its time to claim them all.
func TestWithdrawn_ManyHosts_AreLookedForLonger(t *testing.T) {
	after := func(hosts int) time.Duration {
		cfg := fig7()
		cfg.MaxHosts = 256
		k := begun(cfg)
		var said, withdrawn []step.Path
		for i := range hosts {
			said, withdrawn = append(said, hostUnder(addrA, c(byte(10+i)), 1, 1)), append(withdrawn, noHost(c(byte(10+i))))
		}
		k.step(paths(addrA, said...))
		k.step(paths(addrA, withdrawn...))
		for waited := time.Duration(0); waited < time.Minute; waited += time.Millisecond {
			if k.lookup(c(byte(10+hosts-1)), "") == "" {
				return waited
			}
			k.wait(time.Millisecond)
		}
		t.Fatalf("%d hosts are looked for without end", hosts)
		return 0
	}
	const hosts = 200
	one, many := after(1), after(hosts)
	if more := many - one; more < liveness.Claiming(hosts-1) || more > liveness.Claiming(hosts)+10*time.Millisecond {
		t.Errorf("one is looked for %s, the last of %d %s", one, hosts, many)
	}
}
