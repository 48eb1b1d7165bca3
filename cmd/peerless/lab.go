package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"peerless/internal/lab"
)

type labCmd struct {
	List  labListCmd  `cmd:"" help:"List the topologies, and which of them stand now."`
	Run   labRunCmd   `cmd:"" help:"Build a topology, break and mend it fault by fault, tell what the traffic felt, remove it."`
	Up    labUpCmd    `cmd:"" help:"Build a topology and leave it standing."`
	Down  labDownCmd  `cmd:"" help:"Remove a topology that stands, or what a crashed one left."`
	Fault labFaultCmd `cmd:"" help:"Apply a fault to a lab that stands."`
	Exec  labExecCmd  `cmd:"" help:"Run a command inside a node of a lab that stands."`
}

type labListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// labRow is one topology in the list.
type labRow struct {
	Name   string   `json:"name"`
	About  string   `json:"about"`
	Stands bool     `json:"stands"`
	Nodes  []string `json:"nodes"`
	Faults []string `json:"faults"`
}

func (c *labListCmd) Run(a *app) error {
	list, err := lab.List()
	if err != nil {
		return labError(err)
	}
	rows := []labRow{}
	for _, s := range list {
		r := labRow{Name: s.Topology.Name, About: s.Topology.About, Stands: s.Mode != ""}
		for _, n := range s.Topology.Nodes {
			r.Nodes = append(r.Nodes, n.Name)
		}
		for _, f := range s.Topology.Faults {
			r.Faults = append(r.Faults, f.Name)
		}
		rows = append(rows, r)
	}
	if c.JSON {
		return printJSON(a.out, rows)
	}
	g := &grid{header: []string{"topology", "stands", "nodes", "faults", "about"}, empty: "no topologies"}
	for _, r := range rows {
		g.add(r.Name, r.Stands, strings.Join(r.Nodes, " "), strings.Join(r.Faults, " "), r.About)
	}
	return g.print(a.out)
}

// carrierFlags say what carries host routes from the leaves to the gateway.
type carrierFlags struct {
	Engine  string `default:"bgp" placeholder:"ENGINE" help:"What carries the host routes: bgp (the embedded speaker, default), frr-ospf, frr-bgp, bird-ospf, bird-bgp (FRR or BIRD beside peerless on leaves and gateway), or static."`
	Gateway string `default:"peerless" placeholder:"GATEWAY" help:"What the gateway runs: peerless (default); or frr or bird instead of it, with engine bgp."`
}

type labRunCmd struct {
	Topology string `arg:"" help:"Its name; see peerless lab list. Or matrix: the fault matrix, on fig7."`
	carrierFlags
	Runs int `default:"1" placeholder:"N" help:"Go through all faults N times on the same lab, and tell the medians. Default: 1."`
	matrixFlags
	JSON   bool   `name:"json" help:"Print JSON."`
	Report string `placeholder:"FILE.html" help:"Also write a page with the topology, each flow's loss and the timeline."`
	Keep   bool   `help:"Leave the lab standing."`
	Slow   int    `hidden:"" default:"1" help:"Send so many times fewer packets: for slow machines."`
}

// Run exits with 1 when the run was not ok: a flow that has a path did not recover, or a fault was not felt at all.
func (c *labRunCmd) Run(a *app) error {
	if c.Runs < 1 {
		return usageError{fmt.Errorf("--runs %d: must be at least 1", c.Runs)}
	}
	if c.Topology == "matrix" {
		return c.matrix(a)
	}
	if err := c.none(); err != nil {
		return err
	}
	res, err := lab.Run(a.ctx, lab.Options{
		Topology: c.Topology, Engine: c.Engine, Gateway: c.Gateway, Report: c.Report, Keep: c.Keep, Runs: c.Runs, Slow: c.Slow, Progress: a.err,
	})
	if res != nil {
		if c.JSON {
			err = errors.Join(err, printJSON(a.out, res))
		} else {
			err = errors.Join(err, res.WriteTable(a.out))
		}
	}
	switch {
	case err != nil:
		return labError(err)
	case !res.OK && res.Error != "":
		return fmt.Errorf("lab run %s: not ok: %s", c.Topology, res.Error)
	case !res.OK:
		return fmt.Errorf("lab run %s: not ok; the faults above say why", c.Topology)
	}
	return nil
}

type labUpCmd struct {
	Topology string `arg:"" help:"Its name; see peerless lab list."`
	carrierFlags
}

func (c *labUpCmd) Run(a *app) error {
	return labError(lab.Up(a.ctx, lab.Options{Topology: c.Topology, Engine: c.Engine, Gateway: c.Gateway, Progress: a.err}))
}

type labDownCmd struct {
	Topology string `arg:"" optional:"" help:"Its name. Default: every topology that stands."`
}

func (c *labDownCmd) Run(a *app) error {
	names := []string{c.Topology}
	if c.Topology == "" {
		var err error
		if names, err = standingLabs(); err != nil {
			return labError(err)
		}
	}
	for _, name := range names {
		if err := lab.Down(name); err != nil {
			return labError(err)
		}
		if _, err := fmt.Fprintf(a.err, "%s is removed\n", name); err != nil {
			return err
		}
	}
	return nil
}

type labFaultCmd struct {
	Args []string `arg:"" name:"[topology] fault" help:"The fault's name; before it the topology's, if several stand."`
}

func (c *labFaultCmd) Run(a *app) error {
	name, args, err := whichLab(c.Args)
	if err != nil {
		return err
	}
	if len(args) != 1 {
		return usageError{errors.New("one fault is needed: peerless lab fault [TOPOLOGY] FAULT")}
	}
	action, err := lab.Fault(name, args[0])
	if err != nil {
		return labError(err)
	}
	_, err = fmt.Fprintln(a.out, action)
	return err
}

type labExecCmd struct {
	Args []string `arg:"" passthrough:"" name:"[topology] node -- command" help:"The node, and after -- the command; before it the topology, if several stand."`
}

// Run gives the command's own exit status.
func (c *labExecCmd) Run(a *app) error {
	name, args, err := whichLab(c.Args)
	if err != nil {
		return err
	}
	if len(args) > 1 && args[1] == "--" {
		args = slices.Delete(args, 1, 2)
	}
	if len(args) < 2 {
		return usageError{errors.New("a node and a command are needed: peerless lab exec [TOPOLOGY] NODE -- COMMAND")}
	}
	err = lab.Exec(a.ctx, name, args[0], args[1:])
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exitStatus(exit.ExitCode())
	}
	return labError(err)
}

// labProbeCmd is what the lab starts inside each node.
type labProbeCmd struct{}

func (c *labProbeCmd) Run(a *app) error { return lab.RunProbe(a.ctx, os.Stdin, a.out) }

// labError gives wrong usage of the lab its exit status.
func labError(err error) error {
	if errors.Is(err, lab.ErrUsage) {
		return usageError{err}
	}
	return err
}

func standingLabs() ([]string, error) {
	list, err := lab.List()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, s := range list {
		if s.Mode != "" {
			out = append(out, s.Topology.Name)
		}
	}
	return out, nil
}

// whichLab takes the topology from the front of the arguments if it is named there, else the only one that stands.
func whichLab(args []string) (name string, rest []string, err error) {
	if len(args) > 0 && slices.ContainsFunc(lab.Topologies(), func(t lab.Topology) bool { return t.Name == args[0] }) {
		return args[0], args[1:], nil
	}
	up, err := standingLabs()
	switch {
	case err != nil:
		return "", nil, labError(err)
	case len(up) == 0:
		return "", nil, usageError{errors.New("no lab stands; build one with `peerless lab up TOPOLOGY`")}
	case len(up) > 1:
		return "", nil, usageError{errors.New("several labs stand; name one first: " + strings.Join(up, ", "))}
	}
	return up[0], args, nil
}
