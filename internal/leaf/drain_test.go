package leaf

import (
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
)

// drainable is fig7A with a bound.
func drainable() Config {
	cfg := fig7A()
	cfg.DrainMax = 10 * time.Second
	return cfg
}

// asksOpen is the question of a server whether the leaf is open.
func asksOpen(port model.Port, i int) step.ARPSeen {
	return step.ARPSeen{Port: port, Op: step.ARPRequest, SrcMAC: macOf(i), SenderMAC: macOf(i), SenderIP: ip("0.0.0.0"), TargetIP: gwAddr}
}

func asksGateway(port model.Port, i int) step.ARPSeen {
	e := asksOpen(port, i)
	e.SenderIP = addrOf(i)
	return e
}

func order(o step.Order) step.Commanded { return step.Commanded{Order: o} }

// holds makes every host of a port answer its probes for as long as the function runs.
func (w *world) holds(d time.Duration, hosts map[model.Port]int) {
	for range int(d / (500 * time.Millisecond)) {
		w.pass(500 * time.Millisecond)
		for _, p := range []model.Port{"A1", "A2", "A3", "A4"} {
			if i, ok := hosts[p]; ok {
				w.do(reply(p, i))
			}
		}
	}
}

func (w *world) drained() *step.Drain { return w.m.View(w.Now).Drain }

func (w *world) fates() string {
	var out []string
	for _, r := range w.drained().Ports {
		out = append(out, string(r.Port)+" "+r.Fate)
	}
	return strings.Join(out, ", ")
}

func TestLeaf_Drain_ServersLeaveAndPortsCloseBehindThem(t *testing.T) {
	cfg := small()
	cfg.DrainMax = 10 * time.Second
	w := newWorld(t, cfg)
	w.open()
	w.do(garp("A2", 2))
	w.do(asksOpen("A2", 2))
	w.reset()
	w.Comment("the order: the kernel is told not to answer, everything is still forwarded")
	w.do(order(step.OrderDrain))
	w.Comment("who needs the gateway's address to send gets it; who asks whether the leaf is open gets nothing")
	w.do(asksGateway("A2", 2))
	w.do(asksOpen("A2", 2))
	w.Comment("the server has moved: the other leaf has a newer claim, and the host is silent here")
	w.pass(300 * time.Millisecond)
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_990_000_000_000)}})
	w.pass(200 * time.Millisecond)
	if v := w.drained(); v.State != "drained" {
		t.Fatalf("%+v", v)
	}
	w.Comment("back")
	w.do(order(step.OrderUndrain))
	w.pass(time.Second)
	if v := w.drained(); v.State != "serving" || !w.m.down("A2").serving {
		t.Fatalf("%+v", v)
	}
	w.Golden(t, "drain")
}

func TestLeaf_Drain_WhoDoesNotMoveIsCutOnlyIfHeHasAnotherLink(t *testing.T) {
	cfg := drainable()
	cfg.Downlinks[3].Single = true
	w := newWorld(t, cfg)
	w.open()
	hosts := map[model.Port]int{"A1": 1, "A2": 2}
	w.do(garp("A1", 1)) // a bond
	w.do(garp("A2", 2)) // a server whose other link is broken
	w.do(asksOpen("A2", 2))
	if got := w.fates(); got != "A1 cut, A2 moves, A3 none, A4 none" {
		t.Fatal(got)
	}
	w.do(order(step.OrderDrain))
	w.holds(cfg.DrainMax-time.Second, hosts)
	if got := w.closedPorts(); !slices.Equal(got, []model.Port{"A3", "A4"}) {
		t.Fatalf("before the bound %v are closed", got)
	}
	w.holds(2*time.Second, hosts)
	if got := w.closedPorts(); !slices.Equal(got, []model.Port{"A1", "A3", "A4"}) {
		t.Fatalf("after the bound %v are closed", got)
	}
	v := w.drained()
	if v.State != "stuck" || w.fates() != "A1 none, A2 stays, A3 none, A4 none" || !w.m.down("A2").serving {
		t.Fatalf("%+v", v)
	}
	w.do(step.Commanded{Order: step.OrderDrain, Force: true})
	if v := w.drained(); v.State != "drained" || len(w.closedPorts()) != 4 {
		t.Fatalf("by force: %+v", v)
	}
}

func (w *world) closedPorts() []model.Port {
	var out []model.Port
	for _, d := range w.m.downs {
		if d.gate.Ours() {
			out = append(out, d.Port)
		}
	}
	return out
}

func TestLeaf_Drain_SingleHomed_IsRefusedByName(t *testing.T) {
	cfg := drainable()
	cfg.Downlinks[3].Single = true
	w := newWorld(t, cfg)
	w.open()
	w.do(garp("A4", 4))
	w.do(order(step.OrderDrain))
	v := w.drained()
	if v.State != "serving" || !strings.Contains(v.Refused, "A4 (C4): 10.10.10.4") || len(w.closedPorts()) != 0 {
		t.Fatalf("%+v", v)
	}
	w.do(step.Commanded{Order: step.OrderDrain, Force: true})
	if v := w.drained(); v.State != "draining" || v.Refused != "" {
		t.Fatalf("%+v", v)
	}
	w.holds(cfg.DrainMax+time.Second, map[model.Port]int{"A4": 4})
	if v := w.drained(); v.State != "drained" {
		t.Fatalf("%+v", v)
	}
}

// A drain outlives whatever else happens: only an order ends it.
func TestLeaf_Drain_NothingElseEndsIt(t *testing.T) {
	u := Uplink{Port: "A0", Neighbor: upper}
	happenings := []struct {
		name string
		do   func(*world)
	}{
		{"the uplink goes and comes", func(w *world) {
			w.port("A0", carrier(false))
			w.pass(time.Second)
			w.port("A0", carrier(true))
			w.gatewayUp(u)
			w.pass(10 * time.Second)
		}},
		{"the operator opens a port once", func(w *world) { w.port("A2", admin(true)) }},
		{"a device is made anew", func(w *world) {
			w.port("A2", func(s *step.PortState) { *s = step.PortState{Port: "A2"} })
			w.port("A2", func(s *step.PortState) {
				*s = step.PortState{Port: "A2", Index: 99, Present: true, AdminUp: true, Carrier: true, MAC: vmac}
			})
		}},
		{"netlink lost messages", func(w *world) {
			s := w.snapshot()
			s.Neighbors = []step.NeighborState{resolved(u)}
			w.do(s)
		}},
		{"the order is repeated", func(w *world) { w.do(order(step.OrderDrain)) }},
	}
	for _, h := range happenings {
		t.Run(h.name, func(t *testing.T) {
			w := newWorld(t, drainable())
			w.open()
			w.do(order(step.OrderDrain))
			h.do(w)
			if got := w.closedPorts(); len(got) != 4 || w.drained().State != "drained" {
				t.Fatalf("closed %v, %s", got, w.drained().State)
			}
			w.do(order(step.OrderUndrain))
			w.pass(time.Minute)
			if got := w.closedPorts(); len(got) != 0 {
				t.Fatalf("after undrain closed %v", got)
			}
		})
	}
}

func TestLeaf_Drain_Restart_GoesOn(t *testing.T) {
	cfg := drainable()
	cfg.Drained = &Drained{}
	w := newWorld(t, cfg)
	for _, p := range []model.Port{"A2", "A3", "A4"} {
		w.ports[p] = step.PortState{Port: p, Index: w.ports[p].Index, Present: true, Ours: true}
	}
	w.do(step.Started{})
	w.do(w.snapshot())
	w.gatewayUp(Uplink{Port: "A0", Neighbor: upper})
	w.pass(time.Minute)
	if got := w.closedPorts(); len(got) != 4 || w.drained().State != "drained" {
		t.Fatalf("closed %v, %+v", got, w.drained())
	}
	if _, asked := w.held[step.Key{Kind: step.KindMemo, Name: DrainMemo}]; asked {
		t.Fatal("written down again without an order")
	}
	w.do(order(step.OrderUndrain))
	w.pass(time.Second)
	if got := w.closedPorts(); len(got) != 0 {
		t.Fatalf("after undrain closed %v", got)
	}
}

// While the leaf cannot forward, undrain opens nothing: linkage does when it can.
func TestLeaf_Undrain_WhileUplinkDown_LinkageHoldsThePorts(t *testing.T) {
	w := newWorld(t, drainable())
	w.open()
	w.do(order(step.OrderDrain))
	w.port("A0", carrier(false))
	w.do(order(step.OrderUndrain))
	if got := w.closedPorts(); len(got) != 4 || w.m.groups[0].State != linkage.Shutdown {
		t.Fatalf("closed %v", got)
	}
	w.port("A0", carrier(true))
	w.gatewayUp(Uplink{Port: "A0", Neighbor: upper})
	w.pass(10 * time.Second)
	if got := w.closedPorts(); len(got) != 0 {
		t.Fatalf("closed %v", got)
	}
}

func TestLeaf_Drain_OperatorsPort_IsLeftToHim(t *testing.T) {
	w := newWorld(t, drainable())
	w.open()
	w.port("A3", admin(false))
	w.do(order(step.OrderDrain))
	w.do(order(step.OrderUndrain))
	w.pass(time.Second)
	if w.ports["A3"].AdminUp {
		t.Fatal("opened a port that the operator closed")
	}
}
