package rtnl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"peerless/internal/step"
)

const sysctlRoot = "/proc/sys"

// writeSysctl writes the value unless it is there already. Below net the kernel takes the network namespace of the calling
// thread: all threads of the daemon share one.
func writeSysctl(o step.Sysctl) error {
	if !filepath.IsLocal(o.Path) {
		return fmt.Errorf("set %s: %w", o, errors.New("the path leaves "+sysctlRoot))
	}
	path := filepath.Join(sysctlRoot, o.Path)
	now, err := readSysctl(o.Path)
	if err == nil && now == spaced(o.Value) {
		return nil
	}
	if err == nil || errors.Is(err, os.ErrPermission) { // some can only be written
		err = writeExisting(path, o.Value)
	}
	if err != nil {
		return fmt.Errorf("set %s: %w", o, explain(err))
	}
	return nil
}

func writeExisting(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// readSysctl gives a value, spaced.
func readSysctl(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlRoot, path))
	return spaced(string(b)), err
}

// spaced is the value with its parts one blank apart, as two of them are compared.
func spaced(value string) string { return strings.Join(strings.Fields(value), " ") }
