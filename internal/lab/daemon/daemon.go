// Package daemon runs a routing engine, FRR or BIRD, in a network namespace, with all of its files in a private directory.
//
// It decides how the engine's programs are started, when they are ready, and how they are asked. It never touches a program that it
// did not start, nor the machine's own installation of the engine.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/engineconf"
	"peerless/internal/lab/netns"
)

// readyMax bounds the wait for one program.
const readyMax = 10 * time.Second

// socketDirMax leaves room for the sockets' names in the 107 bytes of a socket's path.
const socketDirMax = 90

// Spec is what to run, and where.
type Spec struct {
	Space string // the namespace's name
	Dir   string // for configuration, sockets and logs; made if missing. FRR's own user must be able to enter it.
	Files engineconf.Files
	Tied  bool // the programs are killed when this process ends
}

// Engine is a routing engine in a namespace.
type Engine struct {
	spec Spec
	mu   sync.Mutex
	run  map[string]*netns.Process // by program
}

// Start runs the engine's programs and returns when all of them have read their configuration. On an error none is left.
func Start(ctx context.Context, s Spec) (*Engine, error) {
	if err := Installed(s.Files.Engine); err != nil {
		return nil, err
	}
	if err := prepare(s); err != nil {
		return nil, fmt.Errorf("prepare %s in %s: %w", s.Files.Engine, s.Space, err)
	}
	e := &Engine{spec: s, run: map[string]*netns.Process{}}
	for _, p := range s.Files.Programs {
		if err := e.launch(ctx, p, nil); err != nil {
			return nil, errors.Join(err, e.Stop(0))
		}
	}
	if s.Files.Engine == engineconf.FRR {
		if err := e.load(ctx, ""); err != nil {
			return nil, errors.Join(err, e.Stop(0))
		}
	}
	return e, nil
}

// prepare makes the directory and the engine's file in it.
func prepare(s Spec) error {
	if len(s.Dir) > socketDirMax {
		return fmt.Errorf("directory %s: longer than %d bytes, too long for sockets", s.Dir, socketDirMax)
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(s.path(s.Files.Name), []byte(s.Files.Text), 0o644); err != nil {
		return err
	}
	if s.Files.Engine != engineconf.FRR {
		return nil
	}
	if err := os.WriteFile(s.path("vtysh.conf"), nil, 0o644); err != nil { // vtysh complains where there is none
		return err
	}
	return s.own()
}

// own gives the directory to the user that FRR's programs become.
func (s Spec) own() error {
	u, err := user.Lookup(frrUser)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return fmt.Errorf("user %s has id %q", frrUser, u.Uid)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return fmt.Errorf("user %s has group id %q", frrUser, u.Gid)
	}
	if err := os.Chown(s.Dir, uid, gid); err != nil {
		return err
	}
	return s.enterable()
}

// enterable refuses a directory below one that is closed to FRR's user: zebra would fail with less to say.
func (s Spec) enterable() error {
	for dir := filepath.Dir(s.Dir); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("directory %s: user %s cannot enter it", dir, frrUser)
		}
	}
	return nil
}

func (s Spec) path(name string) string { return filepath.Join(s.Dir, name) }

// launch starts one program and waits until it answers.
func (e *Engine) launch(ctx context.Context, p engineconf.Program, more []string) error {
	log, err := os.OpenFile(e.LogPath(p.Name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("make log of %s: %w", p.Name, err)
	}
	defer log.Close() // the program has its own copy
	cmd := e.spec.command(p, more)
	cmd.Stdout, cmd.Stderr = log, log
	// A killed program leaves its sockets: they would look ready.
	for _, socket := range e.spec.sockets(p.Name) {
		if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
	}
	proc, err := netns.Start(e.spec.Space, cmd, e.spec.Tied)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.run[p.Name] = proc
	e.mu.Unlock()
	return e.waitReady(ctx, p.Name, proc)
}

func (e *Engine) waitReady(ctx context.Context, program string, proc *netns.Process) error {
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	const pause = 5 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for !e.spec.ready(program) {
		select {
		case <-proc.Done():
			return fmt.Errorf("start %s in %s: it ended at once: %w%s", program, e.spec.Space, ended(proc), e.lastLine(program))
		case <-ctx.Done():
			return fmt.Errorf("start %s in %s: not ready: %w%s", program, e.spec.Space, context.Cause(ctx), e.lastLine(program))
		case <-tick.C:
		}
	}
	return nil
}

func ended(p *netns.Process) error {
	if p.Err() == nil {
		return errors.New("exit status 0")
	}
	return p.Err()
}

// Process is one running, or ended, program.
type Process struct {
	Name string
	*netns.Process
}

// Processes lists the programs in the order in which they start.
func (e *Engine) Processes() []Process {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []Process
	for _, p := range e.spec.Files.Programs {
		if r := e.run[p.Name]; r != nil {
			out = append(out, Process{p.Name, r})
		}
	}
	return out
}

// LogPath is where a program's output is.
func (e *Engine) LogPath(program string) string { return e.spec.path(program + ".log") }

// lastLine quotes the end of a log.
func (e *Engine) lastLine(program string) string {
	b, err := os.ReadFile(e.LogPath(program))
	text := strings.TrimSpace(string(b))
	if err != nil || text == "" {
		return ""
	}
	return ": " + text[strings.LastIndexByte(text, '\n')+1:]
}

// Kill ends one program without warning and returns when it is gone.
func (e *Engine) Kill(program string) error {
	p, err := e.process(program)
	if err != nil {
		return err
	}
	if err := netns.Stop([]netns.ID{p.ID}, 0); err != nil {
		return fmt.Errorf("kill %s in %s: %w", program, e.spec.Space, err)
	}
	<-p.Done()
	return nil
}

func (e *Engine) process(program string) (*netns.Process, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.run[program]
	if p == nil {
		return nil, fmt.Errorf("find %s in %s: this engine has no such program", program, e.spec.Space)
	}
	return p, nil
}

// Restart starts a program that has ended, the way the engine's own supervisor does after a crash: with FRR's zebra all others are
// restarted too, since they never tell a new zebra what they told the old one.
func (e *Engine) Restart(ctx context.Context, program string) error {
	old, err := e.process(program)
	if err != nil {
		return err
	}
	if old.Alive() {
		return fmt.Errorf("restart %s in %s: it still runs", program, e.spec.Space)
	}
	var more []string
	if e.spec.Files.Engine == engineconf.BIRD {
		more = []string{"-R"} // keeps the kernel's routes until they have been learned again
	}
	all := program == zebra
	if all {
		if err := e.Stop(0); err != nil {
			return err
		}
	}
	for _, p := range e.spec.Files.Programs {
		if !all && p.Name != program {
			continue
		}
		if err := e.launch(ctx, p, more); err != nil {
			return err
		}
	}
	switch {
	case e.spec.Files.Engine == engineconf.BIRD:
		return nil
	case all:
		return e.load(ctx, "")
	}
	return e.load(ctx, program)
}

// Stop ends all programs, the last started first to be told, and returns when they are gone. With a grace time they may say goodbye.
func (e *Engine) Stop(grace time.Duration) error {
	var ids []netns.ID
	for _, p := range e.Processes() {
		ids = append([]netns.ID{p.ID}, ids...)
	}
	if err := netns.Stop(ids, grace); err != nil {
		return fmt.Errorf("stop %s in %s: %w", e.spec.Files.Engine, e.spec.Space, err)
	}
	for _, p := range e.Processes() {
		<-p.Done()
	}
	return nil
}

// NotInstalledError says which engine is not there, and which package has it.
type NotInstalledError struct {
	Engine  engineconf.Engine
	Missing string // the file
	Package string // Debian's name
}

// Error names the file and the package.
func (e *NotInstalledError) Error() string {
	return fmt.Sprintf("%s is not installed: no %s; install Debian's package %s", e.Engine, e.Missing, e.Package)
}

// Installed tells whether all that this package needs of an engine is there; if not, with a NotInstalledError.
func Installed(engine engineconf.Engine) error {
	programs, pkg := []string{birdProgram}, "bird2"
	if engine == engineconf.FRR {
		programs, pkg = []string{frrDir + zebra, frrDir + "ospfd", frrDir + "bgpd", frrDir + "bfdd", vtysh}, "frr"
	}
	for _, p := range programs {
		if unix.Access(p, unix.X_OK) != nil {
			return &NotInstalledError{engine, p, pkg}
		}
	}
	return nil
}

// command is how a program is started.
func (s Spec) command(p engineconf.Program, more []string) *exec.Cmd {
	if s.Files.Engine == engineconf.FRR {
		return s.frrCommand(p)
	}
	return s.birdCommand(p, more)
}

// sockets lists the sockets that a program makes, the one that is asked first.
func (s Spec) sockets(program string) []string {
	switch {
	case s.Files.Engine == engineconf.BIRD:
		return []string{s.path(birdSocket)}
	case program == zebra:
		return []string{s.path(zebra + ".vty"), s.path(zebraSocket)}
	}
	return []string{s.path(program + ".vty")}
}
