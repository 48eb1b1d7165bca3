package mapping

import (
	"testing"

	"peerless/internal/model"
)

// Of a static host's two leaves one whose link is down or that is silent does not count; one that answers for the host goes
// before one that does not; and the primary goes first else.
func TestChoose_Static_EveryCombination(t *testing.T) {
	for n := range 1 << 6 {
		on := func(bit int) bool { return n>>bit&1 == 1 }
		table := New()
		var usable, answers [2]bool
		for i, role := range []model.Role{model.Primary, model.Backup} {
			l := table.AddLeaf(h1)
			table.Pin(l, h1, 1, role)
			if on(3 * i) {
				table.Serve(l)
			}
			table.SetMute(l, on(3*i+1))
			answers[i] = on(3*i + 2)
			if table.SetAnswer(l, h1, answers[i]) != answers[i] {
				t.Error("an answer is news once")
			}
			usable[i] = on(3*i) && !on(3*i+1)
		}
		want := Choice{Primary: None, Backup: None, State: Unserved}
		switch {
		case usable[a] && usable[b]:
			want = Choice{Primary: a, Backup: b, State: Claimed}
			if answers[b] && !answers[a] {
				want.Primary, want.Backup = b, a
			}
		case usable[a]:
			want = Choice{Primary: a, Backup: None, State: Claimed}
		case usable[b]:
			want = Choice{Primary: b, Backup: None, State: Claimed}
		}
		got := table.Choose(table.Host(h1))
		got.Basis = nil
		if got != want {
			t.Errorf("usable %v, answers %v: %+v, want %+v", usable, answers, got, want)
		}
	}
}

func TestSetAnswer_OfAnUnknownHost_IsNoNews(t *testing.T) {
	table := pair()
	if table.SetAnswer(a, h1, true) {
		t.Error("an unknown host answered")
	}
	table.Hear(a, h1, stamped(1, 5))
	if table.SetAnswer(a, h1, true) {
		t.Error("a host that is not bound answered")
	}
}
