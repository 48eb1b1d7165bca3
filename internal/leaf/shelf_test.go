package leaf

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

const otherStamp = 1_790_000_000_000

// stocked is a leaf whose gateway heeds attachments, and tells that hosts 1 to 4 are behind the other link of A2's server.
func stocked(t *testing.T, heeds bool) *world {
	cfg := small()
	cfg.ShelfFrom = 2
	w := newWorld(t, cfg)
	w.open()
	paths := defaultPath()
	if heeds {
		paths[0].Large = claim.Heeding(65000)
	}
	for i := 1; i <= 4; i++ {
		paths = append(paths, claimed(i, 2, otherStamp))
	}
	w.do(step.PathsChanged{Peer: upper, Paths: paths})
	w.pass(200 * time.Millisecond)
	return w
}

func (w *world) onShelf(i int) bool {
	_, there := w.held[shelfRoute(w.m.down("A2"), addrOf(i)).Key()]
	return there
}

func (w *world) routed(i int) bool {
	_, there := w.held[step.Route{Prefix: step.HostPrefix(addrOf(i))}.Key()]
	return there
}

func (w *world) isOpen() bool {
	_, there := w.held[w.m.shelfRule(w.m.down("A2")).Key()]
	return there
}

func TestShelf_BeforeTheServerTurnsUp_NobodyLooks(t *testing.T) {
	w := stocked(t, true)
	for i := 1; i <= 4; i++ {
		if !w.onShelf(i) || w.routed(i) {
			t.Errorf("host %d: on the shelf %v, forwarded to %v", i, w.onShelf(i), w.routed(i))
		}
	}
	if w.isOpen() {
		t.Error("the shelf is open")
	}
}

func TestShelf_ServerTurnsUp_OneRuleServesAllAndRoutesFollow(t *testing.T) {
	w := stocked(t, true)
	got := append(w.do(garp("A2", 1)), w.do(garp("A2", 2))...)
	if n := lines(got, "want route "); len(n) != 1 || !w.isOpen() { // the one that was heard before all others
		t.Fatalf("open %v, and at once: %v", w.isOpen(), n)
	}
	if n := lines(got, "want advertise 10.10.10.2/32"); len(n) != 0 {
		t.Fatalf("claimed though it has no route of its own: %v", n)
	}
	got = w.pass(liveness.Respite(4))
	for i := 1; i <= 4; i++ {
		if w.onShelf(i) || !w.routed(i) {
			t.Errorf("host %d: on the shelf %v, forwarded to %v", i, w.onShelf(i), w.routed(i))
		}
	}
	if w.isOpen() {
		t.Error("the shelf is open though everybody has his route")
	}
	if n := lines(got, "want advertise 10.10.10."); len(n) != 1 {
		t.Errorf("claims of whoever was heard meanwhile: %v", n)
	}
}

func TestShelf_GatewayDoesNotHeedAttachments_HostByHost(t *testing.T) {
	w := stocked(t, false)
	w.do(garp("A2", 1))
	if w.isOpen() {
		t.Fatal("the shelf is open")
	}
	for i := 1; i <= 4; i++ {
		if !w.routed(i) {
			t.Errorf("host %d has no route", i)
		}
	}
}

func TestShelf_PortFailsMeanwhile_IsShutAtOnce(t *testing.T) {
	w := stocked(t, true)
	w.do(garp("A2", 1))
	w.port("A2", carrier(false))
	if w.isOpen() {
		t.Fatal("the shelf of a dead port is open")
	}
	w.pass(time.Second)
	w.port("A2", carrier(true))
	w.pass(200 * time.Millisecond)
	for i := 1; i <= 4; i++ {
		if !w.onShelf(i) || w.routed(i) {
			t.Errorf("host %d, remembered: on the shelf %v, forwarded to %v", i, w.onShelf(i), w.routed(i))
		}
	}
}

// What has moved on is not drawn here: behind another server port at any time, or behind the same one while it is being taken.
func TestShelf_ClaimedElsewhere_IsTakenOff(t *testing.T) {
	tests := []struct {
		name  string
		open  bool
		at    model.AttachmentID
		stamp claim.Stamp
		stays bool
	}{
		{"behind another server port", false, 7, otherStamp + 1000, false},
		{"behind another server port, while open", true, 7, otherStamp + 1000, false},
		{"told again", true, 2, otherStamp, true},
		{"arrived anew behind the other leaf", false, 2, otherStamp + 1000, true},
		{"arrived anew behind the other leaf, while open", true, 2, otherStamp + 1000, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := stocked(t, true)
			if tt.open {
				w.do(garp("A2", 1))
			}
			w.do(step.PathsChanged{Peer: upper, Paths: []step.Path{claimed(3, tt.at, tt.stamp)}})
			if !tt.open {
				w.pass(200 * time.Millisecond)
			}
			if w.onShelf(3) != tt.stays || !w.onShelf(4) {
				t.Errorf("on the shelf: %v, want %v; another: %v", w.onShelf(3), tt.stays, w.onShelf(4))
			}
		})
	}
}

// Beside a routing engine shelves are not used: what the table of hosts tells of them must not pile up there.
func TestShelf_NotUsed_NothingPilesUp(t *testing.T) {
	for _, from := range []int{0, 2} {
		cfg := small()
		cfg.ShelfFrom, cfg.Export = from, Export{Mode: ByTable, Table: 210}
		w := newWorld(t, cfg)
		w.do(step.Started{})
		w.do(w.snapshot())
		for range 50 {
			w.m.hosts.Hint(w.Now.Mono, "A2", addrOf(3), model.MAC{}, neighbor.FromFeed)
			w.pass(2 * time.Minute) // and it is forgotten
		}
		if n := len(w.m.hosts.Turned("A2")); n > 2 {
			t.Errorf("shelves from %d hosts on: %d changes wait for nobody", from, n)
		}
	}
}

func TestShelf_KernelLostOne_IsInstalledAtOnce(t *testing.T) {
	w := stocked(t, true)
	w.quiet = true // what is asked for again is not there yet
	w.do(step.RouteChanged{RouteState: step.RouteState{Route: shelfRoute(w.m.down("A2"), addrOf(3)), Ours: true}})
	w.do(garp("A2", 1))
	if !w.routed(3) || w.routed(4) {
		t.Fatalf("the one that the rule does not serve has a route: %v; the others: %v", w.routed(3), w.routed(4))
	}
}

// A daemon that dies while it takes a server leaves a rule and a shelf: its next life takes the rest.
func TestShelf_DaemonDiesMeanwhile_NextLifeTakesTheRest(t *testing.T) {
	for _, open := range []bool{true, false} {
		before := stocked(t, true)
		d := before.m.down("A2")
		w := newWorld(t, before.m.cfg)
		s := w.snapshot()
		s.Routes = append(s.Routes, step.RouteState{Route: step.Route{Prefix: anywhere, Metric: defaultMetric,
			NextHop: step.NextHop{Dev: "A0", Via: upper}}, Ours: true, Present: true})
		for i := 1; i <= 4; i++ {
			r := shelfRoute(d, addrOf(i))
			s.Routes = append(s.Routes, step.RouteState{Route: r, Ours: true, Present: true})
			w.held[r.Key()] = r
		}
		if open {
			s.Rules = append(s.Rules, before.m.shelfRule(d))
			w.held[before.m.shelfRule(d).Key()] = before.m.shelfRule(d)
		}
		w.do(step.Started{})
		w.do(s)
		w.pass(100 * time.Millisecond)
		for i := 1; i <= 4; i++ {
			if w.onShelf(i) == open || w.routed(i) != open {
				t.Errorf("open %v: host %d: on the shelf %v, forwarded to %v", open, i, w.onShelf(i), w.routed(i))
			}
		}
		if w.isOpen() {
			t.Errorf("open %v: the shelf is open", open)
		}
	}
}

func TestShelf_MessagesWereLost_IsComparedWithTheKernel(t *testing.T) {
	w := stocked(t, true)
	s := w.snapshot()
	s.Reason = "overflow"
	d := w.m.down("A2")
	for _, i := range []int{1, 2, 9} { // 3 and 4 went, 9 is nobody
		for _, r := range []step.Route{shelfRoute(d, addrOf(i)), standbyRoute(d, addrOf(i))} {
			s.Routes = append(s.Routes, step.RouteState{Route: r, Ours: true, Present: true})
		}
		s.Neighbors = append(s.Neighbors, step.NeighborState{Neighbor: step.Neighbor{Port: "A2", Addr: addrOf(i), MAC: macOf(i)}, Ours: true, Present: true})
	}
	s.Rules = append(s.Rules, w.m.shelfRule(d)) // somebody's, or of a life that forgot it
	got := w.do(s)
	if n := lines(got, "want no route 10.10.10.9/32"); len(n) != 2 {
		t.Errorf("a stray on the shelf: %v", n)
	}
	if n := lines(got, "want no rule 990"); len(n) != 1 {
		t.Errorf("a rule that nobody wants: %v", n)
	}
	if n := lines(w.pass(200*time.Millisecond), "want route 10.10.10."); len(n) != 4 {
		t.Errorf("put back: %v, want hosts 3 and 4", n)
	}
}

// Run it with -benchtime 20x: each time begins with a leaf of its own.
func BenchmarkStep_ServerTurnsUp(b *testing.B) {
	for _, n := range []int{1, 1000} {
		for _, from := range []int{0, liveness.Crowd} {
			b.Run(fmt.Sprintf("hosts=%d/shelf=%v", n, from > 0), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					cfg := small()
					cfg.ShelfFrom, cfg.Subnets[0].Prefix, cfg.Downlinks[0].MaxHosts = from, netip.MustParsePrefix("10.10.0.0/16"), 2*n+8
					w := newWorld(b, cfg)
					w.open()
					ps := defaultPath()
					ps[0].Large = claim.Heeding(65000)
					for i := range n {
						p := claimed(1, 2, otherStamp)
						p.Prefix = step.HostPrefix(netip.AddrFrom4([4]byte{10, 10, byte(100 + i>>8), byte(i)}))
						ps = append(ps, p)
					}
					w.do(step.PathsChanged{Peer: upper, Paths: ps})
					w.pass(time.Second)
					b.StartTimer()
					w.m.Step(w.Now, garp("A2", 1))
				}
			})
		}
	}
}
