package bfd

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"peerless/internal/lab/netns"
	"peerless/internal/lab/topology"
	"peerless/internal/model"
	"peerless/internal/step"
)

const (
	testPrefix = "pl-test-bfd-"
	patience   = 10 * time.Second // for what must come
	ms         = time.Millisecond
	port       = model.Port("p0")
)

// The two machines of a world, and their addresses.
const (
	near = iota
	far
)

var (
	names = [2]string{testPrefix + "near", testPrefix + "far"}
	addrs = [2]netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")}
)

// lack skips a test, or fails it where nothing may be missing.
func lack(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// world is two machines with a cable between them.
type world struct {
	t   *testing.T
	net *netns.Net
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("short: waits for sessions in real time")
	}
	if os.Geteuid() != 0 {
		lack(t, "needs root: network namespaces")
	}
	top := topology.Topology{Name: "cable", Links: []topology.Link{{A: topology.End{Node: names[near], Port: string(port)}, B: topology.End{Node: names[far], Port: string(port)}}}}
	for i, n := range names {
		top.Nodes = append(top.Nodes, topology.Node{Name: n, Role: topology.Host, Addresses: []topology.Address{
			{Port: string(port), Prefix: netip.PrefixFrom(addrs[i], 30)}, {Port: "lo", Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 9, byte(i + 1)}), 32)}}})
	}
	clean := func() {
		for _, n := range names {
			if err := netns.Delete(n); err != nil {
				t.Error(err)
			}
		}
	}
	clean()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	t.Cleanup(clean)
	n, err := netns.Build(top, func(node string) string { return node })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return &world{t: t, net: n}
}

// drop makes a machine lose everything that it receives, carrier and all else unharmed; or lets it hear again.
func (w *world) drop(end int, on bool) {
	w.t.Helper()
	var err error
	if on {
		err = netns.Drop(names[end], string(port), netns.Everything)
	} else {
		err = netns.Undrop(names[end], string(port))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// heard is an event with the time at which it was posted.
type heard struct {
	step.BFDChanged
	at time.Time
}

// end is a driver in one of the machines.
type end struct {
	w      *world
	at     int
	driver *Driver
	events chan heard
	stop   func()
}

func (w *world) start(at int) *end {
	w.t.Helper()
	d, err := New(Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &end{w: w, at: at, driver: d, events: make(chan heard, 1000)}
	done := make(chan error, 1)
	go func() {
		done <- d.Run(ctx, func(ev step.Event) { e.events <- heard{ev.(step.BFDChanged), time.Now()} })
	}()
	stopped := false
	e.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
	w.t.Cleanup(e.stop)
	return e
}

func (e *end) want(interval time.Duration, multiplier int) step.BFDSession {
	return step.BFDSession{Port: port, Peer: addrs[1-e.at], Interval: interval, Multiplier: multiplier}
}

func (e *end) apply(w step.Want) error {
	e.w.t.Helper()
	var result error
	if err := netns.Do(names[e.at], func() error { result = e.driver.Apply([]step.Want{w})[0]; return nil }); err != nil {
		e.w.t.Fatal(err)
	}
	return result
}

func (e *end) ask(interval time.Duration, multiplier int) {
	e.w.t.Helper()
	if err := e.apply(step.Want{Object: e.want(interval, multiplier)}); err != nil {
		e.w.t.Fatal(err)
	}
}

// await is the next event that fits.
func (e *end) await(what string, fits func(step.BFDChanged) bool) heard {
	e.w.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case ev := <-e.events:
			if fits(ev.BFDChanged) {
				return ev
			}
		case <-deadline:
			e.w.t.Fatalf("%s: not %s within %s", names[e.at], what, patience)
		}
	}
}

func (e *end) awaitUp(detect time.Duration) heard {
	e.w.t.Helper()
	return e.await("up with detection time "+detect.String(), func(c step.BFDChanged) bool { return c.Up && c.Detect == detect })
}

func (e *end) awaitDown() heard {
	e.w.t.Helper()
	return e.await("down", func(c step.BFDChanged) bool { return !c.Up })
}

// drain counts the events that have come, and forgets them.
func (e *end) drain() (n int) {
	for {
		select {
		case <-e.events:
			n++
		default:
			return n
		}
	}
}

// silent fails the test if anything happened.
func (e *end) silent() {
	e.w.t.Helper()
	for {
		select {
		case ev := <-e.events:
			e.w.t.Errorf("%s: %s", names[e.at], ev)
		default:
			return
		}
	}
}
