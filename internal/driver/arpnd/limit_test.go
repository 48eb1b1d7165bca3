package arpnd

import (
	"net/netip"
	"testing"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

func heard(i int) step.ARPSeen {
	mac := model.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
	addr := netip.AddrFrom4([4]byte{10, 10, byte(i >> 8), byte(i)})
	return step.ARPSeen{Port: "A1", Op: step.ARPReply, SrcMAC: mac, SenderMAC: mac, SenderIP: addr}
}

func TestThrottle_Flood_IsHeardAtItsPaceAndAnswersPass(t *testing.T) {
	var a asked
	th, start := newThrottle(&a), time.Now()
	events, notices, told := 0, 0, 0
	const perSecond, seconds = 50_000, 20
	for i := range perSecond * seconds {
		now := time.Duration(i) * time.Second / perSecond
		switch ev := th.admit(now, start.Add(now), "A1", heard(1000+i%5000)).(type) {
		case step.ARPSeen:
			events++
		case step.Flooded:
			notices++
			told += ev.Frames
		}
		if i%perSecond != perSecond/2 { // once a second we ask a host that answers in the middle of it
			continue
		}
		q := heard(7)
		a.ask(start.Add(now), &step.SendARP{Port: "A1", Op: step.ARPRequest, TargetIP: q.SenderIP, TargetMAC: q.SenderMAC})
		forged := q
		forged.SenderMAC = model.MAC{2, 9, 9, 9, 9, 9}
		if th.asked.answered(start.Add(now), forged) {
			t.Fatal("another's answer took the place of the one that was asked")
		}
		if _, ok := th.admit(now, start.Add(now), "A1", q).(step.ARPSeen); !ok {
			t.Fatalf("second %d: the answer to our question was lost in the flood", i/perSecond)
		}
		if th.asked.answered(start.Add(now), q) {
			t.Fatal("one question was answered twice")
		}
		nak := heard(9)
		nak.Op = step.ARPNak
		if _, ok := th.admit(now, start.Add(now), "A1", nak).(step.ARPSeen); !ok {
			t.Fatalf("second %d: the word that the port closes was lost in the flood", i/perSecond)
		}
	}
	if limit := arpBurst + arpPerSecond*seconds; events > limit || events < limit*9/10 {
		t.Errorf("%d events, want about %d", events, limit)
	}
	if notices < seconds-2 || notices > seconds+1 || told < perSecond*seconds-arpBurst-arpPerSecond*seconds-perSecond-1 {
		t.Errorf("%d notices of %d frames", notices, told)
	}
}

func TestThrottle_FloodOfNaks_IsHeardAtItsPace(t *testing.T) {
	var a asked
	th, start, events := newThrottle(&a), time.Now(), 0
	nak := heard(9)
	nak.Op = step.ARPNak
	for range 100_000 {
		if _, ok := th.admit(0, start, "A1", nak).(step.ARPSeen); ok {
			events++
		}
	}
	if events > arpBurst+naksPerSecond {
		t.Errorf("%d events", events)
	}
}

func TestThrottle_ManyGuestsAnnouncedAtOnce_AreAllHeard(t *testing.T) {
	var a asked
	th, start := newThrottle(&a), time.Now()
	for i := range arpBurst {
		if _, ok := th.admit(0, start, "A1", heard(i)).(step.ARPSeen); !ok {
			t.Fatalf("announcement %d is lost", i)
		}
	}
}

func TestThrottle_PortOfManyHosts_MayAnnounceThemAll(t *testing.T) {
	var a asked
	const hosts = 50_000
	a.hosts.Store(hosts)
	th, start := newThrottle(&a), time.Now()
	for i := range 2 * hosts { // and again
		if _, ok := th.admit(0, start, "A1", heard(i)).(step.ARPSeen); !ok {
			t.Fatalf("announcement %d is lost", i)
		}
	}
}

func TestAsked_Memory_IsBounded(t *testing.T) {
	var a asked
	now := time.Now()
	for i := range 3 * askedMax {
		a.ask(now, &step.SendARP{Op: step.ARPRequest, TargetIP: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})})
		a.ask(now, &step.SendARP{Op: step.ARPReply, TargetIP: netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})})
		if len(a.open) > askedMax {
			t.Fatalf("%d questions", len(a.open))
		}
	}
	late := heard(7)
	a.ask(now, &step.SendARP{Op: step.ARPRequest, TargetIP: late.SenderIP})
	if a.answered(now.Add(askedFor+1), late) {
		t.Error("an answer out of time passed")
	}
}
