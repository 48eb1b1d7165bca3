// Package steptest drives a machine through a story and holds what it did against a golden transcript.
package steptest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerless/internal/model"
	"peerless/internal/step"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Epoch is the instant at which transcripts start.
var Epoch = model.Instant{Mono: 1000 * time.Second, Wall: 1_790_000_000_000}

// Transcript drives a machine and records every event with the effects it caused.
type Transcript struct {
	Machine step.Machine
	Now     model.Instant
	out     strings.Builder
}

// New starts a transcript at Epoch.
func New(m step.Machine) *Transcript { return &Transcript{Machine: m, Now: Epoch} }

// Step gives one event and returns the effects, copied.
func (t *Transcript) Step(ev step.Event) []step.Effect {
	effects := append([]step.Effect(nil), t.Machine.Step(t.Now, ev)...)
	fmt.Fprintf(&t.out, "@%.3f %s\n", t.Now.Sub(Epoch).Seconds(), ev)
	for _, ef := range effects {
		text := ef.String()
		if arm, ok := ef.(step.Arm); ok {
			text = fmt.Sprintf("arm %s at @%.3f", arm.Timer, (arm.At - Epoch.Mono).Seconds())
		}
		fmt.Fprintf(&t.out, "\t%s\n", text)
	}
	return effects
}

// Pass lets time go by without an event.
func (t *Transcript) Pass(d time.Duration) { t.Now = t.Now.Add(d) }

// Comment writes a line of prose into the transcript.
func (t *Transcript) Comment(format string, args ...any) {
	fmt.Fprintf(&t.out, "# "+format+"\n", args...)
}

// Golden compares the transcript with testdata/NAME.golden, or rewrites the file under -update.
func (t *Transcript) Golden(tb testing.TB, name string) {
	tb.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(t.out.String()), 0o644); err != nil {
			tb.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		tb.Fatalf("%v (run the test with -update to write it)", err)
	}
	if diff := cmp.Diff(string(want), t.out.String()); diff != "" {
		tb.Errorf("transcript %s differs (-golden +now):\n%s", name, diff)
	}
}
