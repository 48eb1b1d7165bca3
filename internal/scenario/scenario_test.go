package scenario

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParse_Story(t *testing.T) {
	got, err := Parse("dir/one.story", `
about a link fails      # and returns
topology fig7
always host 10.10.10.1 moves at most 0
at 0s link C2-A2 down
by 1s flow G->C2 works
by 1s host 10.10.10.2 behind B
at 1s session A G cease
at 2s link G-A0 drops up
end 3s
`)
	if err != nil {
		t.Fatal(err)
	}
	want := &Story{Name: "one", About: "a link fails", Topology: "fig7", End: 3 * time.Second, Steps: []Step{
		{Line: 4, Always: true, Expect: &Expect{Fact: HostMoves, Host: netip.MustParseAddr("10.10.10.1")}},
		{Line: 5, Action: &Action{Verb: LinkDown, Link: Link{"C2", "A2"}}},
		{Line: 6, At: time.Second, Expect: &Expect{Fact: FlowWorks, From: "G", To: "C2"}},
		{Line: 7, At: time.Second, Expect: &Expect{Fact: HostBehind, Host: netip.MustParseAddr("10.10.10.2"), Leaf: "B"}},
		{Line: 8, At: time.Second, Action: &Action{Verb: SessionCease, Node: "A", Peer: "G"}},
		{Line: 9, At: 2 * time.Second, Action: &Action{Verb: LinkDrops, Link: Link{"G", "A0"}, Way: Up}},
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestParse_BadLine_IsNamed(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"unknown word", "soon link C2-A2 down", "begins no line"},
		{"no time", "at link C2-A2 down", "want a time"},
		{"unknown action", "at 1s link C2-A2 sideways", "is none of"},
		{"no link", "at 1s link C2 down", "is no link"},
		{"no way", "at 1s link C2-A2 drops some", "is no way"},
		{"no address", "by 1s host C2 behind B", "is no address"},
		{"no flow", "by 1s flow G-C2 works", "is no flow"},
		{"a count at one moment", "by 1s host 10.0.0.1 moves at most 1", "the whole story"},
		{"back in time", "at 1s node A down\nat 500ms node A up", "an earlier line"},
		{"end too early", "at 9s node A down\nend 2s", "the end is before"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("x.story", "topology fig7\n"+tt.line+"\nend 20s\n")
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "x.story:") {
				t.Fatalf("error %v, want %q with file and line", err, tt.want)
			}
		})
	}
}

func TestParse_MissingTopologyOrEnd(t *testing.T) {
	for _, text := range []string{"end 1s", "topology fig7"} {
		if _, err := Parse("x.story", text); err == nil {
			t.Errorf("%q is taken for a story", text)
		}
	}
}

// The stories of the repository are well-formed; the simulator and the lab run them.
func TestParse_Repository_EveryStory(t *testing.T) {
	files, err := filepath.Glob("../../testdata/scenarios/*.story")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories found: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := Parse(f, string(text)); err != nil {
			t.Error(err)
		} else if s.About == "" {
			t.Errorf("%s: no line says what it is about", f)
		}
	}
}
