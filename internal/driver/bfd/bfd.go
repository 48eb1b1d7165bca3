// Package bfd runs bidirectional forwarding detection with neighbours on directly connected ports (RFC 5880, RFC 5881): UDP port
// 3784, TTL 255 sent and required, each socket bound to its port.
//
// It decides when a packet goes out, and whether one that came in is a neighbour's. What a session says of the path is told as an event,
// and judged by the machine. It never takes a pause of this process for silence of the neighbour: what the kernel has queued is read, by
// the kernel's own time stamps, before a session is called down. It works on a thread of its own, so that neither a busy machine nor a
// busy engine keeps the neighbour waiting. The flag C is never set: a session ends with the daemon, forwarding does not (RFC 5882 section
// 4.3).
package bfd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/driver/bfd/session"
	"peerless/internal/model"
	"peerless/internal/step"
)

// Options tune the driver. The zero value serves.
type Options struct {
	Logger *slog.Logger // nil: silent
}

// How long a socket of our own may take to be closed.
const (
	closeTries = 100
	closePause = 200 * time.Microsecond
)

var errClosed = errors.New("bfd driver is closed")

// Driver is a sink of wanted sessions and a source of what becomes of them. Sockets belong to the network namespace of the thread that
// calls Apply.
type Driver struct {
	log  *slog.Logger
	bell int // eventfd: wakes the loop

	mu     sync.Mutex // held while sockets are opened, never by the loop
	peers  map[step.Key]*peer
	links  map[model.Port]*link
	closed bool

	orders struct { // for the loop, which alone touches sessions
		sync.Mutex
		list []func()
	}
	closing atomic.Int32 // receiving sockets that the loop is to close
	loop    loop
	done    chan struct{} // closed when the loop has ended; nil until Run
}

// link is a port with its receiving socket.
type link struct {
	port    model.Port
	fd      int
	index   int           // of the device that the socket is bound to
	users   int           // sessions that are wanted there
	drained time.Duration // the loop's: nothing was left unread then
}

// peer is a wanted session.
type peer struct {
	port model.Port
	addr netip.Addr
	link *link
	fd   int // sends

	// The loop's.
	session *session.Session
	id      uint32
	up      bool // as told
	detect  time.Duration
	refused map[string]bool // reasons that were logged
}

// New makes a driver without sessions.
func New(o Options) (*Driver, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	bell, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	d := &Driver{log: o.Logger, bell: bell, peers: map[step.Key]*peer{}, links: map[model.Port]*link{}}
	d.loop.d = d
	return d, nil
}

// Kinds is what the driver applies.
func (d *Driver) Kinds() []step.Kind { return []step.Kind{step.KindBFDSession} }

// Inline reports that a want takes microseconds.
func (d *Driver) Inline() bool { return true }

// Apply opens, changes or ends sessions. One whose device was replaced by another of the same name begins anew.
func (d *Driver) Apply(wants []step.Want) []error {
	errs := make([]error, len(wants))
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, w := range wants {
		want, ok := w.Object.(step.BFDSession)
		switch {
		case !ok:
			errs[i] = fmt.Errorf("apply %s: not for the bfd driver", w.Object)
		case d.closed:
			errs[i] = fmt.Errorf("apply %s: %w", want, errClosed)
		case w.Absent:
			d.end(want.Key())
		default:
			if err := d.begin(want); err != nil {
				errs[i] = fmt.Errorf("apply %s: %w", want, err)
			}
		}
	}
	return errs
}

func (d *Driver) begin(want step.BFDSession) error {
	if want.Interval <= 0 || want.Multiplier < 1 || want.Multiplier > 255 || !want.Peer.Is4() {
		return errors.New("interval, multiplier or address out of bounds")
	}
	key := want.Key()
	index, err := deviceIndex(want.Port)
	if err != nil {
		d.end(key)
		return err
	}
	if p := d.peers[key]; p != nil && p.link.index == index {
		d.order(func() { p.session.Retune(d.loop.now, want.Interval, uint8(want.Multiplier)) })
		return nil
	}
	d.end(key)
	l, err := d.open(want.Port, index)
	if err != nil {
		return err
	}
	p := &peer{port: want.Port, addr: want.Peer, link: l, refused: map[string]bool{}}
	if p.fd, err = openSender(want.Port); err != nil {
		d.leave(l)
		return err
	}
	d.peers[key] = p
	var dice [12]byte
	_, _ = rand.Read(dice[:]) // never fails
	seed := binary.NativeEndian.Uint64(dice[4:])
	d.order(func() {
		p.id = d.loop.freeID(binary.NativeEndian.Uint32(dice[:4]))
		p.session = session.New(session.Config{Interval: want.Interval, Multiplier: uint8(want.Multiplier), Discriminator: p.id, Seed: seed}, d.loop.now)
		d.loop.peers = append(d.loop.peers, p)
	})
	return nil
}

// open finds or makes the receiving socket of a port.
func (d *Driver) open(port model.Port, index int) (*link, error) {
	if l := d.links[port]; l != nil && l.index == index {
		l.users++
		return l, nil
	}
	fd, err := d.openReceiver(port)
	if err != nil {
		return nil, err
	}
	l := &link{port: port, fd: fd, index: index, users: 1}
	d.links[port] = l // one of a device that is gone goes with its last session
	d.order(func() {
		l.drained = d.loop.now
		d.loop.links = append(d.loop.links, l)
	})
	return l, nil
}

// openReceiver waits for a socket of our own on the same port, which the loop is about to close.
func (d *Driver) openReceiver(port model.Port) (fd int, err error) {
	for tries := 0; ; tries++ {
		closing := d.closing.Load() > 0
		fd, err = openReceiver(port)
		if !closing || tries == closeTries || !errors.Is(err, unix.EADDRINUSE) {
			return fd, err
		}
		time.Sleep(closePause)
	}
}

// end forgets a session without a word to the neighbour: where it is not wanted, the neighbour has its own config.
func (d *Driver) end(key step.Key) {
	p := d.peers[key]
	if p == nil {
		return
	}
	delete(d.peers, key)
	d.order(func() {
		d.loop.goodbye(p)
		d.loop.drop(p)
	})
	d.leave(p.link)
}

func (d *Driver) leave(l *link) {
	if l.users--; l.users > 0 {
		return
	}
	if d.links[l.port] == l {
		delete(d.links, l.port)
	}
	d.closing.Add(1)
	d.order(func() {
		d.loop.close(l)
		d.closing.Add(-1)
	})
}

// order has the loop do something; before Run it is done when the loop begins.
func (d *Driver) order(f func()) {
	d.orders.Lock()
	d.orders.list = append(d.orders.list, f)
	d.orders.Unlock()
	d.ring()
}

func (d *Driver) ring() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(d.bell, one[:]) // fails only if it rings already
}

// Run keeps the sessions until ctx is done, then turns them off: the neighbours are told that it is on purpose.
func (d *Driver) Run(ctx context.Context, post func(step.Event)) error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return errClosed
	}
	d.done = make(chan struct{})
	d.mu.Unlock()
	stop := context.AfterFunc(ctx, d.ring)
	defer stop()
	d.keep(ctx, post)
	close(d.done)
	d.Close()
	return nil
}

// Close frees what the driver holds. It waits for Run to end.
func (d *Driver) Close() {
	d.mu.Lock()
	done, was := d.done, d.closed
	d.closed = true
	d.mu.Unlock()
	if done != nil {
		<-done
	}
	if was {
		return
	}
	d.takeOrders() // of a driver that never ran
	for _, p := range d.loop.peers {
		_ = unix.Close(p.fd)
	}
	for _, l := range d.loop.links {
		_ = unix.Close(l.fd)
	}
	_ = unix.Close(d.bell)
}
