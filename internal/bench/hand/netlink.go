package hand

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// batchLen is how many route messages go to the kernel in one system call, so that all of them fit a socket's buffer.
const batchLen = 256

var native = binary.NativeEndian

// socket is a netlink socket that is used with plain blocking system calls: nothing of Go's own scheduling is in between.
type socket struct {
	fd  int
	seq uint32
	out []byte
	in  []byte
}

func openSocket(groups uint32) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	const room = 4 << 20
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, room),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bind netlink: %w", err)
	}
	return &socket{fd: fd, in: make([]byte, 1<<16)}, nil
}

func (s *socket) close() { _ = unix.Close(s.fd) }

// begin starts a message; end fills in its length.
func (s *socket) begin(kind, flags uint16) (at int) {
	at = len(s.out)
	s.seq++
	s.out = native.AppendUint32(s.out, 0)
	s.out = native.AppendUint16(s.out, kind)
	s.out = native.AppendUint16(s.out, unix.NLM_F_REQUEST|flags)
	s.out = native.AppendUint32(s.out, s.seq)
	s.out = native.AppendUint32(s.out, 0)
	return at
}

func (s *socket) end(at int) { native.PutUint32(s.out[at:], uint32(len(s.out)-at)) }

func (s *socket) attr32(kind uint16, v uint32) {
	s.out = native.AppendUint16(s.out, 8)
	s.out = native.AppendUint16(s.out, kind)
	s.out = native.AppendUint32(s.out, v)
}

func (s *socket) attrAddr(kind uint16, a netip.Addr) {
	b := a.As4()
	s.attr32(kind, native.Uint32(b[:]))
}

// way is where a host route leads.
type way struct {
	table uint32
	via   netip.Addr
	port  int // interface index
	proto uint8
}

// route appends one message about a host route.
func (s *socket) route(kind, flags uint16, host netip.Addr, w way) {
	at := s.begin(kind, flags)
	s.out = append(s.out, unix.AF_INET, 32, 0, 0, byte(min(w.table, unix.RT_TABLE_COMPAT)), w.proto, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST)
	s.out = native.AppendUint32(s.out, unix.RTNH_F_ONLINK)
	s.attrAddr(unix.RTA_DST, host)
	s.attr32(unix.RTA_TABLE, w.table)
	if kind == unix.RTM_NEWROUTE {
		s.attrAddr(unix.RTA_GATEWAY, w.via)
		s.attr32(unix.RTA_OIF, uint32(w.port))
	}
	s.end(at)
}

// routes sends a message for each host, in as few system calls as may be; only the last message of each asks for an answer.
// absent says that an error of "no such route" is none.
func (s *socket) routes(kind, flags uint16, first netip.Addr, n int, w way) error {
	host := first
	for i := 0; i < n; i++ {
		last := i == n-1 || i%batchLen == batchLen-1
		f := flags
		if last {
			f |= unix.NLM_F_ACK
		}
		s.route(kind, f, host, w)
		host = host.Next()
		if !last {
			continue
		}
		if err := s.flush(kind == unix.RTM_DELROUTE); err != nil {
			return err
		}
	}
	return nil
}

// flush sends what was appended and waits for the answer to the last message.
func (s *socket) flush(absent bool) error {
	err := unix.Sendto(s.fd, s.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	s.out = s.out[:0]
	if err != nil {
		return fmt.Errorf("send netlink: %w", err)
	}
	return s.await(s.seq, absent)
}

func (s *socket) await(seq uint32, absent bool) error {
	var failed error
	for {
		n, _, err := unix.Recvfrom(s.fd, s.in, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive netlink: %w", err)
		}
		for b := s.in[:n]; len(b) >= unix.SizeofNlMsghdr; {
			length := int(native.Uint32(b))
			if native.Uint16(b[4:]) == unix.NLMSG_ERROR {
				code := unix.Errno(-int32(native.Uint32(b[unix.SizeofNlMsghdr:])))
				if code != 0 && !(absent && code == unix.ESRCH) {
					failed = fmt.Errorf("netlink: %w", code)
				}
				if native.Uint32(b[8:]) == seq {
					return failed
				}
			}
			b = b[min(len(b), (length+3)&^3):]
		}
	}
}

// setPort opens or closes a port.
func (s *socket) setPort(index int, up bool) error {
	s.link(index, up)
	return s.flush(false)
}

// link appends the message that sets a port administratively up or down.
func (s *socket) link(index int, up bool) {
	at := s.begin(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	flags := uint32(0)
	if up {
		flags = unix.IFF_UP
	}
	s.out = append(s.out, unix.AF_UNSPEC, 0, 0, 0)
	s.out = native.AppendUint32(s.out, uint32(index))
	s.out = native.AppendUint32(s.out, flags)
	s.out = native.AppendUint32(s.out, unix.IFF_UP)
	s.end(at)
}

// carriers tells each report about a port: its index, and whether it works.
func (s *socket) carriers(told func(index int, works bool)) error {
	for {
		n, err := receive(s.fd, s.in)
		if errors.Is(err, unix.ENOBUFS) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive netlink: %w", err)
		}
		for b := s.in[:n]; len(b) >= unix.SizeofNlMsghdr+unix.SizeofIfInfomsg; {
			length := int(native.Uint32(b))
			if native.Uint16(b[4:]) == unix.RTM_NEWLINK {
				body := b[unix.SizeofNlMsghdr:]
				told(int(native.Uint32(body[4:])), native.Uint32(body[8:])&unix.IFF_LOWER_UP != 0)
			}
			b = b[min(len(b), (length+3)&^3):]
		}
	}
}
