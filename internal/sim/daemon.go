package sim

import (
	"time"

	"peerless/internal/engine"
	"peerless/internal/leaf"
	"peerless/internal/model"
	"peerless/internal/step"
)

// source is where events of a daemon come from. Each keeps its order; they have no order among each other.
type source uint8

const (
	fromKernel source = iota
	fromPackets
	fromSpeaker
	fromDetector
	fromOperator
	sources
)

// reasonStart is the first snapshot's.
const reasonStart = "start"

// Bounds of what the engine does inline, as in internal/engine.
const (
	inlineMax = 64
	batchMax  = 512
)

// daemon is the process of a node: the machine under its turn, and what dies with it.
type daemon struct {
	node    *node
	machine func() step.Machine
	running bool
	frozen  bool
	life    int // goes up at each start and each death: what belongs to another life is void
	starts  int
	started time.Duration // when this life began
	known   bool          // its snapshot has come
	turn    *engine.Turn

	backlog  []func() // while frozen
	latest   [sources]time.Duration
	deaf     bool // netlink overflowed: events of the kernel are lost until the snapshot
	wakeAt   time.Duration
	wakeSet  bool
	dieAfter int // so many effects later it dies, in the middle of a turn; 0: it does not
	listens  map[model.Port]step.Listen
	diedAt   time.Duration       // the last time; zero: never since the machine booted
	detects  map[model.Port]bool // ports with BFD
	sampled  map[model.Port]time.Duration
	bulk     lane // of the kernel and packet drivers
	up       lane // of the speaker
	speaker  *speaker
	memory   memory // of the judge
}

// instant is the node's own idea of time.
func (n *node) instant() model.Instant {
	wall := n.wallBase + n.w.now.Milliseconds() + int64(float64(n.w.now.Milliseconds())*n.drift)
	return model.Instant{Mono: n.monoBase + n.w.now, Wall: wall}
}

// start begins a life.
func (d *daemon) start() {
	if d.running || d.node.dead || d.machine == nil {
		return
	}
	w := d.node.w
	d.life++
	d.starts++
	d.running, d.frozen, d.known, d.deaf, d.dieAfter = true, false, false, true, 0
	d.started = w.now
	d.turn = engine.NewTurn(d.machine())
	d.detects = map[model.Port]bool{}
	d.listens, d.sampled = map[model.Port]step.Listen{}, map[model.Port]time.Duration{}
	d.backlog, d.latest, d.wakeSet = nil, [sources]time.Duration{}, false
	d.bulk, d.up = newLane(d, d.node.kernelSink), newLane(d, d.node.speakerSink)
	d.memory = newMemory()
	_, d.memory.drained = d.node.kernel.memos[leaf.DrainMemo]
	d.memory.drainedAt = w.now
	d.memory.forced = d.node.kernel.memos[leaf.DrainMemo] == leaf.DrainForced
	for _, p := range d.node.kernel.ports {
		p.toldOnce = false
	}
	w.say("%s: daemon starts", d.node.name)
	d.node.stopped = false
	if d.node.warden != nil {
		d.node.warden.look()
	}
	if d.speaker != nil {
		d.speaker.start()
	}
	d.feed(step.Started{})
	d.snapshot(reasonStart, between(w.rng, 100*time.Microsecond, 5*time.Millisecond))
}

// die ends a life without a word: sockets close, kernel and state file stay.
func (d *daemon) die() {
	if !d.running {
		return
	}
	d.node.w.say("%s: daemon dies", d.node.name)
	d.running, d.frozen = false, false
	d.life++
	if d.speaker != nil {
		d.speaker.die()
	}
	d.turn, d.backlog, d.diedAt = nil, nil, d.node.w.now
	if g := d.node.warden; g != nil {
		g.look()
	}
}

// stop is an orderly end: the kernel goes on, and the guard knows that it is to.
func (d *daemon) stop() {
	if d.running && !d.frozen {
		d.node.stopped = true
		d.die()
	}
}

// leave is the end of peerless on a node.
func (d *daemon) leave() {
	if d.stop(); !d.running && !d.node.dead {
		d.node.w.say("%s: uninstalled", d.node.name)
		d.node.uninstall()
		d.node.w.judge.uninstalled(d.node)
	}
}

// live runs something in this life, later; frozen daemons do it when they thaw.
func (d *daemon) live(at time.Duration, run func()) {
	life := d.life
	d.node.w.at(at, func() {
		if d.life != life {
			return
		}
		if d.frozen {
			d.backlog = append(d.backlog, run)
			return
		}
		run()
	})
}

func (d *daemon) freeze() {
	if d.running {
		d.node.w.say("%s: daemon is frozen", d.node.name)
		d.frozen, d.memory.frozeAt = true, d.node.w.now
	}
}

func (d *daemon) thaw() {
	if !d.frozen {
		return
	}
	d.node.w.say("%s: daemon thaws", d.node.name)
	d.frozen = false
	list := d.backlog
	d.backlog = nil
	life := d.life
	for _, run := range list {
		if d.life != life {
			return
		}
		run()
	}
}

// post gives the node's daemon an event, in its source's order and time.
func (n *node) post(from source, ev step.Event) {
	d := n.daemon
	if d == nil || !d.running || from == fromKernel && d.deaf {
		return
	}
	at := max(d.latest[from], n.w.now+between(n.w.rng, 20*time.Microsecond, 300*time.Microsecond))
	d.latest[from] = at
	epoch := d.starts
	d.live(at, func() {
		if from == fromKernel && d.deaf || epoch != d.starts {
			return
		}
		d.feed(ev)
	})
}

// feed gives the machine an event and carries out what it asks for.
func (d *daemon) feed(ev step.Event) {
	d.node.w.judge.heard(d, ev)
	d.trace(ev)
	d.do(d.turn.Step(d.node.instant(), ev))
}

func (d *daemon) trace(ev step.Event) {
	if d.node.w.trace == nil {
		return
	}
	switch ev := ev.(type) {
	case step.TimerFired, step.Applied, step.EchoSeen:
	case step.ARPSeen:
		if ev.SenderIP == ev.TargetIP || d.node.w.verbose {
			d.node.w.say("%s: < %s", d.node.name, ev)
		}
	default:
		d.node.w.say("%s: < %s", d.node.name, ev)
	}
}

// do carries out one turn's actions as the engine does: urgent ones first, inline what is little, outcomes after all of them.
func (d *daemon) do(actions []engine.Action) {
	life := d.life
	d.node.w.judge.turn(d, actions)
	ordinary := 0
	for _, a := range actions {
		if a.Emit == nil && !a.Urgent && a.Want.Object.Key().Kind != step.KindAdvertisement {
			ordinary++
		}
	}
	inline := d.bulk.idle()
	var done []outcome
	for _, urgent := range [...]bool{true, false} {
		for _, a := range actions {
			if a.Urgent != urgent || a.Emit == nil && !d.turn.Current(&a) {
				continue // not now, or superseded within the same turn
			}
			t := ticket{want: a.Want, gen: a.Gen}
			switch {
			case a.Emit != nil:
				d.emit(a.Emit)
			case a.Want.Object.Key().Kind == step.KindAdvertisement:
				d.up.push(t)
			case inline && (a.Urgent || ordinary <= inlineMax):
				done = append(done, outcome{t, d.node.kernelSink(t.want)})
			default:
				d.bulk.push(t)
			}
			if a.Emit == nil && d.fate() {
				return
			}
		}
	}
	d.finish(life, done)
	d.wake()
}

// fate lets a daemon die in the middle of a turn.
func (d *daemon) fate() bool {
	if d.dieAfter == 0 {
		return false
	}
	if d.dieAfter--; d.dieAfter > 0 {
		return false
	}
	d.die()
	return true
}

type outcome struct {
	ticket
	err error
}

// finish feeds outcomes back.
func (d *daemon) finish(life int, done []outcome) {
	for _, o := range done {
		if d.life != life {
			return
		}
		if o.err != nil {
			d.node.w.say("%s: failed: %s: %v", d.node.name, o.want, o.err)
		}
		d.do(d.turn.Outcome(d.node.instant(), o.want.Key(), o.gen, o.err))
	}
}

// wake keeps one alarm for the turn's next timer.
func (d *daemon) wake() {
	if !d.running || d.turn == nil {
		return
	}
	at, ok := d.turn.Next()
	if !ok {
		return
	}
	when := max(at-d.node.monoBase, d.node.w.now)
	if d.wakeSet && d.wakeAt <= when {
		return
	}
	d.wakeSet, d.wakeAt = true, when
	d.live(when, func() {
		if !d.wakeSet || d.wakeAt != when {
			return
		}
		d.wakeSet = false
		d.fire()
	})
}

func (d *daemon) fire() {
	life := d.life
	for range 256 {
		actions, fired := d.turn.Fire(d.node.instant())
		if !fired {
			break
		}
		d.do(actions)
		if d.life != life {
			return
		}
	}
	d.wake()
}

// emit fires what is fired once.
func (d *daemon) emit(ef step.Effect) {
	n := d.node
	switch ef := ef.(type) {
	case step.SendARP:
		p := n.kernel.port(ef.Port)
		if p == nil {
			return
		}
		src := ef.SrcMAC
		if src.IsZero() {
			src = ef.SenderMAC
		}
		n.w.judge.sent(d, ef)
		if n.w.verbose {
			n.w.say("%s: > %s", n.name, ef)
		}
		f := frame{src: src, dst: ef.DstMAC, op: ef.Op, sha: ef.SenderMAC, tha: ef.TargetMAC, spa: ef.SenderIP, tpa: ef.TargetIP}
		if p.link == nil && n.server != nil {
			n.server.ask(p, f)
			return
		}
		p.send(f)
	case step.SendEcho:
		n.echo(ef)
	case step.Resolve:
		n.resolve(ef.Port, ef.Addr)
	case step.ResetSession:
		if d.speaker != nil {
			d.speaker.reset(ef.Peer)
		}
	case step.Note:
		n.w.say("%s: %s", n.name, ef)
	}
}

// kernelSink applies wants of the kernel and packet drivers.
func (n *node) kernelSink(w step.Want) error {
	n.w.judge.before(n, w)
	if l, ok := w.Object.(step.Listen); ok {
		if w.Absent {
			delete(n.daemon.listens, l.Port)
		} else {
			n.daemon.listens[l.Port] = l
		}
		return nil
	}
	if b, ok := w.Object.(step.BFDSession); ok {
		n.daemon.detects[b.Port] = !w.Absent
		return nil
	}
	if n.w.trace != nil {
		if _, quiet := w.Object.(step.Sysctl); !quiet {
			n.w.say("%s: > %s", n.name, w)
		}
	}
	err := n.kernel.apply(w)
	n.w.judge.after(n, w, err)
	return err
}

// speakerSink applies advertisements.
func (n *node) speakerSink(w step.Want) error {
	a, ok := w.Object.(step.Advertisement)
	if !ok {
		return errInvalid
	}
	n.w.say("%s: > %s", n.name, w)
	n.w.judge.before(n, w)
	n.daemon.speaker.advertise(a, w.Absent)
	return nil
}
