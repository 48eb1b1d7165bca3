package server

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
	"peerless/internal/step/steptest"
)

func TestServer_Start_AdoptsTheLinkWhoseLeafAnswers(t *testing.T) {
	s := newStory(bridgeConfig())
	s.answers["eth0"], s.answers["eth1"] = true, true
	s.begin(world(true, true))
	s.run(600 * time.Millisecond)
	s.Golden(t, "start")
}

// A daemon that starts goes on with the link that the kernel sends by, whatever its leaf says; only then it chooses.
func TestServer_Restart_GoesOnWithTheLinkInUse(t *testing.T) {
	entry := func(port model.Port) func(*step.Snapshot) {
		return func(s *step.Snapshot) { s.Entries = []step.FDB{{Bridge: "br0", MAC: gatewayMAC, Port: port}} }
	}
	flags := func(floods ...model.Port) func(*step.Snapshot) {
		return func(s *step.Snapshot) {
			for _, p := range []model.Port{"eth0", "eth1"} {
				s.Members = append(s.Members, bridgePort(p, slices.Contains(floods, p)))
			}
		}
	}
	slave := func(s *step.Snapshot) { s.Bonds = []step.BondActive{{Bond: "br0", Active: "eth1"}} }
	for _, tt := range []struct {
		name string
		tell []func(*step.Snapshot)
		want model.Role // at once
	}{
		{"entry to the backup", []func(*step.Snapshot){entry("eth1")}, model.Backup},
		{"killed in the middle of a switch: the entry decides", []func(*step.Snapshot){entry("eth1"), flags("eth0", "eth1")}, model.Backup},
		{"only the backup floods", []func(*step.Snapshot){flags("eth1")}, model.Backup},
		{"bond on its backup", []func(*step.Snapshot){slave}, model.Backup},
		{"entry to the primary", []func(*step.Snapshot){entry("eth0")}, model.Primary},
		{"both flood: nobody has chosen", []func(*step.Snapshot){flags("eth0", "eth1")}, model.RoleUnknown},
		{"entry to a guest", []func(*step.Snapshot){entry("tap0")}, model.RoleUnknown},
		{"nothing is known", nil, model.RoleUnknown},
	} {
		s := newStory(bridgeConfig())
		snap := world(true, true, member("tap0", "br0", true))
		for _, tell := range tt.tell {
			tell(&snap)
		}
		s.begin(snap)
		if got := s.active(); got != tt.want {
			t.Errorf("%s: on the %v, want %v", tt.name, got, tt.want)
		}
		s.answers["eth0"], s.answers["eth1"] = true, true
		s.run(2 * time.Second)
		if tt.want != model.RoleUnknown && (s.active() != tt.want || strings.Count(strings.Join(s.moves, " "), "moved") > 1) {
			t.Errorf("%s: moved: %v", tt.name, s.moves)
		}
	}
}

func TestServer_StartWithoutDevice_WaitsAndSaysSo(t *testing.T) {
	s := newStory(bridgeConfig())
	s.begin(step.Snapshot{Reason: "start"})
	s.Comment("a device of the wrong kind is no device")
	s.do(step.PortChanged{PortState: dev("br0", "veth")})
	s.do(step.PortChanged{PortState: dev("br0", kindBridge)})
	s.do(step.PortChanged{PortState: step.PortState{Port: "eth0", Index: 2, Present: true, AdminUp: true, Carrier: true}})
	s.do(step.PortChanged{PortState: member("eth0", "br0", true)})
	s.do(step.PortChanged{PortState: member("eth1", "br0", false)})
	s.Comment("the device goes and comes back as another one: everything is asked for again")
	s.do(step.PortChanged{PortState: step.PortState{Port: "br0"}})
	again := dev("br0", kindBridge)
	again.Index = 77
	s.do(step.PortChanged{PortState: again})
	s.Golden(t, "waiting")
}

func TestServer_PrimaryLost_MovesAndAnnounces(t *testing.T) {
	s := started(t)
	s.Comment("the primary link fails")
	s.link("eth0", false)
	s.run(600 * time.Millisecond)
	s.Golden(t, "primary-lost")
}

func TestServer_PrimaryReturns_MakesBeforeItBreaks(t *testing.T) {
	cfg := bridgeConfig()
	cfg.FailBack.Stable = 150 * time.Millisecond
	s := startedWith(t, cfg)
	s.answers["eth0"] = false
	s.link("eth0", false)
	s.run(600 * time.Millisecond)
	s.Comment("the link returns; its leaf is not open yet")
	s.link("eth0", true)
	s.run(150 * time.Millisecond)
	s.Comment("the leaf opens")
	s.answers["eth0"] = true
	s.run(900 * time.Millisecond)
	s.Golden(t, "return")
}

func TestServer_FailBackNever_StaysOnBackup(t *testing.T) {
	cfg := bridgeConfig()
	cfg.FailBack = FailBack{Never: true}
	s := startedWith(t, cfg)
	s.link("eth0", false)
	s.link("eth0", true)
	s.run(time.Second)
	s.Comment("the backup fails while the primary is up")
	s.link("eth1", false)
	s.Golden(t, "never")
}

func TestServer_NewLinkDiesWhileSettling_AbortsAndAnnouncesOnTheOld(t *testing.T) {
	cfg := bridgeConfig()
	cfg.FailBack.Stable = 50 * time.Millisecond
	s := startedWith(t, cfg)
	s.link("eth0", false)
	s.run(600 * time.Millisecond)
	s.Comment("the primary returns, and flaps during the settle time")
	s.link("eth0", true)
	s.run(55 * time.Millisecond)
	s.link("eth0", false)
	s.run(50 * time.Millisecond)
	s.Comment("once more; now the old link dies during the settle time")
	s.link("eth0", true)
	s.run(55 * time.Millisecond)
	s.link("eth1", false)
	s.run(5 * time.Millisecond)
	s.Golden(t, "flap-while-settling")
}

func TestServer_BothDown_FirstThatReturnsGetsIt(t *testing.T) {
	s := started(t)
	s.link("eth0", false)
	s.run(10 * time.Millisecond)
	s.link("eth1", false)
	s.run(200 * time.Millisecond)
	s.Comment("the selected link returns")
	s.link("eth1", true)
	s.run(10 * time.Millisecond)
	s.link("eth1", false)
	s.Comment("the other link returns first")
	s.link("eth0", true)
	s.run(10 * time.Millisecond)
	s.Golden(t, "both-down")
}

func TestServer_Guests_LearnedAnnouncedForgotten(t *testing.T) {
	s := started(t, member("tap0", "br0", true), member("tap1", "br0", true))
	s.Comment("who is a guest")
	s.do(guestARP("tap0", "10.10.10.101", guestMAC))
	s.do(guestARP("tap0", "10.10.10.101", guestMAC))
	s.do(step.DataSeen{Port: "tap1", MAC: model.MAC{2, 0, 0, 0, 0x10, 2}, Addr: netip.MustParseAddr("10.10.10.102")})
	s.Comment("who is not: a probe, ourselves, the gateway, a link-local address, another's frame, a routed source, a link of the pair")
	s.do(guestARP("tap0", "0.0.0.0", guestMAC))
	s.do(guestARP("tap0", "10.10.10.2", guestMAC))
	s.do(guestARP("tap0", "10.10.10.254", guestMAC))
	s.do(guestARP("tap0", "10.10.10.103", gatewayMAC))
	s.do(guestARP("tap0", "10.10.10.103", hostMAC))
	s.do(guestARP("tap0", "10.10.10.103", model.MAC{}))
	s.do(guestARP("tap0", "169.254.1.1", guestMAC))
	strange := guestARP("tap0", "10.10.10.104", guestMAC)
	strange.SrcMAC = hostMAC
	s.do(strange)
	s.do(step.DataSeen{Port: "tap1", MAC: guestMAC, Addr: netip.MustParseAddr("198.51.100.7")})
	s.do(guestARP("eth0", "10.10.10.105", guestMAC))
	s.Comment("every guest moves with its server")
	s.link("eth0", false)
	s.run(20 * time.Millisecond)
	s.Comment("a guest moves to another port; a hypervisor says so by RARP")
	s.do(step.RARPSeen{Port: "tap1", MAC: guestMAC})
	s.Comment("a guest's port vanishes")
	s.do(step.PortChanged{PortState: step.PortState{Port: "tap1"}})
	s.do(guestARP("tap0", "10.10.10.101", guestMAC))
	s.Comment("a guest's address becomes our own")
	s.do(step.AddressChanged{Address: own("br0", "10.10.10.101/24"), Present: true})
	s.do(step.AddressChanged{Address: own("br0", "10.10.10.101/24"), Present: false})
	s.Comment("a guest answers on the far side of a link; the leaf's own answers for the subnet say nothing")
	s.do(guestARP("tap0", "10.10.10.101", guestMAC))
	s.do(guestARP("eth1", "10.10.10.101", gatewayMAC))
	s.do(guestARP("eth1", "10.10.10.101", model.MAC{2, 0, 0, 0, 0x10, 9}))
	s.Golden(t, "guests")
}

// A guest moves to another server without a word to this one, at any moment around a move of the pair. No repetition takes it back, nor does
// the first announcement once it has been silent for long; one that stays is repeated as ever.
func TestServer_GuestThatLeft_IsNotAnnouncedAgain(t *testing.T) {
	const stays, leaves = "10.10.10.101", "10.10.10.102"
	leaver := model.MAC{2, 0, 0, 0, 0x10, 2}
	for _, leavesAt := range []time.Duration{-5 * time.Second, -time.Second, 10 * ms, 50 * ms, 300 * ms} {
		s := started(t, member("tap0", "br0", true))
		s.do(guestARP("tap0", stays, guestMAC))
		s.do(guestARP("tap0", leaves, leaver))
		moved := s.Now.Mono + 10*time.Second
		announced := map[string][]time.Duration{}
		for s.Now.Mono < moved+2*time.Second {
			if s.Now.Mono%time.Second == 0 && s.Now.Mono < moved { // the leaf's probes are answered
				s.do(guestARP("tap0", stays, guestMAC))
				if s.Now.Mono < moved+leavesAt {
					s.do(guestARP("tap0", leaves, leaver))
				}
			}
			if s.Now.Mono == moved {
				s.link("eth0", false)
			}
			for _, a := range s.drain() {
				who := a.TargetIP.String()
				switch {
				case a.Port == "tap0" && (who == stays || s.Now.Mono < moved+leavesAt):
					s.do(guestARP("tap0", who, map[string]model.MAC{stays: guestMAC, leaves: leaver}[who]))
				case a.SenderIP == a.TargetIP:
					announced[who] = append(announced[who], s.Now.Mono-moved)
				}
			}
			s.run(ms)
		}
		if n := len(announced[stays]); n != 4 {
			t.Errorf("leaving at %v: the one that stays was announced at %v", leavesAt, announced[stays])
		}
		first := 0
		if leavesAt > -lately {
			first = 1 // nothing told yet that it is gone
		}
		if got := announced[leaves]; len(got) < first || leavesAt < 0 && len(got) != first || leavesAt >= 0 && got[len(got)-1] > leavesAt {
			t.Errorf("leaving at %v: announced at %v", leavesAt, got)
		}
	}
}

func TestServer_SilentGuest_AgesOut(t *testing.T) {
	s := started(t, member("tap0", "br0", true))
	m := s.Machine.(*Machine)
	s.do(guestARP("tap0", "10.10.10.101", guestMAC))
	s.run(guestAge / 2)
	s.do(guestARP("tap0", "10.10.10.102", model.MAC{2, 0, 0, 0, 0x10, 2}))
	s.run(guestAge/2 - time.Second)
	if len(m.guests) != 2 {
		t.Fatalf("%d guests before their time, want 2", len(m.guests))
	}
	s.run(2 * time.Second)
	if len(m.guests) != 1 || m.guests[0].addr != netip.MustParseAddr("10.10.10.102") {
		t.Fatalf("guests %v, want only the younger", m.guests)
	}
	s.run(guestAge)
	if len(m.guests) != 0 || m.aging {
		t.Fatalf("guests %v, aging %v: want none", m.guests, m.aging)
	}
}

func TestServer_TooManyGuests_OldestGivesWay(t *testing.T) {
	s := started(t, member("tap0", "br0", true))
	m := s.Machine.(*Machine)
	for i := range GuestsDefault + 10 {
		s.Now = s.Now.Add(time.Microsecond)
		addr := netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})
		m.Step(s.Now, step.ARPSeen{Port: "tap0", Op: step.ARPRequest, SrcMAC: guestMAC, SenderMAC: guestMAC, SenderIP: addr})
	}
	if len(m.guests) != GuestsDefault || m.guests[0].addr != netip.MustParseAddr("10.20.0.10") {
		t.Fatalf("%d guests from %v, want %d from 10.20.0.10", len(m.guests), m.guests[0].addr, GuestsDefault)
	}
	for i := 1; i < len(m.guests); i++ {
		if !m.guests[i-1].addr.Less(m.guests[i].addr) {
			t.Fatalf("guests not in order at %d", i)
		}
	}
}

func TestServer_Bond_SelectsTheSlaveAndAnnouncesForTheBridgeAbove(t *testing.T) {
	s := newStory(bondConfig())
	s.answers["eth0"], s.answers["eth1"] = true, true
	bond := dev("bond0", kindBond)
	bond.Master = "br1"
	snap := step.Snapshot{
		Reason:    "start",
		Ports:     []step.PortState{bond, dev("br1", kindBridge), member("eth0", "bond0", true), member("eth1", "bond0", true), member("tap0", "br1", true)},
		Addresses: []step.Address{own("br1", "10.10.10.2/24")},
	}
	s.begin(snap)
	s.run(20 * time.Millisecond)
	s.do(guestARP("tap0", "10.10.10.101", guestMAC))
	s.Comment("the primary slave fails")
	s.do(step.PortChanged{PortState: member("eth0", "bond0", false)})
	s.run(20 * time.Millisecond)
	s.Comment("it comes back: the bond is told again which slave is wanted, whatever its own policy says")
	s.do(step.PortChanged{PortState: member("eth0", "bond0", true)})
	s.Golden(t, "bond")
}

func TestServer_ChangesOfItsOwnAddresses_AreAnnounced(t *testing.T) {
	s := started(t)
	s.do(step.AddressChanged{Address: own("br0", "10.10.10.22/24"), Present: true})
	s.do(step.AddressChanged{Address: own("br0", "10.10.10.22/24"), Present: true})
	s.do(step.AddressChanged{Address: own("br0", "fd00::1/64"), Present: true})
	s.do(step.AddressChanged{Address: own("eth7", "10.10.10.23/24"), Present: true})
	s.do(step.AddressChanged{Address: own("br0", "10.10.10.22/24"), Present: false})
	s.Comment("the bridge's own hardware address changes")
	b := dev("br0", kindBridge)
	b.MAC = model.MAC{2, 0, 0, 0, 0, 0x22}
	s.do(step.PortChanged{PortState: b})
	s.run(30 * time.Millisecond)
	s.Comment("netlink lost messages: everything is asked for again")
	snap := world(true, true)
	snap.Reason, snap.Ports[0].MAC = "ENOBUFS", b.MAC
	s.do(snap)
	s.Golden(t, "addresses")
}

func TestServer_AnswerFromAnotherMAC_IsNotReadiness(t *testing.T) {
	s := newStory(bridgeConfig())
	s.begin(world(true, true))
	m := s.Machine.(*Machine)
	e := answer("eth0")
	e.SenderMAC = guestMAC
	s.do(e)
	e = answer("eth0")
	e.Op = step.ARPRequest
	s.do(e)
	if m.sides[0].ready {
		t.Fatal("ready by somebody else's answer or by a request")
	}
	s.do(answer("eth0"))
	if !m.sides[0].ready || m.pair.Target() != model.Primary {
		t.Fatal("not ready after the gateway's answer")
	}
}

func TestServer_View_ShowsPairGuestsAndHosts(t *testing.T) {
	m := New(bridgeConfig())
	if v := m.View(steptest.Epoch); len(v.Ports) != 2 || v.Ports[0].State != "missing" || v.Ports[0].Why == "" {
		t.Fatalf("view before the first snapshot: %+v", v.Ports)
	}
	s := started(t, member("tap0", "br0", true), member("tap1", "br0", false))
	s.do(guestARP("tap0", "10.10.10.101", guestMAC))
	s.do(step.Failed{Want: step.Want{Object: bridgePort("eth1", false)}, Err: "operation not supported", Attempt: 1})
	s.run(1500 * time.Millisecond)
	v := s.Machine.View(s.Now)
	var got []string
	for _, p := range v.Ports {
		got = append(got, strings.Join([]string{string(p.Port), p.Use, p.State, map[bool]string{true: "active", false: "-"}[p.Active], p.Why}, "|"))
	}
	for _, h := range v.Hosts {
		got = append(got, strings.Join([]string{h.Addr.String(), h.MAC, string(h.Port), h.State, h.Learned, h.Why}, "|"))
	}
	want := []string{
		"eth0|primary|up|active|the primary's leaf answers",
		"eth1|backup|up|-|standby, its leaf answers; operation not supported",
		"tap0|guest|up|-|member of br0",
		"tap1|guest|down|-|member of br0",
		"10.10.10.2|02:00:00:00:00:02|br0|own|kernel|address of br0",
		"10.10.10.101|02:00:00:00:10:01|tap0|guest|arp|behind tap0",
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
	if v.Hosts[1].AgeMs != 1500 || !v.Hosts[1].Advertised || v.Ports[0].Hosts != 2 || v.Ports[2].Hosts != 1 {
		t.Errorf("hosts %+v ports %+v", v.Hosts, v.Ports)
	}
}

func TestServer_GuestPortLeavesTheBridge_IsForgotten(t *testing.T) {
	s := started(t, member("tap0", "br0", true))
	m := s.Machine.(*Machine)
	s.do(guestARP("tap0", "10.10.10.101", guestMAC))
	s.do(step.PortChanged{PortState: member("tap0", "", true)})
	if len(m.guests) != 0 || len(m.listening) != 2 || m.port("tap0").Present {
		t.Fatalf("guests %v, listening %v, ports %v", m.guests, m.listening, m.ports)
	}
}

// The leaf of a link that is left learns from its server that it is, and not from silence.
func TestServer_Questions_TellByWhichLinkItSends(t *testing.T) {
	s := started(t)
	told := func() map[model.Port]bool {
		s.drain()
		s.run(2 * time.Second)
		uses := map[model.Port]bool{}
		for _, e := range s.drain() {
			if e.TargetIP != gateway || !e.SenderIP.IsUnspecified() {
				continue
			}
			inUse, said := claim.ParseUse(e.TargetMAC)
			if before, known := uses[e.Port]; !said || known && before != inUse {
				t.Fatalf("%s says %v, then %s", e.Port, before, e.TargetMAC)
			}
			uses[e.Port] = inUse
		}
		return uses
	}
	if uses := told(); !uses["eth0"] || uses["eth1"] || len(uses) != 2 {
		t.Errorf("by the primary: %v", uses)
	}
	s.answers["eth0"] = false
	s.run(time.Second)
	if uses := told(); uses["eth0"] || !uses["eth1"] || len(uses) != 2 {
		t.Errorf("by the backup: %v", uses)
	}
}
