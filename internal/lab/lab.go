// Package lab builds test networks in namespaces, runs the real daemons in them, breaks links as people would, and measures
// what the traffic felt.
//
// It starts processes and asks their sockets, and shares no code with the roles or drivers: what it sees is what a user sees. It
// never touches a process or namespace that it did not make.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"peerless/internal/lab/netns"
	"peerless/internal/lab/probe"
	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
)

type (
	// Topology is a test network as data.
	Topology = topology.Topology
	// Result is what a run measured.
	Result = report.Result
)

// EngineBGP is the embedded BGP speaker, and GatewayPeerless a gateway that runs peerless: what a lab has unless told otherwise.
const (
	EngineBGP       = topology.Embedded
	GatewayPeerless = topology.Peerless
)

// Carriers lists the known engines and gateways.
func Carriers() (engines, gateways []string) { return topology.Carriers() }

// Options says what to build and how.
type Options struct {
	Topology string
	Engine   string    // what carries the host routes; empty means EngineBGP
	Gateway  string    // what the gateway runs; empty means GatewayPeerless
	Binary   string    // the peerless binary; empty: this one
	Progress io.Writer // nil: silence
	Report   string    // file for the HTML page; empty: none
	Keep     bool      // leave the lab standing after the run
	Runs     int       // how often all faults are gone through, one after another on the same lab; 0 means once
	Slow     int       // traffic is so many times sparser, for a machine that cannot send more; 0 means 1

	probeBinary string // has the hidden probe command; empty: Binary
}

// ErrUsage marks errors of the caller: an unknown name, a missing privilege.
var ErrUsage = errors.New("usage")

var errInterrupted = errors.New("interrupted; everything is removed")

type usageError struct{ text string }

func (e usageError) Error() string   { return e.text }
func (usageError) Is(err error) bool { return err == ErrUsage }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// Topologies lists what can be built.
func Topologies() []Topology { return append(topology.All(), topology.Bonded()...) }

// Standing is a topology and whether it stands now.
type Standing struct {
	Topology Topology
	Mode     string // "up", "run", or empty
	Since    time.Time
}

// List tells of every topology whether it stands. Those that want more of a kernel than every one has are told of only while they
// stand.
func List() ([]Standing, error) {
	var out []Standing
	for i, t := range Topologies() {
		st, err := machine.load(t.Name)
		if err != nil {
			return nil, err
		}
		s := Standing{Topology: t}
		if st.alive() > 0 {
			s.Mode, s.Since = st.Mode, st.Started
		} else if i >= len(topology.All()) {
			continue
		}
		out = append(out, s)
	}
	return out, nil
}

// find gives the topology, or an error that lists the known ones.
func find(name string) (Topology, error) {
	t, ok := topology.Find(name)
	if ok {
		return t, nil
	}
	var known []string
	for _, t := range topology.All() {
		known = append(known, t.Name)
	}
	return Topology{}, usagef("no topology %q: known are %s", name, strings.Join(known, ", "))
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return usagef("a lab needs root: it makes network namespaces (try sudo)")
	}
	return nil
}

// prepare checks the options before anything is touched.
func (o Options) prepare() (Topology, Options, error) {
	t, err := find(o.Topology)
	if err != nil {
		return t, o, err
	}
	o.Engine, o.Gateway = cmp.Or(o.Engine, EngineBGP), cmp.Or(o.Gateway, GatewayPeerless)
	if t, err = t.With(topology.Carrier{Engine: o.Engine, Gateway: o.Gateway}); err != nil {
		return t, o, usageError{err.Error()}
	}
	if err := needRoot(); err != nil {
		return t, o, err
	}
	if err := installed(t); err != nil {
		return t, o, err
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return t, o, fmt.Errorf("find own binary: %w", err)
		}
	}
	if o.probeBinary == "" {
		o.probeBinary = o.Binary
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	o.Slow, o.Runs = max(1, o.Slow), max(1, o.Runs)
	return t, o, t.Validate()
}

// Up builds a lab that stands until Down, and waits until it works. When it does not come to work it is left standing, to be
// looked into, and the error says what is missing.
func Up(ctx context.Context, o Options) error {
	t, o, err := o.prepare()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	in, err := begin(ctx, machine, t, o, modeUp)
	if err != nil {
		return err
	}
	err = in.converge(ctx)
	if ctx.Err() != nil {
		return errors.Join(errInterrupted, in.end(0))
	}
	defer in.leave()
	if err != nil {
		return fmt.Errorf("%w (left standing; logs in %s; `lab down %s` removes it)", err, in.logDir(), t.Name)
	}
	in.say("up; sockets %s, logs in %s", machine.socket(t.Name, "NODE"), in.logDir())
	if slices.ContainsFunc(t.Nodes, func(n topology.Node) bool { return n.Engine != nil }) {
		in.say("routing engines: sockets, configuration and logs in %s", in.engineDir("NODE"))
	}
	return nil
}

// Down removes a lab that stands, or what a crashed one left.
func Down(name string) error {
	t, err := find(name)
	if err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	return machine.down(t)
}

// downGrace is how long daemons have to end on SIGTERM.
const downGrace = 3 * time.Second

func (s site) down(t Topology) error {
	lock, err := s.lock(t.Name)
	if err != nil {
		return err
	}
	defer lock.Close()
	_ = os.RemoveAll(s.failurePath(t.Name))
	return s.clean(t, downGrace)
}

// Exec runs a command inside a node, with this process's terminal. A command that fails gives an *exec.ExitError.
func Exec(ctx context.Context, name, node string, argv []string) error {
	t, err := standing(name)
	if err != nil {
		return err
	}
	if _, ok := t.Node(node); !ok {
		var known []string
		for _, n := range t.Nodes {
			known = append(known, n.Name)
		}
		return usagef("lab %s has no node %q: its nodes are %s", name, node, strings.Join(known, ", "))
	}
	if len(argv) == 0 {
		return usagef("no command: lab exec %s %s -- COMMAND", name, node)
	}
	return netns.Run(ctx, machine.space(name, node), argv)
}

// Fault applies a fault to a lab that stands, for playing by hand. It gives the fault's action in words.
func Fault(name, fault string) (string, error) {
	t, err := standing(name)
	if err != nil {
		return "", err
	}
	f, ok := t.Fault(fault)
	if !ok {
		var known []string
		for _, f := range t.Faults {
			known = append(known, f.Name)
		}
		return "", usagef("lab %s has no fault %q: its faults are %s", name, fault, strings.Join(known, ", "))
	}
	nodes := map[string]bool{}
	for _, o := range f.Ops {
		nodes[o.At.Node] = true
	}
	var names []string
	for n := range nodes {
		names = append(names, n)
	}
	net, err := netns.Open(names, func(n string) string { return machine.space(name, n) })
	if err != nil {
		return "", err
	}
	defer net.Close()
	_, err = inject(net, f)
	return f.Action, err
}

// inject applies a fault and gives the instant of its first operation.
func inject(net *netns.Net, f topology.Fault) (at int64, err error) {
	for _, o := range f.Ops {
		mark := func() {
			if at == 0 {
				at = probe.Mono()
			}
		}
		time.Sleep(o.Pause)
		var err error
		if o.Choose != "" {
			err = choose(net, o)
		} else {
			err = net.SetPort(o.At.Node, o.At.Port, o.Up, mark)
		}
		if err != nil {
			return at, fmt.Errorf("inject fault %s: %w", f.Name, err)
		}
	}
	return at, nil
}

// choose waits until a bond takes the link that it shall use: its leaf opens the port only when it can forward.
func choose(net *netns.Net, o topology.Op) error {
	for end := time.Now().Add(returnMax); ; time.Sleep(pollEvery) {
		done, err := net.Choose(o.At.Node, o.Choose, o.At.Port)
		if done || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("bond %s of %s does not take %s after %s", o.Choose, o.At.Node, o.At.Port, returnMax)
		}
	}
}

// standing gives the topology of a lab that is there.
func standing(name string) (Topology, error) {
	t, err := find(name)
	if err != nil {
		return t, err
	}
	if err := needRoot(); err != nil {
		return t, err
	}
	st, err := machine.load(name)
	if err != nil {
		return t, err
	}
	if st.alive() == 0 {
		return t, usagef("lab %s is not up: `lab up %s` first", name, name)
	}
	return t, nil
}

// RunProbe is the hidden command that measures inside one node.
func RunProbe(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	return probe.Run(ctx, stdin, stdout)
}
