package report

import (
	"slices"
	"strings"

	"peerless/internal/lab/topology"
)

// Sizes of a drawing, in SVG units.
const (
	drawWidth  = 640.0
	tierHeight = 112.0
	boxWidth   = 64.0
	boxHeight  = 34.0
	drawTop    = 34.0
)

// drawing is a topology as boxes and lines.
type drawing struct {
	Width, Height float64
	Boxes         []box
	Lines         []line
}

type box struct {
	X, Y, W, H float64 // of the upper left corner
	CX, CY     float64
	Name, Role string
}

type line struct {
	X1, Y1, X2, Y2 float64
	MX, MY         float64 // the middle, for the cross on a failed link
	Class          string  // uplink, primary, backup, guest, peer
	Failed, Mended bool
	Labels         []label
}

type label struct {
	X, Y float64
	Text string
}

// tierOf is the row of a node in the drawing, from the top.
func tierOf(r topology.Role) int {
	return slices.Index([]topology.Role{topology.Gateway, topology.Leaf, topology.Server, topology.Guest}, r)
}

// draw lays the topology out in tiers; the fault's link, if there is one, is marked.
func draw(t topology.Topology, f *Fault) drawing {
	d := drawing{Width: drawWidth}
	tiers := map[int][]topology.Node{}
	deepest := 0
	for _, n := range t.Nodes {
		i := max(0, tierOf(n.Role))
		tiers[i] = append(tiers[i], n)
		deepest = max(deepest, i)
	}
	at := map[string]box{}
	for i := range deepest + 1 {
		for k, n := range tiers[i] {
			b := box{W: boxWidth, H: boxHeight, Name: n.Name, Role: string(n.Role)}
			b.CX = drawWidth * (2*float64(k) + 1) / (2 * float64(len(tiers[i])))
			b.CY = drawTop + float64(i)*tierHeight
			b.X, b.Y = b.CX-b.W/2, b.CY-b.H/2
			at[n.Name] = b
			d.Boxes = append(d.Boxes, b)
		}
	}
	d.Height = drawTop*2 + float64(deepest)*tierHeight
	var failed topology.Link
	mends := false
	if f != nil {
		tf, _ := t.Fault(f.Name)
		failed, mends = tf.Link, tf.Mends != ""
	}
	for _, l := range t.Links {
		ln := lineOf(t, l, at)
		hit := f != nil && same(l, failed)
		ln.Failed, ln.Mended = hit && !mends, hit && mends
		d.Lines = append(d.Lines, ln)
	}
	return d
}

func same(a, b topology.Link) bool { return a.A == b.A && a.B == b.B || a.A == b.B && a.B == b.A }

// lineOf joins the facing edges of two boxes and puts the names of the routers' ports near their ends.
func lineOf(t topology.Topology, l topology.Link, at map[string]box) line {
	a, b := at[l.A.Node], at[l.B.Node]
	ea, eb := l.A, l.B
	if a.CY > b.CY {
		a, b, ea, eb = b, a, eb, ea
	}
	ln := line{Class: classOf(t, ea, eb)}
	if a.CY == b.CY {
		if a.CX > b.CX {
			a, b, ea, eb = b, a, eb, ea
		}
		ln.X1, ln.Y1, ln.X2, ln.Y2 = a.CX+a.W/2, a.CY, b.CX-b.W/2, b.CY
	} else {
		ln.X1, ln.Y1, ln.X2, ln.Y2 = a.CX+spread(b.CX-a.CX, a.W), a.CY+a.H/2, b.CX+spread(a.CX-b.CX, b.W), b.CY-b.H/2
	}
	ln.MX, ln.MY = (ln.X1+ln.X2)/2, (ln.Y1+ln.Y2)/2
	along := func(q float64, text string) {
		ln.Labels = append(ln.Labels, label{ln.X1 + (ln.X2-ln.X1)*q, ln.Y1 + (ln.Y2-ln.Y1)*q + 3, text})
	}
	const near = 0.22
	along(near, ea.Port)
	if ln.Class == "uplink" || ln.Class == "peer" {
		along(1-near, eb.Port)
	}
	return ln
}

// spread moves a line's end along the box's edge towards where the line goes, so that lines do not share one point.
func spread(dx, width float64) float64 {
	return max(-0.4, min(0.4, dx/drawWidth)) * width
}

func classOf(t topology.Topology, upper, lower topology.End) string {
	for _, s := range t.Servers {
		switch {
		case s.Primary == upper:
			return "primary"
		case s.Backup == upper:
			return "backup"
		}
	}
	a, _ := t.Node(upper.Node)
	b, _ := t.Node(lower.Node)
	switch {
	case a.Role == b.Role:
		return "peer"
	case a.Role == topology.Gateway:
		return "uplink"
	}
	return strings.ToLower(string(b.Role))
}
