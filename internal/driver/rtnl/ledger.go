package rtnl

import (
	"errors"
	"log/slog"
	"time"

	"peerless/internal/model"
)

// ledger is the record of the ports that we closed. It outlives a crash of the daemon, but not the boot nor the network
// namespace in which it was written: there, a port with the same name is another one.
type ledger struct {
	path  string // empty: memory only
	dirty bool
	state ledgerState
	file  inPlace
}

// ledgerState is the state file.
type ledgerState struct {
	stamp
	Ports map[model.Port]closure `json:"ports"`
}

// closure is one port that we closed.
type closure struct {
	Index  int       `json:"index"` // a device made anew is another one, even under the same name
	Method method    `json:"method"`
	At     time.Time `json:"at"`
}

// openLedger reads the state file. One that cannot be understood is put aside: its ports then count as closed by the operator.
func openLedger(path string, s stamp, log *slog.Logger) (*ledger, error) {
	l := &ledger{path: path, state: ledgerState{stamp: s, Ports: map[model.Port]closure{}}}
	if path == "" {
		return l, nil
	}
	var old ledgerState
	switch known, err := readState(path, &old); {
	case errors.Is(err, errSpoiled):
		log.Warn("state file is not understood; ports closed before are taken for the operator's", "path", path, "error", err)
	case err != nil:
		return nil, err
	case known && old.stamp == s && old.Ports != nil:
		l.state = old
	}
	return l, nil
}

// of gives the record of the port, if it is about this very device.
func (l *ledger) of(port model.Port, index int) (closure, bool) {
	c, ok := l.state.Ports[port]
	if !ok || c.Index != index {
		return closure{}, false
	}
	return c, true
}

func (l *ledger) own(port model.Port, c closure) {
	l.state.Ports[port], l.dirty = c, true
}

func (l *ledger) disown(port model.Port) {
	if _, ok := l.state.Ports[port]; ok {
		delete(l.state.Ports, port)
		l.dirty = true
	}
}

// save writes the file if anything changed since it was last written. A closing waits for it.
func (l *ledger) save() error {
	if !l.dirty || l.path == "" {
		return nil
	}
	if err := l.file.write(l.path, l.state); err != nil {
		return err
	}
	l.dirty = false
	return nil
}
