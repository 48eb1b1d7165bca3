package lab

import (
	"os"
	"testing"

	"peerless/internal/lab/topology"
)

// TestRun_EveryTopology_IsOK runs the real daemons through all faults of every topology.
func TestRun_EveryTopology_IsOK(t *testing.T) {
	needRootHere(t)
	if testing.Short() {
		t.Skip("takes about 20 s a topology")
	}
	binary := daemonBinary(t)
	for _, top := range topology.All() {
		t.Run(top.Name, func(t *testing.T) {
			s := testSite(t)
			o := Options{Engine: EngineBGP, Binary: binary, probeBinary: selfBinary(t), Progress: os.Stderr}
			res, err := run(t.Context(), s, top, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := res.WriteTable(t.Output()); err != nil {
				t.Fatal(err)
			}
			if !res.OK {
				t.Errorf("not ok: %s", res.Error)
			}
		})
	}
}
