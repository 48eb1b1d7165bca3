package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"testing"
)

// TestMain also is the probe: the lab starts its own binary as `BINARY lab-probe`.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "lab-probe" {
		if err := RunProbe(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "run" { // a daemon that does nothing, for topologies that need none
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt)
		<-c
		return
	}
	os.Exit(m.Run())
}

// needRootHere skips without root, and fails without root where nobody would see the skip.
func needRootHere(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("needs root: network namespaces")
	}
	t.Skip("needs root: network namespaces")
}

// testSite is apart from any lab of the machine.
func testSite(t *testing.T) site {
	t.Helper()
	return site{root: filepath.Join(t.TempDir(), "lab"), prefix: "pl-test-lab-"}
}

// daemonBinary builds the real thing.
func daemonBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "peerless")
	if out, err := exec.Command("go", "build", "-o", path, "peerless/cmd/peerless").CombinedOutput(); err != nil {
		t.Fatalf("build peerless: %v\n%s", err, out)
	}
	return path
}

func selfBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}
