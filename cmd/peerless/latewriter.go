package main

import (
	"io"
	"sync"
)

// lateMax bounds what a lateWriter holds; a writer of more waits.
const lateMax = 1 << 20

// lateWriter hands what is written to a goroutine of its own: a repair does not wait until its log line is on a disk. What was written
// before close comes out in order; a process that is killed loses the last lines.
type lateWriter struct {
	w    io.Writer
	mu   sync.Mutex
	turn *sync.Cond
	held []byte
	over bool
	done chan struct{}
}

func newLateWriter(w io.Writer) *lateWriter {
	l := &lateWriter{w: w, done: make(chan struct{})}
	l.turn = sync.NewCond(&l.mu)
	go l.run()
	return l
}

// Write never fails: there is nobody to tell.
func (l *lateWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.held) > lateMax && !l.over {
		l.turn.Wait()
	}
	l.held = append(l.held, p...)
	l.turn.Broadcast()
	return len(p), nil
}

func (l *lateWriter) run() {
	defer close(l.done)
	var out []byte
	for {
		l.mu.Lock()
		for len(l.held) == 0 && !l.over {
			l.turn.Wait()
		}
		out, l.held = l.held, out[:0]
		over := l.over
		l.turn.Broadcast()
		l.mu.Unlock()
		if len(out) > 0 {
			_, _ = l.w.Write(out)
		} else if over {
			return
		}
	}
}

// close waits until everything is written.
func (l *lateWriter) close() {
	l.mu.Lock()
	l.over = true
	l.turn.Broadcast()
	l.mu.Unlock()
	<-l.done
}
