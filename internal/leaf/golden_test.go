package leaf

import (
	"net/netip"
	"testing"
	"time"

	"peerless/internal/leaf/neighbor"
	"peerless/internal/model"
	"peerless/internal/step"
)

func TestLeaf_Start_ClosesUntilItCanForward(t *testing.T) {
	w := newWorld(t, small())
	w.Comment("nothing in the kernel: not ready, so the downlink is closed first")
	w.do(step.Started{})
	w.do(w.snapshot())
	w.Comment("the gateway appears")
	w.pass(100 * time.Millisecond)
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.pass(time.Second)
	w.Golden(t, "start")
}

func TestLeaf_Learn_NeighbourRouteAdvertisementInOneStep(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.reset()
	w.do(garp("A2", 2))
	w.Comment("a refresh costs nothing")
	w.do(reply("A2", 2))
	w.Comment("an answer for a host elsewhere, none for the gateway, itself, or a prober without address")
	w.do(request("A2", 2, 9))
	w.do(request("A2", 2, 254))
	w.do(request("A2", 2, 2))
	w.do(step.ARPSeen{Port: "A2", Op: step.ARPRequest, SrcMAC: macOf(7), SenderMAC: macOf(7), SenderIP: netip.IPv4Unspecified(), TargetIP: addrOf(9)})
	w.Comment("a silent guest is seen by its data, probed, and learned by its answer")
	w.do(step.DataSeen{Port: "A2", MAC: macOf(22), Addr: addrOf(22)})
	w.do(reply("A2", 22))
	w.Comment("a new MAC on the same port")
	moved := reply("A2", 22)
	moved.SenderMAC, moved.SrcMAC = macOf(23), macOf(23)
	w.do(moved)
	w.Golden(t, "learn")
}

func TestLeaf_ServerLinkFailure_AttachmentThenWithdrawThenDelete(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(garp("A2", 2))
	w.do(garp("A2", 22))
	w.pass(1500 * time.Millisecond)
	w.reset()
	w.port("A2", carrier(false))
	w.pass(time.Second)
	w.Comment("the link returns: everything is re-applied, what was there is probed at once")
	w.port("A2", carrier(true))
	w.Golden(t, "server-link")
}

func TestLeaf_GatewayLinkFailure_ClosesFirstAndOpensWhenReady(t *testing.T) {
	w := newWorld(t, fig7A())
	w.open()
	w.do(garp("A1", 1))
	w.do(garp("A2", 2))
	w.reset()
	w.port("A0", carrier(false))
	w.pass(time.Second)
	w.Comment("carrier alone opens nothing")
	w.port("A0", carrier(true))
	w.pass(100 * time.Millisecond)
	w.Comment("the gateway tells all it has")
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.pass(time.Second)
	w.Golden(t, "gateway-link")
}

// restarted is what an earlier life of the leaf left in the kernel.
func restarted(w *world) step.Snapshot {
	s := w.snapshot()
	s.Neighbors = append(s.Neighbors, resolved(w.m.cfg.Uplinks[0]),
		step.NeighborState{Neighbor: step.Neighbor{Port: "A2", Addr: addrOf(2), MAC: macOf(2)}, Present: true, Resolved: true, Ours: true},
		step.NeighborState{Neighbor: step.Neighbor{Port: "A2", Addr: addrOf(8), MAC: macOf(8)}, Present: true, Resolved: true, Ours: true})
	s.Routes = append(s.Routes,
		step.RouteState{Route: step.Route{Table: 254, Prefix: anywhere, Metric: 20, NextHop: step.NextHop{Dev: "A0", Via: upper}}, Present: true, Ours: true, Protocol: 201},
		step.RouteState{Route: step.Route{Table: 254, Prefix: step.HostPrefix(addrOf(2)), NextHop: step.NextHop{Dev: "A2"}}, Present: true, Ours: true, Protocol: 201},
		step.RouteState{Route: step.Route{Table: 254, Prefix: step.HostPrefix(addrOf(7)), NextHop: step.NextHop{Dev: "A2"}}, Present: true, Ours: true, Protocol: 201})
	s.Rules = append(w.m.wantedRules(), step.Rule{Priority: 1500, IIF: "A7", Table: 254, SuppressPrefixLen: -1})
	return s
}

func TestLeaf_Restart_AdoptsAndClosesNothing(t *testing.T) {
	w := newWorld(t, small())
	w.do(step.Started{})
	w.Comment("10.10.10.2 is right; .7 has no neighbour entry, .8 no route, and one rule is of an older config")
	w.do(restarted(w))
	w.Comment("the host answers its probe: now the claim is verified")
	w.do(reply("A2", 2))
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.pass(100 * time.Millisecond)
	w.Golden(t, "restart")
}

func TestLeaf_Restart_InheritedHostSilent_IsWithdrawn(t *testing.T) {
	w := newWorld(t, small())
	w.do(step.Started{})
	w.do(restarted(w))
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.reset()
	w.pass(5 * time.Second)
	w.Golden(t, "restart-silent")
}

func TestLeaf_FeedMoveAway_DrainsBeforeDeleting(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(garp("A2", 2))
	w.pass(700 * time.Millisecond)
	w.reset()
	w.Comment("the server announced itself on the other leaf some milliseconds before it switches: its first answer proves nothing")
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_790_000_100_000)}})
	w.pass(2 * time.Millisecond)
	w.do(reply("A2", 2))
	w.pass(200 * time.Millisecond)
	w.Comment("it comes back here: its stamp must beat what was heard")
	w.do(garp("A2", 2))
	w.Golden(t, "feed-move-away")
}

func TestLeaf_FeedDuplicate_IsReportedOnceAndKept(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(garp("A2", 2))
	reports := 0
	for range 2 {
		w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_790_000_100_000)}})
		for range 25 {
			for _, e := range w.pass(20 * time.Millisecond) {
				if n, ok := e.(step.Note); ok && n.What == noteDuplicate {
					reports++
				}
			}
			w.do(reply("A2", 2))
		}
	}
	if h, ok := w.m.hosts.Holder(addrOf(2)); reports != 1 || !ok || h.State != neighbor.Local {
		t.Fatalf("%d reports, host %+v", reports, h)
	}
}

func TestLeaf_TwoUplinks_LosingOneClosesNothing(t *testing.T) {
	w := newWorld(t, twoUplinks(small()))
	w.open()
	w.do(garp("A2", 2))
	w.reset()
	w.port("A0", carrier(false))
	w.Comment("it returns")
	w.port("A0", carrier(true))
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.Golden(t, "two-uplinks")
}

func TestLeaf_SoftEvidence_ClosesOnlyAfterGracefulRestart(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.reset()
	w.Comment("the gateway's daemon is killed and comes back after 3 s")
	w.do(step.SessionChanged{Peer: upper, Reason: step.ReasonReset})
	w.pass(3 * time.Second)
	w.do(step.SessionChanged{Peer: upper, AS: 65000, Up: true})
	w.do(step.PathsChanged{Peer: upper, Paths: defaultPath()})
	w.Comment("killed again, for good")
	w.do(step.SessionChanged{Peer: upper, Reason: step.ReasonHoldTimer})
	w.Golden(t, "soft-evidence")
	w.pass(29 * time.Second)
	if w.m.groups[0].State.String() != "open" {
		t.Fatal("closed before the graceful-restart time")
	}
	w.pass(2 * time.Second)
	if w.m.groups[0].State.String() != "closed" {
		t.Fatal("still open after the graceful-restart time")
	}
}

func TestLeaf_OperatorPorts_AreHis(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.reset()
	w.Comment("he closes a port; the uplink fails and returns: the port stays closed")
	w.port("A2", admin(false))
	w.port("A0", carrier(false))
	w.port("A0", carrier(true))
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.pass(time.Second)
	w.Comment("he opens it")
	w.port("A2", admin(true))
	w.Comment("the uplink fails again, and he opens the port that we hold closed, twice")
	w.port("A0", carrier(false))
	w.port("A2", admin(true))
	w.port("A2", admin(true))
	w.Golden(t, "operator")
}

func TestLeaf_StandbyPort_ProbesWhatItRemembers(t *testing.T) {
	cfg := small()
	cfg.Downlinks[0].Role = model.Backup
	w := newWorld(t, cfg)
	w.open()
	w.reset()
	w.Comment("the other leaf claims C2; we may probe for it and no more")
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_790_000_000_500)}})
	w.pass(1200 * time.Millisecond)
	w.Comment("the claim goes: probed at once, and learned by its answer with a later stamp")
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{{Prefix: step.HostPrefix(addrOf(2)), Withdrawn: true}}})
	w.do(reply("A2", 2))
	w.Comment("a hypervisor announces the MAC of a guest by RARP")
	w.do(garp("A2", 22))
	w.port("A2", carrier(false))
	w.port("A2", carrier(true))
	w.pass(100 * time.Millisecond)
	w.do(step.RARPSeen{Port: "A2", MAC: macOf(22)})
	w.Golden(t, "standby")
}

func TestLeaf_ConflictDetectingClient_HearsNothing(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.reset()
	w.Comment("RFC 5227: three probes, two announcements")
	probe := step.ARPSeen{Port: "A2", Op: step.ARPRequest, SrcMAC: macOf(2), SenderMAC: macOf(2), SenderIP: netip.IPv4Unspecified(), TargetIP: addrOf(2)}
	for range 3 {
		w.do(probe)
	}
	w.do(garp("A2", 2))
	w.do(garp("A2", 2))
	w.Comment("another client on the same server detects the conflict with its neighbour, not with us")
	probe.SenderMAC, probe.SrcMAC = macOf(3), macOf(3)
	w.do(probe)
	w.Golden(t, "conflict-detection")
}

func TestLeaf_UplinkSilent_ClosesWhileCarrierStays(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.reset()
	w.deaf = true
	w.pass(5 * time.Second)
	w.Comment("it speaks again: a new session, and the port opens")
	w.deaf = false
	w.pass(time.Second)
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.pass(500 * time.Millisecond)
	w.Golden(t, "uplink-silent")
}

func TestLeaf_StaticHosts_StandWithoutProbeAndYieldToTheRealOne(t *testing.T) {
	cfg := small()
	cfg.Downlinks[0].Static = []model.HostRoute{{Addr: addrOf(2), MAC: macOf(2)}, {Addr: addrOf(5)}}
	w := newWorld(t, cfg)
	w.do(step.Started{})
	w.do(w.snapshot())
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.reset()
	w.pass(time.Second)
	w.Comment("the bound host speaks: its claim is verified; another MAC is not believed")
	w.do(reply("A2", 2))
	thief := reply("A2", 2)
	thief.SenderMAC, thief.SrcMAC = macOf(9), macOf(9)
	w.do(thief)
	w.Golden(t, "static")
}

func TestLeaf_MovesBetweenOwnPorts_ReplacesAndDeletesOldNeighbour(t *testing.T) {
	w := newWorld(t, fig7A())
	w.open()
	w.do(garp("A1", 1))
	w.reset()
	w.pass(10 * time.Millisecond)
	w.do(reply("A2", 1))
	w.Golden(t, "own-move")
}
