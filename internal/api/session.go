package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"peerless/internal/step"
)

// Speaker has the routing sessions.
type Speaker interface {
	Shut(ctx context.Context, neighbor netip.Addr) error
	Open(ctx context.Context, neighbor netip.Addr) error
}

// Ordered says whose session was shut or opened.
type Ordered struct {
	Peer string `json:"peer"`
	Name string `json:"name,omitempty"`
}

// session gives an order for the session with a neighbour, which is called by its address or by its name.
func (o Options) session(order func(Speaker, context.Context, netip.Addr) error) endpoint {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		if o.Speaker == nil {
			return nil, refusal{http.StatusNotImplemented, fmt.Sprintf("%s has no routing sessions of its own", o.Status.Name)}
		}
		v, err := o.view(r)
		if err != nil {
			return nil, err
		}
		called := r.URL.Query().Get("neighbor")
		i := slices.IndexFunc(v.Sessions, func(s step.SessionRow) bool { return s.Peer == called || s.Name == called })
		if called == "" || i < 0 {
			return nil, refusal{http.StatusNotFound, fmt.Sprintf("no session with a neighbour %q", called)}
		}
		addr, err := netip.ParseAddr(v.Sessions[i].Peer)
		if err != nil {
			return nil, refusal{http.StatusNotFound, fmt.Sprintf("the session with %s has no address", called)}
		}
		if err := order(o.Speaker, r.Context(), addr); err != nil {
			return nil, fmt.Errorf("session with %s: %w", called, err)
		}
		return Ordered{Peer: v.Sessions[i].Peer, Name: v.Sessions[i].Name}, nil
	}
}
