package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerless/internal/config"
	"peerless/internal/guard"
)

func TestStop_Daemon_EndsInAnOrderlyWay(t *testing.T) {
	path, socket := serverConfig(t)
	d := start(t, path, socket)
	c := &config.Common{Name: "C1", StateDir: filepath.Dir(socket)}
	if got := lifeOf(c); got != guard.Alive {
		t.Errorf("while it runs it is %s", got)
	}
	got := peerless(t, "stop", "--json", "--socket", socket)
	if err := d.Wait(); err != nil {
		t.Errorf("stop: %v\n%s", err, d.log)
	}
	var s struct{ PID int }
	if err := json.Unmarshal([]byte(got.out), &s); err != nil || got.status != 0 || s.PID != d.Process.Pid {
		t.Errorf("%+v", got)
	}
	if got := lifeOf(c); got != guard.Stopped {
		t.Errorf("after the stop it is %s", got)
	}
	if got := peerless(t, "stop", "--socket", socket); got.status != 1 || !strings.Contains(got.errOut, "is the daemon running?") {
		t.Errorf("%+v", got)
	}
	start(t, path, socket)
	if got := lifeOf(c); got != guard.Alive {
		t.Errorf("started again it is %s", got)
	}
}

func TestLifeOf_WithoutADaemon(t *testing.T) {
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		want       guard.Life
	}{
		{"no lock file", "", guard.Unborn},
		{"of another boot", "another-boot\n", guard.Unborn},
		{"ended without a word", boot + "\n", guard.Dead},
		{"ended in an orderly way", boot + "\nstopped\n", guard.Stopped},
		{"ended in an orderly way before the boot", "another-boot\nstopped\n", guard.Unborn},
		{"torn", boot[:5], guard.Unborn},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &config.Common{Name: "A", StateDir: t.TempDir()}
			if tt.text != "" {
				if err := os.WriteFile(statePath(c, ".lock"), []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := lifeOf(c); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// A lock file that is removed while it is waited for locks nobody out: the waiting one must not believe that it has it.
func TestLife_LockFileRemovedWhileWaiting_IsMadeAnew(t *testing.T) {
	c := &config.Common{Name: "A", StateDir: t.TempDir()}
	first, err := takeLock(c)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() {
		_ = os.Remove(first.Name())
		_ = first.Close()
	})
	second, err := beginLife(c)
	if err != nil {
		t.Fatal(err)
	}
	defer second.end()
	if got := lifeOf(c); got != guard.Alive {
		t.Errorf("it is %s", got)
	}
}

func TestUninstall_WhatCannotBe_IsRefused(t *testing.T) {
	path, socket := serverConfig(t)
	d := start(t, path, socket)
	if got := peerless(t, "uninstall", "--config", path); got.status != 1 || !strings.Contains(got.errOut, "its daemon runs; stop it first: peerless stop --socket "+socket) {
		t.Errorf("%+v", got)
	}
	_ = d.Process.Kill()
	_ = d.Wait()
	record := `{"boot":"` + mustBoot(t) + `","namespace":1}`
	if err := os.WriteFile(filepath.Join(filepath.Dir(socket), "C1.before"), []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := peerless(t, "uninstall", "--config", path); got.status != 1 || !strings.Contains(got.errOut, "in another network namespace") {
		t.Errorf("%+v", got)
	}
}

func TestUninstall_DaemonThatChangedNothing_LeavesNoFile(t *testing.T) {
	path, socket := serverConfig(t)
	d := start(t, path, socket)
	_ = d.Process.Kill()
	_ = d.Wait()
	cmd := command("uninstall", "--json", "--config", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} // not the machine's own tables
	got := finish(t, cmd)
	if got.status != 0 || !strings.Contains(got.out, `"left": []`) {
		t.Errorf("%+v", got)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(socket), "C1.*"))
	if err != nil || len(left) != 1 || left[0] != path {
		t.Errorf("left: %v", left)
	}
}

func mustBoot(t *testing.T) string {
	t.Helper()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	return boot
}

func TestGuard_OfWhatNeedsNone_IsWrongUsage(t *testing.T) {
	for text, want := range map[string]string{
		minimalServer:  "only a leaf is guarded",
		minimalGateway: "only a leaf is guarded",
		strings.Replace(minimalLeaf, "role: leaf\n", "role: leaf\nadvertise: none\n", 1): "nobody forgets the routes",
	} {
		got := peerless(t, "guard", "--config", write(t, "x.yaml", text))
		if got.status != 2 || !strings.Contains(got.errOut, want) {
			t.Errorf("%+v, want %s", got, want)
		}
	}
}

func TestConfigSystemd_Units_KeepStateAndAreUnderstood(t *testing.T) {
	path := write(t, "A.yaml", minimalLeaf)
	for _, guardToo := range []bool{false, true} {
		args := []string{"config", "systemd", "--config", path}
		name := "peerless-A.service"
		if guardToo {
			args, name = append(args, "--guard"), "peerless-A-guard.service"
		}
		got := inProcess(t, args...)
		if got.status != 0 || !strings.Contains(got.out, "RuntimeDirectoryPreserve=yes") || !strings.Contains(got.out, "--config "+path) {
			t.Fatalf("%+v", got)
		}
		verify, err := exec.LookPath("systemd-analyze")
		if err != nil {
			continue
		}
		if out, err := exec.Command(verify, "verify", write(t, name, got.out)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
