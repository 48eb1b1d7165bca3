package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// sliceWanted is the time slice that the daemon asks the scheduler for; it is the least there is.
const sliceWanted = 100 * time.Microsecond

// wakeSoon asks for short time slices. A task with a shorter slice gets no more of the processor, but gets it sooner after an event
// (EEVDF, sched_setattr(2): sched_runtime of a task that is not a real-time one counts since Linux 6.12; older kernels ignore it).
// Threads that the runtime makes later inherit it.
func wakeSoon() error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("ask for short time slices: %w", err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("ask for short time slices: %w", err)
		}
		attr, err := unix.SchedGetAttr(tid, 0)
		if err != nil {
			return fmt.Errorf("ask for short time slices: %w", err)
		}
		if attr.Policy != unix.SCHED_NORMAL {
			continue // an operator chose another one
		}
		attr.Runtime = uint64(sliceWanted)
		if err := unix.SchedSetAttr(tid, attr, 0); err != nil {
			return fmt.Errorf("ask for short time slices: %w", err)
		}
	}
	return nil
}
