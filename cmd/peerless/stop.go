package main

import (
	"context"
	"fmt"
	"time"

	"peerless/internal/api"
	"peerless/internal/config"
)

type stopCmd struct {
	JSON    bool          `name:"json" help:"Print JSON: the daemon that was stopped."`
	Timeout time.Duration `default:"10s" help:"Wait no longer for its end."`
	daemonFlags
}

// stopPoll is how often a daemon that was stopped is asked whether it still is there.
const stopPoll = 10 * time.Millisecond

// Run ends the daemon and waits until it has. A supervisor that starts it again at once has not been told to leave it.
func (c *stopCmd) Run(a *app) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var stopped api.Status
	if err := client.Order(a.ctx, "/v1/stop", &stopped); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, c.Timeout)
	defer cancel()
	for {
		var now api.Status
		err := client.Get(ctx, "/v1/status", &now)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("stop %s: process %d has not ended in %s", stopped.Name, stopped.PID, c.Timeout)
		case err != nil:
			return c.print(a, stopped)
		case now.PID != stopped.PID:
			return fmt.Errorf("stop %s: it was started again, as process %d; stop its service instead", stopped.Name, now.PID)
		}
		select {
		case <-ctx.Done():
		case <-time.After(stopPoll):
		}
	}
}

func (c *stopCmd) print(a *app, s api.Status) error {
	if c.JSON {
		return printJSON(a.out, s)
	}
	until := ""
	if s.Role == config.RoleLeaf {
		until = ", and the gateway sends here for the graceful-restart time"
	}
	if _, err := fmt.Fprintf(a.out, "%s (%s, process %d) stopped; the kernel goes on forwarding%s\n", s.Name, s.Role, s.PID, until); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
