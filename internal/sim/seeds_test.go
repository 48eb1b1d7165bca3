package sim

import (
	"testing"
)

// Seeds of every kind of world. `make sim` runs many more.
func TestSeeds(t *testing.T) {
	seeds := 250
	if testing.Short() {
		seeds = 40
	}
	b := RunMany(t.Context(), 1, seeds, func(Result) bool { return true })
	for _, r := range b.Failures {
		t.Errorf("seed %d, %s: %v\n\treplay: peerless sim --seed %d --trace", r.Seed, r.Phase, r.Failure, r.Seed)
	}
	if b.Seeds != seeds || b.Faults < 20*seeds {
		t.Errorf("%d seeds and %d faults: the worlds are too quiet", b.Seeds, b.Faults)
	}
}

// Seeds that found something, which is mended; the packages have a row for each. Where what is drawn changes, they are seeds as any others.
func TestSeeds_OfOldBugs(t *testing.T) {
	for seed, what := range map[uint64]string{
		8:    "a leaf that started opened what an earlier life had closed before its gateway was resolved",
		32:   "the way to the other gateway was in place before the rule that stops a loop",
		256:  "after lost messages a host's only route was deleted before its proper one was in place",
		288:  "a flood of addresses kept a port's real host from being asked",
		521:  "a link that came up unheard, while messages were lost, left the gateway unresolved for good",
		600:  "the default route was in place before the rule that keeps what came down from going up",
		1014: "the same, by the other uplink",
	} {
		if r := Run(Options{Seed: seed}); !r.OK {
			t.Errorf("seed %d (%s): %v", seed, what, r.Failure)
		}
	}
}

// The same seed is the same world, to the last step.
func TestRun_IsTheSameTwice(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := Run(Options{Seed: seed}), Run(Options{Seed: seed})
		if a.Steps != b.Steps || a.Virtual != b.Virtual || a.OK != b.OK {
			t.Errorf("seed %d: %d steps, then %d", seed, a.Steps, b.Steps)
		}
	}
}
