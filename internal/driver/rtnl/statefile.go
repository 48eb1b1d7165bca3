package rtnl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

const bootIDPath = "/proc/sys/kernel/random/boot_id"

// stamp says when and where a state file was written. After a reboot, and in another network namespace, a port with the same
// name is another one.
type stamp struct {
	Boot      string `json:"boot"`
	Namespace uint64 `json:"namespace"` // SO_NETNS_COOKIE
}

func newStamp(c *ioctls) (stamp, error) {
	namespace, err := c.namespace()
	if err != nil {
		return stamp{}, fmt.Errorf("identify network namespace: %w", err)
	}
	boot, err := os.ReadFile(bootIDPath)
	if err != nil {
		return stamp{}, fmt.Errorf("read boot id: %w", err)
	}
	return stamp{string(bytes.TrimSpace(boot)), namespace}, nil
}

var errSpoiled = errors.New("not understood")

// readState reads a state file; known is false where there is none.
func readState(path string, into any) (known bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read state file: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("read state file %s: %w: %w", path, errSpoiled, err)
	}
	return true, nil
}

// writeState replaces a state file in one step: a crash leaves the old one or the new one.
func writeState(path string, state any) error {
	data, err := json.MarshalIndent(state, "", "  ")
	if err == nil {
		err = renameio.WriteFile(path, append(data, '\n'), 0o600, renameio.WithTempDir(filepath.Dir(path)))
	}
	if err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	return nil
}

// inPlace is a state file that is written by one system call, and kept open. A daemon that is killed leaves the old text or the new one,
// never a part; a machine that crashes may leave anything, and its next boot takes no notice. So nothing waits for a disk.
type inPlace struct {
	file   *os.File
	length int // of the text that it may hold
}

func (p *inPlace) write(path string, state any) error {
	data, err := json.MarshalIndent(state, "", "  ")
	if err == nil {
		err = p.open(path)
	}
	if err == nil {
		data = append(data, '\n')
		length := len(data)
		for len(data) < p.length { // what is left of a longer text is blank
			data = append(data, '\n')
		}
		_, err = p.file.WriteAt(data, 0)
		p.length = length
	}
	if err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	return nil
}

// open makes sure that the file is the one with the name: somebody may have removed or replaced it.
func (p *inPlace) open(path string) error {
	if p.file != nil {
		mine, err := p.file.Stat()
		if err == nil {
			var there os.FileInfo
			if there, err = os.Stat(path); err == nil && os.SameFile(mine, there) {
				return nil
			}
		}
		p.close()
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	p.file, p.length = f, int(info.Size())
	return nil
}

// close gives the file back.
func (p *inPlace) close() {
	if p.file != nil {
		_ = p.file.Close()
		p.file = nil
	}
}
