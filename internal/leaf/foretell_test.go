package leaf

import (
	"slices"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// heeding makes the gateway say that it moves hosts by the word on their attachment.
func (w *world) heeding(u Uplink) {
	w.do(step.PathsChanged{Peer: u.Neighbor, Paths: []step.Path{{Prefix: anywhere, NextHop: u.Neighbor, Large: claim.Heeding(65000)}}})
}

func TestLeaf_PortLost_SaysSoByARPFirst(t *testing.T) {
	cfg := small()
	w := newWorld(t, cfg)
	w.open()
	w.heeding(cfg.Uplinks[0])
	w.do(garp("A2", 2))
	effects := w.port("A2", carrier(false))
	said := slices.IndexFunc(effects, func(e step.Effect) bool { a, ok := e.(step.SendARP); return ok && a.Op == step.ARPNak })
	announced := slices.IndexFunc(effects, func(e step.Effect) bool { _, ok := e.(step.Want); return ok })
	if said < 0 || said > announced {
		t.Fatalf("said at %d, the first want at %d of %v", said, announced, effects)
	}
	a := effects[said].(step.SendARP)
	if !a.Urgent {
		t.Error("not urgent: the announcement is, and would be carried out before it")
	}
	attachment, _ := claim.Prefix(cfg.AttachmentRange, 2)
	state, reason, ok := claim.ParseForetold(a.TargetMAC)
	if a.Port != "A0" || a.SenderIP != w.m.ups[0].own.Addr() || a.TargetIP != attachment.Addr() || !ok || state != claim.Down || reason != claim.ReasonCarrierLost {
		t.Errorf("said %+v", a)
	}
}

func TestLeaf_PortLost_SaysNothingByARP(t *testing.T) {
	tests := []struct {
		name string
		do   func(w *world, u Uplink) []step.Effect
	}{
		{"to a gateway that does not heed it", func(w *world, _ Uplink) []step.Effect { return w.port("A2", carrier(false)) }},
		{"without a session", func(w *world, u Uplink) []step.Effect {
			w.heeding(u)
			w.do(step.SessionChanged{Peer: u.Neighbor, Reason: step.ReasonReset})
			return w.port("A2", carrier(false))
		}},
		{"twice", func(w *world, u Uplink) []step.Effect {
			w.heeding(u)
			w.port("A2", carrier(false))
			return w.port("A2", admin(false))
		}},
		{"of a port that is drained", func(w *world, u Uplink) []step.Effect {
			w.heeding(u)
			w.do(step.Commanded{Order: step.OrderDrain, Force: true})
			return w.pass(time.Minute)
		}},
		{"by a link that is lost", func(w *world, u Uplink) []step.Effect {
			w.heeding(u)
			return w.port(u.Port, carrier(false))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := small()
			w := newWorld(t, cfg)
			w.open()
			w.do(garp("A2", 2))
			for _, e := range tt.do(w, cfg.Uplinks[0]) {
				if a, ok := e.(step.SendARP); ok && a.Op == step.ARPNak && a.Port != model.Port("A2") {
					t.Errorf("says %s", a)
				}
			}
		})
	}
}
