package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mutant is a law broken on purpose: in a file below internal/, a text that occurs there exactly once is replaced. The simulator must
// find it within so many seeds, by one of these invariants.
type mutant struct {
	law   string // what it breaks, in words
	file  string
	old   string
	new   string
	by    string // names, separated by spaces
	seeds int
}

// Every mutant is killed, and for the right reason: the simulator can fail.
func TestMutants_AllAreKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the simulator once for each mutant; a few minutes")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	only := os.Getenv("MUTANT")
	var mu sync.Mutex
	killed := 0
	t.Run("each", func(t *testing.T) {
		for _, m := range mutants {
			if only != "" && !strings.Contains(m.law, only) {
				continue
			}
			t.Run(m.law, func(t *testing.T) {
				t.Parallel()
				r := m.run(t, root)
				if len(r.Failures) == 0 {
					t.Fatalf("survives %d seeds", r.Seeds)
				}
				f := r.Failures[0]
				if !slices.Contains(strings.Fields(m.by), f.Failure.Invariant) {
					t.Errorf("killed by %s, want %s: %v", f.Failure.Invariant, m.by, f.Failure)
				}
				mu.Lock()
				killed++
				mu.Unlock()
				t.Logf("killed after %d seeds by %s (seed %d, %s)", r.Seeds, f.Failure.Invariant, f.Seed, f.Phase)
			})
		}
	})
	t.Logf("%d of %d mutants killed", killed, len(mutants))
}

// Every mutant still fits the sources: a text that was changed must be sought anew, not silently left unharmed.
func TestMutants_FitTheSources(t *testing.T) {
	for _, m := range mutants {
		if _, err := m.damage("../.."); err != nil {
			t.Error(err)
		}
		if m.by == "" || m.seeds == 0 {
			t.Errorf("%s: nobody is to find it", m.law)
		}
	}
}

// damage gives the files with the law broken, by their paths below internal/.
func (m mutant) damage(root string) (map[string]string, error) {
	edits := [][3]string{{m.file, m.old, m.new}}
	if also, ok := alsoEdits[m.law]; ok {
		edits = append(edits, also)
	}
	out := map[string]string{}
	for _, e := range edits {
		text, again := out[e[0]]
		if !again {
			b, err := os.ReadFile(filepath.Join(root, "internal", e[0]))
			if err != nil {
				return nil, fmt.Errorf("mutant %q: %w", m.law, err)
			}
			text = string(b)
		}
		if n := strings.Count(text, e[1]); n != 1 {
			return nil, fmt.Errorf("mutant %q: its text occurs %d times in %s, want once: look for it anew", m.law, n, e[0])
		}
		out[e[0]] = strings.Replace(text, e[1], e[2], 1)
	}
	return out, nil
}

func (m mutant) run(t *testing.T, root string) Batch {
	t.Helper()
	files, err := m.damage(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay, bin := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "seeds")
	replace := map[string]string{}
	for name, text := range files {
		damaged := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		replace[filepath.Join(root, "internal", name)] = damaged
		if err := os.WriteFile(damaged, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-ldflags", "-s -w", "-o", bin, "./internal/sim/seeds")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.Command(bin, "-from", fmt.Sprint(max(1, firstSeed[m.law])), "-seeds", fmt.Sprint(m.seeds)).Output()
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	var b Batch
	if err := json.Unmarshal(out, &b); err != nil {
		t.Fatalf("read outcome: %v", err)
	}
	return b
}
