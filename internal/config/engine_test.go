package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerless/internal/gateway"
	"peerless/internal/leaf"
)

const engineLeaf = `role: leaf
name: A
subnets:
  - {prefix: 10.10.10.0/24, gateway: 10.10.10.254, mac: "02:00:5e:00:00:01"}
uplinks:
  - {port: A0, neighbor: 172.31.1.1}
downlinks:
  - {port: A1, attachment: 1, role: primary}
advertise: {kernel-table: {table: 100, engine: frr}}
`

const engineGateway = `role: gateway
name: G
subnets: [{prefix: 10.10.10.0/24}]
leaves:
  - {name: A, port: to-A, address: 172.31.1.2, ports: {1: A1}}
  - {name: B, port: to-B, address: 172.31.2.2}
routes: {kernel: {engine: bird}}
attachments:
  - {id: 1, primary: {leaf: A, port: 1}, backup: {leaf: B, port: 1}, hosts: [10.10.10.1]}
`

func TestParse_EngineLeaf_NeedsNoBGPAndProbesFaster(t *testing.T) {
	c := mustParse(t, engineLeaf).Leaf
	m := c.Machine()
	if want := (leaf.Export{Mode: leaf.ByTable, Table: 100, Engine: "frr"}); m.Export != want || m.DefaultFromBGP {
		t.Errorf("export %+v, default from BGP %v", m.Export, m.DefaultFromBGP)
	}
	if m.HostProbe.Interval != 200*time.Millisecond || m.HostProbe.Multiplier != 2 || m.Drain != 500*time.Millisecond {
		t.Errorf("host probe: %+v, drain %s", m.HostProbe, m.Drain)
	}
	if set := mustParse(t, engineLeaf+"drain: 20ms\n").Leaf.Machine().Drain; set != 20*time.Millisecond {
		t.Errorf("drain %s, though it was set", set)
	}
	if c.Advertise.KernelTable.Socket != "/var/run/frr/zebra.vty" {
		t.Errorf("socket %q", c.Advertise.KernelTable.Socket)
	}
	bird := mustParse(t, edit(t, engineLeaf, "engine: frr", "engine: bird")).Leaf.Machine()
	if !bird.Export.Recency || bird.HostProbe.Interval != time.Second || bird.HostProbe.Multiplier != 3 {
		t.Errorf("beside BIRD: %+v %+v", bird.Export, bird.HostProbe)
	}
	none := mustParse(t, edit(t, engineLeaf, "{kernel-table: {table: 100, engine: frr}}", "none")).Leaf.Machine()
	if none.Export != (leaf.Export{Mode: leaf.ByNobody}) || none.DefaultFromBGP {
		t.Errorf("alone: %+v", none.Export)
	}
}

func TestParse_EngineGateway_ListsAttachments(t *testing.T) {
	c := mustParse(t, engineGateway).Gateway
	m := c.Machine()
	want := []gateway.Attachment{{
		ID: 1, Primary: gateway.LeafEnd{Leaf: "A", Index: 1}, Backup: gateway.LeafEnd{Leaf: "B", Index: 1},
		Hosts: []netip.Addr{netip.MustParseAddr("10.10.10.1")},
	}}
	if diff := cmp.Diff(want, m.Attachments, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("attachments (-want +got):\n%s", diff)
	}
	if m.Default || !m.NoBGP || m.Engine != "bird" || c.Routes.Kernel.Socket != "/run/bird/bird.ctl" {
		t.Errorf("machine %+v, routes %+v", m, c.Routes.Kernel)
	}
	unwatched := mustParse(t, edit(t, engineGateway, "{kernel: {engine: bird}}", "kernel")).Gateway
	if unwatched.Routes.Mode != RoutesKernel || unwatched.Machine().Engine != "" {
		t.Errorf("routes %+v", unwatched.Routes)
	}
}

// What `check --effective` prints is a config again.
func TestMarshal_EngineForms_ParseAgain(t *testing.T) {
	for _, text := range []string{engineLeaf, engineGateway, smallLeaf, edit(t, engineGateway, "{kernel: {engine: bird}}", "kernel")} {
		f := mustParse(t, text)
		var role any = f.Leaf
		if f.Gateway != nil {
			role = f.Gateway
		}
		b, err := Effective(role)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(text, "\n") {
			key, value, _ := strings.Cut(line, ": ")
			if (key == "advertise" || key == "routes") && !strings.HasPrefix(value, "{") && !strings.Contains(string(b), line) {
				t.Errorf("%q is not in:\n%s", line, b)
			}
		}
		again := mustParse(t, string(b))
		if f.Leaf != nil && again.Leaf.Advertise.Mode != f.Leaf.Advertise.Mode || f.Gateway != nil && again.Gateway.Routes.Mode != f.Gateway.Routes.Mode {
			t.Errorf("mode changed by:\n%s", b)
		}
	}
}

var badEngines = []badInput{
	{
		"kernel-table as a word", engineLeaf, "{kernel-table: {table: 100, engine: frr}}", "kernel-table",
		[]string{
			"t.yaml:9:12: advertise: kernel-table needs the number of the table; write {kernel-table: {table: 100}}",
		},
	},
	{
		"advertise without a way", engineLeaf, "{kernel-table: {table: 100, engine: frr}}", "{}",
		[]string{"t.yaml:9:12: required key \"kernel-table\" is missing in advertise; add it; `peerless config reference leaf` explains it"},
	},
	{
		"kernel-table without a number", engineLeaf, "table: 100, ", "",
		[]string{"t.yaml:9:27: required key \"table\" is missing in advertise.kernel-table; add it; `peerless config reference leaf` explains it"},
	},
	{
		"the main table for hosts", engineLeaf, "table: 100", "table: 254",
		[]string{"t.yaml:9:35: table 254 has another use; use a number from 1 to 252"},
	},
	{
		"a table that FRR cannot read", engineLeaf, "table: 100", "table: 1000",
		[]string{"t.yaml:9:35: FRR does not import table 1000; use a number from 1 to 252"},
	},
	{
		"unknown engine", engineLeaf, "engine: frr", "engine: quagga",
		[]string{`t.yaml:9:48: advertise.kernel-table.engine: unknown value "quagga"; use frr or bird`},
	},
	{
		"socket of no engine", engineLeaf, "engine: frr", "socket: /run/x",
		[]string{"t.yaml:9:48: advertise.kernel-table.socket: of which engine?; add engine: frr or engine: bird"},
	},
	{
		"relative socket", engineLeaf, "engine: frr", "engine: frr, socket: x.vty",
		[]string{`t.yaml:9:61: advertise.kernel-table.socket: "x.vty" is not an absolute path; start it with a slash`},
	},
	{
		"unknown origin of routes", engineGateway, "{kernel: {engine: bird}}", "ospf",
		[]string{
			`t.yaml:7:9: routes: unknown value "ospf"; use bgp, none, kernel or {kernel: {engine: frr}}`,
		},
	},
	{
		"watched engine without a name", engineGateway, "{engine: bird}", "{socket: /run/x}",
		[]string{
			"t.yaml:7:18: required key \"engine\" is missing in routes.kernel; add it; `peerless config reference gateway` explains it",
			"t.yaml:7:27: routes.kernel.socket: of which engine?; add engine: frr or engine: bird",
		},
	},
	{
		"static hosts beside an engine", engineGateway, "routes:", "static-hosts: [{address: 10.10.10.9, primary: A, backup: B}]\nroutes:",
		[]string{"t.yaml:7:15: static-hosts are routes of peerless, which installs none with routes: kernel; remove the key, or use routes: none"},
	},
	{
		"dynamic leaves without BGP", engineGateway, "routes:", "dynamic-leaves: [{prefix: 172.31.16.0/20}]\nroutes:",
		[]string{"t.yaml:7:17: dynamic-leaves connect by BGP, which routes: kernel turns off; list them under leaves"},
	},
	{
		"attachments with BGP", smallGateway, "leaves:", "attachments: [{id: 1, primary: {leaf: A, port: 1}, backup: {leaf: B, port: 1}}]\nleaves:",
		[]string{"t.yaml:7:14: attachments are told by the leaves with routes: bgp; remove the key"},
	},
	{
		"hosts to be learned where nothing is", engineGateway, "{kernel: {engine: bird}}", "none",
		[]string{"t.yaml:9:77: attachments[0].hosts: nothing is learned with routes: none; list them under static-hosts"},
	},
	{
		"attachment on one leaf", engineGateway, "backup: {leaf: B, port: 1}", "backup: {leaf: A, port: 2}",
		[]string{"t.yaml:9:57: primary and backup are the same leaf A; the backup is the other leaf"},
	},
	{
		"attachment on an unknown leaf", engineGateway, "backup: {leaf: B", "backup: {leaf: C",
		[]string{`t.yaml:9:57: attachments[0].backup.leaf: no leaf is named "C"; use a name listed under leaves`},
	},
	{
		"attachment on port 0", engineGateway, "{leaf: B, port: 1}", "{leaf: B, port: 0}",
		[]string{"t.yaml:9:66: attachments[0].backup.port: 0 is out of bounds; use a number from 1 to 1048576"},
	},
	{
		"attachment host outside", engineGateway, "[10.10.10.1]", "[10.10.11.1]",
		[]string{"t.yaml:9:78: host 10.10.11.1 is no host address of a configured subnet; correct the address, or add its subnet"},
	},
	{
		"probe of leaves too fast", engineGateway, "routes:", "probe: {leaves: {interval: 1ms}}\nroutes:",
		[]string{"t.yaml:7:28: probe.leaves.interval: 1ms is out of bounds; use a duration from 10ms to 1m"},
	},
}
