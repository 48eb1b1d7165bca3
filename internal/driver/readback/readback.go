// Package readback asks a routing engine beside us, FRR or BIRD, whether it works and what it has of the kernel table that our host
// routes are in. Engines lose routes now and then (FRR issue 22654), and nobody else would notice.
//
// It decides only what an answer says. It changes nothing: not the engine, not its configuration, not the kernel.
package readback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"peerless/internal/step"
)

// The engines.
const (
	FRR  = "frr"
	BIRD = "bird"
)

const (
	everyDefault   = 2 * time.Second
	timeoutDefault = 3 * time.Second
	shareMax       = 20       // at most this part of the time is spent on asking: large tables are asked for less often
	answerMax      = 64 << 20 // bytes
)

// Options say whom to ask for what.
type Options struct {
	Engine  string        // FRR or BIRD
	Socket  string        // zebra's vty socket, or BIRD's control socket
	Table   uint32        // the kernel table of our routes; 0: only whether the engine works
	Every   time.Duration // 0: 2 s
	Timeout time.Duration // of one answer; 0: 3 s
	Logger  *slog.Logger  // nil: slog.Default
}

// Driver is a source of EngineState.
type Driver struct {
	opts Options
	ask  func(Options) ([]netip.Prefix, error)
}

// New makes a driver. It asks nothing before Run.
func New(opts Options) (*Driver, error) {
	if opts.Every == 0 {
		opts.Every = everyDefault
	}
	if opts.Timeout == 0 {
		opts.Timeout = timeoutDefault
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	switch opts.Engine {
	case FRR:
		return &Driver{opts, askFRR}, nil
	case BIRD:
		return &Driver{opts, askBIRD}, nil
	}
	return nil, fmt.Errorf("read back from engine %q: unknown engine", opts.Engine)
}

// Run asks again and again until the context ends, and posts every answer: that a route is still missing is news, too.
func (d *Driver) Run(ctx context.Context, post func(step.Event)) error {
	last := ""
	for {
		began := time.Now()
		state := d.read()
		if state.Detail != last {
			d.opts.Logger.Debug("engine", "engine", state.Engine, "running", state.Running, "detail", state.Detail)
			last = state.Detail
		}
		post(state)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(d.opts.Every, shareMax*time.Since(began))):
		}
	}
}

func (d *Driver) read() step.EngineState {
	routes, err := d.ask(d.opts)
	if err != nil {
		return step.EngineState{Engine: d.opts.Engine, Detail: err.Error()}
	}
	slices.SortFunc(routes, netip.Prefix.Compare)
	return step.EngineState{Engine: d.opts.Engine, Running: true, Routes: slices.Compact(routes)}
}

// call connects to a daemon's socket, with a deadline for all that follows.
func call(daemon, socket string, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout("unix", socket, timeout)
	switch {
	case errors.Is(err, syscall.ENOENT):
		return nil, fmt.Errorf("no socket %s: %s is not installed or not running", socket, daemon)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("nobody listens on %s: %s is not running", socket, daemon)
	case err != nil:
		return nil, fmt.Errorf("connect to %s: %w", daemon, err)
	}
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, errors.Join(fmt.Errorf("set deadline for %s: %w", daemon, err), c.Close())
	}
	return c, nil
}

// silence says in words why an answer did not come.
func silence(daemon string, err error) error {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%s does not answer", daemon)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%s hung up", daemon)
	}
	return fmt.Errorf("ask %s: %w", daemon, err)
}
