package lab

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
	"peerless/internal/step"
)

// wellGuests is what the daemons of `guests` show when all is well.
func wellGuests() map[string]report.State {
	var hosts []netip.Addr
	top, _ := topology.Find("guests")
	hosts = append(hosts, top.Servers[0].Hosts...)
	row := func(leafPort, role string, active bool) step.MappingRow {
		m := step.MappingRow{LeafPort: leafPort, Attachment: 1, Role: role, Uplink: "up", Downlink: "up", Active: active}
		if active {
			m.Hosts = hosts
		}
		return m
	}
	leaf := report.State{
		Sessions: []step.SessionRow{{Peer: "172.31.1.1", State: "up"}},
		Linkage:  []step.LinkageRow{{Group: "all", State: "open"}},
	}
	return map[string]report.State{
		"G": {
			Sessions: []step.SessionRow{{Peer: "172.31.1.2", Name: "A", State: "up"}, {Peer: "172.31.2.2", Name: "B", State: "up"}},
			Mapping:  []step.MappingRow{row("A1", "primary", true), row("B1", "backup", false)},
		},
		"A": leaf, "B": leaf,
		"S": {Ports: []step.PortRow{{Port: "eth0", Use: "primary", State: "up", Active: true}, {Port: "eth1", Use: "backup", State: "up"}}},
	}
}

func TestUnready_SaysWhatIsMissing(t *testing.T) {
	rows := []struct {
		name string
		mar  func(s map[string]report.State, errs map[string]error)
		want string // empty: nothing is pending
	}{
		{"all is well", func(map[string]report.State, map[string]error) {}, ""},
		{"a daemon does not answer", func(_ map[string]report.State, errs map[string]error) { errs["B"] = errors.New("ask B: refused") }, "ask B: refused"},
		{"a session is down", func(s map[string]report.State, _ map[string]error) {
			s["G"].Sessions[1].State = "down"
		}, "G: session to 172.31.2.2 (B) is down"},
		{"no session at all", func(s map[string]report.State, _ map[string]error) {
			s["G"] = report.State{Mapping: s["G"].Mapping}
		}, "G: no session"},
		{"the backup is not in the mapping", func(s map[string]report.State, _ map[string]error) {
			s["G"] = report.State{Sessions: s["G"].Sessions, Mapping: s["G"].Mapping[:1]}
		}, "G: no backup of S in the mapping"},
		{"the backup is closed", func(s map[string]report.State, _ map[string]error) {
			s["G"].Mapping[1].Downlink = "closed"
		}, "G: backup of S on B1: uplink up, downlink closed"},
		{"the primary is not in use", func(s map[string]report.State, _ map[string]error) {
			s["G"].Mapping[0].Active = false
		}, "G: primary of S on A1: active is false"},
		{"a guest is not known", func(s map[string]report.State, _ map[string]error) {
			s["G"].Mapping[0].Hosts = slices.DeleteFunc(slices.Clone(s["G"].Mapping[0].Hosts), func(a netip.Addr) bool { return a == netip.MustParseAddr("10.10.10.12") })
		}, "G: host 10.10.10.12 is not behind A1"},
		{"a linkage group is closed", func(s map[string]report.State, _ map[string]error) {
			s["A"].Linkage[0].State = "closed"
		}, "A: linkage group all is closed"},
		{"the server uses its backup", func(s map[string]report.State, _ map[string]error) {
			s["S"].Ports[0].Active = false
		}, "S: primary link eth0 is not in use (up)"},
	}
	top, _ := topology.Find("guests")
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			states, errs := wellGuests(), map[string]error{}
			// A and B share their rows in wellGuests: give A its own
			a := states["A"]
			a.Linkage = slices.Clone(a.Linkage)
			states["A"] = a
			r.mar(states, errs)
			got := unready(top, states, errs)
			if r.want == "" && len(got) > 0 || r.want != "" && !slices.Contains(got, r.want) {
				t.Errorf("got %q, want %q", strings.Join(got, "; "), r.want)
			}
		})
	}
}

func TestMappingOf_TellsAMovedServer(t *testing.T) {
	top, _ := topology.Find("guests")
	before := wellGuests()
	after := wellGuests()
	after["G"].Mapping[0].Active, after["G"].Mapping[1].Active = false, true
	if mappingOf(top, before) != mappingOf(top, wellGuests()) {
		t.Error("equal mappings differ")
	}
	if mappingOf(top, before) == mappingOf(top, after) {
		t.Error("a server that moved is not noticed")
	}
}

func TestMedian_IsAMeasuredValue(t *testing.T) {
	rows := []struct {
		name string
		v    []float64
		want float64
	}{
		{"nothing", nil, 0},
		{"one", []float64{3}, 3},
		{"odd", []float64{9, 1, 2}, 2},
		{"even takes the higher", []float64{4, 1, 2, 3}, 3},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if got := median(r.v); got != r.want {
				t.Errorf("got %v, want %v", got, r.want)
			}
		})
	}
}
