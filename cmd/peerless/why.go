package main

import (
	"encoding/json"
	"fmt"
	"net/url"

	"peerless/internal/api"
)

type whyCmd struct {
	Subject string `arg:"" name:"host|port" help:"An address, a port, a server port or a BGP peer."`
	JSON    bool   `name:"json" help:"Print JSON."`
	daemonFlags
}

func (c *whyCmd) Run(a *app) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	path := "/v1/why?subject=" + url.QueryEscape(c.Subject)
	if c.JSON {
		var answer json.RawMessage
		if err := client.Get(a.ctx, path, &answer); err != nil {
			return err
		}
		return printJSON(a.out, answer)
	}
	var why api.Why
	if err := client.Get(a.ctx, path, &why); err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		grid  *grid
	}{
		{"ports", portGrid(why.Ports)}, {"hosts", hostGrid(why.Hosts)}, {"linkage", linkageGrid(why.Linkage)},
		{"mapping", mappingGrid(why.Mapping)}, {"sessions", sessionGrid(why.Sessions)},
		{"failovers", failoverGrid(why.Failovers)}, {"events", eventGrid(why.Events)},
	} {
		if len(part.grid.rows) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(a.out, "%s\n%s\n\n", part.title, part.grid); err != nil {
			return err
		}
	}
	return nil
}
