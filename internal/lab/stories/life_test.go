package stories

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"peerless/internal/api"
	"peerless/internal/engine"
	"peerless/internal/step"
)

// outside is an address of the gateway itself, as seen by the servers.
var outside = netip.MustParseAddr("10.0.0.1")

// traffic is flows in both directions between the gateway and every server, and between servers of one leaf and of two.
type traffic struct {
	flows []*flow
	stop  chan struct{}
	wg    sync.WaitGroup
}

func (s *stand) traffic() *traffic { return newTraffic(s) }

// Fatal ends the test.
func (s *stand) Fatal(args ...any) { s.t.Helper(); s.t.Fatal(args...) }

func newTraffic(s place) *traffic {
	t := &traffic{stop: make(chan struct{})}
	for i := byte(1); i <= 4; i++ {
		node := fmt.Sprintf("C%d", i)
		t.flows = append(t.flows, newFlow(s, "G", outside, node, server(i), 9001), newFlow(s, node, server(i), "G", outside, 9100+uint16(i)))
	}
	t.flows = append(t.flows, newFlow(s, "C1", server(1), "C3", server(3), 9002), newFlow(s, "C1", server(1), "C2", server(2), 9002))
	for _, f := range t.flows {
		f.run(&t.wg, t.stop)
	}
	return t
}

// end stops the traffic and gives what each flow lost. One datagram a millisecond: a loss is an outage in milliseconds.
func (t *traffic) end() map[string]int64 {
	close(t.stop)
	t.wg.Wait()
	lost := map[string]int64{}
	for _, f := range t.flows {
		lost[f.name] = f.sent.Load() - f.received.Load()
	}
	return lost
}

// view asks a node's daemon; an error says that it does not answer.
func view[T any](node, what string) ([]T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var rows []T
	err := api.NewClient(socket(node)).Get(ctx, "/v1/"+what, &rows)
	return rows, err
}

// whole says what keeps the daemons from being in full possession of their senses: every session up and every table sent, in
// the eyes of both ends, and the normal state.
func (s *stand) whole() string {
	for _, node := range []string{"G", "A", "B"} {
		sessions, err := view[step.SessionRow](node, "sessions")
		if err != nil {
			return err.Error()
		}
		for _, r := range sessions {
			if r.State != "up" || node == "G" && r.Why != "it has said all it has" {
				return fmt.Sprintf("%s: session with %s is %s: %s", node, r.Peer, r.State, r.Why)
			}
		}
	}
	for i := 1; i <= 4; i++ {
		if _, err := view[step.PortRow](fmt.Sprintf("C%d", i), "ports"); err != nil {
			return err.Error()
		}
	}
	mapping, err := view[step.MappingRow]("G", "mapping")
	if err != nil {
		return err.Error()
	}
	for _, r := range mapping {
		if r.Active != (r.Role == "primary") || r.Uplink != "up" || r.Downlink != "up" {
			return fmt.Sprintf("%s port %s: active %v uplink %s downlink %s: %s", r.Leaf, r.LeafPort, r.Active, r.Uplink, r.Downlink, r.Why)
		}
	}
	for _, leaf := range []string{"A", "B"} {
		hosts, err := view[step.HostRow](leaf, "hosts")
		local := 0
		for _, h := range hosts {
			if h.State == "local" && h.Advertised {
				local++
			}
		}
		if err != nil || local != 2 {
			return fmt.Sprintf("%s has %d local hosts that it advertises", leaf, local)
		}
	}
	return ""
}

// untilWhole waits for it and tells how long that took since the instant.
func (s *stand) untilWhole(since time.Time) time.Duration {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		why := s.whole()
		if why == "" {
			return time.Since(since)
		}
		if time.Now().After(end) {
			s.t.Fatalf("not whole in 20 s: %s", why)
		}
	}
}

// signal sends one to the node's daemon, and for those that end it waits until it has ended.
func (s *stand) signal(node string, sig syscall.Signal) {
	s.t.Helper()
	pid := s.pid(node)
	if err := syscall.Kill(pid, sig); err != nil {
		s.t.Fatal(err)
	}
	if sig == syscall.SIGKILL || sig == syscall.SIGTERM {
		s.gone(pid)
	}
}

// gone waits until a process is no more, or a zombie that its parent has yet to bury.
func (s *stand) gone(pid int) {
	s.t.Helper()
	for end := time.Now().Add(5 * time.Second); alive(pid); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			s.t.Fatalf("process %d did not end in 5 s", pid)
		}
	}
}

// closings are what a leaf's daemon closed since the instant.
func (s *stand) closings(since time.Time) []string {
	var out []string
	for _, leaf := range []string{"A", "B"} {
		for _, e := range show[engine.Entry](s, leaf, "events") {
			if e.Stage == "close" && e.WallMs >= since.UnixMilli() {
				out = append(out, fmt.Sprintf("leaf %s: %s (%s)", leaf, e.Text, e.Why))
			}
		}
	}
	return out
}

// What happens to one daemon, the others being well, is no affair of the traffic.
func TestEveryDaemon_KilledStoppedOrFrozen_LosesNothing(t *testing.T) {
	s := standing(t)
	s.untilWhole(time.Now())
	for _, node := range []string{"G", "A", "B", "C1"} {
		for _, harm := range []struct {
			name string
			do   func()
		}{
			{"killed", func() { s.signal(node, syscall.SIGKILL); s.start(node) }},
			{"stopped for 1 s", func() {
				s.peerless("stop", "--socket", socket(node))
				time.Sleep(time.Second)
				s.start(node)
			}},
			{"restarted", func() { s.signal(node, syscall.SIGTERM); s.start(node) }},
			{"frozen for 2 s", func() {
				pid := s.pid(node)
				s.signal(node, syscall.SIGSTOP)
				time.Sleep(2 * time.Second)
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}},
		} {
			began := time.Now()
			flows := s.traffic()
			time.Sleep(300 * time.Millisecond)
			at := time.Now()
			harm.do()
			took := s.untilWhole(at)
			time.Sleep(500 * time.Millisecond)
			for flow, lost := range flows.end() {
				if lost != 0 {
					t.Errorf("%s %s: %s lost %d", node, harm.name, flow, lost)
				}
			}
			for _, c := range s.closings(began) {
				t.Errorf("%s %s: %s", node, harm.name, c)
			}
			t.Logf("%s %s: whole again after %s", node, harm.name, took.Round(time.Millisecond))
		}
	}
}

// turn sets a port up or down.
func (s *stand) turn(node, port string, up bool) {
	s.t.Helper()
	s.in(node, func() error {
		l, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		if up {
			return netlink.LinkSetUp(l)
		}
		return netlink.LinkSetDown(l)
	})
}

// away tells how long a daemon that is killed and started again at once is away, without any fault: the longer of two times.
func (s *stand) away(node string) (longest time.Duration) {
	s.t.Helper()
	for range 2 {
		at := time.Now()
		s.signal(node, syscall.SIGKILL)
		s.start(node)
		longest = max(longest, s.untilWhole(at))
	}
	return longest
}

// A failover may cost finishMax, in milliseconds, beyond the time for which a daemon is away, and no more than the second that is watched shows.
const (
	finishMax = 100
	watchMax  = 900
)

// A daemon that dies as the fault strikes and is started again finishes the failover: only the flows of the fault lose anything, and
// no more than while that daemon was away.
func TestFailover_ADaemonKilledInTheMiddle_IsFinished(t *testing.T) {
	s := standing(t)
	s.untilWhole(time.Now())
	victims := []string{"G", "A", "B", "C2"}
	limit := map[string]int64{}
	for _, victim := range victims {
		limit[victim] = min(s.away(victim).Milliseconds()+finishMax, watchMax)
	}
	for _, fault := range []struct {
		name, node, port string
		concerns         []string
	}{
		{"server link", "C2", "eth0", []string{"C2"}},
		{"gateway link", "G", "to-A", []string{"C1", "C2"}},
	} {
		for _, victim := range victims {
			name := fault.name + " down and " + victim + " killed"
			flows := s.traffic()
			time.Sleep(300 * time.Millisecond)
			pid := s.pid(victim)
			at := time.Now()
			s.turn(fault.node, fault.port, false)
			_ = syscall.Kill(pid, syscall.SIGKILL)
			s.gone(pid)
			s.start(victim)
			time.Sleep(time.Second)
			var worst int64
			for flow, lost := range flows.end() {
				concerned := slices.ContainsFunc(fault.concerns, func(c string) bool { return strings.Contains(flow, c) })
				if lost > limit[victim] || lost != 0 && !concerned {
					t.Errorf("%s: %s lost %d, at most %d", name, flow, lost, limit[victim])
				}
				worst = max(worst, lost)
			}
			t.Logf("%s: at most %d of %d lost", name, worst, limit[victim])
			s.turn(fault.node, fault.port, true)
			s.untilWhole(at)
		}
	}
}
