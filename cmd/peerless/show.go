package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"peerless/internal/api"
	"peerless/internal/engine"
	"peerless/internal/step"
)

type showCmd struct {
	What   string `arg:"" enum:"ports,hosts,linkage,mapping,sessions,failovers,events" help:"ports, hosts, linkage, mapping, sessions, failovers or events."`
	JSON   bool   `name:"json" help:"Print JSON: an array of rows; with --follow one object a line."`
	Follow bool   `help:"With events: go on printing them as they happen."`
	daemonFlags
}

func (c *showCmd) Run(a *app) error {
	if c.Follow && c.What != "events" {
		return usageError{fmt.Errorf("--follow is for events; use `peerless watch` for %s", c.What)}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.Follow {
		return c.follow(a, client)
	}
	if c.JSON {
		var rows json.RawMessage
		if err := client.Get(a.ctx, "/v1/"+c.What, &rows); err != nil {
			return err
		}
		return printJSON(a.out, rows)
	}
	t, err := fetch(a, client, c.What)
	if err != nil {
		return err
	}
	return t.print(a.out)
}

// fetch asks for one kind of rows and lays them out.
func fetch(a *app, client *api.Client, what string) (*grid, error) {
	switch what {
	case "ports":
		return rows(a, client, what, portGrid)
	case "hosts":
		return rows(a, client, what, hostGrid)
	case "linkage":
		return rows(a, client, what, linkageGrid)
	case "mapping":
		return rows(a, client, what, mappingGrid)
	case "sessions":
		return rows(a, client, what, sessionGrid)
	case "failovers":
		return rows(a, client, what, failoverGrid)
	case "events":
		return rows(a, client, what, eventGrid)
	}
	return nil, usageError{errors.New("nothing is called " + what)}
}

func rows[T step.PortRow | step.HostRow | step.LinkageRow | step.MappingRow | step.SessionRow | engine.Failover | engine.Entry](
	a *app, client *api.Client, what string, lay func([]T) *grid,
) (*grid, error) {
	var list []T
	if err := client.Get(a.ctx, "/v1/"+what, &list); err != nil {
		return nil, err
	}
	return lay(list), nil
}

func (c *showCmd) follow(a *app, client *api.Client) error {
	return client.Follow(a.ctx, 0, func(e engine.Entry) error {
		if c.JSON {
			if err := json.NewEncoder(a.out).Encode(e); err != nil {
				return fmt.Errorf("print event: %w", err)
			}
			return nil
		}
		_, err := fmt.Fprintln(a.out, eventLine(e))
		return err
	})
}
