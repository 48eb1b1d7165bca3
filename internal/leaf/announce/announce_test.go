package announce

import (
	"net/netip"
	"testing"

	"peerless/internal/claim"
	"peerless/internal/model"
)

var (
	att  = model.Attachment{ID: 2, Port: "A2", PortIndex: 7, Role: model.Backup}
	host = netip.MustParseAddr("10.10.10.2")
)

func TestBook_Host_CarriesTheClaim(t *testing.T) {
	b := New(65001, netip.MustParsePrefix("10.255.0.0/16"))
	a := b.Host(host, att, 1_790_000_000_000, model.MAC{})
	c, ok := claim.ParseHost(65001, a.Large)
	if !ok || c != (claim.Host{PortIndex: 7, Attachment: 2, Role: model.Backup, Stamp: 1_790_000_000_000}) {
		t.Fatalf("claim %+v", c)
	}
	if a.NoExport || !a.HasMED || a.MED != c.Stamp.MED() || a.Prefix.String() != "10.10.10.2/32" || a.NextHop.IsValid() {
		t.Fatalf("advertisement %+v", a)
	}
	if _, ok := b.Drop(host); !ok {
		t.Fatal("not dropped")
	}
	if _, ok := b.Drop(host); ok {
		t.Fatal("dropped twice")
	}
}

func TestBook_Attachment_IsSaidOnlyWhenItChanges(t *testing.T) {
	b := New(65001, netip.MustParsePrefix("10.255.0.0/16"))
	tests := []struct {
		name    string
		att     model.Attachment
		state   claim.State
		reason  claim.Reason
		changed bool
	}{
		{"first word", att, claim.Up, claim.ReasonReady, true},
		{"repeated", att, claim.Up, claim.ReasonReady, false},
		{"another state", att, claim.Down, claim.ReasonCarrierLost, true},
		{"another reason", att, claim.Down, claim.ReasonOperator, true},
		{"without a number", model.Attachment{Port: "A5"}, claim.Up, claim.ReasonReady, false},
		{"outside the range", model.Attachment{Port: "A6", ID: 1 << 16}, claim.Up, claim.ReasonReady, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, changed := b.Attachment(tt.att, tt.state, tt.reason)
			if changed != tt.changed {
				t.Fatalf("changed %v", changed)
			}
			if changed && (!a.NoExport || a.Prefix.String() != "10.255.0.2/32") {
				t.Fatalf("advertisement %+v", a)
			}
			if b.Said(tt.att.Port).Reason != tt.reason {
				t.Fatal("not remembered")
			}
		})
	}
}

func TestStamps_Next_BeatsEverythingHeard(t *testing.T) {
	const wall = 1_790_000_000_000
	tests := []struct {
		name string
		hear func(*Stamps)
		wall int64
		want claim.Stamp
	}{
		{"nothing heard", func(*Stamps) {}, wall, wall},
		{"older claim", func(s *Stamps) { s.Hear(host, Rumour{Stamp: 5}) }, wall, wall},
		{"a claim from a clock ahead", func(s *Stamps) { s.Hear(host, Rumour{Stamp: wall + 9}) }, wall, wall + 109},
		{"withdrawn claims still count", func(s *Stamps) { s.Hear(host, Rumour{Stamp: wall + 9}); s.Gone(host, netip.Addr{}) }, wall, wall + 109},
		{"our own last stamp counts", func(s *Stamps) { s.Next(host, wall+50) }, wall, wall + 150},
		{"a clock not to be believed", func(*Stamps) {}, 1000, claim.Next(0, 0)},
		{"a clock not to be believed after an unverified claim", func(s *Stamps) { s.Hear(host, Rumour{Stamp: unverifiedPrimary}) }, 1000, claim.Next(0, 0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewStamps(10)
			tt.hear(s)
			if got := s.Next(host, tt.wall); got != tt.want {
				t.Fatalf("%d, want %d", got, tt.want)
			}
		})
	}
}

func TestStamps_Rival_StandsAsLongAsAnyGatewayTellsIt(t *testing.T) {
	g1, g2 := netip.MustParseAddr("172.31.0.1"), netip.MustParseAddr("172.31.1.1")
	old := func(by netip.Addr) Rumour { return Rumour{By: by, Stamp: 5, Attachment: 2} }
	newer := Rumour{By: g2, Stamp: 6, Attachment: 3}
	tests := []struct {
		name      string
		tell      func(*Stamps)
		want, one Rumour // told by anybody, by the first gateway
	}{
		{"nobody", func(*Stamps) {}, Rumour{}, Rumour{}},
		{"both tell it", func(s *Stamps) { s.Hear(host, old(g1)); s.Hear(host, old(g2)) }, old(g1), old(g1)},
		{"one withdraws it", func(s *Stamps) { s.Hear(host, old(g1)); s.Hear(host, old(g2)); s.Gone(host, g1) }, old(g2), Rumour{}},
		{"both withdraw it", func(s *Stamps) { s.Hear(host, old(g1)); s.Hear(host, old(g2)); s.Gone(host, g1); s.Gone(host, g2) }, Rumour{}, Rumour{}},
		{"one withdraws it twice", func(s *Stamps) { s.Hear(host, old(g1)); s.Hear(host, old(g2)); s.Gone(host, g1); s.Gone(host, g1) }, old(g2), Rumour{}},
		{"one tells a newer one", func(s *Stamps) { s.Hear(host, newer); s.Hear(host, old(g1)) }, newer, old(g1)},
		{"and withdraws it", func(s *Stamps) { s.Hear(host, newer); s.Hear(host, old(g1)); s.Gone(host, g2) }, old(g1), old(g1)},
		{"one tells another instead", func(s *Stamps) { s.Hear(host, old(g2)); s.Hear(host, newer) }, newer, Rumour{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewStamps(10)
			tt.tell(s)
			if got := s.Rival(host); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			if got := s.RivalBy(host, func(a netip.Addr) bool { return a == g1 }); got != tt.one {
				t.Errorf("by the first gateway %+v, want %+v", got, tt.one)
			}
		})
	}
}

func TestStamps_Memory_IsBounded(t *testing.T) {
	s := NewStamps(3)
	a := netip.MustParseAddr("10.0.0.1")
	for range 10 {
		s.Hear(a, Rumour{Stamp: 9})
		a = a.Next()
	}
	if len(s.known) != 3 || len(s.order) != 3 || s.Rival(netip.MustParseAddr("10.0.0.1")).Stamp != 0 || s.Rival(a.Prev()).Stamp != 9 {
		t.Fatalf("%d known", len(s.known))
	}
}

func TestUnverified_LosesToEveryHostReallyHeard(t *testing.T) {
	s := NewStamps(1)
	if Unverified(model.Backup) >= Unverified(model.Primary) || Unverified(model.Primary) >= s.Next(host, 0) || Unverified(model.Backup) == 0 {
		t.Fatal("order of unverified stamps")
	}
}
