// Package leaf is the leaf's machine: the switch of a pair that has no peer link.
//
// It decides which hosts are attached here, what the kernel holds for them, what is told upstream, and when server ports
// must be closed because the leaf cannot forward. It is composed of pure parts: neighbor (hosts), linkage (ports and uplinks)
// and announce (routes and stamps). It never does I/O, reads no clock and holds no goroutine, and it never installs anything
// heard from another leaf.
package leaf

import (
	"net/netip"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf/announce"
	"peerless/internal/leaf/linkage"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// maxRumours bounds the memory of stamps heard for hosts of other leaves.
const maxRumours = 1 << 17

// Machine is a leaf. Build it with New.
type Machine struct {
	cfg   Config
	admit neighbor.Admission
	hosts *neighbor.Table
	book  *announce.Book
	heard *announce.Stamps

	downs  []*downlink // in config order
	ups    []*uplink
	groups []*group
	ports  map[model.Port]any // *downlink or *uplink

	seen         bool              // a Snapshot has come: the kernel is known
	starting     bool              // the first Snapshot is being read: states are taken, not told as news
	kernel       []step.RouteState // default routes of others
	defaultHops  []step.NextHop    // wanted now
	defaultSet   bool              // applied
	defaultAsked bool

	table      uint32                   // that hosts are forwarded by; 0 is main
	exports    map[netip.Addr]*exported // ByTable: what the engine is to take
	inherited  map[netip.Addr]step.Route
	unheard    map[netip.Addr]step.Route // withdrawn while no gateway could hear it
	clash      map[step.Key]struct{}     // routes of others in the engine's table: counted, never ranged
	engine     engine
	closeAfter step.Key // while ports close: the withdrawal that must be done first
	drain      drain
	links      liveness.Pause // of the questions that timerWatch paces

	armed   time.Duration // hostsTimer
	isArmed bool
	causes  step.Cause
	ledger  ledger
	out     []step.Effect
}

var _ step.Machine = (*Machine)(nil)

// downlink is a port to a server.
type downlink struct {
	Downlink
	group   *group
	state   step.PortState
	gate    linkage.Gate
	serving bool // up, not closed, and the group forwards: hosts are learned, answered and advertised
	since   time.Duration
	why     string
	listen  step.Listen

	cause   step.Cause // of the last change of the port
	arrival step.Cause // hosts that arrive close together are one failover
	arrived time.Duration
	told    map[string]bool // notes that are given once while the port serves
	asker   asker           // the server that asks whether this leaf is open
	parting *step.Want      // the closing that waits until that server has moved
	drained bool            // the leaf is drained, or being drained
	damper  liveness.Damper
	damped  string // why it is held closed although its link is back; empty: it is not
	opens   string // why it is being opened, if not with its group
	left    string // why the drain closed the port; empty: it did not
	reopens bool   // a drain that is over closed it, and it is not open yet
	refused int
	ignored int           // ARP packets that were too many
	flooded time.Duration // when that was last told
	trust   trust

	cleanup   cleanup
	unclaimed unclaimed
	shelf     shelf
}

// New makes a leaf that knows nothing of the kernel yet.
func New(cfg Config) *Machine {
	m := &Machine{
		cfg: cfg, book: announce.New(cfg.AS, cfg.AttachmentRange), heard: announce.NewStamps(maxRumours),
		ports: map[model.Port]any{}, exports: map[netip.Addr]*exported{}, clash: map[step.Key]struct{}{},
		unheard: map[netip.Addr]step.Route{},
	}
	m.hosts = neighbor.New(neighbor.Config{Interval: cfg.HostProbe.Interval, Multiplier: cfg.HostProbe.Multiplier,
		Drain: cfg.Drain, Remember: cfg.Remember, Claimed: m.claimedBehind})
	if cfg.Export.Mode == ByTable {
		m.table = HostTable
	}
	for _, s := range cfg.Subnets {
		m.admit.Nets = append(m.admit.Nets, neighbor.Net{Prefix: s.Prefix.Masked(), Gateway: s.Gateway, MAC: s.MAC})
	}
	for _, u := range cfg.Uplinks {
		up := newUplink(u, cfg.UplinkProbe, cfg.BFD)
		up.damper.Damping = cfg.Damping
		m.ups = append(m.ups, up)
		m.ports[u.Port] = up
	}
	for _, d := range cfg.Downlinks {
		down := &downlink{Downlink: d, why: "not seen yet", told: map[string]bool{}}
		down.state.Port = d.Port
		down.damper.Damping = cfg.Damping
		if cfg.Export.Mode == ByBGP { // else nobody tells that its host has moved away, which looks the same: hosts are probed one by one, and drained
			down.trust = newTrust(cfg.LinkProbe)
		}
		m.downs = append(m.downs, down)
		m.ports[d.Port] = down
		m.hosts.AddPort(d.Port, d.MaxHosts)
		for _, h := range d.Static {
			h.Port = d.Port
			m.hosts.AddStatic(h)
		}
	}
	m.links.Slack = cfg.LinkProbe.Interval
	m.bindGroups()
	m.resumeDrain()
	return m
}

// bindGroups ties downlinks to their groups, in the order in which they close: primaries' ports first.
func (m *Machine) bindGroups() {
	for i, g := range m.cfg.Groups {
		gr := &group{id: uint32(i + 1), Linkage: linkage.New(g, m.cfg.OpenDelayMin, m.cfg.OpenDelayMax), reason: claim.ReasonNotReady}
		for _, role := range []bool{false, true} {
			for _, p := range g.Downlinks {
				if d, ok := m.ports[p].(*downlink); ok && (d.Role == model.Backup) == role {
					d.group = gr
					gr.downs = append(gr.downs, d)
				}
			}
		}
		for _, p := range g.Uplinks {
			if u, ok := m.ports[p].(*uplink); ok {
				gr.ups = append(gr.ups, u)
			}
		}
		m.groups = append(m.groups, gr)
	}
}

// Step takes one event. It only routes; what each event does is said where it is handled.
func (m *Machine) Step(now model.Instant, ev step.Event) []step.Effect {
	m.out = m.out[:0]
	switch ev := ev.(type) {
	case step.Started: // nothing is known yet: nothing is touched
	case step.Snapshot:
		m.onSnapshot(now, ev)
	case step.PortChanged:
		m.onPort(now, ev.PortState)
	case step.AddressChanged:
		m.onAddress(now, ev)
	case step.RouteChanged:
		m.onRoute(now, ev.RouteState)
	case step.NeighborChanged:
		m.onNeighbor(now, ev.NeighborState)
	case step.ARPSeen:
		m.onARP(now, ev)
	case step.RARPSeen:
		m.onRARP(now, ev)
	case step.Flooded:
		m.onFlooded(now, ev)
	case step.DataSeen:
		m.onData(now, ev)
	case step.SessionChanged:
		m.onSession(now, ev)
	case step.BFDChanged:
		m.onBFD(now, ev)
	case step.PathsChanged:
		m.onPaths(now, ev)
	case step.EndOfRIB:
		m.onEndOfRIB(now, ev)
	case step.EngineState:
		m.onEngine(now, ev)
	case step.Commanded:
		m.onCommand(now, ev)
	case step.TimerFired:
		m.onTimer(now, ev.Timer)
	case step.Applied:
		m.onApplied(now, ev.Want)
	case step.Failed:
		m.onFailed(now, ev)
	}
	m.pace(now)
	m.stock(now)
	m.relax(now)
	m.leave(now)
	return m.out
}

func (m *Machine) onTimer(now model.Instant, t step.Timer) {
	switch t.Kind {
	case timerHosts:
		m.isArmed = false // pace does the work
	case timerUplink:
		if u, ok := m.ports[t.Port].(*uplink); ok {
			m.probeUplink(now, u)
		}
	case timerDoubt:
		if u, ok := m.ports[t.Port].(*uplink); ok {
			m.pressUplink(now, u)
		}
	case timerSoft:
		if u, ok := m.ports[t.Port].(*uplink); ok {
			m.onGraceOver(now, u)
		}
	case timerDrain, timerReuse: // leave and relax do the work
	case timerClean:
		if d := m.down(t.Port); d != nil {
			m.onCleanTimer(now, d)
		}
	case timerPart:
		if d := m.down(t.Port); d != nil {
			m.onPartTimer(d)
		}
	case timerClaim:
		if d := m.down(t.Port); d != nil {
			m.onClaimTimer(now, d)
		}
	case timerShelf:
		if d := m.down(t.Port); d != nil {
			m.onShelfTimer(now, d)
		}
	case timerWatch:
		if d := m.down(t.Port); d != nil {
			m.onWatch(now, d)
		}
	case timerHush:
		if d := m.down(t.Port); d != nil {
			m.onHushOver(now, d)
		}
	case timerLocal:
		if i := int(t.ID) - 1; i >= 0 && i < len(m.groups) {
			m.onLocalTimer(now, m.groups[i])
		}
	case timerOpen:
		if i := int(t.ID) - 1; i >= 0 && i < len(m.groups) {
			m.onOpenTimer(now, m.groups[i])
		}
	}
}

// pace lets the host table do what is due and keeps its one timer.
func (m *Machine) pace(now model.Instant) {
	m.change(now, m.hosts.Tick(now.Mono), 0)
	at, any := m.hosts.Next()
	switch {
	case any && (!m.isArmed || at != m.armed):
		m.armed, m.isArmed = at, true
		m.emit(step.Arm{Timer: hostsTimer(), At: at})
	case !any && m.isArmed:
		m.isArmed = false
		m.emit(step.Disarm{Timer: hostsTimer()})
	}
}

func (m *Machine) emit(e step.Effect) { m.out = append(m.out, e) }

// want asks for something, and lets the ledger wait for its outcome.
func (m *Machine) want(w step.Want) {
	m.ledger.asked(w)
	m.out = append(m.out, w)
}

func (m *Machine) newCause() step.Cause {
	m.causes++
	return m.causes
}

// down finds a downlink by name.
func (m *Machine) down(p model.Port) *downlink {
	d, _ := m.ports[p].(*downlink)
	return d
}

// uplinkOf finds the uplink to a BGP peer.
func (m *Machine) uplinkOf(peer netip.Addr) *uplink {
	for _, u := range m.ups {
		if u.Neighbor == peer {
			return u
		}
	}
	return nil
}
