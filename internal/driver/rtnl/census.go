package rtnl

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/step"
)

// census dumps everything that concerns us. Under strict checking the kernel filters routes itself: by our mark in all
// tables, then by table for what is watched whoever owns it.
func (d *Driver) census(s scope) (c census, err error) {
	links := linkHeader(unix.AF_UNSPEC, 0, 0, 0)
	links.u32(unix.IFLA_EXT_MASK, skipStats)
	if c.links, err = dumpAll(d.reads, "links", unix.RTM_GETLINK, links, decodeLink); err != nil {
		return c, err
	}
	if c.addresses, err = dumpAll(d.reads, "addresses", unix.RTM_GETADDR, make(payload, unix.SizeofIfAddrmsg).inet(), decodeAddress); err != nil {
		return c, err
	}
	if c.routes, err = d.dumpRoutes(s); err != nil {
		return c, err
	}
	if c.neighbors, err = dumpAll(d.reads, "neighbours", unix.RTM_GETNEIGH, neighborHeader(unix.AF_INET, 0, 0, 0), decodeNeighbor); err != nil {
		return c, err
	}
	if c.rules, err = dumpAll(d.reads, "rules", unix.RTM_GETRULE, make(payload, unix.SizeofRtMsg).inet(), decodeRule); err != nil {
		return c, err
	}
	return c, d.lookInto(&c)
}

// lookInto finds what selects the way out of the bridge that is to be told of. One that is not there has nothing.
func (d *Driver) lookInto(c *census) error {
	want := d.opts.Selects
	i := slices.IndexFunc(c.links, func(l link) bool { return l.name == want.Bridge && l.kind == "bridge" })
	if i < 0 {
		return nil
	}
	bridge := c.links[i].index
	entry, found, err := entry{}, false, error(nil)
	if !want.MAC.IsZero() {
		entry, found, err = d.readEntry(bridge, want.MAC)
	}
	if err != nil {
		return fmt.Errorf("read forwarding entry of %s: %w", want.Bridge, err)
	}
	for _, l := range c.links {
		if l.master != bridge || !slices.Contains(d.opts.Ports, l.name) {
			continue
		}
		if found && entry.made() && entry.index == l.index {
			c.entries = append(c.entries, step.FDB{Bridge: want.Bridge, MAC: want.MAC, Port: l.name})
		}
		f, err := readBridgeFlags(d.reads, l.name)
		switch {
		case errors.Is(err, errNoMember), errors.Is(err, unix.ENODEV): // it has left since
		case err != nil:
			return fmt.Errorf("read bridge flags of %s: %w", l.name, err)
		default:
			c.members = append(c.members, step.BridgePort{Port: l.name, Flood: f.Unicast || f.Broadcast || f.Multicast, Learning: f.Learning, Isolated: f.Isolated})
		}
	}
	return nil
}

func (d *Driver) dumpRoutes(s scope) ([]route, error) {
	all, err := dumpAll(d.reads, "routes", unix.RTM_GETROUTE, routeFilter(0, mark), decodeRoute)
	if err != nil {
		return nil, err
	}
	tables := []uint32{unix.RT_TABLE_MAIN}
	for t := range s.tables {
		if t != 0 {
			tables = append(tables, t)
		}
	}
	for _, t := range tables {
		routes, err := dumpAll(d.reads, "routes", unix.RTM_GETROUTE, routeFilter(t, 0), decodeRoute)
		if errors.Is(err, unix.ENOENT) {
			continue // the table does not exist yet
		}
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if r.protocol != mark {
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// routeFilter asks for the routes of a table or of a protocol; 0 means any.
func routeFilter(table uint32, protocol uint8) payload {
	p := make(payload, unix.SizeofRtMsg).inet()
	p[5] = protocol
	if table != 0 {
		p.u32(unix.RTA_TABLE, table)
	}
	return p
}

func (p payload) inet() payload {
	p[0] = unix.AF_INET
	return p
}

func dumpAll[T any](r *requester, what string, kind netlink.HeaderType, p payload, decode func([]byte) (T, bool)) ([]T, error) {
	msgs, err := r.dump(kind, p)
	if err != nil {
		return nil, fmt.Errorf("dump %s: %w", what, err)
	}
	all := make([]T, 0, len(msgs))
	for _, m := range msgs {
		if v, ok := decode(m.Data); ok {
			all = append(all, v)
		}
	}
	return all, nil
}
