package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"peerless/internal/lab/matrix"
	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
)

// MatrixOptions says which part of the fault matrix to run.
type MatrixOptions struct {
	Options
	Cases   []string // names; empty: all
	Profile string   // of the daemons; empty: the default

	slack int // limits are so many times longer, where a slow machine is no finding; 0 means 1
}

// Matrix is what a run of the fault matrix found.
type Matrix = report.Matrix

// MatrixCases lists the cases' names in their order.
func MatrixCases() []string {
	var out []string
	for _, c := range matrix.All() {
		out = append(out, c.Name)
	}
	return out
}

// JoinMatrix puts several results into one.
func JoinMatrix(parts []*Matrix) *Matrix { return report.Join(parts, MatrixCases()) }

// matrixRun is a run of the matrix in progress: one lab after another, as the cases need them.
type matrixRun struct {
	opts  MatrixOptions
	site  site
	res   *Matrix
	cases []matrix.Case
	lab   *runner // nil: none stands
}

// RunMatrix builds the reference topology and does to it what the cases say, one after the other; every case leaves the lab whole.
// The result is there even when it is not ok; an error means that no lab could be had at all.
func RunMatrix(ctx context.Context, o MatrixOptions) (*Matrix, error) {
	o.Topology = matrix.Base
	cases, err := chosen(o.Cases)
	if err != nil {
		return nil, err
	}
	if _, o.Options, err = o.prepare(); err != nil {
		return nil, err
	}
	return runMatrix(ctx, machine, cases, o)
}

func runMatrix(ctx context.Context, s site, cases []matrix.Case, o MatrixOptions) (*Matrix, error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	o.Runs = max(1, o.Runs)
	switch o.Profile {
	case "":
		o.Profile = matrix.Default
	case matrix.Default, matrix.Fast:
	default:
		return nil, usagef("no profile %q: known are %s and %s", o.Profile, matrix.Default, matrix.Fast)
	}
	m := &matrixRun{opts: o, site: s, cases: cases, res: &Matrix{
		Topology: matrix.Base, Engine: o.Engine, Profile: o.Profile, OK: true, Started: time.Now(), Kernel: kernel(), Cases: []report.Row{},
	}}
	err := errors.Join(m.all(ctx), m.end())
	m.res.DurationMs = msOf(time.Since(m.res.Started))
	if ctx.Err() != nil {
		return m.res, errInterrupted
	}
	if err != nil {
		return m.res, err
	}
	if o.Report != "" {
		return m.res, m.page()
	}
	return m.res, nil
}

func chosen(names []string) ([]matrix.Case, error) {
	if len(names) == 0 {
		return matrix.All(), nil
	}
	var out []matrix.Case
	for _, n := range names {
		c, ok := matrix.Find(n)
		if !ok {
			return nil, usagef("no case %q: known are %s", n, strings.Join(MatrixCases(), ", "))
		}
		out = append(out, c)
	}
	return out, nil
}

// all runs the cases, those of one lab together, and puts the rows into the order of the table.
func (m *matrixRun) all(ctx context.Context) error {
	var parts []*Matrix
	var done []matrix.Variant
	for _, first := range m.cases {
		if slices.Contains(done, first.Variant) {
			continue
		}
		done = append(done, first.Variant)
		for _, c := range m.cases {
			if c.Variant != first.Variant {
				continue
			}
			rows, err := m.repeat(ctx, c)
			if err != nil {
				return fmt.Errorf("case %s: %w", c.Name, err)
			}
			part := *m.res
			part.Cases = rows
			parts = append(parts, &part)
		}
		if err := m.end(); err != nil {
			return err
		}
	}
	joined := JoinMatrix(parts)
	m.res.Cases, m.res.OK = joined.Cases, joined.OK
	return nil
}

// repeat gives the rows of a case: one of what breaks, and one of its mending.
func (m *matrixRun) repeat(ctx context.Context, c matrix.Case) ([]report.Row, error) {
	limit := c.Limit(m.opts.Profile) * time.Duration(max(1, m.opts.slack))
	broken := report.Row{
		Case: c.Name, Profile: m.opts.Profile, Action: matrix.Tell(c.Break), LimitMs: msOf(limit), Faults: []report.Fault{},
	}
	mended := report.Row{
		Case: c.Name, Profile: m.opts.Profile, Action: matrix.Tell(c.Mend), LimitMs: msOf(c.MendLimit), Faults: []report.Fault{}, Mends: true,
	}
	for range m.opts.Runs {
		b, e, err := m.once(ctx, c, limit)
		if err != nil {
			return nil, err
		}
		if b != nil {
			broken.Faults = append(broken.Faults, *b)
		}
		if e != nil {
			mended.Faults = append(mended.Faults, *e)
		}
	}
	broken.Sum()
	mended.Sum()
	rows := []report.Row{broken}
	if len(c.Mend) > 0 {
		rows = append(rows, mended)
	}
	return rows, nil
}

// once runs a case one time. A lab that cannot be had, or is not whole afterwards, is built anew; that is a miss of the case.
func (m *matrixRun) once(ctx context.Context, c matrix.Case, limit time.Duration) (broken, mended *report.Fault, err error) {
	if m.lab == nil {
		if err := m.stand(ctx, c.Variant); err != nil {
			return nil, nil, err
		}
	}
	if err := m.lab.untilSteady(ctx, returnMax); err != nil {
		return m.spoilt(ctx, err)
	}
	if broken, err = m.lab.breakIt(ctx, c, limit); err != nil {
		return m.spoilt(ctx, err)
	}
	if mended, err = m.lab.mendIt(ctx, c); err != nil {
		b := broken
		_, mended, err = m.spoilt(ctx, err)
		return b, mended, err
	}
	if len(c.Mend) == 0 {
		if !mended.OK {
			broken.OK, broken.Error = false, joinShort(append(slices.DeleteFunc([]string{broken.Error}, func(s string) bool { return s == "" }), mended.Error))
		}
		mended = nil
	}
	return broken, mended, nil
}

// spoilt turns the loss of a lab into a finding, keeps its logs, and removes it.
func (m *matrixRun) spoilt(ctx context.Context, cause error) (broken, mended *report.Fault, err error) {
	if ctx.Err() != nil {
		return nil, nil, cause
	}
	m.lab.say("the lab is spoilt: %v", cause)
	m.lab.keepLogs()
	if err := m.end(); err != nil {
		return nil, nil, err
	}
	f := report.Fault{Error: cause.Error()}
	return &f, &f, nil
}

// stand builds the lab that a variant needs.
func (m *matrixRun) stand(ctx context.Context, v matrix.Variant) error {
	t, err := matrix.Topology(v, m.opts.Profile)
	if err != nil {
		return err
	}
	in, err := begin(ctx, m.site, t, m.opts.Options, modeRun)
	if err != nil {
		return err
	}
	m.lab = &runner{instance: in, ask: newAsker(m.site, t, in.net), drops: map[string]uint32{}}
	if _, err := m.lab.converged(ctx); err != nil {
		m.lab.keepLogs()
		return err
	}
	return nil
}

func (m *matrixRun) end() error {
	if m.lab == nil {
		return nil
	}
	if !m.res.OK {
		m.lab.keepLogs()
	}
	err := m.lab.end(downGrace)
	m.lab = nil
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// page writes the HTML report: every fault of every case as one run.
func (m *matrixRun) page() error {
	t, _ := topology.Find(matrix.Base)
	res := &Result{
		Topology: m.res.Topology, Engine: m.res.Engine, Gateway: GatewayPeerless, OK: m.res.OK, Error: m.res.Error, Started: m.res.Started,
		DurationMs: m.res.DurationMs, Kernel: m.res.Kernel,
	}
	for _, row := range m.res.Cases {
		res.Faults = append(res.Faults, row.Faults...)
	}
	return writeReport(m.opts.Report, report.Page{Result: res, Topology: t})
}
