package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// grid is a table for people: a header and rows. A column without any value is left out.
type grid struct {
	header []string
	rows   [][]string
	empty  string // what to say when there is no row
}

func (g *grid) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = cell(c)
	}
	g.rows = append(g.rows, row)
}

// cell writes a value; what is unset is empty.
func cell(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case bool:
		if x {
			return "yes"
		}
		return "no"
	case fmt.Stringer:
		return x.String()
	}
	return fmt.Sprint(v)
}

func (g *grid) String() string {
	if len(g.rows) == 0 {
		return g.empty
	}
	var keep []int
	for i := range g.header {
		for _, r := range g.rows {
			if r[i] != "" {
				keep = append(keep, i)
				break
			}
		}
	}
	w := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	w.SetStyle(style)
	w.AppendHeader(chosen(g.header, keep))
	for _, r := range g.rows {
		w.AppendRow(chosen(r, keep))
	}
	lines := strings.Split(w.Render(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func chosen(cells []string, keep []int) table.Row {
	var out table.Row
	for _, i := range keep {
		out = append(out, cells[i])
	}
	return out
}

func (g *grid) print(w io.Writer) error {
	if _, err := fmt.Fprintln(w, g); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}
