package bench

import (
	"fmt"
	"slices"
	"strings"

	"peerless/internal/bench/hand"
	"peerless/internal/config"
	"peerless/internal/engineconf"
)

// engine is one way of moving hosts from one leaf to the other.
type engine struct {
	name     string
	about    string
	act      hand.Act // of the stand-ins; empty: peerless runs
	program  engineconf.Engine
	protocol engineconf.Protocol
	untuned  bool // with the engine's own timers
	hostsMax int  // beyond, it is not measured: it takes longer than anybody would wait
}

const wired = "; the leaves' host routes are moved in kernel table 210 by a stand-in at carrier loss, in batches"

// engines in the order in which a round measures them.
var engines = []engine{
	{name: "floor", act: hand.Datagram, hostsMax: HostsMax, about: "the least that any design can do: the server sends one frame by its other link, " +
		"the new leaf one datagram to the gateway, the gateway replaces each host's route (batches of 256 in one system call); both leaves forward " +
		"to the hosts beforehand"},
	{name: "floor-gobgp", act: hand.GoBGP, hostsMax: HostsMax, about: "the floor with one GoBGP route (AddPath to callback, one session, its defaults) in place of the datagram"},
	{name: "bgp", hostsMax: HostsMax, about: "peerless on gateway, leaves and server with the embedded speaker, defaults but for limits and fail-back after 1 s"},
	{name: "bird-bgp", act: hand.Routes, program: engineconf.BIRD, protocol: engineconf.BGP, hostsMax: 100_000, about: "BIRD on gateway and leaves, BGP" + wired},
	{name: "frr-ospf", act: hand.Routes, program: engineconf.FRR, protocol: engineconf.OSPF, hostsMax: 1000, about: "FRR on gateway and leaves, OSPF, tuned" + wired},
	{name: "frr-ospf-default", act: hand.Routes, program: engineconf.FRR, protocol: engineconf.OSPF, untuned: true, hostsMax: 1000,
		about: "FRR on gateway and leaves, OSPF, FRR's own timers" + wired},
	{name: "frr-bgp-default", act: hand.Routes, program: engineconf.FRR, protocol: engineconf.BGP, untuned: true, hostsMax: 10_000,
		about: "FRR on gateway and leaves, BGP, FRR's own timers" + wired},
}

// Engines lists their names.
func Engines() []string {
	var out []string
	for _, e := range engines {
		out = append(out, e.name)
	}
	return out
}

// pick gives the named engines, or all.
func pick(names []string) ([]engine, error) {
	if len(names) == 0 {
		return engines, nil
	}
	var out []engine
	for _, name := range names {
		i := slices.IndexFunc(engines, func(e engine) bool { return e.name == name })
		if i < 0 {
			return nil, usagef("no engine %q: known are %s", name, strings.Join(Engines(), ", "))
		}
		out = append(out, engines[i])
	}
	return out, nil
}

// tuning is what an engine's configuration is tuned by; without these lines its own timers hold.
var tuning = []string{
	"zebra work-queue 0", "timers throttle lsa all", "timers lsa min-arrival", "timers throttle spf", "coalesce-time",
	"advertisement-interval", "! zebra holds every change", "! Without these two",
}

// files is the engine's configuration for a node.
func (e engine) files(node string, hosts int) (engineconf.Files, error) {
	text := gatewayYAML(hosts)
	if node != nodeG {
		text = leafYAML(node, hosts) + fmt.Sprintf("advertise:\n  kernel-table:\n    table: %d\n    engine: %s\n", hostTable, e.program)
	}
	file, err := config.Parse(node+".yaml", []byte(text))
	if err != nil {
		return engineconf.Files{}, fmt.Errorf("configure %s of %s: %w", e.name, node, err)
	}
	files, err := engineconf.Generate(e.program, e.protocol, file, engineconf.Options{})
	if err != nil || !e.untuned {
		return files, err
	}
	var kept []string
	for _, line := range strings.Split(files.Text, "\n") {
		if !slices.ContainsFunc(tuning, func(t string) bool { return strings.Contains(line, t) }) {
			kept = append(kept, line)
		}
	}
	files.Text = strings.Join(kept, "\n")
	return files, nil
}

// Explain says exactly how every engine is set up.
func Explain(names []string) (string, error) {
	list, err := pick(names)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range list {
		fmt.Fprintf(&b, "== %s: %s\n", e.name, e.about)
		if e.act == "" {
			fmt.Fprintf(&b, "\n-- G\n%s\n-- A\n%s\n-- B\n%s\n-- S\n%s\n", gatewayYAML(1), leafYAML(nodeA, 1), leafYAML(nodeB, 1), serverYAML(1))
		}
		if e.program == "" {
			continue
		}
		for _, node := range []string{nodeG, nodeA, nodeB} {
			files, err := e.files(node, 1)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "\n-- %s of %s\n%s\n", files.Name, node, files.Text)
		}
	}
	return b.String(), nil
}
