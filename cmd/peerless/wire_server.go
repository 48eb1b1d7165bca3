package main

import (
	"log/slog"

	"peerless/internal/config"
	"peerless/internal/driver/arpnd"
	"peerless/internal/driver/rtnl"
	"peerless/internal/logkey"
	"peerless/internal/model"
	"peerless/internal/server"
	"peerless/internal/step"
)

func wireServer(c *config.Server, _ *life, log *slog.Logger) (*node, error) {
	file := config.File{Server: c}
	kernel, err := rtnl.New(rtnl.Options{
		Ports: file.Ports(), Selects: step.FDB{Bridge: c.LinkPair.Device, MAC: c.LinkPair.GatewayMAC}, PollPorts: []model.Port{c.LinkPair.Primary, c.LinkPair.Backup}, CarrierPoll: carrierPoll(&c.Common),
		StatePath: statePath(&c.Common, ".ports"), BeforePath: statePath(&c.Common, ".before"), Logger: log.With(logkey.Driver, "rtnl"),
	})
	if err != nil {
		return nil, wiring("kernel driver", err)
	}
	packets, err := arpnd.New(arpnd.Options{Logger: log.With(logkey.Driver, "arpnd")})
	if err != nil {
		return nil, wiring("packet driver", err)
	}
	return &node{machine: server.New(c.Machine()), drivers: []any{kernel, packets}}, nil
}
