package config

import (
	"fmt"
	"slices"
	"strings"
)

// problemsMax bounds how many problems of one file are printed: more of them help nobody.
const problemsMax = 20

// Problem is one thing that is wrong in a file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	What    string `json:"what"` // what is wrong
	Fix     string `json:"fix"`  // what to do
	Excerpt string `json:"excerpt,omitempty"`
}

// String is the problem on one line, without the excerpt.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s; %s", p.File, p.Line, p.Column, p.What, p.Fix)
}

// Problems are all problems of one file, in the order of the file.
type Problems []Problem

// Error lists the problems, each with the line of the file that it is about.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i == problemsMax {
			fmt.Fprintf(&b, "\n%s: and %d more problems", p.File, len(ps)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
		if p.Excerpt != "" {
			b.WriteByte('\n')
			b.WriteString(p.Excerpt)
		}
	}
	return b.String()
}

type position struct{ line, column int }

// excerptColumns is how much of a long line an excerpt shows.
const excerptColumns = 120

// excerpt is the line of the file with a mark under the place.
func (d *decoder) excerpt(at position) string {
	if at.line < 1 || at.line > len(d.lines) {
		return ""
	}
	text := []rune(strings.ReplaceAll(strings.TrimRight(d.lines[at.line-1], "\r"), "\t", " "))
	column := min(max(at.column, 1), len(text)+1)
	if column > excerptColumns {
		return ""
	}
	if len(text) > excerptColumns {
		text = append(text[:excerptColumns:excerptColumns], '…')
	}
	for i, r := range text {
		if r < ' ' || r == 0x7f {
			text[i] = '?'
		}
	}
	return fmt.Sprintf("%5d | %s\n      | %s^", at.line, string(text), strings.Repeat(" ", column-1))
}

func (d *decoder) problem(at position, what, fix string) {
	at.line, at.column = max(at.line, 1), max(at.column, 1)
	d.problems = append(d.problems, Problem{
		File: d.file, Line: at.line, Column: at.column, What: what, Fix: fix, Excerpt: d.excerpt(at),
	})
}

// failure is nil when nothing is wrong.
func (d *decoder) failure() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return d.problems
}
