package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"peerless/internal/api"
	"peerless/internal/config"
	"peerless/internal/engine"
	"peerless/internal/logkey"
	"peerless/internal/step"
)

// collectAt is how much may be allocated before the next collection, in percent of what lives, unless GOGC says so. Go's own 100 doubles what a host costs.
const collectAt = 50

type runCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The node's config file."`
	Pprof  string `placeholder:"SOCKET" help:"Serve Go's profiler on this unix socket. Default: not at all."`
}

// Run is the daemon. It ends at SIGTERM and leaves the kernel's state as it is: what is forwarded stays forwarded.
func (c *runCmd) Run(a *app) error {
	file, err := load(c.Config)
	if err != nil {
		return err
	}
	if err := requireCapabilities(file); err != nil {
		return err
	}
	common := file.Common()
	out := newLateWriter(a.err)
	defer out.close()
	log := newLogger(out, common)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if err := wakeSoon(); err != nil {
		log.Debug("the daemon may wake late on a busy machine", logkey.Error, err)
	}
	life, err := beginLife(common)
	if err != nil {
		return err
	}
	defer life.end()
	n, err := wire(file, life, log)
	if err != nil {
		return err
	}
	defer n.close(log)
	if c.Pprof != "" {
		stop, err := serveProfiles(a.ctx, c.Pprof)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := n.run(a.ctx, common, log); err != nil {
		return err
	}
	if err := life.stopped(); err != nil {
		return fmt.Errorf("note the orderly end: %w", err)
	}
	return nil
}

// node is a role's machine with its drivers.
type node struct {
	machine step.Machine
	drivers []any
}

// wire builds what the role needs.
func wire(file *config.File, life *life, log *slog.Logger) (*node, error) {
	switch {
	case file.Leaf != nil:
		return wireLeaf(file.Leaf, life, log)
	case file.Gateway != nil:
		return wireGateway(file.Gateway, life, log)
	default:
		return wireServer(file.Server, life, log)
	}
}

func (n *node) run(ctx context.Context, c *config.Common, log *slog.Logger) error {
	eng, err := engine.New(engine.Options{Name: c.Name, Machine: n.machine, Clock: engine.Clock, Drivers: n.drivers, Logger: log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, err := api.Listen(api.Options{
		Socket: c.API.Socket, Mode: os.FileMode(c.API.Mode), Group: c.API.Group,
		Status: api.Status{
			Name: c.Name, Role: c.Role, Version: versionText(), PID: os.Getpid(), StartedMs: time.Now().UnixMilli(),
		},
		Source: eng, Journal: eng.Journal(), Stop: cancel, Speaker: n.speaker(),
	})
	if err != nil {
		return err
	}
	log.Info("started", logkey.Role, c.Role, logkey.Version, versionText(), logkey.Socket, c.API.Socket)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := eng.Run(ctx); err != nil {
			return err
		}
		return errEnded
	})
	g.Go(func() error {
		if err := server.Serve(ctx); err != nil {
			return err
		}
		return errEnded
	})
	if err := g.Wait(); !errors.Is(err, errEnded) {
		return err
	}
	log.Info("stopped; the kernel goes on forwarding")
	return nil
}

// speaker is the driver that has routing sessions; nil if none has.
func (n *node) speaker() api.Speaker {
	for _, d := range n.drivers {
		if s, ok := d.(api.Speaker); ok {
			return s
		}
	}
	return nil
}

// errEnded makes the end of one part the end of all.
var errEnded = errors.New("ended")

// close frees what the drivers hold of this process; nothing in the kernel's tables is touched.
func (n *node) close(log *slog.Logger) {
	for _, d := range n.drivers {
		var err error
		switch c := d.(type) {
		case interface{ Close() error }:
			err = c.Close()
		case interface{ Close() }:
			c.Close()
		}
		if err != nil {
			log.Debug("driver did not close", logkey.Error, err)
		}
	}
}

// statePath is a file of this node in the state directory.
func statePath(c *config.Common, suffix string) string {
	return filepath.Join(c.StateDir, c.Name+suffix)
}

// carrierPoll is the drivers' form: there zero means the default, and a negative pause means never.
func carrierPoll(c *config.Common) time.Duration {
	if c.CarrierPoll == 0 {
		return -1
	}
	return c.CarrierPoll
}

func wiring(name string, err error) error { return fmt.Errorf("start %s: %w", name, err) }
