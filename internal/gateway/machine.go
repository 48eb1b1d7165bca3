package gateway

import (
	"net/netip"
	"time"

	"peerless/internal/gateway/mapping"
	"peerless/internal/model"
	"peerless/internal/step"
)

// Bounds and paces.
const (
	leavesMax    = 79                    // rules 2001..2079, tables base+1..base+79
	sweepChunk   = 512                   // hosts settled in one step when nothing is urgent
	sweepPace    = 2 * time.Millisecond  // between two chunks
	burst        = 64                    // so many hosts that move at once are no burden
	cleanupDelay = 50 * time.Millisecond // after a leaf is lost, at least: news of the other leaf go first
	graceMax     = 3 * time.Second       // how long a host is looked for behind the other leaf once its own withdrew it
	ceaseGrace   = time.Second           // after an orderly shutdown, for withdrawals to come in
	lateMax      = 100 * time.Millisecond
	listenFor    = time.Second // after a time of our own in which we did not run
	listMax      = 8           // hosts named one by one in notes
)

// Names of timers.
const (
	timerSweep   = "sweep"   // settle queued hosts
	timerExpire  = "expire"  // a leaf's stale or lost claims
	timerGrace   = "grace"   // withdrawn claims
	timerLater   = "later"   // what was put off until many hosts are repaired
	timerPart    = "part"    // the session with a lost leaf
	timerProbe   = "probe"   // ARP for static hosts and their leaves
	timerDoubt   = "doubt"   // ARP for a leaf that BFD says is silent
	timerThrough = "through" // echoes through a leaf
	timerWord    = "word"    // what a leaf said by ARP and did not announce
	timerStock   = "stock"   // lay bypasses
	timerBypass  = "bypass"  // by server port: settle the hosts that go by its bypass
	timerMissed  = "missed"  // by server port: move those whom its bypass does not serve
	timerRestart = "restart" // adopted routes that nobody confirmed
)

// Machine is the gateway. It decides which leaf every host is forwarded through and which stands by, and keeps the
// kernel's tables so; it never touches the kernel, sockets or clocks itself.
type Machine struct {
	cfg    Config
	table  *mapping.Table
	leaves []*leaf // by LeafID
	peer   step.PortState
	ports  map[model.Port]step.PortState // every port heard of: looked up, never ranged
	addrs  []step.Address                // of the gateway itself

	ready      bool // the first snapshot was seen
	restarting bool // adopted routes wait for their leaves
	adopted    []*mapping.Host

	now       model.Instant
	out       []step.Effect
	later     []afterwards // of this step: what can wait until its hosts are served
	waiting   []afterwards // of earlier steps
	touched   []*mapping.Host
	groups    []group
	stepCause step.Cause // the transition of this step's own, if it needs one
	causes    step.Cause // the newest number given out

	queue    []*mapping.Host // hosts to be settled when nothing is urgent
	queued   uint64          // how many were ever queued, and how many of them are done
	settled  uint64
	sweeping bool // the sweep timer is armed
	hurry    bool // the first chunk of the queue is settled in this step already
	grace    []remembered
	patience map[step.Timer]time.Duration // when the time of those who have something to say is over: looked up, never ranged
	scratch  []*mapping.Host

	bypasses map[model.AttachmentID]*bypass
	opened   []model.AttachmentID // the bypasses that are open
	stock    []*mapping.Host      // to be looked at for a bypass
	stocking bool                 // the timer of that is armed

	probe       prober
	echoes      uint16 // how many were sent: the source of their sequence numbers
	leafPorts   []map[uint32]string
	serverPorts map[model.AttachmentID]string
	tooMany     bool // a leaf too many was reported
}

// New makes a gateway that knows nothing of the kernel yet.
func New(cfg Config) *Machine {
	if cfg.Burst == 0 {
		cfg.Burst = burst
	}
	m := &Machine{
		cfg: cfg, table: mapping.New(), ports: map[model.Port]step.PortState{}, serverPorts: map[model.AttachmentID]string{},
		patience: map[step.Timer]time.Duration{}, bypasses: map[model.AttachmentID]*bypass{},
	}
	for _, p := range cfg.ServerPorts {
		m.serverPorts[p.ID] = p.Name
	}
	for i, l := range cfg.Leaves {
		m.addLeaf(l, uint32(i+1))
		for _, p := range l.Ports {
			m.leafPorts[i][p.Index] = p.Name
		}
	}
	for _, a := range cfg.Attachments {
		m.lay(a)
	}
	for _, s := range cfg.Static {
		m.pin(s)
	}
	m.probe = m.newProber()
	return m
}

// Step takes one event. A pair of state and event that does nothing says so.
func (m *Machine) Step(now model.Instant, ev step.Event) []step.Effect {
	m.begin(now)
	switch ev := ev.(type) {
	case step.Snapshot:
		m.onSnapshot(ev)
	case step.PortChanged:
		m.onPort(ev.PortState)
	case step.AddressChanged:
		m.onAddress(ev)
	case step.RouteChanged:
		m.onRoute(ev.RouteState)
	case step.SessionChanged:
		m.onSession(ev)
	case step.BFDChanged:
		m.onBFD(ev)
	case step.PathsChanged:
		m.onPaths(ev)
	case step.EndOfRIB:
		m.onEndOfRIB(ev)
	case step.TimerFired:
		m.onTimer(ev.Timer)
	case step.Applied:
		m.onApplied(ev.Want)
	case step.Started: // nothing is known before the first snapshot
	case step.Failed: // the engine tries again and keeps the record; a rule that is not in place keeps its leaf out
	case step.ARPSeen:
		m.onARP(ev)
	case step.EchoSeen:
		m.onEcho(ev)
	case step.EngineState: // beside an engine there is a Watcher
	case step.NeighborChanged, step.RARPSeen, step.DataSeen: // hosts are the leaves' business
	}
	return m.end()
}

func (m *Machine) begin(now model.Instant) {
	m.now = now
	if cap(m.out) > 1<<13 {
		m.out, m.later = nil, nil
	}
	m.out, m.later = m.out[:0], m.later[:0]
	m.touched, m.groups, m.stepCause = m.touched[:0], m.groups[:0], 0
	m.hurry = false
}

func (m *Machine) end() []step.Effect {
	m.settleTouched()
	if m.hurry {
		m.settleQueued()
	}
	for _, l := range m.leaves {
		m.admit(l)
	}
	m.reviewBypasses()
	m.tell()
	m.conclude()
	m.scheduleSweep()
	return m.out
}

func (m *Machine) onTimer(t step.Timer) {
	if m.slept(t) {
		return
	}
	switch t.Kind {
	case timerSweep:
		m.onSweep()
	case timerExpire:
		m.onExpire(m.leaves[t.ID])
	case timerGrace:
		m.onGrace()
	case timerLater:
		m.onLater()
	case timerStock:
		m.onStock()
	case timerBypass:
		m.onBypass(model.AttachmentID(t.ID))
	case timerMissed:
		m.onMissed(model.AttachmentID(t.ID))
	case timerPart:
		m.part(m.leaves[t.ID])
	case timerProbe:
		m.onProbe()
	case timerDoubt:
		m.onDoubt(m.leaves[t.ID])
	case timerWord:
		m.onWordOver(t)
	case timerThrough:
		m.onThrough(m.leaves[t.ID])
	case timerRestart:
		m.endRestart("the graceful-restart time is over")
	}
}

func (m *Machine) emit(e step.Effect) { m.out = append(m.out, e) }

func (m *Machine) want(o step.Object, why string) { m.emit(step.Want{Object: o, Why: why}) }

func (m *Machine) absent(o step.Object, why string) {
	m.emit(step.Want{Object: o, Absent: true, Why: why})
}

func (m *Machine) note(n step.Note) { m.emit(n) }

func (m *Machine) arm(kind string, id mapping.LeafID, after time.Duration) {
	m.emit(step.Arm{Timer: step.Timer{Kind: kind, ID: uint32(id)}, At: m.now.Mono + after})
}

// armPatience waits for what leaves have to say; its end is put off if it comes late.
func (m *Machine) armPatience(kind string, id mapping.LeafID, after time.Duration) {
	m.patience[step.Timer{Kind: kind, ID: uint32(id)}] = m.now.Mono + after
	m.arm(kind, id, after)
}

// slept reports that the end of somebody's time was noticed late: we did not run, and what he has said meanwhile lies in the queue behind
// it (soft-never-closes; seed 1130). He is listened to first.
func (m *Machine) slept(t step.Timer) bool {
	due, waited := m.patience[t]
	delete(m.patience, t)
	if !waited || m.now.Mono-due <= lateMax {
		return false
	}
	m.emit(step.Arm{Timer: t, At: m.now.Mono + listenFor})
	return true
}

func (m *Machine) newCause() step.Cause {
	m.causes++
	return m.causes
}

// ownCause is the number of the transition that this step's event is itself.
func (m *Machine) ownCause() step.Cause {
	if m.stepCause == 0 {
		m.stepCause = m.newCause()
	}
	return m.stepCause
}

func (m *Machine) inSubnets(a netip.Addr) bool {
	for _, s := range m.cfg.Subnets {
		if s.Contains(a) {
			return true
		}
	}
	return false
}
