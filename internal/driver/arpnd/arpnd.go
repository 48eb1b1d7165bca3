// Package arpnd listens to ports by AF_PACKET and speaks ARP on them: ARP and RARP packets, a sample of the IPv4 packets that a port
// receives and the answers to our own echo requests become events; SendARP and SendEcho effects become frames at once.
//
// It decides which frames are well formed and how many data packets are worth an event. It never decides what an ARP packet
// means and never answers one: that is the machine's affair. What a port sends without being asked is limited for each port; what became
// an event is never dropped.
package arpnd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Options tune the driver. The zero value serves.
type Options struct {
	Logger *slog.Logger // nil: silent

	// ReceiveBuffer is what the kernel may queue for one port, in bytes of its own accounting (about 1 KiB for a
	// small frame). Zero means 16 MiB. Only what is used is allocated.
	ReceiveBuffer int
}

const receiveBufferDefault = 16 << 20

var errClosed = errors.New("packet driver is closed")

// Driver is source, sink and emitter at once, over one packet socket for each port. Sockets belong to the network
// namespace of the thread that calls Apply or Emit.
type Driver struct {
	log           *slog.Logger
	receiveBuffer int

	mu       sync.Mutex // held for one want or one frame at a time; nothing under it waits
	sockets  map[model.Port]*socket
	counters map[model.Port]*counters // outlive the sockets
	post     func(step.Event)         // nil until Run
	closed   bool

	running sync.WaitGroup // readers, and closings under way
}

// New makes a driver that listens to nothing yet.
func New(o Options) (*Driver, error) {
	if o.ReceiveBuffer < 0 {
		return nil, fmt.Errorf("receive buffer %d: want a positive number of bytes", o.ReceiveBuffer)
	}
	if o.ReceiveBuffer == 0 {
		o.ReceiveBuffer = receiveBufferDefault
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Driver{
		log:           o.Logger,
		receiveBuffer: o.ReceiveBuffer,
		sockets:       make(map[model.Port]*socket),
		counters:      make(map[model.Port]*counters),
	}, nil
}

// Kinds is what the driver applies.
func (d *Driver) Kinds() []step.Kind { return []step.Kind{step.KindListen} }

// Inline reports that a single want takes microseconds: sockets are closed in the background, since the kernel waits for
// an RCU grace period when a packet socket goes.
func (d *Driver) Inline() bool { return true }

// Apply opens, adjusts or closes sockets. A port that is down is an error, so that it is tried again, yet its socket is open
// by then and the kernel attaches it in the moment the port comes up.
func (d *Driver) Apply(wants []step.Want) []error {
	errs := make([]error, len(wants))
	for i, w := range wants {
		listen, ok := w.Object.(step.Listen)
		switch {
		case !ok:
			errs[i] = fmt.Errorf("apply %s: not for the packet driver", w.Object)
		case w.Absent:
			d.ignore(listen.Port)
		default:
			errs[i] = d.listen(listen)
		}
	}
	return errs
}

func (d *Driver) listen(l step.Listen) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sockets[l.Port]
	kind := kindOf(l)
	if s == nil || s.kind != kind || !s.attached() {
		d.drop(l.Port)
		var err error
		if s, err = d.open(l.Port, kind); err != nil {
			return fmt.Errorf("listen on %s: %w", l.Port, err)
		}
	}
	if err := s.hear(l); err != nil {
		return fmt.Errorf("listen on %s: %w", l.Port, err)
	}
	s.asked.hosts.Store(int64(l.Hosts))
	if err := s.portUp(); err != nil {
		return fmt.Errorf("listen on %s: %w", l.Port, err)
	}
	return nil
}

func (d *Driver) ignore(p model.Port) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(p)
}

// open makes a socket and, once the driver runs, starts its reader.
func (d *Driver) open(p model.Port, kind kind) (*socket, error) {
	if d.closed {
		return nil, errClosed
	}
	if d.counters[p] == nil {
		d.counters[p] = new(counters)
	}
	s, err := openSocket(p, kind, d.receiveBuffer, d.counters[p], d.log)
	if err != nil {
		return nil, err
	}
	d.sockets[p] = s
	if kind != sending && d.post != nil {
		d.running.Go(func() { s.receive(d.post) })
	}
	return s, nil
}

// drop forgets a port's socket and closes it in the background.
func (d *Driver) drop(p model.Port) {
	if s := d.sockets[p]; s != nil {
		delete(d.sockets, p)
		s.dropped.Store(true)
		d.running.Go(s.close)
	}
}

// Emit sends a SendARP or a SendEcho at once and never waits. A port that nobody listens to gets a socket only for sending.
func (d *Driver) Emit(effect step.Effect) (handled bool, err error) {
	var port model.Port
	var what string
	switch e := effect.(type) {
	case step.SendARP:
		port, what = e.Port, "ARP"
	case step.SendEcho:
		port, what = e.Port, "echo"
	default:
		return false, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.send(port, effect)
	if s := d.sockets[port]; errors.Is(err, unix.ENXIO) && s != nil && s.kind == sending { // the device was recreated
		d.drop(port)
		err = d.send(port, effect)
	}
	if err != nil {
		return true, fmt.Errorf("send %s on %s: %w", what, port, err)
	}
	return true, nil
}

func (d *Driver) send(port model.Port, frame step.Effect) error {
	s := d.sockets[port]
	if s == nil {
		var err error
		if s, err = d.open(port, sending); err != nil {
			return err
		}
	}
	return s.send(frame)
}

// Run delivers what the sockets hear until ctx is done, then closes the driver. Sockets opened earlier have queued their
// frames; later ones are heard from when they are opened.
func (d *Driver) Run(ctx context.Context, post func(step.Event)) error {
	d.mu.Lock()
	d.post = post
	for _, s := range d.sockets {
		if s.kind != sending {
			d.running.Go(func() { s.receive(post) })
		}
	}
	d.mu.Unlock()
	<-ctx.Done()
	d.Close()
	return nil
}

// Close closes every socket and waits until nothing of the driver runs.
func (d *Driver) Close() {
	d.mu.Lock()
	d.closed = true
	for p := range d.sockets {
		d.drop(p)
	}
	d.mu.Unlock()
	d.running.Wait()
}
