package vm

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	emulator = "qemu-system-x86_64"
	// quiet tells nothing of the boot but what goes wrong, and a kernel that is stuck says where on each processor, and ends. The
	// time stamp counter of an emulated processor is as steady as the host's clock, and reading it is far cheaper than any other.
	kernelLine = "console=ttyS0 quiet loglevel=5 panic=-1 oops=panic softlockup_panic=1 softlockup_all_cpu_backtrace=1 " +
		"tsc=reliable clocksource=tsc no_timer_check mitigations=off random.trust_cpu=on net.ifnames=0"
	// stuckLine is how that kernel's watchdog says it.
	stuckLine = "watchdog: BUG: soft lockup"
	// lineMax bounds one line of the machine's output.
	lineMax = 1 << 20
	// quitGrace is what switching off may take after the program's end.
	quitGrace = 20 * time.Second
)

// ErrStuck is of a machine whose kernel found itself stuck: a processor had been in it for 20 s without a pause. What was on the
// console is where.
var ErrStuck = errors.New("the machine's kernel is stuck")

// Job is what a machine is for.
type Job struct {
	// Work is a directory of the host that the machine sees as /run/job, writable; everything else of the host is read-only.
	Work string
	// Script is what it runs with /bin/sh, in a root file system that is the host's.
	Script string
	// Output gets what the script writes, line by line.
	Output io.Writer
	// Timeout bounds the whole life of the machine.
	Timeout time.Duration
}

// Outcome is how a job ended.
type Outcome struct {
	Kernel string        // release of the machine's kernel
	Status int           // of the script
	Boot   time.Duration // until the script ran
	Total  time.Duration
	stuck  bool // the kernel said so
}

// Missing says what this machine lacks for running another one; nil if nothing.
func Missing() error {
	if _, err := exec.LookPath(emulator); err != nil {
		return fmt.Errorf("no %s: apt-get install qemu-system-x86", emulator)
	}
	if _, err := os.Stat(busybox); err != nil {
		return fmt.Errorf("no %s: apt-get install busybox-static", busybox)
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root: the machine sees this one's files as this user may read them")
	}
	return nil
}

// Run boots a machine, runs the job in it, and returns when the machine is gone. A script that fails is no error.
func Run(ctx context.Context, k *Kernel, job Job) (*Outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, job.Timeout, fmt.Errorf("machine: not done after %s", job.Timeout))
	defer cancel()
	nonce := rand.Text()
	ram, err := initramfs(ctx, k, nonce)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "peerless-vm-")
	if err != nil {
		return nil, fmt.Errorf("make machine directory: %w", err)
	}
	defer os.RemoveAll(dir) // two files in a temporary directory
	initrd := filepath.Join(dir, "initramfs")
	if err := errors.Join(os.WriteFile(initrd, ram, 0o600), os.WriteFile(filepath.Join(job.Work, "run"), []byte(job.Script), 0o644)); err != nil {
		return nil, fmt.Errorf("write machine files: %w", err)
	}
	cmd := exec.CommandContext(ctx, emulator, arguments(k.image(), initrd, job.Work)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = quitGrace
	var complaint strings.Builder
	cmd.Stderr = &complaint
	console, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	began := time.Now()
	runtime.LockOSThread() // the emulator is killed when the thread ends that started it
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	out, heard := listen(console, nonce, job.Output, began)
	if heard != nil || out.Status < 0 {
		cancel() // nobody listens any more, or it ended without a word
	}
	err = cmd.Wait()
	out.Total = time.Since(began)
	switch {
	case out.Status >= 0:
		return out, nil // how the emulator itself ended does not matter any more
	case ctx.Err() != nil && heard == nil && !errors.Is(context.Cause(ctx), context.Canceled):
		return nil, context.Cause(ctx)
	case out.stuck:
		return nil, ErrStuck
	}
	return nil, fmt.Errorf("machine ended before its job: %w: %s", errors.Join(heard, err, errors.New("no exit status came")), strings.TrimSpace(complaint.String()))
}

func arguments(image, initrd, work string) []string {
	share := func(id, path, more string) []string {
		return []string{"-fsdev", "local,id=" + id + ",path=" + path + ",security_model=none,multidevs=remap" + more,
			"-device", "virtio-9p-pci,fsdev=" + id + ",mount_tag=" + id}
	}
	args := []string{"-machine", "pc", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024", "-nodefaults", "-no-reboot", "-display", "none",
		"-serial", "stdio", "-kernel", image, "-initrd", initrd, "-append", kernelLine}
	return append(append(args, share("root", "/", ",readonly=on")...), share("work", work, "")...)
}

var protocol = regexp.MustCompile(`^vm-(begin|end) ([A-Z0-9]+) (\S+)$`)

// listen reads the console until it is closed, keeps our own lines and hands on the rest. What comes before the job is the boot,
// of which only complaints are left.
func listen(console io.Reader, nonce string, to io.Writer, began time.Time) (*Outcome, error) {
	out := &Outcome{Status: -1}
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, lineMax)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		m := protocol.FindStringSubmatch(line)
		switch {
		case m == nil || m[2] != nonce:
			out.stuck = out.stuck || strings.Contains(line, stuckLine)
			if _, err := fmt.Fprintln(to, line); err != nil {
				return out, fmt.Errorf("pass on the machine's output: %w", err)
			}
		case m[1] == "begin":
			out.Kernel, out.Boot = m[3], time.Since(began)
		default:
			status, err := strconv.Atoi(m[3])
			if err != nil {
				return out, fmt.Errorf("read exit status: %w", err)
			}
			out.Status = status
		}
	}
	return out, lines.Err()
}
