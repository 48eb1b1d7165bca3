package rtnl

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// aMirror knows two uplinks, a bridge with a member and a stranger, and has told their state.
func aMirror(routes ...route) *mirror {
	m := &mirror{
		scope: newScope(Options{Ports: []model.Port{"u1", "u2", "br"}, WatchTables: []uint32{500}}),
		links: newLinkTable(nil), sight: func(l link) (link, bool) { return l, false },
	}
	m.reset(census{routes: routes, links: []link{
		{index: 1, name: "u1", adminUp: true, carrier: true}, {index: 2, name: "u2", adminUp: true, carrier: true},
		{index: 3, name: "br", adminUp: true, carrier: true, kind: "bridge"}, {index: 4, name: "in", adminUp: true, carrier: true, master: 3},
		{index: 5, name: "out", adminUp: true, carrier: true},
	}}, "start")
	return m
}

func lines(events []step.Event) string {
	var all []string
	for _, ev := range events {
		all = append(all, ev.String())
	}
	return strings.Join(all, "; ")
}

func TestMirror_Link(t *testing.T) {
	for _, c := range []struct {
		name    string
		link    link
		present bool
		want    string
	}{
		{"repeat", link{index: 1, name: "u1", adminUp: true, carrier: true}, true, ""},
		{"carrier lost", link{index: 1, name: "u1", adminUp: true}, true, "port u1 admin up carrier down"},
		{"deleted", link{index: 1, name: "u1"}, false, "port u1 missing"},
		{"renamed away", link{index: 1, name: "new", adminUp: true, carrier: true}, true, "port u1 missing"},
		{"stranger changes", link{index: 5, name: "out"}, true, ""},
		{"stranger joins the bridge", link{index: 5, name: "out", adminUp: true, carrier: true, master: 3}, true, "port out admin up carrier up"},
		{"member leaves", link{index: 4, name: "in", adminUp: true, carrier: true}, true, "port in admin up carrier up"},
		{"member deleted", link{index: 4, name: "in"}, false, "port in missing"},
		{"stranger joins another device", link{index: 5, name: "out", adminUp: true, carrier: true, master: 1}, true, ""},
		{"made anew before the old one is gone", link{index: 9, name: "u1", adminUp: true, carrier: true}, true, "port u1 admin up carrier up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := aMirror()
			if have := lines(m.onLink(c.link, c.present)); have != c.want {
				t.Errorf("told %q, want %q", have, c.want)
			}
			if have := lines(m.onLink(c.link, c.present)); have != "" {
				t.Errorf("told again: %q", have)
			}
		})
	}
}

// A server's bond may be a member of a bridge: there are its addresses, and the guests.
func TestMirror_BridgeAboveABond_IsToldOf(t *testing.T) {
	bond := link{index: 1, name: "bond", adminUp: true, carrier: true, kind: "bond"}
	bridge := link{index: 2, name: "br", adminUp: true, carrier: true, kind: "bridge"}
	guest := link{index: 3, name: "tap", adminUp: true, carrier: true, master: bridge.index}
	home := address{index: bridge.index, prefix: prefix("10.10.10.1/24")}
	m := &mirror{scope: newScope(Options{Ports: []model.Port{"bond"}}), links: newLinkTable(nil),
		sight: func(l link) (link, bool) { return l, false }}
	all := func() census { return census{links: []link{bond, bridge, guest}, addresses: []address{home}} }
	told := func(s step.Snapshot) string { return fmt.Sprint(len(s.Ports), " ports ", s.Addresses) }

	if have, want := told(m.reset(all(), "start")), "1 ports []"; have != want {
		t.Errorf("apart: %s, want %s", have, want)
	}
	bond.master = bridge.index
	m.onLink(bond, true)
	if !m.outdated {
		t.Fatal("joined: no new dump is asked for")
	}
	if have := told(m.reset(all(), reasonBridged)); !strings.HasPrefix(have, "3 ports [address 10.10.10.1/24") || m.outdated {
		t.Errorf("joined: %s", have)
	}
	more := home
	more.prefix = prefix("10.10.10.2/24")
	if have := lines(m.onAddress(more, true)); !strings.Contains(have, "10.10.10.2/24") {
		t.Errorf("address on the bridge: %q", have)
	}
	late := link{index: 4, name: "tap2", adminUp: true, carrier: true, master: bridge.index}
	if have := lines(m.onLink(late, true)); !strings.Contains(have, "tap2") {
		t.Errorf("guest's port: %q", have)
	}
	if m.onLink(bond, true); m.outdated {
		t.Error("a repeated report asks for a new dump")
	}
}

func TestMirror_DeletionOfAnOlderDevice_LeavesItsSuccessor(t *testing.T) {
	m := aMirror()
	m.onLink(link{index: 9, name: "u1", adminUp: true, carrier: true}, true)
	if have := lines(m.onLink(link{index: 1, name: "u1"}, false)); have != "" {
		t.Errorf("told %q", have)
	}
	if i, err := m.links.index("u1"); err != nil || i != 9 {
		t.Errorf("index is %d, %v", i, err)
	}
}

func TestMirror_Route(t *testing.T) {
	def := func(protocol uint8, hops ...int) route {
		r := route{table: unix.RT_TABLE_MAIN, prefix: prefix("0.0.0.0/0"), metric: 20, protocol: protocol}
		for _, h := range hops {
			r.hops = append(r.hops, hop{index: h})
		}
		return r
	}
	host := route{table: unix.RT_TABLE_MAIN, prefix: prefix("10.10.10.2/32"), protocol: mark, hops: []hop{{index: 1}}}
	noted := step.Route{Table: unix.RT_TABLE_MAIN, Prefix: host.prefix, NextHop: step.NextHop{Dev: "u1"}} // the same, as a want has it
	theirs := host
	theirs.protocol = unix.RTPROT_STATIC
	for _, c := range []struct {
		name   string
		known  []route
		change func(*mirror) []step.Event
		want   string
	}{
		{"another default", nil, add(def(3, 1)), "route 0.0.0.0/0 dev u1 metric 20 present"},
		{"repeat", []route{def(3, 1)}, add(def(3, 1)), ""},
		{"by another port", []route{def(3, 1)}, replace(def(3, 2)), "route 0.0.0.0/0 dev u2 metric 20 present"},
		{"deleted", []route{def(3, 1)}, remove(def(3, 1)), "route 0.0.0.0/0 dev u1 metric 20 gone"},
		{"deleted though never told", nil, remove(def(3, 1)), ""},
		{"one of no concern", nil, add(theirs), ""},
		{"ours, by another hand", nil, add(host), "route 10.10.10.2/32 dev u1 present ours"},
		{"ours deleted", []route{host}, remove(host), "route 10.10.10.2/32 dev u1 gone ours"},
		{"ours replaced by one of no concern", []route{host}, replace(theirs), "route 10.10.10.2/32 dev u1 gone ours"},
		{"ours replaced by one of concern", []route{def(mark, 1)}, replace(def(3, 2)),
			"route 0.0.0.0/0 dev u1 metric 20 gone ours; route 0.0.0.0/0 dev u2 metric 20 present"},
		{"another put beside ours", []route{host}, add(theirs), ""},
		{"the one beside ours deleted", []route{host}, remove(theirs), ""},
		{"ours as noted, deleted by another hand", nil, func(m *mirror) []step.Event {
			m.note(step.Want{Object: noted})
			return m.onRoute(host, false, false)
		}, "route 10.10.10.2/32 dev u1 gone ours"},
		{"ours deleted as noted", []route{host}, func(m *mirror) []step.Event {
			m.note(step.Want{Object: noted, Absent: true})
			return m.onRoute(host, false, false)
		}, ""},
		{"only port closed", []route{def(3, 1), host}, down(1), "port u1 admin down carrier down; route 0.0.0.0/0 dev u1 metric 20 gone"},
		{"one of two ports closed", []route{def(3, 1, 2)}, down(1), "port u1 admin down carrier down"},
		{"another's where ours went with its port", []route{def(mark, 1)}, func(m *mirror) []step.Event {
			return append(down(1)(m), m.onRoute(def(3, 2), true, false)...)
		}, "port u1 admin down carrier down; route 0.0.0.0/0 dev u2 metric 20 present"},
		{"ours again, by another hand, where it went with its port", []route{host}, func(m *mirror) []step.Event {
			return append(down(1)(m), m.onRoute(host, true, false)...)
		}, "port u1 admin down carrier down; route 10.10.10.2/32 dev u1 present ours"},
		{"ours went with the last address of its port", []route{host}, func(m *mirror) []step.Event {
			m.addresses = map[addressKey]bool{{"u1", prefix("172.31.1.1/30")}: false}
			return append(m.onAddress(address{index: 1, prefix: prefix("172.31.1.1/30")}, false), m.onRoute(host, true, false)...)
		}, "address 172.31.1.1/30 dev u1 gone; route 10.10.10.2/32 dev u1 present ours"},
		{"carrier of the only port", []route{def(3, 1)}, carrierLost(1),
			"port u1 admin up carrier down; route 0.0.0.0/0 dev u1 metric 20 present linkdown"},
		{"carrier of the only port, by a nexthop object", []route{object(def(188, 1))}, carrierLost(1),
			"port u1 admin up carrier down; route 0.0.0.0/0 dev u1 metric 20 gone"},
		{"carrier of one of two ports, by a nexthop group", []route{object(def(188, 1, 2))}, carrierLost(1),
			"port u1 admin up carrier down; route 0.0.0.0/0 dev u2 metric 20 present"},
		{"its nexthop object deleted", []route{object(def(188, 1))}, nexthopGone(7), "route 0.0.0.0/0 dev u1 metric 20 gone"},
		{"another nexthop object deleted", []route{object(def(188, 1)), host}, nexthopGone(8), ""},
		{"a plain route in the place of one by an object", []route{object(def(3, 1))}, func(m *mirror) []step.Event {
			return append(m.onRoute(def(3, 1), true, true), carrierLost(1)(m)...)
		}, "port u1 admin up carrier down; route 0.0.0.0/0 dev u1 metric 20 present linkdown"},
		{"carrier of one of two ports", []route{def(3, 1, 2)}, carrierLost(1), "port u1 admin up carrier down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if have := lines(c.change(aMirror(c.known...))); have != c.want {
				t.Errorf("told %q, want %q", have, c.want)
			}
		})
	}
}

func object(r route) route {
	r.object = 7
	return r
}

func nexthopGone(id byte) func(*mirror) []step.Event {
	return func(m *mirror) []step.Event {
		msg := append(make([]byte, nexthopSize), 8, 0, nexthopID, 0, id, 0, 0, 0)
		return m.apply(netlink.Message{Header: netlink.Header{Type: unix.RTM_DELNEXTHOP}, Data: msg})
	}
}

func add(r route) func(*mirror) []step.Event {
	return func(m *mirror) []step.Event { return m.onRoute(r, true, false) }
}
func replace(r route) func(*mirror) []step.Event {
	return func(m *mirror) []step.Event { return m.onRoute(r, true, true) }
}
func remove(r route) func(*mirror) []step.Event {
	return func(m *mirror) []step.Event { return m.onRoute(r, false, false) }
}
func down(index int) func(*mirror) []step.Event {
	return func(m *mirror) []step.Event {
		return m.onLink(link{index: index, name: model.Port(fmt.Sprintf("u%d", index))}, true)
	}
}
func carrierLost(index int) func(*mirror) []step.Event {
	return func(m *mirror) []step.Event {
		return m.onLink(link{index: index, name: model.Port(fmt.Sprintf("u%d", index)), adminUp: true}, true)
	}
}

func TestMirror_RoutesThatWentWithTheirPort_AreThrownAwayInTheEnd(t *testing.T) {
	m := aMirror()
	put := func(from, to int, port model.Port) {
		for _, w := range hostRoutes(to, port)[from:] {
			m.note(w)
		}
	}
	put(0, sweepMin-1, "u1")
	down(1)(m)
	put(sweepMin-1, sweepMin, "u2")
	if have := len(m.plain.routes); have != 1 {
		t.Errorf("%d routes are kept, want 1", have)
	}
	put(0, 3*sweepMin, "u2")
	if have := len(m.plain.routes); have != 3*sweepMin {
		t.Errorf("%d routes are kept, want all %d", have, 3*sweepMin)
	}
}

func TestMirror_Neighbor_OnlyChangesOfSubstance(t *testing.T) {
	m := aMirror()
	ours := step.Neighbor{Port: "u1", Addr: addr("172.31.1.1"), MAC: macOne}
	tell := func(state uint16) string {
		return lines(m.onNeighbor(neighbor{index: 1, addr: ours.Addr, mac: macOne, state: state}, true))
	}
	have := []string{tell(unix.NUD_INCOMPLETE), tell(unix.NUD_REACHABLE), tell(unix.NUD_STALE), tell(unix.NUD_FAILED), tell(unix.NUD_REACHABLE)}
	is := "neighbour 172.31.1.1 lladdr 02:00:00:00:00:01 dev u1 "
	if want := []string{is + "unresolved", is + "resolved", "", is + "failed", is + "resolved"}; !slices.Equal(have, want) {
		t.Errorf("told %q\nwant %q", have, want)
	}
	m.note(step.Want{Object: ours, Absent: true})
	if have := lines(m.onNeighbor(neighbor{index: 1, addr: ours.Addr}, false)); have != "" {
		t.Errorf("told of the end of our own deletion: %s", have)
	}
	m.note(step.Want{Object: ours})
	if have := lines(m.onNeighbor(neighbor{index: 1, addr: ours.Addr}, false)); !strings.Contains(have, "gone") {
		t.Errorf("an entry of ours that another hand deleted: told %q", have)
	}
	tell(unix.NUD_REACHABLE)
	down(1)(m) // takes all
	if have := tell(unix.NUD_REACHABLE); have != is+"resolved" {
		t.Errorf("back after its port was closed: told %q", have)
	}
	if have := lines(m.onNeighbor(neighbor{index: 5, addr: ours.Addr}, true)); have != "" {
		t.Errorf("told of a stranger: %s", have)
	}
}
