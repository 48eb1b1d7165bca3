package stories

import (
	"testing"
	"time"

	"peerless/internal/engine"
	"peerless/internal/step"
)

// moves counts what a server did with its traffic since an instant: each use of another link is one.
func (s *stand) moves(server string, since time.Time) int {
	n := 0
	for _, e := range show[engine.Entry](s, server, "events") {
		if e.WallMs >= since.UnixMilli() && e.Stage == "install" && (e.What == "moved" || e.What == "fail-back") {
			n++
		}
	}
	return n
}

func TestActiveLinkFlaps20TimesIn5s_FewMovesThenStable(t *testing.T) {
	s := standing(t)
	load := s.traffic()
	time.Sleep(500 * time.Millisecond)
	since := time.Now()
	for range 20 {
		s.fault("server-link")
		time.Sleep(115 * time.Millisecond)
		s.fault("server-link-restore")
		time.Sleep(115 * time.Millisecond)
	}
	took := time.Since(since)
	for _, p := range show[step.PortRow](s, "A", "ports") {
		if p.Port == "A2" {
			t.Logf("after %s: A2 %s, penalty %d, reuse in %d ms: %s", took.Round(time.Millisecond), p.State, p.Penalty, p.ReuseMs, p.Why)
			if p.ReuseMs == 0 {
				t.Error("A2 is not damped")
			}
		}
	}
	s.until("the flow is where it belongs", s.normal)
	if n := s.moves("C2", since); n > 3 {
		t.Errorf("C2 moved %d times", n)
	} else {
		t.Logf("C2 moved %d times", n)
	}
	for name, lost := range load.end() {
		if lost > 0 {
			t.Logf("%s: %d ms out", name, lost)
		}
		if lost > 50 {
			t.Errorf("%s: %d lost", name, lost)
		}
	}
}
