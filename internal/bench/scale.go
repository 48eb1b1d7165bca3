package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"peerless/internal/bench/hand"
	"peerless/internal/lab/netns"
	"peerless/internal/lab/probe"
	"peerless/internal/model"
	"peerless/internal/step"
)

// How scale is measured.
const (
	restFor     = 10 * time.Second // of CPU at rest
	settleFor   = 3 * time.Second  // before memory is read and rest begins
	scaleMax    = 60 * time.Second // an amount of hosts that is not there by then has failed
	ticksSecond = 100              // USER_HZ, the unit of CPU time in /proc
	askedMax    = 10_000           // questions a second that a leaf asks at most
)

// Scale is what a number of hosts costs.
type Scale struct {
	Hosts       int     `json:"hosts"`
	LearnMs     float64 `json:"learn_ms"`      // from the first announcement of a host until the gateway's kernel has all
	LearnRate   float64 `json:"learn_rate"`    // hosts a second
	LeafBytes   float64 `json:"leaf_bytes"`    // resident memory a host, above the daemon without hosts
	GateBytes   float64 `json:"gateway_bytes"` // the same of the gateway
	LeafCPU     float64 `json:"leaf_cpu_pct"`  // of one core, at rest
	FloorCPU    float64 `json:"floor_cpu_pct"` // of one core: the least that asks as many hosts as often
	GateCPU     float64 `json:"gateway_cpu_pct"`
	ShowMs      float64 `json:"show_hosts_ms"`  // on the leaf
	StartMs     float64 `json:"start_ms"`       // of a leaf whose hosts are in the kernel, until it advertises all
	FirstEvent  float64 `json:"first_event_ms"` // from the start of that process to its first journal entry
	LeafEmptyMB float64 `json:"leaf_empty_mb"`
	GateEmptyMB float64 `json:"gateway_empty_mb"`
	Failed      string  `json:"failed,omitempty"`
}

// ScaleResult is all numbers of hosts.
type ScaleResult struct {
	Started  time.Time `json:"started"`
	Machine  string    `json:"machine"`
	BinaryMB float64   `json:"binary_mb"`
	Rows     []Scale   `json:"rows"`
}

// MeasureScale measures peerless with each number of hosts, one after another.
func MeasureScale(ctx context.Context, o Options) (*ScaleResult, error) {
	o, _, err := o.prepare()
	if err != nil {
		return nil, err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	res := &ScaleResult{Started: time.Now().UTC(), Machine: machine()}
	if info, err := os.Stat(o.Binary); err == nil {
		res.BinaryMB = float64(info.Size()) / 1e6
	}
	for _, hosts := range slices.Sorted(slices.Values(o.Hosts)) {
		row, err := scale(ctx, hosts, o)
		if err != nil {
			return res, err
		}
		res.Rows = append(res.Rows, row)
	}
	return res, nil
}

func scale(ctx context.Context, hosts int, o Options) (row Scale, err error) {
	list, err := pick([]string{"bgp"})
	if err != nil {
		return row, err
	}
	s, err := build(ctx, list[0], hosts, o)
	if err != nil {
		return row, err
	}
	defer func() {
		if err != nil || row.Failed != "" {
			s.stand.KeepLogs()
		}
		err = errors.Join(err, s.end())
	}()
	row.Hosts = hosts
	for _, part := range []struct {
		name string
		do   func(context.Context, *Scale) error
	}{{"learn", s.scaleLearn}, {"rest", s.scaleRest}, {"floor of rest", s.scaleFloor}, {"show", s.scaleShow}, {"start", s.scaleStart}} {
		began := time.Now()
		err := part.do(ctx, &row)
		fmt.Fprintf(o.Progress, "%d hosts: %s (%s)\n", hosts, part.name, time.Since(began).Round(time.Millisecond))
		if ctx.Err() != nil {
			return row, context.Cause(ctx)
		}
		if err != nil {
			row.Failed = part.name + ": " + err.Error()
			return row, nil
		}
	}
	return row, nil
}

// scaleLearn: every host announces itself, and the gateway's kernel has to get them all.
func (s *stage) scaleLearn(ctx context.Context, row *Scale) error {
	if err := s.up(ctx); err != nil {
		return err
	}
	leaf, gateway := s.resident(nodeA), s.resident(nodeG)
	row.LeafEmptyMB, row.GateEmptyMB = leaf/1e6, gateway/1e6
	began := time.Now()
	if err := s.steady(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	row.LearnMs, row.LearnRate = ms(took), float64(s.hosts)/took.Seconds()
	time.Sleep(settleFor)
	row.LeafBytes = (s.resident(nodeA) - leaf) / float64(s.hosts)
	row.GateBytes = (s.resident(nodeG) - gateway) / float64(s.hosts)
	return nil
}

// up waits until the daemons have nothing to do any more but learn: the gateway has the server itself by the old leaf, and its other port.
func (s *stage) up(ctx context.Context) error {
	for end := time.Now().Add(steadyMax); ; time.Sleep(50 * time.Millisecond) {
		switch {
		case s.unready(ctx) == 0: // the server itself is a host
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(end):
			return fmt.Errorf("wait for the daemons: not ready after %s", steadyMax)
		}
	}
}

func (s *stage) scaleRest(_ context.Context, row *Scale) error {
	leaf, gateway := s.cpu(nodeA), s.cpu(nodeG)
	time.Sleep(restFor)
	row.LeafCPU = 100 * (s.cpu(nodeA) - leaf).Seconds() / restFor.Seconds()
	row.GateCPU = 100 * (s.cpu(nodeG) - gateway).Seconds() / restFor.Seconds()
	return nil
}

// scaleFloor asks the hosts in the leaf's place, which hears the answers and spares its own questions. What it measures is one thread's time.
func (s *stage) scaleFloor(_ context.Context, row *Scale) error {
	own, err := model.ParseMAC(gateMAC)
	if err != nil {
		return err
	}
	theirs, err := model.ParseMAC(behindMAC)
	if err != nil {
		return err
	}
	a := hand.Asking{Port: "A1", MAC: own, From: gate, To: theirs, PerGrid: max(1, min(s.hosts, askedMax)/100), Duration: restFor}
	for i := range s.hosts {
		a.Hosts = append(a.Hosts, host(i))
	}
	var got hand.Asked
	if err := netns.Do(s.stand.Space(nodeA), func() error {
		got, err = hand.Ask(a)
		return err
	}); err != nil {
		return err
	}
	if got.Answered < got.Sent*9/10 {
		return fmt.Errorf("%d of %d questions were answered", got.Answered, got.Sent)
	}
	row.FloorCPU = 100 * got.CPU.Seconds() / restFor.Seconds()
	return nil
}

func (s *stage) scaleShow(ctx context.Context, row *Scale) error {
	began := time.Now()
	var hosts []step.HostRow
	if err := s.stand.Ask(ctx, nodeA, "hosts", &hosts); err != nil {
		return err
	}
	row.ShowMs = ms(time.Since(began))
	if len(hosts) < s.hosts {
		return fmt.Errorf("%d hosts are shown, want %d", len(hosts), s.hosts)
	}
	return nil
}

// scaleStart kills the leaf's daemon and starts it again: its hosts are in the kernel, and it takes them up.
func (s *stage) scaleStart(ctx context.Context, row *Scale) error {
	began := probe.Mono()
	if err := s.stand.Restart(nodeA); err != nil {
		return err
	}
	told, first, since, last := 0, int64(0), began, uint64(0) // the journal forgets: it is read as it grows
	for end := time.Now().Add(scaleMax); ; time.Sleep(20 * time.Millisecond) {
		var events []struct {
			Seq    uint64 `json:"seq"`
			MonoNs int64  `json:"mono_ns"`
			What   string `json:"what"`
			Hosts  int    `json:"hosts"`
		}
		if s.stand.Ask(ctx, nodeA, "events?since_ns="+strconv.FormatInt(since, 10), &events) == nil {
			for _, e := range events {
				if e.Seq <= last {
					continue
				}
				if first == 0 {
					first = e.MonoNs
				}
				if since, last = e.MonoNs, e.Seq; e.What == "hosts-advertised" {
					told += e.Hosts
				}
				if told >= s.hosts {
					row.StartMs, row.FirstEvent = ms(time.Duration(e.MonoNs-began)), ms(time.Duration(first-began))
					return nil
				}
			}
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(end):
			return fmt.Errorf("%d of %d hosts advertised after %s", told, s.hosts, scaleMax)
		}
	}
}

// resident is a daemon's resident memory, in bytes.
func (s *stage) resident(node string) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.stand.PID(node, "daemon")))
	fields := bytes.Fields(b)
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseFloat(string(fields[1]), 64)
	return pages * float64(os.Getpagesize())
}

// cpu is the time that a daemon has used.
func (s *stage) cpu(node string) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.stand.PID(node, "daemon")))
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const user, system = 11, 12 // counted from the state, behind the name in brackets
	if err != nil || len(fields) <= system {
		return 0
	}
	u, _ := strconv.ParseInt(string(fields[user]), 10, 64)
	k, _ := strconv.ParseInt(string(fields[system]), 10, 64)
	return time.Duration(u+k) * time.Second / ticksSecond
}

// WriteJSON writes everything.
func (r *ScaleResult) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// WriteTable writes the figures for people. Markdown is for documents.
func (r *ScaleResult) WriteTable(w io.Writer, markdown bool) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"hosts", "learned a second", "leaf, bytes a host", "gateway, bytes a host", "leaf at rest, % of a core", "floor, %",
		"gateway at rest, %", "show hosts, ms", "start until all advertised, ms", "first event, ms", ""})
	for _, s := range r.Rows {
		t.AppendRow(table.Row{s.Hosts, figure(s.LearnRate), figure(s.LeafBytes), figure(s.GateBytes), figure(s.LeafCPU), figure(s.FloorCPU), figure(s.GateCPU),
			figure(s.ShowMs), figure(s.StartMs), figure(s.FirstEvent), s.Failed})
	}
	out := t.Render()
	if markdown {
		out = t.RenderMarkdown()
	}
	if _, err := fmt.Fprintf(w, "%s\nbinary %.1f MB\n", out, r.BinaryMB); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}
