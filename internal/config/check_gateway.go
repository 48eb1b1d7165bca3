package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

func (d *decoder) checkGateway(c *Gateway) {
	d.checkCommon(&c.Common)
	d.profileGateway(c)
	d.checkRoutes(c)
	d.checkRouter(c.RouterID, c.AS, c.Routes.Mode == RoutesBGP)
	d.required("", "subnets")
	if c.Routes.Mode == RoutesBGP {
		d.required("", "attachment-range")
	}
	d.empty("subnets", len(c.Subnets), "the subnet that the servers are in")
	subnets := make([]netip.Prefix, len(c.Subnets))
	for i, s := range c.Subnets {
		subnets[i] = s.Prefix
		d.required(fmt.Sprintf("subnets[%d]", i), "prefix")
	}
	d.checkSubnets(subnets)
	d.checkRange(c.AttachmentRange, subnets)
	if len(c.Leaves) == 0 && len(c.DynamicLeaves) == 0 && !d.bad["leaves"] && !d.bad["dynamic-leaves"] {
		d.wrong("leaves", "the gateway has no leaf", "list leaves, or accept a range under dynamic-leaves")
	}
	ports := places{}
	d.checkLeaves(c, ports)
	d.checkDynamic(c)
	d.checkServerPorts(c)
	d.checkPeer(c, ports)
	d.checkGatewayHosts(c, subnets)
	d.checkAttachments(c, subnets)
	d.checkPace("probe.leaves", c.Probe.Leaves)
	d.checkCrossing(c)
	d.checkBFD(&c.BFD, &c.Common)
	d.count("max-hosts", c.MaxHosts, 1<<20)
	// 0 and 253 to 255 are the kernel's own tables; a hundred numbers from the base are ours.
	if d.ok("table-base") && (c.TableBase < 256 || c.TableBase > 1<<31) {
		d.wrong("table-base", fmt.Sprintf("table-base: %d is out of bounds", c.TableBase), fmt.Sprintf("use a number from 256 to %d; a hundred tables from it on are used", 1<<31))
	}
	d.checkRestart(c.GracefulRestart)
	d.checkBGP(c.BGP)
}

// checkCrossing refuses questions of which nothing could follow: a leaf that forwards nothing is not told the default route.
func (d *decoder) checkCrossing(c *Gateway) {
	t := c.Probe.Through
	if t == nil {
		return
	}
	const path = "probe.through"
	d.checkPace(path, *t)
	switch {
	case c.Routes.Mode != RoutesBGP:
		d.wrong(path, path+": without routes: bgp this gateway tells no leaf a default route that it could withhold", "leave it out")
	case !c.DefaultRoute:
		d.wrong(path, path+": with default-route: false there is no default route that could be withheld from a leaf", "leave it out, or set default-route: true")
	}
}

func (d *decoder) checkLeaves(c *Gateway, ports places) {
	names, addresses := places{}, places{}
	for i, l := range c.Leaves {
		path := fmt.Sprintf("leaves[%d]", i)
		d.required(path, "name", "port", "address")
		if c.Routes.Mode == RoutesBGP {
			d.required(path, "as")
		}
		d.name(path+".name", l.Name)
		d.once(names, path+".name", "leaf "+l.Name, "give every leaf its own name")
		d.once(ports, path+".port", "port "+string(l.Port), "every leaf hangs on a port of its own")
		d.checkUnicast(path+".address", l.Address)
		d.once(addresses, path+".address", "leaf address "+l.Address.String(), "every leaf has an address of its own")
		d.checkNeighborAS(path+".as", l.AS, c.AS)
		labels := places{}
		for _, index := range slices.Sorted(maps.Keys(l.Ports)) {
			p := fmt.Sprintf("%s.ports.%d", path, index)
			d.label(p, l.Ports[index])
			d.once(labels, p, "leaf port "+l.Ports[index], "give every port its own name")
		}
	}
}

func (d *decoder) checkNeighborAS(path string, as, own uint32) {
	d.checkAS(path, as)
	if d.ok(path) && d.ok("as") && as == own {
		d.wrong(path, fmt.Sprintf("gateway and leaf have the same AS number %d", as), "give each node an AS number of its own")
	}
}

func (d *decoder) checkDynamic(c *Gateway) {
	for i, l := range c.DynamicLeaves {
		path := fmt.Sprintf("dynamic-leaves[%d]", i)
		d.required(path, "prefix")
		d.checkNeighborAS(path+".as", l.AS, c.AS)
		for j, o := range c.DynamicLeaves[:i] {
			if d.ok(path+".prefix") && o.Prefix.IsValid() && o.Prefix.Overlaps(l.Prefix) {
				d.wrong(path+".prefix", fmt.Sprintf("range %s overlaps range %s of dynamic-leaves[%d]", l.Prefix, o.Prefix, j), "keep one of them")
				break
			}
		}
	}
}

func (d *decoder) checkServerPorts(c *Gateway) {
	labels := places{}
	for _, id := range slices.Sorted(maps.Keys(c.ServerPorts)) {
		path := fmt.Sprintf("server-ports.%d", id)
		d.checkAttachment(path, id, c.AttachmentRange)
		d.label(path, c.ServerPorts[id])
		d.once(labels, path, "server port "+c.ServerPorts[id], "give every server port its own name")
	}
}

func (d *decoder) checkPeer(c *Gateway, ports places) {
	if c.Peer == nil {
		return
	}
	d.required("peer", "port", "address")
	d.once(ports, "peer.port", "port "+string(c.Peer.Port), "a port has one use: remove one of them")
	d.checkUnicast("peer.address", c.Peer.Address)
	for i, l := range c.Leaves {
		if d.ok("peer.address") && l.Address == c.Peer.Address {
			d.wrong("peer.address", fmt.Sprintf("peer address %s is also leaf %s (leaves[%d])", c.Peer.Address, l.Name, i), "write the other gateway's address")
		}
	}
}

func (d *decoder) checkGatewayHosts(c *Gateway, subnets []netip.Prefix) {
	hosts := places{}
	for i, h := range c.StaticHosts {
		path := fmt.Sprintf("static-hosts[%d]", i)
		d.required(path, "address", "primary", "backup")
		if d.ok(path+".address") && !hostIn(h.Address, subnets) {
			d.wrong(path+".address", fmt.Sprintf("static host %s is no host address of a configured subnet", h.Address), "correct the address, or add its subnet")
		}
		d.once(hosts, path+".address", "static host "+h.Address.String(), "a host has one primary and one backup: remove one of them")
		d.checkAttachment(path+".attachment", h.Attachment, c.AttachmentRange)
		d.leafName(path+".primary", h.Primary, c)
		d.leafName(path+".backup", h.Backup, c)
		if d.ok(path+".primary") && d.ok(path+".backup") && h.Primary == h.Backup {
			d.wrong(path+".backup", fmt.Sprintf("primary and backup are the same leaf %s", h.Backup), "the backup is the other leaf")
		}
	}
}

func (d *decoder) leafName(path, name string, c *Gateway) {
	known := slices.ContainsFunc(c.Leaves, func(l GatewayLeaf) bool { return l.Name == name })
	if d.ok(path) && !known {
		d.wrong(path, fmt.Sprintf("%s: no leaf is named %q", path, name), "use a name listed under leaves")
	}
}
