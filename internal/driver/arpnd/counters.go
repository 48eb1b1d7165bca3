package arpnd

import (
	"cmp"
	"slices"
	"sync/atomic"

	"peerless/internal/model"
)

// Counters is what happened on one port since the driver was made.
type Counters struct {
	Port        model.Port
	Received    uint64 // frames read
	Malformed   uint64 // of them, not understood
	Sampled     uint64 // of them, told as DataSeen
	Limited     uint64 // ARP and RARP packets that were one too many
	KernelDrops uint64 // frames that found the receive buffer full
	Sent        uint64
	SendErrors  uint64
}

type counters struct {
	received, malformed, sampled, limited, kernelDrops, sent, sendErrors atomic.Uint64
}

// Counters gives one row for each port that ever had a socket, sorted by port.
func (d *Driver) Counters() []Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	rows := make([]Counters, 0, len(d.counters))
	for p, c := range d.counters {
		if s := d.sockets[p]; s != nil {
			s.countKernelDrops()
		}
		rows = append(rows, Counters{
			Port: p, Received: c.received.Load(), Malformed: c.malformed.Load(), Sampled: c.sampled.Load(), Limited: c.limited.Load(),
			KernelDrops: c.kernelDrops.Load(), Sent: c.sent.Load(), SendErrors: c.sendErrors.Load(),
		})
	}
	slices.SortFunc(rows, func(a, b Counters) int { return cmp.Compare(a.Port, b.Port) })
	return rows
}
