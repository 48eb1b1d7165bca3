package lab

import (
	"os"
	"slices"
	"testing"
	"time"

	"peerless/internal/lab/matrix"
	"peerless/internal/lab/report"
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
			if !res.OK || len(res.Faults) != len(top.Faults) {
				t.Errorf("not ok: %d faults, %s", len(res.Faults), res.Error)
			}
		})
	}
}

// inTests are the cases that every run of the tests goes through: one of each kind that is over soon. `make matrix` runs all.
var inTests = []string{
	"server-link-down-at-leaf", "gateway-link-down-at-gateway", "standby-link-down-at-server", "leaf-dies", "late-carrier-gateway-link",
	"session-shut-at-gateway", "session-reset", "gateway-killed", "double-fault", "reload-while-link-down",
}

// slackInTests is for machines slower than those whose limits the cases have.
const slackInTests = 5

func TestMatrix_SomeCases_KeepTheirLimits(t *testing.T) {
	needRootHere(t)
	if testing.Short() {
		t.Skip("takes about a minute")
	}
	cases, err := chosen(inTests)
	if err != nil {
		t.Fatal(err)
	}
	binary := daemonBinary(t)
	res, err := runMatrix(t.Context(), testSite(t), cases, MatrixOptions{
		Options: Options{Engine: EngineBGP, Binary: binary, probeBinary: selfBinary(t), Progress: os.Stderr}, slack: slackInTests,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := res.WriteTable(t.Output()); err != nil {
		t.Fatal(err)
	}
	if !res.OK {
		t.Error("not ok: the table says which cases missed")
	}
}

// A matrix that cannot miss is worth nothing: the same fault with a limit that nobody keeps.
func TestMatrix_LimitThatNobodyKeeps_IsMissed(t *testing.T) {
	needRootHere(t)
	if testing.Short() {
		t.Skip("builds a lab")
	}
	tight, _ := matrix.Find("leaf-dies")
	tight.Limits = map[string]time.Duration{matrix.Default: time.Microsecond}
	unfelt, _ := matrix.Find("standby-link-down-at-server")
	unfelt.Signs = []matrix.Sign{{Node: "G", What: "leaf-down"}}
	res, err := runMatrix(t.Context(), testSite(t), []matrix.Case{tight, unfelt}, MatrixOptions{
		Options: Options{Engine: EngineBGP, Binary: daemonBinary(t), probeBinary: selfBinary(t), Progress: os.Stderr},
	})
	if err != nil {
		t.Fatal(err)
	}
	missed := func(name string) bool {
		return slices.ContainsFunc(res.Cases, func(r report.Row) bool { return r.Case == name && !r.Mends && !r.OK && len(r.Misses) == 1 })
	}
	if res.OK || !missed(tight.Name) || !missed(unfelt.Name) {
		t.Errorf("ok %v: %+v", res.OK, res.Cases)
	}
}
