package leaf

import (
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/step"
)

func TestLeaf_SharedAS_LaterStampThanVerifiedIsAnotherLeaf(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(garp("A2", 2))
	p := claim.Host{PortIndex: 2, Attachment: 2, Stamp: claim.Stamp(w.Now.Wall + 1)}
	got := w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{{Prefix: step.HostPrefix(addrOf(2)), Large: p.Communities(65001)}}})
	if len(lines(got, "send arp request on A2")) != 1 {
		t.Fatalf("%v", got)
	}
}

// The other leaf's claim may come after this one has withdrawn its own: it is no less another's for that.
func TestLeaf_SharedAS_LaterStampThanKnownIsAnotherLeafAlsoOfAHostThatLeft(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	told := func(s claim.Stamp) claim.Stamp {
		p := claim.Host{PortIndex: 2, Attachment: 2, Stamp: s}
		w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{{Prefix: step.HostPrefix(addrOf(2)), Large: p.Communities(65001)}}})
		return w.m.heard.Rival(addrOf(2)).Stamp
	}
	if got := told(claim.Stamp(w.Now.Wall)); got != 0 {
		t.Fatalf("a host of which nothing is known has a rival (%d): it may be our own word from before a restart", got)
	}
	w.do(garp("A2", 2))
	mine, _ := w.m.book.Stamp(addrOf(2))
	w.port("A2", carrier(false))
	if _, standing := w.m.book.Stamp(addrOf(2)); standing {
		t.Fatal("it is claimed still")
	}
	if got := told(mine); got != 0 {
		t.Fatalf("our own word told back is taken for a rival's (%d)", got)
	}
	if got := told(mine + 1); got != mine+1 {
		t.Fatalf("a later claim than ours: rival %d, want %d", got, mine+1)
	}
}

func TestLeaf_InheritedClaim_KeepsItsStampWhileAnotherLeafClaims(t *testing.T) {
	w := newWorld(t, small())
	w.do(step.Started{})
	w.do(restarted(w))
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_790_000_100_000)}})
	w.do(reply("A2", 2))
	if s, ok := w.m.book.Stamp(addrOf(2)); !ok || s != 2 {
		t.Fatalf("stamp %d %v: an inherited claim must not beat one that was made while we were away", s, ok)
	}
	w.do(garp("A2", 2))
	if s, _ := w.m.book.Stamp(addrOf(2)); s != claim.Next(w.Now.Wall, 1_790_000_100_000) {
		t.Fatalf("stamp %d: the host's own announcement must win", s)
	}
}

// A server tried its other link and is back: nobody has told this leaf that it was away, and the other one still claims it.
func TestLeaf_AnnouncementAfterAWhile_BeatsAClaimThatNobodyToldOf(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(garp("A2", 2))
	w.pass(time.Second)
	other := claim.Stamp(w.Now.Wall)
	w.pass(300 * time.Millisecond)
	got := w.do(garp("A2", 2))
	if s, _ := w.m.book.Stamp(addrOf(2)); s <= other || len(lines(got, "want advertise 10.10.10.2/32")) != 1 || len(lines(got, "note")) != 0 {
		t.Fatalf("stamp %d, the other leaf's %d: %v", s, other, got)
	}
	for name, e := range map[string]step.ARPSeen{"repeated": garp("A2", 2), "an answer": reply("A2", 2), "a question": request("A2", 2, 9)} {
		if got := w.do(e); len(lines(got, "want")) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}
