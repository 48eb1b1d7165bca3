package main

import (
	"fmt"
	"strings"
	"time"

	"peerless/internal/api"
	"peerless/internal/engine"
)

type watchCmd struct {
	Interval time.Duration `default:"1s" help:"How often to look, from 100ms."`
	Count    int           `placeholder:"N" help:"Stop after N times. Default: at Ctrl-C."`
	daemonFlags
}

// home and clearing of a terminal (ECMA-48 ED and CUP).
const clearScreen = "\x1b[H\x1b[2J"

// watchedEvents is how many of the last events are shown.
const watchedEvents = 12

func (c *watchCmd) Run(a *app) error {
	if c.Interval < 100*time.Millisecond {
		return usageError{fmt.Errorf("--interval %s is too short: use at least 100ms", c.Interval)}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(c.Interval)
	defer tick.Stop()
	for n := 1; ; n++ {
		page, err := c.page(a, client)
		if a.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Fprint(a.out, clearScreen+page); err != nil {
			return fmt.Errorf("draw: %w", err)
		}
		if n == c.Count {
			return nil
		}
		select {
		case <-a.ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// page is one picture of the daemon.
func (c *watchCmd) page(a *app, client *api.Client) (string, error) {
	var s api.Status
	if err := client.Get(a.ctx, "/v1/status", &s); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, up %s, %s\n", s.Role, s.Name, age(time.Now().UnixMilli()-s.StartedMs), time.Now().Format(time.TimeOnly))
	for _, what := range []string{"sessions", "linkage", "ports", "mapping", "hosts"} {
		g, err := fetch(a, client, what)
		if err != nil {
			return "", err
		}
		if len(g.rows) > 0 {
			fmt.Fprintf(&b, "\n%s\n%s\n", what, g)
		}
	}
	var events []engine.Entry
	if err := client.Get(a.ctx, "/v1/events", &events); err != nil {
		return "", err
	}
	if n := len(events); n > watchedEvents {
		events = events[n-watchedEvents:]
	}
	fmt.Fprintf(&b, "\nlast events\n%s\n", eventGrid(events))
	return b.String(), nil
}
