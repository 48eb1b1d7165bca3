package rtnl

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// fixed is a port lookup without a kernel.
func fixed(port model.Port) (int, error) {
	return map[model.Port]int{"A0": 2, "A1": 3, "bond0": 7}[port], nil
}

// built encodes without a kernel.
func built(r request, err error) payload {
	if err != nil {
		panic(err)
	}
	return r.msg.Data
}

func linkMessage() payload {
	p := linkHeader(unix.AF_UNSPEC, 3, unix.IFF_UP|unix.IFF_LOWER_UP|unix.IFF_RUNNING, 0)
	p.text(unix.IFLA_IFNAME, "A1")
	p.attr(unix.IFLA_ADDRESS, macOne[:])
	p.u32(unix.IFLA_MASTER, 9)
	p.attr(unix.IFLA_PROTO_DOWN, []byte{1})
	var info payload
	info.text(unix.IFLA_INFO_KIND, "veth")
	p.attr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, info)
	return p
}

var (
	hostRoute    = step.Route{Table: 20101, Prefix: netip.MustParsePrefix("10.10.10.2/32"), NextHop: step.NextHop{Dev: "A1"}}
	defaultRoute = step.Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Metric: 20,
		NextHop: step.NextHop{Dev: "A0", Via: netip.MustParseAddr("172.31.1.1")},
		More:    []step.NextHop{{Dev: "A1", Via: netip.MustParseAddr("172.31.2.1")}}}
	hostNeighbor = step.Neighbor{Port: "A1", Addr: netip.MustParseAddr("10.10.10.2"), MAC: macTwo}
	ingressRule  = step.Rule{Priority: 1000, IIF: "A0", To: netip.MustParsePrefix("10.10.10.0/24"), Table: 254, SuppressPrefixLen: 24}
	ownAddress   = step.Address{Port: "A1", Prefix: netip.MustParsePrefix("10.10.10.254/32"), NoPrefixRoute: true}
)

func via6() payload {
	p := payload{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BGP, 0, unix.RTN_UNICAST}
	p.word(unix.RTNH_F_LINKDOWN)
	a := netip.MustParseAddr("fe80::1").As16()
	p.attr(unix.RTA_VIA, append(binary.NativeEndian.AppendUint16(nil, unix.AF_INET6), a[:]...))
	p.u32(unix.RTA_OIF, 2)
	return p
}

func TestDecode(t *testing.T) {
	anyOf := func(v any, ok bool) any {
		if !ok {
			return nil
		}
		return v
	}
	decLink := func(b []byte) any { v, ok := decodeLink(b); return anyOf(v, ok) }
	decAddress := func(b []byte) any { v, ok := decodeAddress(b); return anyOf(v, ok) }
	decRoute := func(b []byte) any { v, ok := decodeRoute(b); return anyOf(v, ok) }
	decNeighbor := func(b []byte) any { v, ok := decodeNeighbor(b); return anyOf(v, ok) }
	decRule := func(b []byte) any { v, ok := decodeRule(b); return anyOf(v, ok) }
	with := func(p payload, at int, v byte) payload {
		p = append(payload(nil), p...)
		p[at] = v
		return p
	}
	routeBody, neighborBody := built(encodeRoute(hostRoute, false, fixed)), built(encodeNeighbor(hostNeighbor, false, fixed))
	group := hostNeighbor
	group.MAC = model.Broadcast
	multicast := hostNeighbor
	multicast.Addr = netip.MustParseAddr("224.0.0.22")
	for _, c := range []struct {
		name   string
		decode func([]byte) any
		body   payload
		want   any
	}{
		{"link", decLink, linkMessage(), link{index: 3, name: "A1", adminUp: true, carrier: true, protoDown: true, mac: macOne, master: 9, kind: "veth"}},
		{"link as a bridge port", decLink, with(linkMessage(), 0, unix.AF_BRIDGE), nil},
		{"link without a name", decLink, linkHeader(unix.AF_UNSPEC, 3, 0, 0), nil},
		{"address", decAddress, built(encodeAddress(ownAddress, false, fixed)), address{index: 3, prefix: ownAddress.Prefix, noPrefixRoute: true}},
		{"IPv6 address", decAddress, with(built(encodeAddress(ownAddress, false, fixed)), 0, unix.AF_INET6), nil},
		{"host route", decRoute, routeBody, route{table: 20101, prefix: hostRoute.Prefix, protocol: mark, hops: []hop{{index: 3}}}},
		{"IPv6 route", decRoute, with(routeBody, 0, unix.AF_INET6), nil},
		{"local route", decRoute, with(routeBody, 7, unix.RTN_LOCAL), nil},
		{"unreachable route", decRoute, with(routeBody, 7, unix.RTN_UNREACHABLE), route{table: 20101, prefix: hostRoute.Prefix, protocol: mark, blackhole: true}},
		{"cloned route", decRoute, with(routeBody, 9, unix.RTM_F_CLONED>>8), nil},
		{"prefix longer than an address", decRoute, with(routeBody, 1, 33), nil},
		{"default route over two", decRoute, built(encodeRoute(defaultRoute, false, fixed)), route{table: 254, prefix: defaultRoute.Prefix,
			metric: 20, protocol: mark, hops: []hop{{index: 2, via: defaultRoute.NextHop.Via}, {index: 3, via: defaultRoute.More[0].Via}}}},
		{"default route by an IPv6 next hop, link down", decRoute, via6(), route{table: 254, prefix: defaultRoute.Prefix,
			protocol: unix.RTPROT_BGP, hops: []hop{{index: 2, via: netip.MustParseAddr("fe80::1"), down: true}}}},
		{"neighbour", decNeighbor, neighborBody, neighbor{index: 3, addr: hostNeighbor.Addr, mac: macTwo, state: unix.NUD_PERMANENT, flags: unix.NTF_EXT_LEARNED, mark: mark}},
		{"forwarding entry", decNeighbor, with(neighborBody, 0, unix.AF_BRIDGE), nil},
		{"broadcast neighbour", decNeighbor, built(encodeNeighbor(group, false, fixed)), nil},
		{"multicast neighbour", decNeighbor, built(encodeNeighbor(multicast, false, fixed)), nil},
		{"rule", decRule, built(encodeRule(ingressRule, false)), rule{priority: 1000, protocol: mark, iif: "A0", to: ingressRule.To, table: 254, suppress: 24}},
		{"goto rule", decRule, with(built(encodeRule(ingressRule, false)), 7, unix.FR_ACT_GOTO), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := append(compareAddrs, cmp.AllowUnexported(link{}, address{}, neighbor{}, rule{}))
			if diff := cmp.Diff(c.want, c.decode(c.body), opts...); diff != "" {
				t.Errorf("decoded (-want +have):\n%s", diff)
			}
			for n := range c.body { // cut short anywhere
				c.decode(c.body[:n])
			}
		})
	}
}

// This machine's kernel may have no bond: what one says of itself.
func TestDecodeLink_Bond_TellsItsActiveSlave(t *testing.T) {
	info := func(kind string) []byte {
		var data payload
		data.u32(unix.IFLA_BOND_ACTIVE_SLAVE, 3)
		var info payload
		info.text(unix.IFLA_INFO_KIND, kind)
		info.attr(unix.IFLA_INFO_DATA, data)
		p := linkHeader(unix.AF_UNSPEC, 7, 0, 0)
		p.text(unix.IFLA_IFNAME, "bond0")
		p.attr(unix.IFLA_LINKINFO, info)
		return p
	}
	if l, ok := decodeLink(info("bond")); !ok || l.active != 3 {
		t.Errorf("%+v, %t", l, ok)
	}
	if l, ok := decodeLink(info("vlan")); !ok || l.active != 0 {
		t.Errorf("%+v, %t: no bond", l, ok)
	}
	m := aMirror()
	m.scope = newScope(Options{Ports: []model.Port{"bond0"}})
	s := m.reset(census{links: []link{{index: 7, name: "bond0", kind: "bond", active: 3}, {index: 3, name: "eth1", master: 7}, {index: 9, name: "bond1", kind: "bond", active: 3}}}, "start")
	if want := (step.BondActive{Bond: "bond0", Active: "eth1"}); len(s.Bonds) != 1 || s.Bonds[0] != want {
		t.Errorf("bonds %v, want %v", s.Bonds, want)
	}
}

func TestEncode_BondActive(t *testing.T) {
	p := encodeBondActive(7, 3)
	if p.msg.Header.Type != unix.RTM_NEWLINK || number(p.msg.Data[4:8]) != 7 {
		t.Fatalf("message is %+v", p.msg)
	}
	kind, active := "", uint32(0)
	for outer, data := range attributes(p.msg.Data[unix.SizeofIfInfomsg:]) {
		if outer != unix.IFLA_LINKINFO {
			t.Errorf("attribute %d", outer)
		}
		for k, data := range attributes(data) {
			switch k {
			case unix.IFLA_INFO_KIND:
				kind = text(data)
			case unix.IFLA_INFO_DATA:
				for k, data := range attributes(data) {
					if k == unix.IFLA_BOND_ACTIVE_SLAVE {
						active = number(data)
					}
				}
			}
		}
	}
	if kind != "bond" || active != 3 {
		t.Errorf("kind %q, active slave %d", kind, active)
	}
}

func FuzzDecodeLink(f *testing.F) {
	f.Add([]byte(linkMessage()))
	f.Add([]byte(linkMessage())[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, ok := decodeLink(b); ok && (l.index <= 0 || l.name == "") {
			t.Errorf("accepted %+v", l)
		}
	})
}

func FuzzDecodeAddress(f *testing.F) {
	f.Add([]byte(built(encodeAddress(ownAddress, false, fixed))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := decodeAddress(b); ok && !a.prefix.IsValid() {
			t.Errorf("accepted %+v", a)
		}
	})
}

func FuzzDecodeRoute(f *testing.F) {
	f.Add([]byte(built(encodeRoute(hostRoute, false, fixed))))
	f.Add([]byte(built(encodeRoute(defaultRoute, false, fixed))))
	f.Add([]byte(built(encodeRoute(step.Route{Prefix: hostRoute.Prefix, Blackhole: true}, false, fixed))))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := decodeRoute(b)
		if ok && (!r.prefix.IsValid() || r.blackhole && len(r.hops) > 0) {
			t.Errorf("accepted %+v", r)
		}
		if ok { // and the mirror stands it
			m := &mirror{scope: newScope(Options{WatchTables: []uint32{254}}), links: newLinkTable(nil), routes: map[routeKey]step.RouteState{},
				plain: newPlainRoutes()}
			m.onRoute(r, true, false)
		}
	})
}

func FuzzDecodeNexthop(f *testing.F) {
	f.Add(append(make([]byte, nexthopSize), 8, 0, nexthopID, 0, 7, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, ok := decodeNexthop(b); ok != (id != 0) {
			t.Errorf("id %d, ok %v", id, ok)
		}
	})
}

func FuzzDecodeNeighbor(f *testing.F) {
	f.Add([]byte(built(encodeNeighbor(hostNeighbor, false, fixed))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, ok := decodeNeighbor(b); ok && !n.addr.Is4() {
			t.Errorf("accepted %+v", n)
		}
	})
}

func FuzzDecodeRule(f *testing.F) {
	f.Add([]byte(built(encodeRule(ingressRule, false))))
	f.Add([]byte(built(encodeRule(step.Rule{Priority: 1, SuppressPrefixLen: -1, Blackhole: true}, false))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := decodeRule(b); ok && r.suppress < -1 && r.blackhole && r.to.IsValid() && !r.to.Addr().Is4() {
			t.Errorf("accepted %+v", r)
		}
	})
}
