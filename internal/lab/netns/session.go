package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
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

func destroy(id netlink.SocketID) error {
	local, remote := tcpAddr(id.Source, id.SourcePort), tcpAddr(id.Destination, id.DestinationPort)
	return netlink.SocketDestroy(local, remote)
}

func tcpAddr(ip net.IP, port uint16) *net.TCPAddr { return &net.TCPAddr{IP: ip, Port: int(port)} }
