// Package report holds what a lab run found, and shows it: as JSON, as a table, as one self-contained page.
//
// It judges nothing: what is ok was decided by the run.
package report

import (
	"slices"
	"time"

	"peerless/internal/lab/topology"
	"peerless/internal/step"
)

// Result is a run of a topology through all its faults.
type Result struct {
	Topology   string           `json:"topology"`
	Engine     string           `json:"engine"`
	Gateway    string           `json:"gateway"` // peerless, or the routing engine of a gateway without it
	OK         bool             `json:"ok"`
	Error      string           `json:"error,omitempty"`
	Started    time.Time        `json:"started"`
	DurationMs float64          `json:"duration_ms"`
	ConvergeMs float64          `json:"converge_ms"` // from the first daemon's start until all traffic flowed and every backup was warm
	Kernel     string           `json:"kernel,omitempty"`
	Faults     []Fault          `json:"faults"`
	Summary    []Summary        `json:"summary,omitempty"` // of each fault, if it was run several times
	Steady     map[string]State `json:"steady,omitempty"`  // each node before the first fault
}

// Summary is one fault over several runs: the middle, the least and the greatest of the runs' medians, and the worst flow of all.
type Summary struct {
	Name     string  `json:"name"`
	Runs     int     `json:"runs"`
	NotOK    int     `json:"not_ok"`
	MedianMs float64 `json:"median_ms"`
	MinMs    float64 `json:"min_ms"`
	MaxMs    float64 `json:"max_ms"`
	WorstMs  float64 `json:"worst_ms"`
}

// Add takes what one fault did.
func (r *Result) Add(f Fault) {
	r.Faults = append(r.Faults, f)
	if f.OK {
		return
	}
	r.OK = false
	if r.Error == "" {
		r.Error = f.Name + ": " + f.Error
	}
}

// Summarize fills the summary if any fault was run several times.
func (r *Result) Summarize() {
	medians := map[string][]float64{}
	var all []Summary
	for _, f := range r.Faults {
		i := slices.IndexFunc(all, func(s Summary) bool { return s.Name == f.Name })
		if i < 0 {
			i, all = len(all), append(all, Summary{Name: f.Name})
		}
		s := &all[i]
		s.Runs++
		if !f.OK {
			s.NotOK++
		}
		s.WorstMs = max(s.WorstMs, f.WorstOutageMs)
		medians[f.Name] = append(medians[f.Name], f.MedianOutageMs)
	}
	for i := range all {
		m := slices.Sorted(slices.Values(medians[all[i].Name]))
		all[i].MinMs, all[i].MedianMs, all[i].MaxMs = m[0], m[len(m)/2], m[len(m)-1]
	}
	if len(all) < len(r.Faults) {
		r.Summary = all
	}
}

// Fault is one fault and what it did.
type Fault struct {
	Name           string           `json:"name"`
	Run            int              `json:"run"` // counted from 1
	Action         string           `json:"action"`
	OK             bool             `json:"ok"`
	Valid          bool             `json:"valid"` // the fault was felt: a concerned flow lost something, or the gateway's mapping moved
	Error          string           `json:"error,omitempty"`
	MedianOutageMs float64          `json:"median_outage_ms"` // over the concerned flows
	WorstOutageMs  float64          `json:"worst_outage_ms"`  // over all flows
	WindowMs       [2]float64       `json:"window_ms"`        // what was watched, relative to the fault
	Flows          []Flow           `json:"flows"`
	Timeline       []Entry          `json:"timeline"`
	Nodes          map[string]State `json:"nodes,omitempty"` // each node at the window's end
}

// Flow is what a fault did to one flow.
type Flow struct {
	From          string  `json:"from"`
	To            string  `json:"to"`
	Sent          uint64  `json:"sent"`
	Lost          uint64  `json:"lost"`
	Duplicated    uint64  `json:"duplicated"`
	OutageMs      float64 `json:"outage_ms"`
	Recovered     bool    `json:"recovered"`
	Concerned     bool    `json:"concerned"`
	IntervalUs    int64   `json:"interval_us"`
	DelayMs       float64 `json:"delay_ms"`        // the greatest age of a packet that arrived late; 0 if none was older than 4 ms
	SenderPauseMs float64 `json:"sender_pause_ms"` // the longest silence of the sender itself: no outage is known finer than this
	Gaps          []Gap   `json:"gaps,omitempty"`  // the first gapsMax
}

// Gap is one run of lost packets, relative to the fault.
type Gap struct {
	FromMs float64 `json:"from_ms"`
	ToMs   float64 `json:"to_ms"`
	Lost   uint64  `json:"lost"`
}

// Entry is one event of a node, relative to the fault.
type Entry struct {
	TMs        float64    `json:"t_ms"`
	Node       string     `json:"node"`
	Event      string     `json:"event"`
	Why        string     `json:"why"`
	What       string     `json:"what,omitempty"`
	Stage      string     `json:"stage,omitempty"`
	Port       string     `json:"port,omitempty"`
	Addr       string     `json:"addr,omitempty"`
	ServerPort string     `json:"server_port,omitempty"`
	Hosts      int        `json:"hosts,omitempty"`
	Cause      step.Cause `json:"cause,omitempty"`
}

// State is what a node shows of itself; a node has only some of it.
type State struct {
	Ports    []step.PortRow    `json:"ports,omitempty"`
	Hosts    []step.HostRow    `json:"hosts,omitempty"`
	Linkage  []step.LinkageRow `json:"linkage,omitempty"`
	Mapping  []step.MappingRow `json:"mapping,omitempty"`
	Sessions []step.SessionRow `json:"sessions,omitempty"`
}

// Page is what the HTML report shows: the result and the topology that it is about.
type Page struct {
	Result   *Result
	Topology topology.Topology
}
