package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"peerless/internal/lab/topology"
)

// stubPort and stubPeer are the pair that keeps a bridge up when all its links are down.
const (
	stubPort = "stub0"
	stubPeer = "stub1"
)

// nearIndex is the first interface index given to the near ends of links: far ends are numbered by the kernel from 2, so
// the two never meet.
const nearIndex = 1000

// callTimeout bounds one netlink request.
const callTimeout = 5 * time.Second

// Net is the open handles of the nodes' namespaces.
type Net struct {
	nameOf  func(node string) string
	handles map[string]*netlink.Handle
	spaces  map[string]vnetns.NsHandle
}

// Open gives handles on namespaces that are there already.
func Open(nodes []string, nameOf func(node string) string) (*Net, error) {
	n := &Net{nameOf: nameOf, handles: map[string]*netlink.Handle{}, spaces: map[string]vnetns.NsHandle{}}
	for _, node := range nodes {
		ns, err := vnetns.GetFromName(nameOf(node))
		if err != nil {
			n.Close()
			return nil, fmt.Errorf("open namespace %s: %w", nameOf(node), err)
		}
		n.spaces[node] = ns
		h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
		if err != nil {
			n.Close()
			return nil, fmt.Errorf("open netlink in namespace %s: %w", nameOf(node), err)
		}
		if err := h.SetSocketTimeout(callTimeout); err != nil {
			n.Close()
			return nil, fmt.Errorf("set netlink timeout: %w", err)
		}
		n.handles[node] = h
	}
	return n, nil
}

// Close closes the handles; the namespaces stay.
func (n *Net) Close() {
	for _, h := range n.handles {
		h.Close()
	}
	for _, s := range n.spaces {
		_ = s.Close()
	}
}

// Build makes everything of the topology inside its namespaces, which must be there and empty.
func Build(t topology.Topology, nameOf func(node string) string) (*Net, error) {
	var names []string
	for _, node := range t.Nodes {
		if err := Create(nameOf(node.Name)); err != nil {
			return nil, err
		}
		names = append(names, node.Name)
	}
	n, err := Open(names, nameOf)
	if err != nil {
		return nil, err
	}
	if err := n.build(t); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Net) build(t topology.Topology) error {
	for _, node := range t.Nodes {
		if err := n.sysctls(node); err != nil {
			return err
		}
	}
	for i, l := range t.Links {
		if err := n.link(l, nearIndex+i); err != nil {
			return fmt.Errorf("build link %s - %s: %w", l.A, l.B, err)
		}
	}
	for _, node := range t.Nodes {
		if err := n.node(node); err != nil {
			return fmt.Errorf("build node %s: %w", node.Name, err)
		}
	}
	return nil
}

// noFilters keeps the packet filters that a container runtime wants on every bridge, in new namespaces too, off those of a lab.
var noFilters = []topology.Sysctl{
	{Path: "bridge/bridge-nf-call-iptables", Value: "0"}, {Path: "bridge/bridge-nf-call-arptables", Value: "0"},
}

func (n *Net) sysctls(node topology.Node) error {
	return Do(n.nameOf(node.Name), func() error {
		for _, s := range slices.Concat(noFilters, node.Sysctls) {
			path := filepath.Join("/proc/sys/net", s.Path)
			err := os.WriteFile(path, []byte(s.Value), 0)
			if os.IsNotExist(err) {
				continue // a kernel without IPv6 makes no IPv6 noise, one without filters on bridges has none
			}
			if err != nil {
				return fmt.Errorf("set %s of %s: %w", s.Path, node.Name, err)
			}
		}
		return nil
	})
}

// link makes a veth pair across two namespaces. With SameIndex it asks for the index that the far end will get.
func (n *Net) link(l topology.Link, index int) error {
	const tries = 16 // a node's near ends may have taken some
	for range tries {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Index = l.A.Port, index
		v := &netlink.Veth{LinkAttrs: attrs, PeerName: l.B.Port, PeerNamespace: netlink.NsFd(n.spaces[l.B.Node])}
		err := n.handles[l.A.Node].LinkAdd(v)
		if l.SameIndex && errors.Is(err, unix.EEXIST) {
			index++ // so has the kernel at the far end
			continue
		}
		if err != nil {
			return err
		}
		far, err := n.handles[l.B.Node].LinkByName(l.B.Port)
		if err != nil {
			return err
		}
		if (far.Attrs().Index == index) == l.SameIndex {
			return nil
		}
		if err := n.handles[l.A.Node].LinkDel(v); err != nil {
			return err
		}
		if l.SameIndex {
			index = far.Attrs().Index + 1 // the kernel counts on
		} else {
			index++
		}
	}
	return fmt.Errorf("no suitable pair of interface indexes in %d tries", tries)
}

// node makes bridges, brings every port up, then sets addresses and routes.
func (n *Net) node(node topology.Node) error {
	h := n.handles[node.Name]
	if err := n.devices(node); err != nil {
		return err
	}
	for _, b := range node.Bridges {
		if err := bridge(h, b); err != nil {
			return fmt.Errorf("bridge %s: %w", b.Name, err)
		}
	}
	links, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("set %s up: %w", l.Attrs().Name, err)
		}
	}
	for _, a := range node.Addresses {
		l, err := h.LinkByName(a.Port)
		if err != nil {
			return fmt.Errorf("address %s: port %s: %w", a.Prefix, a.Port, err)
		}
		if err := h.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a.Prefix)}); err != nil {
			return fmt.Errorf("address %s on %s: %w", a.Prefix, a.Port, err)
		}
	}
	for _, r := range node.Routes {
		l, err := h.LinkByName(r.Port)
		if err != nil {
			return fmt.Errorf("route %s: port %s: %w", r.Prefix, r.Port, err)
		}
		route := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(r.Prefix)}
		if r.Via.IsValid() {
			route.Gw = r.Via.AsSlice()
		}
		if err := h.RouteAdd(route); err != nil {
			return fmt.Errorf("route %s: %w", r.Prefix, err)
		}
	}
	return nil
}

// bridge makes a bridge with its members and the stub. The stub hears no flooded frame and answers no ARP: it would
// answer for the bridge's own addresses.
func bridge(h *netlink.Handle, b topology.Bridge) error {
	mac, err := net.ParseMAC(b.MAC)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = b.Name, mac
	noSnooping := false
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &noSnooping}
	if err := h.LinkAdd(br); err != nil {
		return err
	}
	stub := netlink.NewLinkAttrs()
	stub.Name = stubPort
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: stub, PeerName: stubPeer}); err != nil {
		return err
	}
	for _, name := range append([]string{stubPort}, b.Members...) {
		m, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("member %s: %w", name, err)
		}
		if err := h.LinkSetMaster(m, br); err != nil {
			return fmt.Errorf("member %s: %w", name, err)
		}
	}
	near, err := h.LinkByName(stubPort)
	if err != nil {
		return err
	}
	far, err := h.LinkByName(stubPeer)
	if err != nil {
		return err
	}
	if err := h.LinkSetARPOff(far); err != nil {
		return err
	}
	if err := h.LinkSetLearning(near, false); err != nil {
		return err
	}
	return h.LinkSetFlood(near, false)
}

// SetPort sets a port administratively up or down; it calls now right before it sends that one netlink message.
func (n *Net) SetPort(node, port string, up bool, now func()) error {
	h, ok := n.handles[node]
	if !ok {
		return fmt.Errorf("set port %s of %s: no such node", port, node)
	}
	l, err := h.LinkByName(port)
	if err != nil {
		return fmt.Errorf("set port %s of %s: %w", port, node, err)
	}
	now()
	if up {
		err = h.LinkSetUp(l)
	} else {
		err = h.LinkSetDown(l)
	}
	if err != nil {
		return fmt.Errorf("set port %s of %s: %w", port, node, err)
	}
	return nil
}

// Ports gives a function that sets several ports administratively up or down, one message after another and nothing in between.
func (n *Net) Ports(node string, ports []string) (set func(up bool) error, err error) {
	h, ok := n.handles[node]
	if !ok {
		return nil, fmt.Errorf("find ports of %s: no such node", node)
	}
	var links []netlink.Link
	for _, p := range ports {
		l, err := h.LinkByName(p)
		if err != nil {
			return nil, fmt.Errorf("find port %s of %s: %w", p, node, err)
		}
		links = append(links, l)
	}
	return func(up bool) error {
		change := h.LinkSetDown
		if up {
			change = h.LinkSetUp
		}
		var errs []error
		for _, l := range links {
			if err := change(l); err != nil {
				errs = append(errs, fmt.Errorf("set port %s of %s: %w", l.Attrs().Name, node, err))
			}
		}
		return errors.Join(errs...)
	}, nil
}

// PortUp tells whether a port is administratively up.
func (n *Net) PortUp(node, port string) (bool, error) {
	l, err := n.handles[node].LinkByName(port)
	if err != nil {
		return false, fmt.Errorf("read port %s of %s: %w", port, node, err)
	}
	return l.Attrs().Flags&net.FlagUp != 0, nil
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
