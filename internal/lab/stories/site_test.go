package stories

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"peerless/internal/api"
	"peerless/internal/lab/netns"
	"peerless/internal/lab/topology"
	"peerless/internal/step"
)

// site is a fig7 that is built but in which no daemon has run yet.
type site struct {
	t      *testing.T
	binary string
	dir    string
	top    topology.Topology
}

func bareSite(t *testing.T) *site {
	t.Helper()
	needLab(t)
	top, _ := topology.Find("fig7")
	s := &site{t: t, binary: built.path, top: top, dir: t.TempDir()}
	clean := func() {
		for _, n := range top.Nodes {
			if err := netns.Delete(s.space(n.Name)); err != nil {
				t.Error(err)
			}
		}
	}
	clean()
	t.Cleanup(clean)
	net, err := netns.Build(top, s.space)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(net.Close)
	return s
}

func (s *site) space(node string) string        { return "pl-test-life-" + node }
func (s *site) path(node, suffix string) string { return filepath.Join(s.dir, node+suffix) }
func (s *site) state(node string) string        { return filepath.Join(s.dir, "state-"+node) }

// shell runs a command line in a node.
func (s *site) shell(node, line string) string {
	s.t.Helper()
	var out []byte
	err := netns.Do(s.space(node), func() (err error) {
		out, err = exec.Command("/bin/sh", "-c", line).CombinedOutput()
		return err
	})
	if err != nil {
		s.t.Fatalf("in %s: %s: %v\n%s", node, line, err, out)
	}
	return string(out)
}

// start runs a node's daemon.
func (s *site) start(node topology.Node) *netns.Process {
	s.t.Helper()
	text := fmt.Sprintf("%sstate-dir: %s\napi:\n  socket: %s\n", node.Config, s.state(node.Name), s.path(node.Name, ".sock"))
	config := s.path(node.Name, ".yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	log, err := os.OpenFile(s.path(node.Name, ".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.binary, "run", "--config", config)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := netns.Start(s.space(node.Name), cmd, true)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *site) in(node string, f func() error) {
	s.t.Helper()
	if err := netns.Do(s.space(node), f); err != nil {
		s.t.Fatalf("in %s: %v", node, err)
	}
}

// Fatal ends the test.
func (s *site) Fatal(args ...any) { s.t.Helper(); s.t.Fatal(args...) }

func (s *site) until(what string, why func() string) {
	s.t.Helper()
	var last string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if last = why(); last == "" {
			return
		}
	}
	s.t.Fatalf("not in 20 s: %s: %s", what, last)
}

// carried says what keeps the gateway from sending to every server by its primary leaf.
func (s *site) carried() string {
	var rows []step.MappingRow
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	if err := api.NewClient(s.path("G", ".sock")).Get(ctx, "/v1/mapping", &rows); err != nil {
		return err.Error()
	}
	for _, r := range rows {
		if r.Active != (r.Role == "primary") {
			return fmt.Sprintf("%s %s: active %v", r.Leaf, r.LeafPort, r.Active)
		}
	}
	if len(rows) != 8 {
		return fmt.Sprintf("%d rows", len(rows))
	}
	return ""
}
