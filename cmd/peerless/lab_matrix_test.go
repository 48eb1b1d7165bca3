package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWithSection_Document_OnlyItsOwnSectionChanges(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"none yet", "# Figures\n\n## Engines\n\nx\n", "# Figures\n\n## Engines\n\nx\n\n## Fault matrix\n\nnew\n"},
		{"the last", "# Figures\n\n## Fault matrix\n\nold\n", "# Figures\n\n## Fault matrix\n\nnew\n"},
		{"in between", "## A\n\n1\n\n## Fault matrix\n\nold\n### part\n\n## B\n\n2\n", "## A\n\n1\n\n## Fault matrix\n\nnew\n\n## B\n\n2\n"},
		{"a heading that begins like it", "## Fault matrix, old\n\n1\n", "## Fault matrix, old\n\n1\n\n## Fault matrix\n\nnew\n"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := withSection(tc.text, "Fault matrix", "new\n"); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func TestLabRunMatrix_EarlierResult_IsShownAndJudged(t *testing.T) {
	dir := t.TempDir()
	from, doc := filepath.Join(dir, "a.json"), filepath.Join(dir, "figures.md")
	text := `{"profile":"fast","ok":false,"cases":[{"case":"leaf-dies","limit_ms":15,"runs":1,"kept":0,"ok":false,"misses":["C1->G was out for 20.0 ms"],
		"ways":[{"name":"to server","median":4,"worst":20}],"faults":[]}]}`
	if err := os.WriteFile(from, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r := inProcess(t, "lab", "run", "matrix", "--from", from, "--markdown", doc)
	if r.status != 1 || !strings.Contains(r.out, "MISS, 0 of 1") {
		t.Errorf("status %d, output\n%s", r.status, r.out)
	}
	b, err := os.ReadFile(doc)
	if err != nil || !strings.Contains(string(b), "## Fault matrix\n") || !strings.Contains(string(b), "C1->G was out for 20.0 ms") {
		t.Errorf("%v: document\n%s", err, b)
	}
}

func TestLabRun_MatrixFlagsElsewhere_AreRefused(t *testing.T) {
	for _, args := range [][]string{{"lab", "run", "fig7", "--profile", "fast"}, {"lab", "run", "matrix", "--keep"}, {"lab", "run", "matrix", "--case", "nothing"}} {
		if r := inProcess(t, args...); r.status != 2 {
			t.Errorf("%v: status %d", args, r.status)
		}
	}
}
