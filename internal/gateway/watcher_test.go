package gateway

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
	"peerless/internal/step/steptest"
)

// beside is fig7's gateway beside an OSPF engine.
func beside() Config {
	cfg := fig7()
	cfg.NoBGP, cfg.Default, cfg.Engine = true, false, "frr"
	for i := uint32(1); i <= 4; i++ {
		a := Attachment{ID: model.AttachmentID(i), Primary: LeafEnd{"A", i}, Backup: LeafEnd{"B", i}, Hosts: []netip.Addr{c(byte(i))}}
		if i > 2 {
			a.Primary, a.Backup = a.Backup, a.Primary
		}
		cfg.Attachments = append(cfg.Attachments, a)
	}
	cfg.Attachments[1].Hosts = append(cfg.Attachments[1].Hosts, c(22)) // a guest of C2
	return cfg
}

var hopA, hopB = step.NextHop{Dev: "to-A", Via: addrA}, step.NextHop{Dev: "to-B", Via: addrB}

// ospf is a host's route as FRR installs it; without a next hop it is gone.
func ospf(addr netip.Addr, hops ...step.NextHop) step.RouteState {
	r := step.RouteState{Route: step.Route{Prefix: step.HostPrefix(addr), Metric: 20}, Protocol: 188, Present: len(hops) > 0}
	if len(hops) > 0 {
		r.NextHop, r.More = hops[0], slices.Clone(hops[1:])
	}
	return r
}

func changed(r step.RouteState) step.RouteChanged { return step.RouteChanged{RouteState: r} }

func dead(r step.RouteState) step.RouteChanged {
	r.LinkDown = true
	return step.RouteChanged{RouteState: r}
}

func besideSnapshot(routes ...step.RouteState) step.Snapshot {
	return step.Snapshot{Reason: "start", Ports: []step.PortState{up("to-A"), up("to-B")}, Routes: routes}
}

func normalRoutes() []step.RouteState {
	return []step.RouteState{ospf(c(1), hopA), ospf(c(2), hopA), ospf(c(3), hopB), ospf(c(4), hopB), ospf(c(22), hopA)}
}

func watching(w *Watcher) *steptest.Transcript {
	t := steptest.New(w)
	t.Step(step.Started{})
	t.Step(besideSnapshot(normalRoutes()...))
	return t
}

func tellMapping(t *steptest.Transcript, w *Watcher) {
	for _, r := range w.View(t.Now).Mapping {
		hosts, _ := json.Marshal(r.Hosts)
		t.Comment("%s - %s - %s - %s  %s  uplink %s downlink %s active %v hosts %s: %s",
			r.GatewayPort, r.Leaf, r.LeafPort, r.ServerPort, r.Role, r.Uplink, r.Downlink, r.Active, hosts, r.Why)
	}
}

func TestWatcher_BothFailures_FaultsAndMapping(t *testing.T) {
	w := NewWatcher(beside())
	s := watching(w)
	tellMapping(s, w)
	s.Pass(time.Second)
	s.Comment("the link C2-A2 fails: A withdraws C2 and its guest, B announces them")
	s.Step(changed(ospf(c(2))))
	s.Step(changed(ospf(c(22))))
	s.Pass(3 * time.Millisecond)
	s.Step(changed(ospf(c(2), hopB)))
	s.Step(changed(ospf(c(22), hopB)))
	s.Pass(tellPause)
	s.Step(step.TimerFired{Timer: step.Timer{Kind: timerTell}})
	tellMapping(s, w)
	s.Pass(5 * time.Second)
	s.Comment("C2 returns: both leaves announce it for a while")
	s.Step(changed(ospf(c(2), hopA, hopB)))
	s.Step(changed(ospf(c(2), hopA)))
	s.Step(changed(ospf(c(22), hopA)))
	s.Pass(5 * time.Second)
	s.Comment("the link G-A0 fails")
	s.Step(step.PortChanged{PortState: noCarrier("to-A")})
	for _, i := range []byte{1, 2, 22} {
		s.Step(dead(ospf(c(i), hopA)))
		s.Step(changed(ospf(c(i), hopB)))
	}
	tellMapping(s, w)
	s.Step(step.PortChanged{PortState: up("to-A")})
	s.Golden(t, "watcher")
}

func TestWatcher_TouchesNothingButForwardingSettings(t *testing.T) {
	w := NewWatcher(beside())
	now := steptest.Epoch
	events := []step.Event{step.Started{}, besideSnapshot(normalRoutes()...), changed(ospf(c(1))), changed(ospf(c(1), hopB)),
		step.PortChanged{PortState: noCarrier("to-B")}, step.PortChanged{PortState: up("to-B")}, besideSnapshot()}
	for _, ev := range events {
		for _, ef := range w.Step(now, ev) {
			if want, ok := ef.(step.Want); ok && want.Object.Key().Kind != step.KindSysctl {
				t.Errorf("%s: %s", ev, ef)
			}
		}
	}
}

func TestWatcher_Engine_DownAndUp(t *testing.T) {
	w := NewWatcher(beside())
	s := watching(w)
	row := func() step.SessionRow { return w.View(s.Now).Sessions[0] }
	if r := row(); r.Peer != "frr" || r.State != "down" || r.Why != "not asked yet" {
		t.Errorf("%+v", r)
	}
	down := step.EngineState{Engine: "frr", Detail: "no socket /var/run/frr/zebra.vty: not installed, or not running"}
	for _, tt := range []struct {
		ev    step.EngineState
		note  string
		state string
	}{
		{down, whatEngineDown, "down"}, {down, "", "down"}, {step.EngineState{Engine: "frr", Running: true}, whatEngineUp, "up"},
		{step.EngineState{Engine: "frr", Running: true}, "", "up"}, {down, whatEngineDown, "down"},
	} {
		effects := s.Step(tt.ev)
		if got := summary(effects); got != "nothing" && got != " !"+tt.note || (got == "nothing") != (tt.note == "") {
			t.Errorf("%s: %s", tt.ev, got)
		}
		if r := row(); r.State != tt.state || r.Received != 5 || r.Why == "" {
			t.Errorf("%s: %+v", tt.ev, r)
		}
	}
	cfg := beside()
	cfg.Engine = ""
	if r := NewWatcher(cfg).View(s.Now).Sessions[0]; r.Peer != "kernel" || r.State != "up" {
		t.Errorf("%+v", r)
	}
}

func TestWatcher_ManyHosts_AreCountedAfterTheFirstFew(t *testing.T) {
	cfg := beside()
	cfg.Subnets = []netip.Prefix{netip.MustParsePrefix("10.10.0.0/16")}
	w := NewWatcher(cfg)
	s := watching(w)
	notes := 0
	count := func(effects []step.Effect) {
		for _, e := range effects {
			if n, ok := e.(step.Note); ok {
				notes++
				if notes == listMax+1 && (n.Hosts != 92 || !strings.Contains(n.Text, "92 hosts more learned through leaf A")) {
					t.Errorf("%+v", n)
				}
			}
		}
	}
	for i := range byte(100) {
		count(s.Step(changed(ospf(netip.AddrFrom4([4]byte{10, 10, 20, i}), hopA))))
	}
	count(s.Step(step.TimerFired{Timer: step.Timer{Kind: timerTell}}))
	if notes != listMax+1 {
		t.Errorf("%d notes", notes)
	}
}

// watcherStates puts host 10.10.10.1, whose primary is A, into each state.
func watcherStates() []named[[]step.Event] {
	return []named[[]step.Event]{
		{"never seen", nil},
		{"at A", []step.Event{changed(ospf(c(1), hopA))}},
		{"at B", []step.Event{changed(ospf(c(1), hopB))}},
		{"at both", []step.Event{changed(ospf(c(1), hopA, hopB))}},
		{"withdrawn by A", []step.Event{changed(ospf(c(1), hopA)), changed(ospf(c(1)))}},
		{"A lost", []step.Event{changed(ospf(c(1), hopA)), step.PortChanged{PortState: noCarrier("to-A")}}},
		{"by no leaf", []step.Event{changed(ospf(c(1), step.NextHop{Dev: "eth9", Via: addrB}))}},
	}
}

func TestWatcher_EveryStateOfAHostMeetsEveryEvent(t *testing.T) {
	ours, table, outside, net := ospf(c(1), hopA), ospf(c(1), hopA), ospf(netip.MustParseAddr("192.0.2.1"), hopA), ospf(c(1), hopA)
	ours.Ours, table.Table = true, 100
	net.Prefix = netip.MustParsePrefix("10.10.10.0/25")
	closed := up("to-A")
	closed.AdminUp = false
	events := []named[step.Event]{
		{"route to A", changed(ospf(c(1), hopA))},
		{"route to B", changed(ospf(c(1), hopB))},
		{"route to both", changed(ospf(c(1), hopA, hopB))},
		{"route to a stranger", changed(ospf(c(1), step.NextHop{Dev: "to-A", Via: addrB}))},
		{"route gone", changed(ospf(c(1)))},
		{"route to A without carrier", dead(ospf(c(1), hopA))},
		{"route of ours", changed(ours)},
		{"route of another table", changed(table)},
		{"route outside", changed(outside)},
		{"route of a subnet", changed(net)},
		{"port of A down", step.PortChanged{PortState: noCarrier("to-A")}},
		{"port of A closed", step.PortChanged{PortState: closed}},
		{"port of A up", step.PortChanged{PortState: up("to-A")}},
		{"other port", step.PortChanged{PortState: up("eth9")}},
		{"snapshot without it", besideSnapshot()},
		{"snapshot with B", besideSnapshot(ospf(c(1), hopB))},
		{"engine down", step.EngineState{Engine: "frr", Detail: "killed"}},
		{"arp", step.ARPSeen{}}, {"session", session(addrA)}, {"applied", step.Applied{}}, {"tell", step.TimerFired{}},
	}
	out := steptest.New(NewWatcher(beside()))
	for _, state := range watcherStates() {
		for _, ev := range events {
			w := NewWatcher(beside())
			s := steptest.New(w)
			for _, first := range append([]step.Event{step.Started{}, besideSnapshot()}, state.v...) {
				s.Step(first)
			}
			s.Pass(time.Second)
			s.Step(step.TimerFired{})
			effects := s.Step(ev.v)
			at := "unknown"
			if v := w.View(s.Now); len(v.Hosts) > 0 {
				at = fmt.Sprintf("%s %s", v.Hosts[0].State, v.Hosts[0].Leaf)
			}
			m := w.View(s.Now).Mapping
			out.Comment("%s, %s: %s; A1 %s/%s, B1 %s/%s; %s", state.name, ev.name, at, m[0].Uplink, m[0].Downlink, m[1].Uplink, m[1].Downlink, summary(effects))
		}
	}
	out.Golden(t, "watcher-product")
}
