package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"peerless/internal/engine"
	"peerless/internal/model"
	"peerless/internal/step"
)

func words[T fmt.Stringer](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return strings.Join(out, " ")
}

func ports(list []model.Port) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = string(p)
	}
	return strings.Join(out, " ")
}

// nonzero writes a number that means something; 0 is unset.
func nonzero[T ~uint32 | ~int](n T) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(uint64(n))
}

// age writes a time span as an operator reads it.
func age(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

func clock(wallMs int64) string { return time.UnixMilli(wallMs).Format("15:04:05.000") }

// named prefers the operator's name of a server port to its number.
func named(name string, id model.AttachmentID) string {
	if name != "" {
		return name
	}
	return nonzero(id)
}

func portGrid(list []step.PortRow) *grid {
	g := &grid{header: []string{"port", "use", "state", "active", "closed by", "server port", "role", "hosts", "why"}, empty: "no ports"}
	for _, p := range list {
		g.add(string(p.Port), p.Use, p.State, p.Active, p.ClosedBy, named(p.ServerPort, p.Attachment), p.Role, nonzero(p.Hosts), p.Why)
	}
	return g
}

func hostGrid(list []step.HostRow) *grid {
	g := &grid{
		header: []string{"host", "mac", "leaf", "port", "server port", "role", "state", "advertised", "learned", "age", "why"},
		empty:  "no hosts",
	}
	for _, h := range list {
		g.add(h.Addr, h.MAC, h.Leaf, string(h.Port), named(h.ServerPort, h.Attachment), h.Role, h.State, h.Advertised, h.Learned, age(h.AgeMs), h.Why)
	}
	return g
}

func linkageGrid(list []step.LinkageRow) *grid {
	g := &grid{
		header: []string{"group", "state", "uplinks", "up", "needed", "downlinks", "closed by us", "closed by operator", "why"},
		empty:  "no linkage groups",
	}
	for _, l := range list {
		g.add(l.Group, l.State, ports(l.Uplinks), l.UplinksUp, l.MinUplinks, ports(l.Downlinks), ports(l.ClosedByUs), ports(l.OperatorOff), l.Why)
	}
	return g
}

func mappingGrid(list []step.MappingRow) *grid {
	g := &grid{
		header: []string{"gateway port", "leaf", "leaf port", "server port", "role", "uplink", "downlink", "active", "hosts", "why"},
		empty:  "no mapping",
	}
	for _, m := range list {
		g.add(string(m.GatewayPort), m.Leaf, m.LeafPort, named(m.ServerPort, m.Attachment), m.Role, m.Uplink, m.Downlink, m.Active, few(m.Hosts), m.Why)
	}
	return g
}

// few bounds a cell: a server may have hundreds of guests.
func few(hosts []netip.Addr) string {
	const shown = 4
	if len(hosts) <= shown {
		return words(hosts)
	}
	return fmt.Sprintf("%s and %d more", words(hosts[:shown]), len(hosts)-shown)
}

func sessionGrid(list []step.SessionRow) *grid {
	g := &grid{header: []string{"peer", "name", "as", "port", "state", "received", "since", "why"}, empty: "no sessions"}
	for _, s := range list {
		g.add(s.Peer, s.Name, nonzero(s.AS), string(s.Port), s.State, s.Received, age(s.SinceMs), s.Why)
	}
	return g
}

func failoverGrid(list []engine.Failover) *grid {
	g := &grid{header: []string{"time", "cause", "event", "hosts", "stages (ms)", "why"}, empty: "no failovers"}
	for _, f := range list {
		var stages []string
		for _, s := range f.Stages {
			text := fmt.Sprintf("%s %.1f", s.Stage, s.FirstMs)
			if s.Count > 1 {
				text += fmt.Sprintf("-%.1f", s.LastMs)
			}
			stages = append(stages, text)
		}
		g.add(clock(f.WallMs), uint64(f.Cause), f.Text, nonzero(f.Hosts), strings.Join(stages, ", "), f.Why)
	}
	return g
}

func eventGrid(list []engine.Entry) *grid {
	g := &grid{header: []string{"time", "", "event", "what", "why"}, empty: "no events"}
	for _, e := range list {
		g.add(clock(e.WallMs), mark(e), e.What, e.Text, e.Why)
	}
	return g
}

func mark(e engine.Entry) string {
	if e.Warn {
		return "!"
	}
	return ""
}

// eventLine is an event on a line of its own, for following.
func eventLine(e engine.Entry) string {
	s := fmt.Sprintf("%s %-1s %s %s: %s", clock(e.WallMs), mark(e), e.Node, e.What, e.Text)
	if e.Why != "" {
		s += " (" + e.Why + ")"
	}
	return s
}
