package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Matrix is what a run of the fault matrix found.
type Matrix struct {
	Topology   string    `json:"topology"`
	Engine     string    `json:"engine"`
	Profile    string    `json:"profile"`
	OK         bool      `json:"ok"`
	Error      string    `json:"error,omitempty"`
	Started    time.Time `json:"started"`
	DurationMs float64   `json:"duration_ms"`
	Kernel     string    `json:"kernel,omitempty"`
	Cases      []Row     `json:"cases"`
}

// Row is a case, or the mending of one, over all of its runs.
type Row struct {
	Case    string   `json:"case"`
	Mends   bool     `json:"mends"` // what was broken is mended
	Profile string   `json:"profile"`
	Action  string   `json:"action"`
	LimitMs float64  `json:"limit_ms"` // of each concerned flow; 0: nothing may be lost
	Median  float64  `json:"median"`   // ms, over the concerned flows of all runs
	Worst   float64  `json:"worst"`
	Ways    []Way    `json:"ways"`
	Runs    int      `json:"runs"`
	Kept    int      `json:"kept"` // runs in which every flow kept its limit
	OK      bool     `json:"ok"`   // at least four of five
	Misses  []string `json:"misses,omitempty"`
	Faults  []Fault  `json:"faults"` // one a run; those that kept the limit without their timeline
}

// Way is the concerned flows of one direction.
type Way struct {
	Name   string  `json:"name"`
	Median float64 `json:"median"`
	Worst  float64 `json:"worst"`
}

// Directions of traffic.
const (
	ToServer  = "to server"
	ToOutside = "to outside"
	Between   = "server to server"
)

// outsider is where the outside of the reference topology is.
const outsider = "G"

func (f *Flow) way() string {
	switch outsider {
	case f.From:
		return ToServer
	case f.To:
		return ToOutside
	}
	return Between
}

// Sum fills in what follows from the runs.
func (r *Row) Sum() {
	all := map[string][]float64{}
	r.Kept, r.Misses = 0, nil
	for _, f := range r.Faults {
		for _, fl := range f.Flows {
			if fl.Concerned {
				all[fl.way()] = append(all[fl.way()], fl.OutageMs)
			}
		}
		if f.OK {
			r.Kept++
		} else {
			r.Misses = append(r.Misses, f.Error)
		}
	}
	r.Runs, r.Ways, r.Median, r.Worst = len(r.Faults), nil, 0, 0
	var every []float64
	for _, name := range []string{ToServer, ToOutside, Between} {
		if v := all[name]; len(v) > 0 {
			r.Ways = append(r.Ways, Way{name, middle(v), slices.Max(v)})
			every = append(every, v...)
		}
	}
	if len(every) > 0 {
		r.Median, r.Worst = middle(every), slices.Max(every)
	}
	const four, five = 4, 5
	r.OK = r.Runs > 0 && r.Kept*five >= r.Runs*four
}

// middle of an even number of values is the higher one of the two.
func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func (r *Row) way(name string) Way {
	i := slices.IndexFunc(r.Ways, func(w Way) bool { return w.Name == name })
	if i < 0 {
		return Way{}
	}
	return r.Ways[i]
}

func (r *Row) name() string {
	if r.Mends {
		return r.Case + ", mended"
	}
	return r.Case
}

func (r *Row) limit() string {
	if r.LimitMs == 0 {
		return "nothing lost"
	}
	return strconv.FormatFloat(r.LimitMs, 'f', -1, 64)
}

func (r *Row) verdict() string {
	switch {
	case r.Runs == 0:
		return "not run"
	case r.OK && r.Kept == r.Runs:
		return "ok"
	case r.OK:
		return fmt.Sprintf("ok, %d of %d", r.Kept, r.Runs)
	}
	return fmt.Sprintf("MISS, %d of %d", r.Kept, r.Runs)
}

var matrixHeader = []string{"case", "limit ms", "gateway → server ms", "server → gateway ms", "server → server ms", "runs", "verdict"}

func (r *Row) cells() []string {
	cells := []string{r.name(), r.limit()}
	for _, name := range []string{ToServer, ToOutside, Between} {
		w := r.way(name)
		cells = append(cells, ms(w.Median)+" / "+ms(w.Worst))
	}
	return append(cells, strconv.Itoa(r.Runs), r.verdict())
}

// WriteTable writes the matrix for people: a line a row, the misses below.
func (m *Matrix) WriteTable(w io.Writer) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options.SeparateColumns = false
	row := func(cells []string) (out table.Row) {
		for _, c := range cells {
			out = append(out, c)
		}
		return out
	}
	t.AppendHeader(row(matrixHeader))
	for i := range m.Cases {
		t.AppendRow(row(m.Cases[i].cells()))
	}
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 2, Align: text.AlignRight}, {Number: 3, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight},
		{Number: 5, Align: text.AlignRight}, {Number: 6, Align: text.AlignRight},
	})
	out := t.Render() + "\nfigures are the longest gap of a concerned flow, median / worst\n"
	for _, line := range m.misses() {
		out += "  " + line + "\n"
	}
	verdict := "ok"
	if !m.OK {
		verdict = "NOT OK"
	}
	if m.Error != "" {
		verdict += ": " + m.Error
	}
	out += fmt.Sprintf("\nmatrix, profile %s: %s (%.1f s)\n", m.Profile, verdict, m.DurationMs/1e3)
	if _, err := io.WriteString(w, out); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

func (m *Matrix) misses() []string {
	var out []string
	for i := range m.Cases {
		for _, miss := range m.Cases[i].Misses {
			out = append(out, fmt.Sprintf("%s: %s", m.Cases[i].name(), miss))
		}
	}
	return out
}

const preface = `Made by ` + "`make matrix`" + `. Each concerned flow is held against the limit, all others must lose nothing: what the fault does to the standby
side is in the same row. SONiC's dual-ToR suite allows 1 to 3 s of disruption for a fault of the active side, and none for the standby side.

`

// Markdown is the matrix as a section of a document, below its heading.
func (m *Matrix) Markdown() string {
	var b strings.Builder
	b.WriteString(preface)
	fmt.Fprintf(&b, "Profile `%s`, kernel %s, %s. Figures are the longest gap of a concerned flow, median / worst over flows and runs, in ms.\n\n",
		m.Profile, m.Kernel, m.Started.UTC().Format(time.DateOnly))
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(matrixHeader)
	line(slices.Repeat([]string{"--"}, len(matrixHeader)))
	for i := range m.Cases {
		line(m.Cases[i].cells())
	}
	if misses := m.misses(); len(misses) > 0 {
		b.WriteString("\nMisses:\n\n")
		for _, miss := range misses {
			fmt.Fprintf(&b, "- %s\n", miss)
		}
	}
	return b.String()
}

// Join puts the rows of several runs into one result, in the order of the names: the runs of one row are added up.
func Join(parts []*Matrix, order []string) *Matrix {
	out := *parts[0]
	out.OK, out.DurationMs, out.Cases = true, 0, nil
	for _, p := range parts {
		out.DurationMs += p.DurationMs
		out.Error = cmp.Or(out.Error, p.Error)
		for _, row := range p.Cases {
			i := slices.IndexFunc(out.Cases, func(r Row) bool { return r.Case == row.Case && r.Mends == row.Mends })
			if i < 0 {
				out.Cases = append(out.Cases, row)
				continue
			}
			out.Cases[i].Faults = append(slices.Clip(out.Cases[i].Faults), row.Faults...)
			out.Cases[i].Sum()
		}
	}
	place := func(r Row) int {
		at := slices.Index(order, r.Case) * 2
		if r.Mends {
			at++
		}
		return at
	}
	slices.SortStableFunc(out.Cases, func(a, b Row) int { return place(a) - place(b) })
	for _, r := range out.Cases {
		out.OK = out.OK && r.OK
	}
	out.OK = out.OK && out.Error == ""
	return &out
}
