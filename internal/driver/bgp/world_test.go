//go:build !race

// GoBGP keeps its selection options in package variables, which every speaker of the process writes when it starts, and
// reads the stale flag of paths without a lock: tests of several speakers cannot run under the race detector.

package bgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"peerless/internal/model"
	"peerless/internal/step"
)

// GoBGP forgets the goroutine of a removed neighbour's queue if something was left in it.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/eapache/channels.(*InfiniteChannel).infiniteBuffer"))
}

const patience = 10 * time.Second

var (
	subnet      = netip.MustParsePrefix("10.10.10.0/24")
	attachments = netip.MustParsePrefix("10.255.0.0/16")
	everything  = netip.MustParsePrefix("0.0.0.0/0")
	host1       = netip.MustParsePrefix("10.10.10.1/32")
	host2       = netip.MustParsePrefix("10.10.10.2/32")
	attachment2 = netip.MustParsePrefix("10.255.0.2/32")
)

// speaker is a driver under test, with all it has told.
type speaker struct {
	*Driver
	t      testing.TB
	addr   netip.Addr
	cancel context.CancelFunc
	result chan error

	mu     sync.Mutex
	events []step.Event
	posted chan struct{} // receives something after each event
}

// lane gives each test its own loopback addresses: 127.9.LANE.N.
var lane = struct {
	sync.Mutex
	n byte
}{}

type world struct {
	t    testing.TB
	lane byte
	port int
}

func newWorld(t testing.TB) *world {
	lane.Lock()
	defer lane.Unlock()
	lane.n++
	return &world{t: t, lane: lane.n, port: 17900}
}

func (w *world) addr(n byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 9, w.lane, n}) }

// options of node n: 1 is a gateway, others are leaves below it.
func (w *world) options(n byte) Options {
	o := Options{
		AS: 65000 + uint32(n), RouterID: netip.AddrFrom4([4]byte{10, 0, 0, n}), ListenPort: w.port,
		ListenAddresses: []netip.Addr{w.addr(n)}, Accept: []netip.Prefix{subnet, attachments},
		ConnectRetry: 20 * time.Millisecond, AlwaysCompareMED: true, // a global of GoBGP: the same for all
	}
	if n == 1 {
		o.Transit = true
		return o
	}
	o.AcceptDefault = true
	o.Neighbors = []Neighbor{w.gateway(n, 1)}
	return o
}

// gateway is node to, as node n dials it.
func (w *world) gateway(n, to byte) Neighbor {
	return Neighbor{Address: w.addr(to), AS: 65000 + uint32(to), LocalAddress: w.addr(n), Port: w.port}
}

// leaf is node n, as a gateway waits for it.
func (w *world) leaf(n byte) Neighbor {
	return Neighbor{Address: w.addr(n), AS: 65000 + uint32(n), Passive: true}
}

func (w *world) start(o Options) *speaker {
	w.t.Helper()
	d, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	s := &speaker{Driver: d, t: w.t, cancel: cancel, result: make(chan error, 1), posted: make(chan struct{}, 1)}
	if len(o.ListenAddresses) > 0 {
		s.addr = o.ListenAddresses[0]
	}
	go func() { s.result <- d.Run(ctx, s.post) }()
	select {
	case <-d.started:
	case err := <-s.result:
		w.t.Fatalf("run: %v", err)
	}
	w.t.Cleanup(func() { d.Stop(true); cancel() })
	return s
}

func (s *speaker) post(e step.Event) {
	s.mu.Lock()
	s.events = append(s.events, e)
	s.mu.Unlock()
	select {
	case s.posted <- struct{}{}:
	default:
	}
}

// take removes and returns everything told up to and including the first event that fits.
func (s *speaker) take(what string, fits func(step.Event) bool) []step.Event {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		for i, e := range s.events {
			if fits(e) {
				out := s.events[:i+1]
				s.events = s.events[i+1:]
				s.mu.Unlock()
				return out
			}
		}
		s.mu.Unlock()
		select {
		case <-s.posted:
		case <-timeout:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("%s never came; told: %v", what, s.events)
		}
	}
}

func (s *speaker) awaitUp(peer netip.Addr) step.SessionChanged {
	s.t.Helper()
	out := s.take("session with "+peer.String(), func(e step.Event) bool {
		c, ok := e.(step.SessionChanged)
		return ok && c.Up && c.Peer == peer
	})
	return out[len(out)-1].(step.SessionChanged)
}

func (s *speaker) awaitDown(peer netip.Addr) step.SessionChanged {
	s.t.Helper()
	out := s.take("end of session with "+peer.String(), func(e step.Event) bool {
		c, ok := e.(step.SessionChanged)
		return ok && !c.Up && c.Peer == peer
	})
	return out[len(out)-1].(step.SessionChanged)
}

// awaitPath waits for a path of a prefix, or its withdrawal, from whomever.
func (s *speaker) awaitPath(prefix netip.Prefix, withdrawn bool) step.Path {
	s.t.Helper()
	var found step.Path
	s.take(fmt.Sprintf("path %s withdrawn=%t", prefix, withdrawn), func(e step.Event) bool {
		c, _ := e.(step.PathsChanged)
		for _, p := range c.Paths {
			if p.Prefix == prefix && p.Withdrawn == withdrawn {
				found = p
				return true
			}
		}
		return false
	})
	return found
}

// mentions lists what has been told of a prefix and was not taken yet.
func (s *speaker) mentions(prefix netip.Prefix) (paths []step.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if c, ok := e.(step.PathsChanged); ok {
			for _, p := range c.Paths {
				if p.Prefix == prefix {
					paths = append(paths, p)
				}
			}
		}
	}
	return paths
}

func (s *speaker) apply(wants ...step.Want) {
	s.t.Helper()
	for _, err := range s.Apply(wants) {
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func tell(prefix netip.Prefix, med uint32) step.Want {
	return step.Want{Object: step.Advertisement{Prefix: prefix, MED: med, HasMED: true,
		Large: []model.LargeCommunity{{Global: 65002, Local1: 1, Local2: med}}}}
}

func untell(prefix netip.Prefix) step.Want {
	return step.Want{Object: step.Advertisement{Prefix: prefix}, Absent: true}
}

// pair is a gateway (node 1) and a leaf (node 2) with a session between them.
func (w *world) pair(change func(gateway, leaf *Options)) (gateway, leaf *speaker) {
	w.t.Helper()
	g, l := w.options(1), w.options(2)
	g.Neighbors = []Neighbor{w.leaf(2)}
	if change != nil {
		change(&g, &l)
	}
	gateway, leaf = w.start(g), w.start(l)
	gateway.awaitUp(leaf.addr)
	leaf.awaitUp(gateway.addr)
	return gateway, leaf
}

func withGracefulRestart(gateway, leaf *Options) {
	gateway.GracefulRestart, leaf.GracefulRestart = 30*time.Second, 30*time.Second
}

// relay is a link that a test can break: it listens on one address and passes bytes to another.
type relay struct {
	t      testing.TB
	from   netip.Addr // source address towards the far end
	listen net.Listener
	to     string
	mu     sync.Mutex
	conns  []net.Conn
}

func (w *world) relay(at, from, to netip.Addr) *relay {
	r := &relay{t: w.t, from: from, to: netip.AddrPortFrom(to, uint16(w.port)).String()}
	r.open(netip.AddrPortFrom(at, uint16(w.port)).String())
	w.t.Cleanup(r.cut)
	return r
}

func (r *relay) open(at string) {
	l, err := net.Listen("tcp4", at)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.listen = l
	r.mu.Unlock()
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			r.join(near)
		}
	}()
}

func (r *relay) join(near net.Conn) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.from, 0))}
	far, err := d.Dial("tcp4", r.to)
	if err != nil {
		near.Close()
		return
	}
	r.mu.Lock()
	r.conns = append(r.conns, near, far)
	r.mu.Unlock()
	pass := func(a, b net.Conn) {
		buf := make([]byte, 65536)
		for {
			n, err := a.Read(buf)
			if err != nil {
				b.Close()
				return
			}
			if _, err := b.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	go pass(near, far)
	go pass(far, near)
}

// cut closes the link and every connection on it.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listen.Close()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// stopped returns what Run returned.
func (s *speaker) stopped() error {
	s.t.Helper()
	select {
	case err := <-s.result:
		return err
	case <-time.After(patience):
		s.t.Fatal("run does not return")
		return os.ErrDeadlineExceeded
	}
}
