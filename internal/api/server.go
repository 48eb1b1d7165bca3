// Package api serves what a daemon knows over HTTP on a unix socket, and asks for it on the other side.
//
// It decides who may ask (the socket's mode and group) and in which form the answer comes. A question (GET) never changes
// anything; an order (POST) is given to the machine, which takes or refuses it, or ends the daemon. It never touches the network itself.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"peerless/internal/engine"
	"peerless/internal/step"
)

// Source is the running engine as the api sees it.
type Source interface {
	View(ctx context.Context) (step.View, error)
	Command(ctx context.Context, c step.Commanded) (step.View, error)
}

// Journal is what happened and why.
type Journal interface {
	Since(monoNs int64) []engine.Entry
	Failovers() []engine.Failover
	Follow() (<-chan engine.Entry, func())
}

// Status is the daemon itself.
type Status struct {
	Name      string `json:"name"`
	Role      string `json:"role"`
	Version   string `json:"version"`
	PID       int    `json:"pid"`
	StartedMs int64  `json:"started_ms"` // Unix time in milliseconds
}

// Options says what is served, and to whom.
type Options struct {
	Socket  string
	Mode    os.FileMode
	Group   string // empty: the process's own
	Status  Status
	Source  Source
	Journal Journal
	Stop    func()  // ends the daemon
	Speaker Speaker // nil: this daemon has no routing sessions of its own
}

// Server is one daemon's api. Listen makes it, Serve runs it.
type Server struct {
	opts     Options
	listener *net.UnixListener
	identity os.FileInfo // of the socket file, so that only our own is removed
	http     *http.Server
}

// Timeouts of the server: a client that never finishes its question costs one file descriptor for so long.
const (
	headerTimeout   = 5 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = time.Second
	headerBytesMax  = 16 << 10
)

// Serve answers until the context ends, and then removes the socket.
func (s *Server) Serve(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(s.listener) }()
	var err error
	select {
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if s.http.Shutdown(stop) != nil {
			_ = s.http.Close()
		}
		err = <-done
	case err = <-done:
	}
	s.remove()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve api on %s: %w", s.opts.Socket, err)
	}
	return nil
}

// Close ends a server that was never run.
func (s *Server) Close() {
	_ = s.listener.Close()
	s.remove()
}

type endpoint func(w http.ResponseWriter, r *http.Request) (any, error)

// handler serves the endpoints; everything it says is JSON.
func (o Options) handler() http.Handler {
	endpoints := map[string]endpoint{
		"/v1/ports":     o.rows(func(v step.View) any { return v.Ports }),
		"/v1/hosts":     o.rows(func(v step.View) any { return v.Hosts }),
		"/v1/linkage":   o.rows(func(v step.View) any { return v.Linkage }),
		"/v1/mapping":   o.rows(func(v step.View) any { return v.Mapping }),
		"/v1/sessions":  o.rows(func(v step.View) any { return v.Sessions }),
		"/v1/failovers": func(http.ResponseWriter, *http.Request) (any, error) { return list(o.Journal.Failovers()), nil },
		"/v1/status":    func(http.ResponseWriter, *http.Request) (any, error) { return o.Status, nil },
		"/v1/events":    o.events,
		"/v1/why":       o.why,
		"/v1/drain":     o.drain,
	}
	orders := map[string]endpoint{
		"/v1/drain":   o.order(step.OrderDrain),
		"/v1/undrain": o.order(step.OrderUndrain),
		"/v1/stop":    o.stop,

		"/v1/session/shut": o.session(Speaker.Shut),
		"/v1/session/open": o.session(Speaker.Open),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question, asks := endpoints[r.URL.Path]
		order, orders := orders[r.URL.Path]
		var serve endpoint
		switch {
		case !asks && !orders:
			reply(w, http.StatusNotFound, problem{"no such path: " + r.URL.Path})
			return
		case asks && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			serve = question
		case orders && r.Method == http.MethodPost:
			serve = order
		default:
			w.Header().Set("Allow", allowed(asks, orders))
			reply(w, http.StatusMethodNotAllowed, problem{r.Method + " is not allowed on " + r.URL.Path})
			return
		}
		answer, err := serve(w, r)
		switch {
		case err != nil:
			status := http.StatusServiceUnavailable
			if f := (refusal{}); errors.As(err, &f) {
				status = f.status
			}
			reply(w, status, problem{err.Error()})
		case answer != nil:
			reply(w, http.StatusOK, answer)
		}
	})
}

// stop ends the daemon. What is asked already is still answered.
func (o Options) stop(http.ResponseWriter, *http.Request) (any, error) {
	o.Stop()
	return o.Status, nil
}

func allowed(asks, orders bool) string {
	switch {
	case asks && orders:
		return "GET, HEAD, POST"
	case orders:
		return "POST"
	}
	return "GET, HEAD"
}

type problem struct {
	Error string `json:"error"`
}

// refusal is an error that is the asker's.
type refusal struct {
	status int
	text   string
}

func (f refusal) Error() string { return f.text }

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the asker is gone when this fails
}

func (o Options) view(r *http.Request) (step.View, error) {
	v, err := o.Source.View(r.Context())
	if err != nil {
		return step.View{}, fmt.Errorf("ask the engine: %w", err)
	}
	return whole(v), nil
}

func (o Options) rows(pick func(step.View) any) endpoint {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		v, err := o.view(r)
		if err != nil {
			return nil, err
		}
		return pick(v), nil
	}
}

// sinceParam reads the optional since_ns, CLOCK_MONOTONIC in nanoseconds.
func sinceParam(r *http.Request) (int64, error) {
	text := r.URL.Query().Get("since_ns")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, refusal{http.StatusBadRequest, fmt.Sprintf("since_ns=%q is not a number of nanoseconds", text)}
	}
	return n, nil
}
