// Package server is the server's machine: it keeps a dual-homed machine, and the guests on its bridge, reachable over one of
// two links.
//
// It decides which link the bridge or bond uses, who is announced on it and when, and whether the standby's leaf is open. It
// never closes a port, never changes an address or a route, and nothing depends on it: the pair works without it, slower.
package server

import (
	"cmp"
	"time"

	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/server/linkpair"
	"peerless/internal/step"
)

// Timers of the machine.
const (
	timerPair     = "pair"     // the link pair's next moment: settle, stable, start
	timerAnnounce = "announce" // the next repetition of the announcements
	timerProbe    = "probe"    // per port of the pair
	timerThrough  = "through"  // per port of the pair: what lies beyond its leaf
	timerAge      = "age"      // the oldest guest's end
	timerMore     = "more"     // the next portion of announcements
)

// roles of the pair in the order in which everything is done and shown.
var roles = [...]model.Role{model.Primary, model.Backup}

// Machine implements step.Machine.
type Machine struct {
	cfg  Config
	pair *linkpair.Pair
	out  []step.Effect

	known     bool // a Snapshot has come
	ports     []step.PortState
	addresses []step.Address
	listening []listening
	waiting   [3]string // what was last said to be waited for: device, primary, backup

	device     device
	sides      [2]side            // by role: Primary, Backup
	guests     []guest            // by address
	guestCount map[model.Port]int // how many on a port: looked up, never ranged
	aging      bool               // the age timer is armed

	now       time.Duration
	round     round
	cause     step.Cause // the newest transition
	move      move
	pause     liveness.Pause
	echoes    uint16        // how many were sent: the source of their sequence numbers
	pairTimer time.Duration // when the pair timer is armed for; zero: not armed
	trouble   map[step.Key]string
}

// device is the bridge or bond in use. The zero value is none.
type device struct {
	there bool
	bond  bool
	index int
	mac   model.MAC
}

// move is the newest change of the pair.
type move struct {
	cause     step.Cause // zero: start, not a failover
	what      string     // slug of its notes
	at        time.Duration
	next      int // into Config.Announce: the next repetition
	repeating bool
	installed bool // its installation was noted
}

// New gives the machine of a server.
func New(cfg Config) *Machine {
	// A probe interval of zero would fire without end.
	cfg.Probe = max(cfg.Probe, time.Millisecond)
	cfg.MaxGuests = cmp.Or(cfg.MaxGuests, GuestsDefault)
	if cfg.Leaf.Interval <= 0 {
		cfg.Leaf.Interval = cfg.Probe
	}
	cfg.Through.Interval = max(cfg.Through.Interval, time.Millisecond)
	m := &Machine{cfg: cfg, trouble: map[step.Key]string{}, guestCount: map[model.Port]int{}}
	m.pause.Slack = min(cfg.Probe, cfg.Leaf.Interval, cfg.Through.Interval)
	m.pair = m.newPair()
	for i, r := range roles {
		m.sides[i] = newSide(r, cfg)
	}
	return m
}

func (m *Machine) newPair() *linkpair.Pair {
	return linkpair.New(linkpair.Policy{
		Never: m.cfg.FailBack.Never, Stable: m.cfg.FailBack.Stable, Settle: m.cfg.Settle, Grace: 2 * m.cfg.Probe,
		Trial: trialMax,
	})
}

// Step takes one event. Before the first Snapshot nothing of the kernel is known and nothing is asked of it.
func (m *Machine) Step(now model.Instant, ev step.Event) []step.Effect {
	m.out, m.now = m.out[:0], now.Mono
	if e, ok := ev.(step.Snapshot); ok {
		m.onSnapshot(now, e)
		return m.out
	}
	if !m.known {
		return m.out
	}
	switch e := ev.(type) {
	case step.PortChanged:
		m.onPort(now, e.PortState)
	case step.AddressChanged:
		m.onAddress(e)
	case step.ARPSeen:
		m.onARP(now, e)
	case step.RARPSeen:
		m.onRARP(now, e)
	case step.DataSeen:
		m.onData(now, e)
	case step.EchoSeen:
		m.onEcho(now, e)
	case step.TimerFired:
		m.onTimer(now, e.Timer)
	case step.Applied:
		m.onApplied(e)
	case step.Failed:
		m.trouble[e.Want.Key()] = e.Err
	case step.Started, step.RouteChanged, step.NeighborChanged, step.SessionChanged, step.BFDChanged, step.PathsChanged, step.EndOfRIB,
		step.EngineState, step.Commanded:
		// The server's choice rests on its links and on its leaves' answers alone.
	}
	return m.out
}

func (m *Machine) onTimer(now model.Instant, t step.Timer) {
	switch t.Kind {
	case timerPair:
		m.pairTimer = 0
		m.decide(now)
	case timerAnnounce:
		m.onAnnounce()
	case timerMore:
		m.announceMore()
	case timerProbe:
		if s := m.sideOf(t.Port); s != nil {
			m.onProbe(now, s)
		}
	case timerThrough:
		if s := m.sideOf(t.Port); s != nil {
			m.onThrough(now, s)
		}
	case timerAge:
		m.onAge(now)
	}
}

// onApplied notes the moment at which the kernel sends by the new link.
func (m *Machine) onApplied(e step.Applied) {
	delete(m.trouble, e.Want.Key())
	if m.move.installed || e.Want.Cause == 0 || e.Want.Cause != m.move.cause || e.Want.Key() != m.selector() {
		return
	}
	m.move.installed = true
	port := m.side(m.pair.Active()).port
	m.note(step.Note{What: m.move.what, Port: port, Text: "traffic leaves by " + string(port), Why: m.pair.Why(),
		Stage: step.StageInstall, Cause: m.move.cause})
}

func (m *Machine) note(n step.Note) { m.out = append(m.out, n) }

func (m *Machine) arm(t step.Timer, at time.Duration) {
	m.out = append(m.out, step.Arm{Timer: t, At: at})
}

func (m *Machine) disarm(t step.Timer) { m.out = append(m.out, step.Disarm{Timer: t}) }

// side gives the state of a role's link; r is not unknown.
func (m *Machine) side(r model.Role) *side {
	if r == model.Backup {
		return &m.sides[1]
	}
	return &m.sides[0]
}

// sideOf gives the link of that port, nil if it is not of the pair.
func (m *Machine) sideOf(port model.Port) *side {
	for i := range m.sides {
		if m.sides[i].port == port {
			return &m.sides[i]
		}
	}
	return nil
}
