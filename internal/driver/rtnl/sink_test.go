package rtnl

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

var compareAddrs = cmp.Options{cmp.AllowUnexported(route{}, hop{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()}

var (
	macOne = model.MAC{2, 0, 0, 0, 0, 1}
	macTwo = model.MAC{2, 0, 0, 0, 0, 2}
)

func TestApply_Route_EveryForm(t *testing.T) {
	k := newKernel(t)
	k.veth("ra", "ra-p")
	k.veth("rb", "rb-p")
	d := newDriver(t, Options{})
	apply(t, d, step.Address{Port: "ra", Prefix: prefix("172.31.1.2/30")}, step.Address{Port: "rb", Prefix: prefix("172.31.2.2/30")})
	a, b := k.index("ra"), k.index("rb")
	viaA := step.NextHop{Dev: "ra", Via: addr("172.31.1.1")}
	viaB := step.NextHop{Dev: "rb", Via: addr("172.31.2.1")}
	for _, c := range []struct {
		name string
		want step.Route
		have route
	}{
		{"host on a port", step.Route{Prefix: prefix("10.10.10.2/32"), NextHop: step.NextHop{Dev: "ra"}},
			route{table: 254, hops: []hop{{index: a}}}},
		{"moved to another port by one replace", step.Route{Prefix: prefix("10.10.10.2/32"), NextHop: step.NextHop{Dev: "rb"}},
			route{table: 254, hops: []hop{{index: b}}}},
		{"by a gateway in its own table", step.Route{Table: 20101, Prefix: prefix("10.10.10.3/32"), NextHop: viaA},
			route{table: 20101, hops: []hop{{index: a, via: viaA.Via}}}},
		{"default over two uplinks", step.Route{Prefix: prefix("0.0.0.0/0"), Metric: 20, NextHop: viaA, More: []step.NextHop{viaB}},
			route{table: 254, metric: 20, hops: []hop{{index: a, via: viaA.Via}, {index: b, via: viaB.Via}}}},
		{"default over one", step.Route{Prefix: prefix("0.0.0.0/0"), Metric: 20, NextHop: viaB},
			route{table: 254, metric: 20, hops: []hop{{index: b, via: viaB.Via}}}},
		{"blackhole", step.Route{Table: 20199, Prefix: prefix("10.10.10.0/24"), Metric: 4278198272, Blackhole: true},
			route{table: 20199, metric: 4278198272, blackhole: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			apply(t, d, c.want)
			apply(t, d, c.want) // again is no error
			c.have.prefix, c.have.protocol = c.want.Prefix, mark
			have, _ := k.route(c.have.table, c.want.Prefix.String())
			if diff := cmp.Diff(c.have, have, compareAddrs); diff != "" {
				t.Errorf("route in the kernel (-want +have):\n%s", diff)
			}
		})
	}
	for _, r := range []step.Route{{Prefix: prefix("10.10.10.2/32")}, {Table: 20101, Prefix: prefix("10.10.10.3/32")},
		{Prefix: prefix("0.0.0.0/0"), Metric: 20}, {Table: 20199, Prefix: prefix("10.10.10.0/24"), Metric: 4278198272, Blackhole: true}} {
		applyAbsent(t, d, r)
		applyAbsent(t, d, r) // absent already
		applyAbsent(t, d, step.Route{Table: 4711, Prefix: r.Prefix})
	}
	for _, r := range k.routes() {
		if r.protocol == mark {
			t.Errorf("still there: %+v", r)
		}
	}
}

func TestApply_RouteOfAnother_IsNotDeleted(t *testing.T) {
	k := newKernel(t)
	k.veth("fa", "fa-p")
	d := newDriver(t, Options{})
	foreign(k, "10.9.9.9/32", "fa", unix.RTPROT_STATIC, 0, false)
	applyAbsent(t, d, step.Route{Prefix: prefix("10.9.9.9/32"), NextHop: step.NextHop{Dev: "fa"}})
	if _, ok := k.route(254, "10.9.9.9/32"); !ok {
		t.Error("a route without our mark was deleted")
	}
}

// foreign sets or deletes a route of another protocol.
func foreign(k kernel, dst string, dev model.Port, protocol uint8, metric uint32, absent bool) {
	k.Helper()
	o := step.Route{Prefix: prefix(dst), Metric: metric, NextHop: step.NextHop{Dev: dev}}
	req, err := encodeRoute(o, absent, func(p model.Port) (int, error) { return k.index(p), nil })
	if err != nil {
		k.Fatal(err)
	}
	req.msg.Data[5] = protocol
	k.do(req)
}

func TestApply_Neighbor_IsNoARPAndExternallyLearned(t *testing.T) {
	k := newKernel(t)
	k.veth("na", "na-p")
	d := newDriver(t, Options{})
	host := step.Neighbor{Port: "na", Addr: addr("10.10.10.2"), MAC: macOne}
	read := func() (found []neighbor) {
		all, err := dumpAll(k.requester, "neighbours", unix.RTM_GETNEIGH, neighborHeader(unix.AF_INET, 0, 0, 0), decodeNeighbor)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range all {
			if n.addr == host.Addr {
				found = append(found, n)
			}
		}
		return found
	}
	for _, mac := range []model.MAC{macOne, macTwo, macTwo} {
		host.MAC = mac
		apply(t, d, host)
		want := neighbor{index: k.index("na"), addr: host.Addr, mac: mac, state: unix.NUD_PERMANENT, flags: unix.NTF_EXT_LEARNED, mark: mark}
		if have := read(); len(have) != 1 || have[0] != want {
			t.Errorf("neighbour is %+v, want %+v", have, want)
		}
	}
	applyAbsent(t, d, host)
	applyAbsent(t, d, host)
	applyAbsent(t, d, step.Neighbor{Port: "none-such", Addr: host.Addr})
	if have := read(); len(have) != 0 {
		t.Errorf("still there: %+v", have)
	}
}

func TestApply_Rule_OnceEach(t *testing.T) {
	k := newKernel(t)
	d := newDriver(t, Options{})
	rules := []step.Rule{
		{Priority: 1000, IIF: "A0", To: prefix("10.10.10.0/24"), Table: 254, SuppressPrefixLen: 24},
		{Priority: 1001, IIF: "A0", To: prefix("10.10.10.0/24"), SuppressPrefixLen: -1, Blackhole: true},
		{Priority: 2000, To: prefix("10.10.10.0/24"), Table: 20101, SuppressPrefixLen: -1},
		{Priority: 2001, Table: 20102, SuppressPrefixLen: 0},
	}
	read := func() (have []step.Rule) {
		c, err := d.census(scope{})
		if err != nil {
			t.Fatal(err)
		}
		m := &mirror{links: newLinkTable(nil)}
		return m.snapshot(census{rules: c.rules}, "").Rules
	}
	for _, r := range rules {
		apply(t, d, r)
		apply(t, d, r)
	}
	if diff := cmp.Diff(rules, read(), compareAddrs); diff != "" {
		t.Errorf("rules in the kernel (-want +have):\n%s", diff)
	}
	for i, r := range rules {
		applyAbsent(t, d, r)
		applyAbsent(t, d, r)
		if have := read(); len(have) != len(rules)-i-1 || slices.Contains(have, r) {
			t.Errorf("after deleting %s: %v", r, have)
		}
	}
	_ = k
}

func TestApply_AddressAndHardwareAddress(t *testing.T) {
	k := newKernel(t)
	k.veth("aa", "aa-p")
	d := newDriver(t, Options{Ports: []model.Port{"aa"}})
	a := step.Address{Port: "aa", Prefix: prefix("10.10.10.254/32"), NoPrefixRoute: true}
	apply(t, d, a, step.HardwareAddress{Port: "aa", MAC: macOne})
	apply(t, d, a, step.HardwareAddress{Port: "aa", MAC: macOne})
	if l := k.link("aa"); l.mac != macOne {
		t.Errorf("hardware address is %s", l.mac)
	}
	read := func() (have []step.Address) {
		c, err := d.census(scope{})
		if err != nil {
			t.Fatal(err)
		}
		m := d.mirrorForTest()
		return m.reset(c, "").Addresses
	}
	if have := read(); len(have) != 1 || have[0] != a {
		t.Errorf("addresses are %v, want %v", have, a)
	}
	applyAbsent(t, d, a, step.HardwareAddress{Port: "aa"})
	applyAbsent(t, d, a, step.Address{Port: "none-such", Prefix: a.Prefix})
	if have := read(); len(have) != 0 {
		t.Errorf("still there: %v", have)
	}
}

func (d *Driver) mirrorForTest() *mirror {
	return &mirror{scope: newScope(d.opts), links: d.links, sight: d.gates.sight}
}

func TestApply_SameHardwareAddress_KeepsNeighbors(t *testing.T) {
	k := newKernel(t)
	k.veth("ka", "ka-p")
	d := newDriver(t, Options{Ports: []model.Port{"ka"}})
	apply(t, d, step.HardwareAddress{Port: "ka", MAC: macOne}, step.Neighbor{Port: "ka", Addr: addr("10.10.10.2"), MAC: macTwo})
	apply(t, d, step.HardwareAddress{Port: "ka", MAC: macOne})
	c, err := d.census(scope{})
	if err != nil {
		t.Fatal(err)
	}
	if s := d.mirrorForTest().reset(c, ""); len(s.Neighbors) != 1 {
		t.Errorf("neighbours are %v", s.Neighbors)
	}
}

func TestApply_Bridge_FDBMovesByOneReplaceAndPortFlags(t *testing.T) {
	k := newKernel(t)
	k.newLink("br", "bridge", 0, nil, nil)
	k.veth("b0", "b0-p")
	k.veth("b1", "b1-p")
	k.master("b0", "br")
	k.master("b1", "br")
	k.up("br")
	d := newDriver(t, Options{})
	at := func() model.Port {
		p := neighborHeader(unix.AF_BRIDGE, 0, 0, 0)
		p.attr(unix.NDA_LLADDR, macOne[:])
		p.u32(unix.NDA_MASTER, uint32(k.index("br")))
		msgs, err := k.get(unix.RTM_GETNEIGH, p)
		if errors.Is(err, unix.ENOENT) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		if state := number(msgs[0].Data[8:10]); state != unix.NUD_NOARP {
			t.Errorf("entry is not static: state %#x", state)
		}
		return d.links.name(int(number(msgs[0].Data[4:8])))
	}
	for _, port := range []model.Port{"b0", "b1", "b1", "b0"} {
		apply(t, d, step.FDB{Bridge: "br", MAC: macOne, Port: port})
		if have := at(); have != port {
			t.Errorf("entry is at %q, want %s", have, port)
		}
	}
	for _, port := range []model.Port{"b0-p", "b1", "b1-p"} {
		k.up(port)
	}
	k.up("b0")
	sendFrom(t, k.index("b1-p"), macOne) // a port that learns hears this MAC
	if have := at(); have != "b0" {
		t.Errorf("a frame moved the entry to %s", have)
	}
	applyAbsent(t, d, step.FDB{Bridge: "br", MAC: macOne, Port: "b1"}) // its identity does not depend on the port
	applyAbsent(t, d, step.FDB{Bridge: "br", MAC: macOne, Port: "b1"})
	if have := at(); have != "" {
		t.Errorf("entry is still at %s", have)
	}
	for _, o := range []step.BridgePort{{Port: "b0", Isolated: true}, {Port: "b0", Flood: true, Learning: true}} {
		apply(t, d, o)
		for name, want := range map[string]bool{"unicast_flood": o.Flood, "multicast_flood": o.Flood, "broadcast_flood": o.Flood,
			"learning": o.Learning, "isolated": o.Isolated} {
			if have := brport(k, "b0", name); have != want {
				t.Errorf("after %s: %s is %v", o, name, have)
			}
		}
	}
}

// sendFrom sends frames with the given source by a device.
func sendFrom(t *testing.T, index int, src model.MAC) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	frame := make([]byte, 60)
	copy(frame, model.Broadcast[:])
	copy(frame[6:], src[:])
	frame[12], frame[13] = 0x88, 0xb5 // IEEE 802 local experimental
	for range 20 {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// brport reads a flag out of IFLA_LINKINFO's slave data.
func brport(k kernel, port model.Port, name string) bool {
	k.Helper()
	kinds := map[string]uint16{"unicast_flood": unix.IFLA_BRPORT_UNICAST_FLOOD, "multicast_flood": unix.IFLA_BRPORT_MCAST_FLOOD,
		"broadcast_flood": unix.IFLA_BRPORT_BCAST_FLOOD, "learning": unix.IFLA_BRPORT_LEARNING, "isolated": unix.IFLA_BRPORT_ISOLATED}
	msgs, err := k.get(unix.RTM_GETLINK, linkHeader(unix.AF_UNSPEC, k.index(port), 0, 0))
	if err != nil {
		k.Fatal(err)
	}
	for kind, data := range attributes(msgs[0].Data[unix.SizeofIfInfomsg:]) {
		if kind != unix.IFLA_LINKINFO {
			continue
		}
		for kind, data := range attributes(data) {
			if kind != unix.IFLA_INFO_SLAVE_DATA {
				continue
			}
			for kind, data := range attributes(data) {
				if kind == kinds[name] {
					return number(data) != 0
				}
			}
		}
	}
	k.Fatalf("port %s has no %s", port, name)
	return false
}

func TestApply_Sysctl(t *testing.T) {
	k := newKernel(t)
	k.veth("sa", "sa-p")
	d := newDriver(t, Options{})
	o := step.Sysctl{Path: "net/ipv4/conf/sa/rp_filter", Value: "2"}
	apply(t, d, o)
	apply(t, d, o)
	if b, err := os.ReadFile("/proc/sys/" + o.Path); err != nil || strings.TrimSpace(string(b)) != "2" {
		t.Errorf("value is %q, %v", b, err)
	}
	for path, want := range map[string]string{"net/ipv4/conf/none-such/rp_filter": "no such file", "../etc/passwd": "leaves"} {
		err := d.Apply([]step.Want{{Object: step.Sysctl{Path: path, Value: "1"}}})[0]
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error is %v", path, err)
		}
	}
}

func TestApply_Batch_EachWantHasItsOwnOutcome(t *testing.T) {
	k := newKernel(t)
	k.veth("ba", "ba-p")
	d := newDriver(t, Options{})
	const n = 3*chunkMax + 7
	wants := make([]step.Want, n)
	for i := range wants {
		wants[i].Object = step.Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32),
			NextHop: step.NextHop{Dev: "ba"}}
		switch i % 10 {
		case 3: // refused by the kernel: host bits
			wants[i].Object = step.Route{Prefix: prefix("10.1.1.1/24"), NextHop: step.NextHop{Dev: "ba"}}
		case 5: // refused by the encoder
			wants[i].Object = step.Route{Prefix: prefix("10.2.0.1/32"), NextHop: step.NextHop{Dev: "none-such"}}
		case 7:
			wants[i].Absent = true
		}
	}
	for i, err := range d.Apply(wants) {
		bad := i%10 == 3 || i%10 == 5
		if bad != (err != nil) {
			t.Errorf("want %d, %s: %v", i, wants[i], err)
		}
	}
	installed := 0
	for _, r := range k.routes() {
		if r.protocol == mark {
			installed++
		}
	}
	if want := n - n/10*3; installed != want {
		t.Errorf("%d routes installed, want %d", installed, want)
	}
}

func TestEmit_Resolve(t *testing.T) {
	k := newKernel(t)
	k.veth("ea0", "ea1")
	d := newDriver(t, Options{Ports: []model.Port{"ea0"}})
	apply(t, d, step.Address{Port: "ea0", Prefix: prefix("172.31.1.2/30")},
		step.Sysctl{Path: "net/ipv4/neigh/ea0/retrans_time_ms", Value: "20"})
	s, _ := watch(t, d)
	if handled, err := d.Emit(step.Resolve{Port: "ea0", Addr: addr("172.31.1.1")}); !handled || err != nil {
		t.Fatalf("emit: %v, %v", handled, err)
	}
	await(s, "the neighbour to fail", func(e step.NeighborChanged) bool { return e.Addr == addr("172.31.1.1") && e.Failed })
	if handled, err := d.Emit(step.SendARP{}); handled || err != nil {
		t.Errorf("took what is not its own: %v, %v", handled, err)
	}
	if _, err := d.Emit(step.Resolve{Port: "ghost", Addr: addr("172.31.1.1")}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("error is %v", err)
	}
}
