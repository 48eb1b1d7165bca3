package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pacing of the loop.
const (
	drainEvery = 2_000_000  // ns between two reads of the socket, which holds far more
	idleMax    = 1_000_000  // ns that a question may wait
	restMax    = 20_000_000 // ns between two looks at anything, where traffic is sparse
	catchUpMax = 16         // packets sent at once after a late wake-up; what is later still was never sent
	batchLen   = 64
	bufferLen  = 32 << 20
)

// sendFlow is a flow that this node sends. Interval 0 means pause.
type sendFlow struct {
	fd       int
	id       uint32
	dest     unix.RawSockaddrInet4
	interval int64
	due      int64
	log      *sentLog
	failed   uint64 // packets that the kernel refused to send: sent and lost
	errno    unix.Errno
}

// loop is everything of one node; only its own thread touches it.
type loop struct {
	clock clock
	run   uint32
	rx    int
	send  []*sendFlow
	seen  map[uint32]*seenLog

	asked atomic.Pointer[func()]

	out    [packetLen]byte
	in     [batchLen][packetLen + 8]byte
	iov    [batchLen]unix.Iovec
	msgs   [batchLen]mmsghdr
	alarm  unix.Timespec
	strays uint64
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

func newLoop(run uint32) (*loop, error) {
	l := &loop{clock: newClock(), run: run, seen: map[uint32]*seenLog{}}
	fd, err := socket(netip.AddrPortFrom(netip.IPv4Unspecified(), Port))
	if err != nil {
		return nil, fmt.Errorf("open receiving socket: %w", err)
	}
	l.rx = fd
	for i := range l.msgs {
		l.iov[i].Base = &l.in[i][0]
		l.iov[i].SetLen(len(l.in[i]))
		l.msgs[i].hdr.Iov = &l.iov[i]
		l.msgs[i].hdr.SetIovlen(1)
	}
	return l, nil
}

// socket is not connected: each packet is routed on its own, and no ICMP error comes back as a failed write.
func socket(local netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferLen),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferLen),
		unix.Bind(fd, &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()}))
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind %s: %w", local, err)
	}
	return fd, nil
}

func (l *loop) addSend(id uint32, source, dest netip.Addr) error {
	fd, err := socket(netip.AddrPortFrom(source, 0))
	if err != nil {
		return fmt.Errorf("open sending socket of flow %d: %w", id, err)
	}
	f := &sendFlow{fd: fd, id: id, log: newSentLog()}
	f.dest = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: dest.As4()}
	p := (*[2]byte)(unsafe.Pointer(&f.dest.Port))
	p[0], p[1] = byte(Port>>8), byte(Port&0xff)
	l.send = append(l.send, f)
	return nil
}

// turns runs until stop. It never allocates. Its system calls are raw ones: the goroutine keeps its processor while it sleeps,
// which spares the runtime's monitor from waking up for each of them.
func (l *loop) turns(stop *atomic.Bool) {
	drain := l.clock.now()
	for !stop.Load() {
		now := l.clock.now()
		if ask := l.asked.Swap(nil); ask != nil {
			(*ask)()
			now = l.clock.now()
		}
		rest := l.rest()
		wake := now + rest
		for _, f := range l.send {
			if f.interval > 0 {
				l.sendDue(f, now)
				wake = min(wake, f.due)
			}
		}
		if now >= drain {
			l.drain()
			drain = now + max(drainEvery, rest)
		}
		l.sleepUntil(min(wake, drain))
	}
}

// rest is how long the loop may sleep when nothing is due. On a machine so slow that its flows are sparse, looking around every
// millisecond in every node would be most of its work.
func (l *loop) rest() int64 {
	fastest := int64(restMax)
	for _, f := range l.send {
		if f.interval > 0 {
			fastest = min(fastest, f.interval)
		}
	}
	if len(l.send) == 0 {
		return idleMax
	}
	return max(idleMax, fastest)
}

// sendDue sends what is due, also what became due while the thread slept too long, each with its true time.
func (l *loop) sendDue(f *sendFlow, now int64) {
	for n := 0; f.due <= now; n++ {
		if n == catchUpMax {
			f.due = now + f.interval
			return
		}
		t := l.clock.now()
		p := packet{run: l.run, flow: f.id, sent: t, seq: f.log.add(t)}
		p.put(&l.out)
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(f.fd), uintptr(unsafe.Pointer(&l.out[0])), packetLen,
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&f.dest)), unix.SizeofSockaddrInet4)
		if errno != 0 {
			f.failed++
			f.errno = errno
		}
		f.due += f.interval
	}
}

// drain reads all that has arrived.
func (l *loop) drain() {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(l.rx), uintptr(unsafe.Pointer(&l.msgs[0])), batchLen,
			unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			return
		}
		now := l.clock.now()
		for i := range int(n) {
			p, ok := parse(l.in[i][:min(int(l.msgs[i].len), len(l.in[i]))])
			log := l.seen[p.flow]
			if !ok || p.run != l.run || log == nil {
				l.strays++
				continue
			}
			log.add(p.seq)
			log.addLate(p.seq, now-p.sent)
		}
		if n < batchLen {
			return
		}
	}
}

// drops is how many datagrams the receiving socket had no room for (SK_MEMINFO_DROPS).
func (l *loop) drops() uint32 {
	const dropsIndex, vars = 8, 9
	var info [vars]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(l.rx), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return info[dropsIndex]
}

func (l *loop) sleepUntil(t int64) {
	l.alarm = unix.NsecToTimespec(t)
	// A signal wakes it early: the caller looks at the clock anyway.
	_, _, _ = unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&l.alarm)), 0, 0, 0)
}
