package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"peerless/internal/config"
	"peerless/internal/driver/bgp"
	"peerless/internal/driver/readback"
)

const tableLeaf = `role: leaf
name: A
subnets:
  - {prefix: 10.10.10.0/24, gateway: 10.10.10.254, mac: "02:00:5e:00:00:01"}
uplinks:
  - {port: A0, neighbor: 172.31.1.1}
downlinks:
  - {port: A1, attachment: 1, role: primary}
advertise: {kernel-table: {table: 100, engine: bird, socket: /nowhere/bird.ctl}}
`

const watchingGateway = `role: gateway
name: G
subnets: [{prefix: 10.10.10.0/24}]
leaves:
  - {name: A, port: to-A, address: 172.31.1.2}
  - {name: B, port: to-B, address: 172.31.2.2}
routes: {kernel: {engine: frr, socket: /nowhere/zebra.vty}}
attachments:
  - {id: 1, primary: {leaf: A, port: 1}, backup: {leaf: B, port: 1}, hosts: [10.10.10.1]}
`

func staticGateway() string {
	text := strings.Replace(watchingGateway, "routes: {kernel: {engine: frr, socket: /nowhere/zebra.vty}}", "routes: none", 1)
	text = strings.Replace(text, ", hosts: [10.10.10.1]", "", 1)
	return text + "static-hosts: [{address: 10.10.10.1, attachment: 1, primary: A, backup: B}]\n"
}

func staticLeaf() string {
	return strings.Replace(tableLeaf, "{kernel-table: {table: 100, engine: bird, socket: /nowhere/bird.ctl}}", "none", 1)
}

// The embedded speaker is started only where it is used, and an engine is asked only where one is named.
func TestWire_DriversFollowTheWayOfRoutes(t *testing.T) {
	if os.Getuid() != 0 {
		lack(t, "needs root: opens the drivers' sockets")
	}
	unnamed := strings.Replace(tableLeaf, ", engine: bird, socket: /nowhere/bird.ctl", "", 1)
	for _, tt := range []struct {
		name, text        string
		speaker, readback bool
		drivers           int
	}{
		{"embedded leaf", minimalLeaf, true, false, 4},
		{"leaf beside a named engine", tableLeaf, false, true, 4},
		{"leaf beside an unnamed engine", unnamed, false, false, 3},
		{"static leaf", staticLeaf(), false, false, 3},
		{"gateway beside a named engine", watchingGateway, false, true, 2},
		{"gateway beside an unnamed engine", strings.Replace(watchingGateway, "{kernel: {engine: frr, socket: /nowhere/zebra.vty}}", "kernel", 1), false, false, 1},
		{"static gateway", staticGateway(), false, false, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := wire(parsed(t, tt.text+"state-dir: "+t.TempDir()+"\n"), &life{}, slog.Default())
			if err != nil {
				t.Fatal(err)
			}
			defer n.close(slog.Default())
			speaker, reader := false, false
			for _, d := range n.drivers {
				switch d.(type) {
				case *bgp.Driver:
					speaker = true
				case *readback.Driver:
					reader = true
				}
			}
			if speaker != tt.speaker || reader != tt.readback || len(n.drivers) != tt.drivers {
				t.Errorf("%d drivers, speaker %v, readback %v", len(n.drivers), speaker, reader)
			}
		})
	}
}

func TestRun_WithoutBGP_AnswersAndSaysWhatIsMissing(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"leaf beside an engine":    {tableLeaf, "no socket /nowhere/bird.ctl: bird is not installed or not running"},
		"static leaf":              {staticLeaf(), "no sessions"},
		"gateway beside an engine": {watchingGateway, "zebra is not installed or not running; routes are as it left them"},
		"static gateway":           {staticGateway(), "port missing"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			socket := filepath.Join(dir, "n.sock")
			start(t, write(t, "n.yaml", tt.text+"state-dir: "+dir+"\napi: {socket: "+socket+"}\n"), socket)
			got := ""
			for range 100 {
				if got = peerless(t, "show", "sessions", "--socket", socket).out; strings.Contains(got, tt.want) {
					return
				}
			}
			t.Errorf("show sessions never says %q:\n%s", tt.want, got)
		})
	}
}

func TestCheck_Engine_FindsWhatIsMissing(t *testing.T) {
	unnamed := strings.Replace(tableLeaf, ", engine: bird, socket: /nowhere/bird.ctl", "", 1)
	for name, tt := range map[string]struct{ text, want string }{
		"socket of a leaf's engine":    {tableLeaf, "engine bird: there is no socket /nowhere/bird.ctl"},
		"socket of a gateway's engine": {watchingGateway, "engine frr: there is no socket /nowhere/zebra.vty"},
		"engine without a name":        {unnamed, "engine: none is named"},
	} {
		got := peerless(t, "check", "--config", write(t, "c.yaml", tt.text))
		if got.status != 0 || !strings.Contains(got.out, tt.want) {
			t.Errorf("%s: status %d\n%s%s", name, got.status, got.out, got.errOut)
		}
	}
}

func TestCheck_EffectiveWithoutBGP_CanBeReadBack(t *testing.T) {
	for _, text := range []string{tableLeaf, staticLeaf(), watchingGateway, staticGateway()} {
		got := peerless(t, "check", "--effective", "--config", write(t, "c.yaml", text))
		if got.status != 0 || strings.Contains(got.out, `""`+"\nattachment") {
			t.Fatalf("%s%s", got.out, got.errOut)
		}
		if _, err := config.Parse("again.yaml", []byte(got.out)); err != nil {
			t.Errorf("%v", err)
		}
	}
}
