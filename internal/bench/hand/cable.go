package hand

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Cable is a link that can be cut. From the cut on nothing passes: the kernel tells of a carrier before it stops the traffic, and a cut
// does not.
type Cable struct {
	kern  *socket
	entry int // where the traffic from the gateway comes in
	ports []int
}

// OpenCable takes ports of the namespace that it is called in. Those that are set down go in their order.
func OpenCable(entry string, ports ...string) (*Cable, error) {
	c := &Cable{}
	var err error
	if c.entry, err = index(entry); err != nil {
		return nil, err
	}
	for _, p := range ports {
		i, err := index(p)
		if err != nil {
			return nil, err
		}
		c.ports = append(c.ports, i)
	}
	attrs := netlink.QdiscAttrs{LinkIndex: c.entry, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	if err := netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: attrs}); err != nil {
		return nil, fmt.Errorf("prepare %s for a cut: %w", entry, err)
	}
	c.kern, err = openSocket(0)
	return c, err
}

// Set cuts the cable, or mends it, in one system call.
func (c *Cable) Set(up bool) error {
	if !up {
		c.kern.drop(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE, c.entry)
	}
	for _, p := range c.ports {
		c.kern.link(p, up)
	}
	if up {
		c.kern.drop(unix.RTM_DELTFILTER, 0, c.entry)
	}
	if err := c.kern.flush(false); err != nil {
		return fmt.Errorf("set cable: %w", err)
	}
	return nil
}

// drop appends the message that makes a port drop, or no longer drop, all that it receives: a classic BPF filter of one instruction,
// whose result is the verdict.
func (s *socket) drop(kind, flags uint16, port int) {
	const (
		priority, ingress         = 1, 0xfffffff2
		tcaKind, tcaOptions       = 1, 2
		opsLen, ops, bpfFlags     = 4, 5, 8
		shot, directAction, class = 2, 1, "bpf"
	)
	at := s.begin(kind, flags|unix.NLM_F_ACK)
	s.out = append(s.out, unix.AF_UNSPEC, 0, 0, 0)
	s.out = native.AppendUint32(s.out, uint32(port))
	s.out = native.AppendUint32(s.out, 1) // handle
	s.out = native.AppendUint32(s.out, ingress)
	s.out = native.AppendUint32(s.out, priority<<16|uint32(network16(unix.ETH_P_ALL)))
	s.attr(tcaKind, append([]byte(class), 0))
	if kind == unix.RTM_NEWTFILTER {
		options := len(s.out)
		s.out = append(s.out, 0, 0, tcaOptions, 0)
		s.attr(opsLen, native.AppendUint16(nil, 1))
		s.attr(ops, append(native.AppendUint16(nil, unix.BPF_RET|unix.BPF_K), 0, 0, shot, 0, 0, 0))
		s.attr32(bpfFlags, directAction)
		native.PutUint16(s.out[options:], uint16(len(s.out)-options))
	}
	s.end(at)
}

func (s *socket) attr(kind uint16, value []byte) {
	s.out = native.AppendUint16(s.out, uint16(4+len(value)))
	s.out = native.AppendUint16(s.out, kind)
	s.out = append(s.out, value...)
	for len(s.out)%4 != 0 {
		s.out = append(s.out, 0)
	}
}

// Close gives the socket back.
func (c *Cable) Close() { c.kern.close() }

// Lookup asks the kernel of the namespace that it was opened in by which port it would send to a host.
type Lookup struct{ kern *socket }

// OpenLookup opens it.
func OpenLookup() (*Lookup, error) {
	kern, err := openSocket(0)
	if err != nil {
		return nil, err
	}
	return &Lookup{kern}, nil
}

// Close gives the socket back.
func (l *Lookup) Close() { l.kern.close() }

// Port is the index of that port, 0 if there is no way.
func (l *Lookup) Port(host netip.Addr) (int, error) {
	s := l.kern
	at := s.begin(unix.RTM_GETROUTE, 0)
	s.out = append(s.out, unix.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	s.attrAddr(unix.RTA_DST, host)
	s.end(at)
	err := unix.Sendto(s.fd, s.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	s.out = s.out[:0]
	if err != nil {
		return 0, fmt.Errorf("ask for %s: %w", host, err)
	}
	n, _, err := unix.Recvfrom(s.fd, s.in, 0)
	if err != nil || n < unix.SizeofNlMsghdr+unix.SizeofRtMsg {
		return 0, fmt.Errorf("ask for %s: %w", host, errors.Join(err, errShort))
	}
	return outPort(s.in[:n]), nil
}

var errShort = errors.New("short answer")

// outPort reads RTA_OIF of the answer; an error of the kernel's means that there is no way.
func outPort(b []byte) int {
	if native.Uint16(b[4:]) != unix.RTM_NEWROUTE {
		return 0
	}
	for b = b[unix.SizeofNlMsghdr+unix.SizeofRtMsg:]; len(b) >= unix.SizeofRtAttr; {
		length := int(native.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			return 0
		}
		if native.Uint16(b[2:]) == unix.RTA_OIF && length >= 8 {
			return int(native.Uint32(b[4:]))
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return 0
}
