package engine

import (
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

// Clock reads the machine's clocks. CLOCK_MONOTONIC, unlike the runtime's own monotonic reading, is the same in every
// process of a machine: journals of several daemons can be laid side by side.
func Clock() model.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock_gettime(CLOCK_MONOTONIC): " + err.Error()) // cannot fail on Linux with a valid pointer
	}
	return model.Instant{Mono: time.Duration(ts.Nano()), Wall: time.Now().UnixMilli()}
}
