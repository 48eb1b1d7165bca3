package mapping

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

var (
	h1 = netip.MustParseAddr("10.10.10.1")
	h2 = netip.MustParseAddr("10.10.10.2")
)

const (
	a LeafID = iota
	b
)

// pair is two serving leaves with a session each.
func pair() *Table {
	t := New()
	for _, tie := range []string{"10.0.0.11", "10.0.0.12"} {
		l := t.AddLeaf(netip.MustParseAddr(tie))
		t.OpenSession(l)
		t.Serve(l)
	}
	return t
}

func said(id model.AttachmentID, s claim.State, r claim.Reason) claim.Attachment {
	return claim.Attachment{PortIndex: uint32(id), ID: id, State: s, Reason: r}
}

func (t *Table) ups(id model.AttachmentID, leaves ...LeafID) {
	for _, l := range leaves {
		t.Announce(l, said(id, claim.Up, claim.ReasonReady))
	}
}

func (t *Table) loseAndRegain(l LeafID) {
	t.Lose(l)
	t.OpenSession(l)
	t.Serve(l)
}

func stamped(id model.AttachmentID, s claim.Stamp) claim.Host {
	return claim.Host{PortIndex: uint32(id), Attachment: id, Stamp: s}
}

func TestChoose(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(*Table)
		want Choice
	}{
		{"one claim, nobody stands by", func(t *Table) { t.Hear(a, h1, stamped(1, 5)) }, Choice{a, None, nil, Claimed}},
		{"one claim, the other leaf has the port up", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
		}, Choice{a, b, nil, Claimed}},
		{"the port of the other leaf is closed", func(t *Table) {
			t.ups(1, a)
			t.Announce(b, said(1, claim.Closed, claim.ReasonLinkage))
			t.Hear(a, h1, stamped(1, 5))
		}, Choice{a, None, nil, Claimed}},
		{"the newest stamp wins, whoever came last", func(t *Table) {
			t.Hear(b, h1, stamped(1, 9))
			t.Hear(a, h1, stamped(1, 5))
		}, Choice{b, None, nil, Claimed}},
		{"equal stamps go to the lower router id", func(t *Table) {
			t.Hear(b, h1, stamped(1, 5))
			t.Hear(a, h1, stamped(1, 5))
		}, Choice{a, None, nil, Claimed}},
		{"without stamps the newest arrival wins", func(t *Table) {
			t.Hear(a, h1, claim.Host{})
			t.Hear(b, h1, claim.Host{})
			t.Hear(a, h1, claim.Host{}) // a repeat is no arrival
		}, Choice{b, None, nil, Claimed}},
		{"a stamp beats none", func(t *Table) {
			t.Hear(a, h1, stamped(1, 5))
			t.Hear(b, h1, claim.Host{})
		}, Choice{a, None, nil, Claimed}},
		{"the port failed, the other leaf has it up", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.Announce(a, said(1, claim.Down, claim.ReasonCarrierLost))
		}, Choice{b, None, nil, Tentative}},
		{"the port failed, nobody else has it", func(t *Table) {
			t.ups(1, a)
			t.Hear(a, h1, stamped(1, 5))
			t.Announce(a, said(1, claim.Down, claim.ReasonCarrierLost))
		}, Choice{None, None, nil, Unserved}},
		{"the port failed, the other leaf has an older claim", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(b, h1, stamped(1, 3))
			t.Hear(a, h1, stamped(1, 5))
			t.Announce(a, said(1, claim.Down, claim.ReasonCarrierLost))
		}, Choice{b, None, nil, Claimed}},
		{"a claim that is news after the port failed counts", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.Announce(a, said(1, claim.Down, claim.ReasonCarrierLost))
			t.Hear(a, h1, stamped(1, 6))
		}, Choice{a, b, nil, Claimed}},
		{"a repeat after the port failed does not", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.Announce(a, said(1, claim.Down, claim.ReasonCarrierLost))
			t.Hear(a, h1, stamped(1, 5))
		}, Choice{b, None, nil, Tentative}},
		{"a port being drained goes on", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.Announce(a, said(1, claim.Closed, claim.ReasonDrain))
		}, Choice{a, b, nil, Claimed}},
		{"the leaf is lost: the other one is the backup", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.Lose(a)
		}, Choice{None, b, nil, Sheltered}},
		{"the leaf is lost and back, not heard yet", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.loseAndRegain(a)
		}, Choice{None, b, nil, Sheltered}},
		{"the leaf is lost, back and heard", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.loseAndRegain(a)
			t.Hear(a, h1, stamped(1, 5))
		}, Choice{a, b, nil, Claimed}},
		{"the leaf is lost and back, its port is down, and it repeats what it said before", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.loseAndRegain(a)
			t.Announce(a, said(1, claim.Down, claim.ReasonLinkage))
			t.Hear(a, h1, stamped(1, 5))
		}, Choice{b, None, nil, Tentative}},
		{"the leaf is lost and back, its port is said to be down, and it has heard the host since", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.loseAndRegain(a)
			t.Announce(a, said(1, claim.Down, claim.ReasonLinkage))
			t.Hear(a, h1, stamped(1, 6))
		}, Choice{a, b, nil, Claimed}},
		{"a lost leaf does not stand by until it tells of the port again", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.loseAndRegain(b)
		}, Choice{a, None, nil, Claimed}},
		{"a new session alone changes nothing", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.OpenSession(a)
			t.OpenSession(b)
		}, Choice{a, b, nil, Claimed}},
		{"withdrawn, the other leaf has the port up", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.Withdraw(a, h1)
		}, Choice{None, b, nil, Sheltered}},
		{"withdrawn, nobody has the port", func(t *Table) {
			t.ups(1, a)
			t.Hear(a, h1, stamped(1, 5))
			t.Withdraw(a, h1)
		}, Choice{None, None, nil, Unserved}},
		{"withdrawn from a port that failed", func(t *Table) {
			t.ups(1, a, b)
			t.Hear(a, h1, stamped(1, 5))
			t.Announce(a, said(1, claim.Down, claim.ReasonCarrierLost))
			t.Withdraw(a, h1)
		}, Choice{b, None, nil, Tentative}},
		{"static", func(t *Table) {
			t.Pin(a, h1, 0, model.Primary)
			t.Pin(b, h1, 0, model.Backup)
			t.Hear(b, h1, stamped(1, 5))
		}, Choice{a, b, nil, Claimed}},
		{"static, primary lost", func(t *Table) {
			t.Pin(a, h1, 0, model.Primary)
			t.Pin(b, h1, 0, model.Backup)
			t.Lose(a)
		}, Choice{b, None, nil, Claimed}},
		{"static, both lost", func(t *Table) {
			t.Pin(a, h1, 0, model.Primary)
			t.Pin(b, h1, 0, model.Backup)
			t.Lose(a)
			t.Lose(b)
		}, Choice{None, None, nil, Unserved}},
	} {
		t.Run(row.name, func(t *testing.T) {
			table := pair()
			row.do(table)
			got := table.Choose(table.Add(h1))
			got.Basis = nil
			if got != row.want {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
		})
	}
}

func TestWithdraw_KeepsTheClaimOnlyWhereAnotherLeafMayHaveTheHost(t *testing.T) {
	table := pair()
	table.ups(1, a, b)
	table.Hear(a, h1, stamped(1, 5))
	table.Hear(b, h1, stamped(1, 6))
	if c, kept := table.Withdraw(a, h1); c == nil || kept {
		t.Errorf("claim %v kept %v though the other leaf claims the host", c, kept)
	}
	c, kept := table.Withdraw(b, h1)
	if c == nil || !kept || !c.Gone() {
		t.Fatalf("claim %v kept %v, want kept", c, kept)
	}
	if again, _ := table.Withdraw(b, h1); again != nil {
		t.Error("withdrawn twice")
	}
	table.Forget(c)
	if table.Host(h1).Claimed() {
		t.Error("the host is still claimed")
	}
	if n := table.Claims(a) + table.Claims(b); n != 0 {
		t.Errorf("%d live claims, want 0", n)
	}
}

func TestSweep_ForgetsWhatWasNotSaidAgain(t *testing.T) {
	table := pair()
	table.ups(1, a)
	table.ups(2, a)
	table.Hear(a, h1, stamped(1, 5))
	table.Hear(a, h2, stamped(2, 5))
	table.Pin(a, netip.MustParseAddr("10.10.10.9"), 2, model.Primary)
	table.OpenSession(a)
	table.ups(2, a)
	table.Hear(a, h2, stamped(2, 5))
	table.Sweep(nil, a, false)
	if table.Host(h1).Claimed() || !table.Host(h2).Claimed() || table.Link(a, 1).Heard || !table.Link(a, 2).Heard {
		t.Error("the sweep took the wrong claims or links")
	}
	if table.Claims(a) != 1 {
		t.Errorf("%d live claims, want 1", table.Claims(a))
	}
	table.Sweep(nil, a, true)
	if table.Host(h2).Claimed() || !table.Host(netip.MustParseAddr("10.10.10.9")).Claimed() {
		t.Error("a sweep of all takes what was heard, and no pin")
	}
}

// Whoever is not said again by a leaf that returns may be on his way to the other one, as one whom it withdraws is.
func TestSweep_KeepsWhoMayBeBehindTheOtherLeaf(t *testing.T) {
	table := pair()
	table.ups(1, a)
	table.ups(1, b)
	table.Hear(a, h1, stamped(1, 5))
	table.Hear(a, h2, stamped(1, 5))
	table.Hear(b, h2, stamped(1, 6))
	table.OpenSession(a)
	table.ups(1, a)
	hosts, kept := table.Sweep(nil, a, false)
	if len(hosts) != 2 || len(kept) != 1 || kept[0].Host != table.Host(h1) || table.Choose(kept[0].Host).Backup != b {
		t.Errorf("%d hosts are concerned, %d claims kept", len(hosts), len(kept))
	}
	if hosts, kept = table.Sweep(nil, a, false); len(hosts)+len(kept) != 0 {
		t.Errorf("swept again: %d hosts, %d kept", len(hosts), len(kept))
	}
	if _, kept = table.Sweep(nil, a, true); len(kept) != 0 || table.Host(h1).Claimed() {
		t.Errorf("the leaf is given up, and %d of its claims are kept", len(kept))
	}
	if table.Claims(a) != 0 || table.Under(1) != 1 {
		t.Errorf("%d live claims of its, %d hosts under the server port", table.Claims(a), table.Under(1))
	}
}

func TestLinks_HoldTheirClaimsInOrderOfArrival(t *testing.T) {
	table := pair()
	for i := range byte(5) {
		table.Hear(a, netip.AddrFrom4([4]byte{10, 0, 0, i}), stamped(1, 1))
	}
	table.Withdraw(a, netip.AddrFrom4([4]byte{10, 0, 0, 0}))
	table.Withdraw(a, netip.AddrFrom4([4]byte{10, 0, 0, 4}))
	table.Hear(a, netip.AddrFrom4([4]byte{10, 0, 0, 2}), stamped(2, 1)) // another port
	table.Hear(a, netip.AddrFrom4([4]byte{10, 0, 0, 4}), stamped(1, 2))
	var got []byte
	for _, h := range table.AppendUnder(nil, 1) {
		got = append(got, h.Addr.As4()[3])
	}
	if want := []byte{1, 3, 4}; !reflect.DeepEqual(got, want) {
		t.Errorf("hosts %v, want %v", got, want)
	}
}

func TestConflicting_FindsTwoAttachments(t *testing.T) {
	table := pair()
	h := table.Hear(a, h1, stamped(1, 5))
	table.Hear(b, h1, stamped(1, 6))
	if x, _ := table.Conflicting(h); x != nil {
		t.Error("one attachment on two leaves is the normal case")
	}
	table.Hear(b, h1, stamped(2, 7))
	if x, y := table.Conflicting(h); x == nil || y == nil {
		t.Error("two attachments were not found")
	}
	table.Withdraw(b, h1)
	if x, _ := table.Conflicting(h); x != nil {
		t.Error("a withdrawn claim conflicts with nothing")
	}
}

// names are plain: the leaf's letter, and numbers.
func names(down ...LeafID) Names {
	return Names{
		Uplink: func(l LeafID) Uplink {
			u := Uplink{Leaf: string(rune('A' + l)), Port: model.Port("to-" + string(rune('A'+l))), Up: true}
			for _, d := range down {
				if d == l {
					u.Up, u.Why = false, "carrier lost"
				}
			}
			return u
		},
		LeafPort:   func(l LeafID, i uint32) string { return string(rune('A'+l)) + string(rune('0'+i)) },
		ServerPort: func(id model.AttachmentID) string { return "C" + id.String() },
	}
}

func TestRows_StayThroughFailures(t *testing.T) {
	table := pair()
	table.ups(2, b, a)
	table.ups(1, a, b)
	h := table.Hear(a, h1, stamped(1, 5))
	place := func() {
		choice := table.Choose(h)
		h.Primary, h.Backup, h.Basis, h.State = choice.Primary, choice.Backup, choice.Basis, choice.State
	}
	place()
	type line struct {
		Leaf, Up, Down string
		Active         bool
		Hosts          int
		Why            string
	}
	lines := func(rows []step.MappingRow) []line {
		var out []line
		for _, r := range rows {
			out = append(out, line{r.Leaf + " " + r.LeafPort + " " + r.ServerPort, r.Uplink, r.Downlink, r.Active, len(r.Hosts), r.Why})
		}
		return out
	}
	check := func(when string, got []step.MappingRow, want ...line) {
		t.Helper()
		if diff := cmp.Diff(want, lines(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	a2, b2 := line{"A A2 C2", "up", "up", false, 0, "ready, stands by"}, line{"B B2 C2", "up", "up", false, 0, "ready, stands by"}
	a1, b1 := line{"A A1 C1", "up", "up", true, 1, "in use"}, line{"B B1 C1", "up", "up", false, 0, "ready, stands by"}
	check("before any failure", table.Rows(names()), a1, b1, a2, b2)

	table.Announce(a, said(1, claim.Down, claim.ReasonCarrierLost))
	place()
	a1, b1 = line{"A A1 C1", "up", "down", false, 0, "downlink: carrier lost"}, line{"B B1 C1", "up", "up", true, 1, "in use"}
	check("server link failed", table.Rows(names()), a1, b1, a2, b2)

	table.Lose(b)
	b1 = line{"B B1 C1", "down", "up", false, 0, "uplink: carrier lost; the downlink is as last told (ready)"}
	b2 = line{"B B2 C2", "down", "up", false, 0, b1.Why}
	check("gateway link failed as well", table.Rows(names(b)), a1, b1, a2, b2)

	table.OpenSession(b)
	table.Serve(b)
	b1.Up, b1.Why = "up", "the leaf is back but has not told of this port yet; last told: ready"
	b2.Up, b2.Why = b1.Up, b1.Why
	b1.Active, b1.Hosts = true, 1 // its route is still there until the machine settles the host
	check("gateway link back", table.Rows(names()), a1, b1, a2, b2)

	table.Unannounce(a, 2)
	a2.Why = "the leaf does not announce this port any more"
	check("the leaf's daemon is gone", table.Rows(names()), a1, b1, a2, b2)
}
