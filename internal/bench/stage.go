package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/bench/hand"
	"peerless/internal/lab"
	"peerless/internal/lab/netns"
	"peerless/internal/lab/probe"
)

// stage is one engine on its own copy of the network.
type stage struct {
	engine engine
	hosts  int
	stand  *lab.Stand
	fleet  *probe.Fleet
	hands  []*standIn             // in the order in which they start
	cables map[string]*hand.Cable // by fault
	eyes   *hand.Lookup           // on the gateway
	behind *hand.Lookup           // on the new leaf
	toOld  int                    // interface indexes on the gateway
	toNew  int
	down   int // the new leaf's port to the server

	timeline bool
	flap     bool
}

// standIn is a process of package hand.
type standIn struct {
	role hand.Role
	in   io.Writer
	out  *bufio.Scanner
}

func (h *standIn) do(command string) error {
	if command != "" {
		if _, err := fmt.Fprintln(h.in, command); err != nil {
			return fmt.Errorf("tell stand-in %s: %w", h.role, err)
		}
	}
	if !h.out.Scan() {
		return fmt.Errorf("hear stand-in %s: %w", h.role, errors.Join(io.ErrUnexpectedEOF, h.out.Err()))
	}
	if answer := h.out.Text(); answer != "ok" {
		return fmt.Errorf("stand-in %s: %s", h.role, answer)
	}
	return nil
}

// build sets the stage. Nothing is left of it on an error.
func build(ctx context.Context, e engine, hosts int, o Options) (*stage, error) {
	t := network(e.name, hosts)
	if e.act == "" {
		peerless(&t, hosts)
	}
	stand, err := lab.Build(ctx, t, lab.Options{Binary: o.Binary, Progress: io.Discard})
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", e.name, err)
	}
	s := &stage{engine: e, hosts: hosts, stand: stand, cables: map[string]*hand.Cable{}, timeline: o.Timeline, flap: o.Flap}
	if err := s.furnish(ctx, o); err != nil {
		stand.KeepLogs()
		return nil, errors.Join(fmt.Errorf("build %s: %w", e.name, err), s.end())
	}
	return s, nil
}

func (s *stage) furnish(ctx context.Context, o Options) error {
	if err := s.dress(); err != nil {
		return err
	}
	if s.engine.program != "" {
		for _, node := range []string{nodeG, nodeA, nodeB} {
			files, err := s.engine.files(node, s.hosts)
			if err != nil {
				return err
			}
			if err := s.stand.Engine(ctx, node, files); err != nil {
				return err
			}
		}
	}
	if s.engine.act != "" {
		for _, spec := range standIns(s.engine.act, s.hosts) {
			if err := s.hire(spec, o); err != nil {
				return err
			}
		}
	}
	var err error
	s.fleet, err = s.stand.Probes()
	return err
}

// dress sets what every machine has before any daemon or stand-in.
func (s *stage) dress() error {
	in := func(node string, f func() error) error {
		if err := netns.Do(s.stand.Space(node), f); err != nil {
			return fmt.Errorf("prepare %s: %w", node, err)
		}
		return nil
	}
	err := errors.Join(
		in(nodeV, func() error { return anyIP() }),
		in(nodeS, func() error { return fixBridge() }),
		in(nodeG, func() error {
			near, err := net.InterfaceByName("to-A")
			if err != nil {
				return err
			}
			far, err := net.InterfaceByName("to-B")
			if err != nil {
				return err
			}
			s.toOld, s.toNew = near.Index, far.Index
			s.eyes, err = hand.OpenLookup()
			return err
		}),
		in(nodeB, func() error {
			down, err := net.InterfaceByName("B1")
			if err != nil {
				return err
			}
			s.down = down.Index
			s.behind, err = hand.OpenLookup()
			return err
		}))
	for fault, where := range faults {
		err = errors.Join(err, in(where.node, func() error {
			cable, err := hand.OpenCable(where.entry, where.ports...)
			s.cables[fault] = cable
			return err
		}))
	}
	if s.engine.act == "" || err != nil {
		return err
	}
	for _, node := range []string{nodeA, nodeB} {
		err = errors.Join(err, in(node, func() error { return leafByHand(node) }))
	}
	return errors.Join(err, in(nodeG, func() error { return sysctls("ipv4/conf/default/ignore_routes_with_linkdown=1", "ipv4/ip_forward=1") }))
}

// anyIP makes the machine answer for every host: one local route, and no kernel table has the hosts one by one.
func anyIP() error {
	mac, err := net.ParseMAC(behindMAC)
	if err != nil {
		return err
	}
	port, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetHardwareAddr(port, mac); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
		Dst: &net.IPNet{IP: anyHost.Addr().AsSlice(), Mask: net.CIDRMask(anyHost.Bits(), 32)},
	})
}

// fixBridge: the hosts' machine is behind its port for good, and the two links of the pair never talk to one another.
func fixBridge() error {
	mac, err := net.ParseMAC(behindMAC)
	if err != nil {
		return err
	}
	port, err := netlink.LinkByName("v0")
	if err != nil {
		return err
	}
	entry := &netlink.Neigh{LinkIndex: port.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER, HardwareAddr: mac}
	if err := netlink.NeighSet(entry); err != nil {
		return fmt.Errorf("forwarding entry: %w", err)
	}
	for _, name := range []string{"eth0", "eth1"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := errors.Join(netlink.LinkSetLearning(l, false), netlink.LinkSetIsolated(l, true), netlink.LinkSetFlood(l, name == "eth0")); err != nil {
			return fmt.Errorf("bridge port %s: %w", name, err)
		}
	}
	return nil
}

// leafByHand: the table of hosts is looked up first, and what came down never goes up again.
func leafByHand(node string) error {
	net4 := &net.IPNet{IP: subnet.Addr().AsSlice(), Mask: net.CIDRMask(subnet.Bits(), 32)}
	hosts := netlink.NewRule()
	hosts.Priority, hosts.Dst, hosts.Table = 900, net4, hostTable
	drop := netlink.NewRule()
	drop.Priority, drop.Dst, drop.IifName, drop.Type = 901, net4, node+"0", unix.RTN_BLACKHOLE
	return errors.Join(netlink.RuleAdd(hosts), netlink.RuleAdd(drop),
		sysctls("ipv4/ip_forward=1", "ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0", "ipv4/conf/"+node+"0/rp_filter=0",
			"ipv4/conf/"+node+"1/rp_filter=0", "ipv4/conf/all/send_redirects=0"))
}

func sysctls(values ...string) error {
	for _, v := range values {
		path, value, _ := strings.Cut(v, "=")
		if err := os.WriteFile(filepath.Join("/proc/sys/net", path), []byte(value), 0); err != nil {
			return fmt.Errorf("set %s: %w", path, err)
		}
	}
	return nil
}

// hire starts a stand-in and waits until it is ready.
func (s *stage) hire(spec hand.Spec, o Options) error {
	cmd := exec.Command(o.Binary, "bench-node", spec.Encode())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("hire %s: %w", spec.Role, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("hire %s: %w", spec.Role, err)
	}
	if err := s.stand.Start(nodeOf(spec.Role), "stand-in", cmd); err != nil {
		return err
	}
	h := &standIn{role: spec.Role, in: stdin, out: bufio.NewScanner(stdout)}
	s.hands = append(s.hands, h)
	return h.do("")
}

// each tells all stand-ins in an order in which hosts are never nowhere: the old leaf has them again before the gateway turns to it.
func (s *stage) each(command string) error {
	for _, role := range []hand.Role{hand.Server, hand.Old, hand.Gateway, hand.New} {
		for _, h := range s.hands {
			if h.role != role {
				continue
			}
			if err := h.do(command); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stage) end() error {
	for _, c := range s.cables {
		if c != nil {
			c.Close()
		}
	}
	for _, l := range []*hand.Lookup{s.eyes, s.behind} {
		if l != nil {
			l.Close()
		}
	}
	return s.stand.End()
}

// greet has hosts announce themselves by ARP (RFC 5227 section 2.3), in bursts that a switch's port would pass too.
func (s *stage) greet(ctx context.Context, hosts []netip.Addr) error {
	const burst, pause = 256, 2 * time.Millisecond
	return netns.Do(s.stand.Space(nodeV), func() error {
		port, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("announce hosts: %w", err)
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Ifindex: port.Index}
		for i, h := range hosts {
			if err := unix.Sendto(fd, announcement(port.HardwareAddr, h), 0, to); err != nil {
				return fmt.Errorf("announce %s: %w", h, err)
			}
			if i%burst == burst-1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				time.Sleep(pause)
			}
		}
		return nil
	})
}

// announcement is a gratuitous ARP request.
func announcement(mac net.HardwareAddr, a netip.Addr) []byte {
	b := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	b = append(b, mac...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_ARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1)
	b = append(b, mac...)
	b = append(b, a.AsSlice()...)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, a.AsSlice()...)
}

// steady waits until the gateway's kernel sends every host to the old leaf and the probed hosts lose nothing.
func (s *stage) steady(ctx context.Context) error {
	const healEvery = 10 * time.Second
	bound := steadyMax + time.Duration(s.hosts)*steadyHost
	began, healed := time.Now(), time.Now()
	greeted := time.Time{}
	for {
		if err := errors.Join(ctx.Err(), s.stand.Death()); err != nil {
			return err
		}
		if s.engine.program != "" && time.Since(healed) > healEvery {
			if err := s.each(hand.Heal); err != nil {
				return err
			}
			healed = time.Now()
		}
		astray, err := s.wrong(s.toOld)
		if err == nil && s.engine.act == "" && len(astray) > 0 && time.Since(greeted) > 3*time.Second {
			err, greeted = s.greet(ctx, astray), time.Now()
		}
		left := len(astray)
		if err == nil && left == 0 {
			left, err = s.lingering()
		}
		if err != nil {
			return err
		}
		if left == 0 {
			left = s.unready(ctx)
		}
		if left == 0 {
			return nil
		}
		if time.Since(began) > bound {
			return fmt.Errorf("%s with %d hosts: not steady after %s: %d hosts or ports are not as they should be", s.engine.name, s.hosts, bound, left)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// lingering counts the hosts that the new leaf still has from the fault before: it would have nothing to do at the next one. Those of
// the floors are there for good.
func (s *stage) lingering() (n int, err error) {
	if s.engine.act == hand.Datagram || s.engine.act == hand.GoBGP {
		return 0, nil
	}
	for i := range s.hosts {
		got, err := s.behind.Port(host(i))
		if err != nil {
			return n, err
		}
		if got == s.down {
			n++
		}
	}
	return n, nil
}

// wrong lists the hosts that the gateway's kernel would not send by the port.
func (s *stage) wrong(port int) (list []netip.Addr, err error) {
	for i := range s.hosts {
		got, err := s.eyes.Port(host(i))
		if err != nil {
			return nil, err
		}
		if got != port {
			list = append(list, host(i))
		}
	}
	return list, nil
}
