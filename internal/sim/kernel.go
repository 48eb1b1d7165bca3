package sim

import (
	"net/netip"
	"slices"
	"strings"

	"peerless/internal/model"
	"peerless/internal/step"
)

const mainTable = 254

// kernel is what a node's kernel holds, as far as peerless and forwarding are concerned. It survives daemons.
type kernel struct {
	node   *node
	ports  []*port
	tables map[uint32]*table
	rules  []step.Rule // by priority
	neigh  map[neighKey]*neigh
	sysctl map[string]string
	fdb    map[model.MAC]model.Port
	ours   map[model.Port]bool // state file: ports that our daemon closed
	memos  map[string]string   // what it wrote down for its next life
	before before
}

type table struct {
	hosts map[netip.Addr][]*route
	nets  []*route
}

type route struct {
	step.Route
	ours bool
}

type neighKey struct {
	port model.Port
	addr netip.Addr
}

// neigh is a neighbour entry.
type neigh struct {
	mac      model.MAC
	ours     bool
	resolved bool
	failed   bool
	asked    int // unanswered questions of the kernel in a row
	serial   uint64
}

func newKernel(n *node) *kernel {
	k := &kernel{node: n, ours: map[model.Port]bool{}, memos: map[string]string{}}
	k.wipe()
	return k
}

// wipe is what a boot starts with.
func (k *kernel) wipe() {
	k.tables, k.rules = map[uint32]*table{}, nil
	k.neigh, k.sysctl, k.fdb = map[neighKey]*neigh{}, map[string]string{}, map[model.MAC]model.Port{}
	clear(k.ours)
	clear(k.memos)
	k.before = newBefore()
}

func (k *kernel) port(name model.Port) *port {
	for _, p := range k.ports {
		if p.name == name {
			return p
		}
	}
	return nil
}

func tableOf(t uint32) uint32 {
	if t == 0 {
		return mainTable
	}
	return t
}

func (k *kernel) table(n uint32) *table {
	t := k.tables[tableOf(n)]
	if t == nil {
		t = &table{hosts: map[netip.Addr][]*route{}}
		k.tables[tableOf(n)] = t
	}
	return t
}

// set replaces or adds a route of that identity.
func (k *kernel) set(r step.Route, ours bool) {
	t := k.table(r.Table)
	k.remove(r)
	n := &route{r, ours}
	if r.Prefix.IsSingleIP() {
		a := r.Prefix.Addr()
		t.hosts[a] = append(t.hosts[a], n)
		slices.SortStableFunc(t.hosts[a], func(x, y *route) int { return int(x.Metric) - int(y.Metric) })
	} else {
		t.nets = append(t.nets, n)
		slices.SortStableFunc(t.nets, func(x, y *route) int {
			if x.Prefix.Bits() != y.Prefix.Bits() {
				return y.Prefix.Bits() - x.Prefix.Bits()
			}
			return int(int64(x.Metric) - int64(y.Metric))
		})
	}
	k.node.w.judge.touch(r.Prefix)
}

// remove deletes the route of that identity, if there is one.
func (k *kernel) remove(r step.Route) {
	same := func(x *route) bool { return x.Prefix == r.Prefix && x.Metric == r.Metric }
	t := k.table(r.Table)
	k.node.w.judge.touch(r.Prefix)
	if !r.Prefix.IsSingleIP() {
		t.nets = slices.DeleteFunc(t.nets, same)
		return
	}
	a := r.Prefix.Addr()
	left := slices.DeleteFunc(t.hosts[a], same)
	if len(left) == 0 {
		delete(t.hosts, a)
	} else {
		t.hosts[a] = left
	}
}

// each visits every route, in no order that matters.
func (k *kernel) each(visit func(tab uint32, r *route)) {
	for n, t := range k.tables {
		for _, list := range t.hosts {
			for _, r := range list {
				visit(n, r)
			}
		}
		for _, r := range t.nets {
			visit(n, r)
		}
	}
}

// routes lists every route, sorted.
func (k *kernel) routes() []route {
	var out []route
	k.each(func(tab uint32, r *route) {
		c := *r
		c.Table = tab
		out = append(out, c)
	})
	slices.SortFunc(out, func(a, b route) int {
		if a.Table != b.Table {
			return int(a.Table) - int(b.Table)
		}
		if c := a.Prefix.Compare(b.Prefix); c != 0 {
			return c
		}
		return int(int64(a.Metric) - int64(b.Metric))
	})
	return out
}

// adminDown is what the kernel forgets, without a word, when a port is set down: routes by it, its neighbours.
func (k *kernel) adminDown(p *port) {
	for _, t := range k.tables {
		for a, list := range t.hosts {
			left := slices.DeleteFunc(list, func(r *route) bool { return k.allDown(r) })
			if len(left) == 0 {
				delete(t.hosts, a)
			} else {
				t.hosts[a] = left
			}
		}
		t.nets = slices.DeleteFunc(t.nets, func(r *route) bool { return k.allDown(r) })
	}
	for key := range k.neigh {
		if key.port == p.name {
			delete(k.neigh, key)
		}
	}
	k.node.w.judge.touchAll()
}

// allDown reports whether every next hop of a route is on a port that is set down.
func (k *kernel) allDown(r *route) bool {
	for _, h := range r.Hops() {
		if p := k.port(h.Dev); p != nil && p.adminUp {
			return false
		}
	}
	return !r.Blackhole
}

// carrierLost drops the port's neighbours, ours too: the kernel keeps only permanent ones.
func (k *kernel) carrierLost(p *port) {
	var gone []netip.Addr
	for key := range k.neigh {
		if key.port == p.name {
			gone = append(gone, key.addr)
		}
	}
	slices.SortFunc(gone, netip.Addr.Compare)
	for _, a := range gone {
		n := k.neigh[neighKey{p.name, a}]
		delete(k.neigh, neighKey{p.name, a})
		if k.node.w.cfg.tellNeigh {
			k.node.post(fromKernel, step.NeighborChanged{NeighborState: step.NeighborState{
				Neighbor: step.Neighbor{Port: p.name, Addr: a, MAC: n.mac}, Ours: n.ours}})
		}
	}
}

// verdict is what the kernel does with a packet.
type verdict uint8

const (
	unreachable verdict = iota // no route: an ICMP error
	blackhole
	local
	forward
)

// lookup is the kernel's forwarding decision: rules by priority, longest prefix within a table.
func (k *kernel) lookup(iif model.Port, dst netip.Addr) (verdict, []step.NextHop) {
	for _, p := range k.ports {
		for _, a := range p.addrs {
			if a.Prefix.Addr() == dst {
				return local, nil
			}
		}
	}
	if k.node.own == dst || k.node.role == gatewayRole && dst == outside {
		return local, nil
	}
	for i := range k.rules {
		r := &k.rules[i]
		if r.IIF != "" && r.IIF != iif || r.To.IsValid() && !r.To.Contains(dst) {
			continue
		}
		if r.Blackhole {
			return blackhole, nil
		}
		if v, hops := k.find(r.Table, dst, r.SuppressPrefixLen); v != unreachable {
			return v, hops
		}
	}
	if h, ok := k.connected(dst); ok {
		return forward, []step.NextHop{h}
	}
	return k.find(mainTable, dst, -1)
}

// connected is the way to the other end of a link between routers.
func (k *kernel) connected(dst netip.Addr) (step.NextHop, bool) {
	for _, p := range k.ports {
		for _, a := range p.addrs {
			if h := (step.NextHop{Dev: p.name, Via: dst}); a.Prefix.Bits() == 30 && a.Prefix.Contains(dst) && k.usable(h) {
				return h, true
			}
		}
	}
	return step.NextHop{}, false
}

// find is the lookup in one table. A route whose next hops are all dead, or on ports without carrier where that is to be heeded,
// is passed over.
func (k *kernel) find(tab uint32, dst netip.Addr, suppress int) (verdict, []step.NextHop) {
	t := k.tables[tableOf(tab)]
	if t == nil {
		return unreachable, nil
	}
	try := func(r *route) (verdict, []step.NextHop) {
		if r.Prefix.Bits() <= suppress {
			return unreachable, nil
		}
		if r.Blackhole {
			return blackhole, nil
		}
		var hops []step.NextHop
		for _, h := range r.Hops() {
			if k.usable(h) {
				hops = append(hops, h)
			}
		}
		if len(hops) == 0 {
			return unreachable, nil
		}
		return forward, hops
	}
	for _, r := range t.hosts[dst] {
		if v, hops := try(r); v != unreachable {
			return v, hops
		}
	}
	for _, r := range t.nets {
		if !r.Prefix.Contains(dst) {
			continue
		}
		if v, hops := try(r); v != unreachable {
			return v, hops
		}
	}
	return unreachable, nil
}

func (k *kernel) usable(h step.NextHop) bool {
	p := k.port(h.Dev)
	if p == nil || !p.adminUp {
		return false
	}
	return p.seen || k.sysctl["net/ipv4/conf/"+string(h.Dev)+"/ignore_routes_with_linkdown"] != "1"
}

// addRule keeps the rules in the order in which the kernel asks them.
func (k *kernel) addRule(r step.Rule) {
	k.removeRule(r)
	i, _ := slices.BinarySearchFunc(k.rules, r, func(a, b step.Rule) int {
		if a.Priority != b.Priority {
			return int(a.Priority) - int(b.Priority)
		}
		return strings.Compare(a.String(), b.String())
	})
	k.rules = slices.Insert(k.rules, i, r)
	k.node.w.judge.touchAll()
}

func (k *kernel) removeRule(r step.Rule) {
	k.rules = slices.DeleteFunc(k.rules, func(x step.Rule) bool { return x.Key() == r.Key() })
	k.node.w.judge.touchAll()
}
