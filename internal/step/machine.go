// Package step is the contract between the pure machines and everything that does I/O: typed events go in, typed effects
// come out.
//
// It decides nothing and never does I/O. A machine is deterministic: the same instants and events give the same effects in the
// same order. It holds no clock, randomness, goroutine or logger, and never ranges a map into output.
package step

import "peerless/internal/model"

// Machine is one role. The engine calls it from one goroutine only.
type Machine interface {
	// Step takes one event and returns what is to become true. The slice belongs to the machine and is valid until
	// the next call.
	Step(now model.Instant, ev Event) []Effect
	// View is the state as operators see it. Rows are sorted; nothing in it aliases the machine's state.
	View(now model.Instant) View
}

// Cause numbers the one transition that an effect belongs to: one failure, one owner. Zero means none.
// A machine numbers its own transitions upwards from 1; the engine groups stages of a failover by it.
type Cause uint64
