package main

import (
	"fmt"
	"net/url"

	"peerless/internal/api"
)

type sessionCmd struct {
	Shut sessionShutCmd `cmd:"" help:"End a session by a Cease that means shutdown, and refuse a new one: who routes by it goes another way at once."`
	Open sessionOpenCmd `cmd:"" help:"Take a session that was shut back into use."`
}

// neighborFlags say whose session, and which daemon's.
type neighborFlags struct {
	Neighbor string `arg:"" help:"Its address or name, as show sessions has it."`
	JSON     bool   `name:"json" help:"Print JSON: whose session it is."`
	daemonFlags
}

type sessionShutCmd struct{ neighborFlags }

// Run orders it.
func (c *sessionShutCmd) Run(a *app) error {
	return c.order(a, "shut", "stays so until `peerless session open` or the daemon's restart")
}

type sessionOpenCmd struct{ neighborFlags }

// Run orders it.
func (c *sessionOpenCmd) Run(a *app) error {
	return c.order(a, "open", "comes up when both ends agree")
}

func (f neighborFlags) order(a *app, verb, follows string) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	var done api.Ordered
	if err := client.Order(a.ctx, "/v1/session/"+verb+"?neighbor="+url.QueryEscape(f.Neighbor), &done); err != nil {
		return err
	}
	if f.JSON {
		return printJSON(a.out, done)
	}
	if _, err := fmt.Fprintf(a.out, "session with %s: %s; it %s\n", done.Peer, verb, follows); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
