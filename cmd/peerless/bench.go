package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"peerless/internal/bench"
	"peerless/internal/bench/hand"
)

type benchCmd struct {
	Failover benchFailoverCmd `cmd:"" help:"Measure how long hosts are out when a link fails, beside the floor and other engines."`
	Scale    benchScaleCmd    `cmd:"" help:"Measure what many hosts cost: memory, CPU at rest, learning, start."`
}

type benchScaleCmd struct {
	Hosts    []int `default:"1000,10000" placeholder:"N,..." help:"Numbers of hosts, up to 100000. Default: 1000,10000."`
	JSON     bool  `name:"json" help:"Print JSON."`
	Markdown bool  `help:"Print the table as Markdown."`
}

// Run exits with 1 when something could not be measured.
func (c *benchScaleCmd) Run(a *app) error {
	res, err := bench.MeasureScale(a.ctx, bench.Options{Hosts: c.Hosts, Progress: a.err})
	if res == nil {
		return benchError(err)
	}
	if c.JSON {
		err = errors.Join(err, res.WriteJSON(a.out))
	} else {
		err = errors.Join(err, res.WriteTable(a.out, c.Markdown))
	}
	for _, row := range res.Rows {
		if row.Failed != "" {
			err = errors.Join(err, fmt.Errorf("bench scale: %d hosts: %s", row.Hosts, row.Failed))
		}
	}
	return benchError(err)
}

type benchFailoverCmd struct {
	Hosts    []int    `default:"1" placeholder:"N,..." help:"Numbers of hosts behind the failing link, up to 100000. Default: 1."`
	Runs     int      `default:"3" placeholder:"N" help:"Faults of each kind on each engine. Default: 3."`
	Engines  []string `placeholder:"NAME,..." help:"What to measure. Default: floor, floor-gobgp, bgp (peerless), bird-bgp, frr-ospf, frr-ospf-default, frr-bgp-default."`
	Faults   []string `placeholder:"NAME,..." help:"server-link, gateway-link. Default: both."`
	JSON     bool     `name:"json" help:"Print JSON."`
	Markdown bool     `help:"Print the table as Markdown."`
	SVG      string   `name:"svg" placeholder:"FILE" help:"Also draw outage against hosts."`
	Join     string   `placeholder:"FILE" help:"Add the runs of this JSON file, if it is there, and write all of them to it: many short measurements make one long one."`
	Flap     bool     `help:"Mend each fault as soon as it is repaired: what it leaves to do behind the repair is still under way then."`
	Timeline bool     `help:"Also tell what the daemons of peerless journalled at each fault."`
	Explain  bool     `help:"Print exactly how every engine is set up, and measure nothing."`
}

// Run exits with 1 when a measurement could not be made, or none of an engine's runs counts.
func (c *benchFailoverCmd) Run(a *app) error {
	if c.Explain {
		text, err := bench.Explain(c.Engines)
		if err == nil {
			_, err = io.WriteString(a.out, text)
		}
		return benchError(err)
	}
	if c.Flap && c.Join != "" {
		return usageError{errors.New("--flap measures other returns than the runs in a file: leave --join out")}
	}
	res, err := bench.Failover(a.ctx, bench.Options{Hosts: c.Hosts, Runs: c.Runs, Engines: c.Engines, Faults: c.Faults, Progress: a.err,
		Timeline: c.Timeline, Flap: c.Flap})
	if res == nil {
		return benchError(err)
	}
	if c.Join != "" {
		err = errors.Join(err, res.Join(c.Join))
	}
	res.Summarize()
	if c.Join != "" && err == nil {
		err = writeTo(c.Join, res.WriteJSON)
	}
	if c.SVG != "" && err == nil {
		err = writeTo(c.SVG, res.WriteSVG)
	}
	if c.JSON {
		err = errors.Join(err, res.WriteJSON(a.out))
	} else {
		err = errors.Join(err, res.WriteTable(a.out, c.Markdown))
	}
	if err != nil {
		return benchError(err)
	}
	for _, row := range res.Rows {
		if row.Runs == 0 {
			return fmt.Errorf("bench failover: %s, %s, %d hosts: no run counts", row.Engine, row.Fault, row.Hosts)
		}
	}
	return nil
}

func writeTo(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(write(f), f.Close())
}

// benchNodeCmd is what a benchmark starts inside a node of a network without peerless.
type benchNodeCmd struct {
	Spec string `arg:""`
}

func (c *benchNodeCmd) Run(a *app) error {
	spec, err := hand.Decode(c.Spec)
	if err != nil {
		return usageError{err}
	}
	return hand.Run(spec, os.Stdin, a.out)
}

func benchError(err error) error {
	if errors.Is(err, bench.ErrUsage) {
		return usageError{err}
	}
	return labError(err)
}
