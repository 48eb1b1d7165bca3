package lab

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"peerless/internal/lab/probe"
	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
)

// gapsMax bounds the gaps of one flow in a result.
const gapsMax = 256

// trial is something that is done to a lab while its traffic is watched closely.
type trial struct {
	name, action string
	concerned    func(topology.Flow) bool
	pace         time.Duration // of the concerned flows
	do           func() (at int64, err error)
	watch        func() (late string, err error)
}

// fault injects one fault, waits for what must follow, and measures. An error means that nothing could be measured.
func (r *runner) fault(ctx context.Context, f topology.Fault) (*report.Fault, error) {
	if f.Mends == "" {
		if err := r.untilSteady(ctx, returnMax); err != nil {
			return nil, err
		}
	}
	out, err := r.observe(ctx, trial{
		name: f.Name, action: f.Action, pace: finePace,
		concerned: func(fl topology.Flow) bool { return slices.Contains(f.Concerned, fl.Name()) },
		do:        func() (int64, error) { return inject(r.net, f) },
		watch:     func() (string, error) { return r.watchFault(ctx, f) },
	})
	if err != nil {
		return nil, err
	}
	return out, r.judge(f, out, mappingOf(r.top, out.Nodes))
}

// observe measures a trial. It judges nothing, but its error text says what did not come in time and who did not answer.
func (r *runner) observe(ctx context.Context, t trial) (*report.Fault, error) {
	if err := r.fleet.Rate(r.opts.every(t.pace), t.concerned); err != nil {
		return nil, r.better(err)
	}
	if err := r.pause(ctx, warmUp); err != nil {
		return nil, err
	}
	r.say("%s: %s", t.name, t.action)
	at, err := t.do()
	if err != nil {
		return nil, err
	}
	late, err := t.watch()
	if err != nil {
		return nil, err
	}
	if err := r.pause(ctx, 2*probe.Settle); err != nil {
		return nil, err
	}
	from, to := at-int64(warmUp), probe.Mono()-int64(probe.Settle)
	got, err := r.fleet.Measure(from, to, recoveredFor)
	if err != nil {
		return nil, r.better(err)
	}
	if err := r.fleet.Rate(r.opts.every(normalPace), t.concerned); err != nil {
		return nil, r.better(err)
	}
	out := &report.Fault{Name: t.name, Action: t.action, Error: late, WindowMs: [2]float64{relMs(from, at), relMs(to, at)}}
	for i, m := range got {
		out.Flows = append(out.Flows, r.flowOf(r.top.Flows[i], m, at, t))
	}
	states, errs := r.ask.states(ctx)
	out.Nodes = states
	for _, n := range r.top.Nodes {
		if errs[n.Name] != nil && out.Error == "" && !r.away(n.Name) {
			out.Error = errs[n.Name].Error()
		}
	}
	if out.Timeline, err = r.timeline(ctx, at, to); err != nil {
		return nil, r.better(err)
	}
	return out, nil
}

// watchFault waits until the fault's effects are over. Late says what did not happen in time; that is a finding, no error.
func (r *runner) watchFault(ctx context.Context, f topology.Fault) (late string, err error) {
	began := time.Now()
	if f.Mends != "" {
		err = r.untilSteady(ctx, returnMax)
	} else {
		if err := r.pause(ctx, recoveredFor+2*probe.Settle); err != nil {
			return "", err
		}
		err = r.await(ctx, recoverMax, func() ([]string, error) { return r.broken(recoveredFor) })
	}
	if err != nil {
		if ctx.Err() != nil || r.death() != nil {
			return "", err
		}
		late = err.Error()
	}
	if f.Mends != "" {
		return late, r.pause(ctx, watchAfter)
	}
	return late, r.pause(ctx, watchMin-time.Since(began))
}

// judge says whether the fault was felt, and survived.
func (r *runner) judge(f topology.Fault, out *report.Fault, mapping string) error {
	slow, err := r.slowProbes()
	if err != nil {
		return err
	}
	var lost uint64
	var outages []float64
	var dead []string
	for _, fl := range out.Flows {
		if fl.Concerned {
			lost += fl.Lost
			outages = append(outages, fl.OutageMs)
		}
		out.WorstOutageMs = max(out.WorstOutageMs, fl.OutageMs)
		if !fl.Recovered {
			dead = append(dead, fl.From+"->"+fl.To)
		}
	}
	out.MedianOutageMs = median(outages)
	if f.Mends == "" {
		out.Valid = lost > 0 || mapping != r.steady
	} else {
		out.Valid = mapping == r.steady
	}
	var faults []string
	if out.Error != "" {
		faults = append(faults, out.Error)
	}
	if len(dead) > 0 {
		faults = append(faults, "not recovered: "+strings.Join(dead, " "))
	}
	if !out.Valid {
		faults = append(faults, "invalid: "+invalidity(f))
	}
	faults = append(faults, slow...)
	out.Error, out.OK = strings.Join(faults, "; "), len(faults) == 0
	return nil
}

// slowProbes tells of measurements that are worth nothing since the last time.
func (r *runner) slowProbes() ([]string, error) {
	stats, err := r.fleet.Stats()
	if err != nil {
		return nil, r.better(err)
	}
	var out []string
	for _, node := range probe.Ends(r.top.Flows) {
		if d := stats[node].Drops; d > r.drops[node] {
			out = append(out, fmt.Sprintf("probe of %s was too slow and dropped %d datagrams", node, d-r.drops[node]))
			r.drops[node] = d
		}
	}
	return out, nil
}

func invalidity(f topology.Fault) string {
	if f.Mends != "" {
		return "the gateway's mapping did not return"
	}
	return "no concerned flow lost anything and the gateway's mapping did not move"
}

// median of an even number of values is the higher one of the middle: a figure that was measured, and not flattering.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func (r *runner) flowOf(f topology.Flow, m probe.Measured, at int64, t trial) report.Flow {
	out := report.Flow{
		From: f.From, To: f.To, Sent: m.Sent, Lost: m.Lost, Duplicated: m.Duplicated, OutageMs: msOf(m.Outage), Recovered: m.Recovered,
		Concerned: t.concerned(f), IntervalUs: r.opts.every(normalPace).Microseconds(), SenderPauseMs: msOf(m.Pause), DelayMs: msOf(m.Delay),
	}
	if out.Concerned {
		out.IntervalUs = r.opts.every(t.pace).Microseconds()
	}
	for _, g := range m.Gaps[:min(len(m.Gaps), gapsMax)] {
		out.Gaps = append(out.Gaps, report.Gap{FromMs: relMs(g.Sent, at), ToMs: relMs(g.Until, at), Lost: g.Lost})
	}
	return out
}

func relMs(t, at int64) float64 { return msOf(time.Duration(t - at)) }

// timeline merges what every daemon journalled around the fault.
func (r *runner) timeline(ctx context.Context, at, to int64) ([]report.Entry, error) {
	out := []report.Entry{}
	for _, n := range r.top.Daemons() {
		if r.away(n.Name) {
			continue
		}
		events, err := r.ask.events(ctx, n.Name, at-eventsBefore)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if e.MonoNs > to {
				continue
			}
			e.TMs, e.Event = relMs(e.MonoNs, at), e.Text
			e.Node = n.Name
			out = append(out, e.Entry)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].TMs < out[j].TMs })
	return out, nil
}
