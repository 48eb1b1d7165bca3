package stories

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/engine"
	"peerless/internal/lab/netns"
	"peerless/internal/step"
)

// throughProbing has the gateway ask through its leaves, at the pace of a profile.
func (s *stand) throughProbing(profile string) {
	s.t.Helper()
	f, err := os.OpenFile("/run/peerless-lab/"+fig7+"/G.yaml", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, "profile: %s\nprobe: {through: {}}\n", profile)
	if err := f.Close(); err != nil {
		s.t.Fatal(err)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.signal("G", syscall.SIGTERM)
	s.start("G")
	s.until("the gateway sees both leaves forward", s.seen)
	time.Sleep(1500 * time.Millisecond) // a leaf must have been seen to forward for a second
}

// seen says which leaf is not seen to forward, or what else is not normal.
func (s *stand) seen() string {
	rows, err := view[step.SessionRow]("G", "sessions")
	if err != nil {
		return err.Error()
	}
	n := 0
	for _, r := range rows {
		if strings.HasSuffix(r.Name, "(through)") {
			if n++; r.State != "up" {
				return r.Name + ": " + r.Why
			}
		}
	}
	if n != 2 {
		return fmt.Sprintf("asks through %d leaves", n)
	}
	return s.normal()
}

// bonded takes the daemon of a server away and does what a kernel bond would: it follows the carrier of the primary link, by a look every
// two milliseconds, and announces the machine's own address after a switch. The kernel of the lab has no bonding.
func (s *stand) bonded(node string) {
	s.t.Helper()
	s.signal(node, syscall.SIGTERM)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		active := "eth0"
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			moved := false
			_ = netns.Do(space(node), func() error {
				l, err := netlink.LinkByName("eth0")
				if err != nil {
					return err
				}
				want, other := "eth0", "eth1"
				if l.Attrs().RawFlags&unix.IFF_LOWER_UP == 0 {
					want, other = other, want
				}
				if want == active {
					return nil
				}
				active, moved = want, true
				return useLink(want, other)
			})
			if moved {
				_ = netns.Announce(space(node), "br0", active)
			}
		}
	})
	s.t.Cleanup(func() { close(stop); wg.Wait() })
}

// useLink has a bridge send by one of its links only.
func useLink(port, other string) error {
	to, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	from, err := netlink.LinkByName(other)
	if err != nil {
		return err
	}
	gateway := []byte{2, 0, 0x5e, 0, 0, 1}
	entry := netlink.Neigh{LinkIndex: to.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER, HardwareAddr: gateway}
	if err := netlink.NeighSet(&entry); err != nil {
		return err
	}
	if err := netlink.LinkSetFlood(to, true); err != nil {
		return err
	}
	return netlink.LinkSetFlood(from, false)
}

// Servers without peerless leave a leaf that answers, keeps every link up, and forwards nothing; and they return when it forwards again.
func TestThroughProbe_ServersWithoutPeerless_LeaveALeafThatForwardsNothing(t *testing.T) {
	for _, profile := range []string{"default", "fast"} {
		t.Run(profile, func(t *testing.T) {
			limit := map[string]time.Duration{"default": 400 * time.Millisecond, "fast": 80 * time.Millisecond}[profile]
			s := standing(t)
			servers := []string{"C1", "C2", "C3", "C4"}
			for _, node := range servers {
				s.bonded(node)
			}
			s.throughProbing(profile)
			for _, answers := range []string{"hosts answer pings", "no host answers pings"} {
				if strings.HasPrefix(answers, "no") {
					for _, node := range servers {
						s.in(node, func() error { return os.WriteFile("/proc/sys/net/ipv4/icmp_echo_ignore_all", []byte("1"), 0) })
					}
				}
				late := s.muteLeaf(profile+", "+answers, limit)
				for again := 0; again < 2 && late != ""; again++ { // a machine that stalls does so once, a leaf that is left too late each time
					t.Log(late + ": once more")
					late = s.muteLeaf(profile+", "+answers, limit)
				}
				if late != "" {
					t.Error(late)
				}
			}
			if profile == "fast" {
				s.busy()
			}
		})
	}
}

// muteLeaf has leaf A forward nothing for a while, and tells of a flow that was out for longer than it may be.
func (s *stand) muteLeaf(what string, limit time.Duration) (late string) {
	got := s.outages([]byte{1, 2, 3, 4}, func() { s.forwarding("A", false) }, 1500*time.Millisecond)
	concerned := func(f string) bool { return strings.Contains(f, "C1") || strings.Contains(f, "C2") }
	var stalled time.Duration // whom the fault does not concern was out for the machine's sake alone
	for f, out := range got {
		if !concerned(f) {
			stalled = max(stalled, out)
		}
	}
	for _, f := range slices.Sorted(maps.Keys(got)) {
		switch {
		case concerned(f):
			s.t.Logf("%s: %s out for %.1f ms, the machine stalled for %.1f", what, f, float64(got[f])/1e6, float64(stalled)/1e6)
			if got[f] > limit+stalled {
				late = fmt.Sprintf("%s: %s out for %s, limit %s, and %s that the machine stalled", what, f, got[f], limit, stalled)
			}
		case got[f] > 50*time.Millisecond: // a busy machine may pause a sender
			late = fmt.Sprintf("%s: %s, which the fault does not concern, out for %s", what, f, got[f])
		}
	}
	if way := s.way("G", server(2)); way != "to-B" {
		s.t.Errorf("%s: C2 is reached %s", what, way)
	}
	back := s.outages([]byte{1, 2, 3, 4}, func() {
		s.forwarding("A", true)
		s.until(what+": all is as before", s.seen)
	}, 500*time.Millisecond)
	for _, f := range slices.Sorted(maps.Keys(back)) {
		s.t.Logf("%s, return: %s out for %.1f ms", what, f, float64(back[f])/1e6)
	}
	time.Sleep(1500 * time.Millisecond)
	return late
}

// busy holds every processor for five seconds: no leaf may be taken for one that forwards nothing.
func (s *stand) busy() {
	s.t.Helper()
	before := time.Now()
	var wg sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		wg.Go(func() {
			for x := 1; time.Since(before) < 5*time.Second; x++ {
				_ = x * x
			}
		})
	}
	wg.Wait()
	for _, e := range show[engine.Entry](s, "G", "events") {
		if e.WallMs >= before.UnixMilli() && (e.What == "leaf-mute" || e.What == "default-withheld") {
			s.t.Errorf("false alarm: %s: %s", e.Text, e.Why)
		}
	}
}
