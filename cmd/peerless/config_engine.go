package main

import (
	"fmt"
	"io"

	"peerless/internal/engineconf"
)

// engineFlags are what the config of a routing engine is made from.
type engineFlags struct {
	Config   string `required:"" placeholder:"FILE" help:"The peerless config file of the leaf or gateway."`
	Protocol string `enum:"ospf,bgp" default:"ospf" help:"What it speaks: ospf or bgp (${default})."`
	Table    uint32 `placeholder:"N" help:"The kernel table of a leaf's hosts, 1 to 252; else the one that the file names, else 210."`
	BFD      bool   `name:"bfd" help:"Add BFD, 3 times 100 ms; both ends need it."`
}

type (
	frrCmd  struct{ engineFlags }
	birdCmd struct{ engineFlags }
)

// Run prints frr.conf.
func (c *frrCmd) Run(a *app) error { return c.print(a, engineconf.FRR) }

// Run prints bird.conf.
func (c *birdCmd) Run(a *app) error { return c.print(a, engineconf.BIRD) }

func (c *engineFlags) print(a *app, engine engineconf.Engine) error {
	file, err := load(c.Config)
	if err != nil {
		return err
	}
	files, err := engineconf.Generate(engine, engineconf.Protocol(c.Protocol), file, engineconf.Options{Table: c.Table, BFD: c.BFD})
	if err != nil {
		return usageError{err}
	}
	if _, err := io.WriteString(a.out, files.Text); err != nil {
		return fmt.Errorf("print %s: %w", files.Name, err)
	}
	return nil
}
