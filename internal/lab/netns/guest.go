package netns

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// MoveAddress takes the IPv4 address and the default route of a port from one namespace and gives them to the port of the same name
// in another, which announces the address by gratuitous ARP (RFC 5227 section 2.3): what the move of a virtual machine looks
// like from outside. It calls now right before the announcement.
func MoveAddress(from, to, port string, now func()) error {
	var addr *net.IPNet
	var gateway net.IP
	err := Do(from, func() (err error) {
		addr, gateway, err = vacate(port)
		return err
	})
	if err == nil {
		err = Do(to, func() error { return occupy(port, addr, gateway, now) })
	}
	if err != nil {
		return fmt.Errorf("move address of %s from %s to %s: %w", port, from, to, err)
	}
	return nil
}

// vacate removes the port's address; the kernel removes the routes that need it.
func vacate(port string) (addr *net.IPNet, gateway net.IP, err error) {
	l, err := netlink.LinkByName(port)
	if err != nil {
		return nil, nil, err
	}
	addrs, err := netlink.AddrList(l, unix.AF_INET)
	if err != nil {
		return nil, nil, err
	}
	if len(addrs) == 0 {
		return nil, nil, fmt.Errorf("%s has no address", port)
	}
	routes, err := netlink.RouteList(l, unix.AF_INET)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range routes {
		if r.Gw != nil {
			gateway = r.Gw
		}
	}
	return addrs[0].IPNet, gateway, netlink.AddrDel(l, &addrs[0])
}

func occupy(port string, addr *net.IPNet, gateway net.IP, now func()) error {
	l, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: addr}); err != nil {
		return err
	}
	if gateway != nil {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gateway}); err != nil {
			return err
		}
	}
	now()
	return announce(l, l.Attrs().HardwareAddr, addr.IP)
}

// Announce tells of the first IPv4 address of a device, by gratuitous ARP that leaves by a port: the device itself or a member of it.
func Announce(name, device, port string) error {
	return Do(name, func() error {
		l, err := netlink.LinkByName(device)
		if err != nil {
			return fmt.Errorf("announce %s: %w", device, err)
		}
		by, err := netlink.LinkByName(port)
		if err != nil {
			return fmt.Errorf("announce %s on %s: %w", device, port, err)
		}
		addrs, err := netlink.AddrList(l, unix.AF_INET)
		if err == nil && len(addrs) > 0 {
			err = announce(by, l.Attrs().HardwareAddr, addrs[0].IP)
		}
		if err != nil {
			return fmt.Errorf("announce %s on %s: %w", device, port, err)
		}
		return nil
	})
}

func announce(by netlink.Link, mac net.HardwareAddr, ip net.IP) error {
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	return unix.Sendto(s, announcement(mac, ip), 0, &unix.SockaddrLinklayer{Ifindex: by.Attrs().Index})
}

// announcement is a gratuitous ARP request, with its Ethernet header.
func announcement(mac net.HardwareAddr, ip net.IP) []byte {
	const ethernet, ipv4, request = 1, 0x0800, 1
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_ARP)
	f = binary.BigEndian.AppendUint16(f, ethernet)
	f = binary.BigEndian.AppendUint16(f, ipv4)
	f = append(f, byte(len(mac)), net.IPv4len)
	f = binary.BigEndian.AppendUint16(f, request)
	f = append(append(f, mac...), ip.To4()...)
	return append(append(f, make([]byte, len(mac))...), ip.To4()...)
}
