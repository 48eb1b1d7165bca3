package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/lab/topology"
)

// standsBeside is fig7 with a carrier, when all is well.
func standsBeside(t *testing.T, c topology.Carrier) *runner {
	t.Helper()
	needRootHere(t)
	if testing.Short() {
		t.Skip("starts routing engines")
	}
	r := labBeside(t, c, daemonBinary(t))
	if _, err := r.converged(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// maxAge is the age at which an LSA is flushed (RFC 2328, appendix B).
const maxAge = 3600

// externals reads G's AS-external-LSAs of hosts: who advertises each, those that are being flushed apart.
func externals(t *testing.T, r *runner) (alive, flushed map[string][]string) {
	t.Helper()
	out, err := r.engines["G"].Ask(t.Context(), "show ip ospf database external json")
	if err != nil {
		t.Fatal(err)
	}
	var db struct {
		States []struct {
			Age    int        `json:"lsaAge"`
			ID     netip.Addr `json:"linkStateId"`
			Router string     `json:"advertisingRouter"`
			Mask   int        `json:"networkMask"`
		} `json:"asExternalLinkStates"`
	}
	if err := json.Unmarshal([]byte(out), &db); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	alive, flushed = map[string][]string{}, map[string][]string{}
	for _, s := range db.States {
		switch {
		case s.Mask != 32:
		case s.Age >= maxAge:
			flushed[s.ID.String()] = append(flushed[s.ID.String()], s.Router)
		default:
			alive[s.ID.String()] = append(alive[s.ID.String()], s.Router)
		}
	}
	return alive, flushed
}

// Router ids of the leaves.
const idA, idB = "10.0.0.11", "10.0.0.12"

func TestFRROSPF_HostsAreExternalLSAs_FlushedWithTheLink(t *testing.T) {
	r := standsBeside(t, topology.Carrier{Engine: "frr-ospf"})
	alive, _ := externals(t, r)
	for host, router := range map[string]string{"10.10.10.1": idA, "10.10.10.2": idA, "10.10.10.3": idB, "10.10.10.4": idB} {
		if !slices.Equal(alive[host], []string{router}) {
			t.Errorf("%s is advertised by %v, want %s alone", host, alive[host], router)
		}
		delete(alive, host)
	}
	if len(alive) != 0 {
		t.Errorf("more than the hosts: %v", alive)
	}
	f, _ := r.top.Fault("server-link")
	if _, err := inject(r.net, f); err != nil {
		t.Fatal(err)
	}
	err := r.await(t.Context(), 5*time.Second, func() ([]string, error) {
		alive, flushed := externals(t, r)
		if !slices.Equal(alive["10.10.10.2"], []string{idB}) {
			return []string{fmt.Sprintf("10.10.10.2 is advertised by %v", alive["10.10.10.2"])}, nil
		}
		if !slices.Contains(flushed["10.10.10.2"], idA) {
			return []string{"the LSA of A is gone without having reached MaxAge"}, nil
		}
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// What a leaf withdraws while no gateway can hear it is flushed as soon as one can.
func TestFRROSPF_GatewayLinkReturns_LeavesNoStaleLSA(t *testing.T) {
	r := standsBeside(t, topology.Carrier{Engine: "frr-ospf"})
	down, _ := r.top.Fault("gateway-link")
	up, _ := r.top.Fault("gateway-link-restore")
	if _, err := inject(r.net, down); err != nil {
		t.Fatal(err)
	}
	moved := func() ([]string, error) {
		alive, _ := externals(t, r)
		for _, host := range []string{"10.10.10.1", "10.10.10.2"} {
			if !slices.Contains(alive[host], idB) {
				return []string{host + " is not advertised by B"}, nil
			}
		}
		return nil, nil
	}
	if err := r.await(t.Context(), 5*time.Second, moved); err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{"C1", "C2"} { // they stay with B
		if err := r.kill(server, "daemon"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := inject(r.net, up); err != nil {
		t.Fatal(err)
	}
	err := r.await(t.Context(), 10*time.Second, func() ([]string, error) {
		alive, flushed := externals(t, r)
		for _, host := range []string{"10.10.10.1", "10.10.10.2"} {
			if slices.Contains(alive[host], idA) || !slices.Contains(flushed[host], idA) {
				return []string{fmt.Sprintf("%s is still advertised by %v", host, alive[host])}, nil
			}
		}
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFRRGateway_ShowsOurCommunities(t *testing.T) {
	r := standsBeside(t, topology.Carrier{Engine: topology.Embedded, Gateway: "frr"})
	type path struct {
		Valid bool `json:"valid"`
		Large struct {
			Text string `json:"string"`
		} `json:"largeCommunity"`
		Peer struct {
			RouterID string `json:"routerId"`
		} `json:"peer"`
	}
	var paths []path
	err := r.await(t.Context(), 5*time.Second, func() ([]string, error) { // the leaf that had it first may not have withdrawn yet
		out, err := r.engines["G"].Ask(t.Context(), "show bgp ipv4 unicast 10.10.10.2/32 json")
		if err != nil {
			return nil, err
		}
		var route struct {
			Paths []path `json:"paths"`
		}
		if err := json.Unmarshal([]byte(out), &route); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, out)
		}
		paths = slices.DeleteFunc(route.Paths, func(p path) bool { return !p.Valid })
		if len(paths) != 1 || paths[0].Peer.RouterID != idA {
			return []string{"not one path from A:\n" + out}, nil
		}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	have := strings.Fields(paths[0].Large.Text)
	for _, want := range []string{"65001:1:2", "65001:2:2", "65001:3:0"} { // leaf port, attachment, primary
		if !slices.Contains(have, want) {
			t.Errorf("no large community %s in %v", want, have)
		}
	}
	for _, key := range []string{"65001:4:", "65001:5:"} { // the stamp
		if !slices.ContainsFunc(have, func(c string) bool { return strings.HasPrefix(c, key) }) {
			t.Errorf("no large community %s… in %v", key, have)
		}
	}
}
