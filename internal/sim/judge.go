package sim

import (
	"net/netip"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// judge holds every step against the invariants of docs/invariants.md, by their names. It sees what the machines were told and
// what they ask for, and the kernels; of the machines' own state it sees nothing.
type judge struct {
	w      *World
	dirty  map[netip.Addr]bool
	list   []netip.Addr // dirty ones in order
	all    bool
	turnOf int // whose turn it is among the hosts when everything changed
	calm   *calm
	odd    map[string]oddity
	also   func() // looks after every step that changed forwarding; nil: nobody
}

func newJudge(w *World) judge {
	return judge{w: w, dirty: map[netip.Addr]bool{}}
}

// memory is what a daemon was told in this life, as far as its deeds are judged by it.
type memory struct {
	heardOn   map[neighKey]time.Duration   // announcements and answers of a host on a port
	announced map[neighKey]int             // how often a host announced itself there
	claimed   map[claimKey]int             // how often it had when the claim was decided
	heights   map[netip.Addr][]height      // stamps heard of a host, each higher than the one before
	arrived   map[netip.Addr]time.Duration // when the machine last began to hold it there
	said      map[netip.Prefix]claim.Host
	resolved  map[model.Port]bool
	ceased    map[netip.Addr]bool
	applied   map[step.Key]bool            // default route
	routed    map[netip.Addr]model.Port    // host routes that were applied or found
	gates     map[model.Port]uint64        // the newest decision on a port that was judged
	held      map[model.Port]bool          // ports that it closed last
	opening   map[model.Port]bool          // ports that it has asked to be opened, and they are not yet
	blurred   map[model.Port]bool          // ports that the operator closed meanwhile: what is told of them looks like half an opening
	asked     map[model.Port]time.Duration // when a server asked there whether it is open
	told      map[model.Port]time.Duration // when it told a server that it is about to close the port
	rib       map[ribKey]inPath            // what it was told
	withdrawn map[netip.Addr]bool          // it took its default route back in this life
	inherited map[model.Port]bool          // uplinks by which the kernel had our default route when this life began
	stands    map[netip.Addr]model.Port    // the port on which the machine holds a host
	portDown  map[model.Port]time.Duration // when it was last told so
	spoke     map[netip.Addr]bool          // a session with it was up in this life
	attached  map[uint32]claim.State       // what was last told of its ports, by index
	words     map[uint32]*foretelling      // what was last said of them by ARP, until it is announced
	foretold  map[ribKey]time.Duration     // when a leaf told it by ARP that an attachment is not up
	found     map[netip.Addr]bool          // hosts whose routes an earlier life had left
	doubted   map[netip.Addr]bool          // BFD with it went down
	ended     map[netip.Addr]time.Duration // when it was told of the session's end
	decided   map[step.Key]uint64          // the newest decision on a route that was judged
	rules     map[step.Key]bool            // rules that it has asked for
	suspect   map[step.Key]bool            // routes whose deletion was decided though a claim stands behind them
	served    bool                         // the group is open
	drained   bool                         // it takes itself for ordered to drain
	forced    bool
	drainedAt time.Duration
	losses    map[model.Port]int           // how often it was told that a link was lost
	damped    map[model.Port]time.Duration // when it last held a port closed for that
	cut       bool                         // the group closed in this life, the last time at
	cutAt     time.Duration
	alone     bool // it is open without a gateway
	frozeAt   time.Duration
	mute      map[string]bool    // leaves of which it said that they forward nothing
	withheld  []netip.Addr       // leaves that it keeps the default route from
	holds     map[netip.Addr]int // how often it began to
}

type ribKey struct {
	peer   netip.Addr
	prefix netip.Prefix
}

type height struct {
	stamp claim.Stamp
	at    time.Duration
}

// claimKey is one claim of a host.
type claimKey struct {
	addr  netip.Addr
	stamp claim.Stamp
}

func newMemory() memory {
	return memory{heardOn: map[neighKey]time.Duration{}, announced: map[neighKey]int{}, claimed: map[claimKey]int{}, heights: map[netip.Addr][]height{}, arrived: map[netip.Addr]time.Duration{},
		said: map[netip.Prefix]claim.Host{}, resolved: map[model.Port]bool{}, ceased: map[netip.Addr]bool{}, applied: map[step.Key]bool{},
		routed: map[netip.Addr]model.Port{}, gates: map[model.Port]uint64{}, held: map[model.Port]bool{}, opening: map[model.Port]bool{}, blurred: map[model.Port]bool{}, asked: map[model.Port]time.Duration{}, told: map[model.Port]time.Duration{}, rib: map[ribKey]inPath{}, doubted: map[netip.Addr]bool{}, found: map[netip.Addr]bool{}, spoke: map[netip.Addr]bool{}, attached: map[uint32]claim.State{}, words: map[uint32]*foretelling{}, foretold: map[ribKey]time.Duration{}, portDown: map[model.Port]time.Duration{}, stands: map[netip.Addr]model.Port{}, inherited: map[model.Port]bool{}, withdrawn: map[netip.Addr]bool{}, ended: map[netip.Addr]time.Duration{}, rules: map[step.Key]bool{}, suspect: map[step.Key]bool{}, decided: map[step.Key]uint64{}, losses: map[model.Port]int{}, damped: map[model.Port]time.Duration{}, mute: map[string]bool{}, holds: map[netip.Addr]int{}}
}

// touch has a prefix walked after this step.
func (j *judge) touch(p netip.Prefix) {
	switch {
	case j.dirty == nil:
	case !p.IsSingleIP():
		j.all = true
	case !j.dirty[p.Addr()]:
		j.dirty[p.Addr()] = true
		j.list = append(j.list, p.Addr())
	}
}

func (j *judge) touchAll() { j.all = true }

// walksMax bounds the walks after a step that changed everything: the hosts take turns.
const walksMax = 6

// afterStep walks what the step may have changed.
func (j *judge) afterStep() {
	if !j.all && len(j.list) == 0 {
		return
	}
	if j.calm != nil {
		j.calm.look()
	}
	if j.also != nil {
		j.also()
	}
	for _, a := range j.list {
		j.walks(a)
		delete(j.dirty, a)
	}
	j.list = j.list[:0]
	if !j.all || len(j.w.hosts) == 0 {
		return
	}
	j.all = false
	for range min(walksMax, len(j.w.hosts)) {
		j.turnOf = (j.turnOf + 1) % len(j.w.hosts)
		j.walks(j.w.hosts[j.turnOf].addr)
	}
}

// walks follows packets for one address from every gateway and from below every leaf.
func (j *judge) walks(a netip.Addr) {
	if !j.w.cfg.subnet.Contains(a) {
		return
	}
	for _, g := range j.w.gateways {
		j.walk(g, "", a)
	}
	for _, l := range j.w.leaves {
		if len(l.leaf.Downlinks) > 0 {
			j.walk(l, l.leaf.Downlinks[0].Port, a)
		}
	}
}

func (j *judge) walk(n *node, iif model.Port, a netip.Addr) {
	p := j.w.walk(n, iif, a)
	switch {
	case p.returned != "":
		j.w.fail("no-return-up", "a packet for %s goes up again on %s", a, p.returned)
	case p.bounced != "":
		j.w.fail("no-gateway-loop", "a packet for %s is handed back on %s", a, p.bounced)
	case p.loop:
		j.w.fail("no-forwarding-loop", "a packet for %s from %s goes round", a, n.name)
	}
}
