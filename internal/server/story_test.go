package server

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
	"peerless/internal/step/steptest"
)

var (
	hostMAC    = model.MAC{0x02, 0, 0, 0, 0, 0x02}
	gatewayMAC = model.MAC{0x02, 0, 0x5e, 0, 0, 0x01}
	guestMAC   = model.MAC{0x02, 0, 0, 0, 0x10, 0x01}
	gateway    = netip.MustParseAddr("10.10.10.254")
)

func bridgeConfig() Config {
	return Config{
		Name: "C2", Device: "br0", Primary: "eth0", Backup: "eth1", Gateway: gateway, GatewayMAC: gatewayMAC,
		FailBack: FailBack{Stable: 3 * time.Second},
		Announce: []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond},
		Settle:   10 * time.Millisecond, Probe: 100 * time.Millisecond, Leaf: Probe{Interval: 100 * time.Millisecond, Multiplier: 3},
	}
}

func bondConfig() Config {
	c := bridgeConfig()
	c.Device, c.GatewayMAC = "bond0", model.MAC{}
	return c
}

func dev(name model.Port, kind string) step.PortState {
	return step.PortState{Port: name, Index: 10, Present: true, AdminUp: true, Carrier: true, MAC: hostMAC, Kind: kind}
}

func member(name, master model.Port, up bool) step.PortState {
	index := map[model.Port]int{"eth0": 2, "eth1": 3, "tap0": 4, "tap1": 5}[name]
	return step.PortState{Port: name, Index: index, Present: true, AdminUp: true, Carrier: up, MAC: hostMAC, Master: master, Kind: "veth"}
}

func own(device model.Port, prefix string) step.Address {
	return step.Address{Port: device, Prefix: netip.MustParsePrefix(prefix)}
}

// world is what a story's kernel looks like at start: the bridge with both links in the given state.
func world(primaryUp, backupUp bool, more ...step.PortState) step.Snapshot {
	return step.Snapshot{
		Reason:    "start",
		Ports:     append([]step.PortState{dev("br0", kindBridge), member("eth0", "br0", primaryUp), member("eth1", "br0", backupUp)}, more...),
		Addresses: []step.Address{own("br0", "10.10.10.2/24"), own("br0", "169.254.7.7/16"), own("lo", "127.0.0.1/8"), own("eth9", "192.0.2.1/24")},
	}
}

func answer(port model.Port) step.ARPSeen {
	return step.ARPSeen{Port: port, Op: step.ARPReply, SrcMAC: gatewayMAC, SenderMAC: gatewayMAC, SenderIP: gateway, TargetMAC: hostMAC,
		TargetIP: netip.IPv4Unspecified()}
}

func guestARP(port model.Port, addr string, mac model.MAC) step.ARPSeen {
	return step.ARPSeen{Port: port, Op: step.ARPRequest, SrcMAC: mac, SenderMAC: mac, SenderIP: netip.MustParseAddr(addr), TargetIP: gateway}
}

// story drives a machine with timers that fire by themselves and wants that are applied at once.
type story struct {
	*steptest.Transcript
	timers  []step.Arm
	answers map[model.Port]bool // ports whose leaf answers probes
	deaf    map[model.Port]bool // ports whose leaf forwards nothing, up or down
	stray   bool                // the answers of what lies beyond get lost
	down    model.Port          // by which traffic comes down: the newest announcement
	moves   []string            // what the machine told of links and moves, in short
	sent    []step.SendARP      // questions to guests and announcements, until drained
}

func newStory(cfg Config) *story {
	return &story{Transcript: steptest.New(New(cfg)), answers: map[model.Port]bool{}, deaf: map[model.Port]bool{}}
}

func (s *story) do(ev step.Event) []step.Effect {
	effects := s.Step(ev)
	for _, ef := range effects {
		switch ef := ef.(type) {
		case step.Arm:
			s.stop(ef.Timer)
			s.timers = append(s.timers, ef)
		case step.Disarm:
			s.stop(ef.Timer)
		}
	}
	for _, ef := range effects {
		switch ef := ef.(type) {
		case step.Want:
			if ef.Cause != 0 { // the others say nothing
				s.do(step.Applied{Want: ef})
			}
		case step.SendARP:
			s.sent = append(s.sent, ef)
			switch {
			case ef.SenderIP == ef.TargetIP:
				s.down = ef.Port
			case s.answers[ef.Port]:
				s.do(answer(ef.Port))
			}
		case step.SendEcho:
			if !s.stray && !s.deaf[ef.Port] && !s.deaf[s.down] && s.answers[ef.Port] {
				s.do(step.EchoSeen{Port: s.down, From: ef.To, To: ef.From, Ident: ef.Ident, Seq: ef.Seq})
			}
		case step.Note:
			s.moves = append(s.moves, fmt.Sprintf("%s %s", ef.What, ef.Port))
		}
	}
	return effects
}

// drain gives what was sent since the last call.
func (s *story) drain() []step.SendARP {
	out := s.sent
	s.sent = nil
	return out
}

func (s *story) stop(t step.Timer) {
	for i := range s.timers {
		if s.timers[i].Timer == t {
			s.timers = append(s.timers[:i], s.timers[i+1:]...)
			return
		}
	}
}

// run lets time go by, firing what is due.
func (s *story) run(d time.Duration) {
	end := s.Now.Add(d)
	for {
		next := -1
		for i, a := range s.timers {
			if a.At <= end.Mono && (next < 0 || a.At < s.timers[next].At) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		a := s.timers[next]
		s.stop(a.Timer)
		if wait := a.At - s.Now.Mono; wait > 0 {
			s.Pass(wait)
		}
		s.do(step.TimerFired{Timer: a.Timer})
	}
	s.Now = end
}

func (s *story) link(name model.Port, up bool) {
	s.do(step.PortChanged{PortState: member(name, "br0", up)})
}

func (s *story) begin(snap step.Snapshot) {
	s.do(step.Started{})
	s.do(snap)
}

// started is a story in which the primary is in use and both leaves answer; what came before is not recorded.
func started(t *testing.T, more ...step.PortState) *story {
	t.Helper()
	return startedWith(t, bridgeConfig(), more...)
}

func startedWith(t *testing.T, cfg Config, more ...step.PortState) *story {
	t.Helper()
	s := newStory(cfg)
	s.answers["eth0"], s.answers["eth1"] = true, true
	s.begin(world(true, true, more...))
	s.run(time.Second)
	m := s.Machine.(*Machine)
	if m.pair.Active() != model.Primary || m.pair.Target() != model.RoleUnknown {
		t.Fatalf("not settled on the primary: %v", m.View(s.Now))
	}
	fresh := &story{Transcript: steptest.New(m), timers: s.timers, answers: s.answers, deaf: s.deaf, down: s.down}
	fresh.Now = s.Now
	return fresh
}
