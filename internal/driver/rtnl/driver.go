// Package rtnl is the netlink driver: it turns what the kernel says of links, addresses, routes and neighbours into events,
// and makes wants of those kinds true.
//
// It decides what a change is (a repeat is none) and which ports peerless itself closed. It never decides what ought to
// be: it opens, closes, installs and deletes only what it is told, and touches no route or rule without our mark.
package rtnl

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// mark is the route protocol that all our routes and rules bear. 186 to 198 belong to FRR's daemons.
const mark = 201

const (
	carrierPollDefault = 5 * time.Millisecond
	eventBufferBytes   = 16 << 20 // the kernel counts about 1 kB for each queued event
)

// Options say what the driver watches.
type Options struct {
	Ports         []model.Port   // links, addresses and neighbours of these are reported; of a bridge its members, too
	PollPorts     []model.Port   // their carrier is read every CarrierPoll while they are up
	CarrierPoll   time.Duration  // 0: 5 ms; negative: never
	WatchPrefixes []netip.Prefix // routes of the main table inside these are reported whoever owns them
	WatchTables   []uint32       // routes of these tables are reported whoever owns them
	Selects       step.FDB       // snapshots tell this bridge's forwarding entry for the MAC, and the flags of its configured members
	StatePath     string         // remembers the ports that we closed; put it on tmpfs. Empty: memory only
	BeforePath    string         // remembers the values that we changed, for Uninstall. Empty: nowhere
	Logger        *slog.Logger   // nil: slog.Default
}

// Driver is a source of events, a sink for wants and an emitter. All sockets belong to the network namespace of the
// thread that called New.
type Driver struct {
	opts   Options
	log    *slog.Logger
	links  *linkTable
	gates  *gates
	before *before
	ioctl  *ioctls
	wants  *requester // its changes are our own and not reported
	reads  *requester // dumps and read-backs
	emits  *requester // apart from wants: what it causes is news
	events *netlink.Conn
	told   told
}

// New opens the sockets, subscribes, and reads the state file. Events queue up until Run.
func New(opts Options) (*Driver, error) { return open(opts, eventBufferBytes) }

func open(opts Options, eventBuffer int) (_ *Driver, err error) {
	if opts.CarrierPoll == 0 {
		opts.CarrierPoll = carrierPollDefault
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	d := &Driver{opts: opts, log: opts.Logger}
	defer func() {
		if err != nil {
			_ = d.Close()
		}
	}()
	if d.ioctl, err = openIoctls(); err != nil {
		return nil, err
	}
	d.links = newLinkTable(d.ioctl)
	for _, r := range []**requester{&d.wants, &d.reads, &d.emits} {
		if *r, err = dialRequester(); err != nil {
			return nil, err
		}
	}
	if d.events, err = dialEvents(eventBuffer); err != nil {
		return nil, err
	}
	if err := ignoreOwn(d.events, d.wants.conn.PID(), nil); err != nil {
		return nil, err
	}
	now, err := newStamp(d.ioctl)
	if err != nil {
		return nil, err
	}
	if d.gates, err = openGates(opts.StatePath, now, d.ioctl, d.wants, d.reads, d.log); err != nil {
		return nil, err
	}
	d.before, err = openBefore(opts.BeforePath, now, d.log)
	return d, err
}

// dialEvents subscribes to everything that Run reports. An unprivileged caller gets a smaller buffer, hence more re-dumps.
func dialEvents(buffer int) (*netlink.Conn, error) {
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_NEIGH | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | 1<<(unix.RTNLGRP_NEXTHOP-1))
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups, MessageBufferSize: messageBytes})
	if err != nil {
		return nil, fmt.Errorf("subscribe to netlink events: %w", explain(err))
	}
	if err := c.SetReadBuffer(buffer); err != nil {
		return nil, errors.Join(fmt.Errorf("size netlink event buffer: %w", explain(err)), c.Close())
	}
	return c, nil
}

// Close closes the sockets. Run must have returned.
func (d *Driver) Close() error {
	var errs []error
	for _, r := range []*requester{d.wants, d.reads, d.emits} {
		if r != nil {
			errs = append(errs, r.conn.Close())
		}
	}
	if d.events != nil {
		errs = append(errs, d.events.Close())
	}
	if d.ioctl != nil {
		errs = append(errs, d.ioctl.close())
	}
	if d.gates != nil {
		d.gates.close()
	}
	return errors.Join(errs...)
}

// Kinds lists the kinds of wants that Apply takes.
func (d *Driver) Kinds() []step.Kind {
	return []step.Kind{step.KindGate, step.KindAddress, step.KindHardwareAddress, step.KindSysctl, step.KindRoute,
		step.KindNeighbor, step.KindRule, step.KindFDB, step.KindBridgePort, step.KindBondActive}
}

// Inline reports that a single want is one short system call, fit for the engine's own goroutine.
func (d *Driver) Inline() bool { return true }
