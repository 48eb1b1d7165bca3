package gateway

import (
	"slices"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// foretold is what leaf A says by ARP of an attachment.
func foretold(id model.AttachmentID, s claim.State, r claim.Reason) step.ARPSeen {
	p, _ := claim.Prefix(attach, id)
	return step.ARPSeen{Port: "to-A", Op: step.ARPNak, SenderIP: addrA, TargetMAC: claim.Foretold(s, r), TargetIP: p.Addr()}
}

func carrierLost(id model.AttachmentID) step.ARPSeen {
	return foretold(id, claim.Down, claim.ReasonCarrierLost)
}

func TestGateway_PortLossByARP_MovesAsTheAnnouncementWould(t *testing.T) {
	s := running(fig7())
	s.t.Comment("C2-A2 goes down: the leaf says so by ARP")
	s.tell(carrierLost(2))
	s.mapping()
	s.later(400 * time.Microsecond)
	s.t.Comment("and announces it")
	s.tell(paths(addrA, attachment(addrA, 2, claim.Down, claim.ReasonCarrierLost)), paths(addrA, noHost(c(2))))
	s.later(5 * time.Second)
	s.t.Golden(t, "foretold")
}

func TestGateway_PortLossByARP_OpensTheBypassOnce(t *testing.T) {
	k, _ := laid(t)
	k.step(carrierLost(1))
	for i := byte(11); i <= 14; i++ {
		k.wantLookup(t, c(i), "to-B")
	}
	k.wantLookup(t, c(21), "to-A")
	k.step(portDown(1))
	k.wait(liveness.Respite(4) + 2*time.Second)
	for i := byte(11); i <= 14; i++ {
		k.wantLookup(t, c(i), "to-B")
	}
	if len(k.noted(whatFault)) != 1 || len(k.noted(whatNotAnnounced)) != 0 {
		t.Errorf("%d faults are told, and %d that were not announced", len(k.noted(whatFault)), len(k.noted(whatNotAnnounced)))
	}
}

// A claim that was under way when the port was lost comes between the two, and speaks for nothing that is up again.
func TestGateway_PortLossByARP_AClaimUnderWayMovesNobodyBack(t *testing.T) {
	k, _ := laid(t)
	k.step(carrierLost(1))
	k.step(paths(addrA, hostUnder(addrA, c(11), 1, 500)))
	k.step(portDown(1))
	k.wantLookup(t, c(11), "to-B")
}

func TestGateway_PortLossByARP_NotAnnounced_IsTakenBack(t *testing.T) {
	k, _ := laid(t)
	k.step(carrierLost(1))
	k.wait(foretoldFor + time.Second)
	for i := byte(11); i <= 14; i++ {
		k.wantLookup(t, c(i), "to-A")
	}
	if len(k.noted(whatNotAnnounced)) != 1 {
		t.Error("nobody is told")
	}
}

// A leaf that dies with its word on its lips is believed until it can say something else.
func TestGateway_PortLossByARP_SessionEnds_Stands(t *testing.T) {
	k, hosts := laid(t)
	k.step(carrierLost(1), gone(addrA, step.ReasonReset))
	k.wait(foretoldFor + time.Second)
	k.wantLookup(t, c(11), "to-B")
	k.step(session(addrA), paths(addrA, allUp(addrA)...), paths(addrA, hosts...), step.EndOfRIB{Peer: addrA})
	k.wait(time.Second)
	k.wantLookup(t, c(11), "to-A")
}

func TestGateway_PortLossByARP_IsBelievedOnlyWhereItCanBeTrue(t *testing.T) {
	with := func(change func(*step.ARPSeen)) step.ARPSeen {
		e := carrierLost(1)
		change(&e)
		return e
	}
	other, _ := claim.Prefix(attach, 9)
	tests := []struct {
		name   string
		before []step.Event
		word   step.ARPSeen
	}{
		{"it is up", nil, foretold(1, claim.Up, claim.ReasonReady)},
		{"it is drained", nil, foretold(1, claim.Closed, claim.ReasonDrain)},
		{"a MAC in the place of the word", nil, with(func(e *step.ARPSeen) { e.TargetMAC = model.MAC{2, 0, 0, 0, 2, 2} })},
		{"nothing in that place", nil, with(func(e *step.ARPSeen) { e.TargetMAC = model.MAC{} })},
		{"another leaf's port", nil, with(func(e *step.ARPSeen) { e.Port = "to-B" })},
		{"nobody's address", nil, with(func(e *step.ARPSeen) { e.SenderIP = c(99) })},
		{"a host", nil, with(func(e *step.ARPSeen) { e.TargetIP = c(11) })},
		{"an attachment that is not announced", nil, with(func(e *step.ARPSeen) { e.TargetIP = other.Addr() })},
		{"number 0", nil, with(func(e *step.ARPSeen) { e.TargetIP = attach.Addr() })},
		{"no session", []step.Event{gone(addrA, step.ReasonReset)}, carrierLost(1)},
		{"announced as up just now", []step.Event{portDown(1), paths(addrA, attachment(addrA, 1, claim.Up, claim.ReasonReady))}, carrierLost(1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, _ := laid(t)
			k.step(tt.before...)
			k.pending = nil
			before := len(k.notes)
			k.hold = true
			k.step(tt.word)
			if len(k.pending) > 0 || len(k.notes) > before || slices.ContainsFunc(k.timers, func(a step.Arm) bool { return a.Timer.Kind == timerWord }) {
				t.Errorf("asks for %v, tells %v", k.pending, k.notes[before:])
			}
		})
	}
}
