package arpnd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// ownNamespace marks the process that runs in a network namespace of its own.
const ownNamespace = "ARPND_TEST_OWN_NAMESPACE"

// TestMain runs everything again in a fresh network namespace, so that the whole process is in it, as the daemon is.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(ownNamespace) != "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // Pdeathsig looks at the thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), ownNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "run the tests in a new network namespace:", err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// wire is a driver listening on one end of a veth pair, and a bare packet socket on the other.
type wire struct {
	tb     testing.TB
	driver *Driver
	port   model.Port
	far    string // the other end
	fd     int    // packet socket on it
	events chan step.Event
}

// patience bounds every wait for something that must come.
const patience = 5 * time.Second

func newWire(tb testing.TB) *wire {
	tb.Helper()
	if os.Getenv(ownNamespace) == "" {
		if os.Getenv("CI") != "" {
			tb.Fatal("needs root for a network namespace")
		}
		tb.Skip("needs root for a network namespace")
	}
	ignore := goleak.IgnoreCurrent()
	driver, err := New(Options{})
	if err != nil {
		tb.Fatal(err)
	}
	w := &wire{tb: tb, driver: driver, port: "near", far: "far", fd: -1, events: make(chan step.Event, 1<<18)}
	tb.Cleanup(func() {
		driver.Close()
		_ = unix.Close(w.fd)
		w.unplug()
		goleak.VerifyNone(tb, ignore)
	})
	w.plug()
	return w
}

// plug makes the veth pair and opens the far end's socket.
func (w *wire) plug() {
	w.tb.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index = string(w.port), 100 // the same index every time
	w.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: w.far}))
	for _, name := range []string{string(w.port), w.far} {
		// Without IPv6 the kernel sends nothing of its own.
		w.must(os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0))
		w.setUp(name, true)
	}
	w.awaitCarrier()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	w.must(err)
	w.must(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allKinds.protocol(), Ifindex: w.link(w.far).Attrs().Index}))
	w.must(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	w.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)}))
	w.fd = fd
}

// awaitCarrier waits until the kernel has made the near end's queue work: before, frames get lost without an error.
func (w *wire) awaitCarrier() {
	w.tb.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for deadline := time.After(patience); w.link(string(w.port)).Attrs().OperState != netlink.OperUp; {
		select {
		case <-again.C:
		case <-deadline:
			w.tb.Fatal("no carrier")
		}
	}
}

func (w *wire) unplug() {
	if link, err := netlink.LinkByName(w.far); err == nil {
		w.must(netlink.LinkDel(link))
	}
}

func (w *wire) link(name string) netlink.Link {
	w.tb.Helper()
	link, err := netlink.LinkByName(name)
	w.must(err)
	return link
}

func (w *wire) setUp(name string, up bool) {
	w.tb.Helper()
	if up {
		w.must(netlink.LinkSetUp(w.link(name)))
	} else {
		w.must(netlink.LinkSetDown(w.link(name)))
	}
}

func (w *wire) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

// run starts the driver's source and ends it with the test.
func (w *wire) run() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.driver.Run(w.tb.Context(), func(ev step.Event) { w.events <- ev }); err != nil {
			w.tb.Error(err)
		}
	}()
	w.tb.Cleanup(func() { <-done }) // the context is done before cleanups run
}

func (w *wire) listen(s step.Sampling) error {
	return w.driver.Apply([]step.Want{{Object: step.Listen{Port: w.port, Sampling: s}}})[0]
}

// transmit sends a frame from the far end.
func (w *wire) transmit(frame []byte) {
	w.tb.Helper()
	w.must(w.tryTransmit(frame))
}

func (w *wire) tryTransmit(frame []byte) error {
	_, err := unix.Write(w.fd, frame)
	return err
}

// next is the next event.
func (w *wire) next() step.Event {
	w.tb.Helper()
	select {
	case ev := <-w.events:
		return ev
	case <-time.After(patience):
		w.tb.Fatal("no event")
		return nil
	}
}

// sentinel ends a test's traffic: the port is in order, so what did not come before it will not come.
var sentinel = step.RARPSeen{Port: "near", MAC: model.MAC{2, 2, 2, 2, 2, 2}}

// untilSentinel sends the sentinel and gives everything that came before it.
func (w *wire) untilSentinel() (before []step.Event) {
	w.tb.Helper()
	frame := unhex(rarpHex)
	copy(frame[senderMACAt:], sentinel.MAC[:])
	w.transmit(frame)
	for {
		ev := w.next()
		if ev == sentinel {
			return before
		}
		before = append(before, ev)
	}
}

// hearsAgain transmits a frame again and again until some event comes: a veth's carrier returns when the kernel gets to it.
func (w *wire) hearsAgain(frame []byte) {
	w.tb.Helper()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for {
		_ = w.tryTransmit(frame)
		select {
		case <-w.events:
			return
		case <-again.C:
		case <-deadline:
			w.tb.Fatal("the port stays deaf")
		}
	}
}

// receiveFar is the next frame that the far end receives.
func (w *wire) receiveFar() []byte {
	w.tb.Helper()
	buf := make([]byte, 256)
	n, err := unix.Read(w.fd, buf)
	w.must(err)
	return buf[:n]
}

func (w *wire) count() Counters {
	w.tb.Helper()
	rows := w.driver.Counters()
	if len(rows) != 1 {
		w.tb.Fatalf("counters of %d ports, want 1", len(rows))
	}
	return rows[0]
}
