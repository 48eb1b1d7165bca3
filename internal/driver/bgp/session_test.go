//go:build !race

package bgp

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"peerless/internal/step"
)

// linked is a pair with a link between them that can be cut.
func (w *world) linked(change func(gateway, leaf *Options)) (gateway, leaf *speaker, link *relay) {
	w.t.Helper()
	link = w.relay(w.addr(100), w.addr(2), w.addr(1))
	g, l := w.options(1), w.options(2)
	g.Neighbors = []Neighbor{w.leaf(2)}
	l.Neighbors = []Neighbor{w.gateway(2, 1)}
	l.Neighbors[0].Address = w.addr(100)
	if change != nil {
		change(&g, &l)
	}
	gateway, leaf = w.start(g), w.start(l)
	gateway.awaitUp(w.addr(2))
	leaf.awaitUp(w.addr(100))
	return gateway, leaf, link
}

func (r *relay) reopen() { r.open(r.listen.Addr().String()) }

func (s *speaker) awaitEndOfRIB(peer netip.Addr) []step.Event {
	s.t.Helper()
	return s.take("End-of-RIB", func(e step.Event) bool { return e == step.EndOfRIB{Peer: peer} })
}

func withdrawals(events []step.Event) (gone []netip.Prefix) {
	for _, e := range events {
		if c, ok := e.(step.PathsChanged); ok {
			for _, p := range c.Paths {
				if p.Withdrawn {
					gone = append(gone, p.Prefix)
				}
			}
		}
	}
	return gone
}

func TestGracefulRestart_ConnectionBreaks_OnlyWhatIsNotRepeatedIsWithdrawn(t *testing.T) {
	w := newWorld(t)
	gateway, leaf, link := w.linked(withGracefulRestart)
	gateway.awaitEndOfRIB(leaf.addr)
	leaf.apply(tell(host1, 1), tell(host2, 1))
	gateway.awaitPath(host2, false)
	link.cut()
	if down := gateway.awaitDown(leaf.addr); down.Reason != step.ReasonReset {
		t.Errorf("%v", down)
	}
	leaf.awaitDown(w.addr(100))
	leaf.apply(untell(host2))
	link.reopen()
	gone := withdrawals(gateway.awaitEndOfRIB(leaf.addr))
	if len(gone) != 1 || gone[0] != host2 {
		t.Errorf("withdrawn by End-of-RIB: %v, want only %s", gone, host2)
	}
}

func TestGracefulRestart_PeerStaysAway_WithdrawnWhenTheTimeIsOver(t *testing.T) {
	gateway, leaf := newWorld(t).pair(func(g, l *Options) { g.GracefulRestart, l.GracefulRestart = time.Second, time.Second })
	leaf.apply(tell(host1, 1))
	gateway.awaitPath(host1, false)
	leaf.Stop(true)
	if down := gateway.awaitDown(leaf.addr); down.Reason != step.ReasonReset {
		t.Errorf("%v", down)
	}
	from := time.Now()
	gateway.awaitPath(host1, true)
	if kept := time.Since(from); kept < 900*time.Millisecond {
		t.Errorf("kept for %s", kept)
	}
}

func TestGracefulRestart_DaemonRestarts_NothingIsWithdrawn(t *testing.T) {
	w := newWorld(t)
	var second Options
	gateway, leaf := w.pair(func(g, l *Options) {
		withGracefulRestart(g, l)
		second = *g
	})
	gateway.apply(tell(everything, 0))
	leaf.awaitPath(everything, false)
	gateway.Stop(true)
	leaf.awaitDown(gateway.addr)
	second.Restarting = true
	gateway = w.start(second)
	gateway.apply(tell(host1, 0)) // what it tells does not come all at once
	gateway.apply(tell(everything, 0))
	if gone := withdrawals(leaf.awaitEndOfRIB(gateway.addr)); len(gone) > 0 {
		t.Errorf("withdrawn: %v", gone)
	}
	gateway.awaitEndOfRIB(leaf.addr)
}

func TestStop_WithCease_ForgottenAtOnce(t *testing.T) {
	for name, change := range map[string]func(g, l *Options){"graceful restart": withGracefulRestart, "none": nil} {
		t.Run(name, func(t *testing.T) {
			gateway, leaf := newWorld(t).pair(change)
			leaf.apply(tell(host1, 1))
			gateway.awaitPath(host1, false)
			leaf.Stop(false)
			if down := gateway.awaitDown(leaf.addr); down.Reason != step.ReasonCeaseDown {
				t.Errorf("%v", down)
			}
			gateway.awaitPath(host1, true)
			if err := leaf.stopped(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStop_GatewayWithCease_LeafHearsIt(t *testing.T) {
	gateway, leaf := newWorld(t).pair(withGracefulRestart)
	gateway.Stop(false) // its connection was accepted: GoBGP alone would close it first
	if down := leaf.awaitDown(gateway.addr); down.Reason != step.ReasonCeaseDown {
		t.Errorf("%v", down)
	}
}

func TestReset_LinkIsFine_EverythingForgottenAndBackSoon(t *testing.T) {
	for name, change := range map[string]func(g, l *Options){"graceful restart": withGracefulRestart, "none": nil} {
		t.Run(name, func(t *testing.T) {
			gateway, leaf := newWorld(t).pair(change)
			leaf.apply(tell(host1, 1))
			gateway.awaitPath(host1, false)
			from := time.Now()
			reset(t, gateway, leaf.addr)
			if down := gateway.awaitDown(leaf.addr); down.Reason != step.ReasonOurs || down.Detail != "test" {
				t.Errorf("%v", down)
			}
			gateway.awaitPath(host1, true)
			if down := leaf.awaitDown(gateway.addr); down.Reason != step.ReasonCeaseOther {
				t.Errorf("%v", down)
			}
			gateway.awaitUp(leaf.addr)
			gateway.awaitPath(host1, false)
			if took := time.Since(from); took > time.Second {
				t.Errorf("back after %s", took)
			}
		})
	}
}

func TestReset_Leaf_BackSoon(t *testing.T) {
	gateway, leaf := newWorld(t).pair(withGracefulRestart)
	reset(t, leaf, gateway.addr)
	leaf.awaitDown(gateway.addr)
	gateway.awaitDown(leaf.addr)
	leaf.awaitUp(gateway.addr)
	gateway.awaitUp(leaf.addr)
}

// A gateway's daemon that starts anew is found sooner than attempts are made in the long run.
func TestConnect_PeerComesLate_IsTriedOftenAtFirst(t *testing.T) {
	w := newWorld(t)
	o := w.options(2)
	o.ConnectRetry = 4 * time.Second
	leaf := w.start(o)
	time.Sleep(50 * time.Millisecond) // the first attempt is over
	o = w.options(1)
	o.Neighbors = []Neighbor{w.leaf(2)}
	gateway := w.start(o)
	began := time.Now()
	leaf.awaitUp(gateway.addr)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("up after %s", took)
	}
}

func TestReset_LinkIsDown_BackWhenTheLinkIs(t *testing.T) {
	w := newWorld(t)
	gateway, leaf, link := w.linked(withGracefulRestart)
	leaf.apply(tell(host1, 1), tell(host2, 1))
	gateway.awaitPath(host2, false)
	link.cut()
	reset(t, gateway, leaf.addr)
	reset(t, leaf, w.addr(100))
	gone := withdrawals(gateway.take("host 2 withdrawn", func(e step.Event) bool {
		c, ok := e.(step.PathsChanged)
		return ok && c.Paths[len(c.Paths)-1].Prefix == host2
	}))
	if len(gone) != 2 {
		t.Errorf("withdrawn: %v", gone)
	}
	if down := leaf.awaitDown(w.addr(100)); down.Up {
		t.Errorf("%v", down)
	}
	leaf.take("unreachable", func(e step.Event) bool {
		c, ok := e.(step.SessionChanged)
		return ok && c.Reason == step.ReasonUnreachable
	})
	from := time.Now()
	link.reopen()
	gateway.awaitUp(leaf.addr)
	if took := time.Since(from); took > time.Second {
		t.Errorf("back after %s", took)
	}
}

func TestReset_HandshakeHangs_NextConnectionIsTaken(t *testing.T) {
	w := newWorld(t)
	g := w.options(1)
	g.Neighbors = []Neighbor{w.leaf(2)}
	gateway := w.start(g)
	conn := w.connect(2, 1)
	if _, err := packetFrom(conn); err != nil { // its OPEN: it is in OpenSent now, where GoBGP waits for 4 minutes
		t.Fatal(err)
	}
	reset(t, gateway, w.addr(2))
	if _, err := packetFrom(conn); err == nil {
		t.Error("the connection was not closed")
	}
	w.start(w.options(2))
	gateway.awaitUp(w.addr(2))
}

func TestReset_DynamicPeer_BackSoon(t *testing.T) {
	w := newWorld(t)
	gateway, leaf := w.pair(func(g, l *Options) {
		withGracefulRestart(g, l)
		g.Neighbors, g.Dynamic = nil, []DynamicRange{{Prefix: netip.PrefixFrom(w.addr(0), 24), AS: 65002}}
	})
	reset(t, gateway, leaf.addr)
	gateway.awaitDown(leaf.addr)
	gateway.awaitUp(leaf.addr)
	leaf.apply(tell(host1, 1))
	gateway.awaitPath(host1, false)
	leaf.Stop(true)
	gateway.awaitDown(leaf.addr)
	leaf = w.start(leaf.opts)
	leaf.apply(tell(host1, 1))
	if gone := withdrawals(gateway.awaitEndOfRIB(leaf.addr)); len(gone) > 0 {
		t.Errorf("withdrawn: %v", gone)
	}
}

func reset(t *testing.T, s *speaker, peer netip.Addr) {
	t.Helper()
	if handled, err := s.Emit(step.ResetSession{Peer: peer, Why: "test"}); !handled || err != nil {
		t.Fatal(handled, err)
	}
}

func TestEmit_Foreign_NotHandled(t *testing.T) {
	d, err := New(newWorld(t).options(1))
	if err != nil {
		t.Fatal(err)
	}
	if handled, _ := d.Emit(step.SendARP{}); handled {
		t.Error("handled")
	}
}

func TestConnect_NobodyThere_ToldOnce(t *testing.T) {
	w := newWorld(t)
	o := w.options(2)
	leaf := w.start(o)
	down := leaf.awaitDown(w.addr(1))
	if down.Reason != step.ReasonUnreachable || !strings.Contains(down.Detail, "connection refused") {
		t.Errorf("%v", down)
	}
	g := w.options(1)
	g.Neighbors = []Neighbor{w.leaf(2)}
	gateway := w.start(g)
	for _, e := range leaf.take("session", func(e step.Event) bool { c, _ := e.(step.SessionChanged); return c.Up }) {
		if c, ok := e.(step.SessionChanged); ok && !c.Up {
			t.Errorf("told again: %v", c)
		}
	}
	gateway.awaitUp(leaf.addr)
}

// connect opens a connection from node n to node to, on which the test itself speaks.
func (w *world) connect(n, to byte) net.Conn {
	w.t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.addr(n), 0)), Timeout: patience}
	conn, err := d.Dial("tcp4", netip.AddrPortFrom(w.addr(to), uint16(w.port)).String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

func packetFrom(conn net.Conn) (*packet.BGPMessage, error) {
	head := make([]byte, packet.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	h := &packet.BGPHeader{}
	if err := h.DecodeFromBytes(head); err != nil {
		return nil, err
	}
	body := make([]byte, h.Len-packet.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	return packet.ParseBGPBody(h, body)
}

// foreign is node 2, spoken by the test: it connects to node 1 until that answers, and says all that a session needs.
func (w *world) foreign(holdTime uint16, capabilities ...packet.ParameterCapabilityInterface) net.Conn {
	w.t.Helper()
	conn := w.connect(2, 1)
	for _, err := packetFrom(conn); err != nil; _, err = packetFrom(conn) { // not ready yet
		conn.Close()
		conn = w.connect(2, 1)
	}
	capabilities = append(capabilities, packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapFourOctetASNumber(65002))
	open, err := packet.NewBGPOpenMessage(65002, holdTime, netip.MustParseAddr("10.0.0.2"),
		[]packet.OptionParameterInterface{packet.NewOptionParameterCapability(capabilities)})
	if err != nil {
		w.t.Fatal(err)
	}
	send(w.t, conn, open)
	send(w.t, conn, packet.NewBGPKeepAliveMessage())
	return conn
}

func send(t testing.TB, conn net.Conn, m *packet.BGPMessage) {
	t.Helper()
	b, err := m.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestDown_Foreign_ReasonIsTold(t *testing.T) {
	const cease = packet.BGP_ERROR_CEASE
	for _, row := range []struct {
		name          string
		code, subcode uint8
		want          step.SessionReason
	}{
		{"administrative shutdown", cease, packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN, step.ReasonCeaseDown},
		{"peer de-configured", cease, packet.BGP_ERROR_SUB_PEER_DECONFIGURED, step.ReasonCeaseDown},
		{"hard reset", cease, packet.BGP_ERROR_SUB_HARD_RESET, step.ReasonCeaseDown},
		{"administrative reset", cease, packet.BGP_ERROR_SUB_ADMINISTRATIVE_RESET, step.ReasonCeaseOther},
		{"its hold timer", packet.BGP_ERROR_HOLD_TIMER_EXPIRED, 0, step.ReasonCeaseOther},
		{"connection closed", 0, 0, step.ReasonReset},
		{"our hold timer", 0, 1, step.ReasonHoldTimer},
	} {
		for _, graceful := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, graceful restart %t", row.name, graceful), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				o := w.options(1)
				o.Neighbors = []Neighbor{w.leaf(2)}
				var capabilities []packet.ParameterCapabilityInterface
				if graceful {
					o.GracefulRestart = 30 * time.Second
					ipv4 := packet.NewCapGracefulRestartTuple(packet.RF_IPv4_UC, true)
					capabilities = append(capabilities, packet.NewCapGracefulRestart(false, true, 30, []*packet.CapGracefulRestartTuple{ipv4}))
				}
				gateway := w.start(o)
				conn := w.foreign(3, capabilities...)
				gateway.awaitUp(w.addr(2))
				announce(t, conn, host1)
				gateway.awaitPath(host1, false)
				switch {
				case row.code != 0:
					send(t, conn, packet.NewBGPNotificationMessage(row.code, row.subcode, nil))
				case row.subcode == 0:
					conn.Close()
				}
				down := gateway.awaitDown(w.addr(2))
				if down.Reason != row.want || down.Detail == "" {
					t.Errorf("%v", down)
				}
				if !graceful || row.want == step.ReasonCeaseDown {
					gateway.awaitPath(host1, true)
					return
				}
				conn.Close()
				conn = w.foreign(3, capabilities...)
				send(t, conn, packet.NewEndOfRib(packet.RF_IPv4_UC))
				told := gateway.awaitEndOfRIB(w.addr(2))
				if c, ok := told[0].(step.SessionChanged); !ok || !c.Up || len(told) != 3 || len(withdrawals(told)) != 1 {
					t.Errorf("told %v, want the session, the withdrawal of what was not repeated, End-of-RIB", told)
				}
			})
		}
	}
}

func announce(t testing.TB, conn net.Conn, prefix netip.Prefix) {
	t.Helper()
	nlri, err := packet.NewIPAddrPrefix(prefix)
	if err != nil {
		t.Fatal(err)
	}
	nextHop, err := packet.NewPathAttributeNextHop(conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr())
	if err != nil {
		t.Fatal(err)
	}
	path := packet.NewAs4PathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, []uint32{65002})
	send(t, conn, packet.NewBGPUpdateMessage(nil, []packet.PathAttributeInterface{
		packet.NewPathAttributeOrigin(0), packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{path}), nextHop,
	}, []packet.PathNLRI{{NLRI: nlri}}))
}
