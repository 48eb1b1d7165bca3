package main

import (
	"strings"
	"testing"

	"peerless/internal/config"
)

func TestConfigEngine_ReferenceConfigs_GiveEveryEngineItsConfig(t *testing.T) {
	files := map[string]string{}
	for _, role := range config.Roles() {
		text, err := config.Reference(role)
		if err != nil {
			t.Fatal(err)
		}
		files[role] = write(t, role+".yaml", text)
	}
	listed, _ := config.Reference(config.RoleGateway)
	_, rest, _ := strings.Cut(listed, "\ndynamic-leaves:")
	_, rest, _ = strings.Cut(rest, "\n\n")
	listed, _, _ = strings.Cut(listed, "\ndynamic-leaves:")
	files["gateway-listed"] = write(t, "listed.yaml", listed+"\n"+rest) // OSPF names ports
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"FRR leaf, OSPF unless told otherwise", []string{"frr", "--config", files["leaf"]}, "router ospf\n"},
		{"FRR gateway", []string{"frr", "--config", files["gateway"], "--protocol", "bgp"}, "router bgp 65000\n"},
		{"BIRD leaf", []string{"bird", "--config", files["leaf"], "--protocol", "bgp", "--table", "42"}, "kernel table 42;"},
		{"BIRD gateway, BFD in its file", []string{"bird", "--config", files["gateway-listed"]}, "protocol bfd {"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := inProcess(t, append([]string{"config"}, tt.args...)...)
			if r.status != 0 || r.errOut != "" || !strings.Contains(r.out, tt.want) {
				t.Errorf("status %d, %q, no %q in:\n%s", r.status, r.errOut, tt.want, r.out)
			}
		})
	}
	r := inProcess(t, "config", "frr", "--config", files["server"])
	if r.status != statusUsage || !strings.Contains(r.errOut, "only a leaf or a gateway routes") {
		t.Errorf("server: status %d, %q", r.status, r.errOut)
	}
}
