package stories

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/leaf"
)

// standing lists whom a leaf's kernel has a way down to though they are not known to be there.
func (s *stand) standing(node string) (list []string) {
	s.t.Helper()
	s.in(node, func() error {
		routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: leaf.StandbyTable}, netlink.RT_FILTER_TABLE)
		if err != nil && !strings.Contains(err.Error(), "no such file") {
			return err
		}
		for _, r := range routes {
			list = append(list, r.Dst.IP.String())
		}
		return nil
	})
	return list
}

// The leaf that stands by delivers what the gateway sends it without a daemon: its kernel has the way beforehand. Its daemon is stopped while the
// other leaf's gateway link, or a server's link to the other leaf, fails; the servers move by themselves.
func TestStandbyLeaf_ItsDaemonIsFrozen_ItsKernelDelivers(t *testing.T) {
	s := standing(t)
	for _, fault := range []string{"gateway-link", "server-link"} {
		s.until("B has a way down to C1 and C2, and no route of theirs", func() string {
			if got := strings.Join(s.routes("B"), " "); strings.Contains(got, "10.10.10.1/32") || strings.Contains(got, "10.10.10.2/32") {
				return got
			}
			if got := s.standing("B"); !strings.Contains(strings.Join(got, " "), "10.10.10.1 10.10.10.2") {
				return strings.Join(got, " ")
			}
			return ""
		})
		f := newFlow(s, "G", outside, "C2", server(2), 9001)
		stop, wg := make(chan struct{}), sync.WaitGroup{}
		f.run(&wg, stop)
		time.Sleep(100 * time.Millisecond)
		pid := s.pid("B")
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		s.fault(fault)
		time.Sleep(500 * time.Millisecond)
		close(stop)
		wg.Wait()
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		lost := f.sent.Load() - f.received.Load()
		t.Logf("%s: %d of %d datagrams lost, one is sent each millisecond", fault, lost, f.sent.Load())
		if lost > 100 {
			t.Errorf("%s, and B's daemon stands still: G to C2 lost %d of %d datagrams, 100 at most", fault, lost, f.sent.Load())
		}
		s.fault(fault + "-restore")
		s.until("all is as before", s.whole)
	}
}
