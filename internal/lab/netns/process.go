package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ID names a process for good: the kernel reuses numbers, but not together with the start time.
type ID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // field 22 of /proc/PID/stat
}

// Process is a started process.
type Process struct {
	ID
	done chan struct{}
	err  error
}

// Start runs the command in the namespace. Tied: the process is killed when this process ends, however it ends; and it is
// out of the terminal's process group, so that Ctrl-C reaches only the lab, which stops things in order.
func Start(name string, cmd *exec.Cmd, tied bool) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if tied {
		// The signal comes when the *thread* that started it ends, so that thread stays until the process has ended.
		cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	} else {
		cmd.SysProcAttr.Setsid = true
	}
	p := &Process{done: make(chan struct{})}
	started := make(chan error, 1)
	go onThread(func() {
		if err := enter(name); err != nil {
			started <- err
			return
		}
		ownSys()
		if err := cmd.Start(); err != nil {
			started <- fmt.Errorf("start %s in namespace %s: %w", cmd.Path, name, err)
			return
		}
		p.PID = cmd.Process.Pid
		p.Start, _ = startTime(p.PID)
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	})
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells how it ended; only after Done.
func (p *Process) Err() error { return p.err }

// Run runs the command in the namespace, with this process's terminal, until it ends.
func Run(ctx context.Context, name string, argv []string) error {
	var err error
	onThread(func() {
		if err = enter(name); err != nil {
			return
		}
		ownSys()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = cmd.Run()
	})
	return err
}

// Alive tells whether the process runs.
func (id ID) Alive() bool {
	s, err := startTime(id.PID)
	return err == nil && s == id.Start && id.PID > 0
}

// Signal sends a signal to this very process: the pidfd pins the number while the start time is compared. The error is
// os.ErrProcessDone if it has ended.
func (id ID) Signal(sig unix.Signal) error {
	if id.PID <= 0 {
		return os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		return os.ErrProcessDone
	}
	defer unix.Close(fd)
	if !id.Alive() {
		return os.ErrProcessDone
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", id.PID, err)
	}
	return nil
}

// Stop ends the processes: SIGTERM, and SIGKILL for those that are left after the grace time. It returns when they are gone.
func Stop(ids []ID, grace time.Duration) error {
	var errs []error
	send := func(sig unix.Signal) {
		for _, id := range ids {
			if err := id.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				errs = append(errs, err)
			}
		}
	}
	if grace > 0 {
		send(unix.SIGTERM)
		waitGone(ids, grace)
	}
	send(unix.SIGKILL)
	if left := waitGone(ids, 2*time.Second); left > 0 {
		errs = append(errs, fmt.Errorf("stop processes: %d did not end", left))
	}
	return errors.Join(errs...)
}

// waitGone gives how many are left at the end of the time.
func waitGone(ids []ID, bound time.Duration) int {
	for end := time.Now().Add(bound); ; time.Sleep(5 * time.Millisecond) {
		left := 0
		for _, id := range ids {
			if id.Alive() {
				left++
			}
		}
		if left == 0 || time.Now().After(end) {
			return left
		}
	}
}

// startTime reads field 22 of /proc/PID/stat. A zombie counts as gone.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	const state, start = 0, 19 // after the name in brackets, which may itself hold spaces and brackets
	i := bytes.LastIndexByte(b, ')')
	fields := bytes.Fields(b[i+1:])
	if i < 0 || len(fields) <= start {
		return 0, fmt.Errorf("read start time of process %d: unexpected format", pid)
	}
	if s := fields[state][0]; s == 'Z' || s == 'X' {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(string(fields[start]), 10, 64)
}

// Self is this process.
func Self() (ID, error) {
	s, err := startTime(os.Getpid())
	return ID{PID: os.Getpid(), Start: s}, err
}
