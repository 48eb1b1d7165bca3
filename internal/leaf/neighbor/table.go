// Package neighbor decides which hosts sit behind which port of a leaf and how fresh they are: learning, probing, ageing,
// moves and limits.
//
// It never decides what is advertised or with which stamp, never does I/O and holds no clock: it returns changes, and the
// leaf turns them into effects.
package neighbor

import (
	"net/netip"
	"slices"
	"time"

	"peerless/internal/liveness"
	"peerless/internal/model"
)

// doubt is how a doubted host is asked.
type doubt struct {
	pace       time.Duration // between two probes
	multiplier int           // so many without an answer mean that it is gone
	bound      time.Duration // it must go on answering for so long to be called a duplicate
}

// returning is the doubt about a host that another leaf claims: a server that returns to its primary announces itself there some
// milliseconds before it switches, and answers from that while prove nothing. moved is the doubt about one that is claimed behind
// another server port. It cannot be on its way between two links of one server: where it is silent here it is gone, and there is
// no link left that a drain would serve; until it is called gone, what its neighbours here send it is lost.
var (
	returning = doubt{20 * time.Millisecond, 3, 400 * time.Millisecond}
	moved     = doubt{700 * time.Microsecond, 4, 50 * time.Millisecond}
)

// arrivalProbe is the pause between the first two probes of a host that may be on its way here; it doubles from probe to probe up
// to the usual interval. A server without an agent may take 100 ms to see that its link is gone, and moves only then.
const arrivalProbe = 50 * time.Millisecond

// The first maxScouts hosts that are expected on a port are asked every scoutPace for scoutFor beside that: one that answers is enough for
// the server to be known to be there.
const (
	maxScouts = 2
	scoutPace = 20 * time.Millisecond
	scoutFor  = 300 * time.Millisecond
)

// standbyRest is how many times less often somebody is asked here, at most, for whom another leaf stands: when that leaf lets go of him he is
// expected here, and what his server announces brings him too.
const standbyRest = 10

// settledFor is how long a host that answered a challenge is not challenged again from our ports.
const settledFor = 10 * time.Second

// renewGap is how long after an arrival an announcement counts as a repetition of it. One that comes later may tell of a return from a
// leaf of whose claim nobody has told us, or not yet.
const renewGap = time.Second

// feedDoubt is why a host is doubted that the feed has elsewhere.
const feedDoubt = "another leaf has a newer claim"

// A host that moved between our ports more than flapMoves times within flapWindow is held where it is for as long.
const (
	flapMoves  = 5
	flapWindow = 10 * time.Second
	maxMoved   = 4096 // addresses whose moves are counted; beyond it the counts start anew
)

// pauseSlack is how late a timer may be before it counts as a pause of ours.
const pauseSlack = 100 * time.Millisecond

// Source says how an address became known.
type Source string

// Sources.
const (
	FromARP     Source = "arp"
	FromRARP    Source = "rarp"
	FromData    Source = "data"
	FromKernel  Source = "kernel"
	FromStatic  Source = "static"
	FromFeed    Source = "feed"
	FromRestart Source = "restart"
)

// Config is what the table is told.
type Config struct {
	Interval   time.Duration // between two probes of a host
	Multiplier int
	Drain      time.Duration
	Remember   time.Duration
	Claimed    func(model.Port, netip.Addr) bool // another leaf claims it behind the server port that this port is a link of; nil: never
}

// Host is one address on one port.
type Host struct {
	Port   model.Port
	Addr   netip.Addr
	MAC    model.MAC // zero: unknown
	State  State
	Source Source
	Static bool          // bound to the port by config
	Since  time.Duration // when it entered its state
	Heard  time.Duration // when it last spoke on this port; zero: never
	Missed int           // probes without an answer in a row
}

// Change is one thing that the leaf has to do, in order.
type Change struct {
	Do   Do
	Host Host       // as it is now
	From model.Port // Move: the port it left
	Why  string
}

type entry struct {
	Host
	bound   bool          // static with a MAC: silence does not remove it
	kin     bool          // known to be of the port's server: it was here, or the feed names it under the same server port
	standby bool          // as StandsBy would say; kept so that a change is seen
	told    bool          // a conflict or a duplicate was reported
	doubt   string        // why it is, or was last, doubted
	moved   bool          // Suspect, Draining: claimed behind another server port
	lost    bool          // Draining: what comes for it is lost
	stamped time.Duration // when it last arrived, or said so
	settled time.Duration // a challenge by another of our ports is not heard before
	det     liveness.Detector
	until   time.Duration // Target: forgotten then; Suspect: doubted until then
	asked   time.Duration // when the newest probe left
	gap     time.Duration // on its way here: the pause after the next probe; zero: the usual interval
	scouts  time.Duration // on its way here: asked at the pace of a scout until then
	due     time.Duration
	serial  uint64
	pos     int  // in the heap; -1: not in it
	place   int  // in its port's list
	mated   int  // in the list of its MAC
	waiting bool // in line for a probe
}

type portTable struct {
	name    model.Port
	max     int
	serving bool
	held    int // installed entries
	full    bool
	list    []*entry
	halted  bool     // it stopped serving, and its hosts are not taken off yet
	leaving []*entry // those of them that are left, once Leave has begun

	standby int           // entries that stand by
	turned  []netip.Addr  // that began or ceased to stand by since Turned was asked
	vigil   time.Duration // one of them is asked by then, whatever the others do

	scouts      int // until then
	scoutsUntil time.Duration
}

type place struct {
	port model.Port
	addr netip.Addr
}

type moves struct {
	count int
	since time.Duration
	told  bool
}

// Table holds every host of a leaf. Build it with New.
type Table struct {
	cfg     Config
	ports   map[model.Port]*portTable
	entries map[place]*entry
	holder  map[netip.Addr]*entry // the installed one
	byMAC   map[model.MAC][]*entry
	moved   map[netip.Addr]*moves
	turned  bool // some port has turned
	sched   schedule
	pause   liveness.Pause
	out     []Change
}

// New makes an empty table.
func New(cfg Config) *Table {
	return &Table{
		cfg: cfg, ports: map[model.Port]*portTable{}, entries: map[place]*entry{}, holder: map[netip.Addr]*entry{},
		byMAC: map[model.MAC][]*entry{}, moved: map[netip.Addr]*moves{}, pause: liveness.Pause{Slack: pauseSlack},
	}
}

// AddPort makes a port known, with the number of hosts it may hold.
func (t *Table) AddPort(port model.Port, maxHosts int) {
	t.ports[port] = &portTable{name: port, max: maxHosts}
}

// AddStatic binds a host to a port. Without a MAC it is a probe target for ever, and learned when it answers.
func (t *Table) AddStatic(h model.HostRoute) {
	e := t.ensure(t.ports[h.Port], h.Addr)
	e.Static, e.bound, e.Source = true, !h.MAC.IsZero(), FromStatic
	t.setMAC(e, h.MAC)
	e.State = Target
}

// ensure finds or makes the entry of an address on a port.
func (t *Table) ensure(p *portTable, addr netip.Addr) *entry {
	at := place{p.name, addr}
	e := t.entries[at]
	if e == nil {
		e = &entry{Host: Host{Port: p.name, Addr: addr}, pos: -1, place: len(p.list)}
		t.entries[at] = e
		p.list = append(p.list, e)
	}
	return e
}

// forget takes an entry out of every index.
func (t *Table) forget(e *entry) {
	t.sched.drop(e)
	t.setMAC(e, model.MAC{})
	delete(t.entries, place{e.Port, e.Addr})
	p := t.ports[e.Port]
	last := len(p.list) - 1
	p.list[e.place] = p.list[last]
	p.list[e.place].place = e.place
	p.list[last] = nil
	p.list = p.list[:last]
}

func (t *Table) setMAC(e *entry, mac model.MAC) {
	if e.MAC == mac {
		return
	}
	if !e.MAC.IsZero() {
		mates := t.byMAC[e.MAC]
		last := len(mates) - 1
		mates[e.mated] = mates[last]
		mates[e.mated].mated = e.mated
		mates[last] = nil
		if last == 0 {
			delete(t.byMAC, e.MAC)
		} else {
			t.byMAC[e.MAC] = mates[:last]
		}
	}
	e.MAC = mac
	if !mac.IsZero() {
		e.mated = len(t.byMAC[mac])
		t.byMAC[mac] = append(t.byMAC[mac], e)
	}
}

func (t *Table) emit(do Do, e *entry, why string) {
	h := e.Host
	h.Missed = e.det.Missed()
	t.out = append(t.out, Change{Do: do, Host: h, Why: why})
}

// Holder is the host that is installed for an address.
func (t *Table) Holder(addr netip.Addr) (Host, bool) {
	e := t.holder[addr]
	if e == nil {
		return Host{}, false
	}
	return e.Host, true
}

// MAC is the hardware address that is known for an address on a port; zero if none is.
func (t *Table) MAC(port model.Port, addr netip.Addr) model.MAC {
	if e := t.entries[place{port, addr}]; e != nil {
		return e.MAC
	}
	return model.MAC{}
}

// Known reports whether the address is known on the port, be it only as a target.
func (t *Table) Known(port model.Port, addr netip.Addr) bool {
	return t.entries[place{port, addr}] != nil
}

// Count is the number of hosts installed on a port.
func (t *Table) Count(port model.Port) int { return t.ports[port].held }

// Hosts lists everything known on a port, by address.
func (t *Table) Hosts(port model.Port) []Host {
	list := t.sorted(t.ports[port])
	hosts := make([]Host, len(list))
	for i, e := range list {
		hosts[i] = e.Host
		hosts[i].Missed = e.det.Missed()
	}
	return hosts
}

func (t *Table) sorted(p *portTable) []*entry {
	list := slices.Clone(p.list)
	slices.SortFunc(list, func(a, b *entry) int { return a.Addr.Compare(b.Addr) })
	return list
}

// Next is when Tick has something to do.
func (t *Table) Next() (time.Duration, bool) { return t.sched.next() }
