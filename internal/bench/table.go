package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// WriteTable writes the figures for people. Markdown is for documents.
func (r *Result) WriteTable(w io.Writer, markdown bool) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"fault", "hosts", "engine", "runs", "outage ms, median host", "worst host", "x floor", "x floor-gobgp",
		"all right at the gateway, ms", "x floor", "returns with loss", "probe pause ms"})
	for _, row := range r.Rows {
		runs := strconv.Itoa(row.Runs)
		if row.Invalid > 0 {
			runs += fmt.Sprintf(" (%d invalid)", row.Invalid)
		}
		t.AppendRow(table.Row{row.Fault, row.Hosts, row.Engine, runs, row.Outage, row.Worst, times(row.ToFloor), times(row.ToGoBGP), row.Right,
			times(row.RightTo), fmt.Sprintf("%d of %d", row.Lossy, row.Returns), figure(row.PauseMs)})
	}
	for _, s := range r.Skipped {
		t.AppendRow(table.Row{"", s.Hosts, s.Engine, s.Why})
	}
	out := t.Render()
	if markdown {
		out = t.RenderMarkdown()
	}
	if _, err := fmt.Fprintln(w, out); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// String gives the median, and the quartiles where they differ.
func (s Spread) String() string {
	if s.Median == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%s-%s)", figure(s.Median), figure(s.Low), figure(s.High))
}

// figure keeps three digits that mean something.
func figure(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func times(v float64) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// measured lists the engines that have rows, in their order.
func (r *Result) measured() []string {
	var out []string
	for _, row := range r.Rows {
		if row.Runs > 0 && !slices.Contains(out, row.Engine) {
			out = append(out, row.Engine)
		}
	}
	slices.SortFunc(out, order)
	return out
}
