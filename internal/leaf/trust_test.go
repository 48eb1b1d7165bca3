package leaf

import (
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// watching is a leaf that watches its links.
func watching(closing bool) Config {
	cfg := small()
	cfg.LinkProbe, cfg.CloseSilent = Probe{Interval: 100 * time.Millisecond, Multiplier: 3}, closing
	return cfg
}

// served is an open leaf with C2 behind A2, whose answers are known for a while.
func served(t *testing.T, cfg Config) *world {
	t.Helper()
	w := newWorld(t, cfg)
	w.behind, w.cut = map[model.Port]int{"A2": 2}, map[model.Port]bool{}
	w.open()
	w.do(garp("A2", 2))
	w.pass(2 * time.Second)
	if d := w.m.down("A2"); !d.trust.watch.Proven() || w.m.hosts.Count("A2") != 1 {
		t.Fatalf("not proven: %+v", d.trust)
	}
	return w
}

func (w *world) attachment(id model.AttachmentID) (claim.Attachment, bool) {
	prefix, _ := claim.Prefix(w.m.cfg.AttachmentRange, id)
	adv, ok := w.held[step.Advertisement{Prefix: prefix}.Key()].(step.Advertisement)
	if !ok {
		return claim.Attachment{}, false
	}
	return claim.ParseAttachment(w.m.cfg.AS, adv.Large)
}

func (w *world) advertises(i int) bool {
	_, ok := w.held[step.Advertisement{Prefix: step.HostPrefix(addrOf(i))}.Key()]
	return ok
}

func TestLeaf_LinkPassesNothing_HostsAreWithdrawnAndReturnWhenItPasses(t *testing.T) {
	w := served(t, watching(false))
	w.reset()
	w.Comment("the link stays up and passes nothing")
	w.cut["A2"] = true
	w.pass(400 * time.Millisecond)
	if a, _ := w.attachment(2); w.advertises(2) || a.State != claim.Down || a.Reason != claim.ReasonSilent {
		t.Fatalf("advertised %v, attachment %+v", w.advertises(2), a)
	}
	if s := w.ports["A2"]; !s.AdminUp {
		t.Fatal("closed")
	}
	w.Comment("an announcement by a link that passes only one way teaches nothing")
	w.do(garp("A2", 2))
	if w.advertises(2) {
		t.Fatal("learned on a silent link")
	}
	w.Comment("it passes again")
	w.cut["A2"] = false
	w.pass(200 * time.Millisecond)
	w.Golden(t, "link-silent")
	if a, _ := w.attachment(2); !w.advertises(2) || a.State != claim.Up {
		t.Fatalf("advertised %v, attachment %+v", w.advertises(2), a)
	}
}

func TestLeaf_LinkPassesNothing_WithinTheBound(t *testing.T) {
	for _, pace := range []struct{ interval, bound time.Duration }{{100 * time.Millisecond, 351 * time.Millisecond}, {10 * time.Millisecond, 41 * time.Millisecond}} {
		for offset := time.Duration(0); offset < pace.interval; offset += pace.interval / 10 {
			cfg := watching(false)
			cfg.LinkProbe.Interval = pace.interval
			w := served(t, cfg)
			w.pass(offset)
			w.cut["A2"] = true
			w.pass(pace.bound)
			if w.advertises(2) {
				t.Fatalf("%s, offset %s: still advertised after %s", pace.interval, offset, pace.bound)
			}
		}
	}
}

// The other leaf's probe of its standby link is answered by this one, and must not count here.
// Many hosts may have gone with their server to its other link, which is heard of later than of one. But they are not waited for without end.
func TestLeaf_ManyHostsAreSilent_TheirMoveIsWaitedFor(t *testing.T) {
	after := func(hosts int) time.Duration {
		cfg := watching(false)
		cfg.LinkProbe.Interval, cfg.Downlinks[0].MaxHosts = 10*time.Millisecond, 256
		w := served(t, cfg)
		for i := range hosts {
			w.do(garp("A2", 10+i))
		}
		w.pass(100 * time.Millisecond)
		w.cut["A2"] = true
		for waited := time.Duration(0); waited < time.Second; waited += time.Millisecond {
			if a, _ := w.attachment(2); a.State == claim.Down {
				return waited
			}
			w.pass(time.Millisecond)
		}
		t.Fatalf("with %d hosts more the link is never called silent", hosts)
		return 0
	}
	const hosts = 200
	few, many := after(0), after(hosts)
	if more := many - few; more < liveness.Word(hosts)-10*time.Millisecond || more > liveness.Word(hosts)+20*time.Millisecond {
		t.Errorf("called silent after %s with one host, after %s with %d more", few, many, hosts)
	}
}

func TestLeaf_AnswerToTheOtherLeaf_DoesNotCount(t *testing.T) {
	w := served(t, watching(false))
	w.cut["A2"] = true
	for range 40 {
		w.pass(10 * time.Millisecond)
		w.do(reply("A2", 2)) // to the address that both leaves have
		other := reply("A2", 2)
		other.TargetIP = ip("10.0.0.12") // to the other leaf's own
		w.do(other)
		w.do(garp("A2", 2))
	}
	if w.advertises(2) {
		t.Fatal("fooled by answers to another")
	}
}

func TestLeaf_AgentlessServer_SilentLinkIsClosedAndOpensLaterAndLater(t *testing.T) {
	w := served(t, watching(true))
	w.cut["A2"] = true
	w.pass(400 * time.Millisecond)
	if a, _ := w.attachment(2); w.ports["A2"].AdminUp || a.State != claim.Closed || a.Reason != claim.ReasonSilent {
		t.Fatalf("port %+v, attachment %+v", w.ports["A2"], a)
	}
	w.pass(hushMin)
	if !w.ports["A2"].AdminUp {
		t.Fatal("not opened again")
	}
	w.do(garp("A2", 2)) // its bond comes back to it; the link passes only upward
	if w.advertises(2) {
		t.Fatal("learned without an answer")
	}
	w.pass(time.Second)
	if w.ports["A2"].AdminUp {
		t.Fatal("the server is back on a link that passes nothing, and it is open")
	}
	w.pass(hushMin + time.Second)
	if w.ports["A2"].AdminUp {
		t.Fatal("opened as soon as the first time")
	}
	w.cut["A2"] = false
	w.pass(hushMin)
	w.do(garp("A2", 2))
	w.pass(100 * time.Millisecond)
	if !w.advertises(2) {
		t.Fatalf("not learned though it answers: %+v", w.m.down("A2").trust)
	}
}

// standby-silence-is-not-death, and no leaf closes what it cannot judge.
func TestLeaf_SilentLink_IsNotClosed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(*world)
		after   func(*world)
	}{
		{"its server asks for us and moves by itself", func(w *world) { w.do(asksOpen("A2", 2)) }, nil},
		{"it has no other link", func(w *world) { w.m.down("A2").Single = true }, nil},
		{"the gateway's daemon is gone, so nobody tells who moved", func(w *world) {
			w.do(step.SessionChanged{Peer: upper, Reason: step.ReasonReset})
		}, nil},
		{"the host moved to the other leaf", func(*world) {}, func(w *world) {
			w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_990_000_000_000)}})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := served(t, watching(true))
			tt.prepare(w)
			w.cut["A2"] = true
			w.pass(10 * time.Millisecond)
			if tt.after != nil {
				tt.after(w)
			}
			w.pass(20 * time.Second) // less than the graceful-restart time
			if !w.ports["A2"].AdminUp || w.advertises(2) {
				t.Fatalf("port %+v, advertised %v", w.ports["A2"], w.advertises(2))
			}
		})
	}
}

func TestLeaf_StandbyLinkOfAServer_IsNeverSilent(t *testing.T) {
	w := newWorld(t, watching(true))
	w.open()
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_790_000_000_000)}}) // C2 is behind the other leaf
	w.pass(time.Minute)
	if a, _ := w.attachment(2); a.State != claim.Up || !w.ports["A2"].AdminUp {
		t.Fatalf("attachment %+v", a)
	}
}

// A bond without an agent announces only its own address on its other link. The guests that have not been heard there yet are silent here,
// and the link is a good standby.
func TestLeaf_OneOfItsHostsIsBehindTheOtherLeaf_TheOthersSilenceIsNotTheLinks(t *testing.T) {
	rows := []struct {
		name   string
		quiet  bool // nobody had answered for a while when it was told
		behind model.AttachmentID
		state  claim.State
	}{
		{"the same server port", false, 2, claim.Up},
		{"another server port: a guest that moved", false, 1, claim.Down},
		{"the same server port, after a while", true, 2, claim.Up},
		{"another server port, after a while", true, 1, claim.Down},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			w := served(t, watching(false))
			w.do(garp("A2", 3))
			w.pass(time.Second)
			w.cut["A2"] = true
			for r.quiet && !quietly(w) {
				w.pass(10 * time.Millisecond)
			}
			w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(3, r.behind, 1_990_000_000_000)}})
			w.pass(2 * time.Second)
			if a, _ := w.attachment(2); a.State != r.state {
				t.Errorf("attachment is %v, want %v", a.State, r.state)
			}
			if w.pass(3 * time.Second); w.advertises(2) {
				t.Error("who was left behind is advertised for good")
			}
		})
	}
}

// A server that comes back announces itself by its other link first, and leaves this one a moment later: hosts answer here after another leaf
// was heard to have one of them, and of many the other claims come late. One that asks for us says when it has left.
func TestLeaf_ServerMayHaveLeft_SilenceIsNotTheLinks(t *testing.T) {
	claim3 := step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(3, 2, 1_990_000_000_000)}}
	asks := func(said model.MAC) step.ARPSeen {
		return step.ARPSeen{Port: "A2", Op: step.ARPRequest, SrcMAC: macOf(2), SenderMAC: macOf(2), SenderIP: ip("0.0.0.0"), TargetMAC: said, TargetIP: ip("10.10.10.254")}
	}
	for _, r := range []struct {
		name  string
		heard []step.Event
		state claim.State
	}{
		{"nothing is heard", nil, claim.Down},
		{"another leaf has one of them", []step.Event{claim3}, claim.Up},
		{"and he arrives here again", []step.Event{claim3, garp("A2", 3)}, claim.Down},
		{"its server sends by its other link", []step.Event{asks(claim.Use(false))}, claim.Up},
		{"its server sends by this one all the same", []step.Event{claim3, asks(claim.Use(true))}, claim.Down},
		{"its server does not say", []step.Event{asks(model.MAC{})}, claim.Down},
	} {
		t.Run(r.name, func(t *testing.T) {
			w := served(t, watching(false))
			w.do(garp("A2", 3))
			w.pass(time.Second)
			for _, e := range r.heard {
				w.do(e)
				w.pass(arrivalGap + 150*time.Millisecond)
			}
			if w.m.down("A2").trust.vacated {
				t.Fatal("nobody has answered since")
			}
			w.cut["A2"] = true
			w.pass(2 * time.Second)
			if a, _ := w.attachment(2); a.State != r.state {
				t.Errorf("the attachment is %v, want %v", a.State, r.state)
			}
		})
	}
}

// Whoever is behind this leaf too sends to the host by it: as soon as the host's own word is heard by way of the gateway, and the link has
// been quiet for a while, he goes the other way.
func TestLeaf_QuietLinkAndANewerClaim_TheHostIsGoneAtOnce(t *testing.T) {
	for _, quiet := range []bool{true, false} {
		w := served(t, watching(false))
		w.cut["A2"] = quiet
		for waited := time.Duration(0); quiet && !quietly(w); waited += 10 * time.Millisecond {
			if waited > 300*time.Millisecond {
				t.Fatal("it is not found quiet before it is called silent")
			}
			w.pass(10 * time.Millisecond)
		}
		w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_990_000_000_000)}})
		w.pass(time.Millisecond)
		_, routed := w.held[w.m.routeOf(neighbor.Host{Port: "A2", Addr: addrOf(2)}).Key()]
		if routed == quiet || w.advertises(2) == quiet {
			t.Errorf("quiet %v: routed %v, advertised %v", quiet, routed, w.advertises(2))
		}
	}
}

// Once another leaf has heard their server, and nobody who had answered here is left, whoever is claimed there need not be asked again: it
// would take a minute for a hundred thousand.
func TestLeaf_ServerHeardElsewhere_TheClaimsOfTheOthersAreEnough(t *testing.T) {
	cfg := watching(false)
	cfg.Downlinks[0].MaxHosts = 64
	w := served(t, cfg)
	for i := range 20 {
		w.do(garp("A2", 10+i))
	}
	w.pass(time.Second)
	w.cut["A2"] = true
	for !quietly(w) {
		w.pass(10 * time.Millisecond)
	}
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_990_000_000_000)}})
	for i := range 20 {
		w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(10+i, 2, 1_990_000_000_000)}})
		w.pass(0)
		if w.advertises(10 + i) {
			t.Fatalf("the %dth is not withdrawn at once", i)
		}
	}
	if a, _ := w.attachment(2); a.State != claim.Up {
		t.Errorf("attachment %+v", a)
	}
}

// A silent link is a standby again after a while: by then its server is elsewhere, and nobody could prove it. Whoever returns
// is learned once he has answered.
func TestLeaf_SilentLinkWhoseServerMoved_IsAStandbyAgain(t *testing.T) {
	w := served(t, watching(false))
	w.cut["A2"] = true
	w.pass(400 * time.Millisecond)
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_990_000_000_000)}})
	w.pass(silentMax)
	if a, _ := w.attachment(2); a.State != claim.Up {
		t.Fatalf("attachment %+v", a)
	}
	w.do(garp("A2", 2))
	if w.advertises(2) {
		t.Fatal("learned without an answer")
	}
	w.cut["A2"] = false
	w.do(garp("A2", 2))
	w.pass(20 * time.Millisecond)
	w.do(garp("A2", 2))
	w.pass(20 * time.Millisecond)
	if !w.advertises(2) {
		t.Fatalf("not learned though it answers: %+v", w.m.down("A2").trust)
	}
}

// A server that asks for us announces itself only on a link that has carried its question and our answer. It cannot answer us then: it
// still sends by its other link.
func TestLeaf_SilentLink_IsTrustedWhenAServerThatAsksComesBack(t *testing.T) {
	w := served(t, watching(false))
	w.do(asksOpen("A2", 2))
	w.cut["A2"] = true
	w.pass(400 * time.Millisecond)
	w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(2, 2, 1_990_000_000_000)}})
	w.pass(time.Second)
	w.do(asksOpen("A2", 2))
	if w.advertises(2) {
		t.Fatal("a question teaches nothing")
	}
	w.do(garp("A2", 2))
	if a, _ := w.attachment(2); !w.advertises(2) || a.State != claim.Up {
		t.Fatalf("advertised %v, attachment %+v", w.advertises(2), a)
	}
}

// Another cable, another server: what was found out about the old one does not count.
func TestLeaf_SilentLink_IsTrustedAnewAfterItsCarrierWasLost(t *testing.T) {
	w := served(t, watching(false))
	w.cut["A2"] = true
	w.pass(400 * time.Millisecond)
	w.port("A2", carrier(false))
	w.port("A2", carrier(true))
	w.do(garp("A2", 2))
	if !w.advertises(2) {
		t.Fatal("not learned")
	}
}

func TestLeaf_OwnPause_IsNoSilence(t *testing.T) {
	w := served(t, watching(true))
	for range 5 {
		w.Pass(3 * time.Second)
		w.pass(50 * time.Millisecond)
	}
	if !w.advertises(2) {
		t.Fatal("withdrawn")
	}
}

func quietly(w *world) bool {
	quiet, _ := w.m.down("A2").quiet()
	return quiet
}
