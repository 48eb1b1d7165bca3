package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"peerless/internal/lab/topology"
)

// Settle is how long a packet may be under way: the fate of younger ones is not known yet.
const Settle = 50 * time.Millisecond

// spansMax bounds the gaps of one flow of which the exact times are asked for.
const spansMax = 4096

// Client talks to the probe of one node.
type Client struct {
	mu  sync.Mutex
	enc *json.Encoder
	dec *json.Decoder
}

// NewClient speaks over the probe's standard input and output.
func NewClient(stdin io.Writer, stdout io.Reader) *Client {
	return &Client{enc: json.NewEncoder(stdin), dec: json.NewDecoder(stdout)}
}

// Do asks and waits for the answer.
func (c *Client) Do(req *Request) (*Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enc.Encode(req); err != nil {
		return nil, fmt.Errorf("ask probe: %w", err)
	}
	var resp Response
	if err := c.dec.Decode(&resp); err != nil {
		return nil, fmt.Errorf("hear probe: %w", err)
	}
	if resp.Error != "" {
		return nil, errors.New("probe: " + resp.Error)
	}
	return &resp, nil
}

// Fleet is the probes of all nodes that are an end of a flow. A flow's number is its place in the list.
type Fleet struct {
	flows   []topology.Flow
	clients map[string]*Client
}

// NewFleet sets every probe up; clients must have one for each end of each flow.
func NewFleet(run uint32, flows []topology.Flow, clients map[string]*Client) (*Fleet, error) {
	f := &Fleet{flows: flows, clients: clients}
	return f, f.each(func(node string, c *Client) error {
		req := &Request{Op: "setup", Run: run}
		for i, fl := range flows {
			if fl.Sender == node {
				req.Send = append(req.Send, SendSpec{Flow: uint32(i), Source: fl.Source, Dest: fl.Dest})
			}
			if slices.Contains(fl.Receivers, node) {
				req.Receive = append(req.Receive, uint32(i))
			}
		}
		_, err := c.Do(req)
		return err
	})
}

// Ends lists the nodes that need a probe.
func Ends(flows []topology.Flow) []string {
	var out []string
	for _, f := range flows {
		out = append(append(out, f.Sender), f.Receivers...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// each asks all probes at once.
func (f *Fleet) each(ask func(node string, c *Client) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for node, c := range f.clients {
		wg.Go(func() {
			if err := ask(node, c); err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("node %s: %w", node, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Rate sets the interval of the flows for which it is asked; the rest stay as they are.
func (f *Fleet) Rate(interval time.Duration, of func(topology.Flow) bool) error {
	return f.each(func(node string, c *Client) error {
		req := &Request{Op: "rate", Every: int64(interval)}
		for i, fl := range f.flows {
			if fl.Sender == node && of(fl) {
				req.Flows = append(req.Flows, uint32(i))
			}
		}
		if len(req.Flows) == 0 {
			return nil
		}
		_, err := c.Do(req)
		return err
	})
}

// Measured is a flow's outcome. Pause is the longest time that the sender itself was silent: no outage can be told finer.
type Measured struct {
	Outcome
	Pause time.Duration
}

// Measure says what became of every flow's packets sent in [from, to), in the order of the flows.
func (f *Fleet) Measure(from, to int64, tail time.Duration) ([]Measured, error) {
	windows, pauses, err := f.windows(from, to)
	if err != nil {
		return nil, err
	}
	seen, err := f.seen(windows)
	if err != nil {
		return nil, err
	}
	times, err := f.times(windows, seen)
	if err != nil {
		return nil, err
	}
	out := make([]Measured, len(f.flows))
	for i := range f.flows {
		at := func(seq uint64) int64 { return times[i][seq] }
		out[i] = Measured{Outcome: Evaluate(windows[i], seen[i], at, tail), Pause: pauses[i]}
	}
	return out, nil
}

func (f *Fleet) windows(from, to int64) ([]Span, []time.Duration, error) {
	spans, pauses := make([]Span, len(f.flows)), make([]time.Duration, len(f.flows))
	err := f.each(func(_ string, c *Client) error {
		resp, err := c.Do(&Request{Op: "windows", From: from, To: to})
		if err != nil {
			return err
		}
		for _, w := range resp.Windows { // each flow has one sender: no two probes write the same place
			spans[w.Flow], pauses[w.Flow] = w.Span, time.Duration(w.Pause)
		}
		return nil
	})
	return spans, pauses, err
}

func (f *Fleet) seen(windows []Span) ([]Seen, error) {
	var mu sync.Mutex
	all := make([][]Seen, len(f.flows))
	err := f.each(func(node string, c *Client) error {
		req := &Request{Op: "seen"}
		for i, fl := range f.flows {
			if slices.Contains(fl.Receivers, node) {
				req.Spans = append(req.Spans, FlowSpan{Flow: uint32(i), Span: windows[i]})
			}
		}
		if len(req.Spans) == 0 {
			return nil
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, s := range resp.Seen {
			all[s.Flow] = append(all[s.Flow], Seen{Missing: s.Missing, Duplicated: s.Duplicated, Delay: time.Duration(s.Delay)})
		}
		return nil
	})
	out := make([]Seen, len(f.flows))
	for i := range f.flows {
		out[i] = Merge(windows[i], all[i])
		out[i].Missing = coarsen(out[i].Missing)
	}
	return out, err
}

// coarsen keeps a flow that lost every other packet from making the answer as long as the flow: the delivered packets between two
// gaps of such a flow count as lost from there on.
func coarsen(spans []Span) []Span {
	if len(spans) <= spansMax {
		return spans
	}
	spans[spansMax-1].End = spans[len(spans)-1].End
	return spans[:spansMax]
}

// times fetches the send times that Evaluate asks for.
func (f *Fleet) times(windows []Span, seen []Seen) ([]map[uint64]int64, error) {
	out := make([]map[uint64]int64, len(f.flows))
	for i := range out {
		out[i] = map[uint64]int64{}
	}
	err := f.each(func(node string, c *Client) error {
		req := &Request{Op: "times"}
		for i, fl := range f.flows {
			if fl.Sender != node || windows[i].Len() == 0 {
				continue
			}
			q := FlowSeqs{Flow: uint32(i), Seqs: []uint64{windows[i].End - 1}}
			for _, m := range seen[i].Missing {
				q.Seqs = append(q.Seqs, m.First, m.End-1)
				if m.End < windows[i].End {
					q.Seqs = append(q.Seqs, m.End)
				}
			}
			req.Seqs = append(req.Seqs, q)
		}
		if len(req.Seqs) == 0 {
			return nil
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		for n, q := range req.Seqs {
			for k, seq := range q.Seqs {
				out[q.Flow][seq] = resp.Times[n][k]
			}
		}
		return nil
	})
	return out, err
}

// Stats asks every probe how good its measurement is.
func (f *Fleet) Stats() (map[string]Stats, error) {
	var mu sync.Mutex
	out := map[string]Stats{}
	return out, f.each(func(node string, c *Client) error {
		resp, err := c.Do(&Request{Op: "stats"})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		out[node] = *resp.Stats
		return nil
	})
}
