package bgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/server"

	"peerless/internal/step"
)

// ceaseMax is for the last words of Stop(false).
const ceaseMax = 500 * time.Millisecond

// paths is an inbox item: what GoBGP received in one UPDATE.
type paths struct {
	from netip.Addr
	all  []step.Path
}

// loop is Run's state. Only Run's goroutine touches it; everything else reaches it through the inbox, in order.
type loop struct {
	driver   *Driver
	opts     *Options
	gobgp    *server.BgpServer
	handover chan<- net.Conn
	causes   *causes
	post     func(step.Event)
	peers    peers
	batch    step.PathsChanged // not posted yet
	leaving  bool
	open     bool        // neighbours are let in
	settling *time.Timer // until they are
	latest   time.Time
	watching context.CancelFunc
	wg       sync.WaitGroup // dials and calls into GoBGP
}

// begin watches GoBGP and adds the neighbours. GoBGP calls back from one goroutine, in the order of what happened; an
// UPDATE is told before it enters any table.
func (l *loop) begin() error {
	ctx, cancel := context.WithCancel(context.Background())
	l.watching = cancel
	put := l.driver.inbox.put
	err := l.gobgp.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnPathUpdate: func(received []*apiutil.Path, _ time.Time) {
			item := paths{from: received[0].PeerAddress, all: make([]step.Path, 0, len(received))}
			for _, r := range received {
				if p, ok := decode(r); ok {
					item.all = append(item.all, p)
				}
			}
			put(item)
		},
		OnPathEor: func(p *apiutil.Path, _ time.Time) { put(func(l *loop) { l.endOfRIB(p.PeerAddress) }) },
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
			if e.Type == apiutil.PEER_EVENT_STATE {
				put(func(l *loop) { l.state(e.Peer.State) })
			}
		},
	}, server.WatchUpdate(false, "", ""), server.WatchEor(false), server.WatchPeer())
	if err != nil {
		return fmt.Errorf("start bgp: watch: %w", err)
	}
	for i := range l.opts.Neighbors {
		n := &l.opts.Neighbors[i]
		l.peers[n.Address] = &peer{addr: n.Address, config: n}
	}
	if l.opts.Restarting {
		l.latest = time.Now().Add(deferralMax)
		l.settle(deferralMax)
		return nil
	}
	l.open = true
	return l.opts.admit(ctx, l.gobgp)
}

// settle lets the neighbours in when the machine has told nothing for so long. See settleQuiet.
func (l *loop) settle(quiet time.Duration) {
	if l.open || l.leaving {
		return
	}
	stop(&l.settling)
	l.settling = time.AfterFunc(min(quiet, time.Until(l.latest)), func() {
		l.driver.inbox.put(func(l *loop) {
			if l.open || l.leaving {
				return
			}
			l.open = true
			l.driver.settled.Store(true)
			if err := l.opts.admit(context.Background(), l.gobgp); err != nil {
				l.opts.Logger.Error("no neighbours", "error", err)
			}
		})
	})
}

// leave ends everything. What happens meanwhile is not told any more.
func (l *loop) leave(graceful bool) error {
	l.leaving = true
	if !graceful {
		l.cease()
	}
	l.watching()
	stop(&l.settling)
	for _, p := range l.peers {
		p.rest()
	}
	err := l.gobgp.StopBgp(context.Background(), &api.StopBgpRequest{AllowGracefulRestart: graceful})
	l.gobgp.Stop()
	l.wg.Wait()
	if err != nil {
		return fmt.Errorf("stop bgp: %w", err)
	}
	return nil
}

// cease says goodbye and waits until it is said: GoBGP, when it stops, may close a connection before its last words.
func (l *loop) cease() {
	// An error means that there is no neighbour left to tell.
	_ = l.gobgp.ShutdownPeer(context.Background(), &api.ShutdownPeerRequest{Communication: "daemon stopped"})
	timeout := time.After(ceaseMax)
	for l.peers.anyUp() {
		select {
		case <-l.driver.inbox.bell:
			l.drain()
		case <-timeout:
			return
		}
	}
}

func (ps peers) anyUp() bool {
	for _, p := range ps {
		if p.up {
			return true
		}
	}
	return false
}

// drain handles all that has come. Paths of one neighbour that follow each other become one event.
func (l *loop) drain() {
	for _, item := range l.driver.inbox.take() {
		switch item := item.(type) {
		case paths:
			l.received(item)
		case func(*loop):
			l.flush()
			item(l)
		}
	}
	l.flush()
}

func (l *loop) flush() {
	if len(l.batch.Paths) > 0 {
		l.tell(l.batch)
	}
	l.batch = step.PathsChanged{}
}

func (l *loop) tell(e step.Event) {
	if !l.leaving {
		l.post(e)
	}
}

// call runs what needs GoBGP's management goroutine, which may be busy, aside.
func (l *loop) call(f func(context.Context) error) {
	l.wg.Go(func() {
		if err := f(context.Background()); err != nil {
			l.opts.Logger.Debug("bgp call", "error", err)
		}
	})
}
