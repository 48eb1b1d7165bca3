package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"peerless/internal/model"
)

func (d *decoder) checkLeaf(c *Leaf) {
	d.checkCommon(&c.Common)
	d.profileLeaf(c)
	d.checkAdvertise(c)
	d.checkRouter(c.RouterID, c.AS, c.Advertise.Mode == AdvertiseBGP)
	d.required("", "subnets")
	if c.Advertise.Mode == AdvertiseBGP {
		d.required("", "attachment-range")
	}
	d.required("", "uplinks", "downlinks")
	d.empty("subnets", len(c.Subnets), "the subnet that the servers are in")
	d.empty("uplinks", len(c.Uplinks), "the port to the gateway")
	d.empty("downlinks", len(c.Downlinks), "the ports to the servers")
	subnets := make([]netip.Prefix, len(c.Subnets))
	for i, s := range c.Subnets {
		subnets[i] = s.Prefix
	}
	d.checkSubnets(subnets)
	d.checkGatewayAddresses(c.Subnets)
	d.checkRange(c.AttachmentRange, subnets)
	ports := places{}
	d.checkUplinks(c, subnets, ports)
	d.checkDownlinks(c, ports)
	d.checkStaticHosts(c, subnets)
	d.checkLinkage(c)
	d.checkLeafTimes(c)
	d.checkBFD(&c.BFD, &c.Common)
	d.checkBGP(c.BGP)
}

func (d *decoder) checkGatewayAddresses(subnets []Subnet) {
	for i, s := range subnets {
		path := fmt.Sprintf("subnets[%d]", i)
		d.required(path, "prefix", "gateway", "mac")
		if d.ok(path+".gateway") && d.ok(path+".prefix") && !hostIn(s.Gateway, []netip.Prefix{s.Prefix}) {
			d.wrong(path+".gateway", fmt.Sprintf("gateway address %s is no host address of subnet %s", s.Gateway, s.Prefix),
				"use an address inside, the same on both leaves")
		}
	}
	// A port has one hardware address, so every subnet on it shares the virtual MAC.
	for i := 1; i < len(subnets); i++ {
		path := fmt.Sprintf("subnets[%d].mac", i)
		if d.ok(path) && d.ok("subnets[0].mac") && subnets[i].MAC != subnets[0].MAC {
			d.wrong(path, fmt.Sprintf("virtual MAC %s differs from %s of subnets[0]", subnets[i].MAC, subnets[0].MAC),
				"a port has one MAC: use the same for every subnet")
		}
	}
}

func (d *decoder) checkUplinks(c *Leaf, subnets []netip.Prefix, ports places) {
	neighbors := places{}
	for i, u := range c.Uplinks {
		path := fmt.Sprintf("uplinks[%d]", i)
		d.required(path, "port", "neighbor")
		d.once(ports, path+".port", "port "+string(u.Port), "a port has one use: remove one of them")
		d.checkUnicast(path+".neighbor", u.Neighbor)
		d.once(neighbors, path+".neighbor", "neighbor "+u.Neighbor.String(), "every uplink has a gateway address of its own")
		if d.ok(path+".neighbor") && slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.IsValid() && p.Contains(u.Neighbor) }) {
			d.wrong(path+".neighbor", fmt.Sprintf("neighbor %s lies inside a served subnet", u.Neighbor),
				"write the gateway's address on the link to this leaf")
		}
		d.checkAS(path+".as", u.AS)
		if d.ok(path+".as") && u.AS == c.AS {
			d.wrong(path+".as", fmt.Sprintf("gateway and leaf have the same AS number %d", u.AS), "give each node an AS number of its own")
		}
	}
}

func (d *decoder) checkDownlinks(c *Leaf, ports places) {
	attachments, indexes, names := places{}, places{}, places{}
	// Ports without an index count on from their place in the list.
	for i := range c.Downlinks {
		l, path := &c.Downlinks[i], fmt.Sprintf("downlinks[%d]", i)
		d.required(path, "port", "attachment", "role")
		d.portOnce(ports, path+".port", l.Port)
		d.checkAttachment(path+".attachment", l.Attachment, c.AttachmentRange)
		d.once(attachments, path+".attachment", fmt.Sprintf("attachment id %d", l.Attachment), "a server port hangs on one port of this leaf")
		d.label(path+".server-port", l.ServerPort)
		d.once(names, path+".server-port", fmt.Sprintf("server port %q", l.ServerPort), "a server port hangs on one port of this leaf")
		d.oneOf(path+".role", l.Role, rolePrimary, roleBackup)
		d.count(path+".max-hosts", l.MaxHosts, 1<<20)
		if d.ok(path+".index") && l.Index == 0 {
			d.wrong(path+".index", path+".index: 0 is not an index", "number the ports from 1, or leave the key out")
		}
		if !d.has(path + ".index") {
			l.Index = uint32(i) + 1
			d.at[path+".index"] = d.at[path]
		}
		d.once(indexes, path+".index", fmt.Sprintf("port index %d", l.Index), "a port without an index has its place in the list; number all, or none")
	}
}

// portOnce says it plainly when a downlink is also an uplink.
func (d *decoder) portOnce(ports places, path string, port model.Port) {
	thing := "port " + string(port)
	if first, twice := ports[thing]; twice && d.ok(path) && first[:2] == "up" {
		d.wrong(path, fmt.Sprintf("downlink %s is also an uplink, on line %d", port, d.at[first].line), "a port has one use: remove one of them")
		return
	}
	d.once(ports, path, thing, "a port has one use: remove one of them")
}

func (d *decoder) checkStaticHosts(c *Leaf, subnets []netip.Prefix) {
	hosts := places{}
	for i, l := range c.Downlinks {
		if d.ok(fmt.Sprintf("downlinks[%d].max-hosts", i)) && len(l.StaticHosts) > l.MaxHosts {
			d.wrong(fmt.Sprintf("downlinks[%d].static-hosts", i),
				fmt.Sprintf("%d static hosts on a port with max-hosts %d", len(l.StaticHosts), l.MaxHosts), "raise max-hosts")
		}
		for j, h := range l.StaticHosts {
			path := fmt.Sprintf("downlinks[%d].static-hosts[%d]", i, j)
			d.required(path, "address")
			if d.ok(path+".address") && !hostIn(h.Address, subnets) {
				d.wrong(path+".address", fmt.Sprintf("static host %s is no host address of a configured subnet", h.Address), "correct the address, or add its subnet")
			}
			if slices.ContainsFunc(c.Subnets, func(s Subnet) bool { return s.Gateway == h.Address }) && d.ok(path+".address") {
				d.wrong(path+".address", fmt.Sprintf("static host %s is the gateway address of its subnet", h.Address), "remove it")
			}
			d.once(hosts, path+".address", "static host "+h.Address.String(), "a host is behind one port of this leaf: remove one of them")
		}
	}
}

func (d *decoder) checkLinkage(c *Leaf) {
	d.empty("linkage", len(c.Linkage), "a group, or remove the key for one group of all ports")
	if !d.has("linkage") {
		c.Linkage = []Group{{Name: defaultGroup, Uplinks: c.uplinkPorts(), Downlinks: c.downlinkPorts(), MinUplinks: 1}}
		return
	}
	names, grouped := places{}, places{}
	for i := range c.Linkage {
		g, path := &c.Linkage[i], fmt.Sprintf("linkage[%d]", i)
		d.required(path, "name", "downlinks")
		d.name(path+".name", g.Name)
		d.once(names, path+".name", "group "+g.Name, "give every group its own name")
		if !d.has(path + ".uplinks") {
			g.Uplinks = c.uplinkPorts()
		}
		d.empty(path+".uplinks", len(g.Uplinks), "an uplink, or remove the key for all of them")
		d.empty(path+".downlinks", len(g.Downlinks), "a downlink, or remove the group")
		d.members(path+".uplinks", g.Name, "uplink", g.Uplinks, c.uplinkPorts())
		d.members(path+".downlinks", g.Name, "downlink", g.Downlinks, c.downlinkPorts())
		for j, p := range g.Downlinks {
			element := fmt.Sprintf("%s.downlinks[%d]", path, j)
			if first, twice := grouped[string(p)]; twice && d.ok(element) {
				d.wrong(element, fmt.Sprintf("downlink %s is in a group already, on line %d", p, d.at[first].line), "a downlink is in exactly one group")
				continue
			}
			grouped[string(p)] = element
		}
		d.count(path+".min-uplinks", g.MinUplinks, max(1, len(g.Uplinks)))
	}
	for i, l := range c.Downlinks {
		path := fmt.Sprintf("downlinks[%d].port", i)
		if _, in := grouped[string(l.Port)]; d.ok(path) && d.ok("linkage") && !in {
			d.wrong(path, fmt.Sprintf("downlink %s is in no linkage group", l.Port), "add it to a group: outside of one it would stay open without a gateway")
		}
	}
}

// members reports ports of a group that are not configured, or named twice in it.
func (d *decoder) members(path, group, use string, listed, configured []model.Port) {
	for i, p := range listed {
		element := fmt.Sprintf("%s[%d]", path, i)
		if !d.ok(element) {
			continue
		}
		if !slices.Contains(configured, p) {
			d.wrong(element, fmt.Sprintf("group %s names port %s, which is no %s of this leaf", group, p, use), "use a port listed under "+use+"s")
		}
		if use == "uplink" && slices.Contains(listed[:i], p) {
			d.wrong(element, fmt.Sprintf("group %s names uplink %s twice", group, p), "remove one of them")
		}
	}
}

func (c *Leaf) uplinkPorts() []model.Port {
	out := make([]model.Port, len(c.Uplinks))
	for i, u := range c.Uplinks {
		out[i] = u.Port
	}
	return out
}

func (c *Leaf) downlinkPorts() []model.Port {
	out := make([]model.Port, len(c.Downlinks))
	for i, l := range c.Downlinks {
		out[i] = l.Port
	}
	return out
}

func (d *decoder) checkLeafTimes(c *Leaf) {
	d.between("open-delay.min", c.OpenDelay.Min, 0, 10*time.Minute)
	d.between("open-delay.max", c.OpenDelay.Max, 0, time.Hour)
	d.between("open-delay.stagger", c.OpenDelay.Stagger, 0, 10*time.Second)
	if c.OpenDelay.Min > c.OpenDelay.Max && !d.bad["open-delay.min"] && !d.bad["open-delay.max"] {
		d.wrong("open-delay.min", fmt.Sprintf("open-delay.min %s is longer than open-delay.max %s", c.OpenDelay.Min, c.OpenDelay.Max), "raise max or lower min")
	}
	d.checkPace("probe.hosts", c.Probe.Hosts)
	d.checkPace("probe.uplinks", c.Probe.Uplinks)
	d.checkPace("probe.links", Pace{Interval: c.Probe.Links.Interval, Multiplier: c.Probe.Links.Multiplier})
	d.oneOf("probe.links.silent", c.Probe.Links.Silent, SilentWithdraw, SilentClose)
	d.between("drain", c.Drain, 0, 10*time.Second)
	d.between("damping.half-life", c.Damping.HalfLife, 0, time.Hour)
	d.between("damping.max", c.Damping.Max, time.Second, 24*time.Hour)
	d.count("damping.suppress", c.Damping.Suppress, 1_000_000)
	d.count("damping.reuse", c.Damping.Reuse, 1_000_000)
	if c.Damping.Reuse >= c.Damping.Suppress && !d.bad["damping.reuse"] && !d.bad["damping.suppress"] {
		d.wrong("damping.reuse", fmt.Sprintf("damping.reuse %d is not below damping.suppress %d", c.Damping.Reuse, c.Damping.Suppress), "lower reuse or raise suppress")
	}
	d.between("local-only", c.LocalOnly, 0, time.Hour)
	d.between("drain-max", c.DrainMax, time.Second, time.Hour)
	d.between("remember", c.Remember, 0, 24*time.Hour)
	d.checkRestart(c.GracefulRestart)
}

func (d *decoder) checkPace(path string, p Pace) {
	d.between(path+".interval", p.Interval, 10*time.Millisecond, time.Minute)
	d.count(path+".multiplier", p.Multiplier, 50)
}
