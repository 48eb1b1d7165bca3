package topology_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerless/internal/config"
	"peerless/internal/engineconf"
	"peerless/internal/lab/topology"
)

// carriers are all that make sense.
func carriers() []topology.Carrier {
	var out []topology.Carrier
	engines, gateways := topology.Carriers()
	for _, e := range engines {
		out = append(out, topology.Carrier{Engine: e})
	}
	for _, g := range gateways {
		out = append(out, topology.Carrier{Gateway: g})
	}
	return out
}

func TestWith_EveryCarrier_IsAcceptedByDaemonAndEngine(t *testing.T) {
	for _, name := range []string{"fig4", "fig7", "guests"} {
		for _, c := range carriers() {
			plain, _ := topology.Find(name)
			top, err := plain.With(c)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(name+"/"+c.Engine+c.Gateway, func(t *testing.T) {
				if err := top.Validate(); err != nil {
					t.Error(err)
				}
				if d := cmp.Diff(plain.Faults, top.Faults); d != "" {
					t.Errorf("faults (-plain +got):\n%s", d)
				}
				for _, n := range top.Nodes {
					parses(t, n)
				}
			})
		}
	}
}

func parses(t *testing.T, n topology.Node) {
	t.Helper()
	if n.Config != "" {
		if _, err := config.Parse(n.Name+".yaml", []byte(n.Config)); err != nil {
			t.Errorf("%v\n%s", err, n.Config)
		}
	}
	if n.Engine == nil {
		return
	}
	file, err := config.Parse(n.Name+".yaml", []byte(n.Engine.Config))
	if err != nil {
		t.Errorf("%v\n%s", err, n.Engine.Config)
		return
	}
	_, err = engineconf.Generate(engineconf.Engine(n.Engine.Program), engineconf.Protocol(n.Engine.Protocol), file, engineconf.Options{})
	if err != nil {
		t.Error(err)
	}
	if n.Config == "" {
		return
	}
	if _, err := config.Parse(n.Name+".yaml", []byte(n.Config+"    socket: /run/x\n")); err != nil {
		t.Errorf("the engine's socket has no place at the end: %v\n%s", err, n.Config)
	}
}

func TestWith_ForeignGateway_RunsNoDaemon(t *testing.T) {
	plain, _ := topology.Find("fig7")
	top, err := plain.With(topology.Carrier{Gateway: "frr"})
	if err != nil {
		t.Fatal(err)
	}
	g, _ := top.Node("G")
	if g.Config != "" || g.Engine == nil || !g.Unaware {
		t.Errorf("got %+v, want an engine and no daemon", g)
	}
	if a, _ := top.Node("A"); a.Engine != nil || strings.Contains(a.Config, "advertise") {
		t.Errorf("leaf A is not with its embedded speaker:\n%s", a.Config)
	}
}
