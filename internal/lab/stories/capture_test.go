package stories

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/engine"
	"peerless/internal/model"
)

// wire is a raw socket on a port of a node.
type wire struct {
	fd    int
	index int
	mac   model.MAC
}

func (s *stand) wire(node, port string) *wire {
	s.t.Helper()
	w := &wire{}
	s.in(node, func() error {
		l, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		w.index = l.Attrs().Index
		copy(w.mac[:], l.Attrs().HardwareAddr)
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		_ = unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
		tick := unix.NsecToTimeval(int64(20 * time.Millisecond))
		if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tick); err != nil {
			return err
		}
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: w.index})
	})
	s.t.Cleanup(func() { _ = unix.Close(w.fd) })
	return w
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// watch gives each frame to see, with whether it was received (not sent) by the node, until stop is closed.
func (w *wire) watch(wg *sync.WaitGroup, stop <-chan struct{}, see func(frame []byte, received bool)) {
	wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := unix.Recvfrom(w.fd, buf, 0)
			if err == nil {
				ll, _ := from.(*unix.SockaddrLinklayer)
				see(buf[:n], ll == nil || ll.Pkttype != unix.PACKET_OUTGOING)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
}

func (w *wire) arp(op uint16, dst, senderMAC model.MAC, senderIP, targetIP netip.Addr) error {
	f := make([]byte, 42)
	copy(f[0:], dst[:])
	copy(f[6:], senderMAC[:])
	copy(f[12:], []byte{8, 6, 0, 1, 8, 0, 6, 4})
	binary.BigEndian.PutUint16(f[20:], op)
	copy(f[22:], senderMAC[:])
	copy(f[28:], senderIP.AsSlice())
	copy(f[38:], targetIP.AsSlice())
	return unix.Sendto(w.fd, f, 0, &unix.SockaddrLinklayer{Ifindex: w.index})
}

// sender reads the sender of an ARP frame.
func sender(f []byte) (model.MAC, netip.Addr, bool) {
	if len(f) < 42 || f[12] != 8 || f[13] != 6 {
		return model.MAC{}, netip.Addr{}, false
	}
	return model.MAC(f[22:28]), netip.AddrFrom4([4]byte(f[28:32])), true
}

// The leaves know nothing of each other: nothing either sends is addressed to the other, in the normal state and through all
// faults.
func TestCapture_NoPacketBetweenTheLeaves(t *testing.T) {
	s := standing(t)
	own := map[netip.Addr]string{}
	for _, leaf := range []string{"A", "B"} {
		s.in(leaf, func() error {
			list, err := netlink.AddrList(nil, unix.AF_INET)
			for _, a := range list {
				if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && !ip.IsLoopback() && ip != server(254) {
					own[ip] = leaf
				}
			}
			return err
		})
	}
	if len(own) < 2 {
		t.Fatalf("addresses of the leaves: %v", own)
	}
	var mu sync.Mutex
	seen, bad := 0, ""
	see := func(f []byte, _ bool) {
		if len(f) < 34 || f[12] != 8 || f[13] != 0 {
			return
		}
		src, dst := netip.AddrFrom4([4]byte(f[26:30])), netip.AddrFrom4([4]byte(f[30:34]))
		mu.Lock()
		defer mu.Unlock()
		if own[src] != "" {
			seen++
		}
		if own[src] != "" && own[dst] != "" && own[src] != own[dst] {
			bad = fmt.Sprintf("%s (%s) to %s (%s)", src, own[src], dst, own[dst])
		}
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, leaf := range []string{"A", "B"} {
		for i := range 5 {
			s.wire(leaf, fmt.Sprintf("%s%d", leaf, i)).watch(&wg, stop, see)
		}
	}
	for _, f := range []string{"server-link", "server-link-restore", "gateway-link", "gateway-link-restore"} {
		s.fault(f)
		time.Sleep(1500 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	if bad != "" {
		t.Errorf("a packet from leaf to leaf: %s", bad)
	}
	if seen == 0 {
		t.Error("the capture saw no packet of any leaf: it proves nothing")
	}
}

// A client that probes for duplicates (RFC 5227) must never hear that somebody has its address: not at its start, not while it
// announces, and not while it moves.
func TestConflictDetection_NoServerEverHearsOfADuplicate(t *testing.T) {
	s := standing(t)
	var mu sync.Mutex
	var bad []string
	answered := 0
	mine := map[string]netip.Addr{"C1": server(1), "C2": server(2)}
	fresh := server(77)
	wires := map[string]*wire{}
	macs := map[string]model.MAC{}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for node, addr := range mine {
		macs[node] = s.wire(node, "br0").mac
		for _, port := range []string{"eth0", "eth1"} {
			w := s.wire(node, port)
			wires[node+port] = w
			w.watch(&wg, stop, func(f []byte, received bool) {
				mac, ip, ok := sender(f)
				if !ok || !received {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if (ip == addr || ip == fresh) && mac != macs[node] {
					bad = append(bad, fmt.Sprintf("%s hears on %s: %s is at %s", node, port, ip, mac))
				}
				if ip == server(3) {
					answered++
				}
			})
		}
	}
	probe := func() {
		for node, addr := range mine {
			for _, port := range []string{"eth0", "eth1"} {
				w := wires[node+port]
				for _, a := range []netip.Addr{addr, fresh} {
					_ = w.arp(1, model.Broadcast, macs[node], netip.IPv4Unspecified(), a) // probe
				}
			}
			_ = wires[node+"eth0"].arp(1, model.Broadcast, macs[node], addr, addr)      // announcement
			_ = wires[node+"eth0"].arp(1, model.Broadcast, macs[node], addr, server(3)) // control: a question that is answered
		}
	}
	for _, f := range []string{"", "server-link", "server-link-restore", "gateway-link", "gateway-link-restore"} {
		if f != "" {
			s.fault(f)
		}
		for range 15 {
			probe()
			time.Sleep(100 * time.Millisecond)
		}
	}
	close(stop)
	wg.Wait()
	if len(bad) > 0 {
		t.Errorf("%d times, first: %s", len(bad), bad[0])
	}
	if answered == 0 {
		t.Error("no ordinary question was answered: the test proves nothing")
	}
}

// The kernel floods what a bridge itself originates to every port. So the questions of a server reach both leaves; they must
// not move it.
func TestQuestionsByBothLinks_MoveNothing(t *testing.T) {
	s := standing(t)
	var mu sync.Mutex
	reached := 0
	var wg sync.WaitGroup
	stop := make(chan struct{})
	s.wire("B", "B1").watch(&wg, stop, func(f []byte, received bool) {
		if _, ip, ok := sender(f); ok && received && ip == server(1) {
			mu.Lock()
			defer mu.Unlock()
			reached++
		}
	})
	before := len(show[engine.Entry](s, "G", "events"))
	for i := range 20 { // each address is new, so that the kernel has to ask for it
		s.in("C1", func() error {
			c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: server(byte(100 + i)).AsSlice(), Port: 9})
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("?"))
			return err
		})
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	wg.Wait()
	if reached == 0 {
		t.Fatal("no question of C1 reached the standby leaf: the test proves nothing")
	}
	for _, e := range show[engine.Entry](s, "G", "events")[before:] {
		t.Errorf("the gateway saw: %s %s (%s)", e.What, e.Text, e.Why)
	}
	if why := s.normal(); why != "" {
		t.Error(why)
	}
}
