package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// site is fig7 whose leaves are asked whether they forward: what comes back is decided here.
type site struct {
	*kernel
	silent   map[model.Port]bool         // the leaf itself does not answer
	mute     map[model.Port]bool         // it forwards nothing
	loopless map[model.Port]bool         // it drops our own echo, as some switches do
	shy      map[netip.Addr]bool         // hosts that do not answer pings
	withheld []netip.Addr                // of the default route
	echoes   map[model.Port]int          // sent
	back     []step.Event                // on its way
	spoil    func(step.Event) step.Event // of what comes back; nil: nothing is spoilt
}

func throughConfig(interval time.Duration) Config {
	cfg := fig7()
	cfg.Through = Probe{Interval: interval, Multiplier: 3}
	return cfg
}

// crossed is such a site in its normal state, with every leaf seen to forward.
func crossed(t *testing.T, cfg Config) *site {
	t.Helper()
	s := newSite(cfg)
	s.begin()
	s.run(3 * time.Second)
	for _, l := range s.machine.leaves {
		if !s.machine.works(l) {
			t.Fatalf("leaf %s is not seen to forward: %+v", l.Name, s.machine.throughRows(s.now))
		}
	}
	return s
}

func newSite(cfg Config) *site {
	s := &site{kernel: newKernel(New(cfg)), silent: map[model.Port]bool{}, mute: map[model.Port]bool{}, loopless: map[model.Port]bool{},
		shy: map[netip.Addr]bool{}, echoes: map[model.Port]int{}}
	s.emitted = s.onEmitted
	s.watch = func() {}
	s.fed = func(ev step.Applied) {
		if a, ok := ev.Want.Object.(step.Advertisement); ok {
			if s.withheld = a.Withheld; !claim.Heeds(a.Large) {
				panic("the default route is told without the word that attachments are heeded: " + a.String())
			}
		}
		s.take(s.machine.Step(s.now, ev))
	}
	return s
}

func (s *site) begin() {
	s.step(step.Started{}, s.linked("start"))
	s.step(normal()...)
}

func (s *site) onEmitted(ef step.Effect) {
	switch e := ef.(type) {
	case step.SendARP:
		if leaf := map[model.Port]netip.Addr{"to-A": addrA, "to-B": addrB}[e.Port]; !s.silent[e.Port] && e.TargetIP == leaf {
			s.back = append(s.back, answer(e.Port, leaf))
		}
	case step.SendEcho:
		s.echoes[e.Port]++
		back := step.EchoSeen{Port: e.Port, From: e.To, To: e.From, Ident: e.Ident, Seq: e.Seq}
		if s.mute[e.Port] || s.silent[e.Port] || e.Loop && s.loopless[e.Port] || s.shy[e.To] {
			return
		}
		s.back = append(s.back, back)
	}
}

// run lets time go by; answers take a millisecond.
func (s *site) run(d time.Duration) {
	for end := s.now.Mono + d; s.now.Mono < end; {
		back := s.back
		s.back = nil
		for _, ev := range back {
			if s.spoil != nil {
				ev = s.spoil(ev)
			}
			s.step(ev)
		}
		s.wait(ms)
	}
}

// until lets time go by until a leaf is withheld the default route, or is not any more, and gives how long that took.
func (s *site) until(t *testing.T, bound time.Duration, leaf netip.Addr, on bool) time.Duration {
	t.Helper()
	began := s.now.Mono
	for slices.Contains(s.withheld, leaf) != on {
		if s.now.Mono-began > bound {
			t.Fatalf("withheld from %v after %s: %v", s.withheld, bound, s.machine.throughRows(s.now))
		}
		s.run(ms)
	}
	return s.now.Mono - began
}

// The bound on detection holds whenever the fault comes between two questions; other leaves and their hosts are not concerned.
func TestGateway_LeafForwardsNothing_LosesTheDefaultRoute_AtAnyMomentWithinTheBound(t *testing.T) {
	for _, pace := range []struct{ interval, bound time.Duration }{{100 * ms, 356 * ms}, {10 * ms, 46 * ms}} {
		for offset := time.Duration(0); offset < pace.interval; offset += max(ms, pace.interval/10) {
			s := crossed(t, throughConfig(pace.interval))
			s.run(offset)
			s.mute["to-A"] = true
			s.until(t, pace.bound, addrA, true)
			if slices.Contains(s.withheld, addrB) {
				t.Error("withheld from B, too")
			}
			if l := s.machine.leaves[0]; l.phase != serving || s.resets > 0 {
				t.Errorf("the leaf was taken out: soft evidence only demotes: %s", l.why)
			}
		}
	}
}

// What has to come together before a leaf is given up, and what acquits it.
func TestGateway_LeafForwardsNothing_OnlyOnWholeEvidence(t *testing.T) {
	all := []netip.Addr{c(1), c(2), c(3), c(4)}
	for _, tt := range []struct {
		name  string
		cfg   func(*Config)
		first func(*site) // before anything is known
		fault func(*site)
		want  bool // given up
		note  string
	}{
		{"nothing comes back", nil, nil, func(s *site) { s.mute["to-A"] = true }, true, "leaf-mute"},
		{"no host ever answered pings: our own echo is enough", nil, func(s *site) { s.hush(all...) }, func(s *site) { s.mute["to-A"] = true }, true, "leaf-mute"},
		{"hosts stop to answer, our own echo comes back", nil, nil, func(s *site) { s.hush(all...) }, false, ""},
		{"our own echo stops to come back, one host answers", nil, nil, func(s *site) { s.loopless["to-A"] = true; s.hush(c(1)) }, false, ""},
		{"a leaf that never passed our own echo, and none of two hosts answers", nil, func(s *site) { s.loopless["to-A"] = true },
			func(s *site) { s.mute["to-A"] = true }, true, "leaf-mute"},
		{"such a leaf, and one host is all that ever answered", nil, func(s *site) { s.loopless["to-A"] = true; s.hush(c(2)) },
			func(s *site) { s.mute["to-A"] = true }, false, ""},
		{"nothing ever came back", nil, func(s *site) { s.mute["to-A"] = true }, nil, false, ""},
		{"the leaf itself is silent, too", nil, nil, func(s *site) { s.silent["to-A"] = true }, false, ""},
		{"both leaves at once: it may be us", nil, nil, func(s *site) { s.mute["to-A"], s.mute["to-B"] = true, true }, false, "leaf-kept"},
		{"the other leaf is not seen to forward", nil, func(s *site) { s.mute["to-B"] = true }, func(s *site) { s.mute["to-A"] = true }, false, "leaf-kept"},
		{"the other leaf's session is down", nil, nil, func(s *site) {
			s.step(gone(addrB, step.ReasonReset))
			s.mute["to-A"] = true
		}, false, "leaf-kept"},
		{"a host has no other way", nil, func(s *site) {
			s.step(paths(addrB, attachment(addrB, 2, claim.Down, claim.ReasonCarrierLost)))
		}, func(s *site) { s.mute["to-A"] = true }, false, "leaf-kept"},
		{"there is no default route to withhold", func(cfg *Config) { cfg.Default = false }, nil, func(s *site) { s.mute["to-A"] = true }, false, "leaf-kept"},
		{"answers of somebody else, to somebody else, by another port, to no question", nil, nil, func(s *site) {
			i := 0
			s.spoil = func(ev step.Event) step.Event {
				e, ok := ev.(step.EchoSeen)
				if !ok || e.Port != "to-A" {
					return ev
				}
				switch i = (i + 1) % 5; i {
				case 0:
					e.From = c(9)
				case 1:
					e.To = c(9)
				case 2:
					e.Port = "to-B"
				case 3:
					e.Seq += 7
				case 4:
					e.Ident++
				}
				return e
			}
		}, true, "leaf-mute"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := throughConfig(100 * ms)
			if tt.cfg != nil {
				tt.cfg(&cfg)
			}
			s := newSite(cfg)
			s.begin()
			if tt.first != nil {
				tt.first(s)
			}
			s.run(3 * time.Second)
			if tt.fault != nil {
				tt.fault(s)
			}
			s.run(3 * time.Second)
			if got := slices.Contains(s.withheld, addrA); got != tt.want {
				t.Errorf("given up: %v, want %v: %+v", got, tt.want, s.machine.throughRows(s.now))
			}
			told := slices.ContainsFunc(s.notes, func(n step.Note) bool { return n.What == tt.note })
			if tt.note != "" && !told || tt.note == "" && strings.Contains(s.told(), "leaf-mute") {
				t.Errorf("told %s, want %q", s.told(), tt.note)
			}
			if slices.Contains(s.withheld, addrB) {
				t.Error("withheld from B")
			}
		})
	}
}

func (s *site) hush(hosts ...netip.Addr) {
	for _, h := range hosts {
		s.shy[h] = true
	}
}

func (s *site) told() string {
	var out []string
	for _, n := range s.notes {
		out = append(out, n.What+" "+n.Peer)
	}
	return strings.Join(out, ", ")
}

// A last path is left for the graceful-restart time (soft-never-closes), then the others count more.
func TestGateway_LeafForwardsNothing_LastPathIsKeptForTheRestartTime(t *testing.T) {
	s := crossed(t, throughConfig(100*ms))
	s.step(paths(addrB, attachment(addrB, 2, claim.Down, claim.ReasonCarrierLost)))
	s.mute["to-A"] = true
	s.run(29 * time.Second)
	if len(s.withheld) > 0 {
		t.Fatal("withheld before the restart time is over")
	}
	s.until(t, 2*time.Second, addrA, true)
}

// A host that the other leaf claims in a session that is up moves at once, whatever the stamps say.
func TestGateway_LeafForwardsNothing_HostsClaimedElsewhereMove(t *testing.T) {
	s := crossed(t, throughConfig(100*ms))
	s.step(paths(addrB, host(addrB, 1, -50)))
	s.run(200 * ms)
	s.wantLookup(t, c(1), "to-A")
	s.mute["to-A"] = true
	s.run(360 * ms)
	s.wantLookup(t, c(1), "to-B")
	s.wantLookup(t, c(2), "to-A")
}

// The leaf returns once it has forwarded for a while without a break, and later each time that it falls silent again.
func TestGateway_LeafForwardsAgain_IsToldTheDefaultRouteLaterEachTime(t *testing.T) {
	s := crossed(t, throughConfig(100*ms))
	var waits []time.Duration
	for range 4 {
		s.mute["to-A"] = true
		s.until(t, time.Second, addrA, true)
		s.run(2 * time.Second)
		s.mute["to-A"] = false
		s.run(backMin / 2)
		s.mute["to-A"] = true // not yet without a break
		s.run(500 * ms)
		s.mute["to-A"] = false
		waits = append(waits, s.until(t, time.Minute, addrA, false).Round(time.Second))
	}
	if want := []time.Duration{1, 2, 4, 8}; !slices.EqualFunc(waits, want, func(a, b time.Duration) bool { return a == b*time.Second }) {
		t.Errorf("told again after %v of forwarding", waits)
	}
	s.run(backReset)
	s.mute["to-A"] = true
	s.until(t, time.Second, addrA, true)
	s.mute["to-A"] = false
	s.until(t, 1500*ms, addrA, false)
}

// Its last path is never kept from anybody: when the other leaf goes, the one that forwards nothing is told the default route.
func TestGateway_TheOtherLeafGoes_TheMuteOneIsNeeded(t *testing.T) {
	for name, loss := range map[string]func(*site){
		"carrier lost": func(s *site) { s.step(step.PortChanged{PortState: noCarrier("to-B")}) },
		"mute, too":    func(s *site) { s.mute["to-B"] = true },
	} {
		s := crossed(t, throughConfig(100*ms))
		s.mute["to-A"] = true
		s.until(t, time.Second, addrA, true)
		loss(s)
		s.until(t, 500*ms, addrA, false)
		if s.run(5 * time.Second); len(s.withheld) > 0 {
			t.Errorf("%s: withheld from %v", name, s.withheld)
		}
	}
}

// A leaf of which nothing can be seen while its downlinks are closed gets another trial, later and later.
func TestGateway_LeafThatDropsOurEcho_IsTriedAgain(t *testing.T) {
	s := newSite(throughConfig(100 * ms))
	s.loopless["to-A"] = true
	s.begin()
	s.run(3 * time.Second)
	s.mute["to-A"] = true
	s.until(t, time.Second, addrA, true)
	s.step(paths(addrA, noHost(c(1)), noHost(c(2))), paths(addrB, host(addrB, 1, 9), host(addrB, 2, 9)))
	if took := s.until(t, time.Minute, addrA, false); took < retryMin-time.Second || took > retryMin+time.Second {
		t.Errorf("tried again after %s", took)
	}
}

// A pause of our own, or a busy machine, is no silence of a leaf; and nothing comes in bursts.
func TestGateway_Through_OwnPauseIsNoEvidence_AndIsPaced(t *testing.T) {
	s := crossed(t, throughConfig(10*ms))
	clear(s.echoes)
	s.run(time.Second)
	if n := s.echoes["to-A"]; n < 150 || n > 210 {
		t.Errorf("%d echoes in a second", n)
	}
	for range 20 {
		s.now = s.now.Add(200 * ms) // stopped: timers are late, and answers wait behind them
		s.wait(0)
		s.run(15 * ms)
	}
	if strings.Contains(s.told(), "leaf-mute") {
		t.Error(s.told())
	}
}

func TestGateway_Through_IsOffUnlessAsked(t *testing.T) {
	s := newSite(fig7())
	s.begin()
	s.run(2 * time.Second)
	if len(s.echoes) > 0 || len(s.machine.throughRows(s.now)) > 0 {
		t.Errorf("sent %v", s.echoes)
	}
}

func TestGateway_LeafForwardsNothing_Transcript(t *testing.T) {
	st := newStory(throughConfig(100 * ms))
	s := &site{kernel: st.kernel, silent: map[model.Port]bool{}, mute: map[model.Port]bool{}, loopless: map[model.Port]bool{}, shy: map[netip.Addr]bool{}, echoes: map[model.Port]int{}}
	s.emitted = s.onEmitted
	s.begin()
	s.run(2 * time.Second)
	st.t.Comment("leaf A answers for itself and forwards nothing")
	s.mute["to-A"] = true
	for range 400 {
		back := s.back
		s.back = nil
		st.tell(back...)
		st.later(ms)
	}
	st.t.Golden(t, "through")
}
