package gateway

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

const probePace = 100 * time.Millisecond

var leafMAC = model.MAC{0x02, 0, 0, 0, 1, 1}

// asking is static() without any routing protocol, with probes.
func asking() Config {
	cfg := static()
	cfg.NoBGP, cfg.LeafProbe = true, Probe{Interval: probePace, Multiplier: 3}
	cfg.Attachments = []Attachment{{ID: 5, Primary: LeafEnd{Leaf: "A", Index: 1}, Backup: LeafEnd{Leaf: "B", Index: 2}}}
	return cfg
}

func withMAC(st step.PortState) step.PortState {
	st.MAC = model.MAC{0x02, 0, 0, 0, 0, byte(st.Index)}
	return st
}

// linked is a snapshot with our addresses on both links.
func (k *kernel) linked(reason string) step.Snapshot {
	s := k.snapshot(reason, withMAC(up("to-A")), withMAC(up("to-B")))
	s.Addresses = []step.Address{
		{Port: "to-A", Prefix: netip.MustParsePrefix("172.31.1.1/30")}, {Port: "to-B", Prefix: netip.MustParsePrefix("172.31.2.1/30")},
	}
	return s
}

func answer(port model.Port, addr netip.Addr) step.ARPSeen {
	return step.ARPSeen{Port: port, Op: step.ARPReply, SrcMAC: leafMAC, SenderMAC: leafMAC, SenderIP: addr}
}

// answered lets intervals go by in which all of these answers come.
func (k *kernel) answered(intervals int, answers ...step.ARPSeen) {
	for range intervals {
		for _, a := range answers {
			k.step(a)
		}
		k.wait(probePace)
	}
}

var bothAlive = []step.ARPSeen{answer("to-A", addrA), answer("to-B", addrB)}

func TestGateway_StaticHost_FollowsTheLeafThatAnswersForIt(t *testing.T) {
	s := newStory(asking())
	s.tell(step.Started{}, s.linked("start"))
	s.tell(bothAlive[0], bothAlive[1], answer("to-A", c(200)), answer("to-B", c(201)))
	s.mapping()
	s.answered(5, append(bothAlive, answer("to-A", c(200)), answer("to-B", c(201)))...)
	s.t.Comment("the server's link to A fails: A answers no more for it, B does")
	s.tell(answer("to-B", c(200)))
	s.wantLookup(t, c(200), "to-A")
	s.answered(2, append(bothAlive, answer("to-B", c(200)), answer("to-B", c(201)))...)
	s.tell(bothAlive[0], bothAlive[1], answer("to-B", c(200)))
	s.later(2 * probePace)
	s.wantLookup(t, c(200), "to-B")
	s.mapping()
	s.t.Comment("it returns to A, which answers again")
	s.tell(bothAlive[0], bothAlive[1], answer("to-A", c(200)))
	s.wantLookup(t, c(200), "to-A")
	s.mapping()
	s.t.Golden(t, "static-answers")
}

func TestGateway_StaticHost_LeavesASilentLeaf(t *testing.T) {
	s := newStory(asking())
	s.tell(step.Started{}, s.linked("start"))
	s.answered(3, bothAlive...)
	s.t.Comment("the link to A stays up, but nobody answers there")
	for range 4 {
		s.tell(bothAlive[1])
		s.later(probePace)
	}
	s.wantLookup(t, c(200), "to-B")
	s.wantLookup(t, c(201), "to-B")
	if r := s.machine.View(s.now).Sessions[0]; r.State != "down" || r.Why != "it is silent to ARP" {
		t.Errorf("session row %+v", r)
	}
	s.tell(bothAlive[0])
	s.wantLookup(t, c(200), "to-A")
	s.t.Golden(t, "static-silent")
}

// Nothing is proven where we cannot ask, or where nobody ever answers for hosts: foreign leaves need not.
func TestGateway_StaticHost_StaysWithoutEvidence(t *testing.T) {
	for _, tt := range []struct {
		name     string
		snapshot func(*kernel) step.Snapshot
		answers  []step.ARPSeen
		want     model.Port
	}{
		{"no address of ours on the links", func(k *kernel) step.Snapshot { return k.snapshot("start", withMAC(up("to-A")), withMAC(up("to-B"))) }, nil, "to-A"},
		{"leaves answer, and never for hosts", func(k *kernel) step.Snapshot { return k.linked("start") }, bothAlive, "to-A"},
		{"only the backup answers for the host", func(k *kernel) step.Snapshot { return k.linked("start") }, append(bothAlive[:2:2], answer("to-B", c(200))), "to-B"},
		{"both answer for the host", func(k *kernel) step.Snapshot { return k.linked("start") },
			append(bothAlive[:2:2], answer("to-B", c(200)), answer("to-A", c(200))), "to-A"},
		{"a request is no answer", func(k *kernel) step.Snapshot { return k.linked("start") },
			append(bothAlive[:2:2], step.ARPSeen{Port: "to-B", Op: step.ARPRequest, SenderIP: c(200), TargetIP: addrA}), "to-A"},
		{"an answer on another port", func(k *kernel) step.Snapshot { return k.linked("start") }, append(bothAlive[:2:2], answer("eth9", c(200))), "to-A"},
		{"both leaves silent: nothing forwards", func(k *kernel) step.Snapshot { return k.linked("start") }, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKernel(New(asking()))
			k.step(step.Started{}, tt.snapshot(k))
			k.answered(6, tt.answers...)
			k.wantLookup(t, c(200), tt.want)
		})
	}
}

func TestGateway_PauseOfOurs_IsNobodysSilence(t *testing.T) {
	k := newKernel(New(asking()))
	k.step(step.Started{}, k.linked("start"))
	k.answered(2, bothAlive...)
	for range 5 { // we wake up late again and again, before the answers are read
		k.now = k.now.Add(10 * probePace)
		k.step(step.TimerFired{Timer: step.Timer{Kind: timerProbe}})
	}
	if n := len(k.noted(whatLeafSilent)); n != 0 {
		t.Errorf("%d leaves called silent", n)
	}
}

func TestGateway_LinkOfStaticLeafReturns_WaitsForTheAnswer(t *testing.T) {
	k := newKernel(New(asking()))
	k.step(step.Started{}, k.linked("start"))
	k.answered(2, append(bothAlive[:2:2], answer("to-A", c(200)))...)
	k.step(step.PortChanged{PortState: withMAC(noCarrier("to-A"))})
	k.wantLookup(t, c(200), "to-B")
	k.step(answer("to-A", c(200))) // of before: packets and links are told of by different sockets
	k.answered(2, bothAlive[1], answer("to-B", c(200)))
	k.step(step.PortChanged{PortState: withMAC(up("to-A"))})
	k.wantLookup(t, c(200), "to-B")
	k.answered(6, append(bothAlive[:2:2], answer("to-B", c(200)))...)
	k.wantLookup(t, c(200), "to-B")
	k.step(answer("to-A", c(200)))
	k.wantLookup(t, c(200), "to-A")
}

func TestGateway_StaticRestart_KeepsTheBackupInUse(t *testing.T) {
	old := newKernel(New(asking()))
	old.step(step.Started{}, old.linked("start"))
	old.answered(3, append(bothAlive[:2:2], answer("to-B", c(200)))...)
	old.wantLookup(t, c(200), "to-B")
	k := newKernel(New(asking()))
	k.routes, k.rules = old.routes, old.rules
	k.watch = func() { k.wantLookup(t, c(200), "to-B") }
	k.step(step.Started{}, k.linked("start"))
	k.answered(5, append(bothAlive[:2:2], answer("to-B", c(200)))...)
	k.watch = nil
	if k.machine.restarting {
		t.Error("waits for leaves that never tell")
	}
	k.answered(1, append(bothAlive[:2:2], answer("to-A", c(200)))...)
	k.wantLookup(t, c(200), "to-A")
}

// Without BGP nothing is asked of a speaker that is not there.
func TestGateway_NoBGP_AsksNothingOfIt(t *testing.T) {
	k := newKernel(New(asking()))
	k.step(step.Started{}, k.linked("start"))
	k.step(step.PortChanged{PortState: noCarrier("to-A")}, step.PortChanged{PortState: withMAC(up("to-A"))})
	k.wait(time.Minute)
	if k.resets != 0 {
		t.Errorf("%d sessions reset", k.resets)
	}
	v := k.machine.View(k.now)
	if len(v.Sessions) != 2 || !strings.HasSuffix(v.Sessions[0].Name, "(arp)") {
		t.Errorf("sessions %+v", v.Sessions)
	}
	if r := v.Mapping[0]; r.LeafPort != "A1" || r.Role != "primary" || r.ServerPort != "5" {
		t.Errorf("mapping row %+v", r)
	}
}

func TestProber_ManyHosts_AreAskedMoreSlowly(t *testing.T) {
	cfg := asking()
	for i := range 100 {
		cfg.Static = append(cfg.Static, StaticHost{Addr: c(byte(i + 1)), Primary: StaticHop{Leaf: "A"}, Backup: StaticHop{Leaf: "B"}})
	}
	if every := New(cfg).probe.every; every != 206*time.Millisecond {
		t.Errorf("asks every %s", every)
	}
}
