package lab

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"peerless/internal/config"
	"peerless/internal/engineconf"
	"peerless/internal/lab/daemon"
	"peerless/internal/lab/netns"
	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
	"peerless/internal/model"
)

// This file is about routing engines: beside the daemons, and on a gateway that has none.

// installed refuses a topology with an engine that this machine does not have.
func installed(t topology.Topology) error {
	for _, n := range t.Nodes {
		if n.Engine == nil {
			continue
		}
		if err := daemon.Installed(engineconf.Engine(n.Engine.Program)); err != nil {
			return usageError{err.Error()}
		}
	}
	return nil
}

// engineDir holds an engine's configuration, sockets and logs.
func (in *instance) engineDir(node string) string { return in.path("engine", node) }

// besides is the end of the config of a daemon beside an engine: where the engine is asked.
func (in *instance) besides(n topology.Node) string {
	if n.Engine == nil {
		return ""
	}
	socket := "zebra.vty"
	if n.Engine.Program == string(engineconf.BIRD) {
		socket = "bird.ctl"
	}
	return "    socket: " + filepath.Join(in.engineDir(n.Name), socket) + "\n"
}

// startEngine runs the node's routing engine and returns when it has read its configuration.
func (in *instance) startEngine(ctx context.Context, n topology.Node) error {
	file, err := config.Parse(n.Name+".yaml", []byte(n.Engine.Config))
	if err != nil {
		return fmt.Errorf("configure engine of %s: %w", n.Name, err)
	}
	files, err := engineconf.Generate(engineconf.Engine(n.Engine.Program), engineconf.Protocol(n.Engine.Protocol), file, engineconf.Options{})
	if err != nil {
		return fmt.Errorf("configure engine of %s: %w", n.Name, err)
	}
	engine, err := daemon.Start(ctx, daemon.Spec{
		Space: in.site.space(in.top.Name, n.Name), Dir: in.engineDir(n.Name), Files: files, Tied: in.state.Mode == modeRun,
	})
	if err != nil {
		return err
	}
	in.engines[n.Name] = engine
	return in.noteEngine(n.Name)
}

// noteEngine notes those of an engine's programs that are not known yet.
func (in *instance) noteEngine(node string) error {
	engine := in.engines[node]
	for _, p := range engine.Processes() {
		if slices.Contains(in.procs, p.Process) {
			continue
		}
		if err := in.note(p.Process, node, p.Name, engine.LogPath(p.Name)); err != nil {
			return err
		}
	}
	return nil
}

// keepEngineLogs copies what the engines were told and what they said to the logs of the daemons.
func (in *instance) keepEngineLogs() {
	for _, n := range in.top.Nodes {
		if n.Engine == nil {
			continue
		}
		for _, pattern := range []string{"*.log", "*.conf"} {
			paths, _ := fs.Glob(os.DirFS(in.engineDir(n.Name)), pattern)
			for _, p := range paths {
				if b, err := os.ReadFile(filepath.Join(in.engineDir(n.Name), p)); err == nil {
					_ = os.WriteFile(filepath.Join(in.logDir(), n.Name+"."+p), b, 0o644)
				}
			}
		}
	}
}

// observed is the state of a gateway without a daemon, as its kernel shows it: in the words of a gateway that sees routes only.
func observed(net *netns.Net, t topology.Topology, gateway string) (report.State, error) {
	routes, err := net.HostRoutes(gateway)
	if err != nil {
		return report.State{}, err
	}
	var s report.State
	for _, sp := range t.Servers {
		for role, end := range sp.Ends() {
			row := mappingRow{Leaf: end.Node, LeafPort: end.Port, Attachment: model.AttachmentID(sp.ID), ServerPort: sp.Name, Role: role,
				Uplink: "down", Downlink: "unknown", Why: "as the kernel's routes lead"}
			port := portTo(t, gateway, end.Node)
			row.GatewayPort = model.Port(port)
			up, err := net.PortUp(gateway, port)
			if err != nil {
				return s, err
			}
			if up {
				row.Uplink = "up"
			}
			for _, r := range routes {
				if r.Port == port && slices.Contains(sp.Hosts, r.Host) {
					row.Hosts = append(row.Hosts, r.Host)
				}
			}
			row.Active = len(row.Hosts) > 0
			s.Mapping = append(s.Mapping, row)
		}
	}
	slices.SortFunc(s.Mapping, func(a, b mappingRow) int { return strings.Compare(a.LeafPort, b.LeafPort) })
	return s, nil
}

// portTo is a gateway's port to a leaf.
func portTo(t topology.Topology, gateway, leaf string) string {
	for _, l := range t.Links {
		if l.A.Node == gateway && l.B.Node == leaf {
			return l.A.Port
		}
	}
	return ""
}

// closedPorts lists the downlinks of a leaf that are not open. A gateway that no leaf tells of its ports cannot say that a backup is
// ready.
func closedPorts(t topology.Topology, leaf string, s report.State) []string {
	var out []string
	for _, sp := range t.Servers {
		for _, role := range []string{"primary", "backup"} {
			end := sp.Ends()[role]
			if end.Node != leaf {
				continue
			}
			i := slices.IndexFunc(s.Ports, func(p portRow) bool { return string(p.Port) == end.Port })
			switch {
			case i < 0:
				out = append(out, fmt.Sprintf("%s: no port %s", leaf, end.Port))
			case s.Ports[i].State != "up":
				out = append(out, fmt.Sprintf("%s: %s of %s on %s is %s", leaf, role, sp.Name, end.Port, s.Ports[i].State))
			}
		}
	}
	return out
}
