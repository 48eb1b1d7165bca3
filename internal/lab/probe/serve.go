package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Request is one line to a probe. Exactly one of the pointers and lists is used, by Op.
type Request struct {
	Op      string     `json:"op"` // setup, rate, windows, seen, times, stats
	Run     uint32     `json:"run,omitempty"`
	Send    []SendSpec `json:"send,omitempty"`
	Receive []uint32   `json:"receive,omitempty"`
	Flows   []uint32   `json:"flows,omitempty"`
	Every   int64      `json:"every_ns,omitempty"` // rate; 0 pauses
	From    int64      `json:"from_ns,omitempty"`
	To      int64      `json:"to_ns,omitempty"`
	Spans   []FlowSpan `json:"spans,omitempty"`
	Seqs    []FlowSeqs `json:"seqs,omitempty"`
}

// SendSpec is a flow that the probe sends.
type SendSpec struct {
	Flow   uint32     `json:"flow"`
	Source netip.Addr `json:"source"`
	Dest   netip.Addr `json:"dest"`
}

// FlowSpan is some packets of a flow. Pause is the longest time between two of them, in nanoseconds.
type FlowSpan struct {
	Flow  uint32 `json:"flow"`
	Span  Span   `json:"span"`
	Pause int64  `json:"pause_ns,omitempty"`
}

// FlowSeqs asks for the send times of these packets.
type FlowSeqs struct {
	Flow uint32   `json:"flow"`
	Seqs []uint64 `json:"seqs"`
}

// FlowSeen is what this node received of some packets.
type FlowSeen struct {
	Flow       uint32 `json:"flow"`
	Missing    []Span `json:"missing"`
	Duplicated uint64 `json:"duplicated"`
	Delay      int64  `json:"delay_ns,omitempty"`
}

// Response is one line from a probe.
type Response struct {
	Error   string     `json:"error,omitempty"`
	Windows []FlowSpan `json:"windows,omitempty"`
	Seen    []FlowSeen `json:"seen,omitempty"`
	Times   [][]int64  `json:"times,omitempty"`
	Stats   *Stats     `json:"stats,omitempty"`
}

// Stats tells how good the measurement is.
type Stats struct {
	CPUNs      int64  `json:"cpu_ns"`       // used by the whole process
	Drops      uint32 `json:"drops"`        // datagrams that the probe itself had no room for
	SendFailed uint64 `json:"send_failed"`  // packets that the kernel refused to send
	LastErrno  string `json:"last_refusal"` // why
	Strays     uint64 `json:"strays"`
}

// Run serves requests, one per line, until the input ends or ctx is done.
func Run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	// The loop allocates nothing and must not be stopped; what the questions allocate is little.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(1 << 30)
	runtime.GOMAXPROCS(max(3, runtime.GOMAXPROCS(0))) // the loop keeps one for itself
	s := &server{}
	defer s.close()
	lines := make(chan error, 1)
	go func() { lines <- s.serve(stdin, stdout) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-lines:
		return err
	}
}

type server struct {
	loop *loop
	stop atomic.Bool
	done chan struct{}
}

func (s *server) serve(stdin io.Reader, stdout io.Writer) error {
	in, out := json.NewDecoder(stdin), json.NewEncoder(stdout)
	for {
		var req Request
		if err := in.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		resp := s.answer(&req)
		if err := out.Encode(resp); err != nil {
			return fmt.Errorf("write response: %w", err)
		}
	}
}

func (s *server) answer(req *Request) (resp Response) {
	if req.Op == "setup" {
		if err := s.setup(req); err != nil {
			resp.Error = err.Error()
		}
		return resp
	}
	if s.loop == nil {
		return Response{Error: "setup comes first"}
	}
	done := make(chan struct{})
	ask := func() {
		defer close(done)
		resp = s.loop.answer(req)
	}
	s.loop.asked.Store(&ask)
	<-done
	return resp
}

func (s *server) setup(req *Request) error {
	if s.loop != nil {
		return errors.New("setup comes once")
	}
	l, err := newLoop(req.Run)
	if err != nil {
		return err
	}
	for _, f := range req.Send {
		if err := l.addSend(f.Flow, f.Source, f.Dest); err != nil {
			return err
		}
	}
	for _, id := range req.Receive {
		l.seen[id] = newSeenLog()
	}
	s.loop, s.done = l, make(chan struct{})
	go func() {
		defer close(s.done)
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // else the kernel may wake us 50 µs late
		l.turns(&s.stop)
	}()
	return nil
}

func (s *server) close() {
	if s.loop == nil {
		return
	}
	s.stop.Store(true)
	<-s.done
	_ = unix.Close(s.loop.rx)
	for _, f := range s.loop.send {
		_ = unix.Close(f.fd)
	}
}

// answer runs on the loop's thread.
func (l *loop) answer(req *Request) Response {
	switch req.Op {
	case "rate":
		return l.rate(req)
	case "windows":
		return l.windows(req)
	case "seen":
		return l.seenOf(req)
	case "times":
		return l.timesOf(req)
	case "stats":
		return l.stats()
	}
	return Response{Error: fmt.Sprintf("unknown operation %q", req.Op)}
}

func (l *loop) flow(id uint32) (*sendFlow, bool) {
	for _, f := range l.send {
		if f.id == id {
			return f, true
		}
	}
	return nil, false
}

func (l *loop) rate(req *Request) Response {
	now := l.clock.now()
	for _, id := range req.Flows {
		f, ok := l.flow(id)
		if !ok {
			return Response{Error: fmt.Sprintf("rate: flow %d is not sent here", id)}
		}
		f.interval, f.due = req.Every, now
	}
	return Response{}
}

func (l *loop) windows(req *Request) (resp Response) {
	for _, f := range l.send {
		first, end := f.log.window(req.From, req.To)
		resp.Windows = append(resp.Windows, FlowSpan{Flow: f.id, Span: Span{first, end}, Pause: f.log.pause(first, end)})
	}
	return resp
}

func (l *loop) seenOf(req *Request) (resp Response) {
	l.drain()
	for _, s := range req.Spans {
		log := l.seen[s.Flow]
		if log == nil {
			return Response{Error: fmt.Sprintf("seen: flow %d is not received here", s.Flow)}
		}
		missing, dup := log.missing(s.Span.First, s.Span.End)
		resp.Seen = append(resp.Seen, FlowSeen{Flow: s.Flow, Missing: missing, Duplicated: dup, Delay: log.latest(s.Span.First, s.Span.End)})
	}
	return resp
}

func (l *loop) timesOf(req *Request) (resp Response) {
	for _, q := range req.Seqs {
		f, ok := l.flow(q.Flow)
		if !ok {
			return Response{Error: fmt.Sprintf("times: flow %d is not sent here", q.Flow)}
		}
		times := make([]int64, len(q.Seqs))
		for i, seq := range q.Seqs {
			times[i] = f.log.at(seq)
		}
		resp.Times = append(resp.Times, times)
	}
	return resp
}

func (l *loop) stats() Response {
	st := &Stats{Drops: l.drops(), Strays: l.strays}
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) == nil {
		st.CPUNs = ru.Utime.Nano() + ru.Stime.Nano()
	}
	for _, f := range l.send {
		st.SendFailed += f.failed
		if f.errno != 0 {
			st.LastErrno = f.errno.Error()
		}
	}
	return Response{Stats: st}
}
