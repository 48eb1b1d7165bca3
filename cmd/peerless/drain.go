package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"peerless/internal/api"
	"peerless/internal/step"
)

// drainPoll is how often --wait asks how far it is.
const drainPoll = 100 * time.Millisecond

// waitFlags say whether the end is waited for.
type waitFlags struct {
	Wait    bool          `help:"Wait for the end and show what happens. The exit status is 1 if it is not reached."`
	Timeout time.Duration `default:"2m" help:"Wait no longer."`
	JSON    bool          `name:"json" help:"Print JSON: one object, the state at the end."`
	daemonFlags
}

type drainCmd struct {
	Force   bool `help:"Close also ports whose servers have no other link: they die."`
	Preview bool `help:"Order nothing; show what would become of whom."`
	waitFlags
}

// Run orders it, or shows what it would do.
func (c *drainCmd) Run(a *app) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.Preview {
		var now step.Drain
		if err := client.Get(a.ctx, "/v1/drain", &now); err != nil {
			return err
		}
		return c.show(a, now)
	}
	path := "/v1/drain"
	if c.Force {
		path += "?force=1"
	}
	return c.order(a, client, path, func(d step.Drain) (bool, error) {
		if d.State == "stuck" {
			return true, errors.New("the leaf is not drained: " + d.Why + ": " + waitingFor(d))
		}
		return d.State == "drained", nil
	})
}

type undrainCmd struct{ waitFlags }

// Run orders it.
func (c *undrainCmd) Run(a *app) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	closed := func(d step.Drain) (bool, error) {
		var ports []step.PortRow
		if err := client.Get(a.ctx, "/v1/ports", &ports); err != nil {
			return false, err
		}
		for _, p := range ports {
			if p.ClosedBy == "peerless" {
				return false, nil
			}
		}
		return d.State == "serving", nil
	}
	return c.order(a, client, "/v1/undrain", closed)
}

// order gives the order and waits for its end if that is wanted.
func (f waitFlags) order(a *app, client *api.Client, path string, ended func(step.Drain) (bool, error)) error {
	var now step.Drain
	if err := client.Order(a.ctx, path, &now); err != nil {
		return err
	}
	if !f.Wait {
		return f.show(a, now)
	}
	ctx, cancel := context.WithTimeout(a.ctx, f.Timeout)
	defer cancel()
	told := ""
	for {
		if line := progress(now); line != told && !f.JSON {
			told = line
			if _, err := fmt.Fprintln(a.out, line); err != nil {
				return fmt.Errorf("print progress: %w", err)
			}
		}
		if done, err := ended(now); done || err != nil {
			return errors.Join(f.end(a, now), err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(f.end(a, now), fmt.Errorf("not reached in %s: %s: %s", f.Timeout, now.State, now.Why))
		case <-time.After(drainPoll):
		}
		if err := client.Get(a.ctx, "/v1/drain", &now); err != nil {
			return err
		}
	}
}

// end prints the state for machines; people have seen it come.
func (f waitFlags) end(a *app, now step.Drain) error {
	if !f.JSON {
		return nil
	}
	return printJSON(a.out, now)
}

func (f waitFlags) show(a *app, now step.Drain) error {
	if f.JSON {
		return printJSON(a.out, now)
	}
	if _, err := fmt.Fprintf(a.out, "%s: %s\n", now.State, now.Why); err != nil {
		return fmt.Errorf("print state: %w", err)
	}
	return drainGrid(now.Ports).print(a.out)
}

func drainGrid(list []step.DrainedRow) *grid {
	g := &grid{header: []string{"port", "server port", "open", "hosts", "fate", "why"}, empty: "no downlinks"}
	for _, r := range list {
		g.add(string(r.Port), r.ServerPort, r.Open, few(r.Hosts), r.Fate, r.Why)
	}
	return g
}

// progress is one line: how far, and who is still there.
func progress(d step.Drain) string {
	open := 0
	for _, r := range d.Ports {
		if r.Open {
			open++
		}
	}
	line := fmt.Sprintf("%s: %s open", d.State, counted(open, "port"))
	if d.State == "serving" {
		return line
	}
	if rest := waitingFor(d); rest != "" {
		line += "; still there: " + rest
	}
	return line
}

func waitingFor(d step.Drain) string {
	var out []string
	for _, r := range d.Ports {
		if len(r.Hosts) > 0 {
			out = append(out, fmt.Sprintf("%s (%s, %s)", r.Port, few(r.Hosts), r.Fate))
		}
	}
	return strings.Join(out, ", ")
}
