package report

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerless/internal/lab/topology"
)

func sample() *Result {
	return &Result{
		Topology: "fig7", Engine: "bgp", OK: false, Error: "gateway-link: not recovered: G->C1", Started: time.Unix(0, 0).UTC(),
		Faults: []Fault{
			{
				Name: "server-link", Action: "C2-A2 down", OK: true, Valid: true, MedianOutageMs: 1.2, WorstOutageMs: 1.5, WindowMs: [2]float64{-300, 2000},
				Flows: []Flow{
					{From: "G", To: "C2", Sent: 23000, Lost: 12, OutageMs: 1.2, Recovered: true, Concerned: true, IntervalUs: 100, Gaps: []Gap{{FromMs: 0.1, ToMs: 1.3, Lost: 12}}},
					{From: "G", To: "C1", Sent: 2300, Recovered: true, IntervalUs: 1000},
				},
				Timeline: []Entry{
					{TMs: 0.4, Node: "A", Event: "port A2 down", Why: "carrier lost", Stage: "detect"},
					{TMs: 0.9, Node: "B", Event: `host <b>"10.10.10.2"</b> arrived`, Stage: "learn"},
				},
			},
			{Name: "gateway-link", Action: "G-A0 down", Error: "not recovered: G->C1", Valid: true, WindowMs: [2]float64{-300, 12000}, Timeline: []Entry{}},
		},
	}
}

func TestResult_JSON_HasTheDocumentedShape(t *testing.T) {
	b, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	fault := got["faults"].([]any)[0].(map[string]any)
	flow := fault["flows"].([]any)[0].(map[string]any)
	entry := fault["timeline"].([]any)[0].(map[string]any)
	for _, r := range []struct {
		in   map[string]any
		keys string
	}{
		{got, "topology engine ok faults"},
		{fault, "name action ok flows timeline"},
		{flow, "from to sent lost duplicated outage_ms recovered"},
		{entry, "t_ms node event why"},
	} {
		for _, k := range strings.Fields(r.keys) {
			if _, ok := r.in[k]; !ok {
				t.Errorf("key %q is missing in %v", k, r.in)
			}
		}
	}
}

func TestWriteHTML_IsSelfContainedAndEscaped(t *testing.T) {
	top, _ := topology.Find("fig7")
	var b bytes.Buffer
	if err := (Page{Result: sample(), Topology: top}).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{"C2-A2 down", "link primary failed", "12 lost, 1.20 ms", "not recovered: G-&gt;C1", "host &lt;b&gt;", "prefers-color-scheme: dark"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if m := regexp.MustCompile(`(?i)(src=|https?:|@import|<script|<link|url\()`).FindString(page); m != "" {
		t.Errorf("the page refers to something outside: %q", m)
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "ZgotmplZ") || strings.Contains(page, "Inf") {
		t.Error("the page holds a number that is none, or a value that the template refused")
	}
}

func TestWriteTable_ForPeople(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"server-link: C2-A2 down   ok, median outage 1.20 ms, worst 1.50 ms", "G → C2", "100 µs", "NOT OK: not recovered: G->C1", "port A2 down (carrier lost)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

func TestTicks_AreRound(t *testing.T) {
	rows := []struct {
		name     string
		from, to float64
		want     []float64
	}{
		{"a close-up", -0.4, 5, []float64{0, 1, 2, 3, 4, 5}},
		{"a window", -300, 2050, []float64{0, 500, 1000, 1500, 2000}},
		{"no time at all", 3, 3, []float64{3}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if d := cmp.Diff(r.want, ticks(r.from, r.to)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestDraw_EveryTopology_FitsItsFrame(t *testing.T) {
	for _, top := range topology.All() {
		t.Run(top.Name, func(t *testing.T) {
			d := draw(top, &Fault{Name: "gateway-link"})
			failed := 0
			for _, l := range d.Lines {
				if l.Failed {
					failed++
				}
			}
			if failed != 1 || len(d.Boxes) != len(top.Nodes) || len(d.Lines) != len(top.Links) {
				t.Errorf("%d boxes, %d lines, %d failed", len(d.Boxes), len(d.Lines), failed)
			}
			for _, b := range d.Boxes {
				if b.X < 0 || b.Y < 0 || b.X+b.W > d.Width || b.Y+b.H > d.Height {
					t.Errorf("box %s is outside: %+v", b.Name, b)
				}
			}
		})
	}
}

func TestResult_SeveralRuns_AreSummarized(t *testing.T) {
	r := &Result{OK: true}
	for run, outage := range []float64{3, 1, 2} {
		r.Add(Fault{Name: "server-link", Run: run + 1, OK: true, Valid: true, MedianOutageMs: outage, WorstOutageMs: 10 * outage})
		r.Add(Fault{Name: "gateway-link", Run: run + 1, OK: run != 1, Error: map[bool]string{false: "", true: "not recovered: G->C1"}[run == 1], Valid: true})
	}
	r.Summarize()
	want := []Summary{
		{Name: "server-link", Runs: 3, MedianMs: 2, MinMs: 1, MaxMs: 3, WorstMs: 30},
		{Name: "gateway-link", Runs: 3, NotOK: 1},
	}
	if diff := cmp.Diff(want, r.Summary); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.OK || r.Error != "gateway-link: not recovered: G->C1" {
		t.Errorf("ok %v, error %q", r.OK, r.Error)
	}
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"server-link      3       0              2.00   1.00      3.00       30.00", "not recovered: G->C1"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	once := &Result{}
	once.Add(Fault{Name: "server-link", OK: true})
	if once.Summarize(); once.Summary != nil {
		t.Errorf("one run is summarized: %v", once.Summary)
	}
}
