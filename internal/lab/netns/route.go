package netns

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HostRoute is one way in which a node's main table sends a single address.
type HostRoute struct {
	Host netip.Addr
	Port string
}

// HostRoutes lists the ways of the main table's IPv4 host routes that the kernel can use.
func (n *Net) HostRoutes(node string) ([]HostRoute, error) {
	h := n.handles[node]
	routes, err := h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		routes, err = h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	}
	if err != nil {
		return nil, fmt.Errorf("list routes of %s: %w", node, err)
	}
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links of %s: %w", node, err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	const unusable = unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN
	var out []HostRoute
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		host, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		if bits, _ := r.Dst.Mask.Size(); !ok || bits != host.BitLen() {
			continue
		}
		if r.LinkIndex != 0 && r.Flags&unusable == 0 {
			out = append(out, HostRoute{host, names[r.LinkIndex]})
		}
		for _, hop := range r.MultiPath {
			if hop.Flags&unusable == 0 {
				out = append(out, HostRoute{host, names[hop.LinkIndex]})
			}
		}
	}
	return out, nil
}
