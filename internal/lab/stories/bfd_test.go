package stories

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerless/internal/lab/netns"
	"peerless/internal/step"
)

// detecting has gateway and leaves run BFD at the pace of a profile.
func (s *stand) detecting(profile string) {
	s.t.Helper()
	for _, node := range []string{"G", "A", "B"} {
		f, err := os.OpenFile("/run/peerless-lab/"+fig7+"/"+node+".yaml", os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := fmt.Fprintf(f, "profile: %s\nbfd: on\n", profile); err != nil {
			s.t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			s.t.Fatal(err)
		}
		s.signal(node, syscall.SIGTERM)
		s.start(node)
	}
	s.until("BFD is up, and all is as before", s.detected)
}

// detected says which session of BFD is not up, or what else is not normal.
func (s *stand) detected() string {
	for _, node := range []string{"G", "A", "B"} {
		rows, err := view[step.SessionRow](node, "sessions")
		if err != nil {
			return err.Error()
		}
		n := 0
		for _, r := range rows {
			if r.State != "up" {
				return fmt.Sprintf("%s: %s is %s: %s", node, r.Name, r.State, r.Why)
			}
			if strings.HasSuffix(r.Name, "(bfd)") {
				n++
			}
		}
		if n == 0 {
			return node + " runs no BFD"
		}
	}
	return s.normal()
}

// loses is what each flow lost during a fault and its mending, at one datagram a millisecond.
func (s *stand) loses(fault, mend func()) map[string]int64 {
	s.t.Helper()
	flows := s.traffic()
	time.Sleep(300 * time.Millisecond)
	fault()
	time.Sleep(1500 * time.Millisecond)
	mend()
	s.until("mended", s.detected)
	time.Sleep(300 * time.Millisecond)
	return flows.end()
}

func (s *stand) lose(node, port string, f netns.Filter) {
	s.t.Helper()
	if err := netns.Drop(space(node), port, f); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) hear(node, port string) {
	s.t.Helper()
	if err := netns.Undrop(space(node), port); err != nil {
		s.t.Fatal(err)
	}
}

// The link between gateway and leaf A stays up and loses what one end sends: both ends notice, in either direction. A daemon that is gone, or
// BFD alone that gets lost, is no such fault, and costs nothing.
func TestBFD_SilentLossIsNoticed_AndADeadDaemonCostsNothing(t *testing.T) {
	for profile, limit := range map[string]int64{"default": 400, "fast": 80} {
		t.Run(profile, func(t *testing.T) {
			s := standing(t)
			s.detecting(profile)
			toA := ""
			for _, r := range show[step.MappingRow](s, "G", "mapping") {
				if r.Leaf == "A" {
					toA = string(r.GatewayPort)
				}
			}
			for _, tt := range []struct {
				name        string
				fault, mend func()
				limit       int64
			}{
				{"BFD alone gets lost", func() { s.lose("A", "A0", netns.LivenessBFD) }, func() { s.hear("A", "A0") }, 0},
				{"the gateway's daemon is killed", func() { s.signal("G", syscall.SIGKILL) }, func() { s.start("G") }, 0},
				{"leaf A's daemon is killed", func() { s.signal("A", syscall.SIGKILL) }, func() { s.start("A") }, 0},
				{"what the gateway sends to A gets lost", func() { s.lose("A", "A0", netns.Everything) }, func() { s.hear("A", "A0") }, limit},
				{"what A sends to the gateway gets lost", func() { s.lose("G", toA, netns.Everything) }, func() { s.hear("G", toA) }, limit},
			} {
				began := time.Now()
				worst := int64(0)
				for flow, lost := range s.loses(tt.fault, tt.mend) {
					worst = max(worst, lost)
					if lost > tt.limit {
						t.Errorf("%s: %s lost %d, at most %d may be lost", tt.name, flow, lost, tt.limit)
					}
				}
				t.Logf("%s: at worst %d ms", tt.name, worst)
				if closings := s.closings(began); (len(closings) > 0) != (tt.limit > 0) {
					t.Errorf("%s: closed: %v", tt.name, closings)
				}
			}
		})
	}
}
