package gateway

import (
	"testing"
	"time"

	"peerless/internal/liveness"
	"peerless/internal/step"
)

const ms = time.Millisecond

func withBFD() Config {
	cfg := fig7()
	cfg.BFD = Probe{Interval: 100 * ms, Multiplier: 3}
	return cfg
}

// detecting is fig7 in its normal state, with BFD up on both links.
func detecting(t *testing.T, extra ...step.Event) *story {
	t.Helper()
	s := newStory(withBFD())
	s.step(step.Started{}, s.linked("start"))
	s.step(normal()...)
	s.step(extra...)
	s.step(bfd("to-A", true), bfd("to-B", true))
	s.wantLookup(t, c(1), "to-A")
	s.wantLookup(t, c(3), "to-B")
	return s
}

func bfd(port string, up bool) step.BFDChanged {
	ev := step.BFDChanged{Port: "to-A", Peer: addrA, Up: up}
	if port == "to-B" {
		ev.Port, ev.Peer = "to-B", addrB
	}
	if up {
		ev.Detect = 300 * ms
	} else {
		ev.Diag = "control detection time expired"
	}
	return ev
}

// The path to a leaf dies without a sign of the carrier: BFD, then three questions in vain, and its hosts go by the backups at once.
func TestGateway_BFDDownAndKernelSilent_IsLikeALostLink(t *testing.T) {
	s := detecting(t)
	s.tell(bfd("to-A", false))
	s.wantLookup(t, c(1), "to-A") // soft alone moves nobody who has no other claim
	s.later(59 * ms)
	s.wantLookup(t, c(1), "to-A")
	s.later(1 * ms)
	s.wantLookup(t, c(1), "to-B")
	s.wantLookup(t, c(2), "to-B")
	s.t.Comment("what the leaf asks shows one direction only")
	question := answer("to-A", addrA)
	question.Op = step.ARPRequest
	s.tell(question)
	if l := s.machine.leaves[0]; l.phase != lost || !l.bfd.deaf {
		t.Errorf("phase %s after a question", l.phase)
	}
	s.t.Comment("it answers; it is let in when it has told all")
	s.tell(answer("to-A", addrA))
	s.wantLookup(t, c(1), "to-B")
	s.later(100 * ms)
	s.tell(session(addrA), paths(addrA, allUp(addrA)...), paths(addrA, host(addrA, 1, 0), host(addrA, 2, 0)), step.EndOfRIB{Peer: addrA}, bfd("to-A", true))
	s.later(time.Second)
	s.wantLookup(t, c(1), "to-A")
	s.t.Golden(t, "bfd")
}

// The leaf's daemon is dead and its kernel forwards: only a host that another leaf claims in a session that is up moves.
func TestGateway_BFDDownAndKernelAnswers_MovesOnlyWhatIsClaimedElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name  string
		extra []step.Event // before BFD goes down
		want  string       // host 1 afterwards
	}{
		{"nobody else claims it", nil, "to-A"},
		{"the other leaf claims it, with an older stamp", []step.Event{paths(addrB, host(addrB, 1, -50))}, "to-B"},
		{"the other leaf's claim is of a session that is down", []step.Event{paths(addrB, host(addrB, 1, -50)), gone(addrB, step.ReasonReset)}, "to-A"},
		{"the other leaf is in doubt too", []step.Event{paths(addrB, host(addrB, 1, -50))}, "to-A"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := detecting(t, tt.extra...)
			if tt.name == "the other leaf is in doubt too" {
				s.step(bfd("to-B", false), answer("to-B", addrB))
			}
			s.step(bfd("to-A", false), answer("to-A", addrA))
			s.wait(10 * time.Second)
			if got := s.lookup(c(1), ""); string(got) != tt.want {
				t.Errorf("host 1 goes to %s, want %s", got, tt.want)
			}
			s.wantLookup(t, c(2), "to-A")
			if s.machine.leaves[0].phase != serving || s.resets > 0 {
				t.Errorf("the leaf was taken out: %s", s.machine.leaves[0].why)
			}
			s.step(bfd("to-A", true))
			s.wantLookup(t, c(1), "to-A")
		})
	}
}

func TestGateway_BFDWithoutEvidence_ChangesNothing(t *testing.T) {
	admin := bfd("to-A", false)
	admin.Admin = true
	for name, events := range map[string][]step.Event{
		"never came up": {bfd("to-A", false)}, "turned off": {bfd("to-A", true), admin},
	} {
		s := newStory(withBFD())
		s.step(step.Started{}, s.linked("start"))
		s.step(normal()...)
		s.step(paths(addrB, host(addrB, 1, -50)))
		s.step(events...)
		s.wait(time.Second)
		s.wantLookup(t, c(1), "to-A")
		if s.machine.leaves[0].phase != serving {
			t.Errorf("%s: %s", name, s.machine.leaves[0].why)
		}
	}
}

func TestGateway_CarrierLostWhileDoubting_AsksNoMore(t *testing.T) {
	s := detecting(t)
	s.step(bfd("to-A", false), step.PortChanged{PortState: noCarrier("to-A")})
	s.wait(time.Second)
	if b := s.machine.leaves[0].bfd; b.On() || b.deaf {
		t.Errorf("%+v", b)
	}
	s.wantLookup(t, c(1), "to-B")
}

// Without BFD, too, a leaf whose session ended softly is asked: the restart time is for a daemon that is gone, not for a leaf that is. What it
// holds goes by the backups then, and a host that another leaf claims in a session that is up goes there.
func TestGateway_SessionLostSoftly_TheLeafsKernelIsAsked(t *testing.T) {
	for _, reason := range []step.SessionReason{step.ReasonReset, step.ReasonHoldTimer, step.ReasonCeaseOther} {
		s := newSite(fig7())
		s.begin()
		s.step(paths(addrB, host(addrB, 1, -50)))
		s.run(time.Second)
		s.silent["to-A"] = true
		s.step(gone(addrA, reason))
		s.wantLookup(t, c(1), "to-A")
		s.run(70 * ms)
		s.wantLookup(t, c(1), "to-B")
		s.wantLookup(t, c(2), "to-B")
		s.run(liveness.Respite(2))
		if l := s.machine.leaves[0]; l.phase != lost || s.resets != 1 {
			t.Errorf("%s: phase %s, %d resets", reason, l.phase, s.resets)
		}
		s.silent["to-A"] = false
		s.run(200 * ms)
		s.step(session(addrA), paths(addrA, allUp(addrA)...), paths(addrA, host(addrA, 1, 0), host(addrA, 2, 0)), step.EndOfRIB{Peer: addrA})
		s.run(200 * ms)
		s.wantLookup(t, c(1), "to-A")
	}
}

func TestGateway_SessionLostSoftly_LeafAnswers_StaysUntilItDoesNot(t *testing.T) {
	s := newSite(fig7())
	s.begin()
	s.step(paths(addrB, host(addrB, 1, -50)))
	s.run(time.Second)
	s.step(gone(addrA, step.ReasonReset))
	s.run(10 * time.Second)
	for i := byte(1); i <= 2; i++ {
		s.wantLookup(t, c(i), "to-A")
	}
	s.silent["to-A"] = true // the rest of it dies, and its link stays up
	s.run(askAgain + 70*ms)
	s.wantLookup(t, c(1), "to-B")
	s.wantLookup(t, c(2), "to-B")
	s = newSite(fig7())
	s.begin()
	s.step(gone(addrA, step.ReasonReset), session(addrA), paths(addrA, allUp(addrA)...))
	s.run(askAgain + 70*ms)
	if asked := len(s.back); asked > 0 || s.machine.leaves[0].bfd.On() {
		t.Errorf("asked on although the session is up")
	}
}
