package lab

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"peerless/internal/lab/netns"
	"peerless/internal/lab/probe"
	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
)

// Bounds of waiting.
const (
	convergeMax = 30 * time.Second
	pollEvery   = 100 * time.Millisecond
	pollMax     = 500 * time.Millisecond // on a slow machine, where asking is work
)

// converge waits until the daemons say that all is well.
func (in *instance) converge(ctx context.Context) error {
	ask := newAsker(in.site, in.top, in.net)
	return in.await(ctx, convergeMax, func() ([]string, error) {
		in.greet()
		if err := in.home(); err != nil {
			return nil, err
		}
		states, errs := ask.states(ctx)
		return unready(in.top, states, errs), nil
	})
}

// greet has every plain machine say something: without traffic, nobody knows of a guest that never spoke.
func (in *instance) greet() {
	for _, f := range in.top.Flows {
		if n, _ := in.top.Node(f.Sender); n.Role != topology.Guest && n.Role != topology.Server {
			continue
		}
		_ = netns.Do(in.site.space(in.top.Name, f.Sender), func() error { // a lost greeting is followed by the next
			c, err := net.DialUDP("udp4", &net.UDPAddr{IP: f.Source.AsSlice()}, &net.UDPAddr{IP: f.Dest.AsSlice(), Port: probe.Port})
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("hello"))
			return err
		})
	}
}

// home sends bonds that do not go there by themselves to the link on which they belong. At first they are wherever a leaf opened
// first.
func (in *instance) home() error {
	for _, n := range in.top.Nodes {
		for _, b := range n.Bonds {
			if b.Home == "" {
				continue
			}
			if _, err := in.net.Choose(n.Name, b.Name, b.Home); err != nil { // one that refuses is asked again
				return err
			}
		}
	}
	return nil
}

// await polls until nothing is pending; its error says what still is.
func (in *instance) await(ctx context.Context, bound time.Duration, pending func() ([]string, error)) error {
	said := time.Now()
	for end := time.Now().Add(bound); ; {
		left, err := pending()
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not steady after %s: %s", bound, joinShort(left))
		}
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			in.say("waiting: %s", joinShort(left))
		}
		if err := in.pause(ctx, min(in.opts.every(pollEvery), pollMax)); err != nil {
			return err
		}
	}
}

// unready lists what is missing until every link, session and backup works. The order is that of the topology, so that the
// first line is the cause more often than not.
func unready(t topology.Topology, states map[string]report.State, errs map[string]error) []string {
	var out []string
	unaware := slices.ContainsFunc(t.Nodes, func(n topology.Node) bool { return n.Unaware })
	for _, n := range t.Nodes {
		if n.Config == "" && n.Engine == nil {
			continue
		}
		if err := errs[n.Name]; err != nil {
			out = append(out, err.Error())
			continue
		}
		s := states[n.Name]
		for _, se := range s.Sessions {
			if se.State != "up" {
				out = append(out, fmt.Sprintf("%s: session to %s%s is %s", n.Name, se.Peer, inBrackets(se.Name), se.State))
			}
		}
		switch n.Role {
		case topology.Gateway:
			out = append(out, unmapped(t, n, s)...)
		case topology.Leaf:
			out = append(out, unlinked(n.Name, s)...)
			if unaware {
				out = append(out, closedPorts(t, n.Name, s)...)
			}
		case topology.Server:
			out = append(out, offPrimary(n.Name, s)...)
		case topology.Host, topology.Guest: // they run no daemon
		}
	}
	return out
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// unmapped lists what a gateway's mapping lacks: for each server port its primary in use with all hosts, its backup warm.
func unmapped(t topology.Topology, n topology.Node, s report.State) []string {
	var out []string
	gateway := n.Name
	if len(s.Sessions) == 0 && n.Config != "" {
		out = append(out, gateway+": no session")
	}
	for _, sp := range t.Servers {
		for _, role := range []string{"primary", "backup"} {
			i := slices.IndexFunc(s.Mapping, func(m mappingRow) bool { return uint32(m.Attachment) == sp.ID && m.Role == role })
			if i < 0 {
				out = append(out, fmt.Sprintf("%s: no %s of %s in the mapping", gateway, role, sp.Name))
				continue
			}
			m := s.Mapping[i]
			if m.Uplink != "up" || m.Downlink != "up" && !n.Unaware {
				out = append(out, fmt.Sprintf("%s: %s of %s on %s: uplink %s, downlink %s", gateway, role, sp.Name, m.LeafPort, m.Uplink, m.Downlink))
			}
			if want := role == "primary"; m.Active != want {
				out = append(out, fmt.Sprintf("%s: %s of %s on %s: active is %v", gateway, role, sp.Name, m.LeafPort, m.Active))
			}
			for _, h := range sp.Hosts {
				if role == "primary" && !slices.Contains(m.Hosts, h) {
					out = append(out, fmt.Sprintf("%s: host %s is not behind %s", gateway, h, m.LeafPort))
				}
			}
		}
	}
	return out
}

func unlinked(leaf string, s report.State) []string {
	var out []string
	for _, g := range s.Linkage {
		if g.State != "open" {
			out = append(out, fmt.Sprintf("%s: linkage group %s is %s%s", leaf, g.Group, g.State, inBrackets(g.Why)))
		}
	}
	return out
}

func offPrimary(server string, s report.State) []string {
	for _, p := range s.Ports {
		if p.Use == "primary" && !p.Active {
			return []string{fmt.Sprintf("%s: primary link %s is not in use (%s)", server, p.Port, p.State)}
		}
	}
	return nil
}

// mappingOf puts the gateways' mappings into a form that can be compared.
func mappingOf(t topology.Topology, states map[string]report.State) string {
	var lines []string
	for _, n := range t.Nodes {
		if n.Role != topology.Gateway {
			continue
		}
		for _, m := range states[n.Name].Mapping {
			if n.Unaware {
				m.Downlink = "" // as last seen, which says more of the past than of the present
			}
			lines = append(lines, fmt.Sprintln(n.Name, m.GatewayPort, m.Leaf, m.LeafPort, m.Attachment, m.Role, m.Uplink, m.Downlink, m.Active, m.Hosts))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
