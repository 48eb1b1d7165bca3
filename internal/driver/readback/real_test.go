package readback

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// lack skips a test for what the machine lacks, and fails it where nobody would see the skip.
func lack(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// engine starts a daemon in a network namespace of its own and gives a handle to that namespace's kernel.
func engine(t *testing.T, in *netlink.Handle, pid int, name string, args ...string) (*netlink.Handle, int) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lack(t, name+" is not installed")
	}
	cmd := exec.Command(path, args...)
	if in == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	} else {
		nsenter, err := exec.LookPath("nsenter")
		if err != nil {
			lack(t, "nsenter is not installed")
		}
		cmd = exec.Command(nsenter, append([]string{"--net=" + filepath.Join("/proc", strconv.Itoa(pid), "ns/net"), path}, args...)...)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", name, out.String())
		}
	})
	if in != nil {
		return in, pid
	}
	ns, err := netns.GetFromPid(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	return h, cmd.Process.Pid
}

func addRoute(t *testing.T, h *netlink.Handle, prefix string) {
	t.Helper()
	dst, err := netlink.ParseIPNet(prefix)
	if err != nil {
		t.Fatal(err)
	}
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Table: 100, Protocol: 201, Priority: 20, Scope: netlink.SCOPE_LINK}); err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real daemons")
	}
	if os.Geteuid() != 0 {
		lack(t, "needs root: makes network namespaces")
	}
}

// await reads until the answer is as wanted.
func await(t *testing.T, o Options, running bool, has string) {
	t.Helper()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		state := d.read()
		var got []string
		for _, p := range state.Routes {
			got = append(got, p.String())
		}
		if state.Running == running && strings.Join(got, " ") == has {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%+v, want running %v with %q", state, running, has)
		}
	}
}

func TestReal_BIRD_TellsWhatItLearned(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "bird.conf")
	text := "router id 10.0.0.1;\nipv4 table hosts;\nprotocol device {}\n" +
		"protocol kernel { kernel table 100; scan time 1; learn; ipv4 { table hosts; import all; export none; }; }\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Engine: BIRD, Socket: filepath.Join(dir, "bird.ctl"), Table: 100}
	h, _ := engine(t, nil, 0, "bird", "-f", "-c", conf, "-s", o.Socket, "-P", filepath.Join(dir, "pid"))
	await(t, o, true, "")
	addRoute(t, h, "10.10.10.2/32")
	await(t, o, true, "10.10.10.2/32")
}

// frrDir is a directory that FRR's own user may write to.
func frrDir(t *testing.T) string {
	t.Helper()
	frr, err := user.Lookup("frr")
	if err != nil {
		lack(t, "FRR is not installed")
	}
	dir, err := os.MkdirTemp("", "readback")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	uid, _ := strconv.Atoi(frr.Uid)
	gid, _ := strconv.Atoi(frr.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReal_FRR_TellsWhatItImported(t *testing.T) {
	needRoot(t)
	const daemons = "/usr/lib/frr/"
	dir := frrDir(t)
	conf := filepath.Join(dir, "frr.conf")
	if err := os.WriteFile(conf, []byte("ip import-table 100\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	own := []string{"-P", "0", "-z", filepath.Join(dir, "zserv"), "--vty_socket", dir}
	o := Options{Engine: FRR, Socket: filepath.Join(dir, "zebra.vty"), Table: 100}
	h, pid := engine(t, nil, 0, daemons+"zebra", append(own, "-f", conf, "-i", filepath.Join(dir, "zebra.pid"))...)
	await(t, Options{Engine: FRR, Socket: o.Socket}, false, "") // no routing daemon yet
	engine(t, h, pid, daemons+"ospfd", append(own, "-f", "/dev/null", "-i", filepath.Join(dir, "ospfd.pid"))...)
	await(t, o, true, "")
	addRoute(t, h, "10.10.10.2/32")
	await(t, o, true, "10.10.10.2/32")
}
