// Command peerless is MLAG without the peer link: the daemon of a leaf, gateway or server, and what an operator asks it with.
//
// It decides how the parts are put together and what the exit status is: 0 done, 1 failed at run time, 2 wrong usage or
// config. It never touches the network itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"peerless/internal/config"
)

// Exit statuses.
const (
	statusFailed = 1
	statusUsage  = 2
)

// commands is the whole command line.
type commands struct {
	Run        runCmd        `cmd:"" help:"Run the daemon of one node."`
	Check      checkCmd      `cmd:"" help:"Check a config file, and what this machine has for it."`
	Show       showCmd       `cmd:"" help:"Show what a running daemon knows."`
	Why        whyCmd        `cmd:"" help:"Show all that a daemon knows of one host or port, and how it came to be so."`
	Stop       stopCmd       `cmd:"" help:"End a daemon. The kernel goes on forwarding, and the gateway keeps the routes for the restart time."`
	Guard      guardCmd      `cmd:"" help:"Watch a leaf's daemon from beside it; close the downlinks if it stays dead."`
	Uninstall  uninstallCmd  `cmd:"" help:"Take everything of a node out of the kernel again. Its daemon must be stopped."`
	Watch      watchCmd      `cmd:"" help:"Watch a daemon: a table drawn anew as things change."`
	Drain      drainCmd      `cmd:"" help:"Move everything away from a leaf for planned maintenance, then close its server ports."`
	Undrain    undrainCmd    `cmd:"" help:"Take a drained leaf back into use."`
	Session    sessionCmd    `cmd:"" help:"Shut a routing session of a daemon, or open it again."`
	Lab        labCmd        `cmd:"" help:"Build test networks in namespaces, break them and measure. Needs root."`
	Bench      benchCmd      `cmd:"" help:"Measure failover beside the floor and other engines, and what many hosts cost. Needs root."`
	Sim        simCmd        `cmd:"" help:"Run the machines in a simulated world full of faults, and check the invariants at every step."`
	Config     configCmd     `cmd:"" help:"Configuration help."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Completion completionCmd `cmd:"" help:"Print a completion script for a shell."`
	LabProbe   labProbeCmd   `cmd:"" hidden:"" help:"Measure inside one node of a lab."`
	BenchNode  benchNodeCmd  `cmd:"" hidden:"" help:"Stand in for a node of a benchmark."`
	LabFlood   labFloodCmd   `cmd:"" hidden:"" help:"Be a hostile server inside one node of a lab."`
}

// app is what every verb may use.
type app struct {
	ctx context.Context // ends at SIGTERM or SIGINT
	out io.Writer
	err io.Writer
	cli *kong.Application
}

// usageError is wrong usage or config: exit status 2.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// exitStatus is that of a command which we ran for the operator; it has said itself what was wrong.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// errReported is a failure that was already told to the operator in full.
var errReported = errors.New("reported")

func main() {
	ctx, stop := untilSignal()
	status := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// untilSignal is a context that ends at the first SIGTERM or SIGINT. The second one ends the process at once.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(statusFailed)
	}()
	return ctx, cancel
}

// exitNow carries the status of a parser that wants to end the program (after --help).
type exitNow struct{ status int }

// execute runs one command line and gives the exit status.
func execute(ctx context.Context, args []string, out, errOut io.Writer) (status int) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(exitNow)
			if !ok {
				panic(r)
			}
			status = e.status
		}
	}()
	parser := newParser(out, errOut)
	parsed, err := parser.Parse(args)
	if err != nil {
		return report(errOut, usageError{fmt.Errorf("%w; see peerless --help", err)})
	}
	return report(errOut, parsed.Run(&app{ctx: ctx, out: out, err: errOut, cli: parser.Model}))
}

func newParser(out, errOut io.Writer) *kong.Kong {
	parser, err := kong.New(&commands{}, kong.Name("peerless"), kong.Description("MLAG without the peer link."),
		kong.Writers(out, errOut), kong.Exit(func(status int) { panic(exitNow{status}) }), helpVars,
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}))
	if err != nil {
		panic("command line model: " + err.Error()) // covered by every test of this package
	}
	return parser
}

// report tells an error on one line and gives its exit status. The problems of a config file come before, each at the start of
// its line, so that editors can jump to them.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	status := statusFailed
	var problems config.Problems
	var usage usageError
	var other exitStatus
	switch {
	case errors.As(err, &other):
		return int(other)
	case errors.As(err, &problems):
		_, _ = fmt.Fprintln(w, problems.Error())
		err, status = fmt.Errorf("%s: %s", problems[0].File, counted(len(problems), "problem")), statusUsage
	case errors.As(err, &usage):
		status = statusUsage
	}
	if !errors.Is(err, errReported) {
		_, _ = fmt.Fprintf(w, "peerless: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return status
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
