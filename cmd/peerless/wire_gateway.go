package main

import (
	"log/slog"
	"net/netip"

	"peerless/internal/config"
	"peerless/internal/driver/arpnd"
	"peerless/internal/driver/bgp"
	"peerless/internal/driver/rtnl"
	"peerless/internal/gateway"
	"peerless/internal/logkey"
)

func wireGateway(c *config.Gateway, life *life, log *slog.Logger) (*node, error) {
	file := config.File{Gateway: c}
	options := rtnl.Options{
		Ports: file.Ports(), PollPorts: file.Ports(), CarrierPoll: carrierPoll(&c.Common),
		StatePath: statePath(&c.Common, ".ports"), BeforePath: statePath(&c.Common, ".before"), Logger: log.With(logkey.Driver, "rtnl"),
	}
	if c.Routes.Mode == config.RoutesKernel {
		return wireWatcher(c, options, log)
	}
	kernel, err := rtnl.New(options)
	if err != nil {
		return nil, wiring("kernel driver", err)
	}
	packets, err := arpnd.New(arpnd.Options{Logger: log.With(logkey.Driver, "arpnd")})
	if err != nil {
		return nil, wiring("packet driver", err)
	}
	n := &node{machine: gateway.New(c.Machine()), drivers: []any{kernel, packets}}
	if err := n.detect(c.BFD, log); err != nil || c.Routes.Mode == config.RoutesNone {
		return n, err
	}
	speaker, err := bgp.New(gatewaySpeaker(c, life, log))
	if err != nil {
		return nil, wiring("bgp", err)
	}
	n.drivers = append(n.drivers, speaker)
	return n, nil
}

// wireWatcher is the gateway beside an engine: it listens to the kernel, and to nobody else but the engine's own word.
func wireWatcher(c *config.Gateway, options rtnl.Options, log *slog.Logger) (*node, error) {
	for _, s := range c.Subnets {
		options.WatchPrefixes = append(options.WatchPrefixes, s.Prefix)
	}
	kernel, err := rtnl.New(options)
	if err != nil {
		return nil, wiring("kernel driver", err)
	}
	n := &node{machine: gateway.NewWatcher(c.Machine()), drivers: []any{kernel}}
	if k := c.Routes.Kernel; k != nil {
		reader, err := engineReader(k.Engine, k.Socket, 0, log)
		if err != nil {
			return nil, err
		}
		n.drivers = append(n.drivers, reader...)
	}
	return n, nil
}

// attachmentsMax is the room for attachment routes beside a leaf's hosts. The machine counts hosts and says when there are too
// many; the speaker's bound only protects memory.
const attachmentsMax = 4096

// gatewaySpeaker waits for the leaves. It tells each what the others said, and the newest claim goes into that feed.
func gatewaySpeaker(c *config.Gateway, life *life, log *slog.Logger) bgp.Options {
	o := bgp.Options{
		AS: c.AS, RouterID: c.RouterID, ListenPort: int(c.BGP.Port), HoldTime: c.BGP.HoldTime, GracefulRestart: c.GracefulRestart,
		Restarting: life.restarting, Transit: true, Withholds: c.Probe.Through != nil, AlwaysCompareMED: true, MaxPrefixes: c.MaxHosts + attachmentsMax,
		Accept: []netip.Prefix{c.AttachmentRange}, Logger: log.With(logkey.Driver, "bgp"),
	}
	for _, s := range c.Subnets {
		o.Accept = append(o.Accept, s.Prefix)
	}
	for _, l := range c.Leaves {
		o.Neighbors = append(o.Neighbors, bgp.Neighbor{
			Address: l.Address, AS: l.AS, Passive: true, Port: int(c.BGP.Port), ReplacePeerAS: true, Password: c.BGP.Password,
		})
	}
	for _, r := range c.DynamicLeaves {
		o.Dynamic = append(o.Dynamic, bgp.DynamicRange{Prefix: r.Prefix, AS: r.AS, ReplacePeerAS: true, Password: c.BGP.Password})
	}
	return o
}
