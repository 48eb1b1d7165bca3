package bgp

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"peerless/internal/step"
)

// handshakeMax bounds OpenSent and OpenConfirm, in which GoBGP waits for up to 4 minutes on a connection whose link died.
const handshakeMax = 5 * time.Second

// peer is a neighbour as the loop sees it.
type peer struct {
	addr   netip.Addr
	config *Neighbor // nil: it came from a dynamic range
	state  packet.FSMState
	up     bool // told to the machine
	was    bool // it has been up

	shut        bool // by order: it stays without a session
	resetting   bool // its session is ours no more, though GoBGP has not reported the end yet
	unreachable bool // told to the machine since the session's end
	overLimit   bool // logged in this session

	heard      heard
	keepFor    time.Duration // its restart time (RFC 4724); 0: its routes end with the session
	keepNotify bool          // and it means NOTIFICATIONs too (RFC 8538)

	expiry    *time.Timer // of stale routes; nil: there are none
	handshake *time.Timer
	stopDial  context.CancelFunc
}

type peers map[netip.Addr]*peer

func (l *loop) withdraw(p *peer, withdrawals []step.Path) {
	if len(withdrawals) > 0 {
		l.tell(step.PathsChanged{Peer: p.addr, Paths: withdrawals})
	}
}

func (l *loop) received(u paths) {
	p := l.peers[u.from]
	if p == nil || !p.up {
		return // the last of a session that we have reset
	}
	if l.batch.Peer != p.addr {
		l.flush()
		l.batch.Peer = p.addr
	}
	for _, path := range u.all {
		switch {
		case !l.opts.accepts(path.Prefix):
			l.driver.refused.Add(1)
		case p.heard.admit(path, l.opts.MaxPrefixes):
			l.batch.Paths = append(l.batch.Paths, path)
		case !path.Withdrawn:
			l.driver.over.Add(1)
			if !p.overLimit {
				p.overLimit = true
				l.opts.Logger.Warn("too many prefixes, the rest is ignored", "peer", p.addr, "limit", l.opts.MaxPrefixes)
			}
		}
	}
}

func (l *loop) endOfRIB(from netip.Addr) {
	p := l.peers[from]
	if p == nil || !p.up {
		return
	}
	l.sweep(p)
	l.tell(step.EndOfRIB{Peer: p.addr})
}

// sweep ends the staleness of a neighbour's routes: what the current session has not repeated is gone.
func (l *loop) sweep(p *peer) {
	stop(&p.expiry)
	l.withdraw(p, p.heard.sweep())
}

// state follows GoBGP's state machine of a neighbour.
func (l *loop) state(s apiutil.PeerState) {
	if s.SessionState == packet.BGP_FSM_IDLE && s.DisconnectMessage == "" {
		return // removed by us, in renew
	}
	p := l.peers[s.NeighborAddress]
	if p == nil {
		p = &peer{addr: s.NeighborAddress}
		l.peers[p.addr] = p
	}
	p.state = s.SessionState
	p.rest()
	if p.shut { // whatever was under way comes to nothing
		l.driver.gate.close(p.addr)
		return
	}
	switch s.SessionState {
	case packet.BGP_FSM_ACTIVE:
		l.dial(p)
	case packet.BGP_FSM_OPENSENT, packet.BGP_FSM_OPENCONFIRM:
		p.handshake = time.AfterFunc(handshakeMax, func() {
			l.driver.inbox.put(func(l *loop) { l.abort(p) })
		})
	case packet.BGP_FSM_ESTABLISHED:
		l.awaitEstablished(p)
		l.driver.gate.close(p.addr)
		l.up(p, s)
	case packet.BGP_FSM_IDLE:
		l.driver.gate.close(p.addr)
		why, ok := l.causes.take(p.addr)
		if !ok {
			why = causeOf(s)
		}
		if p.up {
			l.down(p, why)
		}
		p.resetting = false
		l.renew(p)
		if p.config == nil && p.expiry == nil {
			delete(l.peers, p.addr)
		}
	default: // Connect, which GoBGP does not use
	}
}

// awaitEstablished waits for the few microseconds that pass between GoBGP's telling of a session and its acting upon it.
func (l *loop) awaitEstablished(p *peer) {
	for from := time.Now(); time.Since(from) < gateMax; runtime.Gosched() {
		waiting := false
		err := l.gobgp.ListPeer(context.Background(), &api.ListPeerRequest{Address: p.addr.String()}, func(g *api.Peer) {
			waiting = g.State.SessionState == api.PeerState_SESSION_STATE_OPENCONFIRM
		})
		if err != nil || !waiting {
			return
		}
	}
}

func (l *loop) up(p *peer, s apiutil.PeerState) {
	l.causes.take(p.addr)
	p.up, p.was, p.unreachable, p.overLimit = true, true, false, false
	p.keepFor, p.keepNotify = restartTime(s.RemoteCap)
	if l.opts.GracefulRestart <= 0 {
		p.keepFor = 0
	}
	p.heard.begin()
	l.tell(step.SessionChanged{Peer: p.addr, RouterID: s.RouterID, AS: s.PeerASN, Up: true})
	if p.keepFor == 0 {
		l.sweep(p) // it will not tell an End-of-RIB
	}
}

// restartTime is for how long a neighbour asks that its routes be kept when the session breaks.
func restartTime(capabilities []packet.ParameterCapabilityInterface) (keep time.Duration, notify bool) {
	const notificationBit = 0x4 // RFC 8538 section 2
	for _, c := range capabilities {
		gr, ok := c.(*packet.CapGracefulRestart)
		if ok && len(gr.Tuples) > 0 { // else it is only a helper
			return time.Duration(gr.Time) * time.Second, gr.Flags&notificationBit != 0
		}
	}
	return 0, false
}

// down tells the end of a session, and withdraws what was heard unless it is to outlive the session.
func (l *loop) down(p *peer, why cause) {
	p.up = false
	l.tell(step.SessionChanged{Peer: p.addr, Reason: why.reason, Detail: why.detail})
	soft := why.reason == step.ReasonReset || why.reason == step.ReasonHoldTimer ||
		why.reason == step.ReasonCeaseOther && p.keepNotify
	if !soft || p.keepFor == 0 {
		l.forget(p)
		return
	}
	stop(&p.expiry)
	ended := p.heard.session
	p.expiry = time.AfterFunc(p.keepFor, func() {
		l.driver.inbox.put(func(l *loop) { l.expire(p, ended) })
	})
}

func (l *loop) forget(p *peer) {
	stop(&p.expiry)
	l.withdraw(p, p.heard.forget())
}

// expire ends the restart time that began when the session ended.
func (l *loop) expire(p *peer, ended uint32) {
	switch {
	case p.expiry == nil: // it was stopped while this call was on its way
	case p.up:
		l.sweep(p)
	case ended == p.heard.session: // else a later session has ended, whose routes have a restart time of their own
		l.forget(p)
	}
}

// reset is ResetSession. A neighbour that is Active is dialled at once: the link may just have come back.
func (l *loop) reset(addr netip.Addr, why string) {
	p := l.peers[addr]
	switch {
	case p == nil || p.shut:
	case p.up:
		l.down(p, cause{step.ReasonOurs, why})
		p.resetting = true
		l.call(func(ctx context.Context) error {
			return l.gobgp.ResetPeer(ctx, &api.ResetPeerRequest{Address: addr.String(), Communication: why})
		})
	default:
		l.forget(p)
		if p.state == packet.BGP_FSM_ACTIVE {
			p.rest()
			l.dial(p)
		}
		l.abort(p)
	}
}

// abort ends a handshake; GoBGP then reports Idle.
func (l *loop) abort(p *peer) {
	if p.resetting || p.state != packet.BGP_FSM_OPENSENT && p.state != packet.BGP_FSM_OPENCONFIRM {
		return
	}
	l.call(func(ctx context.Context) error {
		return l.gobgp.DisablePeer(ctx, &api.DisablePeerRequest{Address: p.addr.String()})
	})
}

// renew puts a new neighbour in the place of one that is Idle. One that came from a range makes itself anew by connecting.
func (l *loop) renew(p *peer) {
	if l.leaving {
		return
	}
	l.call(l.renewal(p))
}

func (l *loop) renewal(p *peer) func(context.Context) error {
	var add *api.Peer
	if p.config != nil {
		add = l.opts.peer(*p.config, l.opts.Restarting && !p.was)
	}
	return func(ctx context.Context) error {
		err := l.gobgp.DeletePeer(ctx, &api.DeletePeerRequest{Address: p.addr.String()})
		if add == nil {
			return nil // GoBGP may have removed it already
		}
		return errors.Join(err, l.gobgp.AddPeer(ctx, &api.AddPeerRequest{Peer: add}))
	}
}

func (l *loop) dial(p *peer) {
	if p.config == nil || p.config.Passive || l.leaving {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stopDial = cancel
	d := dialer{to: *p.config, retry: l.opts.ConnectRetry, accept: l.handover, failed: func(err error) {
		l.driver.inbox.put(func(l *loop) { l.unreachable(p, err) })
	}}
	l.wg.Go(func() { d.run(ctx) })
}

// unreachable is told once after each session's end.
func (l *loop) unreachable(p *peer, err error) {
	if p.up || p.unreachable {
		return
	}
	p.unreachable = true
	l.tell(step.SessionChanged{Peer: p.addr, Reason: step.ReasonUnreachable, Detail: err.Error()})
}

// rest stops what belongs to a state of the state machine.
func (p *peer) rest() {
	stop(&p.handshake)
	if p.stopDial != nil {
		p.stopDial()
		p.stopDial = nil
	}
}

func stop(t **time.Timer) {
	if *t != nil {
		(*t).Stop()
		*t = nil
	}
}
