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
	r.Sum(func(Flow) string { return ToServer })
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

func TestRow_Sum_FlowsWithoutAPathDoNotCount(t *testing.T) {
	r := rowOf([]float64{1})
	r.Sum(func(Flow) string { return "" })
	if r.Worst != 0 || len(r.Ways) != 0 {
		t.Errorf("got worst %v, ways %v", r.Worst, r.Ways)
	}
}

func TestJoin_LaterRunsCount_AndTheOrderIsTheTables(t *testing.T) {
	missed, kept, mended := rowOf([]float64{11}), rowOf([]float64{1}), rowOf([]float64{0})
	mended.Mends = true
	first := rowOf([]float64{1})
	first.Case = "a"
	m := Join([]*Matrix{{OK: false, Cases: []Row{missed}}, {OK: true, Cases: []Row{mended, kept, first}}}, []string{"a", "server-link"})
	var names []string
	for i := range m.Cases {
		names = append(names, m.Cases[i].name())
	}
	if got := strings.Join(names, "; "); got != "a; server-link; server-link, mended" || !m.OK {
		t.Errorf("got %s, ok %v", got, m.OK)
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
