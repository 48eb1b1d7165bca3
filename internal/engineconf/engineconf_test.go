package engineconf

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerless/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func parse(t *testing.T, text string) *config.File {
	t.Helper()
	f, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// node configs: the usual one of each role, and one that uses every key that the engines are told of.
var nodes = map[string]string{
	"leaf": `
role: leaf
name: A
router-id: 10.0.0.11
as: 65001
subnets: [{prefix: 10.10.10.0/24, gateway: 10.10.10.254, mac: "02:00:5e:00:00:01"}]
attachment-range: 10.255.0.0/16
uplinks: [{port: A0, neighbor: 172.31.1.1, as: 65000}]
downlinks: [{port: A1, attachment: 1, role: primary}]
`,
	"gateway": `
role: gateway
name: G
router-id: 10.0.0.1
as: 65000
subnets: [{prefix: 10.10.10.0/24}]
attachment-range: 10.255.0.0/16
leaves:
  - {name: A, port: to-A, address: 172.31.1.2, as: 65001}
  - {name: B, port: to-B, address: 172.31.2.2, as: 65002}
`,
	"leaf-full": `
role: leaf
name: A
router-id: 10.0.0.11
as: 4200000001
subnets:
  - {prefix: 10.10.10.0/24, gateway: 10.10.10.254, mac: "02:00:5e:00:00:01"}
  - {prefix: 10.20.0.0/16, gateway: 10.20.0.1, mac: "02:00:5e:00:00:01"}
attachment-range: 10.255.0.0/16
uplinks: [{port: A0, neighbor: 172.31.1.1}, {port: eth7.100, neighbor: 172.31.3.1, as: 64999}]
downlinks:
  - {port: A1, attachment: 1, role: primary}
  - {port: A3, attachment: 3, role: backup}
  - {port: eth8.20, attachment: 4, role: backup}
graceful-restart: 4095s
bgp: {port: 1790, hold-time: 3s, password: "s3cr'et#"}
`,
	"gateway-full": `
role: gateway
name: G
router-id: 10.0.0.1
as: 65000
subnets: [{prefix: 10.10.10.0/24}, {prefix: 10.20.0.0/16}]
attachment-range: 10.255.0.0/16
leaves:
  - {name: A, port: to-A, address: 172.31.1.2, as: 65001}
dynamic-leaves: [{prefix: 172.31.16.0/20, as: 65100}, {prefix: 172.31.32.0/20}]
default-route: false
max-hosts: 1048576
bgp: {port: 1790, hold-time: 3s, password: secret}
`,
}

func TestGenerate_EveryCase_IsTheGoldenAndTheDaemonTakesIt(t *testing.T) {
	tests := []struct {
		node     string
		engine   Engine
		protocol Protocol
		options  Options
	}{
		{"leaf", FRR, OSPF, Options{}},
		{"leaf", FRR, BGP, Options{}},
		{"leaf", BIRD, OSPF, Options{}},
		{"leaf", BIRD, BGP, Options{}},
		{"gateway", FRR, OSPF, Options{}},
		{"gateway", FRR, BGP, Options{}},
		{"gateway", BIRD, OSPF, Options{}},
		{"gateway", BIRD, BGP, Options{}},
		{"leaf-full", FRR, OSPF, Options{Table: 252, BFD: true}},
		{"leaf-full", FRR, BGP, Options{Table: 1, BFD: true}},
		{"leaf-full", BIRD, OSPF, Options{Table: 252, BFD: true}},
		{"leaf-full", BIRD, BGP, Options{Table: 1, BFD: true}},
		{"gateway-full", FRR, BGP, Options{BFD: true}},
		{"gateway-full", BIRD, BGP, Options{BFD: true}},
	}
	for _, tt := range tests {
		name := strings.Join([]string{tt.node, string(tt.engine), string(tt.protocol)}, "-")
		t.Run(name, func(t *testing.T) {
			files, err := Generate(tt.engine, tt.protocol, parse(t, nodes[tt.node]), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".conf")
			if *update {
				if err := os.WriteFile(golden, []byte(files.Text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), files.Text); d != "" {
				t.Errorf("differs from %s (-want +got):\n%s", golden, d)
			}
			check(t, tt.engine, golden)
		})
	}
}

// check lets the real parser read a file.
func check(t *testing.T, engine Engine, path string) {
	t.Helper()
	cmd := exec.Command("bird", "-p", "-c", path)
	if engine == FRR {
		cmd = exec.Command("vtysh", "--dryrun", "--inputfile", path)
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed: %v", engine, err)
		}
		t.Skipf("the golden was not read by %s: %v", engine, err)
	}
	if err != nil || len(out) > 0 {
		t.Errorf("%s does not take %s: %v\n%s", engine, path, err, out)
	}
}

// kernelTable is what makes a leaf do without the keys of the embedded speaker.
const kernelTable = "advertise: {kernel-table: {table: 42}}\n"

// without drops lines that begin with the keys.
func without(text string, keys ...string) string {
	for _, k := range keys {
		before, after, _ := strings.Cut(text, "\n"+k+":")
		_, after, _ = strings.Cut(after, "\n")
		text = before + "\n" + after
	}
	return text
}

func TestGenerate_TableOfTheFile_IsUsedUnlessAnotherIsAskedFor(t *testing.T) {
	file := parse(t, without(nodes["leaf"], "as", "attachment-range")+kernelTable)
	for table, want := range map[uint32]string{0: "redistribute table 42 ", 7: "redistribute table 7 "} {
		files, err := Generate(FRR, OSPF, file, Options{Table: table})
		if err != nil || !strings.Contains(files.Text, want) {
			t.Errorf("asked for table %d: no %q (%v)", table, want, err)
		}
	}
}

func TestGenerate_GatewayThatKnowsNoAttachments_HearsNone(t *testing.T) {
	file := parse(t, without(nodes["gateway"], "attachment-range")+"routes: kernel\n")
	for _, engine := range []Engine{FRR, BIRD} {
		files, err := Generate(engine, BGP, file, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(files.Text, "invalid") || strings.Contains(files.Text, "is_attachment") {
			t.Errorf("%s:\n%s", engine, files.Text)
		}
		path := filepath.Join(t.TempDir(), files.Name)
		if err := os.WriteFile(path, []byte(files.Text), 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, engine, path)
	}
}

func TestGenerate_WhatCannotBe_SaysWhy(t *testing.T) {
	tests := []struct {
		name     string
		engine   Engine
		protocol Protocol
		config   string
		options  Options
		want     string
	}{
		{"unknown engine", "quagga", BGP, nodes["leaf"], Options{}, `unknown engine "quagga"`},
		{"unknown protocol", FRR, "rip", nodes["leaf"], Options{}, `unknown protocol "rip"`},
		{"table that FRR cannot import", FRR, BGP, nodes["leaf"], Options{Table: 253}, "FRR does not import kernel table 253"},
		{"the kernel's own table", BIRD, BGP, nodes["leaf"], Options{Table: 254}, "kernel table 254 is the kernel's own"},
		{"no router-id", BIRD, OSPF, without(nodes["leaf"], "router-id", "as") + kernelTable, Options{}, "router-id is missing"},
		{"no AS number", FRR, BGP, without(nodes["leaf"], "as") + kernelTable, Options{}, "as is missing"},
		{"dynamic leaves with OSPF", BIRD, OSPF, nodes["gateway-full"], Options{}, "OSPF runs on ports"},
		{"port name that is a pattern", BIRD, OSPF, strings.ReplaceAll(nodes["leaf"], "A0", `"A*"`), Options{}, "special meaning"},
		{"port name that is a negation", BIRD, OSPF, strings.ReplaceAll(nodes["leaf"], "A0", `"-A"`), Options{}, "special meaning"},
		{
			"backup port whose name is a cry for help", FRR, OSPF, strings.ReplaceAll(nodes["leaf"], "{port: A1, attachment: 1, role: primary}",
				`{port: "A?", attachment: 1, role: backup}`), Options{}, "special meaning",
		},
		{"password that ends a string", BIRD, BGP, nodes["leaf"] + `bgp: {password: 'a" b'}`, Options{}, "bgp.password"},
		{
			"server", FRR, BGP, "role: server\nname: C\nlink-pair: {device: br0, primary: eth0, backup: eth1, gateway: 10.10.10.254}\n", Options{},
			"only a leaf or a gateway routes",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Generate(tt.engine, tt.protocol, parse(t, tt.config), tt.options)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestGenerate_Programs_AreInOrderWithTheirArguments(t *testing.T) {
	gateway, err := Generate(FRR, BGP, parse(t, nodes["gateway-full"]), Options{BFD: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []Program{
		{Name: "zebra", Args: []string{"-s", "90000000", "-K", "30"}}, {Name: "bfdd"}, {Name: "bgpd", Args: []string{"-p", "1790"}},
	}
	if d := cmp.Diff(want, gateway.Programs); d != "" {
		t.Errorf("gateway (-want +got):\n%s", d)
	}
	leaf, err := Generate(FRR, OSPF, parse(t, nodes["leaf"]), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Program{{Name: "zebra", Args: []string{"-s", "90000000"}}, {Name: "ospfd"}}, leaf.Programs); d != "" {
		t.Errorf("leaf: its zebra may not keep old routes (-want +got):\n%s", d)
	}
}

// What the gateway's file says of BFD is what its engine is told; a leaf runs it itself, and its engine must not.
func TestGenerate_BFDOfTheFile(t *testing.T) {
	file := parse(t, nodes["gateway"]+"bfd: {interval: 50ms, multiplier: 4}\n")
	for engine, want := range map[Engine]string{
		FRR: " profile peerless\n  transmit-interval 50\n  receive-interval 50\n  detect-multiplier 4\n", BIRD: "min rx interval 50 ms;\n\t\tmin tx interval 50 ms;\n\t\tmultiplier 4;",
	} {
		f, err := Generate(engine, BGP, file, Options{})
		if err != nil || !strings.Contains(f.Text, want) {
			t.Errorf("%s: %v, no %q in:\n%s", engine, err, want, f.Text)
		}
	}
	leaf := parse(t, nodes["leaf"]+"bfd: on\n")
	if f, err := Generate(BIRD, OSPF, leaf, Options{}); err != nil || strings.Contains(f.Text, "bfd") {
		t.Errorf("%v:\n%s", err, f.Text)
	}
	if _, err := Generate(FRR, OSPF, leaf, Options{BFD: true}); err == nil || !strings.Contains(err.Error(), "peerless itself runs it") {
		t.Errorf("error %v", err)
	}
}
