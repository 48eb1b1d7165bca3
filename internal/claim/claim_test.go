package claim

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"peerless/internal/model"
)

func TestNext_ClockBeforeBuild_IsNeverUsed(t *testing.T) {
	for _, row := range []struct {
		name  string
		wall  int64
		heard Stamp
		want  Stamp
	}{
		{"clock ahead of what was heard", buildEpochMs + 5000, buildEpochMs, buildEpochMs + 5000},
		{"clock behind what was heard", buildEpochMs, buildEpochMs + 5000, buildEpochMs + 5100},
		{"clock equal to what was heard", buildEpochMs + 1, buildEpochMs + 1, buildEpochMs + 101},
		{"clock hardly ahead of what was heard", buildEpochMs + 5050, buildEpochMs + 5000, buildEpochMs + 5100},
		{"clock at the Unix epoch", 0, 0, buildEpochMs + 100},
		{"clock negative", -1, 9, buildEpochMs + 100},
		{"clock just before the build", buildEpochMs - 1, 3, buildEpochMs + 100},
		{"clock beyond what MED can tell", medEndMs, 3, buildEpochMs + 100},
	} {
		if got := Next(row.wall, row.heard); got != row.want {
			t.Errorf("%s: got %d, want %d", row.name, got, row.want)
		}
	}
}

// A gateway's BGP prefers the lowest MED, and between equal ones the older route: it would keep from the loser that he lost.
func TestNext_ArrivalAfterAnother_IsNewerByMED(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := rapid.OneOf(rapid.Int64(), rapid.Int64Range(buildEpochMs-1000, buildEpochMs+1000), rapid.Int64Range(medEndMs-1000, medEndMs+1000))
		first := Next(clock.Draw(t, "one clock"), 2)
		for range rapid.IntRange(1, 4).Draw(t, "moves") {
			next := Next(clock.Draw(t, "another clock"), first)
			if next <= first || next.MED() >= first.MED() && first < medEndMs-medUnitMs {
				t.Fatalf("stamp %d has MED %d, the arrival after it %d has %d", first, first.MED(), next, next.MED())
			}
			first = next
		}
		if first.MED() >= Stamp(2).MED() {
			t.Fatalf("stamp %d is no better by MED than what nobody verified", first)
		}
	})
}

func TestMED_NewerStamp_IsNeverLessAttractive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Stamp(rapid.Uint64().Draw(t, "a"))
		b := Stamp(rapid.Uint64().Draw(t, "b"))
		if a > b && a.MED() > b.MED() {
			t.Fatalf("stamp %d has MED %d, older %d has %d", a, a.MED(), b, b.MED())
		}
	})
	if a, b := Stamp(buildEpochMs+medUnitMs), Stamp(buildEpochMs+2*medUnitMs); a.MED() != b.MED()+1 {
		t.Errorf("one unit apart: %d and %d", a.MED(), b.MED())
	}
}

func TestCommunities_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		asn := rapid.Uint32().Draw(t, "asn")
		h := Host{
			PortIndex: rapid.Uint32().Draw(t, "port"), Attachment: model.AttachmentID(rapid.Uint32().Draw(t, "id")),
			Role: rapid.SampledFrom([]model.Role{model.Primary, model.Backup}).Draw(t, "role"), Stamp: Stamp(rapid.Uint64().Draw(t, "stamp")),
		}
		if got, ok := ParseHost(asn, h.Communities(asn)); !ok || got != h {
			t.Fatalf("host: got %+v, %v, want %+v", got, ok, h)
		}
		a := Attachment{
			PortIndex: h.PortIndex, ID: h.Attachment, Role: h.Role, State: State(rapid.Uint32Range(1, 3).Draw(t, "state")),
			Reason: Reason(rapid.Uint32().Draw(t, "reason")),
		}
		if got, ok := ParseAttachment(asn, a.Communities(asn)); !ok || got != a {
			t.Fatalf("attachment: got %+v, %v, want %+v", got, ok, a)
		}
	})
}

func TestParse_ForeignCommunities_AreNotOurs(t *testing.T) {
	mine := Host{Stamp: 5}.Communities(65001)
	if _, ok := ParseHost(65002, mine); ok {
		t.Error("a claim under another AS number was taken for ours")
	}
	if _, ok := ParseHost(65001, nil); ok {
		t.Error("a plain /32 was taken for a stamped claim")
	}
	if _, ok := ParseAttachment(65001, mine); ok {
		t.Error("a host claim was taken for an attachment")
	}
	bad := Attachment{ID: 1, State: 9}.Communities(65001)
	if _, ok := ParseAttachment(65001, bad); ok {
		t.Error("an unknown state was accepted")
	}
}

func TestNewer_EqualStamps_LowerRouterIDWins(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("10.0.0.12")
	h := Host{Stamp: 7}
	if !h.Newer(h, a, b) || h.Newer(h, b, a) {
		t.Error("the lower router id must win a tie, and only one side may")
	}
	if h.Newer(Host{Stamp: 8}, a, b) {
		t.Error("an older stamp won")
	}
}

func TestPrefix_OffsetInRange(t *testing.T) {
	within := netip.MustParsePrefix("10.255.0.0/24")
	if p, ok := Prefix(within, 200); !ok || p.String() != "10.255.0.200/32" {
		t.Errorf("got %v, %v", p, ok)
	}
	if _, ok := Prefix(within, 256); ok {
		t.Error("an id outside the range was accepted")
	}
	if p, ok := Prefix(netip.MustParsePrefix("10.255.0.0/16"), 0x0102); !ok || p.String() != "10.255.1.2/32" {
		t.Errorf("got %v, %v", p, ok)
	}
}
