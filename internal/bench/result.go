package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Result is everything that was measured.
type Result struct {
	Started time.Time `json:"started"`
	Machine string    `json:"machine"`
	PaceUs  float64   `json:"pace_us"` // between two probes of a flow
	Rows    []Row     `json:"rows"`
	Samples []Sample  `json:"samples"`
	Skipped []Skipped `json:"skipped,omitempty"`
}

// Skipped was not measured.
type Skipped struct {
	Engine string `json:"engine"`
	Hosts  int    `json:"hosts"`
	Why    string `json:"why"`
}

// Spread is the median of some values and their quartiles.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Row is one engine, fault and number of hosts.
type Row struct {
	Engine  string  `json:"engine"`
	Fault   string  `json:"fault"`
	Hosts   int     `json:"hosts"`
	Runs    int     `json:"runs"`    // that count
	Invalid int     `json:"invalid"` // that do not
	Outage  Spread  `json:"outage_ms"`
	Worst   Spread  `json:"worst_ms"`
	Right   Spread  `json:"right_ms"`
	PauseMs float64 `json:"sender_pause_ms"` // median of the runs' longest
	Returns int     `json:"returns"`         // ways back that were seen to the end
	Lossy   int     `json:"lossy_returns"`   // of them, those on which a probed host lost something
	ToFloor float64 `json:"to_floor"`        // median outage, as a multiple of the floor's in the same runs; 0: no floor
	ToGoBGP float64 `json:"to_floor_gobgp"`
	RightTo float64 `json:"right_to_floor"`
}

// spread of no values is not a number that anybody measured: zeros.
func spread(v []float64) Spread {
	if len(v) == 0 {
		return Spread{}
	}
	v = slices.Sorted(slices.Values(v))
	at := func(q float64) float64 {
		x := q * float64(len(v)-1)
		i := int(x)
		if i+1 == len(v) {
			return v[i]
		}
		return v[i] + (x-float64(i))*(v[i+1]-v[i])
	}
	return Spread{Median: at(0.5), Low: at(0.25), High: at(0.75)}
}

// Summarize makes the rows from the samples.
func (r *Result) Summarize() {
	type key struct {
		fault, engine string
		hosts         int
	}
	groups := map[key][]Sample{}
	for _, s := range r.Samples {
		k := key{s.Fault, s.Engine, s.Hosts}
		groups[k] = append(groups[k], s)
	}
	r.Rows = []Row{}
	for k, samples := range groups {
		row := Row{Engine: k.engine, Fault: k.fault, Hosts: k.hosts}
		row.read(samples)
		r.Rows = append(r.Rows, row)
	}
	slices.SortFunc(r.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Fault, a.Fault), cmp.Compare(a.Hosts, b.Hosts), order(a.Engine, b.Engine))
	})
	for i := range r.Rows {
		row := &r.Rows[i]
		if f := r.row("floor", row.Fault, row.Hosts); f != nil {
			row.ToFloor, row.RightTo = ratio(row.Outage, f.Outage), ratio(row.Right, f.Right)
		}
		if f := r.row("floor-gobgp", row.Fault, row.Hosts); f != nil {
			row.ToGoBGP = ratio(row.Outage, f.Outage)
		}
	}
}

func (r *Result) row(engine, fault string, hosts int) *Row {
	for i := range r.Rows {
		if row := &r.Rows[i]; row.Engine == engine && row.Fault == fault && row.Hosts == hosts && row.Runs > 0 {
			return row
		}
	}
	return nil
}

func ratio(a, b Spread) float64 {
	if b.Median == 0 {
		return 0
	}
	return a.Median / b.Median
}

func (row *Row) read(samples []Sample) {
	var outage, worst, right, pause []float64
	for _, s := range samples {
		if s.Invalid != "" || len(s.OutageMs) == 0 {
			row.Invalid++
			continue
		}
		row.Runs++
		if s.ReturnLost != nil {
			row.Returns++
			if *s.ReturnLost > 0 {
				row.Lossy++
			}
		}
		outage = append(outage, spread(s.OutageMs).Median)
		worst = append(worst, slices.Max(s.OutageMs))
		right = append(right, s.RightMs)
		pause = append(pause, s.PauseMs)
	}
	row.Outage, row.Worst, row.Right, row.PauseMs = spread(outage), spread(worst), spread(right), spread(pause).Median
}

// Join adds the samples of earlier runs on the same machine.
func (r *Result) Join(path string) error {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("join earlier runs: %w", err)
	}
	var old Result
	if err := json.Unmarshal(b, &old); err != nil {
		return fmt.Errorf("join earlier runs of %s: %w", path, err)
	}
	if old.PaceUs != r.PaceUs {
		return fmt.Errorf("join earlier runs of %s: they were measured every %v µs, these every %v µs", path, old.PaceUs, r.PaceUs)
	}
	r.Started = old.Started
	r.Samples = append(old.Samples, r.Samples...)
	for _, s := range old.Skipped {
		if !slices.Contains(r.Skipped, s) {
			r.Skipped = append(r.Skipped, s)
		}
	}
	return nil
}

// WriteJSON writes everything.
func (r *Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// machine says where it was measured.
func machine() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return fmt.Sprintf("Linux %s, %d cores", unix.ByteSliceToString(u.Release[:]), runtime.NumCPU())
}

// decade is the power of ten at or below a value.
func decade(v float64) float64 { return math.Floor(math.Log10(v)) }
