package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Source produces events until the context ends. post never blocks and never drops.
type Source interface {
	Run(ctx context.Context, post func(step.Event)) error
}

// Emitter fires emits once. It reports false for a kind that is not its own, and must not block.
type Emitter interface {
	Emit(step.Effect) (handled bool, err error)
}

// Options of an engine.
type Options struct {
	Name    string
	Machine step.Machine
	Clock   func() model.Instant
	// Drivers are any of Source, Sink and Emitter, as they implement them.
	Drivers []any
	Logger  *slog.Logger
}

// Engine is the goroutine around a Turn: the only one that touches the machine.
type Engine struct {
	opts     Options
	turn     *Turn
	journal  *Journal
	lanes    []*lane
	byKind   map[step.Kind]*lane
	emitters []Emitter
	sources  []Source
	todo     []Action // gathered, not yet carried out
	spare    []Action
	emptied  []any // to be the next inbox

	mu    sync.Mutex
	inbox []any // step.Event, []outcome or func()
	bell  chan struct{}
	ended chan struct{} // closed when Run has returned
}

// New makes an engine. It starts nothing.
func New(opts Options) (*Engine, error) {
	e := &Engine{
		opts: opts, turn: NewTurn(opts.Machine), journal: NewJournal(opts.Name), byKind: map[step.Kind]*lane{},
		bell: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	for _, d := range opts.Drivers {
		if s, ok := d.(Source); ok {
			e.sources = append(e.sources, s)
		}
		if em, ok := d.(Emitter); ok {
			e.emitters = append(e.emitters, em)
		}
		s, ok := d.(Sink)
		if !ok {
			continue
		}
		l := newLane(s, func(done []outcome) { e.put(done) })
		e.lanes = append(e.lanes, l)
		for _, k := range s.Kinds() {
			if e.byKind[k] != nil {
				return nil, fmt.Errorf("engine of %s: two drivers apply %s", opts.Name, k)
			}
			e.byKind[k] = l
		}
	}
	return e, nil
}

// Journal is what happened and why.
func (e *Engine) Journal() *Journal { return e.journal }

// Post gives the machine an event. It never blocks.
func (e *Engine) Post(ev step.Event) { e.put(ev) }

func (e *Engine) put(item any) {
	e.mu.Lock()
	e.inbox = append(e.inbox, item)
	e.mu.Unlock()
	select {
	case e.bell <- struct{}{}:
	default:
	}
}

// errStopped is what callers get who ask an engine that has ended.
var errStopped = errors.New("the daemon is stopping")

// View asks the machine for its state, on the engine's goroutine.
func (e *Engine) View(ctx context.Context) (step.View, error) {
	return e.ask(ctx, func() step.View { return e.turn.View(e.opts.Clock()) })
}

// Command gives the machine an operator's order, and what it made of it.
func (e *Engine) Command(ctx context.Context, c step.Commanded) (step.View, error) {
	return e.ask(ctx, func() step.View {
		e.handle(c)
		e.carryOut()
		return e.turn.View(e.opts.Clock())
	})
}

func (e *Engine) ask(ctx context.Context, question func() step.View) (step.View, error) {
	answer := make(chan step.View, 1)
	e.put(func() { answer <- question() })
	select {
	case v := <-answer:
		return v, nil
	case <-ctx.Done():
		return step.View{}, ctx.Err()
	case <-e.ended:
		return step.View{}, errStopped
	}
}

// Run works until the context ends or a source fails. The kernel's state is left as it is.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.ended)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, l := range e.lanes {
		wg.Go(l.run)
		defer l.close()
	}
	failed := make(chan error, len(e.sources))
	e.handle(step.Started{})
	e.carryOut()
	for _, s := range e.sources {
		wg.Go(func() {
			if err := s.Run(ctx, e.Post); err != nil && ctx.Err() == nil {
				failed <- err
			}
		})
	}
	return e.loop(ctx, failed)
}

func (e *Engine) loop(ctx context.Context, failed <-chan error) error {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		for range roundsMax {
			if !e.takeIn() {
				break
			}
		}
		e.fire()
		alarm.Reset(e.untilNext())
		select {
		case <-e.bell:
		case <-alarm.C:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// roundsMax bounds how often what has come is taken in before timers get their turn. What came while a batch was being handled goes
// before them, too: on a busy machine an answer must not come after the verdict that there was none.
const roundsMax = 4

// takeIn handles what has come; it reports false if there was nothing.
func (e *Engine) takeIn() bool {
	e.mu.Lock()
	batch := e.inbox
	e.inbox, e.emptied = e.emptied[:0], nil
	e.mu.Unlock()
	for i, item := range batch {
		e.handle(item)
		batch[i] = nil
	}
	e.carryOut()
	e.emptied = batch
	return len(batch) > 0
}

// handle gives the machine what has come, and gathers what is to be done: the first event is acted on at once, and what came while
// that was being done is acted on together.
func (e *Engine) handle(item any) {
	switch item := item.(type) {
	case step.Event:
		e.gather(e.turn.Step(e.opts.Clock(), item))
	case []outcome:
		for _, o := range item {
			e.outcome(o)
		}
	case func():
		item()
	}
}

// todoMax bounds what is gathered.
const todoMax = 4096

// gather keeps actions until carryOut. What is urgent does not wait for events behind it.
func (e *Engine) gather(actions []Action) {
	urgent := false
	for _, a := range actions {
		urgent = urgent || a.Urgent
	}
	e.todo = append(e.todo, actions...)
	if urgent || len(e.todo) >= todoMax {
		e.carryOut()
	}
}

// carryOut does what was gathered, and what follows from its outcomes, until nothing is left.
func (e *Engine) carryOut() {
	for len(e.todo) > 0 {
		actions := e.todo
		e.todo = e.spare
		done := e.do(actions)
		clear(actions)
		e.spare = empty(actions)
		for _, o := range done {
			e.outcome(o)
		}
	}
}

// fireMax bounds a round of timers: each may be the work of milliseconds, and one that asks may fall due again before the round is over.
const fireMax = 5 * time.Millisecond

// fire runs due timers, but not for ever: what they ask for is done after each round, and then events get their turn, so that an answer
// goes before the verdict that there was none.
func (e *Engine) fire() {
	now := e.opts.Clock()
	for until := now.Mono + fireMax; now.Mono < until; now = e.opts.Clock() {
		actions, fired := e.turn.Fire(now)
		if !fired {
			break
		}
		e.gather(actions)
	}
	e.carryOut()
}

func (e *Engine) untilNext() time.Duration {
	at, ok := e.turn.Next()
	if !ok {
		return time.Hour
	}
	return max(0, at-e.opts.Clock().Mono)
}

func (e *Engine) outcome(o outcome) {
	now := e.opts.Clock()
	actions := e.turn.Outcome(now, o.want.Key(), o.gen, o.err)
	if o.err != nil {
		e.opts.Logger.Debug("want failed", "want", o.want.Object.String(), "absent", o.want.Absent, "error", o.err)
		e.journal.Failed(now, o.want, e.turn.attempt(o.want.Key()), o.err.Error())
	} else {
		e.journal.Applied(now, o.want)
	}
	e.gather(actions)
}

// do carries out actions: urgent ones first, otherwise in order. What an idle inline sink can take is done here and now,
// neighbouring wants of one sink in one call; the rest is queued. A want that a later one replaced is left out, since the later one
// may be done before it. Outcomes are fed back only after all of them, so that nothing delays the last closing.
func (e *Engine) do(actions []Action) []outcome {
	e.plan(actions)
	var run inlineRun
	for _, urgent := range [...]bool{true, false} {
		for i := range actions {
			switch a := &actions[i]; {
			case a.Urgent != urgent:
			case a.Emit != nil:
				run.flush()
				e.emit(a.Emit)
			case e.turn.Current(a):
				e.route(&run, a)
			}
		}
		run.flush()
		for _, l := range e.lanes {
			l.send()
		}
	}
	return run.done
}

// route hands one want to its sink's queue or to the inline run.
func (e *Engine) route(run *inlineRun, a *Action) {
	t := ticket{want: a.Want, gen: a.Gen}
	l := e.byKind[a.Want.Object.Key().Kind]
	switch {
	case l == nil:
		run.done = append(run.done, outcome{ticket: t, err: errors.New("no driver applies it")})
	case l.inline && (a.Urgent || l.ordinary <= inlineMax):
		run.add(l, t)
	default:
		run.flush()
		l.outbox = append(l.outbox, t)
	}
}

// plan decides for each sink whether these wants can be done inline, and counts those that are not urgent.
func (e *Engine) plan(actions []Action) {
	for _, l := range e.lanes {
		l.inline, l.ordinary = false, -1
	}
	for i := range actions {
		a := &actions[i]
		if a.Emit != nil || !e.turn.Current(a) {
			continue
		}
		l := e.byKind[a.Want.Object.Key().Kind]
		if l == nil {
			continue
		}
		if l.ordinary < 0 {
			l.inline, l.ordinary = l.sink.Inline() && l.idle(), 0
		}
		if !a.Urgent {
			l.ordinary++
		}
	}
}

// inlineRun gathers neighbouring wants of one sink, so that they are one call, and all outcomes.
type inlineRun struct {
	lane *lane
	next []ticket
	done []outcome
}

func (r *inlineRun) add(l *lane, t ticket) {
	if r.lane != l {
		r.flush()
	}
	r.lane = l
	r.next = append(r.next, t)
}

func (r *inlineRun) flush() {
	if len(r.next) > 0 {
		r.done = append(r.done, apply(r.lane.sink, r.next)...)
		r.next = r.next[:0]
	}
}

func (e *Engine) emit(ef step.Effect) {
	if n, ok := ef.(step.Note); ok {
		e.journal.Note(e.opts.Clock(), n)
		e.log(n)
		return
	}
	for _, em := range e.emitters {
		handled, err := em.Emit(ef)
		if err != nil {
			e.opts.Logger.Debug("emit failed", "effect", ef.String(), "error", err)
		}
		if handled {
			return
		}
	}
	e.opts.Logger.Error("no driver for effect", "effect", ef.String())
}

func (e *Engine) log(n step.Note) {
	level := slog.LevelInfo
	if n.Warn {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("event", n.What)}
	if n.Port != "" {
		attrs = append(attrs, slog.String("port", string(n.Port)))
	}
	if n.Addr.IsValid() {
		attrs = append(attrs, slog.String("host", n.Addr.String()))
	}
	if n.ServerPort != "" {
		attrs = append(attrs, slog.String("server_port", n.ServerPort))
	}
	if n.Peer != "" {
		attrs = append(attrs, slog.String("peer", n.Peer))
	}
	if n.Why != "" {
		attrs = append(attrs, slog.String("why", n.Why))
	}
	e.opts.Logger.LogAttrs(context.Background(), level, n.Text, attrs...)
}
