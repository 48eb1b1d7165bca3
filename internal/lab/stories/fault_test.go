package stories

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/engine"
	"peerless/internal/model"
	"peerless/internal/step"
)

func TestServerLink_TablesMappingAndEventSayWhatHappened(t *testing.T) {
	s := standing(t)
	if got := s.way("G", server(2)); got != "to-A" {
		t.Fatalf("before: G sends to C2 by %s", got)
	}
	s.fault("server-link")
	s.until("G sends to C2 by B", func() string {
		if got := s.way("G", server(2)); got != "to-B" {
			return "by " + got
		}
		return ""
	})
	s.until("A has no route for C2", func() string {
		if got := s.routes("A"); slices.ContainsFunc(got, func(r string) bool { return strings.HasPrefix(r, "10.10.10.2/32") }) {
			return fmt.Sprint(got)
		}
		return ""
	})
	s.until("the mapping on G tells it", func() string {
		for _, r := range show[step.MappingRow](s, "G", "mapping") {
			if r.ServerPort != "C2" {
				continue
			}
			a := r.Leaf == "A" && r.LeafPort == "A2" && r.Role == "primary" && r.Uplink == "up" && r.Downlink == "down" && !r.Active
			b := r.Leaf == "B" && r.LeafPort == "B2" && r.Role == "backup" && r.Uplink == "up" && r.Downlink == "up" && r.Active &&
				slices.Contains(r.Hosts, server(2))
			if !a && !b {
				return fmt.Sprintf("%+v", r)
			}
		}
		return ""
	})
	s.until("an event on G names leaf port, server port, host and reason", func() string {
		for _, e := range show[engine.Entry](s, "G", "events") {
			if e.What == "fault" && e.Port == "A2" && e.ServerPort == "C2" && e.Addr == "10.10.10.2" && strings.Contains(e.Why, "carrier lost") {
				return ""
			}
		}
		return "no such event"
	})
	s.fault("server-link-restore")
	s.until("C2 is back on A", s.normal)
}

// A frame is with the gateway before BGP has begun. On a machine that stalls BGP may win, but not always.
func TestServerLink_GatewayIsToldByARPFirst(t *testing.T) {
	s := standing(t)
	first := 0
	for try := 0; try < 4 && first == 0; try++ {
		s.fault("server-link")
		s.until("G tells of the fault", func() string {
			faults := 0
			for _, e := range show[engine.Entry](s, "G", "events") {
				if e.What == "fault" && e.ServerPort == "C2" {
					faults++
				}
				if e.What == "fault" && strings.HasSuffix(e.Why, "told by ARP") {
					first++
				}
				if e.What == "not-announced" {
					t.Fatalf("not announced: %+v", e)
				}
			}
			if faults <= try {
				return "not yet"
			}
			return ""
		})
		s.fault("server-link-restore")
		s.until("C2 is back on A", s.normal)
	}
	if first == 0 {
		t.Error("BGP was first each time")
	}
}

func TestGatewayLink_DownlinksAreClosedByUsAndOpenAfterwards(t *testing.T) {
	s := standing(t)
	s.fault("gateway-link")
	downlinks := []string{"A1", "A2", "A3", "A4"}
	s.until("A's downlinks are closed by us", func() string {
		ports := show[step.PortRow](s, "A", "ports")
		for _, p := range ports {
			if slices.Contains(downlinks, string(p.Port)) && (p.State != "closed" || p.ClosedBy != "peerless") {
				return fmt.Sprintf("%+v", p)
			}
		}
		if l := show[step.LinkageRow](s, "A", "linkage"); len(l) != 1 || len(l[0].ClosedByUs) != 4 {
			return fmt.Sprintf("%+v", l)
		}
		return ""
	})
	if why := string(s.peerless("why", "A2", "--socket", socket("A"))); !strings.Contains(why, "A0") {
		t.Errorf("why A2 does not name the uplink:\n%s", why)
	}
	s.until("G sends to all by B", func() string {
		for i := byte(1); i <= 4; i++ {
			if got := s.way("G", server(i)); got != "to-B" {
				return fmt.Sprintf("C%d by %s", i, got)
			}
		}
		return ""
	})
	s.fault("gateway-link-restore")
	s.until("all is as before", s.normal)
	for _, p := range show[step.PortRow](s, "A", "ports") {
		if p.ClosedBy != "" || !p.Admin {
			t.Errorf("after the restore: %+v", p)
		}
	}
}

// Servers that run peerless have moved before the port that they leave is closed.
func TestGatewayLink_ServersAreToldBeforeTheirPortIsClosed(t *testing.T) {
	s := standing(t)
	since := time.Now()
	s.fault("gateway-link")
	after := func(node, what string, port model.Port) (at int64) {
		for _, e := range show[engine.Entry](s, node, "events") {
			if e.WallMs >= since.UnixMilli() && e.What == what && (e.Port == port || port == "") && at == 0 {
				at = e.MonoNs
			}
		}
		return at
	}
	for i := 1; i <= 2; i++ { // whose primary is A
		server, port := fmt.Sprintf("C%d", i), model.Port(fmt.Sprintf("A%d", i))
		s.until(server+" was told, and moved before "+string(port)+" was closed", func() string {
			told, moved, closed := after(server, "leaf-closes", "eth0"), after(server, "moved", "eth1"), after("A", "port-closed", port)
			if told == 0 || moved == 0 || closed <= told || closed <= moved {
				return fmt.Sprintf("told %d, moved %d, closed %d", told, moved, closed)
			}
			return ""
		})
	}
	s.fault("gateway-link-restore")
	s.until("all is as before", s.normal)
}

// A leaf's table holds its own hosts and the default route, at any time: nothing to the other leaf.
func TestLeafTables_HoldOnlyOwnHostsAndTheDefault(t *testing.T) {
	s := standing(t)
	stop, done := make(chan struct{}), make(chan string)
	go func() {
		looked := 0
		for {
			select {
			case <-stop:
				done <- fmt.Sprintf("ok %d", looked)
				return
			case <-time.After(3 * time.Millisecond):
			}
			for _, leaf := range []string{"A", "B"} {
				for _, r := range s.routes(leaf) {
					own := strings.HasPrefix(r, "10.10.10.") && strings.Contains(r, "/32 dev "+leaf) && !strings.HasSuffix(r, " dev "+leaf+"0")
					if !own && r != "0.0.0.0/0 dev "+leaf+"0" && r != "<nil> dev "+leaf+"0" {
						done <- leaf + " holds " + r
						return
					}
				}
			}
			looked++
		}
	}()
	for _, f := range []string{"server-link", "server-link-restore", "gateway-link", "gateway-link-restore"} {
		s.fault(f)
		time.Sleep(1500 * time.Millisecond)
	}
	s.until("all is as before", s.normal)
	close(stop)
	got := <-done
	var looked int
	if n, _ := fmt.Sscanf(got, "ok %d", &looked); n != 1 {
		t.Fatal(got)
	}
	if looked < 100 {
		t.Fatalf("looked only %d times", looked)
	}
}
