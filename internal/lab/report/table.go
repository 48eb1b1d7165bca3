package report

import (
	"fmt"
	"io"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"peerless/internal/lab/topology"
)

// WriteTable writes the result for people: one table a fault, then one line that says it all.
func (r *Result) WriteTable(w io.Writer) error {
	for _, f := range r.Faults {
		if len(r.Summary) > 0 && f.OK {
			continue // the summary says enough
		}
		if _, err := fmt.Fprintf(w, "\n%s: %s   %s\n%s\n", f.Name, f.Action, f.verdict(), f.table()); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
		for _, e := range f.highlights() {
			if _, err := fmt.Fprintf(w, "  %9.3f ms  %-4s %-9s %s%s\n", e.TMs, e.Node, e.Stage, e.Event, because(e.Why)); err != nil {
				return fmt.Errorf("write table: %w", err)
			}
		}
	}
	if len(r.Summary) > 0 {
		if _, err := fmt.Fprintf(w, "\n%s\n", summaryTable(r.Summary)); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	verdict := "ok"
	if !r.OK {
		verdict = "NOT OK"
		if r.Error != "" {
			verdict += ": " + r.Error
		}
	}
	under := ""
	if r.Gateway != "" && r.Gateway != topology.Peerless {
		under = " under " + r.Gateway
	}
	_, err := fmt.Fprintf(w, "\n%s, %s%s: %s (converged in %.1f s, %.1f s in all)\n", r.Topology, r.Engine, under, verdict, r.ConvergeMs/1e3, r.DurationMs/1e3)
	return err
}

func summaryTable(all []Summary) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options.SeparateColumns = false
	t.AppendHeader(table.Row{"fault", "runs", "not ok", "median outage ms", "least", "greatest", "worst flow"})
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 2, Align: text.AlignRight}, {Number: 3, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight},
		{Number: 5, Align: text.AlignRight}, {Number: 6, Align: text.AlignRight}, {Number: 7, Align: text.AlignRight},
	})
	for _, s := range all {
		t.AppendRow(table.Row{s.Name, s.Runs, s.NotOK, ms(s.MedianMs), ms(s.MinMs), ms(s.MaxMs), ms(s.WorstMs)})
	}
	return t.Render()
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

func (f *Fault) verdict() string {
	switch {
	case f.Error != "":
		return "NOT OK: " + f.Error
	case !f.Valid:
		return "INVALID: no flow was touched and nothing moved"
	case !f.OK:
		return "NOT OK"
	}
	return fmt.Sprintf("ok, median outage %s ms, worst %s ms", ms(f.MedianOutageMs), ms(f.WorstOutageMs))
}

func (f *Fault) table() string {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options.SeparateColumns = false
	t.AppendHeader(table.Row{"flow", "", "every", "sent", "lost", "dup", "outage ms", "recovered"})
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 3, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight}, {Number: 5, Align: text.AlignRight},
		{Number: 6, Align: text.AlignRight}, {Number: 7, Align: text.AlignRight},
	})
	for _, fl := range f.Flows {
		mark := ""
		if fl.Concerned {
			mark = "concerned"
		}
		recovered := "yes"
		if !fl.Recovered {
			recovered = "NO"
		}
		t.AppendRow(table.Row{fl.From + " → " + fl.To, mark, every(fl.IntervalUs), fl.Sent, fl.Lost, fl.Duplicated, ms(fl.OutageMs), recovered})
	}
	return t.Render()
}

// highlightsMax bounds the timeline in a terminal; the page and the JSON have all of it.
const highlightsMax = 14

// highlights are the events that belong to a stage.
func (f *Fault) highlights() []Entry {
	var out []Entry
	for _, e := range f.Timeline {
		if e.Stage != "" && len(out) < highlightsMax {
			out = append(out, e)
		}
	}
	return out
}

func every(us int64) string {
	if us >= 1000 && us%1000 == 0 {
		return strconv.FormatInt(us/1000, 10) + " ms"
	}
	return strconv.FormatInt(us, 10) + " µs"
}

func ms(v float64) string {
	if v == 0 {
		return "0"
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
