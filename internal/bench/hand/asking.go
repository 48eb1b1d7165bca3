package hand

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// askGrid is how far apart questions leave. All that fall due go in one system call, and their answers are read in one.
const askGrid = 10 * time.Millisecond

// askFrame is the length of an ARP packet in an Ethernet frame.
const askFrame = 42

// Asking is who asks hosts by ARP, and by which port.
type Asking struct {
	Port     string
	MAC      [6]byte // the asker's
	From     netip.Addr
	To       [6]byte // of all hosts
	Hosts    []netip.Addr
	PerGrid  int // questions each askGrid
	Duration time.Duration
}

// Asked is what came of it.
type Asked struct {
	CPU            time.Duration // of the asking thread
	Sent, Answered int
}

// Ask asks hosts in turn and reads their answers: the least that any design can do that probes them by ARP. It remembers nothing and decides
// nothing. It is called on a thread of its own, in the port's network namespace.
func Ask(a Asking) (out Asked, err error) {
	port, err := index(a.Port)
	if err != nil {
		return out, err
	}
	arp := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ARP))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return out, fmt.Errorf("open packet socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: port, Protocol: arp}))
	if err != nil {
		return out, fmt.Errorf("bind packet socket: %w", err)
	}
	questions, answers := newVector(a.PerGrid), newVector(a.PerGrid+1)
	for i := range questions.frames {
		question(&questions.frames[i], a)
	}
	before, err := threadTime()
	if err != nil {
		return out, err
	}
	began := time.Now()
	for next := began; time.Since(began) < a.Duration; {
		for i := range questions.frames {
			to := a.Hosts[(out.Sent+i)%len(a.Hosts)].As4()
			copy(questions.frames[i][38:], to[:])
		}
		n, err := questions.call(unix.SYS_SENDMMSG, fd)
		if err != nil {
			return out, fmt.Errorf("ask: %w", err)
		}
		out.Sent += n
		for n = len(answers.frames); n == len(answers.frames); {
			if n, err = answers.call(unix.SYS_RECVMMSG, fd); err != nil && !errors.Is(err, unix.EAGAIN) {
				return out, fmt.Errorf("hear answers: %w", err)
			}
			for i := range n {
				if answers.frames[i][21] == 2 { // a reply
					out.Answered++
				}
			}
		}
		next = next.Add(askGrid)
		pause := unix.NsecToTimespec(max(0, int64(time.Until(next))))
		_ = unix.Nanosleep(&pause, nil)
	}
	after, err := threadTime()
	out.CPU = after - before
	return out, err
}

// question fills in all but whom it is for.
func question(f *[askFrame]byte, a Asking) {
	from := a.From.As4()
	copy(f[0:], a.To[:])
	copy(f[6:], a.MAC[:])
	copy(f[12:], []byte{0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1}) // ARP over Ethernet for IPv4, a request
	copy(f[22:], a.MAC[:])
	copy(f[28:], from[:])
	copy(f[32:], a.To[:])
}

// vector is frames that go to the kernel, or come from it, in one system call.
type vector struct {
	frames [][askFrame]byte
	parts  []unix.Iovec
	heads  []header
}

// header is struct mmsghdr.
type header struct {
	unix.Msghdr
	n uint32
}

func newVector(n int) *vector {
	v := &vector{frames: make([][askFrame]byte, n), parts: make([]unix.Iovec, n), heads: make([]header, n)}
	for i := range n {
		v.parts[i].Base = &v.frames[i][0]
		v.parts[i].SetLen(askFrame)
		v.heads[i].Iov = &v.parts[i]
		v.heads[i].SetIovlen(1)
	}
	return v
}

// call sends or receives as many as it can, and tells how many.
func (v *vector) call(trap uintptr, fd int) (int, error) {
	n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&v.heads[0])), uintptr(len(v.heads)), 0, 0, 0)
	runtime.KeepAlive(v)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func threadTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0, fmt.Errorf("read the thread's time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
