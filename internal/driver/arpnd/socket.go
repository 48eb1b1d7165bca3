package arpnd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

const (
	// readBatch bounds the frames read between two looks at whether the socket is being closed.
	readBatch = 64
	// sendPriority puts our few frames before bulk data in the port's queue (TC_PRIO_CONTROL).
	sendPriority = 7
)

// kind is what a socket is for: the protocol that it is bound to.
type kind uint16

const (
	sending  kind = 0              // hears nothing
	allKinds kind = unix.ETH_P_ALL // the port may belong to a bridge, which consumes frames before a socket of one protocol sees them
	arpAlone kind = unix.ETH_P_ARP // what the port forwards passes by
)

func kindOf(l step.Listen) kind {
	if l.ARPOnly {
		return arpAlone
	}
	return allKinds
}

// protocol is the kind in network byte order, as bind wants it.
func (k kind) protocol() uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, uint16(k)))
}

// socket is one packet socket bound to one port.
type socket struct {
	port     model.Port
	kind     kind
	file     *os.File // in the runtime's poller
	conn     syscall.RawConn
	counters *counters
	asked    asked
	log      *slog.Logger
	broken   atomic.Bool // the reader gave up
	dropped  atomic.Bool // nobody wants to hear of the port any more; close follows

	filter struct {
		sync.Mutex
		wanted, ceiling step.Sampling
		echo            uint16
		answers         bool
		attached        filterKey
		any             bool // a filter is attached
	}

	ident atomic.Uint32 // of echo replies; the reader's copy of filter.echo

	arp     [arpFrameLen]byte // send's, so that nothing is allocated
	echo    [echoLen]byte
	frame   []byte // one of the two
	sendErr error
	write   func(fd uintptr) bool
}

// openSocket makes a socket and binds it to the device that now bears the port's name, be it up or down.
func openSocket(p model.Port, k kind, receiveBuffer int, c *counters, log *slog.Logger) (*socket, error) {
	// Protocol 0 hears nothing: the filter is in place before bind names a protocol.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("open packet socket: the capability CAP_NET_RAW is missing: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	s := &socket{port: p, kind: k, counters: c, log: log.With("port", string(p))}
	s.filter.ceiling = step.SampleAll
	s.write = func(fd uintptr) bool {
		_, s.sendErr = unix.Write(int(fd), s.frame)
		return true // also on EAGAIN: sending never waits
	}
	s.file = os.NewFile(uintptr(fd), "packet:"+string(p))
	s.conn, err = s.file.SyscallConn()
	if err == nil && k != sending {
		err = s.hear(step.Listen{Port: p})
	}
	if err == nil {
		err = s.control(func(fd int) error { return s.bind(fd, receiveBuffer) })
	}
	if err != nil {
		_ = s.file.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket) bind(fd, receiveBuffer int) error {
	index, err := deviceIndex(fd, s.port)
	if err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Ifindex: index}
	// The options make the socket better, not right: an old kernel or a missing capability is no reason to be deaf.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, sendPriority)
	if s.kind != sending {
		_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) // saves a clone; the filter rejects too
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
		to.Protocol = s.kind.protocol()
	}
	if err := unix.Bind(fd, to); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// control runs f on the descriptor, unless the socket is closed.
func (s *socket) control(f func(fd int) error) (err error) {
	if s.conn.Control(func(fd uintptr) { err = f(int(fd)) }) != nil {
		return os.ErrClosed
	}
	return err
}

// attached reports whether the socket can still hear: neither did its reader give up nor its device go away. The kernel unbinds
// the socket of a device that goes away and never binds it again, not even if the next one has the same index.
func (s *socket) attached() bool {
	return !s.broken.Load() && s.control(func(fd int) error {
		index, err := deviceIndex(fd, s.port)
		if err == nil && boundIndex(fd) != index {
			err = unix.ENODEV
		}
		return err
	}) == nil
}

// portUp reports a port that is down as an error.
func (s *socket) portUp() error {
	return s.control(func(fd int) error {
		request, err := deviceRequest(fd, unix.SIOCGIFFLAGS, s.port)
		if err == nil && request.Uint16()&unix.IFF_UP == 0 {
			err = unix.ENETDOWN
		}
		return err
	})
}

func deviceIndex(fd int, p model.Port) (int, error) {
	request, err := deviceRequest(fd, unix.SIOCGIFINDEX, p)
	if err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}

func deviceRequest(fd int, number uint, p model.Port) (*unix.Ifreq, error) {
	request, err := unix.NewIfreq(string(p))
	if err != nil {
		return nil, fmt.Errorf("port name: %w", err)
	}
	return request, unix.IoctlIfreq(fd, number, request) // ENODEV says it all
}

func boundIndex(fd int) int {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return -1
	}
	to, ok := name.(*unix.SockaddrLinklayer)
	if !ok {
		return -1
	}
	return to.Ifindex
}

// hear sets how many data packets are wanted, and which echo replies.
func (s *socket) hear(l step.Listen) error {
	s.filter.Lock()
	defer s.filter.Unlock()
	s.filter.wanted, s.filter.echo, s.filter.answers = l.Sampling, l.Echo, l.Answers
	s.ident.Store(uint32(l.Echo))
	return s.attachFilter()
}

// lower attaches the next stricter filter; raise lifts that limit.
func (s *socket) lower() error {
	s.filter.Lock()
	defer s.filter.Unlock()
	if s.filter.attached.sampling > step.SampleNone {
		s.filter.ceiling = s.filter.attached.sampling - 1
	}
	return s.attachFilter()
}

func (s *socket) raise() error {
	s.filter.Lock()
	defer s.filter.Unlock()
	s.filter.ceiling = step.SampleAll
	return s.attachFilter()
}

func (s *socket) attachFilter() error {
	key := filterKey{sampling: min(s.filter.wanted, s.filter.ceiling), echo: s.filter.echo, answers: s.filter.answers}
	if s.filter.any && s.filter.attached == key {
		return nil
	}
	program := assemble(key)
	err := s.control(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
	if err != nil {
		return fmt.Errorf("attach packet filter: %w", err)
	}
	s.filter.any, s.filter.attached = true, key
	return nil
}

// send writes one frame. It is called under the driver's lock. Success means that the kernel took the frame: one sent after a
// port comes up, but before the kernel has told of its carrier (RTM_NEWLINK), may get lost without an error.
func (s *socket) send(frame step.Effect) error {
	var err error
	switch f := frame.(type) {
	case step.SendARP:
		s.asked.ask(time.Now(), &f)
		err, s.frame = encodeARP(&s.arp, &f), s.arp[:]
	case step.SendEcho:
		err, s.frame = encodeEcho(&s.echo, &f), s.echo[:]
	}
	if err == nil {
		err = s.conn.Write(s.write)
	}
	if err == nil {
		err = s.sendErr
	}
	if err != nil {
		s.counters.sendErrors.Add(1)
		return err
	}
	s.counters.sent.Add(1)
	return nil
}

// receive reads frames until the socket is closed.
func (s *socket) receive(post func(step.Event)) {
	var (
		in     = newIntake(s.port, s.counters)
		buf    [snapLen]byte
		epoch  = time.Now()
		failed error
	)
	in.arp = newThrottle(&s.asked)
	batch := func(fd uintptr) bool {
		for range readBatch {
			n, err := unix.Read(int(fd), buf[:])
			switch {
			case s.dropped.Load():
				return true
			case err == nil:
				in.ident = uint16(s.ident.Load())
				if ev := in.take(time.Since(epoch), buf[:n]); ev != nil {
					post(ev)
				}
				if in.over {
					return true
				}
			case errors.Is(err, unix.EAGAIN):
				return false // wait for more
			case errors.Is(err, unix.ENETDOWN):
				s.log.Debug("port went down, still listening")
			case !errors.Is(err, unix.EINTR):
				failed = err
				return true
			}
		}
		return true
	}
	for failed == nil && !s.dropped.Load() {
		err := s.conn.Read(batch)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // the pause is over
			_ = s.file.SetReadDeadline(time.Time{})
			failed = s.raise()
		case err != nil:
			return // closed
		case in.exhausted():
			_ = s.file.SetReadDeadline(time.Now().Add(dataPause))
			failed = s.lower()
		}
	}
	if failed == nil || errors.Is(failed, os.ErrClosed) {
		return
	}
	s.broken.Store(true)
	s.log.Error("stopped listening until the port is asked for again", "error", failed)
}

// close gives the socket back. It may wait for an RCU grace period.
func (s *socket) close() {
	s.countKernelDrops()
	_ = s.file.Close()
}

// countKernelDrops fetches what the kernel dropped since the last time: reading PACKET_STATISTICS resets it.
func (s *socket) countKernelDrops() {
	if s.kind == sending {
		return
	}
	_ = s.control(func(fd int) error {
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil {
			s.counters.kernelDrops.Add(uint64(stats.Drops))
		}
		return err
	})
}
