package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"peerless/internal/config"
)

// life is one run of a node's daemon: it holds the lock that keeps a second one away, and knows whether an earlier one since
// the machine's boot left its state in the kernel.
type life struct {
	file       *os.File
	restarting bool
}

const bootIDPath = "/proc/sys/kernel/random/boot_id"

// A daemon that was killed or told to stop may hold its lock for a moment longer than its supervisor waits.
const (
	lockWaitMax = time.Second
	lockPause   = 2 * time.Millisecond
)

// beginLife takes the node's lock. The lock file holds the boot id of the last run: state of an earlier boot is gone.
func beginLife(c *config.Common) (*life, error) {
	path := statePath(c, ".lock")
	if err := os.MkdirAll(c.StateDir, 0o755); err != nil {
		return nil, fmt.Errorf("make state directory: %w; correct state-dir", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := lockFile(f, lockWaitMax); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: a daemon of node %s runs already; stop it, or give this one another name", path, c.Name)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	l := &life{file: f}
	if err := l.remember(); err != nil {
		l.end()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return l, nil
}

// lockFile takes the lock, if need be after a while.
func lockFile(f *os.File, wait time.Duration) error {
	for end := time.Now().Add(wait); ; time.Sleep(lockPause) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || !time.Now().Before(end) {
			return err
		}
	}
}

func (l *life) remember() error {
	boot, err := os.ReadFile(bootIDPath)
	if err != nil {
		return err
	}
	id := strings.TrimSpace(string(boot))
	buf := make([]byte, 128)
	n, _ := l.file.ReadAt(buf, 0) // a short read is an empty or torn file: no earlier life
	l.restarting = strings.TrimSpace(string(buf[:n])) == id
	if l.restarting {
		return nil
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err = l.file.WriteAt([]byte(id+"\n"), 0)
	return err
}

// end gives the lock back. The file stays: it tells the next life of this one.
func (l *life) end() { _ = l.file.Close() }
