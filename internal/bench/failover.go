// Package bench measures: how long hosts are out when a link fails, for peerless, for the least that any design can do, and for
// routing engines without peerless; and what many hosts cost.
//
// It decides what is measured and what counts. It never changes how anything works: daemons and engines run as they ship, on networks
// of internal/lab, and what their configuration is can be printed.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// Options says what to measure.
type Options struct {
	Hosts    []int
	Runs     int
	Engines  []string  // empty: all
	Faults   []string  // empty: both
	Binary   string    // the peerless binary; empty: this one
	Progress io.Writer // nil: silence
	Timeline bool      // keep what peerless's daemons journalled
	Flap     bool      // mend a fault as soon as it is repaired
}

// ErrUsage marks errors of the caller.
var ErrUsage = errors.New("usage")

type usageError struct{ text string }

func (e usageError) Error() string   { return e.text }
func (usageError) Is(err error) bool { return err == ErrUsage }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// Sample is one fault on one engine.
type Sample struct {
	Engine     string    `json:"engine"`
	Fault      string    `json:"fault"`
	Hosts      int       `json:"hosts"`
	OutageMs   []float64 `json:"outage_ms"`       // of each probed host
	RightMs    float64   `json:"right_ms"`        // until the gateway's kernel sends every host to the new leaf
	PauseMs    float64   `json:"sender_pause_ms"` // the longest silence of the probes themselves: no outage can be told finer
	Duplicated uint64    `json:"duplicated"`
	ReturnLost *uint64   `json:"return_lost,omitempty"` // packets to the probed hosts from the mending on until all are by the old leaf again; null: it was not seen to the end
	Invalid    string    `json:"invalid,omitempty"`     // why this sample counts for nothing
	Timeline   []Moment  `json:"timeline,omitempty"`
}

// Moment is something that a daemon journalled, in milliseconds after the first packet that was lost.
type Moment struct {
	AtMs  float64 `json:"at_ms"`
	Node  string  `json:"node"`
	Event string  `json:"event"`
	Why   string  `json:"why,omitempty"`
}

func (o Options) prepare() (Options, []engine, error) {
	list, err := pick(o.Engines)
	if err != nil {
		return o, nil, err
	}
	if len(o.Hosts) == 0 {
		o.Hosts = []int{1}
	}
	for _, n := range o.Hosts {
		if n < 1 || n > HostsMax {
			return o, nil, usagef("%d hosts: use 1 to %d", n, HostsMax)
		}
	}
	if len(o.Faults) == 0 {
		o.Faults = []string{ServerLink, GatewayLink}
	}
	for _, f := range o.Faults {
		if f != ServerLink && f != GatewayLink {
			return o, nil, usagef("no fault %q: known are %s, %s", f, ServerLink, GatewayLink)
		}
	}
	if os.Geteuid() != 0 {
		return o, nil, usagef("a benchmark needs root: it makes network namespaces (try sudo)")
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return o, nil, fmt.Errorf("find own binary: %w", err)
		}
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	o.Runs = max(1, o.Runs)
	return o, list, nil
}

// Failover measures every engine with every number of hosts, in turns: one fault on each, then the next.
func Failover(ctx context.Context, o Options) (*Result, error) {
	o, list, err := o.prepare()
	if err != nil {
		return nil, err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	res := &Result{Started: time.Now().UTC(), Machine: machine(), PaceUs: float64(pace) / 1e3}
	for _, hosts := range slices.Sorted(slices.Values(o.Hosts)) {
		if err := res.round(ctx, o, list, hosts); err != nil {
			return res, err
		}
	}
	return res, nil
}

// round measures all engines with one number of hosts; their networks stand side by side.
func (r *Result) round(ctx context.Context, o Options, list []engine, hosts int) (err error) {
	var stages []*stage
	defer func() {
		for _, s := range stages {
			err = errors.Join(err, s.end())
		}
	}()
	for _, e := range list {
		if hosts > e.hostsMax {
			r.skip(e, hosts)
			continue
		}
		s, err := build(ctx, e, hosts, o)
		if err != nil {
			return err
		}
		stages = append(stages, s)
	}
	for _, s := range stages {
		began := time.Now()
		if err := s.steady(ctx); err != nil {
			s.stand.KeepLogs()
			return err
		}
		fmt.Fprintf(o.Progress, "%s: %d hosts: ready (%s)\n", s.engine.name, hosts, time.Since(began).Round(time.Millisecond))
	}
	for run := range o.Runs {
		for _, f := range o.Faults {
			for _, s := range stages {
				sample, err := s.measure(ctx, f)
				if err != nil {
					s.stand.KeepLogs()
					return fmt.Errorf("%s, %d hosts, %s, run %d: %w", s.engine.name, hosts, f, run+1, err)
				}
				r.Samples = append(r.Samples, sample)
				felt := spread(sample.OutageMs)
				fmt.Fprintf(o.Progress, "%d/%d %s %s: %d hosts: outage %.2f ms, kernel right %.2f ms %s\n", run+1, o.Runs, f,
					s.engine.name, hosts, felt.Median, sample.RightMs, sample.Invalid)
				for _, m := range sample.Timeline {
					fmt.Fprintf(o.Progress, "  %9.3f ms  %s  %s (%s)\n", m.AtMs, m.Node, m.Event, m.Why)
				}
			}
		}
	}
	return nil
}

func (r *Result) skip(e engine, hosts int) {
	s := Skipped{Engine: e.name, Hosts: hosts, Why: fmt.Sprintf("not measured beyond %d hosts", e.hostsMax)}
	if !slices.Contains(r.Skipped, s) {
		r.Skipped = append(r.Skipped, s)
	}
}

// order puts engines in the order in which they are listed.
func order(a, b string) int {
	place := func(name string) int { return slices.IndexFunc(engines, func(e engine) bool { return e.name == name }) }
	return cmp.Compare(place(a), place(b))
}
