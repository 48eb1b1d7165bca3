package server

import (
	"testing"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// parting is a leaf's word that it is about to close the port.
func parting(port model.Port) step.ARPSeen {
	e := answer(port)
	e.Op = step.ARPNak
	return e
}

func TestServer_LeafIsAboutToClose_MovesAtOnce(t *testing.T) {
	s := started(t)
	s.Comment("the leaf of the primary says so, and closes the port a moment later")
	s.answers["eth0"] = false
	s.do(parting("eth0"))
	if s.active() != model.Backup {
		t.Fatalf("stays: %v", s.moves)
	}
	s.run(2 * time.Millisecond)
	s.do(step.PortChanged{PortState: member("eth0", "br0", false)})
	s.run(30 * time.Millisecond)
	s.Golden(t, "parting")
}

func TestServer_LeafIsAboutToClose_WhatIsNotItsWord(t *testing.T) {
	other := parting("eth0")
	other.TargetMAC = guestMAC
	stranger := parting("eth0")
	stranger.SenderMAC = guestMAC
	host := parting("eth0")
	host.SenderIP = host.SenderIP.Next()
	stack := parting("eth0")
	stack.TargetIP = gateway.Prev()
	for name, e := range map[string]step.ARPSeen{"to another": other, "from a stranger": stranger, "about a host": host, "to our stack": stack,
		"of the link that is not used": parting("eth1")} {
		s := started(t)
		if s.do(e); s.active() != model.Primary {
			t.Errorf("%s: moved: %v", name, s.moves)
		}
	}
}

// A guest that says so of itself is not learned.
func TestServer_PartingGuest_IsNotLearned(t *testing.T) {
	s := started(t)
	s.do(step.PortChanged{PortState: member("tap0", "br0", true)})
	e := guestARP("tap0", "10.10.10.50", guestMAC)
	e.Op = step.ARPNak
	s.do(e)
	if got := len(s.Machine.(*Machine).guests); got != 0 {
		t.Errorf("%d guests are learned", got)
	}
}

// Nobody moves to a leaf that does not answer, or says the same: it would be no better there.
func TestServer_BothLeavesAreAboutToClose_Stays(t *testing.T) {
	s := started(t)
	s.answers["eth0"], s.answers["eth1"] = false, false
	s.do(parting("eth1"))
	s.do(parting("eth0"))
	if s.active() != model.Primary {
		t.Fatalf("moved: %v", s.moves)
	}
	s.Comment("the other one speaks first")
	s.do(answer("eth1"))
	if s.active() != model.Backup {
		t.Fatalf("stays: %v", s.moves)
	}
}

// A leaf that changed its mind is open: it answers, and traffic returns as it always does.
func TestServer_LeafIsAboutToClose_AndDoesNot(t *testing.T) {
	s := started(t)
	s.do(parting("eth0"))
	began := s.Now.Mono
	s.within(t, 5*time.Second, model.Primary)
	if took := s.Now.Mono - began; took < bridgeConfig().FailBack.Stable {
		t.Errorf("returned after %s", took)
	}
}
