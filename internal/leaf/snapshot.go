package leaf

import (
	"net/netip"
	"slices"

	"peerless/internal/leaf/linkage"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/model"
	"peerless/internal/step"
)

// onSnapshot reconciles with the kernel: after a start it adopts what is right, after lost messages it re-reads everything.
// It removes only what bears our mark and is wrong.
func (m *Machine) onSnapshot(now model.Instant, s step.Snapshot) {
	first := !m.seen
	states := make(map[model.Port]step.PortState, len(s.Ports))
	for _, p := range s.Ports {
		states[p.Port] = p
	}
	state := func(p model.Port) step.PortState {
		st := states[p]
		st.Port = p
		return st
	}
	m.setupGlobal()
	m.readAddresses(s.Addresses)
	m.kernel = m.kernel[:0]
	for _, r := range s.Routes {
		m.noteKernelDefault(r)
	}
	if first {
		m.starting = true
		m.restartDrain(now)
		for _, u := range m.ups {
			u.state = state(u.Port)
			u.Up = u.state.Up()
		}
		m.readNeighbors(s.Neighbors)
		m.readKernelDefaults()
		m.inheritDefault(now, s.Routes)
		for _, d := range m.downs {
			m.onDownlinkPort(now, d, state(d.Port))
		}
		m.seen = true
		m.settle(now, 0)
	} else {
		m.readNeighbors(s.Neighbors)
		m.readKernelDefaults()
		for _, u := range m.ups {
			m.onUplinkPort(now, u, state(u.Port))
		}
		for _, d := range m.downs {
			m.onDownlinkPort(now, d, state(d.Port))
		}
		m.settle(now, 0)
		m.askDefaultIfUsed()
	}
	for _, d := range m.downs {
		m.cleanNow(now, d)
	}
	m.setupAll(now, first)
	m.readShelves(now, s, first)
	m.readExports(s, first)
	m.reconcileHosts(now, s, first)
	m.reconcileExports(s, first)
	m.removeStrays(s)
	m.starting = false
}

// setupAll asks for everything that is not a host's.
func (m *Machine) setupAll(now model.Instant, first bool) {
	for _, u := range m.ups {
		if !u.state.Present {
			continue
		}
		m.setupUplink(u)
		if first && u.Up {
			m.probeUplink(now, u)
		}
	}
	for _, d := range m.downs {
		was := d.serving
		m.review(now, d, 0)
		if d.state.Present && (was || !d.serving) {
			m.setupDownlink(d)
		}
	}
}

func (m *Machine) askDefaultIfUsed() {
	if m.cfg.DefaultFromBGP && len(m.defaultHops) > 0 {
		m.askDefault(0, "netlink lost messages")
	}
}

func (m *Machine) readAddresses(list []step.Address) {
	for _, u := range m.ups {
		u.own = netip.Prefix{}
		for _, a := range list {
			if a.Port == u.Port {
				u.own = betterAddress(u.own, a.Prefix, u.Neighbor)
			}
		}
	}
}

func (m *Machine) readNeighbors(list []step.NeighborState) {
	for _, u := range m.ups {
		i := slices.IndexFunc(list, func(n step.NeighborState) bool { return n.Port == u.Port && n.Addr == u.Neighbor && n.Present })
		switch {
		case i < 0:
			u.Entry(false, false)
			u.early = false
		case u.Up:
			u.Entry(list[i].Resolved, list[i].Failed)
		default: // that the link came up was among what got lost
			u.early = list[i].Resolved
		}
	}
}

// inheritDefault finds the default route of an earlier life: the leaf was forwarding all the time, and goes on doing so
// until evidence speaks against it. Without that a daemon's restart would close every server port.
func (m *Machine) inheritDefault(now model.Instant, routes []step.RouteState) {
	if !m.cfg.DefaultFromBGP {
		m.inheritForwarding(routes)
		return
	}
	for _, r := range routes {
		if !r.Ours || !r.Present || r.Prefix != anywhere || !isMain(r.Table) {
			continue
		}
		for _, h := range r.Hops() {
			u, ok := m.ports[h.Dev].(*uplink)
			if !ok || h.Via != u.Neighbor || !u.Up || u.Silent || u.Default != linkage.NoDefault {
				continue
			}
			u.Default, u.Alive = linkage.InheritedDefault, true
			m.emit(step.Arm{Timer: step.Timer{Kind: timerSoft, Port: u.Port}, At: now.Mono + m.cfg.GracefulRestart})
		}
	}
}

// inheritForwarding is the same where others install the default route: it is there, and hosts of ours show that we were
// forwarding.
func (m *Machine) inheritForwarding(routes []step.RouteState) {
	if !slices.ContainsFunc(routes, func(r step.RouteState) bool {
		return r.Ours && r.Present && isHostPrefix(r.Prefix) && m.isHosts(r.Table)
	}) {
		return
	}
	for _, u := range m.ups {
		if u.Up && !u.Silent && u.Default == linkage.HeardDefault {
			u.Alive = true
		}
	}
}

func isMain(table uint32) bool { return table == 0 || table == mainTable }

// noteKernelDefault keeps a default route that others installed.
func (m *Machine) noteKernelDefault(r step.RouteState) {
	if r.Prefix != anywhere || !isMain(r.Table) || r.Ours {
		return
	}
	i := slices.IndexFunc(m.kernel, func(k step.RouteState) bool {
		return k.Metric == r.Metric && k.Protocol == r.Protocol && (r.Present || slices.Equal(k.Hops(), r.Hops()))
	})
	switch {
	case r.Present && i >= 0:
		m.kernel[i] = r
	case r.Present:
		m.kernel = append(m.kernel, r)
	case i >= 0:
		m.kernel = slices.Delete(m.kernel, i, i+1)
	}
}

// readKernelDefaults tells the uplinks which of them have a default route, where others install it.
func (m *Machine) readKernelDefaults() {
	if m.cfg.DefaultFromBGP {
		return
	}
	for _, u := range m.ups {
		u.Default = linkage.NoDefault
		for _, r := range m.kernel {
			if viaPort(r.Route, u.Port) {
				u.Default = linkage.HeardDefault
			}
		}
	}
}

// onRoute takes a route change that we did not make.
func (m *Machine) onRoute(now model.Instant, r step.RouteState) {
	switch {
	case r.Prefix == anywhere && !r.Ours:
		m.noteKernelDefault(r)
		m.readKernelDefaults()
		m.settle(now, 0)
	case m.isExport(r.Table):
		m.onExportRoute(r)
	case !m.seen || !r.Ours:
	case m.shelved(r.Table) != nil:
		m.onShelfRoute(m.shelved(r.Table), r)
	case r.Table == StandbyTable && m.shelves():
		m.onStandbyRoute(r)
	case r.Prefix == anywhere && isMain(r.Table) && r.Metric == defaultMetric:
		if !r.Present && len(m.defaultHops) > 0 {
			m.defaultSet = false
			m.askDefault(0, "somebody deleted it")
		}
	case isHostPrefix(r.Prefix) && m.isHosts(r.Table):
		h, held := m.hosts.Holder(r.Prefix.Addr())
		switch {
		case held && m.down(h.Port).serving && (!r.Present || r.NextHop.Dev != h.Port):
			m.want(step.Want{Object: m.routeOf(h), Why: "somebody changed it"})
		case !held && r.Present:
			m.dropRoute(r.Route, "no host of ours")
		}
	}
}

func (m *Machine) dropRoute(r step.Route, why string) {
	if isMain(r.Table) {
		r.Table = 0
	}
	m.want(step.Want{Object: r, Absent: true, Why: why})
}

type holding struct {
	port model.Port
	addr netip.Addr
}

// neighbors is what the kernel has of our entries.
func neighbors(s step.Snapshot) map[holding]model.MAC {
	macs := map[holding]model.MAC{}
	for _, n := range s.Neighbors {
		if n.Present && n.Ours {
			macs[holding{n.Port, n.Addr}] = n.MAC
		}
	}
	return macs
}

// reconcileHosts adopts, heals and removes hosts' routes and neighbour entries.
func (m *Machine) reconcileHosts(now model.Instant, s step.Snapshot, first bool) {
	macs := neighbors(s)
	routes := map[holding]bool{}
	for _, r := range s.Routes {
		if !r.Ours || !r.Present || !m.isHosts(r.Table) || !isHostPrefix(r.Prefix) {
			continue
		}
		addr, port := r.Prefix.Addr(), r.NextHop.Dev
		routes[holding{port, addr}] = true
		if first {
			m.adopt(now, port, addr, macs[holding{port, addr}])
		}
		if h, held := m.hosts.Holder(addr); !held || (h.Port != port && r.Metric != 0) {
			m.dropRoute(r.Route, "no host of ours")
		}
	}
	for _, n := range s.Neighbors {
		if !n.Present || !n.Ours || m.down(n.Port) == nil {
			continue
		}
		if h, held := m.hosts.Holder(n.Addr); (!held || h.Port != n.Port) && !m.down(n.Port).shelf.has(n.Addr) {
			m.want(step.Want{Object: n.Neighbor, Absent: true, Why: "no host of ours"})
		}
	}
	if first {
		return
	}
	for _, d := range m.downs {
		for _, h := range m.hosts.Hosts(d.Port) {
			if !h.State.Installed() {
				continue
			}
			at := holding{h.Port, h.Addr}
			if macs[at] != h.MAC {
				m.want(step.Want{Object: neighborOf(h), Why: "missing in the kernel"})
			}
			if !routes[at] {
				m.want(step.Want{Object: m.routeOf(h), After: neighborOf(h).Key(), Why: "missing in the kernel"})
			}
		}
	}
}

// adopt takes a host of an earlier life, or remembers it where it cannot be served now.
func (m *Machine) adopt(now model.Instant, port model.Port, addr netip.Addr, mac model.MAC) {
	d := m.down(port)
	if d == nil || m.admit.Address(addr) != neighbor.Admitted {
		return
	}
	if !mac.IsZero() {
		m.change(now, m.hosts.Adopt(now.Mono, port, addr, mac), 0)
	}
	if _, held := m.hosts.Holder(addr); !held {
		m.change(now, m.hosts.Hint(now.Mono, port, addr, mac, neighbor.FromRestart), 0)
	} else {
		m.listen(d)
	}
}

// removeStrays deletes rules and default routes that bear our mark and are not wanted.
func (m *Machine) removeStrays(s step.Snapshot) {
	wanted := m.wantedRules()
	for _, r := range s.Rules {
		same := func(w step.Rule) bool {
			return w.Key() == r.Key() && (w.Blackhole || w.SuppressPrefixLen == r.SuppressPrefixLen)
		}
		if !slices.ContainsFunc(wanted, same) {
			m.want(step.Want{Object: r, Absent: true, Why: "not a rule of this config"})
		}
	}
	for _, r := range s.Routes {
		if !r.Ours || !r.Present || isHostPrefix(r.Prefix) && m.isHosts(r.Table) || m.isExport(r.Table) || m.shelves() && (r.Table == StandbyTable || m.shelved(r.Table) != nil) {
			continue
		}
		if m.cfg.DefaultFromBGP && r.Prefix == anywhere && isMain(r.Table) && r.Metric == defaultMetric {
			continue // kept or deleted with the uplinks
		}
		m.dropRoute(r.Route, "not a route of this config")
	}
}
