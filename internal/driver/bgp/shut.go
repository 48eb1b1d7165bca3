package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/osrg/gobgp/v4/api"

	"peerless/internal/step"
)

// shutWhy is told to the neighbour (RFC 9003) and to our machine.
const shutWhy = "shut by order"

// Why an order is not taken.
var (
	ErrNoNeighbor = errors.New("no such neighbour")
	ErrByItself   = errors.New("it came by itself, out of a range of addresses, and would come again")
)

// Shut ends the session with a neighbour by a Cease that means shutdown, and refuses a new one until Open or the speaker's end. What was
// heard of it is withdrawn at once.
func (d *Driver) Shut(ctx context.Context, neighbor netip.Addr) error {
	return d.order(ctx, neighbor, (*loop).shut)
}

// Open ends a Shut.
func (d *Driver) Open(ctx context.Context, neighbor netip.Addr) error {
	return d.order(ctx, neighbor, (*loop).reopen)
}

// order has the loop do something to a neighbour, and waits until GoBGP has taken it: a next order must not overtake.
func (d *Driver) order(ctx context.Context, neighbor netip.Addr, do func(*loop, *peer) func(context.Context) error) error {
	if err := d.ready(); err != nil {
		return fmt.Errorf("order to %s: %w", neighbor, err)
	}
	done := make(chan error, 1)
	d.inbox.put(func(l *loop) {
		p := l.peers[neighbor]
		switch {
		case p == nil:
			done <- ErrNoNeighbor
			return
		case p.config == nil:
			done <- ErrByItself
			return
		}
		call := do(l, p)
		if call == nil {
			done <- nil
			return
		}
		l.wg.Go(func() { done <- call(context.Background()) })
	})
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("order to %s: %w", neighbor, err)
		}
		return nil
	case <-d.ended:
		return errNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *loop) shut(p *peer) func(context.Context) error {
	if p.shut {
		return nil
	}
	p.shut = true
	p.rest()
	if p.up {
		l.down(p, cause{step.ReasonOurs, shutWhy})
	} else {
		l.forget(p)
	}
	return func(ctx context.Context) error {
		return l.gobgp.DisablePeer(ctx, &api.DisablePeerRequest{Address: p.addr.String(), Communication: shutWhy})
	}
}

func (l *loop) reopen(p *peer) func(context.Context) error {
	if !p.shut {
		return nil
	}
	p.shut, p.resetting = false, false
	return l.renewal(p)
}
