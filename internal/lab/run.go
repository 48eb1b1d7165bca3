package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/lab/netns"
	"peerless/internal/lab/probe"
	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
	"peerless/internal/step"
)

type (
	mappingRow = step.MappingRow
	portRow    = step.PortRow
)

// How traffic is measured.
const (
	normalPace   = time.Millisecond
	finePace     = 100 * time.Microsecond      // on the flows that a fault concerns, around it
	wholeFor     = 300 * time.Millisecond      // a flow that lost nothing for so long is whole
	recoveredFor = 200 * time.Millisecond      // so much of a window's end must be whole
	warmUp       = 300 * time.Millisecond      // fine pace before the fault
	watchMin     = 2 * time.Second             // after a break
	watchAfter   = 1500 * time.Millisecond     // after a server has returned
	recoverMax   = 10 * time.Second            // a flow that is not back by then stays lost
	returnMax    = 20 * time.Second            // a server that has not returned by then will not
	eventsBefore = int64(2 * time.Millisecond) // clocks are one; this is for the message under way
)

// every is how often a flow sends on this machine.
func (o Options) every(pace time.Duration) time.Duration { return pace * time.Duration(max(1, o.Slow)) }

// runner is a run in progress.
type runner struct {
	*instance
	ask    *asker
	fleet  *probe.Fleet
	steady string // the gateways' mapping when all is well
	drops  map[string]uint32
}

// Run builds a topology, breaks and mends it fault by fault, and tells what the traffic felt. The result is there even when
// it is not ok; an error means that no lab could be had at all. Nothing is left unless Keep is set.
func Run(ctx context.Context, o Options) (*Result, error) {
	t, o, err := o.prepare()
	if err != nil {
		return nil, err
	}
	return run(ctx, machine, t, o)
}

func run(ctx context.Context, s site, t topology.Topology, o Options) (*Result, error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	mode := modeRun
	if o.Keep {
		mode = modeUp
	}
	began := time.Now()
	in, err := begin(ctx, s, t, o, mode)
	if err != nil {
		return nil, err
	}
	res := &Result{Topology: t.Name, Engine: o.Engine, Gateway: o.Gateway, Started: began, Kernel: kernel(), Faults: []report.Fault{}}
	r := &runner{instance: in, ask: newAsker(s, t, in.net), drops: map[string]uint32{}}
	err = r.whole(ctx, res)
	res.DurationMs = msOf(time.Since(began))
	if err != nil {
		res.OK, res.Error = false, err.Error()
	}
	if !res.OK {
		in.keepLogs()
	}
	if o.Keep && ctx.Err() == nil {
		in.leave()
	} else if e := in.end(downGrace); e != nil {
		return res, fmt.Errorf("clean up: %w", e)
	}
	if ctx.Err() != nil {
		return res, errInterrupted
	}
	if o.Report != "" {
		if e := writeReport(o.Report, report.Page{Result: res, Topology: t}); e != nil {
			return res, e
		}
		in.say("report written to %s", o.Report)
	}
	return res, nil
}

func writeReport(path string, p report.Page) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := errors.Join(p.WriteHTML(f), f.Close()); err != nil {
		return fmt.Errorf("write report %s: %w", path, err)
	}
	return nil
}

// converged starts the traffic and waits until all is well; it gives what the nodes show then.
func (r *runner) converged(ctx context.Context) (map[string]report.State, error) {
	fleet, err := r.startProbes()
	if err != nil {
		return nil, err
	}
	r.fleet = fleet
	if err := fleet.Rate(r.opts.every(normalPace), func(topology.Flow) bool { return true }); err != nil {
		return nil, err
	}
	if err := r.untilSteady(ctx, convergeMax); err != nil {
		return nil, err
	}
	states, _ := r.ask.states(ctx)
	r.steady = mappingOf(r.top, states)
	r.say("steady")
	return states, nil
}

// whole is the run proper.
func (r *runner) whole(ctx context.Context, res *Result) (err error) {
	if res.Steady, err = r.converged(ctx); err != nil {
		return err
	}
	res.ConvergeMs = msOf(time.Since(r.born))
	res.OK = true
	for round := range max(1, r.opts.Runs) {
		for _, f := range r.top.Faults {
			got, err := r.fault(ctx, f)
			if err != nil {
				return fmt.Errorf("fault %s: %w", f.Name, err)
			}
			got.Run = round + 1
			res.Add(*got)
			r.say("%s: %s: ok %v, median outage %.2f ms, worst %.2f ms %s", f.Name, f.Action, got.OK, got.MedianOutageMs, got.WorstOutageMs, got.Error)
		}
	}
	res.Summarize()
	return nil
}

// untilSteady waits until the daemons say that all is well and every flow is whole.
func (r *runner) untilSteady(ctx context.Context, bound time.Duration) error {
	return r.await(ctx, bound, func() ([]string, error) {
		if r.steady == "" {
			if err := errors.Join(r.announceGuests(), r.home()); err != nil {
				return nil, err
			}
		}
		states, errs := r.ask.states(ctx)
		if left := unready(r.top, states, errs); len(left) > 0 {
			return left, nil
		}
		if m := mappingOf(r.top, states); r.steady != "" && m != r.steady {
			return []string{"the mapping is not what it was before the fault"}, nil
		}
		return r.broken(wholeFor)
	})
}

// announceGuests speaks for guests that send no flow: nobody knows of a machine that never spoke.
func (r *runner) announceGuests() error {
	for _, n := range r.top.Nodes {
		silent := !slices.ContainsFunc(r.top.Flows, func(f topology.Flow) bool { return f.Sender == n.Name })
		if n.Role != topology.Guest || !silent || len(n.Addresses) == 0 {
			continue
		}
		if err := netns.Announce(r.space(n.Name), n.Addresses[0].Port, n.Addresses[0].Port); err != nil {
			return err
		}
	}
	return nil
}

// broken lists the flows that lost something in the last time.
func (r *runner) broken(last time.Duration) ([]string, error) {
	to := probe.Mono() - int64(probe.Settle)
	got, err := r.fleet.Measure(to-int64(last), to, last)
	if err != nil {
		return nil, r.better(err)
	}
	var out []string
	for i, m := range got {
		if m.Lost > 0 || m.Sent < uint64(last/r.opts.every(normalPace))/2 {
			out = append(out, fmt.Sprintf("flow %s lost %d of %d", r.top.Flows[i].Name(), m.Lost, m.Sent))
		}
	}
	return out, nil
}

// better prefers the death of a process to what followed from it.
func (r *runner) better(err error) error {
	if err == nil {
		return nil
	}
	_ = r.pause(context.Background(), pollEvery) // a broken pipe is noticed before the process's end
	if d := r.death(); d != nil {
		return d
	}
	return err
}

// kernel is the release of the running kernel.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func msOf(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / 1e6 }
