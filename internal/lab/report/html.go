package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"peerless/internal/step"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"ms": ms, "every": every, "stages": stages, "px": func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) },
}).Parse(pageText))

// WriteHTML writes one self-contained page: no script, no font, no image from anywhere.
func (p Page) WriteHTML(w io.Writer) error {
	if err := pageTemplate.Execute(w, p.view()); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// pageView is the page with every coordinate worked out.
type pageView struct {
	*Result
	About  string
	When   string
	Whole  drawing
	Faults []faultView
}

type faultView struct {
	Fault
	Verdict  string
	Drawing  drawing
	CloseUp  *chart // nil when nothing was lost
	Overview chart
	Others   uint64 // packets lost on flows that the fault does not concern
}

func (p Page) view() pageView {
	v := pageView{Result: p.Result, About: p.Topology.About, When: p.Result.Started.Format(time.RFC1123), Whole: draw(p.Topology, nil)}
	for _, f := range p.Result.Faults {
		fv := faultView{Fault: f, Verdict: verdictWord(f), Drawing: draw(p.Topology, &f)}
		var lastLoss float64
		for _, fl := range f.Flows {
			if !fl.Concerned {
				fv.Others += fl.Lost
			}
			for _, g := range fl.Gaps {
				lastLoss = max(lastLoss, g.ToMs)
			}
		}
		fv.Overview = plot(f, f.WindowMs[0], f.WindowMs[1])
		if lastLoss > 0 {
			end := max(5, lastLoss*1.25)
			fv.CloseUp = new(chart)
			*fv.CloseUp = plot(f, -end/12, end)
		}
		v.Faults = append(v.Faults, fv)
	}
	return v
}

// ConvergeSeconds and DurationSeconds are for people.
func (v pageView) ConvergeSeconds() float64 { return v.ConvergeMs / 1e3 }

// DurationSeconds is the whole run.
func (v pageView) DurationSeconds() float64 { return v.DurationMs / 1e3 }

// WatchedSeconds is the length of the window.
func (f faultView) WatchedSeconds() string {
	return strconv.FormatFloat((f.WindowMs[1]-f.WindowMs[0])/1e3, 'f', 1, 64)
}

// Span is how wide time is drawn.
func (c chart) Span() float64 { return c.Right - c.Left }

// stages in their usual order.
func stages() []string {
	var out []string
	for s := step.StageDetect; s <= step.StageOpen; s++ {
		out = append(out, s.String())
	}
	return out
}

func verdictWord(f Fault) string {
	switch {
	case f.OK:
		return "ok"
	case !f.Valid:
		return "invalid"
	}
	return "not ok"
}

// Sizes of a chart, in SVG units.
const (
	chartWidth = 1080.0
	labelWidth = 120.0
	sideWidth  = 130.0
	rowHeight  = 22.0
	axisHeight = 30.0
	topMargin  = 18.0
)

// chart is strips of loss over time, one a flow, then one lane of stage marks a node, all on one time axis.
type chart struct {
	Width, Height float64
	Left, Right   float64 // where time is drawn
	ZeroX         float64
	AxisY         float64
	LanesY        float64 // the line between strips and lanes
	Ticks         []tick
	Strips        []strip
	Lanes         []lane
}

type tick struct {
	X    float64
	Text string
}

type strip struct {
	Y         float64
	Mid       float64
	Text      string
	Side      string
	Concerned bool
	Lossy     bool
	Gaps      []bar
}

type bar struct {
	X, W float64
	Tip  string
}

type lane struct {
	Y     float64
	Mid   float64
	Node  string
	Marks []mark
}

type mark struct {
	X, Y  float64
	Stage string
	Tip   string
}

func plot(f Fault, from, to float64) chart {
	c := chart{Width: chartWidth, Left: labelWidth, Right: chartWidth - sideWidth}
	x := func(t float64) float64 { return c.Left + (t-from)/(to-from)*(c.Right-c.Left) }
	y := topMargin
	for _, fl := range f.Flows {
		c.Strips = append(c.Strips, stripOf(fl, y, from, to, x))
		y += rowHeight
	}
	y += 8
	c.LanesY = y - 4
	for _, node := range nodesOf(f.Timeline) {
		l := lane{Y: y, Mid: y + rowHeight/2, Node: node}
		for _, e := range f.Timeline {
			if e.Node != node || e.Stage == "" || e.TMs < from || e.TMs > to {
				continue
			}
			l.Marks = append(l.Marks, mark{X: x(e.TMs), Y: l.Mid, Stage: e.Stage, Tip: fmt.Sprintf("%.3f ms  %s: %s%s", e.TMs, e.Stage, e.Event, because(e.Why))})
		}
		if len(l.Marks) > 0 {
			c.Lanes = append(c.Lanes, l)
			y += rowHeight
		}
	}
	c.AxisY, c.Height, c.ZeroX = y+4, y+4+axisHeight, x(0)
	for _, t := range ticks(from, to) {
		c.Ticks = append(c.Ticks, tick{X: x(t), Text: strconv.FormatFloat(t, 'f', -1, 64)})
	}
	return c
}

func stripOf(fl Flow, y, from, to float64, x func(float64) float64) strip {
	const gapMin = 1.5 // a lost packet is seen however wide the window is
	s := strip{Y: y, Mid: y + rowHeight/2, Text: fl.From + " → " + fl.To, Concerned: fl.Concerned, Lossy: fl.Lost > 0, Side: "whole"}
	if fl.Lost > 0 {
		s.Side = fmt.Sprintf("%d lost, %s ms", fl.Lost, ms(fl.OutageMs))
	}
	for _, g := range fl.Gaps {
		if g.ToMs < from || g.FromMs > to {
			continue
		}
		a, b := x(max(g.FromMs, from)), x(min(g.ToMs, to))
		s.Gaps = append(s.Gaps, bar{X: a, W: max(b-a, gapMin), Tip: fmt.Sprintf("%d lost from %.3f to %.3f ms", g.Lost, g.FromMs, g.ToMs)})
	}
	return s
}

// nodesOf lists the nodes in the order in which they come into play.
func nodesOf(timeline []Entry) []string {
	var out []string
	for _, e := range timeline {
		if e.Stage != "" && !slices.Contains(out, e.Node) {
			out = append(out, e.Node)
		}
	}
	return out
}

// ticks are round numbers, about eight of them.
func ticks(from, to float64) []float64 {
	const about = 8
	raw := (to - from) / about
	if !(raw > 0) {
		return []float64{from}
	}
	base := math.Pow(10, math.Floor(math.Log10(raw)))
	step := base
	for _, m := range []float64{1, 2, 5, 10} {
		step = m * base
		if step >= raw {
			break
		}
	}
	var out []float64
	for i := math.Ceil(from / step); i*step <= to; i++ {
		out = append(out, math.Round(i*step*1e6)/1e6+0) // never a negative zero
	}
	return out
}
