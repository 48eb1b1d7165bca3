package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"peerless/internal/leaf/linkage"
	"peerless/internal/model"

	"github.com/google/go-cmp/cmp"
)

const smallLeaf = `role: leaf
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
`

const smallGateway = `role: gateway
name: G
router-id: 10.0.0.1
as: 65000
subnets: [{prefix: 10.10.10.0/24}]
attachment-range: 10.255.0.0/16
leaves:
  - {name: A, port: to-A, address: 172.31.1.2, as: 65001, ports: {2: A2, 1: A1}}
  - {name: B, port: to-B, address: 172.31.2.2, as: 65002}
`

const smallServer = `role: server
name: C1
link-pair: {device: br0, primary: eth0, backup: eth1, gateway: 10.10.10.254}
`

func mustParse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("t.yaml", []byte(text))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return f
}

func TestParse_SmallLeaf_FillsDefaults(t *testing.T) {
	c := mustParse(t, smallLeaf).Leaf
	if got, want := c.API.Socket, "/run/peerless/A.sock"; got != want {
		t.Errorf("socket %q, want %q", got, want)
	}
	m := c.Machine()
	group := linkage.Group{
		Name: "all", Uplinks: []model.Port{"A0"}, Downlinks: []model.Port{"A1", "A2"}, MinUplinks: 1,
	}
	if diff := cmp.Diff([]linkage.Group{group}, m.Groups); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	want := model.Attachment{ID: 2, Port: "A2", PortIndex: 2, ServerPort: "C2", Role: model.Backup}
	if diff := cmp.Diff(want, m.Downlinks[1].Attachment); diff != "" {
		t.Errorf("downlink (-want +got):\n%s", diff)
	}
	if m.HostProbe.Interval != time.Second || m.UplinkProbe.Multiplier != 3 || m.Drain != 50*time.Millisecond || !m.DefaultFromBGP {
		t.Errorf("defaults: %+v", m)
	}
}

func TestParse_SmallGateway_SortsNumberedNames(t *testing.T) {
	m := mustParse(t, smallGateway).Gateway.Machine()
	if len(m.Leaves[0].Ports) != 2 || m.Leaves[0].Ports[0].Name != "A1" {
		t.Errorf("ports of leaf A: %+v", m.Leaves[0].Ports)
	}
	if !m.Default || m.TableBase != 20100 || m.GracefulRestart != 30*time.Second || m.Peer != nil {
		t.Errorf("defaults: %+v", m)
	}
}

func TestParse_SmallServer_FillsDefaults(t *testing.T) {
	f := mustParse(t, smallServer)
	m := f.Server.Machine()
	if len(m.Announce) != 4 || m.FailBack.Never || m.FailBack.Stable != 5*time.Second || m.Probe != 100*time.Millisecond {
		t.Errorf("defaults: %+v", m)
	}
	if got := f.Ports(); len(got) != 3 {
		t.Errorf("ports: %v", got)
	}
}

// edit replaces one text by another, and fails the test when there is nothing to replace.
func edit(t *testing.T, text, old, replacement string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in the text", old)
	}
	return strings.Replace(text, old, replacement, 1)
}

func TestParse_BadInput_SaysWhereAndWhatToDo(t *testing.T) {
	for _, tt := range badInputs {
		t.Run(tt.name, func(t *testing.T) {
			text := tt.base
			if tt.old != "" {
				text = edit(t, tt.base, tt.old, tt.replacement)
			}
			_, err := Parse("t.yaml", []byte(text))
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error %v, want problems", err)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProblems_Error_ShowsExcerptWithMark(t *testing.T) {
	_, err := Parse("t.yaml", []byte(edit(t, smallServer, "eth1", "eth0")))
	want := "t.yaml:3:49: port eth0 is named twice, first in link-pair.primary on line 3; a pair is two ports in one device\n" +
		"    3 | link-pair: {device: br0, primary: eth0, backup: eth0, gateway: 10.10.10.254}\n" +
		"      |                                                 ^"
	if err == nil || err.Error() != want {
		t.Errorf("error:\n%v\nwant:\n%s", err, want)
	}
}

func TestProblems_ManyProblems_AreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(smallServer)
	for i := range 50 {
		b.WriteString("zz" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ": 1\n")
	}
	_, err := Parse("t.yaml", []byte(b.String()))
	if err == nil || strings.Count(err.Error(), "unknown key") != problemsMax || !strings.HasSuffix(err.Error(), "t.yaml: and 30 more problems") {
		t.Errorf("error: %v", err)
	}
}

func TestLoad_MissingFile_NamesItOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no.yaml")
	_, err := Load(path)
	if err == nil || err.Error() != "read config "+path+": no such file or directory" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error: %v", err)
	}
}

func TestLoad_HugeFile_IsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "huge.yaml")
	if err := os.WriteFile(path, make([]byte, sizeMax+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("error: %v", err)
	}
}
