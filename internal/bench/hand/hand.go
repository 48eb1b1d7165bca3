// Package hand is the little that must happen in a node when a link fails, done by hand: the floor that any design stands on, and
// the wiring of a routing engine without peerless.
//
// It decides nothing: which report or message leads to which act is fixed before the failure. Each node has one thread that waits
// in a plain blocking system call, and acts in the next one. It never touches a namespace but the one that it runs in.
package hand

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Role is whose place a process takes.
type Role string

// Roles. The old leaf is the one whose link or server fails, the new one takes over.
const (
	Server  Role = "server"
	Old     Role = "old"
	New     Role = "new"
	Gateway Role = "gateway"
)

// Act is what the new leaf does once it has heard from the server.
type Act string

// Acts: one datagram to the gateway; one BGP route to the gateway, from GoBGP; the hosts' routes into a table that a routing
// engine reads.
const (
	Datagram Act = "datagram"
	GoBGP    Act = "gobgp"
	Routes   Act = "routes"
)

// Spec is one process.
type Spec struct {
	Role  Role       `json:"role"`
	Act   Act        `json:"act"`
	First netip.Addr `json:"first"` // of the hosts
	Hosts int        `json:"hosts"`
	Table uint32     `json:"table"` // of the hosts' routes
	Via   netip.Addr `json:"via"`   // where the hosts are in the normal state
	Port  string     `json:"port"`  // and by which port: a leaf's to the server, the gateway's to the old leaf, the server's first
	// Other is a leaf's uplink, the gateway's port to the new leaf, or the server's second port.
	Other string     `json:"other"`
	Next  netip.Addr `json:"next"`  // the gateway's way to the new leaf
	Local netip.Addr `json:"local"` // this end of the link between the new leaf and the gateway
	Far   netip.Addr `json:"far"`   // and the other end
	MAC   string     `json:"mac"`   // of the machine that has Via, where no ARP shall be needed
}

// Commands that a process takes, one a line; it answers each with one line, "ok" or what went wrong.
const (
	Reset = "reset" // take the normal state
	Arm   = "arm"   // act on the next failure
	Heal  = "heal"  // put the hosts' routes in once more: FRR 8.4 loses some for good
)

// etherType is of the server's one frame (IEEE 802: local experimental).
const etherType = 0x88b5

// healPause lets a routing engine see that the routes are gone.
const healPause = 200 * time.Millisecond

// trigger is the port of the one datagram.
const trigger = 9478

// node is one process's state.
type node struct {
	spec  Spec
	port  int // interface indexes
	other int
	armed atomic.Bool
	mu    sync.Mutex
	kern  *socket // for acts; commands use it too, never while armed
	state way     // of the hosts in the normal state
	act   func() error
	reset func() error
	heal  func() error // nil: nothing to heal
	errs  chan error
}

// Run serves commands until the input ends.
func Run(spec Spec, stdin io.Reader, stdout io.Writer) error {
	const waiting = 2 // threads that block in receive
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + waiting)
	debug.SetGCPercent(-1) // what a run allocates is little
	n := &node{spec: spec, errs: make(chan error, 8)}
	if err := n.start(); err != nil {
		return fmt.Errorf("stand in for %s: %w", spec.Role, err)
	}
	say := func(err error) error {
		text := "ok"
		if err != nil {
			text = strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		_, err = fmt.Fprintln(stdout, text)
		return err
	}
	if err := say(nil); err != nil {
		return err
	}
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		if err := say(n.command(lines.Text())); err != nil {
			return err
		}
	}
	return lines.Err()
}

// Encode is the spec as one argument.
func (s Spec) Encode() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // plain data
	}
	return string(b)
}

// Decode reads what Encode wrote.
func Decode(text string) (s Spec, err error) {
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("read spec: %w", err)
	}
	return s, nil
}

func (n *node) command(text string) error {
	select {
	case err := <-n.errs:
		return err
	default:
	}
	switch text {
	case Arm:
		n.armed.Store(true)
		return nil
	case Heal:
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.heal == nil {
			return nil
		}
		return n.heal()
	case Reset:
		n.armed.Store(false)
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.reset()
	}
	return fmt.Errorf("unknown command %q", text)
}

func (n *node) start() error {
	var err error
	if n.kern, err = openSocket(0); err != nil {
		return err
	}
	if n.port, err = index(n.spec.Port); err != nil {
		return err
	}
	if n.other, err = index(n.spec.Other); err != nil {
		return err
	}
	n.state = way{table: n.spec.Table, via: n.spec.Via, port: n.port, proto: unix.RTPROT_STATIC}
	switch n.spec.Role {
	case Server:
		return n.startServer()
	case Old:
		return n.startOld()
	case New:
		return n.startNew()
	case Gateway:
		return n.startGateway()
	}
	return fmt.Errorf("unknown role %q", n.spec.Role)
}

func index(port string) (int, error) {
	l, err := net.InterfaceByName(port)
	if err != nil {
		return 0, fmt.Errorf("port %s: %w", port, err)
	}
	return l.Index, nil
}

// fire acts once for each time that the node was armed.
func (n *node) fire(act func() error) {
	if !n.armed.CompareAndSwap(true, false) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := act(); err != nil {
		n.errs <- err
	}
}

// receive blocks in the system call without telling Go's scheduler, so that nothing has to be found again when it returns. Run has
// made room for the threads that do so, and there is no garbage collection that would wait for them.
func receive(fd int, buf []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// wait runs a loop of blocking system calls on a thread of its own.
func (n *node) wait(loop func() error) {
	go func() {
		runtime.LockOSThread()
		if err := loop(); err != nil {
			n.errs <- err
		}
	}()
}

// startServer: when the first port loses its carrier, one frame goes out of the second.
func (n *node) startServer() error {
	fd, err := packetSocket(n.other)
	if err != nil {
		return err
	}
	links, err := openSocket(unix.RTMGRP_LINK)
	if err != nil {
		return err
	}
	frame := make([]byte, 60)
	for i := range 6 {
		frame[i] = 0xff
	}
	frame[6], frame[12], frame[13] = 2, etherType>>8, etherType&0xff
	to := &unix.SockaddrLinklayer{Ifindex: n.other, Protocol: network16(etherType)}
	n.reset = func() error { return nil }
	n.wait(func() error {
		return links.carriers(func(index int, works bool) {
			if index == n.port && !works {
				n.fire(func() error { return unix.Sendto(fd, frame, 0, to) })
			}
		})
	})
	return nil
}

func network16(v uint16) uint16 { return v<<8 | v>>8 }

func packetSocket(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(network16(etherType)))
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: network16(etherType)}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind packet socket: %w", err)
	}
	return fd, nil
}

// startOld: when the uplink fails the port to the server is closed, one message; under an engine, the hosts' routes go whichever of
// the two fails.
func (n *node) startOld() error {
	links, err := openSocket(unix.RTMGRP_LINK)
	if err != nil {
		return err
	}
	n.reset = func() error {
		if err := n.kern.setPort(n.port, true); err != nil {
			return err
		}
		if err := n.neighbor(); err != nil {
			return err
		}
		return n.kern.routes(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, n.spec.First, n.spec.Hosts, n.state)
	}
	withdraw := func() error {
		if n.spec.Act != Routes {
			return nil
		}
		return n.kern.routes(unix.RTM_DELROUTE, 0, n.spec.First, n.spec.Hosts, n.state)
	}
	n.heal = func() error {
		err := withdraw()
		time.Sleep(healPause)
		return errors.Join(err, n.reset())
	}
	n.wait(func() error {
		return links.carriers(func(index int, works bool) {
			switch {
			case works:
			case index == n.other:
				n.fire(func() error { return errors.Join(n.kern.setPort(n.port, false), withdraw()) })
			case index == n.port:
				n.fire(withdraw)
			}
		})
	})
	return n.reset()
}

// startNew: when the server is heard, the gateway is told, in one of three ways.
func (n *node) startNew() error {
	fd, err := packetSocket(n.port)
	if err != nil {
		return err
	}
	if err := n.neighbor(); err != nil {
		return err
	}
	add := func() error {
		return n.kern.routes(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, n.spec.First, n.spec.Hosts, n.state)
	}
	switch n.spec.Act {
	case Datagram:
		n.act, err = n.datagram()
		n.reset = add
	case GoBGP:
		n.act, n.reset, err = n.announcer()
		inner := n.reset
		n.reset = func() error { return errors.Join(add(), inner()) }
	case Routes:
		n.act = add
		n.reset = func() error {
			return n.kern.routes(unix.RTM_DELROUTE, 0, n.spec.First, n.spec.Hosts, n.state)
		}
	}
	if err != nil {
		return err
	}
	n.wait(func() error {
		buf := make([]byte, 64)
		for {
			if _, err := receive(fd, buf); err != nil {
				return fmt.Errorf("hear the server: %w", err)
			}
			n.fire(n.act)
		}
	})
	return n.reset()
}

func (n *node) datagram() (func() error, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	to := &unix.SockaddrInet4{Port: trigger, Addr: n.spec.Far.As4()}
	if err := unix.Connect(fd, to); err != nil {
		return nil, fmt.Errorf("connect %s: %w", n.spec.Far, err)
	}
	return func() error {
		_, err := unix.Write(fd, []byte("moved"))
		return err
	}, nil
}

// startGateway: when the new leaf is heard, every host is re-pointed to it by a replace, in batches.
func (n *node) startGateway() error {
	moved := way{table: n.spec.Table, via: n.spec.Next, port: n.other, proto: unix.RTPROT_STATIC}
	n.reset = func() error {
		return n.kern.routes(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, n.spec.First, n.spec.Hosts, n.state)
	}
	n.act = func() error {
		return n.kern.routes(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, n.spec.First, n.spec.Hosts, moved)
	}
	if n.spec.Act == GoBGP {
		if err := n.listener(); err != nil {
			return err
		}
		return n.reset()
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: trigger, Addr: n.spec.Local.As4()}); err != nil {
		return fmt.Errorf("bind %s: %w", n.spec.Local, err)
	}
	n.wait(func() error {
		buf := make([]byte, 64)
		for {
			if _, err := receive(fd, buf); err != nil {
				return fmt.Errorf("hear the new leaf: %w", err)
			}
			n.fire(n.act)
		}
	})
	return n.reset()
}
