package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNetwork_WithDaemonsAndManyHosts_IsValid(t *testing.T) {
	for _, hosts := range []int{1, 4, 5, 100_000} {
		top := network("bgp", hosts)
		peerless(&top, hosts)
		top.Flows = nil // one route stands for the addresses of all hosts, which is no address of the topology
		if err := top.Validate(); err != nil {
			t.Errorf("%d hosts: %v", hosts, err)
		}
	}
}

func TestSampled_AreSpreadOverTheRange(t *testing.T) {
	for _, tt := range []struct {
		hosts int
		want  string
	}{
		{1, "10.32.0.1"},
		{2, "10.32.0.1"},
		{3, "10.32.0.1 10.32.0.2 10.32.0.3"},
		{100_000, "10.32.0.1 10.32.195.80 10.33.134.160"},
	} {
		var got []string
		for _, a := range sampled(tt.hosts) {
			got = append(got, a.String())
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%d hosts: %s, want %s", tt.hosts, s, tt.want)
		}
	}
}

func TestFiles_Untuned_HasTheEnginesOwnTimers(t *testing.T) {
	for _, e := range engines {
		if e.program == "" {
			continue
		}
		for _, node := range []string{nodeG, nodeA, nodeB} {
			files, err := e.files(node, 100)
			if err != nil {
				t.Fatal(err)
			}
			timers := strings.Contains(files.Text, "work-queue") || strings.Contains(files.Text, "throttle") || strings.Contains(files.Text, "coalesce")
			if wantTimers := e.program == "frr" && !e.untuned; timers != wantTimers {
				t.Errorf("%s of %s: tuned timers %v, want %v:\n%s", e.name, node, timers, wantTimers, files.Text)
			}
		}
	}
}

func TestExplain_NamesEveryEngineAndItsConfiguration(t *testing.T) {
	text, err := Explain(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append(Engines(), "router ospf", "protocol bgp", "role: gateway", "attachment-range") {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not explained", want)
		}
	}
	if _, err := Explain([]string{"rip"}); !errors.Is(err, ErrUsage) {
		t.Errorf("an unknown engine: %v, want a usage error", err)
	}
}

func sample(engine string, outage, right float64, invalid string) Sample {
	return Sample{Engine: engine, Fault: ServerLink, Hosts: 5, OutageMs: []float64{outage, outage * 2, outage, outage, outage}, RightMs: right, Invalid: invalid}
}

func TestSummarize_MediansAndRatios(t *testing.T) {
	r := Result{Samples: []Sample{
		sample("bgp", 1.2, 3, ""), sample("bgp", 1.0, 2, ""), sample("bgp", 9, 99, "nothing was lost"), sample("bgp", 1.4, 2.5, ""),
		sample("floor", 0.8, 1.25, ""), sample("floor-gobgp", 1, 1.5, ""),
	}}
	r.Summarize()
	want := []Row{
		{Engine: "floor", Fault: ServerLink, Hosts: 5, Runs: 1, Outage: Spread{0.8, 0.8, 0.8}, Worst: Spread{1.6, 1.6, 1.6}, Right: Spread{1.25, 1.25, 1.25}, ToFloor: 1, ToGoBGP: 0.8, RightTo: 1},
		{Engine: "floor-gobgp", Fault: ServerLink, Hosts: 5, Runs: 1, Outage: Spread{1, 1, 1}, Worst: Spread{2, 2, 2}, Right: Spread{1.5, 1.5, 1.5}, ToFloor: 1.25, ToGoBGP: 1, RightTo: 1.2},
		{Engine: "bgp", Fault: ServerLink, Hosts: 5, Runs: 3, Invalid: 1, Outage: Spread{1.2, 1.1, 1.3}, Worst: Spread{2.4, 2.2, 2.8 - 0.2}, Right: Spread{2.5, 2.25, 2.75}, ToFloor: 1.5, ToGoBGP: 1.2, RightTo: 2},
	}
	near := cmp.Comparer(func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 })
	if diff := cmp.Diff(want, r.Rows, near); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestSummarize_EngineWithoutARunThatCounts_HasNoFigure(t *testing.T) {
	r := Result{Samples: []Sample{sample("floor", 1, 1, ""), sample("bgp", 1, 1, "a probed host did not recover")}}
	r.Summarize()
	row := r.Rows[1]
	if row.Runs != 0 || row.Invalid != 1 || row.Outage.Median != 0 || row.ToFloor != 0 {
		t.Errorf("got %+v, want nothing but the count", row)
	}
	var table strings.Builder
	if err := r.WriteTable(&table, false); err != nil || !strings.Contains(table.String(), "0 (1 invalid)") {
		t.Errorf("the table hides it (%v):\n%s", err, table.String())
	}
}

func TestJoin_EarlierRuns_AreCountedToo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.json")
	for want := 1; want <= 3; want++ {
		r := Result{PaceUs: 50, Samples: []Sample{sample("floor", 1, 1, "")}, Skipped: []Skipped{{"frr-ospf", 10_000, "too long"}}}
		if err := r.Join(path); err != nil {
			t.Fatal(err)
		}
		r.Summarize()
		if err := writeFile(path, r.WriteJSON); err != nil {
			t.Fatal(err)
		}
		if r.Rows[0].Runs != want || len(r.Skipped) != 1 {
			t.Errorf("after %d: %d runs, %d skipped", want, r.Rows[0].Runs, len(r.Skipped))
		}
	}
	other := Result{PaceUs: 100}
	if err := other.Join(path); err == nil {
		t.Error("runs of another pace were joined")
	}
}

func TestWriteSVG_IsWellFormedWithALineForEachEngine(t *testing.T) {
	r := Result{Samples: []Sample{sample("floor", 0.8, 1, ""), sample("bgp", 1.2, 1, ""), sample("bird-bgp", 1, 1, "")}}
	more := sample("bgp", 30, 60, "")
	more.Hosts = 100_000
	r.Samples = append(r.Samples, more)
	r.Summarize()
	var b strings.Builder
	if err := r.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, b.String())
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 2*3 { // median and worst
		t.Errorf("%d lines, want 6", lines)
	}
	if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
		t.Error("a coordinate is not a number")
	}
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func TestPrepare_Mistakes_AreNamed(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"an unknown engine lists the known ones", Options{Engines: []string{"rip"}}, "floor-gobgp"},
		{"an unknown fault", Options{Faults: []string{"earthquake"}}, ServerLink},
		{"too many hosts", Options{Hosts: []int{1 << 20}}, "1 to 131070"},
		{"no host", Options{Hosts: []int{0}}, "1 to 131070"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := tt.o.prepare(); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a usage error with %q", err, tt.want)
			}
		})
	}
}
