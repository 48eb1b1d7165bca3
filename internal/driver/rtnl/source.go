package rtnl

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/step"
)

const (
	reasonStart    = "start"
	reasonOverflow = "netlink overflow"
	reasonBridged  = "a port joined a bridge"
	retryPause     = 100 * time.Millisecond // after a failure that is no overflow
	drainMax       = 1 << 16                // messages dropped before a dump; a writer may be faster than we
)

// Run reports the whole state, then every change, until the context ends. Whatever goes wrong on the event socket, nothing is
// lost: the state is read anew and told as a whole.
func (d *Driver) Run(ctx context.Context, post func(step.Event)) error {
	if err := d.events.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("prepare netlink events: %w", explain(err))
	}
	ctx, cancel := context.WithCancel(ctx)
	var polling sync.WaitGroup
	defer polling.Wait()
	defer cancel()
	wake := context.AfterFunc(ctx, func() { _ = d.events.SetReadDeadline(time.Unix(1, 0)) })
	defer wake()

	d.told.begin(&mirror{scope: newScope(d.opts), links: d.links, sight: d.gates.sight})
	if err := d.refresh(reasonStart, post); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	d.gates.prepare(d.opts.PollPorts)
	polling.Go(func() { d.pollCarrier(ctx) })
	for {
		err := d.stream(post)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && d.refresh(reasonBridged, post) == nil {
			continue
		}
		d.log.Warn("netlink events were lost, reading everything anew", "error", err)
		if !errors.Is(err, unix.ENOBUFS) && !pause(ctx) {
			return nil
		}
		for d.refresh(reasonOverflow, post) != nil {
			if !pause(ctx) {
				return nil
			}
		}
	}
}

// stream posts changes until the socket reports an error, or nil where everything has to be read anew for another reason.
func (d *Driver) stream(post func(step.Event)) error {
	for {
		msgs, err := d.events.Receive()
		if err != nil {
			return explain(err)
		}
		for _, msg := range msgs {
			for _, ev := range d.told.apply(msg) {
				post(ev)
			}
		}
		if d.told.mirror.outdated { // only this goroutine and a dump, which it reads, set it
			return nil
		}
	}
}

// refresh posts a snapshot. What is queued on the event socket is older and goes first, lest it be told after the newer truth.
func (d *Driver) refresh(reason string, post func(step.Event)) error {
	err := d.drain()
	if err == nil {
		var s step.Snapshot
		s, err = d.told.read(func() (census, error) { return d.census(d.told.mirror.scope) }, reason)
		if err == nil {
			post(s)
			return nil
		}
	}
	err = fmt.Errorf("read kernel state: %w", err)
	d.log.Error("kernel state cannot be read", "error", err)
	return err
}

// drain throws away what is queued on the event socket.
func (d *Driver) drain() error {
	raw, err := d.events.SyscallConn()
	if err != nil {
		return err
	}
	var b [1]byte
	return raw.Read(func(fd uintptr) bool {
		for range drainMax {
			_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT|unix.MSG_TRUNC)
			if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
				break // EAGAIN: empty
			}
		}
		return true
	})
}

// pollCarrier reads the carrier of ports that are up. The kernel holds carrier-down events back by up to a second; from Linux 6.8
// reading forces the event out, before that it has to be pushed.
func (d *Driver) pollCarrier(ctx context.Context) {
	if len(d.opts.PollPorts) == 0 || d.opts.CarrierPoll < 0 {
		return
	}
	tick := time.NewTicker(d.opts.CarrierPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, port := range d.opts.PollPorts {
			if l, ok := d.links.named(port); ok && l.adminUp && l.carrier {
				if up, err := d.ioctl.carrier(port); err == nil && !up { // a port that vanished is an event of its own
					d.push(l)
				}
			}
		}
	}
}

// push makes a kernel that knows of a lost carrier, and keeps it to itself, act on it and tell: whatever the state of a device is
// set to, the kernel then looks at the carrier too. The event that it holds back puts the state right later. Where there is
// none any more, because the kernel has told by now, the first message changes nothing; where the carrier has come back since,
// the second one undoes the first. What is refused, or is for another device by now, the kernel tells in its own time.
func (d *Driver) push(l link) {
	_ = d.emits.one(encodeOperState(l.index, operDormant))
	if up, err := d.ioctl.carrier(l.name); err == nil && up {
		_ = d.emits.one(encodeOperState(l.index, operUp))
	}
}

// pause waits before another try. It reports false if the context ended.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(retryPause):
		return true
	}
}
