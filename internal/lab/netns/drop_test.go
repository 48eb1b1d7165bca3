package netns

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/lab/topology"
)

// pair is two machines with a cable.
func pair() topology.Topology {
	address := func(a string) []topology.Address {
		return []topology.Address{{Port: "e0", Prefix: netip.MustParsePrefix(a)}}
	}
	return topology.Topology{
		Name: "pair",
		Nodes: []topology.Node{
			{Name: "l", Role: topology.Host, Addresses: address("192.0.2.1/24")},
			{Name: "r", Role: topology.Host, Addresses: address("192.0.2.2/24")},
		},
		Links: []topology.Link{{A: topology.End{Node: "l", Port: "e0"}, B: topology.End{Node: "r", Port: "e0"}}},
	}
}

// passes tells whether a datagram from l to r's port arrives in time.
func passes(t *testing.T, port int) bool {
	t.Helper()
	var in *net.UDPConn
	must(t, Do(testPrefix+"r", func() (err error) {
		in, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: port})
		return err
	}))
	defer in.Close()
	must(t, Do(testPrefix+"l", func() error {
		out, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: port})
		if err != nil {
			return err
		}
		defer out.Close()
		_, err = out.Write([]byte("x"))
		return err
	}))
	must(t, in.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	_, err := in.Read(make([]byte, 8))
	return err == nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDrop_Filters_TakeWhatTheyNameAndKeepTheCarrier(t *testing.T) {
	needRootHere(t)
	n := build(t, pair())
	const any, bfd = 9000, 3784
	tests := []struct {
		filter   Filter
		any, bfd bool
	}{
		{Everything, false, false},
		{RoutingOnly, true, true},
		{LivenessBFD, true, false},
	}
	for _, tc := range tests {
		t.Run(tc.filter.String(), func(t *testing.T) {
			must(t, Drop(testPrefix+"r", "e0", tc.filter))
			if got := passes(t, any); got != tc.any {
				t.Errorf("a datagram passes: %v", got)
			}
			if got := passes(t, bfd); got != tc.bfd {
				t.Errorf("BFD passes: %v", got)
			}
			l, err := n.handles["l"].LinkByName("e0")
			must(t, err)
			if l.Attrs().RawFlags&unix.IFF_LOWER_UP == 0 {
				t.Error("the carrier is lost")
			}
			must(t, Undrop(testPrefix+"r", "e0"))
			for end := time.Now().Add(5 * time.Second); !passes(t, any) || !passes(t, bfd); { // ARP asks once a second
				if time.Now().After(end) {
					t.Fatal("something is still lost")
				}
			}
		})
	}
	must(t, Undrop(testPrefix+"r", "e0")) // once more is no error
}

// connected is a TCP connection from l to port 179 of r.
func connected(t *testing.T) (near, far net.Conn) {
	t.Helper()
	var in net.Listener
	must(t, Do(testPrefix+"r", func() (err error) {
		in, err = net.Listen("tcp4", "192.0.2.2:179")
		return err
	}))
	defer in.Close()
	must(t, Do(testPrefix+"l", func() (err error) {
		near, err = net.DialTimeout("tcp4", "192.0.2.2:179", 5*time.Second) // a first packet that is lost is repeated after a second
		return err
	}))
	far, err := in.Accept()
	must(t, err)
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func TestDrop_Routing_StopsAConnectionAndLetsItGoOn(t *testing.T) {
	needRootHere(t)
	build(t, pair())
	near, far := connected(t)
	must(t, Drop(testPrefix+"r", "e0", RoutingOnly))
	_, err := near.Write([]byte("x"))
	must(t, err)
	must(t, far.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Fatal("a byte arrived")
	}
	must(t, Undrop(testPrefix+"r", "e0"))
	must(t, far.SetReadDeadline(time.Now().Add(5*time.Second)))
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		t.Fatalf("the byte did not arrive in the end: %v", err)
	}
}

func TestReset_Connection_BothEndsHearIt(t *testing.T) {
	needRootHere(t)
	build(t, pair())
	near, far := connected(t)
	if n, err := Reset(testPrefix+"l", 179, netip.MustParseAddr("192.0.2.2")); err != nil || n != 1 {
		t.Fatalf("reset %d: %v", n, err)
	}
	for _, c := range []net.Conn{near, far} {
		must(t, c.SetReadDeadline(time.Now().Add(time.Second)))
		_, err := c.Read(make([]byte, 1))
		if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.ECONNABORTED) {
			t.Errorf("%v hears %v", c.LocalAddr(), err)
		}
	}
	if _, err := Reset(testPrefix+"l", 179, netip.MustParseAddr("192.0.2.2")); err == nil {
		t.Error("nothing to reset is no error")
	}
}
