package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"

	"peerless/internal/engineconf"
)

// Where Debian has FRR, and the user that its programs become: they refuse to stay root.
const (
	frrDir      = "/usr/lib/frr/"
	vtysh       = "/usr/bin/vtysh"
	frrUser     = "frr"
	zebra       = "zebra"
	zebraSocket = "zserv.api"
)

// frrCommand: the program's files are private, it opens no TCP port for people, and it starts without configuration: vtysh hands out
// its part of the one file.
func (s Spec) frrCommand(p engineconf.Program) *exec.Cmd {
	args := []string{"--vty_socket", s.Dir, "-z", s.path(zebraSocket), "-i", s.path(p.Name + ".pid"), "-f", "/dev/null", "-P", "0", "--log", "stdout"}
	return exec.Command(frrDir+p.Name, append(args, p.Args...)...)
}

// ready tells whether a program answers on all of its sockets.
func (s Spec) ready(program string) bool {
	if s.Files.Engine == engineconf.BIRD {
		_, err := s.askBIRD(context.Background(), "show status")
		return err == nil
	}
	for _, path := range s.sockets(program) {
		c, err := net.Dial("unix", path)
		if err != nil {
			return false
		}
		_ = c.Close()
	}
	return true
}

// vtysh runs FRR's shell on this engine's programs.
func (s Spec) vtysh(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, vtysh, append([]string{"--vty_socket", s.Dir, "--config_dir", s.Dir}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// load hands the file out to one program, or to all. vtysh's status is 0 even if a program takes only part of it.
func (e *Engine) load(ctx context.Context, program string) error {
	args := []string{"-b"}
	if program != "" {
		args = append(args, "-d", program)
	}
	out, err := e.spec.vtysh(ctx, args...)
	if err == nil && refused(out) {
		err = errors.New(strings.ReplaceAll(strings.TrimSpace(out), "\n", "; "))
	}
	if err != nil {
		return fmt.Errorf("load %s in %s: %w", e.spec.path(e.spec.Files.Name), e.spec.Space, err)
	}
	return nil
}

func refused(out string) bool {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "%") || strings.HasPrefix(line, "line ") || strings.Contains(line, "failed") {
			return true
		}
	}
	return false
}

// Ask gives the engine's answer to a command of its own shell, such as "show ip route".
func (e *Engine) Ask(ctx context.Context, command string) (string, error) {
	var out string
	var err error
	if e.spec.Files.Engine == engineconf.FRR {
		out, err = e.spec.vtysh(ctx, "-c", command)
	} else {
		out, err = e.spec.askBIRD(ctx, command)
	}
	if err != nil {
		return "", fmt.Errorf("ask %s in %s %q: %w", e.spec.Files.Engine, e.spec.Space, command, err)
	}
	return out, nil
}
