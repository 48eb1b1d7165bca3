package rtnl

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// kept are the options of a driver that records everything in a directory.
func kept(dir string) Options {
	return Options{StatePath: filepath.Join(dir, "x.ports"), BeforePath: filepath.Join(dir, "x.before")}
}

func setSysctl(t *testing.T, path, value string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(sysctlRoot, path), []byte(value), 0))
}

func sysctlNow(t *testing.T, path string) string {
	t.Helper()
	v, err := readSysctl(path)
	must(t, err)
	return v
}

func TestUninstall_AfterACrash_PutsBackWhatWas(t *testing.T) {
	k := newKernel(t)
	for _, p := range []model.Port{"u0", "u1", "u2"} {
		k.veth(p, p+"-p")
	}
	k.newLink("ubr", "bridge", 0, nil, nil)
	k.master("u1", "ubr")
	k.master("u2", "ubr")
	k.up("ubr")
	k.do(encodeBridgeFlags(k.index("u1"), bridgeFlags{Unicast: true, Learning: true}))
	k.do(encodeFDB(macOne, k.index("u2"), false))
	paths := []string{"net/ipv4/ip_forward", "net/ipv4/conf/all/accept_redirects", "net/ipv4/conf/u0/forwarding",
		"net/ipv4/conf/u1/forwarding", "net/ipv4/conf/u0/rp_filter"}
	setSysctl(t, "net/ipv4/ip_forward", "0")
	setSysctl(t, "net/ipv4/conf/all/accept_redirects", "0")
	setSysctl(t, "net/ipv4/conf/u1/forwarding", "1")
	setSysctl(t, "net/ipv4/conf/u0/rp_filter", "2")
	read := func() map[string]any {
		out := map[string]any{"link": k.link("u0").mac, "up": k.link("u0").adminUp}
		for _, p := range paths {
			out[p] = sysctlNow(t, p)
		}
		for _, p := range []model.Port{"u1", "u2"} {
			f, err := readBridgeFlags(k.requester, p)
			must(t, err)
			out["bridge flags of "+string(p)] = f
		}
		d := newDriver(t, Options{})
		for _, mac := range []model.MAC{macOne, macTwo} {
			e, found, err := d.readEntry(k.index("ubr"), mac)
			must(t, err)
			out["entry "+mac.String()] = []any{found, e.index, e.State}
		}
		kind, err := d.addressKind(k.index("u0"), step.Address{Port: "u0", Prefix: prefix("10.10.10.254/32")})
		must(t, err)
		out["address"] = kind
		return out
	}
	before := read()
	dir := filepath.Dir(statePath(t))
	objects := []step.Object{
		step.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"}, step.Sysctl{Path: "net/ipv4/conf/u0/rp_filter", Value: "0"},
		step.HardwareAddress{Port: "u0", MAC: macTwo}, step.Address{Port: "u0", Prefix: prefix("10.10.10.254/32"), NoPrefixRoute: true},
		step.Neighbor{Port: "u0", Addr: addr("10.10.10.1"), MAC: macOne}, step.Route{Prefix: prefix("10.10.10.1/32"), NextHop: step.NextHop{Dev: "u0"}},
		step.Route{Table: 20100, Prefix: prefix("10.10.10.0/24"), Metric: 5, Blackhole: true},
		step.Rule{Priority: 1000, IIF: "u0", To: prefix("10.10.10.0/24"), Table: 254, SuppressPrefixLen: 24},
		step.Rule{Priority: 1001, IIF: "u0", To: prefix("10.10.10.0/24"), SuppressPrefixLen: -1, Blackhole: true},
		step.BridgePort{Port: "u1", Isolated: true}, step.BridgePort{Port: "u2", Flood: true, Isolated: true},
		step.FDB{Bridge: "ubr", MAC: macOne, Port: "u1"}, step.FDB{Bridge: "ubr", MAC: macTwo, Port: "u2"},
	}
	for range 2 { // the second is another life after a crash: what it finds is not what was before
		apply(t, newDriver(t, kept(dir)), objects...)
	}
	must(t, gate(t, newDriver(t, kept(dir)), "u0", true))
	if cmp.Equal(before, read()) {
		t.Fatal("nothing was changed: the test proves nothing")
	}
	done, err := newDriver(t, kept(dir)).Uninstall(false)
	must(t, err)
	if diff := cmp.Diff(before, read()); diff != "" {
		t.Errorf("not as before (-before +after):\n%s", diff)
	}
	if done.Rules != 2 || done.Opened != 1 || done.Hardware != 1 || done.Entries != 2 || done.Bridged != 2 || len(done.Left) != 0 {
		t.Errorf("done: %+v", done)
	}
	for _, r := range k.routes() {
		if r.protocol == mark {
			t.Errorf("route left: %+v", r)
		}
	}
	rules, err := dumpAll(k.requester, "rules", unix.RTM_GETRULE, make(payload, unix.SizeofRtMsg).inet(), decodeRule)
	must(t, err)
	for _, r := range rules {
		if r.protocol == mark {
			t.Errorf("rule left: %+v", r)
		}
	}
}

func TestUninstall_Neighbours_OnlyOursGo(t *testing.T) {
	k := newKernel(t)
	k.veth("v0", "v0-p")
	d := newDriver(t, kept(filepath.Dir(statePath(t))))
	apply(t, d, step.Neighbor{Port: "v0", Addr: addr("10.10.10.1"), MAC: macOne})
	foreign := neighborHeader(unix.AF_INET, k.index("v0"), unix.NUD_NOARP, unix.NTF_EXT_LEARNED)
	foreign.addr(unix.NDA_DST, addr("10.10.10.2"))
	foreign.attr(unix.NDA_LLADDR, macTwo[:])
	k.do(choose(false, unix.RTM_NEWNEIGH, 0, foreign))
	done, err := d.Uninstall(false)
	must(t, err)
	all, err := dumpAll(k.requester, "neighbours", unix.RTM_GETNEIGH, neighborHeader(unix.AF_INET, 0, 0, 0), decodeNeighbor)
	must(t, err)
	var left []string
	for _, n := range all {
		if n.index == k.index("v0") {
			left = append(left, n.addr.String())
		}
	}
	if done.Neighbors != 1 || strings.Join(left, " ") != "10.10.10.2" {
		t.Errorf("%d deleted, left: %v", done.Neighbors, left)
	}
}

func TestUninstall_ChangedByOthersSince_IsLeft(t *testing.T) {
	k := newKernel(t)
	k.veth("w1", "w1-p")
	k.veth("w2", "w2-p")
	d := newDriver(t, kept(filepath.Dir(statePath(t))))
	apply(t, d, step.Sysctl{Path: "net/ipv4/conf/w1/rp_filter", Value: "2"}, step.HardwareAddress{Port: "w1", MAC: macTwo})
	must(t, gate(t, d, "w2", true))
	setSysctl(t, "net/ipv4/conf/w1/rp_filter", "1")
	k.do(encodeHardwareAddress(k.index("w1"), macOne))
	must(t, d.gates.openPort("w2"))
	k.down("w2") // the operator's
	done, err := d.Uninstall(false)
	must(t, err)
	if len(done.Left) != 2 || sysctlNow(t, "net/ipv4/conf/w1/rp_filter") != "1" || k.link("w1").mac != macOne || k.link("w2").adminUp {
		t.Errorf("%+v", done)
	}
}

// A value that we set twice, to other things, has been one before both; what somebody sets in between is his.
func TestUninstall_SeveralValuesOfOurs_GoBackToTheFirst(t *testing.T) {
	k := newKernel(t)
	k.veth("s1", "s1-p")
	dir := filepath.Dir(statePath(t))
	const path = "net/ipv4/conf/s1/arp_ignore"
	for _, value := range []string{"1", "8", "1", "8"} {
		apply(t, newDriver(t, kept(dir)), step.Sysctl{Path: path, Value: value})
	}
	was := k.link("s1").mac
	for _, mac := range []model.MAC{macOne, macTwo} {
		apply(t, newDriver(t, kept(dir)), step.HardwareAddress{Port: "s1", MAC: mac})
	}
	_, err := newDriver(t, kept(dir)).Uninstall(false)
	must(t, err)
	if got := sysctlNow(t, path); got != "0" || k.link("s1").mac != was {
		t.Errorf("arp_ignore %s, hardware address %s", got, k.link("s1").mac)
	}
	apply(t, newDriver(t, kept(dir)), step.Sysctl{Path: path, Value: "1"})
	setSysctl(t, path, "2")
	apply(t, newDriver(t, kept(dir)), step.Sysctl{Path: path, Value: "1"})
	_, err = newDriver(t, kept(dir)).Uninstall(false)
	must(t, err)
	if got := sysctlNow(t, path); got != "2" {
		t.Errorf("arp_ignore %s", got)
	}
}

func TestUninstall_DeviceMadeAnew_IsAnother(t *testing.T) {
	k := newKernel(t)
	k.veth("y1", "y1-p")
	dir := filepath.Dir(statePath(t))
	apply(t, newDriver(t, kept(dir)), step.HardwareAddress{Port: "y1", MAC: macTwo}, step.Sysctl{Path: "net/ipv4/conf/y1/rp_filter", Value: "2"})
	k.remove("y1")
	k.veth("y1", "y1-p")
	k.do(encodeHardwareAddress(k.index("y1"), macTwo)) // whoever did that, it was not us
	setSysctl(t, "net/ipv4/conf/y1/rp_filter", "2")
	done, err := newDriver(t, kept(dir)).Uninstall(false)
	must(t, err)
	if done.Hardware != 0 || done.Sysctls != 0 || k.link("y1").mac != macTwo {
		t.Errorf("%+v", done)
	}
}

func TestUninstall_RecordOfAnotherNamespace_IsElsewhere(t *testing.T) {
	k := newKernel(t)
	k.veth("z1", "z1-p")
	dir := filepath.Dir(statePath(t))
	d := newDriver(t, kept(dir))
	if d.Elsewhere() {
		t.Error("without a record it is elsewhere")
	}
	apply(t, d, step.HardwareAddress{Port: "z1", MAC: macTwo})
	if d.Elsewhere() {
		t.Error("the record is ours")
	}
	d.before.state.Namespace++
	d.before.dirty = true
	must(t, d.before.save())
	if !newDriver(t, kept(dir)).Elsewhere() {
		t.Error("a record of another namespace is taken for one of here")
	}
}

func TestRemember_WriteFails_ChangesNevertheless(t *testing.T) {
	k := newKernel(t)
	k.veth("q1", "q1-p")
	d := newDriver(t, Options{BeforePath: "/none-such/x.before"})
	apply(t, d, step.HardwareAddress{Port: "q1", MAC: macTwo})
	if k.link("q1").mac != macTwo {
		t.Error("the change waits for its record")
	}
	if _, err := readState(filepath.Join(t.TempDir(), "none"), nil); err != nil {
		t.Errorf("no file: %v", err)
	}
	spoiled := filepath.Join(t.TempDir(), "x.before")
	must(t, os.WriteFile(spoiled, []byte("{"), 0o600))
	if _, err := readState(spoiled, &beforeState{}); !errors.Is(err, errSpoiled) {
		t.Errorf("spoiled: %v", err)
	}
	newDriver(t, Options{BeforePath: spoiled}) // starts nevertheless
}
