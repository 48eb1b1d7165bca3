package lab

import (
	"strings"
	"testing"
	"time"

	"peerless/internal/lab/matrix"
	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
)

func TestExcess_Flow_IsHeldAgainstWhatItMayFeel(t *testing.T) {
	const limit = 10 * time.Millisecond
	tests := []struct {
		name  string
		flow  report.Flow
		limit time.Duration
		dead  bool
		want  string // empty: it kept its limit
	}{
		{"untouched", report.Flow{Recovered: true}, limit, false, ""},
		{"within", report.Flow{Recovered: true, Concerned: true, Lost: 90, OutageMs: 9}, limit, false, ""},
		{"too long", report.Flow{Recovered: true, Concerned: true, Lost: 110, OutageMs: 11}, limit, false, "was out for 11.0 ms"},
		{"not back", report.Flow{Concerned: true, Lost: 1, OutageMs: 1}, limit, false, "did not recover"},
		{"somebody else's loss", report.Flow{Recovered: true, Lost: 1, OutageMs: 1}, limit, false, "lost 1"},
		{"loss where nothing may be lost", report.Flow{Recovered: true, Concerned: true, Lost: 1}, 0, false, "lost 1"},
		{"no path", report.Flow{Concerned: true, Lost: 1000, OutageMs: 1000}, limit, true, ""},
		{"no path, and yet whole", report.Flow{Concerned: true, Recovered: true}, limit, true, "has no path"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := strings.Join(excess(tc.flow, tc.limit, tc.dead), "; ")
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestUnfelt_Fault_MustHaveCostOrShownSomething(t *testing.T) {
	r := &runner{instance: &instance{top: topology.Topology{}}}
	lossy := report.Flow{Concerned: true, Lost: 1}
	tests := []struct {
		name string
		c    matrix.Case
		out  report.Fault
		want string
	}{
		{"it cost something", matrix.Case{Limits: map[string]time.Duration{}}, report.Fault{Flows: []report.Flow{lossy}}, ""},
		{"it cost nothing", matrix.Case{Limits: map[string]time.Duration{}}, report.Fault{Flows: []report.Flow{{Concerned: true}}}, "invalid"},
		{"only others lost", matrix.Case{Limits: map[string]time.Duration{}}, report.Fault{Flows: []report.Flow{{Lost: 1}}}, "invalid"},
		{"nothing may be lost", matrix.Case{}, report.Fault{}, ""},
		{
			"the sign was seen", matrix.Case{Signs: []matrix.Sign{{Node: "G", What: "session-down"}}},
			report.Fault{Timeline: []report.Entry{{Node: "G", What: "session-down"}}}, "",
		},
		{
			"another node's sign", matrix.Case{Signs: []matrix.Sign{{Node: "G", What: "session-down"}}},
			report.Fault{Timeline: []report.Entry{{Node: "A", What: "session-down"}}}, "G did not see session-down",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := strings.Join(r.unfelt(tc.c, &tc.out), "; ")
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRestless_HostThatMovesTooOften_IsNamed(t *testing.T) {
	move := report.Entry{Node: "G", What: "host-moved", Addr: "10.10.10.2"}
	out := &report.Fault{Timeline: []report.Entry{move, move, move}}
	if got := restless(matrix.Case{Moves: 3}, out); got != nil {
		t.Errorf("three moves of three: %q", got)
	}
	out.Timeline = append(out.Timeline, move)
	if got := restless(matrix.Case{Moves: 3}, out); len(got) != 1 || got[0] != "10.10.10.2 moved 4 times" {
		t.Errorf("four moves of three: %q", got)
	}
	if got := restless(matrix.Case{}, out); got != nil {
		t.Errorf("nobody counts: %q", got)
	}
}
