// Package bgp is a BGP speaker: GoBGP in process, as a source of what neighbours say and a sink for what we say.
//
// It decides how sessions are kept alive and re-made, and which of the routes heard outlive a session (graceful restart,
// RFC 4724 and RFC 8538). It never chooses among routes heard, never touches the kernel's tables, and never tells one
// gateway what it heard from another unless Transit is set.
//
// What a machine may rely on, per neighbour and in this order: SessionChanged up; PathsChanged for every path received, before
// any best-path choice, repeats included; EndOfRIB; SessionChanged down. After a session is down, a Withdrawn path means
// that the route is really gone: at once when the neighbour said so (Cease) or when we reset the session, at the next
// session's End-of-RIB for what was not repeated, else when the neighbour's restart time is over.
//
// # Why GoBGP does not connect and does not keep stale routes
//
// Three habits of GoBGP 4.8 stand in the way of a quick repair, so this package does without them. Its connector waits
// 1.5 to 2 s before the first attempt and between any two; here every neighbour is passive to GoBGP and dial.go
// connects. A session that ended, or a handshake that failed, leaves the neighbour in Idle for 5 s, refusing
// connections; here the neighbour is replaced by a new one, which is ready at once (session.go). And a neighbour whose routes
// are stale loses them all when one handshake fails; here heard.go keeps them.
package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/server"

	"peerless/internal/step"
)

// Driver is one speaker. It is a source, the sink of advertisements, and the emitter of ResetSession.
type Driver struct {
	opts    Options
	started chan struct{} // closed when gobgp can be used
	ended   chan struct{} // closed when Run has returned
	stop    chan bool     // asks Run to end; the value: gracefully
	running atomic.Bool
	settled atomic.Bool // nothing waits for what is told to come to an end
	gobgp   *server.BgpServer
	gate    *gate
	told    time.Time // last; only Apply's
	inbox   inbox
	refused atomic.Uint64
	over    atomic.Uint64
}

// New makes a speaker. It opens nothing: Run does.
func New(opts Options) (*Driver, error) {
	opts, err := opts.checked()
	if err != nil {
		return nil, err
	}
	return &Driver{
		opts: opts, started: make(chan struct{}), ended: make(chan struct{}), stop: make(chan bool, 1),
		inbox: inbox{bell: make(chan struct{}, 1)}, gate: newGate(),
	}, nil
}

// Run speaks until the context ends, which leaves as Stop(true) does, or until Stop.
func (d *Driver) Run(ctx context.Context, post func(step.Event)) error {
	if d.running.Swap(true) {
		return errors.New("run bgp: already running")
	}
	defer close(d.ended)
	causes := &causes{of: map[netip.Addr]cause{}}
	gobgp, handover, err := start(ctx, &d.opts, logHandler{Handler: d.opts.Logger.Handler(), causes: causes, gate: d.gate})
	if err != nil {
		return err
	}
	l := &loop{driver: d, opts: &d.opts, gobgp: gobgp, handover: handover, causes: causes, post: post, peers: peers{}}
	if err := l.begin(); err != nil {
		return errors.Join(err, l.leave(true))
	}
	d.gobgp = gobgp
	close(d.started)
	for {
		select {
		case <-d.inbox.bell:
			l.drain()
		case <-ctx.Done():
			return l.leave(true)
		case graceful := <-d.stop:
			return l.leave(graceful)
		}
	}
}

// Stop ends Run and waits for it. Gracefully, it leaves without a word, so that neighbours keep our routes for the restart
// time (without GracefulRestart there is no such way); else it tells them to forget us (Cease, administrative shutdown).
func (d *Driver) Stop(graceful bool) {
	select {
	case d.stop <- graceful:
	default: // it is being stopped already
	}
	if d.running.Load() {
		<-d.ended
	}
}

// Counters are what was received and not passed on to the machine, since the start.
type Counters struct {
	Refused   uint64 // not a host route of an accepted prefix
	OverLimit uint64 // beyond MaxPrefixes
}

// Counters gives the current counts.
func (d *Driver) Counters() Counters {
	return Counters{Refused: d.refused.Load(), OverLimit: d.over.Load()}
}

// Emit fires ResetSession.
func (d *Driver) Emit(e step.Effect) (handled bool, err error) {
	r, ok := e.(step.ResetSession)
	if !ok {
		return false, nil
	}
	d.inbox.put(func(l *loop) { l.reset(r.Peer, r.Why) })
	return true, nil
}

// Kinds says that advertisements are applied here.
func (d *Driver) Kinds() []step.Kind { return []step.Kind{step.KindAdvertisement} }

// Inline is false: GoBGP's management goroutine may be busy with a neighbour.
func (d *Driver) Inline() bool { return false }

// startMax bounds how long Apply waits for Run to have begun.
const startMax = time.Second

var errNotRunning = errors.New("the speaker is not running")

// Apply tells or withdraws routes, in the order given. Telling a prefix again replaces its attributes in place.
func (d *Driver) Apply(wants []step.Want) []error {
	errs := make([]error, len(wants))
	if err := d.ready(); err != nil {
		for i := range errs {
			errs[i] = fmt.Errorf("apply %s: %w", wants[i].Object, err)
		}
		return errs
	}
	var run []*apiutil.Path // of one kind, tell or withdraw, as far as they follow each other
	var at []int
	flush := func() {
		if len(run) == 0 {
			return
		}
		if err := d.gate.apply(func() error { return d.apply(run) }); err != nil {
			for _, i := range at {
				errs[i] = fmt.Errorf("apply %s: %w", wants[i].Object, err)
			}
		}
		run, at = nil, nil
	}
	for i, w := range wants {
		path, err := d.opts.encode(w)
		if err != nil {
			errs[i] = err
			continue
		}
		if len(run) > 0 && run[0].Withdrawal != path.Withdrawal {
			flush()
		}
		run, at = append(run, path), append(at, i)
	}
	flush()
	if d.opts.Restarting && !d.settled.Load() {
		d.inbox.put(func(l *loop) { l.settle(settleQuiet) })
	}
	return errs
}

// spacing is how long GoBGP's sender is given to send what was told before a withdrawal follows. It packs what has piled up,
// withdrawals first and the rest in any order; but the news that an attachment is down explains the withdrawals
// after it, and is better heard before them. Nothing but that explanation depends on it.
const spacing = 300 * time.Microsecond

func (d *Driver) apply(run []*apiutil.Path) error {
	if run[0].Withdrawal {
		time.Sleep(spacing - time.Since(d.told))
		return d.gobgp.DeletePath(apiutil.DeletePathRequest{Paths: run})
	}
	_, err := d.gobgp.AddPath(apiutil.AddPathRequest{Paths: run})
	d.told = time.Now()
	return err
}

func (d *Driver) ready() error {
	timeout := time.NewTimer(startMax)
	defer timeout.Stop()
	select {
	case <-d.ended:
		return errNotRunning
	case <-d.started:
		return nil
	case <-timeout.C:
		return errNotRunning
	}
}

// inbox is the unbounded queue to the loop: nothing that GoBGP tells is ever dropped or waits.
type inbox struct {
	mu    sync.Mutex
	items []any // paths or func(*loop)
	bell  chan struct{}
}

func (b *inbox) put(item any) {
	b.mu.Lock()
	b.items = append(b.items, item)
	b.mu.Unlock()
	select {
	case b.bell <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []any {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = nil
	return items
}
