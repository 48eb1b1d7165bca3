package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// nameMax is IFNAMSIZ without the final zero.
const nameMax = 15

// Validate reports every contradiction of a topology: the lab refuses to build a wrong one.
func (t Topology) Validate() error {
	v := validator{t: t, ports: map[End]bool{}, local: map[string]map[netip.Addr]bool{}}
	v.nodes()
	v.links()
	v.addresses()
	v.servers()
	v.flows()
	v.faults()
	return errors.Join(v.errs...)
}

type validator struct {
	t     Topology
	ports map[End]bool
	local map[string]map[netip.Addr]bool
	errs  []error
}

func (v *validator) bad(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("topology "+v.t.Name+": "+format, args...))
}

func (v *validator) port(e End) {
	if len(e.Port) == 0 || len(e.Port) > nameMax {
		v.bad("port %s: name must have 1 to %d bytes", e, nameMax)
	}
	if v.ports[e] {
		v.bad("port %s is there twice", e)
	}
	v.ports[e] = true
}

func (v *validator) nodes() {
	for _, n := range v.t.Nodes {
		if v.local[n.Name] != nil {
			v.bad("node %s is there twice", n.Name)
		}
		v.local[n.Name] = map[netip.Addr]bool{}
		v.port(End{n.Name, "lo"})
		for _, b := range n.Bonds {
			v.port(End{n.Name, b.Name})
		}
		for _, l := range n.VLANs {
			v.port(End{n.Name, l.Name})
		}
		for _, b := range n.Bridges {
			v.port(End{n.Name, b.Name})
		}
	}
}

func (v *validator) links() {
	for _, l := range v.t.Links {
		for _, e := range []End{l.A, l.B} {
			if v.local[e.Node] == nil {
				v.bad("link %s - %s: no node %s", l.A, l.B, e.Node)
			}
			v.port(e)
		}
	}
	for _, n := range v.t.Nodes {
		for _, b := range n.Bridges {
			v.members(n.Name, "bridge "+b.Name, b.Members)
		}
		for _, b := range n.Bonds {
			v.members(n.Name, "bond "+b.Name, b.Members)
			if b.Home != "" && !slices.Contains(b.Members, b.Home) {
				v.bad("bond %s@%s: %s is no member of it", b.Name, n.Name, b.Home)
			}
		}
		for _, l := range n.VLANs {
			v.members(n.Name, "VLAN "+l.Name, []string{l.On})
		}
	}
}

func (v *validator) members(node, of string, ports []string) {
	for _, m := range ports {
		if !v.ports[End{node, m}] {
			v.bad("%s@%s: no port %s", of, node, m)
		}
	}
}

func (v *validator) addresses() {
	for _, n := range v.t.Nodes {
		for _, a := range n.Addresses {
			if !v.ports[End{n.Name, a.Port}] {
				v.bad("address %s of %s: no port %s", a.Prefix, n.Name, a.Port)
			}
			if v.local[n.Name][a.Prefix.Addr()] {
				v.bad("address %s is on %s twice", a.Prefix.Addr(), n.Name)
			}
			v.local[n.Name][a.Prefix.Addr()] = true
		}
		for _, r := range n.Routes {
			if !v.ports[End{n.Name, r.Port}] {
				v.bad("route %s of %s: no port %s", r.Prefix, n.Name, r.Port)
			}
		}
	}
}

func (v *validator) servers() {
	ids := map[uint32]bool{}
	for _, s := range v.t.Servers {
		if s.ID == 0 || ids[s.ID] {
			v.bad("server port %s: attachment id %d is zero or taken", s.Name, s.ID)
		}
		ids[s.ID] = true
		for _, e := range []End{s.Primary, s.Backup} {
			if !v.ports[e] {
				v.bad("server port %s: no leaf port %s", s.Name, e)
			}
		}
		if s.Primary.Node == s.Backup.Node {
			v.bad("server port %s: both links go to %s", s.Name, s.Primary.Node)
		}
	}
}

func (v *validator) flows() {
	seen := map[string]bool{}
	for _, f := range v.t.Flows {
		if seen[f.Name()] {
			v.bad("flow %s is there twice", f.Name())
		}
		seen[f.Name()] = true
		if !v.local[f.Sender][f.Source] {
			v.bad("flow %s: %s has no address %s", f.Name(), f.Sender, f.Source)
		}
		if len(f.Receivers) == 0 {
			v.bad("flow %s: nobody receives it", f.Name())
		}
		for i, r := range f.Receivers {
			if !v.local[r][f.Dest] && !(f.Roams && i > 0) {
				v.bad("flow %s: %s has no address %s", f.Name(), r, f.Dest)
			}
		}
	}
}

func (v *validator) faults() {
	seen := map[string]bool{}
	for _, f := range v.t.Faults {
		if seen[f.Name] {
			v.bad("fault %s is there twice", f.Name)
		}
		seen[f.Name] = true
		if f.Mends != "" && !seen[f.Mends] {
			v.bad("fault %s mends %s, which does not come before it", f.Name, f.Mends)
		}
		if len(f.Ops) == 0 || len(f.Concerned) == 0 {
			v.bad("fault %s does nothing or concerns no flow", f.Name)
		}
		for _, o := range f.Ops {
			if !v.ports[o.At] {
				v.bad("fault %s: no port %s", f.Name, o.At)
			}
			if o.Choose != "" && !v.ports[End{o.At.Node, o.Choose}] {
				v.bad("fault %s: no bond %s@%s", f.Name, o.Choose, o.At.Node)
			}
		}
		for _, c := range f.Concerned {
			if !slices.ContainsFunc(v.t.Flows, func(f Flow) bool { return f.Name() == c }) {
				v.bad("fault %s: no flow %s", f.Name, c)
			}
		}
	}
}
