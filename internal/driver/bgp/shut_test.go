//go:build !race

package bgp

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"peerless/internal/step"
)

// The Cease is the word of whoever gives the order: both ends forget at once, and no session comes up before the order to open.
func TestShut_BothEndsForgetAtOnce_AndBackWhenOpened(t *testing.T) {
	tests := []struct {
		name   string
		atLeaf bool
	}{
		{"at the gateway", false},
		{"at the leaf", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			gateway, leaf := w.pair(withGracefulRestart)
			gateway.awaitEndOfRIB(leaf.addr)
			leaf.apply(tell(host1, 1))
			gateway.awaitPath(host1, false)
			ours, theirs := gateway, leaf
			if tt.atLeaf {
				ours, theirs = leaf, gateway
			}
			if err := ours.Shut(t.Context(), theirs.addr); err != nil {
				t.Fatal(err)
			}
			if down := ours.awaitDown(theirs.addr); down.Reason != step.ReasonOurs || down.Detail != shutWhy {
				t.Errorf("here: %v", down)
			}
			if down := theirs.awaitDown(ours.addr); down.Reason != step.ReasonCeaseDown {
				t.Errorf("there: %v", down)
			}
			gateway.awaitPath(host1, true)
			time.Sleep(20 * leaf.opts.ConnectRetry) // it is a refusal, and no accident of timing
			for _, s := range []*speaker{gateway, leaf} {
				s.mu.Lock()
				for _, e := range s.events {
					if c, ok := e.(step.SessionChanged); ok && c.Up {
						t.Errorf("a session that is shut came up: %v", c)
					}
				}
				s.mu.Unlock()
			}
			if err := errors.Join(ours.Shut(t.Context(), theirs.addr), ours.Open(t.Context(), theirs.addr)); err != nil {
				t.Fatal(err)
			}
			ours.awaitUp(theirs.addr)
			gateway.awaitPath(host1, false)
		})
	}
}

func TestShut_WhoCannotBeShut_IsTold(t *testing.T) {
	w := newWorld(t)
	gateway, leaf := w.pair(func(g, _ *Options) {
		g.Neighbors, g.Dynamic = nil, []DynamicRange{{Prefix: netip.PrefixFrom(w.addr(0), 24), AS: 65002}}
	})
	for _, tt := range []struct {
		name string
		addr netip.Addr
		want error
	}{{"nobody", w.addr(77), ErrNoNeighbor}, {"one that came by itself", leaf.addr, ErrByItself}} {
		if err := gateway.Shut(t.Context(), tt.addr); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
