// Package netns makes named network namespaces, what is in them, and processes that run in them.
//
// It decides nothing about what a lab consists of, and never touches a namespace or process that it was not asked about.
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// dir is where `ip netns` looks too, so that people can use it on a lab.
const dir = "/run/netns"

// onThread runs f on an operating system thread of its own, never the process's main thread (whose namespaces /proc/self
// shows), and ends that thread afterwards: whatever f changed of it is gone.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, unless nothing was changed
		if unix.Gettid() == unix.Getpid() {
			onThread(f) // this goroutine holds the main thread meanwhile, so the next one gets another
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// Create makes a named namespace with its loopback up.
func Create(name string) error {
	var err error
	onThread(func() {
		var h vnetns.NsHandle
		if h, err = vnetns.NewNamed(name); err != nil {
			return
		}
		defer h.Close()
		err = loopbackUp()
	})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create namespace %s: it is there already", name)
	}
	if err != nil {
		_ = Delete(name)
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

// Delete removes a named namespace. It is not an error if there is none. The kernel frees it, and every link that has an
// end in it, when the last process in it has ended.
func Delete(name string) error {
	path := filepath.Join(dir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete namespace %s: unmount: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	return nil
}

// List names the namespaces that begin with the prefix.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Do runs f in the named namespace.
func Do(name string, f func() error) error {
	var err error
	onThread(func() {
		if err = enter(name); err == nil {
			err = f()
		}
	})
	return err
}

// enter moves the calling thread, which must be locked and must end afterwards.
func enter(name string) error {
	h, err := vnetns.GetFromName(name)
	if err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	defer h.Close()
	if err := vnetns.Set(h); err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	return nil
}

// ownSys gives the calling thread a /sys that shows its network namespace. Only sysfs files depend on it, and a container
// may forbid it: then the machine's own /sys stays.
func ownSys() {
	if unix.Unshare(unix.CLONE_NEWNS) != nil {
		return
	}
	if unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "") != nil {
		return
	}
	_ = unix.Mount("sysfs", "/sys", "sysfs", 0, "")
}
