package lab

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"peerless/internal/lab/matrix"
	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
)

// More servers than fineServers are sent to at a pace that leaves two cores time for the daemons.
const (
	fineServers = 2
	manyPace    = 500 * time.Microsecond
)

// outside is the node that stands for the outside.
const outside = "G"

// breakIt does what a case breaks, and judges.
func (r *runner) breakIt(ctx context.Context, c matrix.Case, limit time.Duration) (*report.Fault, error) {
	pace := finePace
	switch {
	case c.Lossless(): // no outage to be measured, only loss to be found
		pace = normalPace
	case len(c.Touches) > fineServers:
		pace = manyPace
	}
	before, err := r.memory(c.Bounds)
	if err != nil {
		return nil, err
	}
	out, err := r.observe(ctx, trial{
		name: c.Name, action: matrix.Tell(c.Break), pace: pace, concerned: c.Concerns,
		do:    func() (int64, error) { return r.doAll(ctx, c.Break) },
		watch: func() (string, error) { return r.watchBroken(ctx, c) },
	})
	if err != nil {
		return nil, err
	}
	findings := r.unfelt(c, out)
	if out.Error != "" {
		findings = append([]string{out.Error}, findings...)
	}
	out.Valid = len(findings) == 0
	findings = append(findings, restless(c, out)...)
	beyond, err := r.unbounded(c, out, before)
	if err != nil {
		return nil, err
	}
	findings = append(findings, beyond...)
	for i := range out.Flows {
		f := &out.Flows[i]
		if c.Roams {
			f.OutageMs = sinceDeed(*f)
		}
		dead := c.Kills(r.find(*f))
		findings = append(findings, excess(*f, limit, dead)...)
		findings = append(findings, tardy(*f, c.Until, dead)...)
		f.Concerned = f.Concerned && !dead // what has no path has no outage to be told
	}
	return out, r.conclude(out, findings)
}

// mendIt mends it. There is nothing to be felt; a case that mends nothing must be whole by itself.
func (r *runner) mendIt(ctx context.Context, c matrix.Case) (*report.Fault, error) {
	out, err := r.observe(ctx, trial{
		name: c.Name + ", mended", action: matrix.Tell(c.Mend), pace: normalPace, concerned: c.Concerns,
		do: func() (int64, error) { return r.doAll(ctx, c.Mend) },
		watch: func() (string, error) {
			err := r.untilSteady(ctx, returnMax)
			if err != nil || len(c.Mend) == 0 { // it was watched already
				return "", err
			}
			return "", r.pause(ctx, watchAfter)
		},
	})
	if err != nil {
		return nil, err
	}
	out.Valid = true
	var findings []string
	if out.Error != "" {
		findings = []string{out.Error}
	}
	for _, f := range out.Flows {
		if c.Kills(r.find(f)) {
			findings = append(findings, tardy(f, c.Returns, false)...)
			f.Lost, f.OutageMs = 0, 0 // it had no path when the mending began
		}
		if c.Roams {
			f.OutageMs = sinceDeed(f)
		}
		findings = append(findings, excess(f, c.MendLimit, false)...)
	}
	return out, r.conclude(out, findings)
}

// watchBroken waits until the flows that have a path are whole, or will not be.
func (r *runner) watchBroken(ctx context.Context, c matrix.Case) (late string, err error) {
	const settle = recoveredFor + 100*time.Millisecond
	if err := r.pause(ctx, settle); err != nil {
		return "", err
	}
	err = r.await(ctx, recoverMax, func() ([]string, error) {
		left, err := r.broken(recoveredFor)
		return slices.DeleteFunc(left, func(text string) bool {
			return slices.ContainsFunc(r.top.Flows, func(f topology.Flow) bool {
				return c.Kills(f) && strings.HasPrefix(text, "flow "+f.Name()+" ")
			})
		}), err
	})
	if err != nil {
		if ctx.Err() != nil || r.death() != nil {
			return "", err
		}
		late = err.Error()
	}
	return late, r.pause(ctx, max(c.Watch, watchMin-settle))
}

// unfelt says why a fault was none.
func (r *runner) unfelt(c matrix.Case, out *report.Fault) []string {
	var missing []string
	for _, s := range c.Signs {
		if !slices.ContainsFunc(out.Timeline, func(e report.Entry) bool { return e.Node == s.Node && e.What == s.What }) {
			missing = append(missing, fmt.Sprintf("invalid: %s did not see %s", s.Node, s.What))
		}
	}
	if len(c.Signs) > 0 || c.Lossless() || c.Harmless {
		return missing
	}
	lost := slices.ContainsFunc(out.Flows, func(f report.Flow) bool { return f.Concerned && f.Lost > 0 })
	if !lost && mappingOf(r.top, out.Nodes) == r.steady {
		return []string{"invalid: no concerned flow lost anything and the gateway's mapping did not move"}
	}
	return nil
}

// restless says which hosts moved too often, as the gateway tells it.
func restless(c matrix.Case, out *report.Fault) []string {
	if c.Moves == 0 {
		return nil
	}
	moves := map[string]int{}
	for _, e := range out.Timeline {
		if e.Node == outside && e.What == "host-moved" {
			moves[e.Addr]++
		}
	}
	var findings []string
	for _, addr := range slices.Sorted(maps.Keys(moves)) {
		if n := moves[addr]; n > c.Moves {
			findings = append(findings, fmt.Sprintf("%s moved %d times", addr, n))
		}
	}
	return findings
}

// sinceDeed is the longest gap of a flow, counted from the deed where it began before.
func sinceDeed(f report.Flow) (longest float64) {
	for _, g := range f.Gaps {
		longest = max(longest, g.ToMs-max(0, g.FromMs))
	}
	return longest
}

// excess says how a flow felt more than it may.
func excess(f report.Flow, limit time.Duration, dead bool) []string {
	name := f.From + "->" + f.To
	switch {
	case dead && f.Recovered:
		return []string{name + " is whole, though it has no path"}
	case dead:
		return nil
	case !f.Recovered:
		return []string{name + " did not recover"}
	case !f.Concerned || limit == 0:
		if f.Lost > 0 {
			return []string{fmt.Sprintf("%s lost %d (%.1f ms)", name, f.Lost, f.OutageMs)}
		}
	case f.OutageMs > msOf(limit):
		return []string{fmt.Sprintf("%s was out for %.1f ms", name, f.OutageMs)}
	}
	return nil
}

// tardy says how long after the deed a flow was whole, if that is too long. Its outage may have begun before or after the deed.
func tardy(f report.Flow, bound time.Duration, dead bool) []string {
	if bound == 0 || dead || len(f.Gaps) == 0 {
		return nil
	}
	if last := f.Gaps[len(f.Gaps)-1].ToMs; last > msOf(bound) {
		return []string{fmt.Sprintf("%s->%s was not whole before %.0f ms", f.From, f.To, last)}
	}
	return nil
}

func (r *runner) find(f report.Flow) topology.Flow {
	i := slices.IndexFunc(r.top.Flows, func(fl topology.Flow) bool { return fl.From == f.From && fl.To == f.To })
	return r.top.Flows[i]
}

// conclude puts the findings together, and forgets what only they need.
func (r *runner) conclude(out *report.Fault, findings []string) error {
	slow, err := r.slowProbes()
	if err != nil {
		return err
	}
	findings = append(findings, slow...)
	var outages []float64
	for _, f := range out.Flows {
		if f.Concerned {
			outages = append(outages, f.OutageMs)
		}
		out.WorstOutageMs = max(out.WorstOutageMs, f.OutageMs)
	}
	out.MedianOutageMs = median(outages)
	out.Error, out.OK = joinShort(findings), len(findings) == 0
	out.Nodes = nil
	if out.OK {
		out.Timeline = []report.Entry{}
	}
	r.say("%s: ok %v, median outage %.2f ms, worst %.2f ms %s", out.Name, out.OK, out.MedianOutageMs, out.WorstOutageMs, out.Error)
	return nil
}
