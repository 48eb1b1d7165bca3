package main

import (
	"log/slog"

	"peerless/internal/config"
	"peerless/internal/driver/arpnd"
	"peerless/internal/driver/bgp"
	"peerless/internal/driver/rtnl"
	"peerless/internal/leaf"
	"peerless/internal/logkey"
)

func wireLeaf(c *config.Leaf, life *life, log *slog.Logger) (*node, error) {
	file := config.File{Leaf: c}
	kernel, err := rtnl.New(rtnl.Options{
		Ports: file.Ports(), PollPorts: file.Ports(), CarrierPoll: carrierPoll(&c.Common),
		StatePath: statePath(&c.Common, ".ports"), Logger: log.With(logkey.Driver, "rtnl"),
	})
	if err != nil {
		return nil, wiring("kernel driver", err)
	}
	packets, err := arpnd.New(arpnd.Options{Logger: log.With(logkey.Driver, "arpnd")})
	if err != nil {
		return nil, wiring("packet driver", err)
	}
	speaker, err := bgp.New(leafSpeaker(c, life, log))
	if err != nil {
		return nil, wiring("bgp", err)
	}
	return &node{machine: leaf.New(c.Machine()), drivers: []any{kernel, packets, speaker}}, nil
}

// leafSpeaker connects to the gateways and never listens. AllowOwnAS lets it hear its partner's hosts through gateways that do
// not replace AS numbers.
func leafSpeaker(c *config.Leaf, life *life, log *slog.Logger) bgp.Options {
	o := bgp.Options{
		AS: c.AS, RouterID: c.RouterID, ListenPort: -1, HoldTime: c.BGP.HoldTime, GracefulRestart: c.GracefulRestart,
		Restarting: life.restarting, AcceptDefault: true, Logger: log.With(logkey.Driver, "bgp"),
	}
	for _, s := range c.Subnets {
		o.Accept = append(o.Accept, s.Prefix)
	}
	for _, u := range c.Uplinks {
		o.Neighbors = append(o.Neighbors, bgp.Neighbor{
			Address: u.Neighbor, AS: u.AS, BindInterface: string(u.Port), Port: int(c.BGP.Port), AllowOwnAS: 1, Password: c.BGP.Password,
		})
	}
	return o
}
