package config

import (
	"maps"
	"slices"

	"peerless/internal/gateway"
	"peerless/internal/leaf"
	"peerless/internal/leaf/linkage"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/server"
)

// Machine is the config of the leaf's machine.
func (c *Leaf) Machine() leaf.Config {
	out := leaf.Config{
		Name: c.Name, RouterID: c.RouterID, AS: c.AS, AttachmentRange: c.AttachmentRange,
		OpenDelayMin: c.OpenDelay.Min, OpenDelayMax: c.OpenDelay.Max, OpenStagger: c.OpenDelay.Stagger,
		HostProbe: leaf.Probe(c.Probe.Hosts), UplinkProbe: leaf.Probe(c.Probe.Uplinks), BFD: leaf.Probe(c.BFD.pace()),
		LinkProbe:   leaf.Probe{Interval: c.Probe.Links.Interval, Multiplier: c.Probe.Links.Multiplier},
		CloseSilent: c.Probe.Links.Silent == SilentClose,
		Drain:       c.Drain, DrainMax: c.DrainMax, GracefulRestart: c.GracefulRestart, Remember: c.Remember, ShelfFrom: liveness.Crowd,
		LocalOnly: c.LocalOnly, Damping: c.Damping.machine(),
		GuardOwners: c.GuardOwners, DefaultFromBGP: c.Advertise.Mode == AdvertiseBGP, Export: c.Advertise.machine(),
	}
	for _, s := range c.Subnets {
		out.Subnets = append(out.Subnets, leaf.Subnet(s))
	}
	for _, u := range c.Uplinks {
		out.Uplinks = append(out.Uplinks, leaf.Uplink{Port: u.Port, Neighbor: u.Neighbor})
	}
	for _, l := range c.Downlinks {
		out.Downlinks = append(out.Downlinks, l.machine())
	}
	for _, g := range c.Linkage {
		out.Groups = append(out.Groups, linkage.Group(g))
	}
	return out
}

func (d Damping) machine() liveness.Damping {
	return liveness.Damping{HalfLife: d.HalfLife, Suppress: float64(d.Suppress), Reuse: float64(d.Reuse), Max: d.Max}
}

func (l Downlink) machine() leaf.Downlink {
	role := model.Primary
	if l.IsBackup() {
		role = model.Backup
	}
	out := leaf.Downlink{
		Attachment: model.Attachment{
			ID: model.AttachmentID(l.Attachment), Port: l.Port, PortIndex: l.Index, ServerPort: l.ServerPort, Role: role,
		},
		MaxHosts: l.MaxHosts, Single: l.SingleHomed,
	}
	for _, h := range l.StaticHosts {
		out.Static = append(out.Static, model.HostRoute{Addr: h.Address, Port: l.Port, MAC: h.MAC})
	}
	return out
}

// Machine is the config of the gateway's machine.
func (c *Gateway) Machine() gateway.Config {
	out := gateway.Config{
		Name: c.Name, RouterID: c.RouterID, AS: c.AS, AttachmentRange: c.AttachmentRange,
		MaxHosts: c.MaxHosts, GracefulRestart: c.GracefulRestart, TableBase: c.TableBase, BypassFrom: liveness.Crowd,
		Default: c.DefaultRoute && c.Routes.Mode == RoutesBGP, NoBGP: c.Routes.Mode != RoutesBGP,
		LeafProbe: gateway.Probe(c.Probe.Leaves), BFD: gateway.Probe(c.BFD.pace()), Engine: c.Routes.engine(),
	}
	if t := c.Probe.Through; t != nil {
		out.Through = gateway.Probe{Interval: t.Interval, Multiplier: t.Multiplier}
	}
	for _, s := range c.Subnets {
		out.Subnets = append(out.Subnets, s.Prefix)
	}
	for _, l := range c.Leaves {
		node := gateway.Leaf{Name: l.Name, Port: l.Port, Address: l.Address, AS: l.AS}
		for _, index := range slices.Sorted(maps.Keys(l.Ports)) {
			node.Ports = append(node.Ports, gateway.LeafPort{Index: index, Name: l.Ports[index]})
		}
		out.Leaves = append(out.Leaves, node)
	}
	for _, id := range slices.Sorted(maps.Keys(c.ServerPorts)) {
		out.ServerPorts = append(out.ServerPorts, gateway.ServerPort{ID: model.AttachmentID(id), Name: c.ServerPorts[id]})
	}
	if c.Peer != nil {
		out.Peer = &gateway.Peer{Port: c.Peer.Port, Address: c.Peer.Address}
	}
	for _, h := range c.StaticHosts {
		out.Static = append(out.Static, gateway.StaticHost{
			Addr: h.Address, Attachment: model.AttachmentID(h.Attachment),
			Primary: gateway.StaticHop{Leaf: h.Primary}, Backup: gateway.StaticHop{Leaf: h.Backup},
		})
	}
	for _, a := range c.Attachments {
		out.Attachments = append(out.Attachments, a.machine())
	}
	return out
}

// Machine is the config of the server's machine.
func (c *Server) Machine() server.Config {
	out := server.Config{
		Name: c.Name, Device: c.LinkPair.Device, Primary: c.LinkPair.Primary, Backup: c.LinkPair.Backup,
		Gateway: c.LinkPair.Gateway, GatewayMAC: c.LinkPair.GatewayMAC,
		FailBack: server.FailBack{Never: c.FailBack.Policy == FailBackNever, Stable: c.FailBack.Stable},
		Announce: slices.Clone(c.Announce), Settle: c.Settle, Probe: c.StandbyProbe,
		MaxGuests: c.MaxGuests,
		Leaf:      server.Probe(c.Probe.Leaf),
	}
	if t := c.Probe.Through; t != nil {
		out.Through = server.Through{Target: t.Target, Probe: server.Probe{Interval: t.Interval, Multiplier: t.Multiplier}}
	}
	return out
}

// Ports lists every port that the config names, in its order, each once.
func (f *File) Ports() []model.Port {
	var out []model.Port
	switch {
	case f.Leaf != nil:
		out = append(f.Leaf.uplinkPorts(), f.Leaf.downlinkPorts()...)
	case f.Gateway != nil:
		for _, l := range f.Gateway.Leaves {
			out = append(out, l.Port)
		}
		if f.Gateway.Peer != nil {
			out = append(out, f.Gateway.Peer.Port)
		}
	case f.Server != nil:
		out = []model.Port{f.Server.LinkPair.Device, f.Server.LinkPair.Primary, f.Server.LinkPair.Backup}
	}
	return out
}
