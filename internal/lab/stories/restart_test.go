package stories

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/lab/netns"
)

// flow counts datagrams between two nodes, one a millisecond.
type flow struct {
	name           string
	send, receive  *net.UDPConn
	sent, received atomic.Int64
}

// place is where nodes are.
type place interface {
	in(node string, f func() error)
	Fatal(args ...any)
}

func newFlow(s place, from string, src netip.Addr, to string, dst netip.Addr, port uint16) *flow {
	f := &flow{name: from + " to " + to}
	s.in(to, func() (err error) {
		f.receive, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, port)))
		return err
	})
	s.in(from, func() (err error) {
		f.send, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(src, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, port)))
		return err
	})
	raw, err := f.receive.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) })
	}
	if err != nil {
		s.Fatal(err)
	}
	return f
}

// run sends until stop is closed, then gives stragglers 200 ms.
func (f *flow) run(wg *sync.WaitGroup, stop <-chan struct{}) {
	wg.Go(func() {
		buf := make([]byte, 64)
		for {
			if _, err := f.receive.Read(buf); err != nil {
				return
			}
			f.received.Add(1)
		}
	})
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		var b [8]byte
		for {
			select {
			case <-stop:
				time.Sleep(200 * time.Millisecond)
				f.send.Close()
				f.receive.Close()
				return
			case <-tick.C:
				binary.BigEndian.PutUint64(b[:], uint64(f.sent.Add(1)))
				_, _ = f.send.Write(b[:])
			}
		}
	})
}

// pid asks the daemon itself.
func (s *stand) pid(node string) int {
	s.t.Helper()
	c, err := net.Dial("unix", socket(node))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /v1/status HTTP/1.0\r\nHost: peerless\r\n\r\n")
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	var status struct{ PID int }
	if err := json.NewDecoder(r).Decode(&status); err != nil {
		s.t.Fatal(err)
	}
	return status.PID
}

// start runs a node's daemon again, as its supervisor would; it ends with the test.
func (s *stand) start(node string) {
	s.t.Helper()
	cmd := exec.Command(s.binary, "run", "--config", "/run/peerless-lab/"+fig7+"/"+node+".yaml")
	log, err := os.OpenFile("/run/peerless-lab/"+fig7+"/log/"+node+".again.log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	p, err := netns.Start(space(node), cmd, true)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = syscall.Kill(p.PID, syscall.SIGTERM)
		<-p.Done()
		log.Close()
	})
}

func TestGatewayDaemonKilledFor5s_NothingLostAndNoDownlinkCloses(t *testing.T) {
	s := standing(t)
	before := time.Now()
	flows := s.traffic()
	time.Sleep(500 * time.Millisecond)
	s.signal("G", syscall.SIGKILL)
	time.Sleep(5 * time.Second)
	s.start("G")
	s.untilWhole(time.Now())
	time.Sleep(2 * time.Second)
	for flow, lost := range flows.end() {
		if lost != 0 {
			t.Errorf("%s lost %d", flow, lost)
		}
	}
	for _, c := range s.closings(before) {
		t.Error(c)
	}
}

// alive reports whether a process runs; a zombie does not, though threads of it may still be ending.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
