package bgp

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"pgregory.net/rapid"

	"peerless/internal/step"
)

func TestHeard_AnyHistory_WithdrawalsMatchWhatWasTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h heard
		limit := rapid.IntRange(0, 3).Draw(t, "limit")
		told := map[netip.Prefix]bool{} // as the machine sees it
		repeated := map[netip.Prefix]bool{}
		gone := func(withdrawals []step.Path) {
			for _, w := range withdrawals {
				if !w.Withdrawn || !told[w.Prefix] {
					t.Fatalf("withdrawal of %s, which was not told", w.Prefix)
				}
				delete(told, w.Prefix)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"path": func(t *rapid.T) {
				addr := netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "host") % 6})
				p := step.Path{Prefix: step.HostPrefix(addr), Withdrawn: rapid.Bool().Draw(t, "withdrawn")}
				fits := limit == 0 || len(told) < limit
				switch ok := h.admit(p, limit); {
				case p.Withdrawn && ok:
					gone([]step.Path{p})
				case p.Withdrawn && told[p.Prefix]:
					t.Fatalf("withdrawal of %s was swallowed", p.Prefix)
				case p.Withdrawn: // of what is not known: nothing to tell
				case ok:
					told[p.Prefix], repeated[p.Prefix] = true, true
				case fits || told[p.Prefix]:
					t.Fatalf("%s was swallowed", p.Prefix)
				}
			},
			"session": func(*rapid.T) { h.begin(); clear(repeated) },
			"sweep": func(t *rapid.T) {
				gone(h.sweep())
				for p := range told {
					if !repeated[p] {
						t.Fatalf("%s was not repeated and is still there", p)
					}
				}
			},
			"forget": func(t *rapid.T) {
				gone(h.forget())
				if len(told) > 0 {
					t.Fatalf("still there: %v", told)
				}
			},
		})
	})
}

func TestNotification_EachKind_HardOrSoft(t *testing.T) {
	for subcode := range uint8(12) {
		want := step.ReasonCeaseOther
		switch subcode {
		case packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN, packet.BGP_ERROR_SUB_PEER_DECONFIGURED, packet.BGP_ERROR_SUB_HARD_RESET:
			want = step.ReasonCeaseDown
		}
		if got := notification(packet.BGP_ERROR_CEASE, subcode, ""); got.reason != want {
			t.Errorf("Cease %d: %v", subcode, got)
		}
	}
	if got := notification(packet.BGP_ERROR_UPDATE_MESSAGE_ERROR, packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN, ""); got.reason != step.ReasonCeaseOther {
		t.Errorf("UPDATE error: %v", got)
	}
}

func TestLog_ReceivedNotification_BecomesTheCause(t *testing.T) {
	c := &causes{of: map[netip.Addr]cause{}}
	log := slog.New(logHandler{Handler: slog.DiscardHandler, causes: c}).With("Topic", "Peer", "Key", "192.0.2.1")
	log.Info("received notification", "Code", 6, "Subcode", 2, "Communicated-Reason", "power work")
	want := cause{step.ReasonCeaseDown, `received code 6(cease) subcode 2(administrative shutdown) "power work"`}
	if got, _ := c.take(netip.MustParseAddr("192.0.2.1")); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if _, again := c.take(netip.MustParseAddr("192.0.2.1")); again {
		t.Error("taken twice")
	}
}

func TestLog_Levels_OneDown(t *testing.T) {
	var kept []slog.Level
	log := slog.New(logHandler{Handler: levels{&kept}})
	log.Debug("d")
	log.Info("i")
	log.Warn("w")
	log.Error("e")
	if len(kept) != 2 || kept[0] != slog.LevelInfo || kept[1] != slog.LevelWarn {
		t.Errorf("%v", kept)
	}
}

// levels is a handler for info and above that keeps the levels it is given.
type levels struct{ kept *[]slog.Level }

func (levels) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (h levels) Handle(_ context.Context, r slog.Record) error {
	*h.kept = append(*h.kept, r.Level)
	return nil
}
func (h levels) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h levels) WithGroup(string) slog.Handler      { return h }
