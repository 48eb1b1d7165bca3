package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/lab/netns"
)

// endMax bounds the end of a daemon that was told to stop.
const endMax = 10 * time.Second

// daemon gives the process of a node's daemon: the one that was started last.
func (in *instance) daemon(node string) (*netns.Process, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i := len(in.procs) - 1; i >= 0; i-- {
		if p := in.state.Procs[i]; p.Node == node && p.What == "daemon" {
			return in.procs[i], nil
		}
	}
	return nil, fmt.Errorf("find daemon of %s: none was started", node)
}

// away tells whether a node's daemon was ended by us and not started again.
func (in *instance) away(node string) bool {
	p, err := in.daemon(node)
	return err == nil && !p.Alive()
}

// signal sends a signal to a node's daemon. One that ends it is no defect.
func (in *instance) signal(node string, sig unix.Signal) (*netns.Process, error) {
	p, err := in.daemon(node)
	if err != nil {
		return nil, err
	}
	if sig == unix.SIGKILL || sig == unix.SIGTERM {
		in.mu.Lock()
		in.doomed[p.ID] = true
		in.mu.Unlock()
	}
	if err := p.Signal(sig); err != nil {
		return nil, fmt.Errorf("signal daemon of %s: %w", node, err)
	}
	return p, nil
}

// endDaemon ends a node's daemon and returns when it is gone.
func (in *instance) endDaemon(node string, sig unix.Signal) error {
	p, err := in.signal(node, sig)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
		return nil
	case <-time.After(endMax):
		return fmt.Errorf("end daemon of %s: it runs on %s after %s", node, endMax, unix.SignalName(sig))
	}
}

// startAgain starts a node's daemon, unless it runs.
func (in *instance) startAgain(node string) error {
	n, ok := in.top.Node(node)
	if !ok || n.Config == "" {
		return fmt.Errorf("start daemon of %s: it has none", node)
	}
	if !in.away(node) {
		return nil
	}
	return in.startDaemon(n)
}

// ports lists a node's ends of cables.
func (in *instance) ports(node string) []string {
	var out []string
	for _, l := range in.top.Links {
		if l.A.Node == node {
			out = append(out, l.A.Port)
		}
		if l.B.Node == node {
			out = append(out, l.B.Port)
		}
	}
	return out
}

// die ends a machine as a power cut does: its daemon and all of its ports in one go, then what its kernel and its memory knew. It
// calls now right before.
func (in *instance) die(node string, now func()) error {
	set, err := in.net.Ports(node, in.ports(node))
	if err != nil {
		return err
	}
	now()
	p, err := in.signal(node, unix.SIGKILL)
	if err = errors.Join(err, set(false)); err != nil {
		return fmt.Errorf("end machine %s: %w", node, err)
	}
	<-p.Done()
	n, _ := in.top.Node(node)
	if err := netns.Forget(in.site.space(in.top.Name, node), n.Addresses, ourProtocol); err != nil {
		return fmt.Errorf("end machine %s: %w", node, err)
	}
	files, err := filepath.Glob(in.path("state", node, "*"))
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}

// ourProtocol marks what peerless puts into the kernel.
const ourProtocol = 201

// boot brings a machine back: its ports come first, and its daemon when the system has got so far.
func (in *instance) boot(node string, now func()) error {
	set, err := in.net.Ports(node, in.ports(node))
	if err != nil {
		return err
	}
	now()
	if err := set(true); err != nil {
		return err
	}
	time.Sleep(bootTime)
	return in.startAgain(node)
}

// bootTime is between a machine's ports and its daemon.
const bootTime = 500 * time.Millisecond
