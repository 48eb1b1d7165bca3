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

	"peerless/internal/engine"
	"peerless/internal/lab/netns"
)

// flow counts datagrams between two nodes, one a millisecond.
type flow struct {
	name           string
	send, receive  *net.UDPConn
	sent, received atomic.Int64
}

func (s *stand) flow(from string, src netip.Addr, to string, dst netip.Addr, port uint16) *flow {
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
		s.t.Fatal(err)
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
	cmd := exec.Command(s.binary, "run", "--config", "/run/peerless-lab/"+topology+"/"+node+".yaml")
	log, err := os.OpenFile("/run/peerless-lab/"+topology+"/log/"+node+".again.log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
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
	outside := netip.MustParseAddr("10.0.0.1")
	var flows []*flow
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := byte(1); i <= 4; i++ {
		node := fmt.Sprintf("C%d", i)
		flows = append(flows, s.flow("G", outside, node, server(i), 9001), s.flow(node, server(i), "G", outside, 9100+uint16(i)))
	}
	flows = append(flows, s.flow("C1", server(1), "C3", server(3), 9002), s.flow("C1", server(1), "C2", server(2), 9002))
	for _, f := range flows {
		f.run(&wg, stop)
	}
	time.Sleep(500 * time.Millisecond)
	if err := syscall.Kill(s.pid("G"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	s.start("G")
	s.until("G answers again", func() string {
		c, err := net.Dial("unix", socket("G"))
		if err != nil {
			return err.Error()
		}
		c.Close()
		return s.normal()
	})
	time.Sleep(5 * time.Second)
	close(stop)
	wg.Wait()
	for _, f := range flows {
		if sent, received := f.sent.Load(), f.received.Load(); sent != received || sent < 5000 {
			t.Errorf("%s: sent %d, received %d", f.name, sent, received)
		}
	}
	for _, leaf := range []string{"A", "B"} {
		for _, e := range show[engine.Entry](s, leaf, "events") {
			if e.Stage == "close" && e.WallMs >= before.UnixMilli() {
				t.Errorf("leaf %s closed a downlink: %s (%s)", leaf, e.Text, e.Why)
			}
		}
	}
}
