package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"peerless/internal/engineconf"
	"peerless/internal/lab/daemon"
	"peerless/internal/lab/netns"
	"peerless/internal/lab/probe"
	"peerless/internal/lab/topology"
)

// Stand is a lab that stands for another package to work with: its namespaces are built, and its daemons run.
type Stand struct{ in *instance }

// Build builds a topology of the caller's own. Everything is removed by End, and by the next Build of the same name if this process
// does not come to it.
func Build(ctx context.Context, t topology.Topology, o Options) (*Stand, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	if err := installed(t); err != nil {
		return nil, err
	}
	if o.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find own binary: %w", err)
		}
		o.Binary = self
	}
	if o.probeBinary == "" {
		o.probeBinary = o.Binary
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	in, err := begin(ctx, machine, t, o, modeRun)
	if err != nil {
		return nil, err
	}
	return &Stand{in}, nil
}

// Space is the name of a node's namespace.
func (s *Stand) Space(node string) string { return s.in.site.space(s.in.top.Name, node) }

// Net is the handles on the namespaces.
func (s *Stand) Net() *netns.Net { return s.in.net }

// Probes starts a probe in every node that is the end of a flow.
func (s *Stand) Probes() (*probe.Fleet, error) { return s.in.startProbes() }

// Start runs a command in a node. Its standard error goes to the node's log.
func (s *Stand) Start(node, what string, cmd *exec.Cmd) error {
	log, err := os.Create(filepath.Join(s.in.logDir(), node+"."+what+".log"))
	if err != nil {
		return fmt.Errorf("make log of %s %s: %w", what, node, err)
	}
	defer log.Close()
	cmd.Stderr = log
	p, err := netns.Start(s.Space(node), cmd, true)
	if err != nil {
		return fmt.Errorf("start %s of %s: %w", what, node, err)
	}
	return s.in.note(p, node, what, log.Name())
}

// Engine runs a routing engine in a node with a configuration of the caller's.
func (s *Stand) Engine(ctx context.Context, node string, files engineconf.Files) error {
	engine, err := daemon.Start(ctx, daemon.Spec{Space: s.Space(node), Dir: s.in.engineDir(node), Files: files, Tied: true})
	if err != nil {
		return err
	}
	for _, p := range engine.Processes() {
		if err := s.in.note(p.Process, node, p.Name, engine.LogPath(p.Name)); err != nil {
			return err
		}
	}
	return nil
}

// Ask reads what is below /v1/ of a node's daemon.
func (s *Stand) Ask(ctx context.Context, node, what string, into any) error {
	return newAsker(s.in.site, s.in.top, s.in.net).get(ctx, node, what, into)
}

// Socket is the path of a daemon's socket.
func (s *Stand) Socket(node string) string { return s.in.site.socket(s.in.top.Name, node) }

// PID is the number of a process that was started in a node: a daemon is "daemon". 0: there is none.
func (s *Stand) PID(node, what string) int {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	pid := 0
	for _, p := range s.in.state.Procs {
		if p.Node == node && p.What == what {
			pid = p.PID
		}
	}
	return pid
}

// Restart ends a node's daemon without warning and starts it again.
func (s *Stand) Restart(node string) error {
	if err := s.in.endDaemon(node, unix.SIGKILL); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	return s.in.startAgain(node)
}

// Death is the error of a process that ended by itself, nil if none did.
func (s *Stand) Death() error { return s.in.death() }

// End stops and removes everything.
func (s *Stand) End() error { return s.in.end(0) }

// KeepLogs saves the logs of a run that went wrong, until the next Build of that name; it comes before End.
func (s *Stand) KeepLogs() { s.in.keepLogs() }
