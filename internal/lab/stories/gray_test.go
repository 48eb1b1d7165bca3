package stories

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/engine"
	"peerless/internal/lab/netns"
)

// watched is a flow with the longest time in which nothing arrived.
type watched struct {
	*flow
	longest time.Duration
	ended   time.Time // when the last datagram was sent
}

// watch sends a datagram a millisecond until stop is closed. When a datagram arrived is told by the kernel of the receiver.
func (w *watched) watch(wg *sync.WaitGroup, stop <-chan struct{}) error {
	raw, err := w.receive.SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) }); err != nil {
		return err
	}
	wg.Go(func() {
		buf, oob := make([]byte, 64), make([]byte, 128)
		last := time.Now()
		for {
			_, n, _, _, err := w.receive.ReadMsgUDP(buf, oob)
			if err != nil {
				w.longest = max(w.longest, w.ended.Sub(last)) // it never came back
				return
			}
			at, ok := stampOf(oob[:n])
			if !ok {
				continue
			}
			w.longest = max(w.longest, at.Sub(last))
			last = at
		}
	})
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				w.ended = time.Now()
				time.Sleep(100 * time.Millisecond)
				w.send.Close()
				w.receive.Close()
				return
			case <-tick.C:
				_, _ = w.send.Write([]byte("gray"))
			}
		}
	})
	return nil
}

// stampOf is the instant in a control message of SO_TIMESTAMPNS.
func stampOf(oob []byte) (time.Time, bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			sec, nsec := nativeInt64(m.Data), nativeInt64(m.Data[8:])
			return time.Unix(sec, nsec), true
		}
	}
	return time.Time{}, false
}

func nativeInt64(b []byte) (v int64) {
	for i := 7; i >= 0; i-- { // the lab's machines are little-endian
		v = v<<8 | int64(b[i])
	}
	return v
}

// outages runs the fault under traffic between the outside and these servers, both ways, and gives each flow's longest gap.
func (s *stand) outages(servers []byte, fault func(), lasts time.Duration) map[string]time.Duration {
	s.t.Helper()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var flows []*watched
	for _, i := range servers {
		node := fmt.Sprintf("C%d", i)
		flows = append(flows, &watched{flow: newFlow(s, "G", outside, node, server(i), 9201)}, &watched{flow: newFlow(s, node, server(i), "G", outside, 9210+uint16(i))})
	}
	for _, f := range flows {
		if err := f.watch(&wg, stop); err != nil {
			s.t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	fault()
	time.Sleep(lasts)
	close(stop)
	wg.Wait()
	out := map[string]time.Duration{}
	for _, f := range flows {
		out[f.name] = f.longest
	}
	return out
}

// profile gives every daemon another profile and starts it again.
func (s *stand) profile(name string) {
	s.t.Helper()
	for _, node := range []string{"G", "A", "B", "C1", "C2", "C3", "C4"} {
		path := "/run/peerless-lab/" + fig7 + "/" + node + ".yaml"
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("profile: " + name + "\n")
			f.Close()
		}
		if err != nil {
			s.t.Fatal(err)
		}
		s.signal(node, syscall.SIGTERM)
		s.start(node)
	}
	s.untilWhole(time.Now())
	time.Sleep(time.Second)
}

func (s *stand) swallow(node, port string) {
	s.t.Helper()
	if err := netns.Drop(space(node), port, netns.Everything); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) forwarding(node string, on bool) {
	s.t.Helper()
	s.in(node, func() error {
		value := map[bool]string{true: "1", false: "0"}[on]
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(value), 0)
	})
}

// Nothing tells of these faults but probes: every link stays up.
func TestGrayFaults_AreRepairedWithinTheProfilesBound(t *testing.T) {
	for _, profile := range []string{"default", "fast"} {
		t.Run(profile, func(t *testing.T) {
			s := standing(t)
			if profile != "default" {
				s.profile(profile)
			}
			s.grayFaults(profile)
		})
	}
}

func (s *stand) grayFaults(profile string) {
	link, leaf := 400*time.Millisecond, 400*time.Millisecond
	if profile == "fast" {
		link, leaf = 60*time.Millisecond, 80*time.Millisecond
	}
	undrop := func(ends ...[2]string) func() {
		return func() {
			for _, e := range ends {
				_ = netns.Undrop(space(e[0]), e[1])
			}
		}
	}
	for _, c := range []struct {
		name        string
		limit       time.Duration
		servers     []byte
		fault, mend func()
	}{
		{"server link, upstream", link, []byte{2}, func() { s.swallow("A", "A2") }, undrop([2]string{"A", "A2"})},
		{"server link, downstream", link, []byte{2}, func() { s.swallow("C2", "eth0") }, undrop([2]string{"C2", "eth0"})},
		{"server link, both", link, []byte{2}, func() { s.swallow("A", "A2"); s.swallow("C2", "eth0") }, undrop([2]string{"A", "A2"}, [2]string{"C2", "eth0"})},
		{"leaf forwards nothing", leaf, []byte{1, 2}, func() { s.forwarding("A", false) }, func() { s.forwarding("A", true) }},
	} {
		others := []byte{3, 4}
		got := s.outages(append(slices.Clone(c.servers), others...), c.fault, 1500*time.Millisecond)
		for _, f := range slices.Sorted(maps.Keys(got)) {
			concerned := slices.ContainsFunc(c.servers, func(i byte) bool { return strings.Contains(f, fmt.Sprintf("C%d", i)) })
			switch {
			case concerned:
				s.t.Logf("%s, %s: %s out for %.1f ms", profile, c.name, f, float64(got[f])/1e6)
				if got[f] > c.limit {
					s.t.Errorf("%s, %s: %s out for %s, limit %s", profile, c.name, f, got[f], c.limit)
				}
			case got[f] > 50*time.Millisecond: // a busy machine may pause a sender
				s.t.Errorf("%s, %s: %s, which the fault does not concern, out for %s", profile, c.name, f, got[f])
			}
		}
		s.until(c.name+": C2 is with B", func() string {
			if got := s.way("G", server(2)); got != "to-B" {
				return "by " + got
			}
			return ""
		})
		c.mend()
		s.until(c.name+": all is as before", s.normal)
		time.Sleep(500 * time.Millisecond)
	}
}

// A server that asks too much of a gateway that does not answer any more must not leave a leaf that forwards.
func TestGatewayAddressGone_NobodyMoves(t *testing.T) {
	s := standing(t)
	before := time.Now()
	silence := func(on string) {
		s.in("G", func() error { return os.WriteFile("/proc/sys/net/ipv4/icmp_echo_ignore_all", []byte(on), 0) })
	}
	flows := s.traffic()
	silence("1")
	time.Sleep(5 * time.Second)
	silence("0")
	time.Sleep(time.Second)
	for flow, lost := range flows.end() {
		if lost != 0 {
			t.Errorf("%s lost %d", flow, lost)
		}
	}
	if why := s.normal(); why != "" {
		t.Error(why)
	}
	for _, c := range s.closings(before) {
		t.Error(c)
	}
	for _, e := range show[engine.Entry](s, "C2", "events") {
		if e.What == "moved" && e.WallMs >= before.UnixMilli() && strings.Contains(e.Text, "uses eth1") {
			t.Errorf("moved: %s", e.Text)
		}
	}
}
