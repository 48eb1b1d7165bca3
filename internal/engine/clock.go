package engine

import (
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

// origin ties the runtime's monotonic readings, which need no system call, to CLOCK_MONOTONIC, which is what they are made of on Linux.
var origin = readOrigin()

type bothClocks struct {
	runtime time.Time
	kernel  time.Duration
}

// readOrigin reads both as close to one another as it can.
func readOrigin() (best bothClocks) {
	const tries = 8
	least := time.Duration(-1)
	for range tries {
		before, now := kernelClock(), time.Now()
		if gap := kernelClock() - before; least < 0 || gap < least {
			least, best = gap, bothClocks{runtime: now, kernel: before + gap/2}
		}
	}
	return best
}

func kernelClock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock_gettime(CLOCK_MONOTONIC): " + err.Error()) // cannot fail on Linux with a valid pointer
	}
	return time.Duration(ts.Nano())
}

// Clock reads the machine's clocks. CLOCK_MONOTONIC, unlike the runtime's own monotonic reading, is the same in every
// process of a machine: journals of several daemons can be laid side by side.
func Clock() model.Instant {
	now := time.Now()
	return model.Instant{Mono: origin.kernel + now.Sub(origin.runtime), Wall: now.UnixMilli()}
}
