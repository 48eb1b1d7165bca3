package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/osrg/gobgp/v4/pkg/server"
	"golang.org/x/sys/unix"
)

const (
	// dialMax is short, since a SYN lost on a link that is down is only repeated after 1 s: a new attempt is quicker.
	dialMax = 500 * time.Millisecond
	openMax = time.Second // for the neighbour's OPEN

	// A daemon that was restarted is back in a fraction of a second, and until then hosts may wait for what it is to be told: so after a session's
	// end attempts are quickShare times as frequent for quickFor.
	quickFor   = 5 * time.Second
	quickShare = 8
)

// acceptChannel returns the place of GoBGP's channel of accepted connections. There is no official way to bring a connection
// of one's own; the type is checked here and the tests would not pass without it.
func acceptChannel(s *server.BgpServer) (*chan net.Conn, error) {
	field := reflect.ValueOf(s).Elem().FieldByName("acceptCh")
	if !field.IsValid() || field.Type() != reflect.TypeFor[chan net.Conn]() {
		return nil, errors.New("start bgp: this version of GoBGP takes no connections from us")
	}
	return (*chan net.Conn)(unsafe.Pointer(field.UnsafeAddr())), nil
}

// dialer connects to one neighbour while GoBGP is ready for it.
type dialer struct {
	to     Neighbor
	retry  time.Duration
	accept chan<- net.Conn
	failed func(error)
}

// run tries until a connection is handed over or the context ends. Only a connection on which the neighbour has begun to talk
// is handed over: one that it closes at once, because it is not ready, would put our own end out of action for a while.
func (d dialer) run(ctx context.Context) {
	for began := time.Now(); ; {
		conn, err := d.connect(ctx)
		if err == nil {
			select {
			case d.accept <- conn:
			case <-ctx.Done():
				_ = conn.Close() // nothing was said on it
			}
			return
		}
		if ctx.Err() == nil {
			d.failed(err)
		}
		retry := d.retry
		if time.Since(began) < quickFor {
			retry /= quickShare
		}
		// Jitter, lest two that are both active close each other's connection for ever.
		pause := time.NewTimer(time.Duration((0.75 + rand.Float64()/2) * float64(retry)))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

func (d dialer) connect(ctx context.Context) (net.Conn, error) {
	port := d.to.Port
	if port == 0 {
		port = defaultPort
	}
	dial := net.Dialer{Timeout: dialMax, KeepAlive: -1, Control: d.control}
	if d.to.LocalAddress.IsValid() {
		dial.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.to.LocalAddress, 0))
	}
	conn, err := dial.DialContext(ctx, "tcp4", net.JoinHostPort(d.to.Address.String(), strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	if err := awaitOpen(ctx, conn.(*net.TCPConn)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect %s: %w", conn.RemoteAddr(), err)
	}
	return conn, nil
}

// Speaks reports by nil that a routing daemon is at work at a neighbour's address: it takes a connection and begins to talk. Nothing is
// said to it.
func Speaks(ctx context.Context, n Neighbor) error {
	conn, err := dialer{to: n}.connect(ctx)
	if err != nil {
		return err
	}
	return conn.Close()
}

// control sets what must be set before the SYN leaves.
func (d dialer) control(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = errors.Join(
			os.NewSyscallError("set TTL", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, max(d.to.TTL, 1))),
			bindTo(int(fd), d.to.BindInterface),
			sign(int(fd), d.to.Address, d.to.Password))
	})
	return errors.Join(err, failed)
}

func bindTo(fd int, device string) error {
	if device == "" {
		return nil
	}
	return os.NewSyscallError("bind to "+device, unix.BindToDevice(fd, device))
}

// sign turns on TCP MD5 signatures (RFC 2385).
func sign(fd int, peer netip.Addr, password string) error {
	if password == "" {
		return nil
	}
	var sig unix.TCPMD5Sig
	sig.Addr.Family = unix.AF_INET
	copy(sig.Addr.Data[2:], peer.AsSlice())
	sig.Keylen = uint16(copy(sig.Key[:], password))
	return os.NewSyscallError("set TCP MD5 password", unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig))
}

// awaitOpen waits until the neighbour has sent something, without taking it.
func awaitOpen(ctx context.Context, conn *net.TCPConn) error {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetReadDeadline(time.Now().Add(openMax)); err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return !errors.Is(failed, unix.EAGAIN)
	})
	switch {
	case errors.Join(err, failed) != nil:
		return errors.Join(err, failed)
	case n == 0:
		return io.EOF
	}
	return conn.SetReadDeadline(time.Time{})
}
