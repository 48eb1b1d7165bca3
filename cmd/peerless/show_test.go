package main

import (
	"context"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"peerless/internal/api"
	"peerless/internal/engine"
	"peerless/internal/model"
	"peerless/internal/step"
)

// gatewayEngine is a gateway whose state is written down.
type gatewayEngine struct{}

func (e gatewayEngine) Command(ctx context.Context, _ step.Commanded) (step.View, error) {
	return e.View(ctx)
}

func (gatewayEngine) View(context.Context) (step.View, error) {
	host := netip.MustParseAddr("10.10.10.2")
	return step.View{
		Role: "gateway", Name: "G",
		Ports:    []step.PortRow{{Port: "to-A", Use: "downlink", State: "up", Active: true}},
		Hosts:    []step.HostRow{{Addr: host, Leaf: "A", Port: "to-A", State: "best", Advertised: true, AgeMs: 61_000, Why: "newest claim"}},
		Sessions: []step.SessionRow{{Peer: "172.31.1.2", Name: "A", AS: 65001, State: "up", Received: 5, SinceMs: 90_000_000}},
		Mapping: []step.MappingRow{{
			GatewayPort: "to-A", Leaf: "A", LeafPort: "A2", Attachment: 2, ServerPort: "C2", Role: "primary", Uplink: "up", Downlink: "up",
			Active: true, Hosts: []netip.Addr{host},
		}},
	}, nil
}

// daemon serves a fake gateway and gives its socket.
func daemon(t *testing.T) string {
	t.Helper()
	j := engine.NewJournal("G")
	j.Note(model.Instant{Mono: 1}, step.Note{
		What: "fault", Addr: netip.MustParseAddr("10.10.10.2"), ServerPort: "C2", Text: "A2 lost C2", Why: "carrier lost", Warn: true,
		Stage: step.StageDetect, Hosts: 1, Cause: 7,
	})
	socket := filepath.Join(t.TempDir(), "G.sock")
	s, err := api.Listen(api.Options{
		Socket: socket, Mode: 0o600, Status: api.Status{Name: "G", Role: "gateway"}, Source: gatewayEngine{}, Journal: j, Speaker: obedient{},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func TestShow_Tables(t *testing.T) {
	socket := daemon(t)
	for what, want := range map[string]string{
		"ports":     "PORT  USE       STATE  ACTIVE\nto-A  downlink  up     yes\n",
		"hosts":     "HOST        LEAF  PORT  STATE  ADVERTISED  AGE    WHY\n10.10.10.2  A     to-A  best   yes         1m01s  newest claim\n",
		"linkage":   "no linkage groups\n",
		"sessions":  "PEER        NAME  AS     STATE  RECEIVED  SINCE\n172.31.1.2  A     65001  up     5         25h00m\n",
		"mapping":   "GATEWAY PORT  LEAF  LEAF PORT  SERVER PORT  ROLE     UPLINK  DOWNLINK  ACTIVE  HOSTS\nto-A          A     A2         C2           primary  up      up        yes     10.10.10.2\n",
		"failovers": "A2 lost C2",
		"events":    "fault  A2 lost C2  carrier lost",
	} {
		t.Run(what, func(t *testing.T) {
			got := inProcess(t, "show", what, "--socket", socket)
			if got.status != 0 || !strings.Contains(got.out, want) {
				t.Errorf("status %d %s\n%s\nwant:\n%s", got.status, got.errOut, got.out, want)
			}
		})
	}
}

func TestShow_JSON_IsAnArray(t *testing.T) {
	socket := daemon(t)
	for _, what := range []string{"ports", "hosts", "linkage", "mapping", "sessions", "failovers", "events"} {
		got := inProcess(t, "show", what, "--json", "--socket", socket)
		var list []map[string]any
		if err := json.Unmarshal([]byte(got.out), &list); err != nil || list == nil || got.status != 0 {
			t.Errorf("%s: status %d, %v\n%s", what, got.status, err, got.out)
		}
	}
}

func TestWhy_OfAHost_TellsRowsAndEvents(t *testing.T) {
	socket := daemon(t)
	got := inProcess(t, "why", "10.10.10.2", "--socket", socket)
	for _, want := range []string{"hosts\n", "mapping\n", "failovers\n", "events\n", "newest claim", "carrier lost"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%q is missing in:\n%s", want, got.out)
		}
	}
	if got := inProcess(t, "why", "10.10.10.99", "--socket", socket); got.status != 1 || got.errOut != "peerless: G knows no host, port or server port \"10.10.10.99\"\n" {
		t.Errorf("%+v", got)
	}
}

func TestWatch_Once_DrawsThePage(t *testing.T) {
	got := inProcess(t, "watch", "--count", "1", "--socket", daemon(t))
	if got.status != 0 || !strings.HasPrefix(got.out, clearScreen+"gateway G, up ") || !strings.Contains(got.out, "last events") {
		t.Errorf("%+v", got)
	}
}

func TestShow_Follow_EndsWithTheOperator(t *testing.T) {
	socket := daemon(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := &stopper{stop: cancel}
	if status := execute(ctx, []string{"show", "events", "--follow", "--socket", socket}, out, out); status != 0 {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(out.String(), "G fault: A2 lost C2 (carrier lost)\n") {
		t.Errorf("output %q", out.String())
	}
}

// stopper is an operator who has seen enough after the first line.
type stopper struct {
	strings.Builder
	stop func()
}

func (s *stopper) Write(b []byte) (int, error) {
	s.stop()
	return s.Builder.Write(b)
}

func TestSocket_NotGiven_FindsTheOnlyDaemon(t *testing.T) {
	defer func(dir string) { runDir = dir }(runDir)
	runDir = t.TempDir()
	if got := inProcess(t, "show", "ports"); got.status != 1 || !strings.HasPrefix(got.errOut, "peerless: no daemon's socket in "+runDir) {
		t.Errorf("none: %+v", got)
	}
	socket := daemon(t)
	runDir = filepath.Dir(socket)
	if got := inProcess(t, "show", "ports"); got.status != 0 {
		t.Errorf("one: %+v", got)
	}
	other, err := api.Listen(api.Options{Socket: filepath.Join(runDir, "A.sock"), Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	want := "peerless: several daemons run here; name one with --socket: " + runDir + "/A.sock, " + runDir + "/G.sock\n"
	if got := inProcess(t, "show", "ports"); got.status != 2 || got.errOut != want {
		t.Errorf("several: %+v", got)
	}
}
