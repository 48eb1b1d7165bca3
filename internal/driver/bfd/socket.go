package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

// What RFC 5881 sections 4 and 5 say of the packets, and how ours get priority on their way (RFC 4594: network control).
const (
	controlPort   = 3784
	sourceLeast   = 49152
	sourceMost    = 65535
	hopLimit      = 255
	networkClass  = 0xc0
	sendPriority  = 7 // TC_PRIO_CONTROL
	sourceTries   = 32
	packetMax     = 128 // the mandatory part has 24 bytes; more is authentication, which is not for us
	controlMax    = 128
	bytesOfStamps = 16
)

func deviceIndex(p model.Port) (int, error) {
	request, err := unix.NewIfreq(string(p))
	if err != nil {
		return 0, fmt.Errorf("port name: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(s)
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err // ENODEV says it all
	}
	return int(request.Uint32()), nil
}

// option is one setting of a socket that must succeed.
type option struct {
	what               string
	level, name, value int
}

func openSocket(port model.Port, options []option) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open UDP socket: %w", err)
	}
	if err := unix.BindToDevice(fd, string(port)); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind socket to port: %w", err)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("set %s: %w", o.what, err)
		}
	}
	return fd, nil
}

// openReceiver makes the socket that hears every neighbour on a port. Two of them would share the packets, so that another daemon's is
// an error.
func openReceiver(port model.Port) (int, error) {
	fd, err := openSocket(port, []option{
		{"IP_RECVTTL", unix.IPPROTO_IP, unix.IP_RECVTTL, 1},
		{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
	})
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: controlPort}); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return -1, fmt.Errorf("listen on UDP port %d: another daemon runs BFD here: %w", controlPort, err)
		}
		return -1, fmt.Errorf("listen on UDP port %d: %w", controlPort, err)
	}
	return fd, nil
}

// openSender makes the socket of one session. It is not connected: a neighbour that does not run BFD answers by ICMP errors, and each
// would cost the next packet.
func openSender(port model.Port) (int, error) {
	fd, err := openSocket(port, []option{
		{"IP_TTL", unix.IPPROTO_IP, unix.IP_TTL, hopLimit},
		{"IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, networkClass},
		{"SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, sendPriority},
	})
	if err != nil {
		return -1, err
	}
	for range sourceTries {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: sourceLeast + rand.IntN(sourceMost-sourceLeast+1)})
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind to a source port: %w", err)
	}
	return fd, nil
}

// datagram is what the kernel says of a received packet.
type datagram struct {
	payload []byte
	from    netip.Addr
	ttl     int
	age     time.Duration // since the kernel took it in, by the wall clock
}

// read takes one packet off a socket; false if there is none.
func (b *buffers) read(fd int) (datagram, bool) {
	n, oob, _, from, err := unix.Recvmsg(fd, b.packet[:], b.control[:], unix.MSG_DONTWAIT)
	if err != nil {
		return datagram{}, errors.Is(err, unix.EINTR) // again
	}
	out := datagram{payload: b.packet[:n]}
	if to, ok := from.(*unix.SockaddrInet4); ok {
		out.from = netip.AddrFrom4(to.Addr)
	}
	messages, err := unix.ParseSocketControlMessage(b.control[:oob])
	if err != nil {
		return out, true // no TTL: it will be refused
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TTL && len(m.Data) >= 4:
			out.ttl = int(binary.NativeEndian.Uint32(m.Data))
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= bytesOfStamps:
			stamp := time.Duration(binary.NativeEndian.Uint64(m.Data))*time.Second + time.Duration(binary.NativeEndian.Uint64(m.Data[8:]))
			out.age = clock(unix.CLOCK_REALTIME) - stamp
		}
	}
	return out, true
}

type buffers struct {
	packet  [packetMax]byte
	control [controlMax]byte
}

func clock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // cannot fail on Linux with a valid pointer
	}
	return time.Duration(ts.Nano())
}
