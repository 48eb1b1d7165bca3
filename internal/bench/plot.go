package bench

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Size of the plot: one panel a fault, side by side.
const (
	panelWide, panelHigh    = 430.0, 320.0
	marginLeft, marginRight = 62.0, 18.0
	marginTop, marginBottom = 46.0, 44.0
	legendHigh              = 22.0
)

// colors that are told apart by most eyes, by place in the list of engines.
var colors = []string{"#555555", "#999999", "#d62728", "#1f77b4", "#2ca02c", "#98c379", "#9467bd"}

// panel is one pair of logarithmic axes.
type panel struct {
	left, top       float64
	xLow, xHigh     float64 // decades
	yLow, yHigh     float64
	fault           string
	strings.Builder // what is drawn
}

func (p *panel) x(v float64) float64 {
	return p.left + (math.Log10(v)-p.xLow)/(p.xHigh-p.xLow)*panelWide
}

func (p *panel) y(v float64) float64 {
	return p.top + panelHigh - (math.Log10(v)-p.yLow)/(p.yHigh-p.yLow)*panelHigh
}

// WriteSVG draws the median host's outage against the number of hosts, one line an engine; a thin line is the worst host's.
func (r *Result) WriteSVG(w io.Writer) error {
	var faults []string
	xHigh, yLow, yHigh := 1.0, 0.0, 1.0
	for _, row := range r.Rows {
		if row.Runs == 0 || row.Outage.Median <= 0 {
			continue
		}
		if len(faults) == 0 || faults[len(faults)-1] != row.Fault {
			faults = append(faults, row.Fault)
		}
		xHigh = max(xHigh, math.Ceil(math.Log10(float64(row.Hosts))))
		yLow, yHigh = min(yLow, decade(row.Outage.Median)), max(yHigh, decade(row.Worst.Median)+1)
	}
	engines := r.measured()
	var b strings.Builder
	wide := float64(len(faults))*(panelWide+marginLeft+marginRight) + 10
	high := marginTop + panelHigh + marginBottom + legendHigh*math.Ceil(float64(len(engines))/4)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="12">`+"\n", wide, high)
	fmt.Fprintf(&b, `<rect width="%.0f" height="%.0f" fill="white"/>`+"\n", wide, high)
	for i, f := range faults {
		p := &panel{left: marginLeft + float64(i)*(panelWide+marginLeft+marginRight), top: marginTop, xHigh: xHigh, yLow: yLow, yHigh: yHigh, fault: f}
		p.axes()
		for n, e := range engines {
			p.line(r, e, colors[n%len(colors)])
		}
		b.WriteString(p.String())
	}
	for n, e := range engines {
		x, y := marginLeft+float64(n%4)*210, marginTop+panelHigh+marginBottom+legendHigh*float64(n/4)+8
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="3"/>`, x, y, x+24, y, colors[n%len(colors)])
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f">%s</text>`+"\n", x+30, y+4, html.EscapeString(e))
	}
	b.WriteString("</svg>\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write plot: %w", err)
	}
	return nil
}

func (p *panel) axes() {
	fmt.Fprintf(p, `<text x="%.1f" y="%.1f" font-size="14" font-weight="bold">%s: outage, ms</text>`+"\n", p.left, p.top-18, html.EscapeString(p.fault))
	for d := p.yLow; d <= p.yHigh; d++ {
		y := p.y(math.Pow(10, d))
		fmt.Fprintf(p, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>`, p.left, y, p.left+panelWide, y)
		fmt.Fprintf(p, `<text x="%.1f" y="%.1f" text-anchor="end">%g</text>`+"\n", p.left-8, y+4, math.Pow(10, d))
	}
	for d := p.xLow; d <= p.xHigh; d++ {
		x := p.x(math.Pow(10, d))
		fmt.Fprintf(p, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>`, x, p.top, x, p.top+panelHigh)
		fmt.Fprintf(p, `<text x="%.1f" y="%.1f" text-anchor="middle">%.0f</text>`+"\n", x, p.top+panelHigh+18, math.Pow(10, d))
	}
	fmt.Fprintf(p, `<text x="%.1f" y="%.1f" text-anchor="end">hosts</text>`+"\n", p.left+panelWide, p.top+panelHigh+34)
}

// line draws one engine: the median host thick, the worst thin.
func (p *panel) line(r *Result, engine, color string) {
	var median, worst []string
	for _, row := range r.Rows {
		if row.Engine != engine || row.Fault != p.fault || row.Runs == 0 || row.Outage.Median <= 0 {
			continue
		}
		x := p.x(float64(row.Hosts))
		median = append(median, fmt.Sprintf("%.1f,%.1f", x, p.y(row.Outage.Median)))
		worst = append(worst, fmt.Sprintf("%.1f,%.1f", x, p.y(row.Worst.Median)))
		fmt.Fprintf(p, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`, x, p.y(row.Outage.Median), color)
	}
	fmt.Fprintf(p, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2.5"/>`, strings.Join(median, " "), color)
	fmt.Fprintf(p, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1" stroke-dasharray="3 3"/>`+"\n", strings.Join(worst, " "), color)
}
