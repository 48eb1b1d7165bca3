package sim

import (
	"os"
	"path/filepath"
	"testing"

	"peerless/internal/scenario"
)

// Every story of the repository comes true in the simulator. The lab runs the same ones.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("../../testdata/scenarios/*.story")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories found: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenario.Parse(f, string(text))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(s.Name, func(t *testing.T) {
			for seed := range uint64(5) {
				problems, err := RunStory(s, Options{Seed: seed})
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range problems {
					t.Errorf("seed %d: %s", seed, p)
				}
			}
		})
	}
}
