package gateway

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

func (s *story) mapping() {
	for _, r := range s.machine.View(s.now).Mapping {
		hosts, _ := json.Marshal(r.Hosts)
		s.t.Comment("%s - %s - %s - %s  %s  uplink %s downlink %s active %v hosts %s: %s",
			r.GatewayPort, r.Leaf, r.LeafPort, r.ServerPort, r.Role, r.Uplink, r.Downlink, r.Active, hosts, r.Why)
	}
}

func started(cfg Config, ports ...step.PortState) *story {
	s := newStory(cfg)
	s.tell(step.Started{}, s.snapshot("start", ports...))
	return s
}

// running is a story of fig7 whose beginning was not written down.
func running(cfg Config) *story {
	s := newStory(cfg)
	quiet := s.fed
	s.fed = func(ev step.Applied) { s.take(s.machine.Step(s.now, ev)) }
	s.step(step.Started{}, s.snapshot("start", up("to-A"), up("to-B"), up("to-P")))
	s.step(normal()...)
	s.wait(time.Second)
	s.fed = quiet
	return s
}

func TestGateway_Start_MappingStandsBeforeAnyFailure(t *testing.T) {
	s := started(fig7(), up("to-A"), up("to-B"))
	s.tell(normal()...)
	s.mapping()
	s.t.Golden(t, "start")
}

func TestGateway_ServerLinkFailureAndReturn(t *testing.T) {
	s := running(fig7())
	s.t.Comment("C2-A2 goes down")
	s.tell(paths(addrA, attachment(addrA, 2, claim.Down, claim.ReasonCarrierLost)), paths(addrA, noHost(c(2))))
	s.mapping()
	s.later(2 * time.Millisecond)
	s.tell(paths(addrB, host(addrB, 2, 100)))
	s.later(5 * time.Second)
	s.t.Comment("C2-A2 comes back, C2 stays on B for a while")
	s.tell(paths(addrA, attachment(addrA, 2, claim.Up, claim.ReasonReady)))
	s.later(5 * time.Second)
	s.t.Comment("C2 fails back")
	s.tell(paths(addrA, host(addrA, 2, 10_000)), paths(addrB, noHost(c(2))))
	s.mapping()
	s.t.Golden(t, "server-link")
}

func TestGateway_GatewayLinkFailureAndReturn(t *testing.T) {
	s := running(fig7())
	s.t.Comment("G-A0 goes down")
	s.tell(step.PortChanged{PortState: noCarrier("to-A")}, gone(addrA, step.ReasonOurs))
	s.mapping()
	s.later(2 * time.Millisecond)
	s.tell(paths(addrB, host(addrB, 1, 100)), paths(addrB, host(addrB, 2, 100)))
	s.later(5 * time.Second)
	s.t.Comment("G-A0 comes back")
	s.tell(step.PortChanged{PortState: up("to-A")})
	s.later(time.Second)
	var closed []step.Path
	for id := model.AttachmentID(1); id <= 4; id++ {
		closed = append(closed, attachment(addrA, id, claim.Closed, claim.ReasonLinkage))
	}
	s.tell(session(addrA), paths(addrA, closed...), step.EndOfRIB{Peer: addrA})
	s.later(time.Second)
	s.tell(paths(addrA, attachment(addrA, 1, claim.Up, claim.ReasonReady)), paths(addrA, attachment(addrA, 2, claim.Up, claim.ReasonReady)))
	s.tell(paths(addrA, attachment(addrA, 3, claim.Up, claim.ReasonReady)), paths(addrA, attachment(addrA, 4, claim.Up, claim.ReasonReady)))
	s.later(5 * time.Second)
	s.t.Comment("C1 and C2 fail back")
	s.tell(paths(addrA, host(addrA, 1, 20_000)), paths(addrB, noHost(c(1))), paths(addrA, host(addrA, 2, 20_000)), paths(addrB, noHost(c(2))))
	s.mapping()
	s.t.Golden(t, "gateway-link")
}

func TestGateway_RestartAdoptsWhatIsInTheKernel(t *testing.T) {
	old := begun(fig7())
	s := newStory(fig7())
	s.routes, s.rules = old.routes, old.rules
	stray := step.Route{Table: testBase + 1, Prefix: step.HostPrefix(c(77)), NextHop: step.NextHop{Dev: "to-A", Via: addrA}}
	s.routes[stray.Key()] = stray
	s.watch = func() {
		for i, want := range []model.Port{"to-A", "to-A", "to-B", "to-B"} {
			s.wantLookup(t, c(byte(i+1)), want)
		}
	}
	s.tell(step.Started{}, s.snapshot("start", up("to-A"), up("to-B")))
	s.later(5 * time.Second)
	s.tell(normal()...)
	s.later(time.Second)
	s.wantLookup(t, c(77), "")
	s.t.Golden(t, "restart")
}

func TestGateway_SoftSessionLoss_KeepsPathsForGracefulRestart(t *testing.T) {
	s := running(fig7())
	s.tell(gone(addrA, step.ReasonHoldTimer))
	s.later(10 * time.Second)
	s.t.Comment("A is back, without C2")
	s.tell(session(addrA), paths(addrA, allUp(addrA)...), paths(addrA, host(addrA, 1, 0)), step.EndOfRIB{Peer: addrA})
	s.later(time.Second)
	s.t.Comment("A goes again and does not come back")
	s.tell(gone(addrA, step.ReasonReset))
	s.later(31 * time.Second)
	s.mapping()
	s.t.Golden(t, "soft-session-loss")
}

func TestGateway_TwoLeavesClaimOneHost_NewestStampWins(t *testing.T) {
	s := running(fig7())
	s.t.Comment("an older claim of B changes nothing, a newer one wins, A's refresh does not take it back")
	s.tell(paths(addrB, host(addrB, 1, -5)), paths(addrB, host(addrB, 1, 5)), paths(addrA, host(addrA, 1, 0)))
	s.t.Comment("another attachment id is an event")
	s.tell(paths(addrB, hostUnder(addrB, c(1), 3, 9)))
	s.t.Golden(t, "two-claims")
}

func static() Config {
	cfg := fig7()
	cfg.Leaves[0].AS, cfg.Leaves[1].AS, cfg.Default = 0, 0, false
	cfg.Static = []StaticHost{
		{Addr: c(200), Attachment: 5, Primary: StaticHop{Leaf: "A"}, Backup: StaticHop{Leaf: "B"}},
		{Addr: c(201), Primary: StaticHop{Leaf: "B"}, Backup: StaticHop{Leaf: "A"}},
	}
	return cfg
}

func TestGateway_StaticHostsFollowLinkState(t *testing.T) {
	s := started(static(), up("to-A"), up("to-B"))
	s.mapping()
	s.later(time.Second)
	s.t.Comment("the link to A is closed")
	st := up("to-A")
	st.AdminUp = false
	s.tell(step.PortChanged{PortState: st})
	s.later(time.Second)
	s.wantLookup(t, c(200), "to-B")
	s.mapping()
	s.tell(step.PortChanged{PortState: up("to-A")})
	s.later(time.Second)
	s.wantLookup(t, c(200), "to-A")
	s.t.Golden(t, "static")
}

func withPeer() Config {
	cfg := fig7()
	cfg.Peer = &Peer{Port: "to-P", Address: netip.MustParseAddr("172.31.9.2")}
	return cfg
}

func TestGateway_PeerIsLastResortBeforeBackups(t *testing.T) {
	s := started(withPeer(), up("to-A"), up("to-B"), up("to-P"))
	s.tell(normal()...)
	s.t.Comment("the link to A fails: its hosts go by the other gateway, and what comes from there by the backups")
	s.tell(step.PortChanged{PortState: noCarrier("to-A")})
	s.wantLookup(t, c(1), "to-P")
	if got := s.lookup(c(1), "to-P"); got != "to-B" {
		t.Errorf("from the other gateway %s goes to %q, want to-B", c(1), got)
	}
	if got := s.lookup(c(99), "to-P"); got != "" {
		t.Errorf("from the other gateway an unknown host goes to %q, want nowhere: a loop", got)
	}
	s.tell(step.PortChanged{PortState: noCarrier("to-P")})
	s.wantLookup(t, c(1), "to-B")
	s.t.Golden(t, "peer")
}

func TestGateway_ForeignLeafOfARange(t *testing.T) {
	cfg := fig7()
	cfg.Leaves = nil
	x, y := netip.MustParseAddr("172.31.16.2"), netip.MustParseAddr("172.31.17.2")
	s := newStory(cfg)
	ev := s.snapshot("start", up("sw0"), up("sw1"))
	ev.Addresses = []step.Address{{Port: "sw0", Prefix: netip.MustParsePrefix("172.31.16.1/24")}, {Port: "sw1", Prefix: netip.MustParsePrefix("172.31.17.1/24")}}
	s.tell(step.Started{}, ev)
	s.tell(step.SessionChanged{Peer: x, AS: 65100, Up: true}, paths(x, plain(x, c(1)), plain(x, c(2)), plain(x, netip.MustParseAddr("192.0.2.1"))))
	s.tell(step.SessionChanged{Peer: y, AS: 65100, Up: true}, paths(y, plain(y, c(1))))
	s.wantLookup(t, c(1), "sw1")
	s.t.Comment("what the foreign leaf takes back is the fault as far as it can be known")
	s.tell(paths(x, noHost(c(2))))
	s.wantLookup(t, c(2), "")
	s.t.Golden(t, "foreign")
}
