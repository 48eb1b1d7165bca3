package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"peerless/internal/engine"
)

// keepAlive is how often a quiet stream says that it lives, so that a dead reader is noticed.
const keepAlive = 15 * time.Second

// events lists the journal, or follows it as server-sent events.
func (o Options) events(w http.ResponseWriter, r *http.Request) (any, error) {
	since, err := sinceParam(r)
	if err != nil {
		return nil, err
	}
	switch r.URL.Query().Get("follow") {
	case "", "0":
		return list(o.Journal.Since(since)), nil
	case "1":
	default:
		return nil, refusal{http.StatusBadRequest, "follow takes 0 or 1"}
	}
	flush, ok := w.(http.Flusher)
	if !ok {
		return nil, refusal{http.StatusNotImplemented, "this connection cannot be followed on"}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	flush.Flush()
	s := stream{w: w, flush: flush, since: since}
	for r.Context().Err() == nil && r.Method == http.MethodGet {
		if !s.follow(r.Context(), o.Journal) {
			break
		}
	}
	return nil, nil
}

// stream is one follower. Subscribing comes before reading the past, so nothing falls between; what came both ways is told by its
// sequence number.
type stream struct {
	w     http.ResponseWriter
	flush http.Flusher
	since int64
	last  uint64
}

// follow sends the past and then what comes. It reports true when the journal cut a slow stream off: it can go on from the
// last entry sent.
func (s *stream) follow(ctx context.Context, j Journal) bool {
	ch, end := j.Follow()
	defer end()
	for _, e := range j.Since(s.since) {
		if !s.send(e) {
			return false
		}
	}
	s.flush.Flush()
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
			if _, err := fmt.Fprint(s.w, ": still here\n\n"); err != nil {
				return false
			}
			s.flush.Flush()
		case e, open := <-ch:
			if !open {
				// Entries of one instant may be on both sides of the cut: ask again from just before it.
				s.since = max(s.since-1, 0)
				return true
			}
			if !s.send(e) {
				return false
			}
			s.flush.Flush()
		}
	}
}

// send writes one entry once.
func (s *stream) send(e engine.Entry) bool {
	if e.Seq <= s.last {
		return true
	}
	b, err := json.Marshal(e)
	if err != nil {
		return false
	}
	s.last, s.since = e.Seq, e.MonoNs
	_, err = fmt.Fprintf(s.w, "id: %d\ndata: %s\n\n", e.Seq, b)
	return err == nil
}
