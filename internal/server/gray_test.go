package server

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

const ms = time.Millisecond

// throughConfig asks what lies beyond the leaves.
func throughConfig() Config {
	cfg := bridgeConfig()
	cfg.FailBack.Stable = time.Second
	cfg.Through = Through{Target: netip.MustParseAddr("10.0.0.1"), Probe: Probe{Interval: 100 * ms, Multiplier: 3}}
	return cfg
}

func (s *story) active() model.Role { return s.Machine.(*Machine).pair.Active() }

// within lets time go by until the pair uses the role's link, and gives how long that took.
func (s *story) within(t *testing.T, bound time.Duration, r model.Role) time.Duration {
	t.Helper()
	began := s.Now.Mono
	for s.active() != r {
		if s.Now.Mono-began > bound {
			t.Fatalf("not on the %s in %s: %v", r, bound, s.moves)
		}
		s.run(ms)
	}
	return s.Now.Mono - began
}

func TestServer_ActiveLeafSilent_MovesWhenTheOtherAnswers(t *testing.T) {
	s := started(t)
	s.Comment("the link of the primary stays up and passes nothing")
	s.answers["eth0"] = false
	s.run(400 * ms)
	s.Golden(t, "silent")
}

// The bound on detection holds whenever the fault comes between two probes.
func TestServer_ActiveLeafSilent_AtAnyMoment_WithinTheBound(t *testing.T) {
	for _, pace := range []struct{ interval, bound time.Duration }{{100 * ms, 361 * ms}, {10 * ms, 51 * ms}} {
		for offset := time.Duration(0); offset < pace.interval; offset += pace.interval / 20 {
			cfg := bridgeConfig()
			cfg.Leaf.Interval, cfg.Probe = pace.interval, pace.interval
			s := startedWith(t, cfg)
			s.run(offset)
			s.answers["eth0"] = false
			s.within(t, pace.bound, model.Backup)
		}
	}
}

func TestServer_ActiveLeafSilent_OtherLeafSilentToo_Stays(t *testing.T) {
	s := started(t)
	s.answers["eth0"], s.answers["eth1"] = false, false
	s.run(2 * time.Second)
	if s.active() != model.Primary {
		t.Fatalf("moved to a leaf that does not answer: %v", s.moves)
	}
	s.Comment("the other leaf speaks first")
	s.answers["eth1"] = true
	s.within(t, 111*ms, model.Backup)
}

// What answers somebody else proves nothing to us: a guest's question is answered by the same leaf.
func TestServer_AnswerToAnother_DoesNotCount(t *testing.T) {
	s := started(t)
	s.answers["eth0"] = false
	for range 40 {
		other := answer("eth0")
		other.TargetMAC = guestMAC
		s.do(other)
		s.run(10 * ms)
	}
	if s.active() != model.Backup {
		t.Fatalf("fooled by another's answer: %v", s.moves)
	}
}

// A leaf that is drained answers those who need the gateway's address to send, our own stack among them, but not the question whether it is
// open. Seed 68 of the simulator: a server went to and fro while its leaf was drained.
func TestServer_AnswerToOurStack_DoesNotCount(t *testing.T) {
	s := started(t)
	s.answers["eth0"] = false
	for range 100 {
		stack := answer("eth0")
		stack.TargetIP = netip.MustParseAddr("10.10.10.2")
		s.do(stack)
		s.run(50 * ms)
	}
	if s.active() != model.Backup || slices.ContainsFunc(s.moves, func(m string) bool { return strings.HasPrefix(m, "fail-back") }) {
		t.Fatalf("fooled by an answer to its own stack: %v", s.moves)
	}
}

// A pause of our own is no silence of the leaf.
func TestServer_OwnPause_MovesNothing(t *testing.T) {
	s := startedWith(t, throughConfig())
	for range 5 {
		s.Now = s.Now.Add(2 * time.Second) // stopped: timers are late, and answers wait in the socket behind them
		s.run(50 * ms)
	}
	if s.active() != model.Primary || len(s.moves) != 0 {
		t.Fatalf("moved: %v", s.moves)
	}
}

func TestServer_ActiveLeafForwardsNothing_MovesWhenTheOtherIsShownTo(t *testing.T) {
	s := startedWith(t, throughConfig())
	s.Comment("the primary's leaf answers for itself and forwards nothing")
	s.deaf["eth0"] = true
	s.run(400 * ms)
	s.Comment("a second later it has been ready for long enough, but not forwarding")
	s.run(2 * time.Second)
	s.Golden(t, "mute")
	if s.active() != model.Backup {
		t.Fatalf("active %v: %v", s.active(), s.moves)
	}
	s.deaf["eth0"] = false
	s.within(t, 3*time.Second, model.Primary)
}

func TestServer_ActiveLeafForwardsNothing_AtAnyMoment_WithinTheBound(t *testing.T) {
	for _, pace := range []struct{ interval, bound time.Duration }{{100 * ms, 356 * ms}, {10 * ms, 46 * ms}} {
		for offset := time.Duration(0); offset < pace.interval; offset += pace.interval / 20 {
			cfg := throughConfig()
			cfg.Through.Interval = pace.interval
			s := startedWith(t, cfg)
			s.run(offset)
			s.deaf["eth0"] = true
			s.within(t, pace.bound, model.Backup)
		}
	}
}

// When what lies beyond is gone, no leaf is to blame: the trial is undone and repeated ever more rarely, and nobody moves.
func TestServer_NothingAnswersByEitherLeaf_NobodyMoves(t *testing.T) {
	s := startedWith(t, throughConfig())
	s.stray = true
	s.run(time.Minute)
	trials := 0
	for _, m := range s.moves {
		if m == "move-aborted eth0" {
			trials++
		}
	}
	if s.active() != model.Primary || slices.Contains(s.moves, "moved eth0") {
		t.Fatalf("active %v: %v", s.active(), s.moves)
	}
	if trials < 3 || trials > 6 {
		t.Fatalf("%d trials in a minute: %v", trials, s.moves)
	}
	s.stray = false
	s.run(10 * time.Second)
	if s.active() != model.Primary {
		t.Fatal("moved when all was well again")
	}
}

// A target that never answered proves nothing by its silence.
func TestServer_TargetThatNeverAnswered_IsNoEvidence(t *testing.T) {
	s := newStory(throughConfig())
	s.answers["eth0"], s.answers["eth1"], s.stray = true, true, true
	s.begin(world(true, true))
	s.run(10 * time.Second)
	if s.active() != model.Primary || strings.Contains(strings.Join(s.moves, " "), "mute") {
		t.Fatalf("active %v: %v", s.active(), s.moves)
	}
}

// Standby faults move nothing, whatever they are.
func TestServer_StandbyGrayFaults_MoveNothing(t *testing.T) {
	for name, spoil := range map[string]func(*story){
		"silent":           func(s *story) { s.answers["eth1"] = false },
		"forwards nothing": func(s *story) { s.deaf["eth1"] = true },
	} {
		s := startedWith(t, throughConfig())
		spoil(s)
		s.run(5 * time.Second)
		if s.active() != model.Primary || slices.ContainsFunc(s.moves, func(m string) bool { return strings.HasPrefix(m, "moved") }) {
			t.Fatalf("%s: active %v: %v", name, s.active(), s.moves)
		}
	}
}

// An answer by another link than the one asked, to a question of another life, or from somebody else does not count.
func TestServer_EchoThatProvesNothing_DoesNotCount(t *testing.T) {
	s := startedWith(t, throughConfig())
	m := s.Machine.(*Machine)
	s.deaf["eth0"] = true
	s.run(ms)
	seq := m.side(model.Primary).through.seqs[0]
	good := step.EchoSeen{Port: "eth0", From: m.cfg.Through.Target, To: netip.MustParseAddr("10.10.10.2"), Ident: echoIdent, Seq: seq}
	for _, spoil := range []func(*step.EchoSeen){
		func(e *step.EchoSeen) { e.Port = "eth1" },
		func(e *step.EchoSeen) { e.Seq += 17 },
		func(e *step.EchoSeen) { e.From = netip.MustParseAddr("10.0.0.9") },
		func(e *step.EchoSeen) { e.Ident++ },
		func(e *step.EchoSeen) { e.Port = "tap0" },
	} {
		m.side(model.Primary).through.answers = false
		bad := good
		spoil(&bad)
		s.do(bad)
		if m.side(model.Primary).through.answers {
			t.Errorf("%v counted", bad)
		}
	}
	s.do(good)
	if !m.side(model.Primary).through.answers {
		t.Error("the right one does not count")
	}
}
