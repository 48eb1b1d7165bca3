package main

import (
	"fmt"
	"net/netip"
	"time"

	"peerless/internal/lab/flood"
	"peerless/internal/model"
)

// labFloodCmd is a hostile server, inside a node of a lab.
type labFloodCmd struct {
	Port       string        `arg:"" help:"The port to send by."`
	Kind       string        `arg:"" help:"What to send."`
	PerSecond  int           `default:"1000" help:"Frames a second."`
	For        time.Duration `default:"1s" help:"How long."`
	Subnet     netip.Prefix  `default:"10.10.10.0/24" help:"Where random addresses lie."`
	Own        netip.Addr    `default:"10.10.10.1" help:"The address that is ours."`
	OwnMAC     model.MAC     `default:"02:00:00:00:c0:01" help:"The MAC that is ours."`
	Gateway    netip.Addr    `default:"10.10.10.254" help:"The gateway address."`
	GatewayMAC model.MAC     `default:"02:00:5e:00:00:01" help:"The leaves' virtual MAC."`
	Victim     netip.Addr    `default:"10.10.10.3" help:"Whose address kind victim claims."`
	Seed       uint64        `default:"1" help:"The same seed sends the same."`
}

func (c *labFloodCmd) Run(a *app) error {
	sent, err := flood.Run(a.ctx, flood.Options{
		Port: c.Port, Kind: flood.Kind(c.Kind), PerSecond: c.PerSecond, For: c.For, Subnet: c.Subnet, Own: c.Own, OwnMAC: c.OwnMAC,
		Gateway: c.Gateway, GatewayMAC: c.GatewayMAC, Victim: c.Victim, Seed: c.Seed,
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.out, "sent %d, refused %d, in %s\n", sent.Sent, sent.Refused, sent.Took.Round(time.Millisecond)); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}
