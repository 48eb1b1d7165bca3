package topology_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerless/internal/config"
	"peerless/internal/lab/topology"
)

func TestTopologies_AsShipped_AreValid(t *testing.T) {
	for _, top := range topology.All() {
		t.Run(top.Name, func(t *testing.T) {
			if err := top.Validate(); err != nil {
				t.Fatal(err)
			}
			var faults []string
			for _, f := range top.Faults {
				faults = append(faults, f.Name)
			}
			want := []string{"server-link", "server-link-restore", "gateway-link", "gateway-link-restore"}
			if d := cmp.Diff(want, faults); d != "" {
				t.Errorf("faults (-want +got):\n%s", d)
			}
		})
	}
}

func TestTopologies_OfBonds_AreValidAndFound(t *testing.T) {
	for _, top := range topology.Bonded() {
		if err := top.Validate(); err != nil {
			t.Error(err)
		}
		if got, ok := topology.Find(top.Name); !ok || got.Name != top.Name {
			t.Errorf("%s is not found", top.Name)
		}
		for _, f := range top.Faults {
			if f.Mends == "" == strings.HasSuffix(f.Name, "-restore") {
				t.Errorf("%s: %s mends %q", top.Name, f.Name, f.Mends)
			}
		}
	}
}

func TestTopologies_Configs_AreAcceptedByTheDaemon(t *testing.T) {
	for _, top := range append(topology.All(), topology.Bonded()...) {
		for _, n := range top.Daemons() {
			t.Run(top.Name+"/"+n.Name, func(t *testing.T) {
				if _, err := config.Parse(n.Name+".yaml", []byte(n.Config)); err != nil {
					t.Fatalf("%v\n%s", err, n.Config)
				}
			})
		}
	}
}

func TestFaults_ConcernedFlows_AreAFixedList(t *testing.T) {
	rows := []struct {
		topology, fault, action, flows string
	}{
		{"fig4", "server-link", "S1-A2 down", "G->S1 S1->G S1->S2 S2->S1"},
		{"fig4", "gateway-link", "G-A1 down", "G->S1 S1->G S1->S2 S2->S1"},
		{"fig7", "server-link", "C2-A2 down", "G->C2 C2->G C1->C2 C4->C2"},
		{"fig7", "gateway-link", "G-A0 down", "G->C1 G->C2 C1->G C2->G C1->C2 C1->C3 C4->C2"},
		{"guests", "server-link", "S-A1 down", "G->S G->V1 G->V2 G->V3 S->G V1->G V2->G V3->G"},
		{"guests", "gateway-link-restore", "G-A0 up", "G->S G->V1 G->V2 G->V3 S->G V1->G V2->G V3->G"},
		{"two-gateways", "server-link", "C2-A2 down", "G1->C2 G2->C2 C2->G1|G2 C1->C2 C4->C2"},
		{"two-gateways", "gateway-link", "G1-A0 down", "G1->C1 G1->C2 C1->G1|G2 C2->G1|G2 C1->C3 C4->C2"},
	}
	for _, r := range rows {
		t.Run(r.topology+"/"+r.fault, func(t *testing.T) {
			top, ok := topology.Find(r.topology)
			if !ok {
				t.Fatal("no such topology")
			}
			f, ok := top.Fault(r.fault)
			if !ok {
				t.Fatal("no such fault")
			}
			if d := cmp.Diff(r.action, f.Action); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(r.flows, strings.Join(f.Concerned, " ")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestValidate_Contradictions_AreNamed(t *testing.T) {
	rows := []struct {
		name string
		mar  func(*topology.Topology)
		want string
	}{
		{"a port in two links", func(t *topology.Topology) { t.Links = append(t.Links, t.Links[0]) }, "is there twice"},
		{"a link to nowhere", func(t *topology.Topology) { t.Links[0].A.Node = "X" }, "no node X"},
		{"a flow from an address nobody has", func(t *topology.Topology) { t.Flows[0].Source = t.Flows[0].Dest }, "has no address"},
		{"a flow that nobody receives", func(t *topology.Topology) { t.Flows[0].Receivers = nil }, "nobody receives it"},
		{"a fault on a port that is not there", func(t *topology.Topology) { t.Faults[0].Ops[0].At.Port = "eth9" }, "no port eth9@C2"},
		{"a fault that concerns an unknown flow", func(t *topology.Topology) { t.Faults[0].Concerned = []string{"X->Y"} }, "no flow X->Y"},
		{"a repair without a break", func(t *topology.Topology) { t.Faults = t.Faults[1:] }, "does not come before it"},
		{"a server with both links to one leaf", func(t *topology.Topology) { t.Servers[0].Backup.Node = "A" }, "both links go to A"},
		{"an attachment id twice", func(t *topology.Topology) { t.Servers[1].ID = 1 }, "is zero or taken"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			top, _ := topology.Find("fig7")
			r.mar(&top)
			err := top.Validate()
			if err == nil || !strings.Contains(err.Error(), r.want) {
				t.Fatalf("got %v, want an error with %q", err, r.want)
			}
		})
	}
}
