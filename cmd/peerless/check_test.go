package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerless/internal/config"
	"peerless/internal/model"
)

const minimalLeaf = `role: leaf
name: A
router-id: 10.0.0.11
as: 65001
subnets:
  - {prefix: 10.10.10.0/24, gateway: 10.10.10.254, mac: "02:00:5e:00:00:01"}
attachment-range: 10.255.0.0/16
uplinks:
  - {port: A0, neighbor: 172.31.1.1}
downlinks:
  - {port: A1, attachment: 1, role: primary}
  - {port: A2, attachment: 2, role: backup, server-port: C2}
bgp: {password: secret}
`

const minimalGateway = `role: gateway
name: G
router-id: 10.0.0.1
as: 65000
subnets: [{prefix: 10.10.10.0/24}]
attachment-range: 10.255.0.0/16
leaves:
  - {name: A, port: to-A, address: 172.31.1.2, as: 65001}
`

const minimalServer = `role: server
name: C1
link-pair: {device: br0, primary: eth0, backup: eth1, gateway: 10.10.10.254}
`

func TestCheck_Effective_CanBeReadBack(t *testing.T) {
	for name, text := range map[string]string{"leaf": minimalLeaf, "gateway": minimalGateway, "server": minimalServer} {
		t.Run(name, func(t *testing.T) {
			first := peerless(t, "check", "--effective", "--config", write(t, "a.yaml", text))
			if first.status != 0 {
				t.Fatal(first.errOut)
			}
			second := peerless(t, "check", "--effective", "--config", write(t, "a.yaml", first.out))
			if diff := cmp.Diff(first.out, second.out); diff != "" || second.status != 0 {
				t.Errorf("status %d %s\n%s", second.status, second.errOut, diff)
			}
			if strings.Contains(first.out, "secret") {
				t.Error("the password is printed")
			}
		})
	}
}

func TestCheck_JSON_TellsProblemsWithPositions(t *testing.T) {
	got := peerless(t, "check", "--json", "--config", write(t, "a.yaml", strings.Replace(minimalServer, "eth1", "eth0", 1)))
	var v verdict
	if err := json.Unmarshal([]byte(got.out), &v); err != nil {
		t.Fatal(err)
	}
	if got.status != 2 || got.errOut != "" || v.OK || len(v.Problems) != 1 || v.Problems[0].Line != 3 || v.Problems[0].Column != 49 {
		t.Errorf("status %d, stderr %q, %+v", got.status, got.errOut, v)
	}
}

// fakeMachine has the given files below /sys and /proc. A value that begins with "->" is a symbolic link.
func fakeMachine(t *testing.T, files map[string]string) machine {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(text, "->"); link {
			if err = os.MkdirAll(filepath.Join(root, target), 0o755); err == nil {
				err = os.Symlink(filepath.Join(root, target), path)
			}
		} else {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return machine{
		sys: filepath.Join(root, "sys"), proc: filepath.Join(root, "proc"),
		addresses: func(p model.Port) []netip.Prefix {
			if p == "to-A" || p == "A1" {
				return []netip.Prefix{netip.MustParsePrefix("10.10.10.9/24")}
			}
			return nil
		},
		lacking: func([]capability) ([]capability, error) { return nil, nil },
	}
}

func TestInspect_FindsWhatAnOperatorShouldKnow(t *testing.T) {
	proc := "proc/sys/net/ipv4/ip_forward"
	for _, tt := range []struct {
		name, config string
		files        map[string]string
		want         []string
	}{
		{
			"leaf with ports of every trouble", minimalLeaf,
			map[string]string{proc: "0", "sys/class/net/A1/uevent": "DEVTYPE=vlan\n", "sys/class/net/A1/master": "->sys/devices/br9", "sys/class/net/A2/tun_flags": "0x1"},
			[]string{
				"warning: port A0: this machine has no such network device",
				"note: uplink A0: any AS number is accepted from its gateway",
				"note: group all: when A0 dies, linkage closes A1, A2 and their servers move to the other leaf",
				"warning: downlink A1: it is a vlan: its far end may not lose carrier when linkage closes it",
				"warning: downlink A1: it has addresses of its own: 10.10.10.9/24",
				"warning: downlink A1: it is a member of br9",
				"warning: downlink A2: it is a tap: its far end may not lose carrier when linkage closes it",
			},
		},
		{
			"read-only sysctls and a leaf off its link", minimalGateway,
			map[string]string{"sys/class/net/to-A/uevent": ""},
			[]string{
				"warning: sysctl: /proc/sys is read-only here",
				"warning: leaf A: 172.31.1.2 is in no subnet of port to-A",
				"note: leaves: there is only one: no server has a backup through this gateway",
			},
		},
		{
			"server with both links on one card and a plain device", minimalServer,
			map[string]string{
				proc: "0", "sys/class/net/br0/uevent": "", "sys/class/net/eth0/device": "->sys/devices/0000:03:00.0", "sys/class/net/eth1/device": "->sys/devices/0000:03:00.1",
			},
			[]string{
				"warning: primary and backup: eth0 and eth1 both depend on card 0000:03:00",
				"warning: device br0: it is neither a bridge nor a bond",
			},
		},
		{
			"server on one lower device", minimalServer,
			map[string]string{
				proc: "0", "sys/class/net/br0/uevent": "DEVTYPE=bridge\n", "sys/class/net/eth0/lower_ens1": "->sys/devices/ens1", "sys/class/net/eth1/lower_ens1": "->sys/devices/ens1",
				"sys/class/net/eth0/master": "->sys/devices/br0",
			},
			[]string{
				"warning: primary and backup: eth0 and eth1 both depend on port ens1",
				"warning: device br0: it is a bridge, and gateway-mac is not set",
				"warning: port eth1: it is not a member of br0",
			},
		},
		{
			"server with a deaf bond", minimalServer,
			map[string]string{
				proc: "0", "sys/class/net/br0/uevent": "DEVTYPE=bond\n", "sys/class/net/br0/bonding/mode": "802.3ad 4\n", "sys/class/net/br0/bonding/all_slaves_active": "0\n",
				"sys/class/net/eth0/master": "->sys/devices/br0", "sys/class/net/eth1/master": "->sys/devices/br0",
			},
			[]string{
				"warning: device br0: its standby link drops what it receives (all_slaves_active=0)",
				`warning: device br0: its bond mode is "802.3ad 4"`,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, err := config.Parse("t.yaml", []byte(tt.config))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range inspect(file, fakeMachine(t, tt.files)) {
				got = append(got, f.Level+": "+f.Subject+": "+f.What)
				if f.Do == "" {
					t.Errorf("%s says not what to do", f.Subject)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
