package main

import (
	"log/slog"

	"peerless/internal/config"
	"peerless/internal/driver/arpnd"
	"peerless/internal/driver/bfd"
	"peerless/internal/driver/bgp"
	"peerless/internal/driver/memo"
	"peerless/internal/driver/readback"
	"peerless/internal/driver/rtnl"
	"peerless/internal/leaf"
	"peerless/internal/logkey"
)

func wireLeaf(c *config.Leaf, life *life, log *slog.Logger) (*node, error) {
	file := config.File{Leaf: c}
	options := rtnl.Options{
		Ports: file.Ports(), PollPorts: file.Ports(), CarrierPoll: carrierPoll(&c.Common),
		StatePath: statePath(&c.Common, ".ports"), BeforePath: statePath(&c.Common, ".before"), Logger: log.With(logkey.Driver, "rtnl"),
	}
	if t := c.Advertise.KernelTable; t != nil {
		options.WatchTables = []uint32{t.Table}
	}
	kernel, err := rtnl.New(options)
	if err != nil {
		return nil, wiring("kernel driver", err)
	}
	packets, err := arpnd.New(arpnd.Options{Logger: log.With(logkey.Driver, "arpnd")})
	if err != nil {
		return nil, wiring("packet driver", err)
	}
	upward, err := leafUpward(c, life, log)
	if err != nil {
		return nil, err
	}
	memos := memo.New(func(name string) string { return statePath(&c.Common, "."+name) })
	machine := c.Machine()
	if machine.Drained, err = leafDrained(memos); err != nil {
		return nil, wiring("state directory", err)
	}
	n := &node{machine: leaf.New(machine), drivers: append([]any{kernel, packets, memos}, upward...)}
	return n, n.detect(c.BFD, log)
}

// leafDrained is what an earlier life was ordered. What cannot be read stops the start: a drain must not end by accident.
func leafDrained(memos *memo.Driver) (*leaf.Drained, error) {
	text, known, err := memos.Read(leaf.DrainMemo)
	if err != nil || !known {
		return nil, err
	}
	return &leaf.Drained{Force: text == leaf.DrainForced}, nil
}

// detect adds the engine of BFD, if it is wanted.
func (n *node) detect(c config.BFD, log *slog.Logger) error {
	if !c.On() {
		return nil
	}
	bfd.Processors()
	driver, err := bfd.New(bfd.Options{Logger: log.With(logkey.Driver, "bfd")})
	if err != nil {
		return wiring("bfd", err)
	}
	n.drivers = append(n.drivers, driver)
	return nil
}

// leafUpward is the driver that belongs to the way in which host routes get to the gateway, if it needs one.
func leafUpward(c *config.Leaf, life *life, log *slog.Logger) ([]any, error) {
	switch {
	case c.Advertise.Mode == config.AdvertiseBGP:
		speaker, err := bgp.New(leafSpeaker(c, life, log))
		if err != nil {
			return nil, wiring("bgp", err)
		}
		return []any{speaker}, nil
	case c.Advertise.KernelTable != nil && c.Advertise.KernelTable.Engine != "":
		t := c.Advertise.KernelTable
		return engineReader(t.Engine, t.Socket, t.Table, log)
	}
	return nil, nil
}

// engineReader asks a routing engine beside us how it is.
func engineReader(engine, socket string, table uint32, log *slog.Logger) ([]any, error) {
	reader, err := readback.New(readback.Options{Engine: engine, Socket: socket, Table: table, Logger: log.With(logkey.Driver, "readback")})
	if err != nil {
		return nil, wiring("engine reader", err)
	}
	return []any{reader}, nil
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
