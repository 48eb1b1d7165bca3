// Package memo keeps lines that a node's next life must know: one small file for each, in the state directory.
//
// It decides nothing about what they mean and never forgets one by itself, not even after a reboot if the directory outlives it.
package memo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"peerless/internal/step"
)

// lineMax bounds what is read back: a memo is a line.
const lineMax = 4096

// Driver writes memos. Build it with New.
type Driver struct{ path func(name string) string }

// New makes a driver; path gives the file of a memo.
func New(path func(name string) string) *Driver { return &Driver{path: path} }

// Kinds is what the driver applies.
func (d *Driver) Kinds() []step.Kind { return []step.Kind{step.KindMemo} }

// Inline reports that a write may wait for a disk.
func (d *Driver) Inline() bool { return false }

// Apply writes and removes memos.
func (d *Driver) Apply(wants []step.Want) []error {
	errs := make([]error, len(wants))
	for i, w := range wants {
		m, ok := w.Object.(step.Memo)
		switch {
		case !ok:
			errs[i] = fmt.Errorf("apply %s: not a memo", w.Object)
		case w.Absent:
			if err := os.Remove(d.path(m.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs[i] = fmt.Errorf("forget %s: %w", m.Name, err)
			}
		default:
			path := d.path(m.Name)
			if err := renameio.WriteFile(path, []byte(m.Text+"\n"), 0o600, renameio.WithTempDir(filepath.Dir(path))); err != nil {
				errs[i] = fmt.Errorf("write down %s: %w", m.Name, err)
			}
		}
	}
	return errs
}

// Read gives what an earlier life wrote down; false if nothing.
func (d *Driver) Read(name string) (string, bool, error) {
	data, err := os.ReadFile(d.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("read %s: %w", name, err)
	case len(data) > lineMax:
		return "", false, fmt.Errorf("read %s: %d bytes are no memo", name, len(data))
	}
	return strings.TrimSpace(string(data)), true, nil
}
