package leaf

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"peerless/internal/leaf/neighbor"
	"peerless/internal/model"
	"peerless/internal/step"
)

// engine is what is known of the routing engine that reads the table of our hosts.
type engine struct {
	known   bool // asked at least once
	running bool
	deaf    bool // it works and has none of our routes
	why     string
	has     int // routes of ours
	since   time.Duration
	surplus map[netip.Prefix]int // readings in a row in which it had a route that is not in the table
}

// Engines as the config names them.
const (
	engineFRR  = "frr"
	engineBIRD = "bird"
)

// healFirst is the number of readings in a row after which a route that the engine does not have is put in again: one
// reading may have begun before the route was there. Each further try waits for twice as many.
const healFirst = 2

// onEngine weighs a reading of the engine.
func (m *Machine) onEngine(now model.Instant, e step.EngineState) {
	if m.cfg.Export.Mode != ByTable {
		return
	}
	was := m.engine
	m.engine = engine{known: true, running: e.Running, deaf: was.deaf && e.Running, why: e.Detail, since: was.since, surplus: was.surplus}
	if !was.known || was.running != e.Running {
		m.engine.since = now.Mono
	}
	switch {
	case !e.Running && (was.running || !was.known):
		m.emit(step.Note{Warn: true, What: noteEngineDown, Peer: e.Engine, Text: "engine " + e.Engine + " does not work", Why: e.Detail})
	case e.Running && was.known && !was.running:
		m.emit(step.Note{What: noteEngineUp, Peer: e.Engine, Text: "engine " + e.Engine + " works again", Why: "it answers"})
	}
	if e.Running {
		m.compare(e)
		m.purge(e)
	}
}

// purge makes FRR forget what it has and the table has not: zebra keeps its copy of a route that the kernel erased with its
// port, if nobody deleted it. It is tried at the second reading in a row, and again after twice as many. BIRD is not asked of which
// table it learned a route, and needs no help.
func (m *Machine) purge(e step.EngineState) {
	if m.cfg.Export.Engine != engineFRR || !m.seen {
		return
	}
	surplus := map[netip.Prefix]int{}
	var stale []netip.Prefix
	for _, p := range e.Routes {
		if m.exports[p.Addr()] != nil || m.admit.Address(p.Addr()) != neighbor.Admitted {
			continue
		}
		n := m.engine.surplus[p] + 1
		surplus[p] = n
		if n >= healFirst && n&(n-1) == 0 {
			stale = append(stale, p)
			m.emit(step.Want{Object: blackhole(step.Route{Table: m.cfg.Export.Table, Prefix: p, Metric: plainMetric}),
				Why: "the engine still has it: put in, and deleted for the engine to hear of it"})
		}
	}
	m.engine.surplus = surplus
	if len(stale) > 0 {
		m.emit(step.Note{Warn: true, What: noteEngineStale, Addr: stale[0].Addr(), Peer: e.Engine, Hosts: len(stale), Why: "they are not in " + m.tableName(),
			Text: fmt.Sprintf("engine %s still has %s, such as %s; taken out again", e.Engine, plural(len(stale), "route"), stale[0].Addr())})
	}
}

// compare looks for routes that the engine lost, and has it learn them anew.
func (m *Machine) compare(e step.EngineState) {
	settled, deaf := 0, true
	var lost []netip.Addr
	for _, addr := range m.exportedAddrs() {
		x := m.exports[addr]
		if !x.set || x.healing {
			continue
		}
		settled++
		if _, has := slices.BinarySearchFunc(e.Routes, x.route.Prefix, func(a, b netip.Prefix) int { return a.Compare(b) }); has {
			m.engine.has++
			x.missing, x.healAt = 0, 0
			deaf = false
			continue
		}
		x.missing++
		deaf = deaf && x.missing >= healFirst
		if x.missing >= max(healFirst, x.healAt) {
			x.healAt, x.healing = 2*x.missing, true
			m.want(step.Want{Object: x.route, Absent: true, Why: "the engine lost it: deleted and added again"})
			lost = append(lost, addr)
		}
	}
	if len(lost) > 0 {
		m.emit(step.Note{Warn: true, What: noteEngineLost, Addr: lost[0], Peer: e.Engine, Hosts: len(lost), Why: "they are in " + m.tableName(),
			Text: fmt.Sprintf("engine %s does not have %s, such as %s; put in again", e.Engine, plural(len(lost), "route"), lost[0])})
	}
	if settled == 0 {
		return
	}
	if deaf && !m.engine.deaf {
		m.emit(step.Note{Warn: true, What: noteEngineDeaf, Peer: e.Engine, Text: "engine " + e.Engine + " has no route of " + m.tableName(), Why: m.deafWhy()})
	}
	m.engine.deaf = deaf
}

func (m *Machine) deafWhy() string {
	if m.cfg.Export.Engine == engineBIRD {
		return fmt.Sprintf("no kernel protocol with `kernel table %d` and `learn`?", m.cfg.Export.Table)
	}
	return fmt.Sprintf("`ip import-table %d` missing?", m.cfg.Export.Table)
}

func (m *Machine) tableName() string { return fmt.Sprintf("kernel table %d", m.cfg.Export.Table) }

// engineRow is the engine as a routing neighbour: what it has of us is what can be received.
func (m *Machine) engineRow(now model.Instant) step.SessionRow {
	x := m.engine
	r := step.SessionRow{Peer: m.cfg.Export.Engine, Name: m.tableName(), State: "up", Received: x.has}
	if r.Peer == "" {
		r.Peer, r.Received = "kernel", len(m.exports)
	}
	if x.known {
		r.SinceMs = (now.Mono - x.since).Milliseconds()
	}
	switch {
	case m.cfg.Export.Engine == "":
		r.Why = "nobody is asked who reads the table"
	case !x.known:
		r.State, r.Why = "down", "not asked yet"
	case !x.running:
		r.State, r.Why = "down", x.why
	case x.deaf:
		r.State, r.Why = "degraded", "it has no route of the table: "+m.deafWhy()
	default:
		r.Why = fmt.Sprintf("it has %d of %s", x.has, plural(len(m.exports), "route"))
	}
	if len(m.clash) > 0 {
		r.Why += "; the table holds " + plural(len(m.clash), "route") + " of others"
		if r.State == "up" {
			r.State = "degraded"
		}
	}
	return r
}
