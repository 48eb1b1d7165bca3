package stories

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"peerless/internal/lab/flood"
	"peerless/internal/lab/netns"
	"peerless/internal/model"
	"peerless/internal/step"
)

// hostile makes C1 flood its active link.
func (s *stand) hostile(kind flood.Kind, perSecond int, d time.Duration) flood.Result {
	s.t.Helper()
	var r flood.Result
	err := netns.Do(space("C1"), func() (err error) {
		r, err = flood.Run(s.t.Context(), flood.Options{
			Port: "eth0", Kind: kind, PerSecond: perSecond, For: d, Seed: 1, Subnet: netip.MustParsePrefix("10.10.10.0/24"),
			Own: server(1), OwnMAC: model.MAC{2, 0xbd, 0, 0, 0, 1}, Victim: server(3),
			Gateway: netip.MustParseAddr("10.10.10.254"), GatewayMAC: model.MAC{2, 0, 0x5e, 0, 0, 1},
		})
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// usage is a daemon's resident memory in KiB, and the CPU time that it has used.
func (s *stand) usage(node string) (rss int, cpu time.Duration) {
	s.t.Helper()
	pid := s.pid(node)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			rss, _ = strconv.Atoi(strings.Fields(v)[0])
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return rss, time.Duration(user+system) * 10 * time.Millisecond
}

// A server that sends whatever it likes harms nobody but itself.
func TestHostileServer_OthersLoseNothing(t *testing.T) {
	s := standing(t)
	long := 3 * time.Second
	if text := os.Getenv("FLOOD"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	before := map[string]int{}
	for _, node := range []string{"A", "B", "G"} {
		before[node], _ = s.usage(node)
	}
	load := s.traffic()
	for _, kind := range flood.Kinds() {
		d := time.Second
		if kind == flood.Owners {
			d = long
		}
		cpu := map[string]time.Duration{}
		for _, node := range []string{"A", "B", "G"} {
			_, cpu[node] = s.usage(node)
		}
		r := s.hostile(kind, 50_000, d)
		line := fmt.Sprintf("%-9s sent %d in %s;", kind, r.Sent, r.Took.Round(time.Millisecond))
		for _, node := range []string{"A", "B", "G"} {
			rss, now := s.usage(node)
			line += fmt.Sprintf(" %s %d MiB %.0f%% CPU;", node, rss/1024, 100*(now-cpu[node]).Seconds()/r.Took.Seconds())
			if rss > before[node]+64*1024 {
				t.Errorf("%s: %s grew from %d to %d KiB", kind, node, before[node], rss)
			}
		}
		held := 0
		for _, h := range show[step.HostRow](s, "A", "hosts") {
			if h.Port == "A1" && h.State != "remembered" {
				held++
			}
		}
		t.Logf("%s %d hosts on A1", line, held)
		if held > 16 {
			t.Errorf("%s: %d hosts on A1", kind, held)
		}
	}
	for name, lost := range load.end() {
		switch {
		case strings.Contains(name, "C1"):
			t.Logf("%s: %d lost (the hostile server itself)", name, lost)
		case lost != 0:
			t.Errorf("%s: %d lost", name, lost)
		}
	}
	s.until("everything is as it was", s.normal)
}
