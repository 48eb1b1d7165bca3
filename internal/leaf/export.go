package leaf

import (
	"maps"
	"net/netip"
	"slices"

	"peerless/internal/claim"
	"peerless/internal/leaf/announce"
	"peerless/internal/leaf/linkage"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/model"
	"peerless/internal/step"
)

// This file keeps the kernel table from which a routing engine beside us takes the host routes. Whatever is said elsewhere of
// advertisements holds for these routes: after the route that forwards, never for a host that is not there, withdrawn first.

// Metrics of exported routes. Some engines pass them on as an OSPF type 2 metric, which has 24 bits (RFC 2328 section A.4.5),
// where the lowest wins: then newer stamps give lower metrics, one unit a second. After 194 days they start anew: a host that
// sat on the other leaf for longer may lose against its own past until that leaf has found it gone.
const (
	plainMetric      = 20
	metricUnitMs     = 1000
	metricNewest     = 1
	metricOldest     = 1<<24 - 4 // above: the two stamps that nobody verified
	metricUnverified = 1<<24 - 1 // less the stamp; as it is, of a leaf that is drained
)

// exported is a host's route in the engine's table.
type exported struct {
	route   step.Route
	set     bool // it is in the kernel
	missing int  // readings in a row in which the engine did not have it
	healAt  int  // the reading at which it is put in again
	healing bool // being deleted, in order to be put in again
}

func (m *Machine) isExport(table uint32) bool {
	return m.cfg.Export.Mode == ByTable && table == m.cfg.Export.Table
}

// metric is what an exported route's metric says of its stamp.
func (m *Machine) metric(stamp claim.Stamp) uint32 {
	switch {
	case !m.cfg.Export.Recency:
		return plainMetric
	case m.drain.On():
		return metricUnverified
	case stamp <= announce.UnverifiedMax:
		return metricUnverified - uint32(stamp)
	}
	const span = metricOldest - metricNewest + 1
	return metricOldest - uint32(uint64(stamp)/metricUnitMs%span)
}

// export puts a host's route into the engine's table. A route that is there is left alone, since engines take a repeat for a
// change. A new metric makes another route, which is there before the old one goes.
func (m *Machine) export(h neighbor.Host, stamp claim.Stamp, why string, cause step.Cause) {
	r := step.Route{Table: m.cfg.Export.Table, Prefix: step.HostPrefix(h.Addr), Metric: m.metric(stamp), NextHop: step.NextHop{Dev: h.Port}}
	old := m.exports[h.Addr]
	if old == nil {
		if left, ok := m.inherited[h.Addr]; ok && left.NextHop == r.NextHop {
			m.exports[h.Addr] = &exported{route: left, set: true}
			return
		}
	}
	if old != nil && old.route.Metric == r.Metric && old.route.NextHop == r.NextHop {
		return
	}
	m.exports[h.Addr] = &exported{route: r}
	m.want(step.Want{Object: r, After: m.routeOf(h).Key(), Why: why, Cause: cause})
	if old != nil && old.route.Metric != r.Metric {
		m.want(step.Want{Object: old.route, Absent: true, After: r.Key(), Why: "a newer route took its place"})
	}
}

// retract takes back what was told of a host.
func (m *Machine) retract(adv step.Advertisement, why string, cause step.Cause) {
	switch m.cfg.Export.Mode {
	case ByBGP:
		m.want(step.Want{Object: adv, Absent: true, Urgent: true, Why: why, Cause: cause})
	case ByTable:
		addr := adv.Prefix.Addr()
		if e := m.exports[addr]; e != nil {
			delete(m.exports, addr)
			m.takeBack(e.route, why, cause)
		}
	case ByNobody: // it answers no more for the host
	}
}

// takeBack deletes a route of the engine's table. Where the engine would not hear of it the route is first put in once more, as a
// blackhole that needs no port, and deleted when it is there (onExported).
func (m *Machine) takeBack(r step.Route, why string, cause step.Cause) {
	if m.cfg.Export.Engine == engineFRR && !m.heardAbove() {
		m.unheard[r.Prefix.Addr()] = r
	}
	unheard := m.inaudible(r.NextHop.Dev)
	if unheard == "" {
		m.want(step.Want{Object: r, Absent: true, Urgent: true, Why: why, Cause: cause})
		return
	}
	m.emit(step.Want{Object: blackhole(r), Urgent: true, Why: why + "; " + unheard, Cause: cause})
}

// inaudible says why the engine would not hear of the deletion of a route to a downlink; empty where it would. With the port closed
// or gone nothing is deleted any more: zebra keeps its copy, and ospfd its LSA, for good. Of a port without carrier, whose routes
// we have the kernel skip, it tells of a dead route, and BIRD heeds no message about those: it would notice at its next scan.
func (m *Machine) inaudible(p model.Port) string {
	switch {
	case m.erased(p):
		return "the kernel erased it without a word"
	case m.cfg.Export.Engine != engineFRR && !m.down(p).state.Carrier:
		return "a dead route's deletion is not heard"
	}
	return ""
}

func blackhole(r step.Route) step.Route {
	return step.Route{Table: r.Table, Prefix: r.Prefix, Metric: r.Metric, Blackhole: true}
}

// erased reports whether the kernel has erased, or is about to erase, every route of a downlink by itself.
func (m *Machine) erased(p model.Port) bool {
	d := m.down(p)
	return d == nil || !d.state.Present || !d.state.AdminUp || d.gate.State == linkage.Closing || d.gate.State == linkage.Held
}

// heardAbove reports whether the engine may reach a gateway.
func (m *Machine) heardAbove() bool {
	return slices.ContainsFunc(m.ups, func(u *uplink) bool { return u.Up && !u.Silent })
}

// repeatUnheard withdraws once more what was withdrawn while no gateway could hear it. A gateway believes the LSAs that it knew before
// as soon as the leaf is back; ospfd flushes them only when its retransmission timer fires.
func (m *Machine) repeatUnheard(cause step.Cause) {
	for _, addr := range slices.SortedFunc(maps.Keys(m.unheard), netip.Addr.Compare) {
		if m.exports[addr] == nil {
			m.emit(step.Want{Object: blackhole(m.unheard[addr]), Cause: cause, Why: "it was withdrawn while no gateway could hear it"})
		}
	}
	clear(m.unheard)
}

// retractFirst withdraws the hosts of a group that is about to close, if the engine may still reach a gateway: closing a port
// makes the kernel forget its routes without a word, and the engine would tell of them for as long as it does not look. Where
// no uplink is left nobody hears it, and the closing comes first. It gives the withdrawal to wait for.
func (m *Machine) retractFirst(g *group) (last step.Key) {
	for _, d := range g.downs {
		if key := m.retractPort(d, "group "+g.Name+" closes: "+g.why, g.cause); key != (step.Key{}) {
			last = key
		}
	}
	return last
}

// retractPort is the same for one port.
func (m *Machine) retractPort(d *downlink, why string, cause step.Cause) (last step.Key) {
	if m.cfg.Export.Mode != ByTable || !m.heardAbove() {
		return step.Key{}
	}
	for _, h := range m.hosts.Hosts(d.Port) {
		e := m.exports[h.Addr]
		adv, standing := m.book.Stands(h.Addr)
		if e == nil || !standing || e.route.NextHop.Dev != d.Port {
			continue
		}
		m.book.Drop(h.Addr)
		m.retract(adv, why, cause)
		last = e.route.Key()
	}
	return last
}

// closeAnyway asks again for the closings that are not verified yet, without anything to wait for.
func (m *Machine) closeAnyway(cause step.Cause) {
	for _, d := range m.downs {
		if d.gate.State == linkage.Closing {
			m.wantGate(d, true, d.shutWhy(), cause)
		}
	}
}

// readExports takes what an earlier life, and others, have in the table.
func (m *Machine) readExports(s step.Snapshot, first bool) {
	if m.cfg.Export.Mode != ByTable {
		return
	}
	clear(m.clash)
	m.inherited = map[netip.Addr]step.Route{}
	for _, r := range s.Routes {
		switch {
		case !m.isExport(r.Table) || !r.Present:
		case !r.Ours:
			m.onExportRoute(r)
		case first && isHostPrefix(r.Prefix) && !r.Blackhole && len(r.More) == 0:
			m.inherited[r.Prefix.Addr()] = r.Route
		}
	}
}

// reconcileExports holds the table against what ought to be in it.
func (m *Machine) reconcileExports(s step.Snapshot, first bool) {
	if m.cfg.Export.Mode != ByTable {
		return
	}
	m.inherited = nil
	there := map[netip.Addr]bool{}
	for _, r := range s.Routes {
		if !m.isExport(r.Table) || !r.Present || !r.Ours {
			continue
		}
		e := m.exports[r.Prefix.Addr()]
		if e != nil && e.route.Key() == r.Key() && e.route.NextHop == r.NextHop {
			there[r.Prefix.Addr()] = true
		} else if e == nil || e.route.Key() != r.Key() {
			m.dropRoute(r.Route, "no host of ours")
		}
	}
	if first {
		return // what is not there was asked for just now
	}
	for _, addr := range m.exportedAddrs() {
		if e := m.exports[addr]; !there[addr] && !e.healing {
			m.putBack(e, "missing in the kernel")
		}
	}
}

func (m *Machine) exportedAddrs() []netip.Addr {
	return slices.SortedFunc(maps.Keys(m.exports), netip.Addr.Compare)
}

func (m *Machine) putBack(e *exported, why string) {
	e.set = false
	if h, held := m.hosts.Holder(e.route.Prefix.Addr()); held {
		m.want(step.Want{Object: e.route, After: m.routeOf(h).Key(), Why: why})
	}
}

// onExportRoute takes a change of the table that we did not make.
func (m *Machine) onExportRoute(r step.RouteState) {
	e := m.exports[r.Prefix.Addr()]
	mine := e != nil && e.route.Key() == r.Key()
	switch {
	case !r.Ours:
		m.noteClash(r)
	case mine && !e.healing && (!r.Present || r.NextHop != e.route.NextHop):
		if d := m.down(e.route.NextHop.Dev); d != nil && d.serving {
			m.putBack(e, "somebody changed it")
		}
	case !mine && r.Present && m.seen:
		m.dropRoute(r.Route, "no host of ours")
	}
}

// noteClash tells once that the table is not ours alone.
func (m *Machine) noteClash(r step.RouteState) {
	was := len(m.clash)
	if !r.Present {
		delete(m.clash, r.Key())
		return
	}
	m.clash[r.Key()] = struct{}{}
	if was == 0 {
		m.emit(step.Note{Warn: true, What: noteTableClash, Text: m.tableName() + " holds routes of others, such as " + r.Prefix.String(),
			Why: "it must be the hosts' alone: the engine tells everything in it"})
	}
}

// onExported books that the kernel has done what was asked.
func (m *Machine) onExported(r step.Route, w step.Want) {
	e := m.exports[r.Prefix.Addr()]
	switch {
	case r.Blackhole && !w.Absent:
		if e == nil || e.route.Key() != r.Key() { // put in only so that its deletion is heard
			m.want(step.Want{Object: r, Absent: true, Urgent: true, Why: w.Why, Cause: w.Cause})
		}
	case e == nil || e.route.Key() != r.Key():
	case !w.Absent:
		e.set = true
	case e.healing:
		e.healing = false
		m.putBack(e, "the engine lost it: deleted and added again")
	}
}
