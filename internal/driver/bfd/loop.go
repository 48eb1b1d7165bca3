package bfd

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bfd"
	"golang.org/x/sys/unix"

	"peerless/internal/driver/bfd/session"
	"peerless/internal/step"
)

const (
	// readMax bounds what is read from one port between two looks at what is due, floodMax what is read before a verdict: a flood may
	// delay neither for ever.
	readMax  = 64
	floodMax = 16
	// highest is the best niceness: our thread sleeps nearly always, and has to be on time.
	highest = -20
	slice   = 100 * time.Microsecond
	idle    = time.Hour
)

// loop is what only the loop's thread touches.
type loop struct {
	d      *Driver
	now    time.Duration
	links  []*link
	peers  []*peer
	post   func(step.Event)
	poll   []unix.PollFd
	buffer buffers
}

// keep is the loop: orders, what is due, sleep, what came, verdicts.
func (d *Driver) keep(ctx context.Context, post func(step.Event)) {
	runtime.LockOSThread() // and never unlocked: the thread ends with its priority
	if err := prefer(); err != nil {
		d.log.Debug("no priority for the thread of BFD", "error", err)
	}
	l := &d.loop
	l.post, l.now = post, clock(unix.CLOCK_MONOTONIC)
	d.takeOrders()
	for ctx.Err() == nil {
		due := l.transmit()
		l.sleep(due)
		l.now = clock(unix.CLOCK_MONOTONIC)
		d.takeOrders()
		if l.receive() {
			l.judge(l.now - due)
		}
		l.now = clock(unix.CLOCK_MONOTONIC)
	}
	for _, p := range l.peers {
		l.goodbye(p)
	}
}

// prefer makes the kernel run this thread soon after it wakes. Its class is that of all others, which it cannot starve: it sleeps nearly
// always. The short slice lets it preempt whoever runs (Linux 6.12; older kernels ignore it). On a machine with two busy processes for
// each processor it was still late by up to 15 ms, which 10 ms x 3 bears.
func prefer() error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_NORMAL, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Nice: highest, Runtime: uint64(slice.Nanoseconds())}, 0)
}

func (d *Driver) takeOrders() {
	d.orders.Lock()
	list := d.orders.list
	d.orders.list = nil
	d.orders.Unlock()
	for _, f := range list {
		f()
	}
}

// transmit sends what is due and gives the earliest instant at which something is.
func (l *loop) transmit() time.Duration {
	due := l.now + idle
	for _, p := range l.peers {
		if out, ok := p.session.Transmit(l.now); ok {
			l.send(p, out)
		}
		if at, ok := p.session.Next(); ok {
			due = min(due, at)
		}
	}
	return due
}

// send gives a packet to the kernel. A port that is down or has no address loses it, like a cable that is cut.
func (l *loop) send(p *peer, out packet.BFDHeader) {
	b, err := out.MarshalBinary()
	if err == nil {
		err = unix.Sendto(p.fd, b, unix.MSG_DONTWAIT, &unix.SockaddrInet4{Port: controlPort, Addr: p.addr.As4()})
	}
	if err != nil {
		p.once(l, "not sent: "+err.Error())
	}
}

// once logs a reason for which packets are lost, the first time that it occurs.
func (p *peer) once(l *loop, why string) {
	if len(p.refused) < readMax && !p.refused[why] {
		p.refused[why] = true
		l.d.log.Debug("packet lost", "port", string(p.port), "peer", p.addr.String(), "why", why)
	}
}

func (l *loop) sleep(due time.Duration) {
	l.poll = append(l.poll[:0], unix.PollFd{Fd: int32(l.d.bell), Events: unix.POLLIN})
	for _, k := range l.links {
		l.poll = append(l.poll, unix.PollFd{Fd: int32(k.fd), Events: unix.POLLIN})
	}
	pause := unix.NsecToTimespec(max(0, due-l.now).Nanoseconds())
	if _, err := unix.Ppoll(l.poll, &pause, nil); err != nil {
		return // a signal: everything is looked at
	}
	if l.poll[0].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(l.d.bell, count[:])
	}
}

// receive reads what has come up to now. It reports false when there is more than it would read at once, so that no verdict may be
// drawn yet.
func (l *loop) receive() bool {
	all := true
	for _, k := range l.links {
		rounds := 0
		for l.read(k) {
			if rounds++; rounds >= floodMax {
				break
			}
		}
		all = all && rounds < floodMax
	}
	return all
}

// read takes up to readMax packets from a port, and reports whether there may be more.
func (l *loop) read(k *link) bool {
	from := k.drained
	for range readMax {
		at := clock(unix.CLOCK_MONOTONIC)
		d, ok := l.buffer.read(k.fd)
		if !ok {
			k.drained = at
			return false
		}
		// The wall clock may be set at any time: a packet came after the port was last found empty, and before it was read.
		read := clock(unix.CLOCK_MONOTONIC)
		l.take(k, d, min(max(read-d.age, from), read))
	}
	return true
}

// take gives a packet to the session that it belongs to (RFC 5880 section 6.8.6, RFC 5881 section 3).
func (l *loop) take(k *link, d datagram, at time.Duration) {
	p := l.belongs(k, d)
	if p == nil {
		return
	}
	if d.ttl != hopLimit { // RFC 5881 section 5, RFC 5082
		p.once(l, fmt.Sprintf("received with TTL %d", d.ttl))
		return
	}
	in, flags, err := decode(d.payload)
	if err != nil || !session.Accepts(&in, flags) || in.YourDiscriminator != 0 && in.YourDiscriminator != p.id {
		p.once(l, "received malformed, authenticated, or meant for another session")
		return
	}
	if p.session.Receive(max(at, l.now), at, &in, session.Demands(flags)) {
		l.send(p, p.session.Final())
	}
	l.tell(p)
}

// decode reads a packet. What follows the packet in the datagram is none of it (RFC 5880 section 6.8.6); the codec wants it cut off.
func decode(b []byte) (p packet.BFDHeader, flags byte, err error) {
	if len(b) > 3 && int(b[3]) < len(b) {
		b = b[:b[3]]
	}
	if err = p.UnmarshalBinary(b); err == nil {
		flags = b[1]
	}
	return p, flags, err
}

// belongs finds the session with the sender: on one port a neighbour has one.
func (l *loop) belongs(k *link, d datagram) *peer {
	for _, p := range l.peers {
		if p.link == k && p.addr == d.from {
			return p
		}
	}
	return nil
}

// judge looks for neighbours that are silent; late is by how much this thread was late itself.
func (l *loop) judge(late time.Duration) {
	for _, p := range l.peers {
		p.session.Excuse(l.now, late)
		if p.session.Expire(l.now) {
			l.tell(p)
		}
	}
}

// tell posts what changed.
func (l *loop) tell(p *peer) {
	s := p.session.Status()
	ev := step.BFDChanged{Port: p.port, Peer: p.addr, Up: s.State == packet.StateUp}
	switch {
	case ev.Up && (!p.up || s.Detect != p.detect):
		ev.Detect = s.Detect
	case !ev.Up && p.up:
		ev.Admin = s.RemoteState == packet.StateAdminDown || s.State == packet.StateAdminDown
		ev.Diag = diagnosis(s)
	default:
		return
	}
	p.up, p.detect = ev.Up, s.Detect
	l.post(ev)
}

func diagnosis(s session.Status) string {
	if s.Diagnostic != packet.DiagnosticNeighborSignaledSessionDown {
		return s.Diagnostic.String()
	}
	return s.Diagnostic.String() + " (" + s.RemoteDiagnostic.String() + ")"
}

// goodbye turns a session off and says so twice, since one packet may get lost.
func (l *loop) goodbye(p *peer) {
	for range 2 {
		p.session.Disable(l.now)
		if out, ok := p.session.Transmit(l.now); ok {
			l.send(p, out)
		}
	}
}

func (l *loop) drop(p *peer) {
	l.peers = slices.DeleteFunc(l.peers, func(o *peer) bool { return o == p })
	_ = unix.Close(p.fd)
}

func (l *loop) close(k *link) {
	l.links = slices.DeleteFunc(l.links, func(o *link) bool { return o == k })
	_ = unix.Close(k.fd)
}

// freeID is a discriminator that no other session has; 0 is none's.
func (l *loop) freeID(id uint32) uint32 {
	for id == 0 || slices.ContainsFunc(l.peers, func(p *peer) bool { return p.id == id }) {
		id++
	}
	return id
}
