package gateway

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// A Watcher is the gateway where FRR, BIRD or the operator holds the routes. It reads the kernel's main table: the next hop of a
// host's route names the leaf, the config names the ports. It keeps the mapping and the states, raises the fault information,
// and installs nothing: no route, no rule.
type Watcher struct {
	cfg    Config
	leaves []*seenLeaf
	links  []*seenLink              // by attachment id
	of     map[netip.Addr]*seenLink // the server port of a host, as the config has it
	hosts  map[netip.Addr]*seenHost // ranged only in order of address
	ports  map[model.Port]*seenLeaf // by the gateway's port
	names  map[model.AttachmentID]string
	engine step.EngineState
	asked  bool
	since  time.Duration // when the engine came or went
	ready  bool

	now    model.Instant
	out    []step.Effect
	causes step.Cause
	told   []*telling
}

// seenLeaf is a leaf as far as a gateway can see one that tells nothing.
type seenLeaf struct {
	Leaf
	place int
	port  step.PortState
	cause step.Cause // the loss of the port; zero while it is up
	names map[uint32]string
}

// seenLink is a server port with its two ends.
type seenLink struct {
	Attachment
	ends  [2]seenEnd // primary, backup
	cause step.Cause // of the last fault: hosts that it takes together are one
	at    time.Duration
}

type seenEnd struct {
	leaf  *seenLeaf
	index uint32
	state claim.State
}

// seenHost is a host with a route in the kernel, now or before.
type seenHost struct {
	addr   netip.Addr
	routes []step.RouteState // by metric
	at     []*seenLeaf       // where it is forwarded to
	last   *seenLeaf         // where it was before it was nowhere
	since  time.Duration
	cause  step.Cause // of the fault that took its route away
}

// NewWatcher makes a watcher that knows nothing of the kernel yet.
func NewWatcher(cfg Config) *Watcher {
	w := &Watcher{
		cfg: cfg, of: map[netip.Addr]*seenLink{}, hosts: map[netip.Addr]*seenHost{}, ports: map[model.Port]*seenLeaf{},
		names: map[model.AttachmentID]string{},
	}
	for _, p := range cfg.ServerPorts {
		w.names[p.ID] = p.Name
	}
	for i, l := range cfg.Leaves {
		s := &seenLeaf{Leaf: l, place: i, names: map[uint32]string{}}
		for _, p := range l.Ports {
			s.names[p.Index] = p.Name
		}
		w.leaves = append(w.leaves, s)
		w.ports[l.Port] = s
	}
	for _, a := range cfg.Attachments {
		k := &seenLink{Attachment: a}
		for i, end := range []LeafEnd{a.Primary, a.Backup} {
			k.ends[i] = seenEnd{leaf: w.leafNamed(end.Leaf), index: end.Index}
		}
		w.links = append(w.links, k)
		for _, h := range a.Hosts {
			w.of[h] = k
		}
	}
	slices.SortFunc(w.links, func(a, b *seenLink) int { return cmp.Compare(a.ID, b.ID) })
	return w
}

var _ step.Machine = (*Watcher)(nil)

func (w *Watcher) leafNamed(name string) *seenLeaf {
	for _, l := range w.leaves {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// Step takes one event.
func (w *Watcher) Step(now model.Instant, ev step.Event) []step.Effect {
	w.now, w.out = now, w.out[:0]
	switch ev := ev.(type) {
	case step.Snapshot:
		w.onSnapshot(ev)
	case step.PortChanged:
		w.onPort(ev.PortState)
	case step.RouteChanged:
		w.onRoute(ev.RouteState)
	case step.EngineState:
		w.onEngine(ev)
	case step.TimerFired:
		w.onTell()
	case step.Started, step.Applied, step.Failed: // nothing waits for a system setting
	case step.AddressChanged, step.NeighborChanged, step.ARPSeen, step.RARPSeen, step.DataSeen: // hosts are the leaves' business
	case step.SessionChanged, step.BFDChanged, step.PathsChanged, step.EndOfRIB: // the engine's
	}
	return w.out
}

func (w *Watcher) emit(e step.Effect) { w.out = append(w.out, e) }

func (w *Watcher) newCause() step.Cause {
	w.causes++
	return w.causes
}

// onSnapshot takes the whole state. The first one is not news.
func (w *Watcher) onSnapshot(ev step.Snapshot) {
	states := map[model.Port]step.PortState{}
	for _, p := range ev.Ports {
		states[p.Port] = p
	}
	first := !w.ready
	if first {
		w.sysctl("net/ipv4/ip_forward", "1", "a gateway forwards")
		w.sysctl("net/ipv4/conf/all/rp_filter", "0", "packets of a host may come by either leaf")
		w.sysctl("net/ipv4/conf/all/send_redirects", "0", "leaves are not to be told of each other")
	}
	for _, l := range w.leaves {
		st := states[l.Port]
		st.Port = l.Port
		w.port(l, st)
	}
	was := slices.SortedFunc(maps.Keys(w.hosts), netip.Addr.Compare)
	for _, a := range was {
		w.hosts[a].routes = nil
	}
	var news []netip.Addr
	for _, r := range ev.Routes {
		if w.concerns(r) && r.Present {
			h := w.host(r.Prefix.Addr())
			h.put(r)
			news = append(news, h.addr)
		}
	}
	news = append(news, was...)
	slices.SortFunc(news, netip.Addr.Compare)
	for _, a := range slices.Compact(news) {
		w.settle(w.hosts[a])
	}
	w.ready = true
}

func (w *Watcher) sysctl(path, value, why string) {
	w.emit(step.Want{Object: step.Sysctl{Path: path, Value: value}, Why: why})
}

func (w *Watcher) onPort(st step.PortState) {
	if l := w.ports[st.Port]; l != nil && w.ready {
		w.port(l, st)
	}
}

// port takes the state of the link to a leaf: the uplink's part of the mapping.
func (w *Watcher) port(l *seenLeaf, st step.PortState) {
	old := l.port
	l.port = st
	if st.Present && (!old.Present || old.Index != st.Index) {
		conf := "net/ipv4/conf/" + string(l.Port) + "/"
		w.sysctl(conf+"rp_filter", "0", "packets of a host may come by either leaf")
		w.sysctl(conf+"send_redirects", "0", "leaves are not to be told of each other")
	}
	switch {
	case !st.Up() && l.cause == 0:
		l.cause = w.newCause()
		n := 0
		all := slices.SortedFunc(maps.Keys(w.hosts), netip.Addr.Compare)
		for _, a := range all {
			if slices.Contains(w.hosts[a].at, l) {
				n++
			}
		}
		w.emit(step.Note{Warn: true, What: whatLeafDown, Port: l.Port, Peer: l.Name, Why: downWhy(st), Stage: step.StageDetect, Hosts: n, Cause: l.cause,
			Text: "leaf " + l.Name + " lost on port " + string(l.Port) + ": " + hosts(n) + " wait for the engine's repair"})
		for _, a := range all {
			w.settle(w.hosts[a])
		}
	case st.Up() && l.cause != 0:
		if w.ready {
			w.emit(step.Note{What: whatLeafUp, Port: l.Port, Peer: l.Name, Text: "leaf " + l.Name + " can be used on port " + string(l.Port), Why: "port up"})
		}
		l.cause = 0
		for _, a := range slices.SortedFunc(maps.Keys(w.hosts), netip.Addr.Compare) {
			w.settle(w.hosts[a])
		}
	}
}

// concerns reports whether a route is a host's, in the main table and not ours.
func (w *Watcher) concerns(r step.RouteState) bool {
	if r.Ours || r.Table != 0 && r.Table != 254 || !r.Prefix.IsValid() || !r.Prefix.IsSingleIP() {
		return false
	}
	return slices.ContainsFunc(w.cfg.Subnets, func(s netip.Prefix) bool { return s.Contains(r.Prefix.Addr()) })
}

func (w *Watcher) host(addr netip.Addr) *seenHost {
	h := w.hosts[addr]
	if h == nil {
		h = &seenHost{addr: addr, since: w.now.Mono}
		w.hosts[addr] = h
	}
	return h
}

// put replaces the route of the same metric, or takes it away.
func (h *seenHost) put(r step.RouteState) {
	h.routes = slices.DeleteFunc(h.routes, func(o step.RouteState) bool { return o.Metric == r.Metric })
	if r.Present {
		h.routes = append(h.routes, r)
		slices.SortFunc(h.routes, func(a, b step.RouteState) int { return cmp.Compare(a.Metric, b.Metric) })
	}
}

func (w *Watcher) onRoute(r step.RouteState) {
	if !w.ready || !w.concerns(r) {
		return
	}
	if w.hosts[r.Prefix.Addr()] == nil && !r.Present {
		return
	}
	h := w.host(r.Prefix.Addr())
	h.put(r)
	w.settle(h)
}

// way is where a host's packets go: to the leaves of its best route that is not dead.
func (w *Watcher) way(h *seenHost) []*seenLeaf {
	for _, r := range h.routes {
		var at []*seenLeaf
		for _, hop := range r.Hops() {
			l := w.ports[hop.Dev]
			if l != nil && l.port.Up() && (hop.Via == l.Address || !hop.Via.IsValid()) && !slices.Contains(at, l) {
				at = append(at, l)
			}
		}
		if !r.LinkDown && len(at) > 0 {
			slices.SortFunc(at, func(a, b *seenLeaf) int { return cmp.Compare(a.place, b.place) })
			return at
		}
	}
	return nil
}
