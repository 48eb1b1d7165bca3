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

// errRuns says that a daemon of the node holds its lock.
var errRuns = errors.New("a daemon of this node runs")

// beginLife takes the node's lock. The lock file holds the boot id of the last run: state of an earlier boot is gone.
func beginLife(c *config.Common) (*life, error) {
	f, err := takeLock(c)
	if errors.Is(err, errRuns) {
		return nil, fmt.Errorf("lock %s: a daemon of node %s runs already; stop it, or give this one another name", statePath(c, ".lock"), c.Name)
	}
	if err != nil {
		return nil, err
	}
	l := &life{file: f}
	if err := l.remember(); err != nil {
		l.end()
		return nil, fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return l, nil
}

// takeLock opens the lock file and takes the lock. A file that was removed while we waited locks nobody out: then it is opened anew.
func takeLock(c *config.Common) (*os.File, error) {
	path := statePath(c, ".lock")
	if err := os.MkdirAll(c.StateDir, 0o755); err != nil {
		return nil, fmt.Errorf("make state directory: %w; correct state-dir", err)
	}
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		if err := lockFile(f, lockWaitMax); err != nil {
			_ = f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, fmt.Errorf("lock %s: %w", path, errRuns)
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		held, err := f.Stat()
		now, gone := os.Stat(path)
		if err == nil && gone == nil && os.SameFile(held, now) {
			return f, nil
		}
		_ = f.Close()
	}
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

// The lock file's content: the boot id of the newest life and, once that ended in an orderly way, a second line.
const stoppedLine = "stopped"

func (l *life) remember() error {
	id, err := bootID()
	if err != nil {
		return err
	}
	before, _ := readLife(l.file)
	l.restarting = before == id
	return l.write(id + "\n")
}

// stopped notes that this life ends in an orderly way, so that nobody takes it for a crash.
func (l *life) stopped() error {
	id, err := bootID()
	if err != nil {
		return err
	}
	return l.write(id + "\n" + stoppedLine + "\n")
}

// write leaves the boot id in place at every moment: whoever dies here was alive in this boot.
func (l *life) write(text string) error {
	if _, err := l.file.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return l.file.Truncate(int64(len(text)))
}

func bootID() (string, error) {
	b, err := os.ReadFile(bootIDPath)
	return strings.TrimSpace(string(b)), err
}

// readLife reads a lock file. A short one is empty or torn: no earlier life.
func readLife(f *os.File) (boot string, stopped bool) {
	buf := make([]byte, 128)
	n, _ := f.ReadAt(buf, 0)
	boot, rest, _ := strings.Cut(string(buf[:n]), "\n")
	return boot, strings.HasPrefix(rest, stoppedLine)
}

// end gives the lock back. The file stays: it tells the next life of this one.
func (l *life) end() { _ = l.file.Close() }
