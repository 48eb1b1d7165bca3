package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestArchive_AsTheKernelReadsIt_HoldsEverything(t *testing.T) {
	var b bytes.Buffer
	a := &archive{w: &b}
	a.dir("bin")
	a.program("bin/run", []byte("12345"))
	a.document("empty", nil)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	type file struct {
		name, body string
		mode       int
	}
	var got []file
	for rest := b.Bytes(); ; {
		var f [13]int
		if len(rest) < 110 || string(rest[:6]) != "070701" {
			t.Fatalf("no header in %q", rest)
		}
		for i := range f {
			if _, err := fmt.Sscanf(string(rest[6+8*i:14+8*i]), "%08x", &f[i]); err != nil {
				t.Fatal(err)
			}
		}
		const mode, size, nameLen = 1, 6, 11
		up := func(n int) int { return (n + 3) &^ 3 }
		name := string(rest[110 : 110+f[nameLen]-1])
		rest = rest[up(110+f[nameLen]):]
		if name == cpioEnd {
			if len(rest) != 0 {
				t.Errorf("%d bytes after the end", len(rest))
			}
			break
		}
		got = append(got, file{name, string(rest[:f[size]]), f[mode]})
		rest = rest[up(f[size]):]
	}
	want := []file{{"bin", "", dirMode}, {"bin/run", "12345", execMode}, {"empty", "", dataMode}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errors.New("full")
	}
	return len(b), nil
}

func TestArchive_WriterBreaks_SaysSoAtTheEnd(t *testing.T) {
	for left := range 300 {
		a := &archive{w: &brokenWriter{left}}
		a.program("a", make([]byte, 100))
		if a.close() == nil {
			t.Fatalf("no error after %d bytes", left)
		}
	}
}

func TestModules_InOrder_EachAfterWhatItNeeds(t *testing.T) {
	all := map[string]module{}
	for _, m := range []module{
		{name: "bonding", needs: []string{"tls"}}, {name: "tls"}, {name: "virtio"}, {name: "virtio_ring"},
		{name: "virtio_pci", needs: []string{"virtio_ring", "virtio"}}, {name: "a", needs: []string{"b"}}, {name: "b", needs: []string{"a"}},
		{name: "lost", needs: []string{"nowhere"}},
	} {
		all[m.name] = m
	}
	tests := []struct {
		name   string
		wanted []string
		order  string
		err    string
	}{
		{"dependency first", []string{"bonding"}, "tls bonding", ""},
		{"shared by two", []string{"virtio-pci", "virtio", "tls"}, "virtio_ring virtio virtio_pci tls", ""},
		{"circle", []string{"a"}, "", "module a: needs itself by way of b"},
		{"not in the package", []string{"lost"}, "", "module nowhere, wanted by lost, is not in the kernel package"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := inOrder(all, tt.wanted)
			var names []string
			for _, m := range got {
				names = append(names, m.name)
			}
			if strings.Join(names, " ") != tt.order && err == nil || fmt.Sprint(err) != tt.err && (err != nil || tt.err != "") {
				t.Errorf("got %v, %v", names, err)
			}
		})
	}
}

func TestModule_NoModule_SaysWhy(t *testing.T) {
	for name, image := range map[string][]byte{"empty": nil, "text": []byte("#!/bin/sh\n")} {
		if _, err := readModule(image); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPackage_Files_AreKeptByPlace(t *testing.T) {
	tests := []struct{ file, want string }{
		{"./boot/vmlinuz-6.1.0-56-amd64", "vmlinuz"},
		{"./lib/modules/6.1.0-56-amd64/kernel/drivers/net/bonding/bonding.ko", "bonding.ko"},
		{"./lib/modules/6.1.0-56-amd64/kernel/net/8021q/8021q.ko.xz", "8021q.ko.xz"},
		{"./lib/modules/6.1.0-56-amd64/kernel/drivers/gpu/drm/i915/i915.ko", ""},
		{"./lib/modules/6.1.0-56-amd64/modules.order", ""},
		{"./boot/System.map-6.1.0-56-amd64", ""},
	}
	for _, tt := range tests {
		name, keep := keepAs(tt.file)
		if keep != (tt.want != "") || keep && name != tt.want {
			t.Errorf("%s: kept %v as %q, want %q", tt.file, keep, name, tt.want)
		}
	}
}

func TestConsole_OnlyOurOwnLines_AreBelieved(t *testing.T) {
	tests := []struct {
		name, console string
		status        int
		passed        string
		stuck, err    bool
	}{
		{"job that fails", "vm-begin N 6.1\r\nhello\r\nvm-end N 3\r\n", 3, "hello\n", false, false},
		{"no end", "vm-begin N 6.1\nKernel panic\n", -1, "Kernel panic\n", false, false},
		{"kernel is stuck", "[   28.577967] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [peerless:285]\r\n",
			-1, "[   28.577967] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [peerless:285]\n", true, false},
		{"another machine's lines", "vm-end X 0\nvm-begin N 6.1\nvm-end N 1\n", 1, "vm-end X 0\n", false, false},
		{"no number", "vm-end N zero\n", -1, "", false, true},
		{"nothing at all", "", -1, "", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var passed bytes.Buffer
			out, err := listen(strings.NewReader(tt.console), "N", &passed, time.Now())
			if out.Status != tt.status || passed.String() != tt.passed || out.stuck != tt.stuck || (err != nil) != tt.err {
				t.Errorf("status %d, passed %q, stuck %v, %v", out.Status, passed.String(), out.stuck, err)
			}
		})
	}
}

func TestConsole_LineWithoutEnd_IsAnErrorAndNoHang(t *testing.T) {
	if _, err := listen(strings.NewReader(strings.Repeat("x", lineMax+1)), "N", io.Discard, time.Now()); err == nil {
		t.Error("no error")
	}
}

func TestInit_Script_IsValidShell(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-n")
	cmd.Stdin = bytes.NewReader(initScript)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
