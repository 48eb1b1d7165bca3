package lab

import (
	"slices"
	"strings"
	"testing"

	"peerless/internal/lab/topology"
)

// converted puts a media converter into the links of one server of fig7: what has carrier at one end says nothing of the other.
func converted(t *testing.T, server string) topology.Topology {
	t.Helper()
	top, ok := topology.Find("fig7")
	if !ok {
		t.Fatal("there is no fig7")
	}
	var links []topology.Link
	for _, l := range top.Links {
		far := l.B
		if far.Node != server {
			links = append(links, l)
			continue
		}
		box := "X" + strings.TrimPrefix(far.Port, "eth")
		top.Nodes = append(top.Nodes, topology.Node{Name: box, Role: topology.Host,
			Bridges: []topology.Bridge{{Name: "br0", MAC: "02:00:00:00:0f:0" + box[1:], Members: []string{"near", "far"}}}})
		links = append(links, topology.Link{A: l.A, B: topology.End{Node: box, Port: "near"}}, topology.Link{A: topology.End{Node: box, Port: "far"}, B: far})
	}
	if len(links) != len(top.Links)+2 {
		t.Fatalf("%s has no two links", server)
	}
	top.Links = links
	top.Faults = slices.DeleteFunc(top.Faults, func(f topology.Fault) bool { return !strings.HasPrefix(f.Name, "gateway-link") })
	return top
}

// A leaf that closes a port behind which is a media converter tells the server nothing by it. One that asks is told all the same.
func TestConverter_GatewayLink_ServerIsTold(t *testing.T) {
	needRootHere(t)
	if testing.Short() {
		t.Skip("takes about 10 s")
	}
	res, err := run(t.Context(), testSite(t), converted(t, "C2"), Options{Engine: EngineBGP, Binary: daemonBinary(t), probeBinary: selfBinary(t), Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	if err := res.WriteTable(t.Output()); err != nil {
		t.Fatal(err)
	}
	if !res.OK || len(res.Faults) != 2 {
		t.Fatalf("not ok: %d faults, %s", len(res.Faults), res.Error)
	}
	const bound = 100 // ms: a third of what it takes to call a leaf silent
	felt := false
	for _, f := range res.Faults[0].Flows {
		if f.From != "C2" && f.To != "C2" {
			continue
		}
		felt = felt || f.Lost > 0
		if f.OutageMs > bound {
			t.Errorf("%s to %s was out for %.1f ms", f.From, f.To, f.OutageMs)
		}
	}
	if !felt {
		t.Error("the fault was not felt")
	}
}
