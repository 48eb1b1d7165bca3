package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents are the files whose commands must be true.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("documents: %v, %v", paths, err)
	}
	out := map[string]string{}
	for _, p := range append(paths, "../../README.md") {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(p)] = string(data)
	}
	return out
}

var (
	fenced      = regexp.MustCompile("(?s)```.*?```")
	commandLine = regexp.MustCompile(`(?m)^(?:go run \./cmd/)?peerless [^\n]*`)
	inline      = regexp.MustCompile("`peerless [^`\n]*`")
	incomplete  = regexp.MustCompile(`expected "|missing flags`) // prose may name a verb without all it needs
	comment     = regexp.MustCompile(`\s+#.*$`)
	redirection = regexp.MustCompile(`\s+[>|].*$`)
)

func TestDocs_EveryCommandIsUnderstood(t *testing.T) {
	found := 0
	for name, text := range documents(t) {
		lines := inline.FindAllString(text, -1)
		for _, block := range fenced.FindAllString(text, -1) {
			lines = append(lines, commandLine.FindAllString(block, -1)...)
		}
		for _, line := range lines {
			prose := strings.HasPrefix(line, "`")
			line = strings.Trim(line, "`")
			line = redirection.ReplaceAllString(comment.ReplaceAllString(line, ""), "")
			line = line[strings.Index(line, "peerless ")+len("peerless "):]
			for _, args := range alternatives(strings.Fields(line)) {
				found++
				if _, err := newParser(io.Discard, io.Discard).Parse(args); err != nil && (!prose || !incomplete.MatchString(err.Error())) {
					t.Errorf("%s: peerless %s: %v", name, strings.Join(args, " "), err)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d commands found: the test looks at the wrong places", found)
	}
}

// alternatives spells out "a|b|c" words in lower case, and drops what stands in brackets.
func alternatives(words []string) [][]string {
	out := [][]string{nil}
	depth := 0
	for _, w := range words {
		opens, closes := strings.Count(w, "["), strings.Count(w, "]")
		depth += opens - closes
		if opens > 0 || closes > 0 || depth > 0 {
			continue
		}
		choices := []string{w}
		if strings.Contains(w, "|") && w == strings.ToLower(w) {
			choices = strings.Split(w, "|")
		}
		var next [][]string
		for _, head := range out {
			for _, c := range choices {
				next = append(next, append(append([]string{}, head...), c))
			}
		}
		out = next
	}
	return out
}

func TestDocs_EveryMakeTargetExists(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range documents(t) {
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
				t.Errorf("%s: make %s: no such target", name, m[1])
			}
		}
	}
}

// The slugs of events are what operators filter by: every one in the source is in the list, and the list has no other.
func TestDocs_EventSlugsAreTheSources(t *testing.T) {
	listed := map[string]bool{}
	_, list, _ := strings.Cut(documents(t)["operations.md"], "## Events")
	list, _, _ = strings.Cut(list, "\n## ")
	for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(list, -1) {
		listed[m[1]] = true
	}
	delete(listed, "what")
	used := map[string]bool{}
	slug := regexp.MustCompile(`(?:note|what)[A-Z]\w*\s+= "([a-z-]+)"|What:\s+"([a-z-]+)"|begin\(now, "([a-z-]+)"|what :?= "([a-z-]+)"|n\.What, n\.Text, n\.Why = "([a-z-]+)"`)
	for _, dir := range []string{"leaf", "gateway", "server", "engine"} {
		files, err := filepath.Glob("../../internal/" + dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range slug.FindAllStringSubmatch(string(data), -1) {
				used[strings.Join(m[1:], "")] = true
			}
		}
	}
	for s := range used {
		if !listed[s] {
			t.Errorf("event %q is not in docs/operations.md", s)
		}
	}
	for s := range listed {
		if !used[s] {
			t.Errorf("docs/operations.md lists %q, which nothing emits", s)
		}
	}
}
