package rtnl

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

const inNamespace = "PEERLESS_RTNL_TEST_NAMESPACE"

// TestMain runs the whole test binary in a network namespace of its own, which dies with it.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) != "" || os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "test in a network namespace:", err)
		os.Exit(1)
	}
}

func needKernel(tb testing.TB) {
	tb.Helper()
	if os.Getenv(inNamespace) != "" {
		return
	}
	if os.Getenv("CI") != "" {
		tb.Fatal("needs root: it works on the kernel of a network namespace")
	}
	tb.Skip("needs root: it works on the kernel of a network namespace")
}

// kernel changes the namespace as somebody other than the driver would.
type kernel struct {
	testing.TB
	*requester
}

func newKernel(tb testing.TB) kernel {
	tb.Helper()
	needKernel(tb)
	r, err := dialRequester()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.conn.Close() })
	k := kernel{tb, r}
	k.up("lo")
	return k
}

func (k kernel) do(req request) {
	k.Helper()
	if err := k.one(req); err != nil {
		k.Fatal(err)
	}
}

func (k kernel) index(name model.Port) int {
	k.Helper()
	l, err := readLink(k.requester, name)
	if err != nil {
		k.Fatalf("index of %s: %v", name, err)
	}
	return l.index
}

func (k kernel) link(name model.Port) link {
	k.Helper()
	l, err := readLink(k.requester, name)
	if err != nil {
		k.Fatalf("read %s: %v", name, err)
	}
	return l
}

func (k kernel) up(names ...model.Port) {
	k.Helper()
	for _, n := range names {
		k.do(encodeAdmin(k.index(n), true))
	}
}

func (k kernel) down(name model.Port) { k.Helper(); k.do(encodeAdmin(k.index(name), false)) }

// newLink creates a device; data is the content of IFLA_INFO_DATA, more goes beside it.
func (k kernel) newLink(name model.Port, kind string, index int, data, more payload) {
	k.Helper()
	var info payload
	info.text(unix.IFLA_INFO_KIND, kind)
	if data != nil {
		info.attr(unix.IFLA_INFO_DATA, data)
	}
	p := append(linkHeader(unix.AF_UNSPEC, index, 0, 0), more...)
	p.text(unix.IFLA_IFNAME, string(name))
	p.attr(unix.IFLA_LINKINFO, info)
	req := change(unix.RTM_NEWLINK, p)
	req.msg.Header.Flags = flagsAdd
	if err := k.one(req); err != nil {
		k.Fatalf("create %s %s: %v", kind, name, err)
	}
	k.Cleanup(func() { k.remove(name) })
}

func (k kernel) remove(name model.Port) {
	if l, err := readLink(k.requester, name); err == nil {
		_ = k.one(change(unix.RTM_DELLINK, linkHeader(unix.AF_UNSPEC, l.index, 0, 0)))
	}
}

// veth creates a pair with both ends up; peerNS 0 means the same namespace, an index of 0 the kernel's choice.
func (k kernel) veth(name, peer model.Port) {
	k.Helper()
	k.vethAt(name, 0, peer, 0, 0)
	k.up(name, peer)
}

func (k kernel) vethAt(name model.Port, index int, peer model.Port, peerIndex, peerNS int) {
	k.Helper()
	const vethInfoPeer = 1
	end := linkHeader(unix.AF_UNSPEC, peerIndex, 0, 0)
	end.text(unix.IFLA_IFNAME, string(peer))
	if peerNS != 0 {
		end.u32(unix.IFLA_NET_NS_FD, uint32(peerNS))
	}
	var data payload
	data.attr(vethInfoPeer, end)
	k.newLink(name, "veth", index, data, nil)
}

func (k kernel) master(port, master model.Port) {
	k.Helper()
	p := linkHeader(unix.AF_UNSPEC, k.index(port), 0, 0)
	index := 0
	if master != "" {
		index = k.index(master)
	}
	p.u32(unix.IFLA_MASTER, uint32(index))
	k.do(change(unix.RTM_SETLINK, p))
}

// dumped reads the kernel raw.
func (k kernel) routes() []route {
	k.Helper()
	all, err := dumpAll(k.requester, "routes", unix.RTM_GETROUTE, routeFilter(0, 0), decodeRoute)
	if err != nil {
		k.Fatal(err)
	}
	return all
}

func (k kernel) route(table uint32, prefix string) (route, bool) {
	k.Helper()
	for _, r := range k.routes() {
		if r.table == table && r.prefix == netip.MustParsePrefix(prefix) {
			return r, true
		}
	}
	return route{}, false
}

// namespace makes another network namespace and returns a requester in it and its file descriptor.
func (k kernel) namespace() (kernel, int) {
	k.Helper()
	type made struct {
		r   *requester
		fd  int
		err error
	}
	out := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var m made
		if m.err = unix.Unshare(unix.CLONE_NEWNET); m.err == nil {
			m.fd, m.err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		if m.err == nil {
			m.r, m.err = dialRequester()
		}
		out <- m
	}()
	m := <-out
	if m.err != nil {
		k.Fatal(m.err)
	}
	k.Cleanup(func() { m.r.conn.Close(); unix.Close(m.fd) })
	return kernel{k.TB, m.r}, m.fd
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func newDriver(tb testing.TB, o Options) *Driver {
	tb.Helper()
	needKernel(tb)
	o.Logger = quiet()
	d, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { d.Close() })
	return d
}

// story collects what a driver posts.
type story struct {
	testing.TB
	events chan step.Event
	seen   []step.Event
}

// watch runs the driver until the test ends, and waits for the first snapshot.
func watch(tb testing.TB, d *Driver) (*story, step.Snapshot) {
	tb.Helper()
	s := &story{TB: tb, events: make(chan step.Event, 1<<20)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, func(ev step.Event) { s.events <- ev }) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error("run:", err)
		}
	})
	return s, await(s, "first snapshot", func(step.Snapshot) bool { return true })
}

// await skips events until one is as wanted.
func await[E step.Event](s *story, what string, want func(E) bool) E {
	s.Helper()
	deadline := time.After(3 * time.Second)
	for {
		select {
		case ev := <-s.events:
			s.seen = append(s.seen, ev)
			if e, ok := ev.(E); ok && want(e) {
				return e
			}
		case <-deadline:
			s.Fatalf("waited for %s in vain; the last of %d events: %v", what, len(s.seen), s.seen[max(0, len(s.seen)-8):])
		}
	}
}

// fence makes another's change that is reported, so that everything before it has been, and returns what came before.
func (s *story) fence(k kernel, port model.Port) []step.Event {
	s.Helper()
	s.seen = nil
	mark := netip.MustParseAddr("192.0.2.99")
	p := neighborHeader(unix.AF_INET, k.index(port), unix.NUD_PERMANENT, 0)
	p.addr(unix.NDA_DST, mark)
	p.attr(unix.NDA_LLADDR, macOne[:])
	k.do(choose(false, unix.RTM_NEWNEIGH, 0, p))
	k.do(choose(true, 0, unix.RTM_DELNEIGH, p))
	await(s, "fence", func(e step.NeighborChanged) bool { return e.Addr == mark && !e.Present })
	var others []step.Event
	for _, ev := range s.seen {
		if e, ok := ev.(step.NeighborChanged); !ok || e.Addr != mark {
			others = append(others, ev)
		}
	}
	return others
}

func apply(tb testing.TB, d *Driver, objects ...step.Object) {
	tb.Helper()
	applyAll(tb, d, false, objects)
}

func applyAbsent(tb testing.TB, d *Driver, objects ...step.Object) {
	tb.Helper()
	applyAll(tb, d, true, objects)
}

func applyAll(tb testing.TB, d *Driver, absent bool, objects []step.Object) {
	tb.Helper()
	wants := make([]step.Want, len(objects))
	for i, o := range objects {
		wants[i] = step.Want{Object: o, Absent: absent}
	}
	for _, err := range d.Apply(wants) {
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
