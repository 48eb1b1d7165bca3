package report

import (
	"strings"
	"testing"
)

func rowOf(outages ...[]float64) Row {
	r := Row{Case: "server-link", LimitMs: 10}
	for _, run := range outages {
		f := Fault{OK: true}
		for i, ms := range run {
			f.Flows = append(f.Flows, Flow{From: "G", To: string(rune('a' + i)), Concerned: true, OutageMs: ms})
			if ms > r.LimitMs {
				f.OK, f.Error = false, "too long"
			}
		}
		f.Flows = append(f.Flows, Flow{From: "G", To: "other", OutageMs: 1000})
		r.Faults = append(r.Faults, f)
	}
	r.Sum()
	return r
}

func TestRow_Sum_FourOfFiveRunsMustKeepTheLimit(t *testing.T) {
	good, bad := []float64{1, 3}, []float64{2, 11}
	tests := []struct {
		name          string
		row           Row
		ok            bool
		kept          int
		median, worst float64
	}{
		{"all", rowOf(good, good, good, good, good), true, 5, 3, 3},
		{"four of five", rowOf(good, good, bad, good, good), true, 4, 3, 11},
		{"three of five", rowOf(good, bad, bad, good, good), false, 3, 3, 11},
		{"the only one", rowOf(bad), false, 0, 11, 11},
		{"none", rowOf(), false, 0, 0, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := tc.row
			if r.OK != tc.ok || r.Kept != tc.kept || r.Median != tc.median || r.Worst != tc.worst {
				t.Errorf("got ok %v, kept %d, median %v, worst %v", r.OK, r.Kept, r.Median, r.Worst)
			}
		})
	}
}

func TestRow_Sum_OnlyConcernedFlowsCount_ByDirection(t *testing.T) {
	r := Row{Faults: []Fault{{OK: true, Flows: []Flow{
		{From: "G", To: "C1", Concerned: true, OutageMs: 1}, {From: "C1", To: "G", Concerned: true, OutageMs: 2},
		{From: "C1", To: "C2", Concerned: true, OutageMs: 3}, {From: "G", To: "C2", OutageMs: 1000},
	}}}}
	r.Sum()
	if r.Worst != 3 || r.way(ToServer).Worst != 1 || r.way(ToOutside).Worst != 2 || r.way(Between).Worst != 3 {
		t.Errorf("got worst %v, ways %v", r.Worst, r.Ways)
	}
}

func TestJoin_RunsAddUp_AndTheOrderIsTheTables(t *testing.T) {
	missed, kept, mended := rowOf([]float64{11}), rowOf([]float64{1}, []float64{1}, []float64{1}, []float64{1}), rowOf([]float64{0})
	mended.Mends = true
	first := rowOf([]float64{1})
	first.Case = "a"
	m := Join([]*Matrix{{OK: false, Cases: []Row{missed}}, {OK: true, Cases: []Row{mended, kept, first}}}, []string{"a", "server-link"})
	var names []string
	for i := range m.Cases {
		names = append(names, m.Cases[i].name())
	}
	if got := strings.Join(names, "; "); got != "a; server-link; server-link, mended" || !m.OK || m.Cases[1].Runs != 5 || m.Cases[1].Kept != 4 {
		t.Errorf("got %s, ok %v: %+v", got, m.OK, m.Cases)
	}
	if m := Join([]*Matrix{{OK: true, Cases: []Row{missed}}}, nil); m.OK {
		t.Error("a miss is ok")
	}
}

func TestMatrix_Texts_TellCaseLimitFiguresAndMisses(t *testing.T) {
	m := &Matrix{Profile: "default", Kernel: "6.1", Cases: []Row{rowOf([]float64{1, 11})}}
	var table strings.Builder
	if err := m.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{table.String(), m.Markdown()} {
		for _, want := range []string{"server-link", "10", "11.00 / 11.00", "MISS, 0 of 1", "too long", "default"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	}
}
