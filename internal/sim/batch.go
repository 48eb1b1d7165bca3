package sim

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Batch is what became of many seeds.
type Batch struct {
	OK       bool          `json:"ok"`
	Seeds    int           `json:"seeds"`
	Faults   int           `json:"faults"`
	Steps    int           `json:"steps"`
	Virtual  time.Duration `json:"virtual_ns"`
	Failures []Result      `json:"failures"`
}

// RunMany runs seeds, as many at a time as there are processors, until the context ends. told is called after each, never by two
// goroutines at once; when it reports false no further seed is begun.
func RunMany(ctx context.Context, from uint64, count int, told func(Result) bool) Batch {
	b := Batch{OK: true, Failures: []Result{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next, stop := 0, false
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if stop || next >= count || ctx.Err() != nil {
			return 0, false
		}
		next++
		return from + uint64(next-1), true
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				r := Run(Options{Seed: seed})
				mu.Lock()
				b.add(r)
				stop = !told(r) || stop
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(b.Failures, func(x, y Result) int { return int(int64(x.Seed) - int64(y.Seed)) })
	return b
}

func (b *Batch) add(r Result) {
	b.Seeds++
	b.Faults += r.Faults
	b.Steps += r.Steps
	b.Virtual += r.Virtual
	if !r.OK {
		b.OK = false
		b.Failures = append(b.Failures, r)
	}
}

// Shrink leaves out faults as long as the same invariant breaks, and gives the numbers of those that are needed. tried is called
// after each attempt with how many are left.
func Shrink(ctx context.Context, r Result, tried func(left int)) []int {
	need := make([]int, r.Planned)
	for i := range need {
		need[i] = i
	}
	breaks := func(only []int) bool {
		got := Run(Options{Seed: r.Seed, Only: only})
		return got.Failure != nil && got.Failure.Invariant == r.Failure.Invariant && got.Phase == r.Phase
	}
	for size := max(1, len(need)/2); ; size /= 2 {
		for at := 0; at < len(need) && ctx.Err() == nil; {
			without := slices.Concat(need[:at], need[min(at+size, len(need)):])
			if breaks(without) {
				need = without
			} else {
				at += size
			}
			tried(len(need))
		}
		if size <= 1 || ctx.Err() != nil {
			return need
		}
	}
}
