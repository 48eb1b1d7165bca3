package bfd

import "runtime"

// Processors makes room for the loop in Go's scheduler, for a whole process: a goroutine whose system call has ended must find a free
// processor (a P), or it waits for up to 10 ms until a busy goroutine is preempted. With two more than the machine has, the kernel decides
// who runs, and it knows the thread's priority.
func Processors() { runtime.GOMAXPROCS(runtime.NumCPU() + spareProcessors) }

const spareProcessors = 2
