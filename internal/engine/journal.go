package engine

import (
	"fmt"
	"sync"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Bounds of the journal: what it holds in memory, oldest out first.
const (
	entriesMax   = 4096
	failoversMax = 512
	followMax    = 1024 // entries that a slow follower may lag behind before it is cut off
)

// Entry is one line of the journal: something that happened, and why.
type Entry struct {
	Seq        uint64             `json:"seq"`
	MonoNs     int64              `json:"mono_ns"` // CLOCK_MONOTONIC: comparable between all processes of a machine
	WallMs     int64              `json:"wall_ms"`
	Node       string             `json:"node"`
	What       string             `json:"what"`
	Port       model.Port         `json:"port,omitempty"`
	Addr       string             `json:"addr,omitempty"`
	Attachment model.AttachmentID `json:"attachment,omitempty"`
	ServerPort string             `json:"server_port,omitempty"`
	Peer       string             `json:"peer,omitempty"`
	Text       string             `json:"text"`
	Why        string             `json:"why,omitempty"`
	Stage      string             `json:"stage,omitempty"`
	Hosts      int                `json:"hosts,omitempty"`
	Cause      step.Cause         `json:"cause,omitempty"`
	Warn       bool               `json:"warn,omitempty"`
}

// Failover is the ledger's record of one transition: one cause, and how long each stage took.
type Failover struct {
	Cause  step.Cause  `json:"cause"`
	Node   string      `json:"node"`
	MonoNs int64       `json:"mono_ns"` // when it began
	WallMs int64       `json:"wall_ms"`
	Text   string      `json:"text"`
	Why    string      `json:"why,omitempty"`
	Hosts  int         `json:"hosts"` // hosts that it moved
	Stages []StageTime `json:"stages"`
}

// StageTime is how long after the beginning a stage was first and last seen, and how often.
type StageTime struct {
	Stage   string  `json:"stage"`
	FirstMs float64 `json:"first_ms"`
	LastMs  float64 `json:"last_ms"`
	Count   int     `json:"count"`
}

// Journal keeps what happened and why, bounded in memory. It is written by the engine's goroutine and read by any.
type Journal struct {
	node string

	mu        sync.Mutex
	seq       uint64
	entries   ring[Entry]
	failovers ring[*Failover]
	byCause   map[step.Cause]*Failover
	followers map[chan Entry]struct{}
}

// NewJournal makes an empty journal of the named node.
func NewJournal(node string) *Journal {
	return &Journal{
		node: node, entries: ring[Entry]{max: entriesMax}, failovers: ring[*Failover]{max: failoversMax},
		byCause: map[step.Cause]*Failover{}, followers: map[chan Entry]struct{}{},
	}
}

// Note records a machine's note.
func (j *Journal) Note(now model.Instant, n step.Note) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := Entry{
		What: n.What, Port: n.Port, Attachment: n.Attachment, ServerPort: n.ServerPort, Peer: n.Peer, Text: n.Text, Why: n.Why,
		Stage: n.Stage.String(), Hosts: n.Hosts, Cause: n.Cause, Warn: n.Warn,
	}
	if n.Addr.IsValid() {
		e.Addr = n.Addr.String()
	}
	j.add(now, e)
	if n.Cause == 0 {
		return
	}
	f := j.failover(now, n.Cause, n.Text, n.Why)
	f.Hosts = max(f.Hosts, n.Hosts)
	switch n.Stage {
	case step.StageDetect, step.StageLearn, step.StageAnnounce:
		f.stage(now, n.Stage)
	default: // the wants themselves tell of the other stages, one by one
	}
}

// Applied records in the ledger that a want of a transition was made true.
func (j *Journal) Applied(now model.Instant, w step.Want) {
	stage := stageOf(w)
	if w.Cause == 0 || stage == step.StageNone {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.failover(now, w.Cause, w.Object.String(), w.Why)
	f.stage(now, stage)
	if _, host := w.Object.(step.Route); host && stage == step.StageInstall {
		f.Hosts = max(f.Hosts, f.count(stage))
	}
}

// Failed records that a want could not be applied, once per want and not at every attempt.
func (j *Journal) Failed(now model.Instant, w step.Want, attempt int, err string) {
	if attempt != 1 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.add(now, Entry{
		What: "failed", Port: w.Key().Port, Addr: addrOf(w), Text: textOf(w) + " failed, will try again", Why: err, Cause: w.Cause, Warn: true,
	})
}

func textOf(w step.Want) string {
	if w.Absent {
		return "no " + w.Object.String()
	}
	return w.Object.String()
}

func addrOf(w step.Want) string {
	if p := w.Key().Prefix; p.IsValid() && p.IsSingleIP() {
		return p.Addr().String()
	}
	return ""
}

// stageOf is the failover stage that an applied want completes.
func stageOf(w step.Want) step.Stage {
	switch o := w.Object.(type) {
	case step.Advertisement:
		if w.Absent {
			return step.StageWithdraw
		}
		return step.StageAdvertise
	case step.Route, step.FDB, step.BondActive:
		if w.Absent {
			return step.StageNone // cleaning up is no part of a failover
		}
		return step.StageInstall
	case step.Rule:
		return step.StageInstall
	case step.Gate:
		if o.Closed {
			return step.StageClose
		}
		return step.StageOpen
	}
	return step.StageNone
}

// add needs the lock.
func (j *Journal) add(now model.Instant, e Entry) {
	j.seq++
	e.Seq, e.MonoNs, e.WallMs, e.Node = j.seq, int64(now.Mono), now.Wall, j.node
	j.entries.push(e)
	for ch := range j.followers {
		select {
		case ch <- e:
		default: // too slow: cut off, so that it notices and asks again from its last Seq
			delete(j.followers, ch)
			close(ch)
		}
	}
}

// failover needs the lock; it finds or begins the record of a cause.
func (j *Journal) failover(now model.Instant, c step.Cause, text, why string) *Failover {
	if f := j.byCause[c]; f != nil {
		return f
	}
	f := &Failover{Cause: c, Node: j.node, MonoNs: int64(now.Mono), WallMs: now.Wall, Text: text, Why: why}
	if old, dropped := j.failovers.push(f); dropped {
		delete(j.byCause, old.Cause)
	}
	j.byCause[c] = f
	return f
}

func (f *Failover) count(s step.Stage) int {
	for _, st := range f.Stages {
		if st.Stage == s.String() {
			return st.Count
		}
	}
	return 0
}

// stage notes that a stage was seen now.
func (f *Failover) stage(now model.Instant, s step.Stage) {
	ms := float64(int64(now.Mono)-f.MonoNs) / 1e6
	for i := range f.Stages {
		if f.Stages[i].Stage == s.String() {
			f.Stages[i].LastMs = ms
			f.Stages[i].Count++
			return
		}
	}
	f.Stages = append(f.Stages, StageTime{Stage: s.String(), FirstMs: ms, LastMs: ms, Count: 1})
}

// Since lists the entries after the given monotonic instant in nanoseconds, oldest first.
func (j *Journal) Since(monoNs int64) []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries.list(func(e Entry) bool { return e.MonoNs > monoNs })
}

// Failovers lists the ledger, oldest first.
func (j *Journal) Failovers() []Failover {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := []Failover{}
	for _, f := range j.failovers.list(func(*Failover) bool { return true }) {
		c := *f
		c.Stages = append([]StageTime{}, f.Stages...)
		out = append(out, c)
	}
	return out
}

// Follow gives every entry from now on, and a function that ends it. The channel is closed when the follower is too slow.
func (j *Journal) Follow() (<-chan Entry, func()) {
	ch := make(chan Entry, followMax)
	j.mu.Lock()
	j.followers[ch] = struct{}{}
	j.mu.Unlock()
	return ch, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if _, on := j.followers[ch]; on {
			delete(j.followers, ch)
			close(ch)
		}
	}
}

// ring holds the newest max values.
type ring[T any] struct {
	max   int
	items []T
	next  int
}

// push adds a value; it returns the value that fell out, if one did.
func (r *ring[T]) push(v T) (old T, dropped bool) {
	if len(r.items) < r.max {
		r.items = append(r.items, v)
		return old, false
	}
	old = r.items[r.next]
	r.items[r.next] = v
	r.next = (r.next + 1) % r.max
	return old, true
}

// list gives the values that pass, oldest first.
func (r *ring[T]) list(keep func(T) bool) []T {
	out := []T{}
	for i := range r.items {
		if v := r.items[(r.next+i)%len(r.items)]; keep(v) {
			out = append(out, v)
		}
	}
	return out
}

// String is the entry as one line of text.
func (e Entry) String() string {
	if e.Why == "" {
		return fmt.Sprintf("%s %s: %s", e.Node, e.What, e.Text)
	}
	return fmt.Sprintf("%s %s: %s (%s)", e.Node, e.What, e.Text, e.Why)
}
