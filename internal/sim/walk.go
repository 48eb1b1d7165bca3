package sim

import (
	"fmt"
	"net/netip"
	"strings"

	"peerless/internal/model"
)

// path is what became of a packet that was followed through the tables of all kernels.
type path struct {
	delivered bool
	leaf      *node // that delivered it to a server; nil: none
	loop      bool
	returned  string // where it went up again after it had come down
	bounced   string // where a gateway handed it back to its peer
	why       string // it was not delivered
	hops      []string
	end       *node      // the gateway that took it for its own
	by        model.Port // by which it came there
	in        *port      // of a server, by which it arrived, whatever became of it there
}

const hopsMax = 12

// walk follows a packet for dst that is at a node, entered by iif (empty: its own, or from beyond).
func (w *World) walk(n *node, iif model.Port, dst netip.Addr) path {
	var p path
	w.follow(&p, n, iif, dst, 0)
	return p
}

// follow tries every next hop of an equal-cost route: delivered is what all of them deliver.
func (w *World) follow(p *path, n *node, iif model.Port, dst netip.Addr, depth int) {
	p.delivered = false
	if w.trace != nil {
		p.hops = append(p.hops, n.name)
	}
	if depth > hopsMax {
		p.loop, p.why = true, "it goes round"
		return
	}
	if n.dead {
		p.why = n.name + " is dead"
		return
	}
	if n.mute && iif != "" {
		p.why = n.name + " forwards nothing"
		return
	}
	v, hops := n.kernel.lookup(iif, dst)
	switch v {
	case local:
		p.delivered = n.role == gatewayRole
		p.end, p.by = n, iif
		p.why = n.name + " takes it for its own"
		return
	case blackhole:
		p.why = n.name + " drops it: blackhole"
		return
	case unreachable:
		p.why = n.name + " has no route"
		return
	case forward:
	}
	for _, h := range hops {
		out := n.kernel.port(h.Dev)
		fromAbove := n.role == leafRole && n.isUplink(iif)
		if fromAbove && n.isUplink(h.Dev) {
			p.returned = fmt.Sprintf("%s: in by %s, out by %s", n.name, iif, h.Dev)
		}
		if n.role == gatewayRole && iif != "" && iif == h.Dev && n.gw.Peer != nil && n.gw.Peer.Port == iif {
			p.bounced = fmt.Sprintf("%s: in and out by %s", n.name, iif)
		}
		if h.Via.IsValid() {
			w.acrossLink(p, out, h.Via, dst, depth)
		} else {
			w.toHost(p, n, out, dst)
		}
		if !p.delivered {
			return
		}
	}
}

// acrossLink hands it to the next router, whose address has to be resolved: both directions must work.
func (w *World) acrossLink(p *path, out *port, via, dst netip.Addr, depth int) {
	if out.link == nil || !out.link.works() {
		p.why = fmt.Sprintf("nothing passes from %s by %s", out.node.name, out.name)
		return
	}
	in := out.peer()
	if !in.node.holds(in, via) {
		p.why = fmt.Sprintf("%s is not at the end of %s", via, out.name)
		return
	}
	w.follow(p, in.node, in.name, dst, depth+1)
}

// toHost is the last hop, from a leaf to a server.
func (w *World) toHost(p *path, n *node, out *port, dst netip.Addr) {
	e := n.kernel.neigh[neighKey{out.name, dst}]
	switch {
	case e == nil || !e.resolved:
		p.why = fmt.Sprintf("%s has no neighbour entry for %s on %s", n.name, dst, out.name)
		return
	case out.link == nil || !out.link.passes(out.end):
		p.why = fmt.Sprintf("nothing passes from %s by %s", n.name, out.name)
		return
	}
	in := out.peer()
	s := in.node.server
	if s == nil {
		p.why = "no server is there"
		return
	}
	p.in = in
	if s.kind == "bond" && in.name != s.active && !s.hears {
		p.why = fmt.Sprintf("%s is deaf on %s", in.node.name, in.name)
		return
	}
	for _, h := range s.hosts {
		if h.addr == dst && h.mac == e.mac && !h.dead {
			p.delivered, p.leaf = true, n
			return
		}
	}
	p.why = fmt.Sprintf("%s is not behind %s", dst, in.node.name)
}

// ascend follows a packet from a host to the outside or to another host.
func (w *World) ascend(h *host, dst netip.Addr) path {
	var last path
	last.why = "no way out of the server"
	if h.at.dead || h.dead {
		last.why = "the server is dead"
		return last
	}
	for _, out := range h.ways(w.cfg.virtualMAC) {
		if out.link == nil || !out.link.passes(out.end) {
			last.why = fmt.Sprintf("nothing passes from %s by %s", h.at.name, out.name)
			continue
		}
		in := out.peer()
		if in.mac != w.cfg.virtualMAC {
			last.why = fmt.Sprintf("%s does not listen to the virtual MAC on %s", in.node.name, in.name)
			continue
		}
		last = w.walk(in.node, in.name, dst)
		if last.delivered {
			return last
		}
	}
	return last
}

// outward reports whether a host reaches any gateway.
func (w *World) outward(h *host) path {
	return w.ascend(h, outside)
}

// outside stands for everything beyond the gateways: each of them takes it.
var outside = netip.MustParseAddr("192.0.2.1")

func (p path) String() string {
	s := strings.Join(p.hops, " ")
	if !p.delivered {
		s += " (" + p.why + ")"
	}
	return s
}
