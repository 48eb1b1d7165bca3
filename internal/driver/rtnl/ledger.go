package rtnl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"peerless/internal/model"
)

const bootIDPath = "/proc/sys/kernel/random/boot_id"

// ledger is the record of the ports that we closed. It outlives a crash of the daemon, but not the boot nor the network
// namespace in which it was written: there, a port with the same name is another one.
type ledger struct {
	path  string // empty: memory only
	dirty bool
	state ledgerState
}

// ledgerState is the state file.
type ledgerState struct {
	Boot      string                 `json:"boot"`
	Namespace uint64                 `json:"namespace"` // SO_NETNS_COOKIE
	Ports     map[model.Port]closure `json:"ports"`
}

// closure is one port that we closed.
type closure struct {
	Index  int       `json:"index"` // a device made anew is another one, even under the same name
	Method method    `json:"method"`
	At     time.Time `json:"at"`
}

// openLedger reads the state file. One that cannot be understood is put aside: its ports then count as closed by the operator.
func openLedger(path string, namespace uint64, log *slog.Logger) (*ledger, error) {
	boot, err := os.ReadFile(bootIDPath)
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	fresh := ledgerState{Boot: string(bytes.TrimSpace(boot)), Namespace: namespace, Ports: map[model.Port]closure{}}
	l := &ledger{path: path, state: fresh}
	if path == "" {
		return l, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state file: %w", err)
	}
	var old ledgerState
	if err := json.Unmarshal(data, &old); err != nil {
		log.Warn("state file is not understood; ports closed before are taken for the operator's", "path", path, "error", err)
		return l, nil
	}
	if old.Boot == fresh.Boot && old.Namespace == namespace && old.Ports != nil {
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

// save writes the file if anything changed since it was last written.
func (l *ledger) save() error {
	if !l.dirty || l.path == "" {
		return nil
	}
	data, err := json.MarshalIndent(l.state, "", "  ")
	if err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	err = renameio.WriteFile(l.path, append(data, '\n'), 0o600, renameio.WithTempDir(filepath.Dir(l.path)))
	if err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	l.dirty = false
	return nil
}
