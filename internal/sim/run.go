package sim

import (
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// Options of one run.
type Options struct {
	Seed    uint64
	Only    []int     // if not nil: only these faults, by their numbers
	Trace   io.Writer // nil: none
	Verbose bool      // trace every ARP packet too
}

// Result is what became of a seed.
type Result struct {
	Seed     uint64        `json:"seed"`
	OK       bool          `json:"ok"`
	Faults   int           `json:"faults"`
	Steps    int           `json:"steps"`
	Virtual  time.Duration `json:"virtual_ns"`
	Servers  int           `json:"servers"`
	Failure  *Violation    `json:"failure,omitempty"`
	Phase    string        `json:"phase,omitempty"`
	Planned  int           `json:"planned"` // faults that were drawn for the safety phase
	Replayed []int         `json:"only,omitempty"`
}

// Streams of random numbers of one seed.
const (
	streamWorld = iota
	streamFaults
	streamRun
	streamHeal
	streamHabits
)

func stream(seed uint64, n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }

// newWorld draws the world of a seed.
func newWorld(seed uint64) *World {
	r := stream(seed, streamWorld)
	s, p := draw(r)
	w := &World{seed: seed, rng: stream(seed, streamRun)}
	w.judge = newJudge(w)
	w.cfg.feedCut, w.cfg.tellNeigh = chance(r, 25), chance(r, 50)
	w.feedOff = w.cfg.feedCut
	w.build(s, p, drawHabits(stream(seed, streamHabits)))
	for _, n := range w.nodes { // no two clocks agree, and some are wrong
		n.monoBase += between(r, 0, 5000*time.Second)
		n.wallBase += r.Int64N(4000) - 2000
		if chance(r, 10) {
			n.wallBase = r.Int64N(1e9)
		}
	}
	return w
}

// Run runs one seed through its phases.
func Run(o Options) Result {
	w := newWorld(o.Seed)
	w.trace, w.verbose = o.Trace, o.Verbose
	res := Result{Seed: o.Seed, Servers: len(w.servers)}
	r := stream(o.Seed, streamFaults)
	length := between(r, 10*time.Second, 30*time.Second)
	faults := drawFaults(r, length, 20+r.IntN(100))
	res.Planned, res.Replayed = len(faults), o.Only
	phases := []struct {
		name string
		run  func()
	}{
		{"start", func() { w.await("start") }},
		{"safety", func() { w.safety(faults, o.Only, length) }},
		{"liveness", func() { w.liveness(stream(o.Seed, streamHeal)) }},
		{"calm", func() { w.calmDays(stream(o.Seed, streamHeal)) }},
	}
	for _, p := range phases {
		w.say("PHASE %s", p.name)
		p.run()
		if w.failure != nil {
			res.Phase = p.name
			break
		}
	}
	res.OK, res.Failure, res.Faults, res.Steps, res.Virtual = w.failure == nil, w.failure, w.injected, w.steps, w.now
	return res
}

// safety lets faults fly.
func (w *World) safety(faults []fault, only []int, length time.Duration) {
	for i, f := range faults {
		if only == nil || slices.Contains(only, i) {
			w.after(f.at, func() { w.strike(f) })
		}
	}
	w.runUntil(w.now + length)
}

// liveness heals a core, then all of it.
func (w *World) liveness(r *rand.Rand) {
	b := w.drawBroken(r)
	w.heal(b)
	// Repairs that faults had set for later are over, and a daemon that was to die has died.
	w.runUntil(w.now + 12*time.Second)
	w.heal(b)
	if !w.await("a core healed, all but " + b.String()) {
		return
	}
	if len(b.links)+len(b.nodes) > 0 {
		w.heal(broken{})
		w.await("all healed")
	}
}
