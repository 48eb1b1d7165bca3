package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"peerless/internal/lab/daemon"
	"peerless/internal/lab/netns"
	"peerless/internal/lab/probe"
	"peerless/internal/lab/topology"
)

// instance is a lab that stands.
type instance struct {
	site  site
	top   topology.Topology
	opts  Options
	lock  *os.File
	net   *netns.Net
	born  time.Time
	procs []*netns.Process

	engines map[string]*daemon.Engine // by node

	mu     sync.Mutex
	state  state
	doomed map[netns.ID]bool // to be killed on purpose
	died   error             // the first process that ended by itself
	dead   chan struct{}     // closed with died
	calm   bool              // we are stopping them ourselves
	lines  map[string]string // added to a node's config
}

// begin builds the topology and starts its daemons; on an error nothing is left.
func begin(ctx context.Context, s site, t topology.Topology, o Options, mode string) (*instance, error) {
	lock, err := s.claim(t)
	if err != nil {
		return nil, err
	}
	self, _ := netns.Self()
	in := &instance{
		site: s, top: t, opts: o, lock: lock, born: time.Now(), dead: make(chan struct{}),
		engines: map[string]*daemon.Engine{}, doomed: map[netns.ID]bool{}, lines: map[string]string{},
		state: state{Topology: t.Name, Mode: mode, Owner: self, Started: time.Now()},
	}
	if err := in.build(ctx); err != nil {
		return nil, errors.Join(err, in.end(0))
	}
	return in, nil
}

func (in *instance) build(ctx context.Context) error {
	for _, d := range []string{in.logDir(), in.path("state")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make lab directory: %w", err)
		}
	}
	memory(in.path("state"))
	if err := in.site.save(in.state); err != nil {
		return err
	}
	in.say("building %d nodes and %d links", len(in.top.Nodes), len(in.top.Links))
	net, err := netns.Build(in.top, func(node string) string { return in.site.space(in.top.Name, node) })
	if err != nil {
		return err
	}
	in.net = net
	for _, n := range in.top.Nodes {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if n.Engine != nil {
			if err := in.startEngine(ctx, n); err != nil {
				return err
			}
		}
		if n.Config == "" {
			continue
		}
		if err := in.startDaemon(n); err != nil {
			return err
		}
		if n.Guard {
			if err := in.startGuard(n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (in *instance) path(parts ...string) string {
	return filepath.Join(append([]string{in.site.dir(in.top.Name)}, parts...)...)
}

func (in *instance) logDir() string { return in.path("log") }

func (in *instance) say(format string, args ...any) {
	fmt.Fprintf(in.opts.Progress, "%6.1f s  %s: %s\n", time.Since(in.born).Seconds(), in.top.Name, fmt.Sprintf(format, args...))
}

// startDaemon completes the node's config with the places of its files and runs it.
func (in *instance) startDaemon(n topology.Node) error {
	stateDir := in.path("state", n.Name)
	if err := os.MkdirAll(stateDir, 0o755); err != nil {
		return fmt.Errorf("make state directory of %s: %w", n.Name, err)
	}
	config := in.path(n.Name + ".yaml")
	body := fmt.Sprintf("%s%sstate-dir: %s\napi:\n  socket: %s\n%s", n.Config, in.besides(n), stateDir,
		in.site.socket(in.top.Name, n.Name), in.lines[n.Name])
	if err := os.WriteFile(config, []byte(body), 0o644); err != nil {
		return fmt.Errorf("write config of %s: %w", n.Name, err)
	}
	log, err := os.OpenFile(filepath.Join(in.logDir(), n.Name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("make log of %s: %w", n.Name, err)
	}
	defer log.Close() // the daemon has its own copy
	cmd := exec.Command(in.opts.Binary, "run", "--config", config)
	cmd.Stdout, cmd.Stderr = log, log
	return in.start(n.Name, "daemon", cmd)
}

// startGuard runs a guard beside a node's daemon.
func (in *instance) startGuard(n topology.Node) error {
	log, err := os.Create(filepath.Join(in.logDir(), n.Name+".guard.log"))
	if err != nil {
		return fmt.Errorf("make log of the guard of %s: %w", n.Name, err)
	}
	defer log.Close() // the guard has its own copy
	cmd := exec.Command(in.opts.Binary, "guard", "--config", in.path(n.Name+".yaml"))
	cmd.Stdout, cmd.Stderr = log, log
	return in.start(n.Name, "guard", cmd)
}

// startProbes runs a probe in every node that is the end of a flow.
func (in *instance) startProbes() (*probe.Fleet, error) {
	clients := map[string]*probe.Client{}
	for _, node := range probe.Ends(in.top.Flows) {
		log, err := os.Create(filepath.Join(in.logDir(), node+".probe.log"))
		if err != nil {
			return nil, fmt.Errorf("make log of probe %s: %w", node, err)
		}
		defer log.Close()
		cmd := exec.Command(in.opts.probeBinary, "lab-probe")
		cmd.Stderr = log
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return nil, fmt.Errorf("start probe %s: %w", node, err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return nil, fmt.Errorf("start probe %s: %w", node, err)
		}
		if err := in.start(node, "probe", cmd); err != nil {
			return nil, err
		}
		clients[node] = probe.NewClient(stdin, stdout)
	}
	return probe.NewFleet(uint32(os.Getpid())<<8^uint32(time.Now().UnixNano()), in.top.Flows, clients)
}

// start runs the command in a node and notes it.
func (in *instance) start(node, what string, cmd *exec.Cmd) error {
	tied := in.state.Mode == modeRun || what == "probe"
	p, err := netns.Start(in.site.space(in.top.Name, node), cmd, tied)
	if err != nil {
		return fmt.Errorf("start %s of %s: %w", what, node, err)
	}
	log := node + ".log"
	if what != "daemon" {
		log = node + "." + what + ".log"
	}
	return in.note(p, node, what, filepath.Join(in.logDir(), log))
}

// note remembers a process on disk, and watches it.
func (in *instance) note(p *netns.Process, node, what, log string) error {
	in.mu.Lock()
	in.procs = append(in.procs, p)
	in.state.Procs = append(in.state.Procs, procLine{ID: p.ID, Node: node, What: what})
	st := in.state
	in.mu.Unlock()
	go in.watch(p, node, what, log)
	return in.site.save(st)
}

// watch notices a process that ends by itself.
func (in *instance) watch(p *netns.Process, node, what, log string) {
	<-p.Done()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.calm || in.died != nil || in.doomed[p.ID] {
		return
	}
	in.died = fmt.Errorf("%s of %s ended: %v%s", what, node, exitText(p.Err()), lastLine(log))
	close(in.dead)
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// lastLine quotes the end of a log.
func lastLine(path string) string {
	const tail = 2000
	b, err := os.ReadFile(path)
	b = bytes.TrimSpace(b[max(0, len(b)-tail):])
	if err != nil || len(b) == 0 {
		return ""
	}
	return ": " + string(b[bytes.LastIndexByte(b, '\n')+1:])
}

// death is the error of a process that ended by itself, nil if none did.
func (in *instance) death() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.died
}

// pause waits; it ends early, with the reason, when the context or a process does.
func (in *instance) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-in.dead:
		return in.death()
	}
}

// leave lets the lab stand and gives up the lock.
func (in *instance) leave() {
	in.mu.Lock()
	in.calm = true
	in.mu.Unlock()
	in.net.Close()
	_ = in.lock.Close()
}

// end stops and removes everything.
func (in *instance) end(grace time.Duration) error {
	in.mu.Lock()
	in.calm = true
	in.mu.Unlock()
	if in.net != nil {
		in.net.Close()
	}
	err := in.site.clean(in.top, grace)
	for _, p := range in.procs {
		select {
		case <-p.Done():
		case <-time.After(time.Second): // it was killed: only a defect of the kernel keeps it
		}
	}
	_ = in.lock.Close()
	return err
}

// keepLogs saves the logs of a run that went wrong, until the next run.
func (in *instance) keepLogs() {
	in.keepEngineLogs()
	to := in.site.failurePath(in.top.Name)
	_ = os.RemoveAll(to)
	if os.Rename(in.logDir(), to) == nil {
		in.say("logs kept in %s", to)
	}
}

// joinShort puts some texts on one line.
func joinShort(texts []string) string {
	const most = 6
	if len(texts) > most {
		texts = append(texts[:most:most], fmt.Sprintf("and %d more", len(texts)-most))
	}
	return strings.Join(texts, "; ")
}
