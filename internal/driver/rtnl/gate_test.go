package rtnl

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// statePath is on tmpfs where there is one, as in /run.
func statePath(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pl-test-rtnl-")
	if err != nil {
		dir = tb.TempDir()
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "closed.json")
}

func gate(tb testing.TB, d *Driver, port model.Port, closed bool) error {
	tb.Helper()
	return d.Apply([]step.Want{{Object: step.Gate{Port: port, Closed: closed}}})[0]
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func recorded(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	must(tb, err)
	return string(b)
}

func TestGate_CloseThenOpen_IsVerifiedAndRecorded(t *testing.T) {
	k := newKernel(t)
	k.veth("g0", "g0-p")
	path := statePath(t)
	d := newDriver(t, Options{Ports: []model.Port{"g0"}, StatePath: path})
	s, _ := watch(t, d)
	for range 2 { // the second time it is closed already
		must(t, gate(t, d, "g0", true))
		if !k.link("g0").down() {
			t.Fatal("port is not closed")
		}
	}
	await(s, "closed by us", func(e step.PortChanged) bool { return e.Port == "g0" && !e.AdminUp && e.Ours })
	if !strings.Contains(recorded(t, path), `"g0"`) {
		t.Errorf("state file: %s", recorded(t, path))
	}
	for range 2 {
		must(t, gate(t, d, "g0", false))
		if k.link("g0").down() {
			t.Fatal("port is not open")
		}
	}
	await(s, "open", func(e step.PortChanged) bool { return e.Up() && !e.Ours })
	if strings.Contains(recorded(t, path), `"g0"`) {
		t.Errorf("state file: %s", recorded(t, path))
	}
}

func TestGate_OurClosing_SurvivesACrash(t *testing.T) {
	k := newKernel(t)
	k.veth("c0", "c0-p")
	path := statePath(t)
	must(t, gate(t, newDriver(t, Options{StatePath: path}), "c0", true)) // and is never heard of again
	d := newDriver(t, Options{Ports: []model.Port{"c0"}, StatePath: path})
	_, first := watch(t, d)
	if !first.Ports[0].Ours {
		t.Errorf("port is %+v", first.Ports[0])
	}
	must(t, gate(t, d, "c0", false))
	if k.link("c0").down() {
		t.Error("port is not open")
	}
}

func TestGate_RecordOfAnotherTime_IsIgnored(t *testing.T) {
	k := newKernel(t)
	for name, spoil := range map[string]func(*ledgerState){
		"boot":      func(s *ledgerState) { s.Boot = "another" },
		"namespace": func(s *ledgerState) { s.Namespace++ },
		"device":    func(s *ledgerState) { s.Ports["x0"] = closure{Index: 999999, Method: adminDown} },
	} {
		t.Run(name, func(t *testing.T) {
			k.veth("x0", "x0-p")
			defer k.remove("x0")
			path := statePath(t)
			d := newDriver(t, Options{StatePath: path})
			must(t, gate(t, d, "x0", true))
			spoil(&d.gates.ledger.state)
			d.gates.ledger.dirty = true
			must(t, d.gates.ledger.save())
			err := gate(t, newDriver(t, Options{StatePath: path}), "x0", false)
			if !errors.Is(err, errOperator) || !k.link("x0").down() {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestGate_SpoiledStateFile_CountsAsTheOperators(t *testing.T) {
	k := newKernel(t)
	k.veth("y0", "y0-p")
	path := statePath(t)
	must(t, gate(t, newDriver(t, Options{StatePath: path}), "y0", true))
	must(t, os.WriteFile(path, []byte(`{"boot":`), 0o600))
	if err := gate(t, newDriver(t, Options{StatePath: path}), "y0", false); !errors.Is(err, errOperator) {
		t.Errorf("error is %v", err)
	}
}

func TestGate_UnwritableStateFile_ClosesNevertheless(t *testing.T) {
	k := newKernel(t)
	k.veth("w0", "w0-p")
	d := newDriver(t, Options{StatePath: "/none-such/closed.json"})
	must(t, gate(t, d, "w0", true))
	if !k.link("w0").down() {
		t.Error("port is not closed")
	}
	must(t, gate(t, d, "w0", false))
}

func TestGate_ClosedByTheOperator_StaysClosed(t *testing.T) {
	k := newKernel(t)
	k.veth("h0", "h0-p")
	d := newDriver(t, Options{Ports: []model.Port{"h0"}})
	s, _ := watch(t, d)
	k.down("h0")
	await(s, "the operator's closing", func(e step.PortChanged) bool { return !e.AdminUp && !e.Ours })
	must(t, gate(t, d, "h0", true)) // true already; it does not become ours
	err := gate(t, d, "h0", false)
	if !errors.Is(err, errOperator) || !strings.Contains(err.Error(), "open port h0: closed by the operator") {
		t.Errorf("error is %v", err)
	}
	if !k.link("h0").down() {
		t.Error("the operator's port was opened")
	}
}

func TestGate_OpenedByTheOperator_IsNotOursAnyMore(t *testing.T) {
	k := newKernel(t)
	k.veth("i0", "i0-p")
	d := newDriver(t, Options{Ports: []model.Port{"i0"}})
	s, _ := watch(t, d)
	must(t, gate(t, d, "i0", true))
	await(s, "our closing", func(e step.PortChanged) bool { return e.Ours })
	k.up("i0")
	await(s, "the operator's opening", func(e step.PortChanged) bool { return e.AdminUp && !e.Ours })
	k.down("i0")
	await(s, "the operator's closing", func(e step.PortChanged) bool { return !e.AdminUp && !e.Ours })
	if err := gate(t, d, "i0", false); !errors.Is(err, errOperator) {
		t.Errorf("error is %v", err)
	}
}

func TestGate_AbsentWant_LeavesThePortAsItIs(t *testing.T) {
	k := newKernel(t)
	k.veth("j0", "j0-p")
	d := newDriver(t, Options{})
	must(t, gate(t, d, "j0", true))
	applyAbsent(t, d, step.Gate{Port: "j0", Closed: true})
	if !k.link("j0").down() {
		t.Error("port was opened")
	}
	if err := gate(t, d, "j0", false); !errors.Is(err, errOperator) {
		t.Errorf("error is %v", err)
	}
}

// macvlan makes a device that takes protodown; on this kernel no other kind does.
func (k kernel) macvlan(name, low model.Port) {
	k.Helper()
	k.veth(low, low+"-p")
	var parent payload
	parent.u32(unix.IFLA_LINK, uint32(k.index(low)))
	k.newLink(name, "macvlan", 0, nil, parent)
	k.up(name)
}

func TestGate_Macvlan_IsClosedByAdminDown(t *testing.T) {
	k := newKernel(t)
	k.macvlan("mac1", "low1")
	d := newDriver(t, Options{})
	must(t, gate(t, d, "mac1", true))
	if l := k.link("mac1"); l.adminUp {
		t.Errorf("port is %+v: protodown alone lets it receive", l)
	}
	must(t, gate(t, d, "mac1", false))
}

// TestGate_ProtoDown_IsUndoneOnlyIfOurs stands in for a driver whose protodown closes: it chooses the method by hand.
func TestGate_ProtoDown_IsUndoneOnlyIfOurs(t *testing.T) {
	k := newKernel(t)
	k.macvlan("mac0", "low")
	path := statePath(t)
	d := newDriver(t, Options{Ports: []model.Port{"mac0"}, StatePath: path})
	d.gates.methods[k.index("mac0")] = protoDown
	s, _ := watch(t, d)
	must(t, gate(t, d, "mac0", true))
	if l := k.link("mac0"); !l.protoDown || !l.adminUp {
		t.Fatalf("port is %+v", l)
	}
	await(s, "protodown", func(e step.PortChanged) bool { return e.ProtoDown && e.Ours })
	d = newDriver(t, Options{Ports: []model.Port{"mac0"}, StatePath: path})
	d.gates.methods[k.index("mac0")] = protoDown
	must(t, gate(t, d, "mac0", false))
	if l := k.link("mac0"); l.down() {
		t.Errorf("port is %+v", l)
	}

	// Somebody else's reason keeps it closed, and so does the operator's admin-down.
	must(t, gate(t, d, "mac0", true))
	k.do(change(unix.RTM_SETLINK, protoDownReason(k.index("mac0"), 1, true)))
	if err := gate(t, d, "mac0", false); err == nil || !strings.Contains(err.Error(), "still closed") {
		t.Errorf("error is %v", err)
	}
	k.do(change(unix.RTM_SETLINK, protoDownReason(k.index("mac0"), 1, false)))
	k.down("mac0")
	if err := gate(t, d, "mac0", false); !errors.Is(err, errOperator) {
		t.Errorf("error is %v", err)
	}
}

// TestGate_FourPorts_AreClosedBackToBack measures what port linkage waits for: from Apply to the last port read back as closed,
// and to the carrier loss at the far end of the last one.
func TestGate_FourPorts_AreClosedBackToBack(t *testing.T) {
	k := newKernel(t)
	var ports, peers []model.Port
	var closings, openings []step.Want
	for _, n := range []string{"1", "2", "3", "4"} {
		p := model.Port("A" + n)
		k.veth(p, "C"+model.Port(n))
		ports, peers = append(ports, p), append(peers, "C"+model.Port(n))
		closings = append(closings, step.Want{Object: step.Gate{Port: p, Closed: true}, Urgent: true})
		openings = append(openings, step.Want{Object: step.Gate{Port: p}})
	}
	shm, disk := statePath(t), filepath.Join(t.TempDir(), "closed.json")
	for _, c := range []struct{ name, path string }{{"in memory", ""}, {"state file on tmpfs", shm}, {"state file on disk", disk}} {
		d := newDriver(t, Options{Ports: ports, StatePath: c.path})
		far := newDriver(t, Options{Ports: peers})
		s, _ := watch(t, far)
		var took, seen []time.Duration
		for range 15 {
			start := time.Now()
			for _, err := range d.Apply(closings) {
				must(t, err)
			}
			took = append(took, time.Since(start))
			down := map[model.Port]bool{}
			await(s, "all far ends to lose their carrier", func(e step.PortChanged) bool {
				down[e.Port] = !e.Carrier
				return len(down) == len(peers)
			})
			seen = append(seen, time.Since(start))
			for _, err := range d.Apply(openings) {
				must(t, err)
			}
			up := map[model.Port]bool{}
			await(s, "all far ends to regain it", func(e step.PortChanged) bool {
				if e.Up() {
					up[e.Port] = true
				}
				return len(up) == len(peers)
			})
		}
		slices.Sort(took)
		slices.Sort(seen)
		t.Logf("%s: 4 ports closed and verified in %v (median), %v (worst); far ends told after %v (median), %v (worst)",
			c.name, took[len(took)/2], took[len(took)-1], seen[len(seen)/2], seen[len(seen)-1])
		must(t, d.Close())
	}
}
