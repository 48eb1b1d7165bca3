package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Reset aborts the TCP connections that a namespace has from or to a port with the peer, as a failing stack would: the far end
// hears a reset, and so does the near program. It gives how many there were.
func Reset(name string, port uint16, peer netip.Addr) (n int, err error) {
	err = Do(name, func() error {
		all, err := netlink.SocketDiagTCP(unix.AF_INET)
		if err != nil {
			return fmt.Errorf("list TCP connections: %w", err)
		}
		for _, s := range all {
			far, ok := netip.AddrFromSlice(s.ID.Destination.To4())
			if !ok || far != peer || s.State != netlink.TCP_ESTABLISHED || s.ID.SourcePort != port && s.ID.DestinationPort != port {
				continue
			}
			if err := destroy(s.ID); err != nil {
				return fmt.Errorf("reset connection to %s: %w", peer, err)
			}
			n++
		}
		if n == 0 {
			return errors.New("reset connection to " + peer.String() + ": there is none")
		}
		return nil
	})
	return n, err
}

// destroy names the connection by all that the kernel told of it: the library leaves the interface out, to which a routing
// daemon's connection is bound.
func destroy(id netlink.SocketID) error {
	req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	req.AddRawData(diagRequest(id))
	_, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}

// diagRequest is struct inet_diag_req_v2.
func diagRequest(id netlink.SocketID) []byte {
	const pads, anyState, addressLen = 2, 0xffffffff, 16
	b := append([]byte{unix.AF_INET, unix.IPPROTO_TCP}, make([]byte, pads)...)
	b = binary.NativeEndian.AppendUint32(b, anyState)
	b = binary.BigEndian.AppendUint16(b, id.SourcePort)
	b = binary.BigEndian.AppendUint16(b, id.DestinationPort)
	for _, ip := range []net.IP{id.Source, id.Destination} {
		b = append(append(b, ip.To4()...), make([]byte, addressLen-net.IPv4len)...)
	}
	b = binary.NativeEndian.AppendUint32(b, id.Interface)
	for _, c := range id.Cookie {
		b = binary.NativeEndian.AppendUint32(b, c)
	}
	return b
}
