package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"peerless/internal/scenario"
	"peerless/internal/sim"
)

type simCmd struct {
	Story  []string `arg:"" optional:"" help:"Run these stories instead, such as testdata/scenarios/*.story."`
	Seeds  int      `default:"200" help:"Run so many seeds (default 200), from --from on."`
	From   uint64   `default:"1" help:"The first seed (default 1)."`
	Seed   *uint64  `help:"Run this seed alone, and tell what happened in it."`
	Only   []int    `placeholder:"N,..." help:"With --seed: only these of its faults, by number."`
	Trace  bool     `short:"v" help:"With --seed or a story: print every event, effect and fault."`
	Shrink bool     `help:"With --seed: leave out faults as long as it fails, and print the command that replays the rest."`
	JSON   bool     `name:"json" help:"Print JSON."`
}

// Run exits with 1 when an invariant broke.
func (c *simCmd) Run(a *app) error {
	switch {
	case len(c.Story) > 0 && c.Seed != nil:
		return usageError{errors.New("a story and --seed exclude each other")}
	case len(c.Story) > 0:
		return c.stories(a)
	case c.Seed != nil:
		return c.one(a)
	case c.Only != nil || c.Trace || c.Shrink:
		return usageError{errors.New("--only, --trace and --shrink need --seed")}
	case c.Seeds < 1:
		return usageError{errors.New("--seeds wants at least 1")}
	}
	return c.many(a)
}

func (c *simCmd) one(a *app) error {
	o := sim.Options{Seed: *c.Seed, Only: c.Only}
	if c.Trace {
		o.Trace = a.out
		if c.JSON {
			o.Trace = a.err
		}
	}
	r := sim.Run(o)
	if c.JSON {
		if err := printJSON(a.out, r); err != nil {
			return err
		}
	} else if _, err := fmt.Fprintln(a.out, outcomeOf(r)); err != nil {
		return err
	}
	if r.OK {
		return nil
	}
	if c.Shrink && c.Only == nil {
		need := sim.Shrink(a.ctx, r, func(left int) { _, _ = fmt.Fprintf(a.err, "\r%d faults left ", left) })
		_, _ = fmt.Fprintf(a.err, "\rof %d faults %d are needed; replay them with\n  %s --trace\n", r.Planned, len(need), replay(r.Seed, need))
	}
	return fmt.Errorf("sim: seed %d: %s is violated", r.Seed, r.Failure.Invariant)
}

// replay is the one command that shows a failure again.
func replay(seed uint64, only []int) string {
	s := fmt.Sprintf("peerless sim --seed %d", seed)
	if only == nil {
		return s
	}
	words := make([]string, len(only))
	for i, n := range only {
		words[i] = strconv.Itoa(n)
	}
	if len(words) == 0 {
		words = []string{"-1"} // none at all
	}
	return s + " --only " + strings.Join(words, ",")
}

func outcomeOf(r sim.Result) string {
	if r.OK {
		return fmt.Sprintf("seed %d: ok, %s, %d faults, %d steps, %s of virtual time", r.Seed, counted(r.Servers, "server"), r.Faults, r.Steps, r.Virtual.Round(time.Second))
	}
	return fmt.Sprintf("seed %d: %s is violated in the %s phase, at %.6f s, after %d faults: %s\n  replay: %s", r.Seed, r.Failure.Invariant, r.Phase,
		r.Failure.At.Seconds(), r.Faults, r.Failure.Text, replay(r.Seed, r.Replayed))
}

// progressEvery is the pause between two lines of progress.
const progressEvery = 5 * time.Second

// report is a batch with how long it took.
type simReport struct {
	sim.Batch
	Seconds         float64 `json:"seconds"`
	FaultsPerMinute int     `json:"faults_per_minute"`
}

func (c *simCmd) many(a *app) error {
	began, last := time.Now(), time.Now()
	done := 0
	b := sim.RunMany(a.ctx, c.From, c.Seeds, func(r sim.Result) bool {
		done++
		if !r.OK {
			_, _ = fmt.Fprintln(a.err, outcomeOf(r))
		}
		if time.Since(last) >= progressEvery {
			last = time.Now()
			_, _ = fmt.Fprintf(a.err, "%d of %d seeds, %.0f s\n", done, c.Seeds, time.Since(began).Seconds())
		}
		return true
	})
	took := time.Since(began)
	report := simReport{Batch: b, Seconds: took.Seconds(), FaultsPerMinute: int(float64(b.Faults) / took.Minutes())}
	var err error
	if c.JSON {
		err = printJSON(a.out, report)
	} else {
		_, err = fmt.Fprintf(a.out, "%d seeds, %d faults, %.0f virtual hours in %.1f s: %d faults a minute, %s\n", b.Seeds, b.Faults, b.Virtual.Hours(),
			took.Seconds(), report.FaultsPerMinute, counted(len(b.Failures), "failure"))
	}
	switch {
	case err != nil:
		return err
	case a.ctx.Err() != nil:
		return fmt.Errorf("sim: interrupted after %d of %d seeds", b.Seeds, c.Seeds)
	case !b.OK:
		return fmt.Errorf("sim: %d of %d seeds failed", len(b.Failures), b.Seeds)
	}
	return nil
}

// storyRow is a story's outcome.
type storyRow struct {
	Story    string   `json:"story"`
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"`
}

func (c *simCmd) stories(a *app) error {
	rows := []storyRow{}
	failed := 0
	for _, file := range c.Story {
		text, err := os.ReadFile(file)
		if err != nil {
			return usageError{fmt.Errorf("read story: %w", err)}
		}
		s, err := scenario.Parse(file, string(text))
		if err != nil {
			return usageError{err}
		}
		o := sim.Options{}
		if c.Trace {
			o.Trace = a.err
		}
		problems, err := sim.RunStory(s, o)
		if err != nil {
			return usageError{err}
		}
		rows = append(rows, storyRow{s.Name, len(problems) == 0, append([]string{}, problems...)})
		if len(problems) > 0 {
			failed++
		}
	}
	if c.JSON {
		if err := printJSON(a.out, rows); err != nil {
			return err
		}
	} else {
		g := &grid{header: []string{"story", "ok", "problems"}}
		for _, r := range rows {
			g.add(r.Story, r.OK, strings.Join(r.Problems, "; "))
		}
		if err := g.print(a.out); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("sim: %d of %d stories failed", failed, len(rows))
	}
	return nil
}
