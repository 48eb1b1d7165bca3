package probe

import "time"

// Seen is what one receiver says of the packets of a window.
type Seen struct {
	Missing    []Span
	Duplicated uint64
	Delay      time.Duration // the greatest age of a packet that arrived late
}

// Merge joins what several receivers of one flow say: a packet is missing if nobody had it; that two had it is a duplicate.
func Merge(window Span, seen []Seen) Seen {
	if len(seen) == 0 {
		if window.Len() == 0 {
			return Seen{}
		}
		return Seen{Missing: []Span{window}}
	}
	out := seen[0]
	for _, s := range seen[1:] {
		both := intersect(out.Missing, s.Missing)
		hadA, hadB := window.Len()-total(out.Missing), window.Len()-total(s.Missing)
		hadAny := window.Len() - total(both)
		out = Seen{Missing: both, Duplicated: out.Duplicated + s.Duplicated + hadA + hadB - hadAny, Delay: max(out.Delay, s.Delay)}
	}
	return out
}

func total(spans []Span) (n uint64) {
	for _, s := range spans {
		n += s.Len()
	}
	return n
}

// intersect expects both lists in order and without overlap, and gives such a list.
func intersect(a, b []Span) []Span {
	var out []Span
	for i, j := 0, 0; i < len(a) && j < len(b); {
		s := Span{First: max(a[i].First, b[j].First), End: min(a[i].End, b[j].End)}
		if s.First < s.End {
			out = append(out, s)
		}
		if a[i].End < b[j].End {
			i++
		} else {
			j++
		}
	}
	return out
}

// Gap is one run of lost packets: Sent is when the first of them was sent, Until when the first delivered packet after them was
// sent; for a run at the window's end, when the window's last packet was sent.
type Gap struct {
	Sent, Until int64
	Lost        uint64
	Open        bool // nothing was delivered after it
}

// Outage is how long the flow was out.
func (g Gap) Outage() time.Duration { return time.Duration(g.Until - g.Sent) }

// Outcome is what a fault did to a flow.
type Outcome struct {
	Sent, Lost, Duplicated uint64
	Outage                 time.Duration // the longest gap
	Delay                  time.Duration // the greatest age of a packet that arrived late; 0 if none did
	Recovered              bool          // everything of the last part of the window was delivered
	Gaps                   []Gap
}

// Evaluate says what became of the packets of a window. sentAt gives a packet's send time; tail is how long before the
// window's end a flow must have been whole to count as recovered. A flow that sent nothing has not recovered.
func Evaluate(window Span, seen Seen, sentAt func(seq uint64) int64, tail time.Duration) Outcome {
	out := Outcome{Sent: window.Len(), Lost: total(seen.Missing), Duplicated: seen.Duplicated, Delay: seen.Delay, Recovered: window.Len() > 0}
	if window.Len() == 0 {
		return out
	}
	last := sentAt(window.End - 1)
	for _, m := range seen.Missing {
		g := Gap{Sent: sentAt(m.First), Until: last, Lost: m.Len(), Open: m.End == window.End}
		if !g.Open {
			g.Until = sentAt(m.End)
		}
		out.Gaps = append(out.Gaps, g)
		out.Outage = max(out.Outage, g.Outage())
		if sentAt(m.End-1) > last-int64(tail) {
			out.Recovered = false
		}
	}
	return out
}
