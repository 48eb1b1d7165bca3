package server

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

func TestServer_ManyGuests_AreAnnouncedInPortionsAndNotOnADeadLink(t *testing.T) {
	const guests = 500
	s := started(t, member("tap0", "br0", true))
	m := s.Machine.(*Machine)
	for i := range guests {
		addr := netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})
		m.Step(s.Now, step.ARPSeen{Port: "tap0", Op: step.ARPRequest, SrcMAC: guestMAC, SenderMAC: guestMAC, SenderIP: addr})
	}
	count := func(out []step.Effect) (all, urgent int) {
		for _, e := range out {
			if a, ok := e.(step.SendARP); ok && a.SenderIP == a.TargetIP {
				all++
				if a.Urgent {
					urgent++
				}
			}
		}
		return all, urgent
	}
	sent, urgent := count(m.Step(s.Now, step.PortChanged{PortState: member("eth0", "br0", false)}))
	if sent != urgentMax || urgent != urgentMax {
		t.Fatalf("%d announcements at once, %d of them urgent, want %d", sent, urgent, urgentMax)
	}
	for range 3 {
		n, _ := count(m.Step(s.Now, step.TimerFired{Timer: step.Timer{Kind: timerMore}}))
		if sent += n; n > portion {
			t.Fatalf("%d announcements in one portion", n)
		}
	}
	if want := urgentMax + 3*portion; sent != want {
		t.Fatalf("%d announced after three portions, want %d", sent, want)
	}
	m.Step(s.Now, step.PortChanged{PortState: member("eth1", "br0", false)})
	if n, _ := count(m.Step(s.Now, step.TimerFired{Timer: step.Timer{Kind: timerMore}})); n != 0 {
		t.Fatalf("%d announced on a link that is down", n)
	}
}

// A round keeps its place while guests come, go and speak: everybody is told once, those that gave a sign lately first, and who has left is not.
func TestServer_RoundOfManyGuests_TellsEverybodyOnce(t *testing.T) {
	const guests = 3000
	cfg := bridgeConfig()
	cfg.MaxGuests = 2 * guests
	s := startedWith(t, cfg, member("tap0", "br0", true))
	m := s.Machine.(*Machine)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)}) }
	hear := func(i int) {
		m.Step(s.Now, step.ARPSeen{Port: "tap0", Op: step.ARPRequest, SrcMAC: guestMAC, SenderMAC: guestMAC, SenderIP: addr(i)})
	}
	for i := range guests {
		hear(i)
	}
	s.Now = s.Now.Add(2 * lately)
	for i := 0; i < guests; i += 3 {
		hear(i) // lately
	}
	told, asked := map[netip.Addr]int{}, map[netip.Addr]int{}
	count := func(out []step.Effect) (n int) {
		for _, e := range out {
			a, ok := e.(step.SendARP)
			switch {
			case !ok || a.TargetIP == gateway:
				continue
			case a.SenderIP == a.TargetIP:
				told[a.TargetIP]++
				if len(asked) > 0 && a.TargetIP != addr(1) && a.TargetIP != addr(4) {
					t.Fatalf("%s is announced after others were asked", a.TargetIP)
				}
			default:
				asked[a.TargetIP]++
			}
			n++
		}
		return n
	}
	if n := count(m.Step(s.Now, step.PortChanged{PortState: member("eth0", "br0", false)})); n != urgentMax {
		t.Fatalf("%d at once", n)
	}
	for i := 0; m.round.running; i++ {
		if i == 2 {
			hear(1)
			m.drop(m.guestFrom(addr(2)), "left")
		}
		if len(asked) > 0 && told[addr(4)] == 0 {
			hear(4)
		}
		s.Now = s.Now.Add(portionPause)
		if n := count(m.Step(s.Now, step.TimerFired{Timer: step.Timer{Kind: timerMore}})); n > portion {
			t.Fatalf("%d in one portion", n)
		}
	}
	if told[addr(2)]+asked[addr(2)] != 0 || len(told)+len(asked) != guests { // with our own address, without the one that left
		t.Errorf("%d are announced and %d asked, of %d; the one that left: %d, %d", len(told), len(asked), guests, told[addr(2)], asked[addr(2)])
	}
	for i := range guests {
		if n := told[addr(i)] + asked[addr(i)]; i != 2 && n != 1 {
			t.Errorf("guest %d is told %d times", i, n)
		}
	}
}

// What a failover waits for does not grow with the guests.
func BenchmarkServer_LinkFails(b *testing.B) {
	for _, guests := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint(guests), func(b *testing.B) {
			cfg := bridgeConfig()
			cfg.MaxGuests = guests
			s := newStory(cfg)
			s.answers["eth0"], s.answers["eth1"] = true, true
			s.begin(world(true, true, member("tap0", "br0", true)))
			s.run(time.Second)
			m := s.Machine.(*Machine)
			for i := range guests {
				m.Step(s.Now, step.ARPSeen{Port: "tap0", Op: step.ARPRequest, SrcMAC: guestMAC, SenderMAC: guestMAC,
					SenderIP: netip.AddrFrom4([4]byte{10, byte(20 + i>>16), byte(i >> 8), byte(i)})})
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				failing := model.Port("eth0") // and then the other one, to which it has moved
				if i%2 == 1 {
					failing = "eth1"
				}
				m.Step(s.Now, step.PortChanged{PortState: member(failing, "br0", false)})
				b.StopTimer()
				m.Step(s.Now, step.PortChanged{PortState: member(failing, "br0", true)})
				b.StartTimer()
			}
		})
	}
}
