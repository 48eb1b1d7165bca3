package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerless/internal/api"
	"peerless/internal/config"
)

// serverConfig is a server of an empty namespace: its ports are missing, so the daemon waits for them.
func serverConfig(t *testing.T) (path, socket string) {
	t.Helper()
	dir := t.TempDir()
	socket = filepath.Join(dir, "C1.sock")
	path = filepath.Join(dir, "C1.yaml")
	text := minimalServer + "state-dir: " + dir + "\napi: {socket: " + socket + "}\nlog: {format: json}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, socket
}

// running is a daemon in a network namespace of its own.
type running struct {
	*exec.Cmd
	log *bytes.Buffer
}

func start(t *testing.T, config, socket string) running {
	t.Helper()
	if os.Getuid() != 0 {
		lack(t, "needs root: the daemon needs a network namespace")
	}
	cmd := command("run", "--config", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	log := &bytes.Buffer{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	answers(t, socket)
	return running{cmd, log}
}

// answers waits for the daemon's socket to appear and answer.
func answers(t *testing.T, socket string) api.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var s api.Status
		err := api.NewClient(socket).Get(ctx, "/v1/status", &s)
		if err == nil {
			return s
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("daemon does not answer: %v", err)
		}
	}
}

func TestRun_Daemon_AnswersAndStopsCleanly(t *testing.T) {
	path, socket := serverConfig(t)
	d := start(t, path, socket)
	if s := answers(t, socket); s.Role != "server" || s.Name != "C1" || s.PID != d.Process.Pid {
		t.Errorf("status %+v", s)
	}
	if got := peerless(t, "show", "ports", "--json", "--socket", socket); got.status != 0 || !strings.Contains(got.out, `"eth0"`) {
		t.Errorf("show ports: %+v", got)
	}
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(); err != nil {
		t.Errorf("stop: %v\n%s", err, d.log)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("socket after the stop: %v", err)
	}
	for _, line := range strings.Split(strings.TrimSpace(d.log.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("log line is not JSON: %s", line)
		}
	}
}

func TestRun_SecondDaemonOfANode_IsRefused(t *testing.T) {
	path, socket := serverConfig(t)
	start(t, path, socket)
	got := peerless(t, "run", "--config", path)
	if got.status != 1 || !strings.Contains(got.errOut, "C1.lock: a daemon of node C1 runs already; stop it, or give this one another name\n") {
		t.Errorf("%+v", got)
	}
}

func TestRun_SocketOfAnotherDaemon_IsInUse(t *testing.T) {
	path, socket := serverConfig(t)
	start(t, path, socket)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := peerless(t, "run", "--config", write(t, "other.yaml", strings.Replace(string(text), "name: C1", "name: C2", 1)))
	if got.status != 1 || !strings.HasPrefix(got.errOut, "peerless: open api socket "+socket+": socket in use: another daemon answers there") {
		t.Errorf("%+v", got)
	}
}

func TestRun_AfterKill_StartsAgainOnTheStaleSocket(t *testing.T) {
	path, socket := serverConfig(t)
	d := start(t, path, socket)
	_ = d.Process.Kill()
	_ = d.Wait()
	if _, err := os.Stat(socket); err != nil {
		t.Fatalf("the kill left no socket: %v", err)
	}
	start(t, path, socket)
}

func TestRun_WithoutPrivilege_NamesTheCapabilities(t *testing.T) {
	if os.Getuid() != 0 {
		lack(t, "needs root: it gives root up")
	}
	dir, err := os.MkdirTemp("", "peerless-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	binary, path := filepath.Join(dir, "peerless"), filepath.Join(dir, "G.yaml")
	copyFile(t, os.Args[0], binary)
	if err := os.WriteFile(path, []byte(minimalGateway), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := command("run", "--config", path)
	cmd.Path = binary
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	want := "peerless: missing privilege: CAP_NET_ADMIN (for routes, neighbours and port state), CAP_NET_RAW (for ARP on the ports), " +
		"CAP_NET_BIND_SERVICE (for listening on TCP port 179); run as root, or grant it to the service\n"
	if got := finish(t, cmd); got.status != 1 || got.errOut != want {
		t.Errorf("%+v, want %q", got, want)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLife_KnowsAnEarlierLifeOfThisBoot(t *testing.T) {
	c := &config.Common{Name: "A", StateDir: filepath.Join(t.TempDir(), "state")}
	first, err := beginLife(c)
	if err != nil {
		t.Fatal(err)
	}
	if first.restarting {
		t.Error("the first life takes itself for a restart")
	}
	first.end()
	second, err := beginLife(c)
	if err != nil {
		t.Fatal(err)
	}
	if !second.restarting {
		t.Error("the second life does not know of the first")
	}
	second.end()
	if err := os.WriteFile(statePath(c, ".lock"), []byte("another-boot\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	third, err := beginLife(c)
	if err != nil {
		t.Fatal(err)
	}
	defer third.end()
	if third.restarting {
		t.Error("a life of another boot counts")
	}
}

// A supervisor may start the next daemon while the last one's threads are still ending.
func TestLife_LockOfADyingDaemon_IsWaitedFor(t *testing.T) {
	c := &config.Common{Name: "A", StateDir: t.TempDir()}
	first, err := beginLife(c)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, first.end)
	second, err := beginLife(c)
	if err != nil {
		t.Fatal(err)
	}
	second.end()
}
