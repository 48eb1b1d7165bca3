package rtnl

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"peerless/internal/step"
)

// The kernel tells everybody of every change, and so us of our own. When thousands of hosts move, reading that costs more than the
// changes themselves. So the event socket does not let it in, and what a want made true is noted in the mirror by the sink.

// told is the mirror, shared by Run, which reads events, and the sink.
type told struct {
	mu        sync.Mutex
	mirror    *mirror     // nil before Run
	reading   bool        // a dump is being read: what is noted meanwhile may be missing in it
	meanwhile []step.Want // so it is noted again after
}

func (t *told) begin(m *mirror) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mirror = m
}

// note tells the mirror what the sink has made true.
func (t *told) note(done []step.Want) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mirror == nil || len(done) == 0 {
		return
	}
	if t.reading {
		t.meanwhile = append(t.meanwhile, done...)
		return
	}
	for _, w := range done {
		t.mirror.note(w)
	}
}

// apply gives the events of a message.
func (t *told) apply(msg netlink.Message) []step.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mirror.apply(msg)
}

// read replaces all that was told by what is read now.
func (t *told) read(census func() (census, error), reason string) (step.Snapshot, error) {
	t.mu.Lock()
	t.reading = true
	t.mu.Unlock()
	c, err := census()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reading = false
	meanwhile := t.meanwhile
	t.meanwhile = nil
	if err != nil {
		return step.Snapshot{}, err
	}
	s := t.mirror.reset(c, reason)
	for _, w := range meanwhile {
		t.mirror.note(w)
	}
	return s, nil
}

// note takes over a want of ours that was made true.
func (m *mirror) note(w step.Want) {
	switch o := w.Object.(type) {
	case step.Route:
		o.Table = tableNumber(o.Table)
		s := step.RouteState{Route: o, Present: true, Ours: true, Protocol: mark}
		if w.Absent {
			m.forget(keyOf(s))
		} else {
			m.put(s, 0)
		}
	case step.Neighbor:
		if m.scope.ports[o.Port] {
			m.keepNeighbor(step.NeighborState{Neighbor: o, Present: !w.Absent, Resolved: true, Ours: true})
		}
	}
}

// manyNeighbors is from when on a filter costs less than what it keeps out.
const manyNeighbors = 256

// hush keeps the event socket from hearing of each neighbour that goes with the ports, until restore is called. The kernel tells of
// all of them within the system call that closes a port, and of nothing else behind it.
func (d *Driver) hush(ports []portAt) (restore func()) {
	closed := d.told.crowded(ports)
	if len(closed) == 0 {
		return func() {}
	}
	filter := func(closed []uint32) {
		if err := ignoreOwn(d.events, d.wants.conn.PID(), closed); err != nil {
			d.log.Warn("neighbours of closed ports are not kept out", "error", err)
		}
	}
	filter(closed)
	return func() { filter(nil) }
}

// crowded gives the indexes of the ports that have neighbours, if these are many.
func (t *told) crowded(ports []portAt) (indexes []uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mirror == nil {
		return nil
	}
	neighbors := 0
	for _, p := range ports {
		there := len(t.mirror.neighbors[p.port])
		if l, ok := t.mirror.links.named(p.port); ok && there > 0 && len(indexes) < hushedMax {
			neighbors += there
			indexes = append(indexes, uint32(l.index))
		}
	}
	if neighbors < manyNeighbors {
		return nil
	}
	return indexes
}

// Offsets in a netlink message (netlink(7), rtnetlink(7)).
const (
	headerType    = 4
	headerPID     = 12
	neighborIndex = unix.SizeofNlMsghdr + 4
)

const hushedMax = 128 // a jump in a filter passes over 255 instructions at most

// ignoreOwn keeps changes of routes and neighbours that the socket with this port id asked for away from the event socket, and so the
// end of every neighbour on the closed ports.
func ignoreOwn(events *netlink.Conn, own uint32, closed []uint32) error {
	same := func(v uint32) uint32 { return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, v)) } // as bpf loads it
	same16 := func(v uint16) uint32 {
		return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
	}
	const drop, pass = 0, 1<<32 - 1
	kinds := []uint16{unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: headerPID, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: same(own), SkipTrue: uint8(len(kinds) + 3)},
		bpf.LoadAbsolute{Off: headerType, Size: 2},
	}
	for i, kind := range kinds {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: same16(kind), SkipTrue: uint8(len(kinds) - i)})
	}
	program = append(program, bpf.RetConstant{Val: pass}, bpf.RetConstant{Val: drop},
		bpf.LoadAbsolute{Off: headerType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: same16(unix.RTM_DELNEIGH), SkipTrue: uint8(len(closed) + 1)},
		bpf.LoadAbsolute{Off: neighborIndex, Size: 4})
	for i, index := range closed {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: same(index), SkipTrue: uint8(len(closed) - i)})
	}
	program = append(program, bpf.RetConstant{Val: pass}, bpf.RetConstant{Val: drop})
	raw, err := bpf.Assemble(program)
	if err == nil {
		err = events.SetBPF(raw)
	}
	if err != nil {
		return fmt.Errorf("filter netlink events: %w", err)
	}
	return nil
}
