package rtnl

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// mirror is what the machine has been told of the kernel. It turns netlink messages into events and drops what tells nothing
// new. It does no I/O of its own; only Run uses it.
type mirror struct {
	scope scope
	links *linkTable
	sight func(link) (link, bool) // the device as it is now, and whether it is closed by us

	outdated bool // what there is to be told of has grown: only a new dump has all of it

	ports     map[model.Port]step.PortState // as last told
	addresses map[addressKey]bool           // value: noprefixroute
	routes    map[routeKey]step.RouteState  // the watched, and those of ours that are not plain
	objects   map[routeKey]uint32           // the nexthop objects of those that have one
	plain     plainRoutes                   // ours of one next hop
	neighbors map[model.Port]map[netip.Addr]step.NeighborState
}

// scope is what the machine wants to hear of.
type scope struct {
	order    []model.Port
	ports    map[model.Port]bool
	tables   map[uint32]bool // main is 0, as in step.Route
	prefixes []netip.Prefix
}

type addressKey struct {
	port   model.Port
	prefix netip.Prefix
}

type routeKey struct {
	table  uint32
	prefix netip.Prefix
	metric uint32
}

func newScope(o Options) scope {
	s := scope{ports: map[model.Port]bool{}, tables: map[uint32]bool{}, prefixes: o.WatchPrefixes}
	for _, p := range o.Ports {
		if !s.ports[p] {
			s.order, s.ports[p] = append(s.order, p), true
		}
	}
	for _, t := range o.WatchTables {
		s.tables[tableNumber(t)] = true
	}
	return s
}

// tableNumber spells the main table as wants do.
func tableNumber(t uint32) uint32 {
	if t == unix.RT_TABLE_MAIN {
		return 0
	}
	return t
}

// watches reports whether the route is told whoever owns it.
func (s scope) watches(r step.RouteState) bool {
	if s.tables[r.Table] {
		return true
	}
	if r.Table != 0 {
		return false
	}
	return r.Prefix.Bits() == 0 || slices.ContainsFunc(s.prefixes, func(p netip.Prefix) bool {
		return p.Bits() <= r.Prefix.Bits() && p.Contains(r.Prefix.Addr())
	})
}

// census is the outcome of a full dump.
type census struct {
	links     []link
	addresses []address
	routes    []route
	neighbors []neighbor
	rules     []rule
	entries   []step.FDB
	members   []step.BridgePort
}

// reset forgets everything, takes the dump for the truth and gives it as the machine is to see it, in a fixed order.
func (m *mirror) reset(c census, reason string) step.Snapshot {
	m.outdated = false
	m.ports = map[model.Port]step.PortState{}
	m.addresses = map[addressKey]bool{}
	m.routes = map[routeKey]step.RouteState{}
	m.objects = map[routeKey]uint32{}
	m.plain = newPlainRoutes()
	m.neighbors = map[model.Port]map[netip.Addr]step.NeighborState{}
	m.links.replace(c.links)
	for _, p := range m.scope.order {
		m.tellPort(p)
	}
	for _, l := range c.links {
		m.tellPort(l.name)
	}
	for _, a := range c.addresses {
		m.onAddress(a, true)
	}
	for _, r := range c.routes {
		m.keepRoute(r)
	}
	for _, n := range c.neighbors {
		m.onNeighbor(n, true)
	}
	return m.snapshot(c, reason)
}

func (m *mirror) snapshot(c census, reason string) step.Snapshot {
	s := step.Snapshot{Reason: reason, Entries: c.entries, Members: c.members}
	for _, l := range c.links {
		if slave, ok := m.links.at(l.active); ok && m.scope.ports[l.name] {
			s.Bonds = append(s.Bonds, step.BondActive{Bond: l.name, Active: slave.name})
		}
	}
	for _, p := range m.ports {
		s.Ports = append(s.Ports, p)
	}
	for k, noPrefixRoute := range m.addresses {
		s.Addresses = append(s.Addresses, step.Address{Port: k.port, Prefix: k.prefix, NoPrefixRoute: noPrefixRoute})
	}
	for _, r := range m.routes {
		s.Routes = append(s.Routes, r)
	}
	for key := range m.plain.routes {
		if r, ok := m.known(key.full()); ok {
			s.Routes = append(s.Routes, r)
		}
	}
	for _, there := range m.neighbors {
		s.Neighbors = slices.AppendSeq(s.Neighbors, maps.Values(there))
	}
	for _, r := range c.rules {
		if r.protocol == mark {
			s.Rules = append(s.Rules, step.Rule{Priority: r.priority, IIF: r.iif, To: r.to, Table: r.table,
				SuppressPrefixLen: r.suppress, Blackhole: r.blackhole})
		}
	}
	m.sort(&s)
	return s
}

func (m *mirror) sort(s *step.Snapshot) {
	place := map[model.Port]int{} // configured ports in the order of the configuration, then bridge members
	for i, p := range m.scope.order {
		place[p] = i - len(m.scope.order)
	}
	slices.SortFunc(s.Ports, func(a, b step.PortState) int {
		return cmp.Or(place[a.Port]-place[b.Port], cmp.Compare(a.Port, b.Port))
	})
	slices.SortFunc(s.Addresses, func(a, b step.Address) int {
		return cmp.Or(place[a.Port]-place[b.Port], a.Prefix.Compare(b.Prefix))
	})
	slices.SortFunc(s.Routes, compareRoutes)
	slices.SortFunc(s.Neighbors, func(a, b step.NeighborState) int {
		return cmp.Or(place[a.Port]-place[b.Port], a.Addr.Compare(b.Addr))
	})
	slices.SortStableFunc(s.Rules, func(a, b step.Rule) int { return cmp.Compare(a.Priority, b.Priority) })
}

func compareRoutes(a, b step.RouteState) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), a.Prefix.Compare(b.Prefix), cmp.Compare(a.Metric, b.Metric))
}

// apply takes one message of the event socket.
func (m *mirror) apply(msg netlink.Message) []step.Event {
	switch kind := msg.Header.Type; kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if l, ok := decodeLink(msg.Data); ok {
			return m.onLink(l, kind == unix.RTM_NEWLINK)
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if a, ok := decodeAddress(msg.Data); ok {
			return m.onAddress(a, kind == unix.RTM_NEWADDR)
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if r, ok := decodeRoute(msg.Data); ok {
			return m.onRoute(r, kind == unix.RTM_NEWROUTE, msg.Header.Flags&netlink.Replace != 0)
		}
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if n, ok := decodeNeighbor(msg.Data); ok {
			return m.onNeighbor(n, kind == unix.RTM_NEWNEIGH)
		}
	case unix.RTM_DELNEXTHOP:
		if id, ok := decodeNexthop(msg.Data); ok {
			return m.onNexthopGone(id)
		}
	default: // a nexthop object that comes changes no route
	}
	return nil
}

// onLink tells of the port first: everything else about it can wait.
func (m *mirror) onLink(l link, present bool) []step.Event {
	var old link
	var known bool
	if present {
		old, known = m.links.set(l)
	} else {
		old, known = m.links.remove(l.index)
	}
	if l.master != old.master && m.scope.ports[l.name] && !m.scope.ports[m.links.name(l.master)] && m.isBridge(l.master) {
		m.outdated = true
	}
	events := m.tellPort(l.name)
	if known && old.name != l.name { // renamed
		events = append(events, m.tellPort(old.name)...)
	}
	if !present || !l.adminUp {
		delete(m.neighbors, l.name)
	}
	if known && (!present || old.adminUp != l.adminUp || old.carrier != l.carrier) {
		events = append(events, m.followPort(l.name, false)...)
	}
	return events
}

func (m *mirror) isBridge(index int) bool {
	l, ok := m.links.at(index)
	return ok && l.kind == "bridge"
}

// concerns reports whether a port is told of for its own sake: it is configured, or the bridge above a configured one, which
// has the addresses and the guests of a bond that is its member.
func (m *mirror) concerns(name model.Port) bool {
	if m.scope.ports[name] {
		return true
	}
	l, ok := m.links.named(name)
	return ok && l.kind == "bridge" && slices.ContainsFunc(m.scope.order, func(p model.Port) bool {
		below, ok := m.links.named(p)
		return ok && below.master == l.index
	})
}

// tellPort compares the port with what was last told. A bridge's member is told of, too, and a last time when it leaves.
func (m *mirror) tellPort(name model.Port) []step.Event {
	now := step.PortState{Port: name}
	configured := m.scope.ports[name]
	concerned := m.concerns(name)
	if l, ok := m.links.named(name); ok {
		ours := false
		if configured {
			l, ours = m.sight(l)
		}
		now = step.PortState{Port: name, Index: l.index, Present: true, AdminUp: l.adminUp, Carrier: l.carrier,
			ProtoDown: l.protoDown, Ours: ours, MAC: l.mac, Kind: l.kind}
		if l.master != 0 {
			now.Master = m.links.name(l.master)
			master, _ := m.links.at(l.master)
			concerned = concerned || master.kind == "bridge" && m.concerns(master.name)
		}
	}
	last, told := m.ports[name]
	if !told && !concerned || told && last == now {
		return nil
	}
	if concerned {
		m.ports[name] = now
	} else {
		delete(m.ports, name)
	}
	return []step.Event{step.PortChanged{PortState: now}}
}

func (m *mirror) onAddress(a address, present bool) []step.Event {
	key := addressKey{m.links.name(a.index), a.prefix}
	last, known := m.addresses[key]
	if !m.concerns(key.port) || present == known && last == a.noPrefixRoute || !present && !known {
		return nil
	}
	events := []step.Event{step.AddressChanged{
		Address: step.Address{Port: key.port, Prefix: a.prefix, NoPrefixRoute: a.noPrefixRoute}, Present: present}}
	if present {
		m.addresses[key] = a.noPrefixRoute
		return events
	}
	delete(m.addresses, key)
	for left := range m.addresses {
		if left.port == key.port {
			return events
		}
	}
	return append(events, m.followPort(key.port, true)...)
}

// neighborUsable are the states in which frames can be sent.
const neighborUsable = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_NOARP | unix.NUD_PERMANENT

func (m *mirror) onNeighbor(n neighbor, present bool) []step.Event {
	port := m.links.name(n.index)
	if !m.scope.ports[port] {
		return nil
	}
	now := step.NeighborState{
		Neighbor: step.Neighbor{Port: port, Addr: n.addr, MAC: n.mac},
		Present:  present,
		Resolved: present && n.state&neighborUsable != 0,
		Failed:   present && n.state&unix.NUD_FAILED != 0,
		Ours:     n.flags&unix.NTF_EXT_LEARNED != 0,
	}
	last, known := m.neighbors[port][n.addr]
	m.keepNeighbor(now)
	if present && known && last == now || !present && !known {
		return nil
	}
	return []step.Event{step.NeighborChanged{NeighborState: now}}
}

func (m *mirror) keepNeighbor(n step.NeighborState) {
	switch there := m.neighbors[n.Port]; {
	case !n.Present:
		delete(there, n.Addr)
	case there == nil:
		m.neighbors[n.Port] = map[netip.Addr]step.NeighborState{n.Addr: n}
	default:
		there[n.Addr] = n
	}
}
