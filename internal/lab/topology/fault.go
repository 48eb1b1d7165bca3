package topology

import (
	"slices"
	"strings"
)

// faults are the two of the source document, each followed by its repair: the primary link of the second server (of the
// only one, where there is one), then the first gateway's link to the first leaf.
func (s shape) faults(flows []Flow) []Fault {
	sv := s.servers[min(1, len(s.servers)-1)]
	if s.name == "fig4" {
		sv = s.servers[0]
	}
	up := s.uplinks[0]
	server := Fault{
		Name: "server-link", Action: sv.name + "-" + sv.primary.Port + " down",
		Ops:       []Op{{At: End{sv.name, "eth0"}}},
		Link:      Link{A: sv.primary, B: End{sv.name, "eth0"}},
		Concerned: names(flows, s.concernedBy(sv)),
	}
	gateway := Fault{
		Name: "gateway-link", Action: up.gateway.Node + "-" + up.leaf.Port + " down",
		Ops:       []Op{{At: up.gateway}},
		Link:      Link{A: up.gateway, B: up.leaf},
		Concerned: names(flows, s.concernedByUplink(up)),
	}
	return []Fault{server, mended(server), gateway, mended(gateway)}
}

// mended is the repair of a fault.
func mended(f Fault) Fault {
	r := Fault{Name: f.Name + "-restore", Action: strings.TrimSuffix(f.Action, " down") + " up", Mends: f.Name, Link: f.Link, Concerned: f.Concerned}
	for _, o := range f.Ops {
		r.Ops = append(r.Ops, Op{At: o.At, Up: !o.Up})
	}
	return r
}

func names(flows []Flow, concerned func(Flow) bool) []string {
	var out []string
	for _, f := range flows {
		if concerned(f) {
			out = append(out, f.Name())
		}
	}
	return out
}

// machines are a server and its guests.
func (sv server) machines() []string {
	out := []string{sv.name}
	for _, g := range sv.guests {
		out = append(out, g.name)
	}
	return out
}

// concernedBy tells the flows with one end on the server or behind it. A flow between two of its guests never leaves it.
func (s shape) concernedBy(sv server) func(Flow) bool {
	m := sv.machines()
	return func(f Flow) bool {
		return slices.Contains(m, f.Sender) != slices.Contains(m, f.Receivers[0])
	}
}

// concernedByUplink tells the flows that the loss of an uplink may move. A leaf without another uplink shuts its servers
// in, so that everything of theirs moves; a leaf with another one keeps them, and only what crosses that gateway moves.
func (s shape) concernedByUplink(up uplink) func(Flow) bool {
	others := slices.ContainsFunc(s.uplinks, func(u uplink) bool { return u.leaf.Node == up.leaf.Node && u.gateway != up.gateway })
	behind := map[string]bool{}
	for _, sv := range s.servers {
		if sv.primary.Node == up.leaf.Node {
			for _, m := range sv.machines() {
				behind[m] = true
			}
		}
	}
	otherGateway := func(name string) bool {
		return name != up.gateway.Node && slices.ContainsFunc(s.gateways, func(g gateway) bool { return g.name == name })
	}
	return func(f Flow) bool {
		if otherGateway(f.Sender) {
			return false
		}
		if len(s.servers) == 1 || others {
			return behind[f.Sender] != behind[f.Receivers[0]]
		}
		return behind[f.Sender] || behind[f.Receivers[0]]
	}
}
