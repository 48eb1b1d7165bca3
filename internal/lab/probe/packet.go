// Package probe sends numbered datagrams at an exact pace, records which arrived, and says how long a flow was out.
//
// One process per node holds one loop on one thread: it sends, receives and answers questions about what it recorded. Loss is
// only what the network lost: buffers are large, and the loop reports what its own socket dropped. It never judges a flow.
package probe

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// Port is the UDP port that probes listen on.
const Port = 9477

// packetLen is the payload: run, flow, sequence number, send time.
const packetLen = 24

// packet is what one datagram says. Run tells this lab's datagrams from strays.
type packet struct {
	run  uint32
	flow uint32
	seq  uint64
	sent int64
}

func (p packet) put(b *[packetLen]byte) {
	binary.BigEndian.PutUint32(b[0:], p.run)
	binary.BigEndian.PutUint32(b[4:], p.flow)
	binary.BigEndian.PutUint64(b[8:], p.seq)
	binary.BigEndian.PutUint64(b[16:], uint64(p.sent))
}

// parse reads a datagram; a wrong length is a stray.
func parse(b []byte) (p packet, ok bool) {
	if len(b) != packetLen {
		return packet{}, false
	}
	return packet{
		run: binary.BigEndian.Uint32(b[0:]), flow: binary.BigEndian.Uint32(b[4:]),
		seq: binary.BigEndian.Uint64(b[8:]), sent: int64(binary.BigEndian.Uint64(b[16:])),
	}, true
}

// clock reads CLOCK_MONOTONIC without a system call: Go's own monotonic time is the same clock from another zero.
type clock struct {
	base   time.Time
	offset int64
}

func newClock() clock {
	var ts unix.Timespec
	base := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // cannot fail on Linux
	}
	return clock{base: base, offset: ts.Nano()}
}

func (c clock) now() int64 { return c.offset + int64(time.Since(c.base)) }

// Mono is CLOCK_MONOTONIC in nanoseconds, common to every process of the machine.
func Mono() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}
