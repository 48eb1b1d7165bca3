package gateway

import (
	"slices"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/liveness"
	"peerless/internal/step"
)

// crowd is a gateway with four hosts behind one server port, which are many here.
func crowd(t *testing.T) (*kernel, []step.Path) {
	t.Helper()
	cfg := fig7()
	cfg.Burst = 3
	k := newKernel(New(cfg))
	k.step(step.Started{}, k.snapshot("start", up("to-A"), up("to-B")))
	k.step(session(addrA), session(addrB), paths(addrA, allUp(addrA)...), paths(addrB, allUp(addrB)...))
	var hosts []step.Path
	for i := byte(11); i <= 14; i++ {
		hosts = append(hosts, hostUnder(addrA, c(i), 1, 0))
	}
	k.step(paths(addrA, hosts...))
	k.wait(time.Second)
	return k, hosts
}

// asked are the wants of routes that are pending, by table.
func (k *kernel) asked() (present, absent int) {
	for _, w := range k.pending {
		if _, route := w.Object.(step.Route); route && w.Absent {
			absent++
		} else if route {
			present++
		}
	}
	return present, absent
}

func TestAfterwards_ManyHostsOfOneServerPort_AreRepairedFirst(t *testing.T) {
	k, _ := crowd(t)
	k.hold = true
	k.step(paths(addrA, attachment(addrA, 1, claim.Down, claim.ReasonCarrierLost)))
	if present, absent := k.asked(); present != 0 || absent != 4 {
		t.Fatalf("%d routes and %d deletions are asked for at once, want 4 deletions alone: the backups serve", present, absent)
	}
	k.hold = false
	k.apply()
	for _, h := range k.machine.table.Hosts() {
		if h.Waits == 0 {
			t.Fatalf("nothing of host %s was put off", h.Addr)
		}
	}
	k.wait(2 * liveness.Respite(8))
	l := k.machine.leaves[1]
	for i := byte(11); i <= 14; i++ {
		if !slices.ContainsFunc(routesOf(k), func(r step.Route) bool {
			return r.Prefix == step.HostPrefix(c(i)) && r.Table == testBase+l.slot
		}) {
			t.Errorf("host %s has no primary route to leaf B after the respite", c(i))
		}
	}
}

func TestAfterwards_HostChangesMeanwhile_NewestWins(t *testing.T) {
	k, hosts := crowd(t)
	k.step(paths(addrA, attachment(addrA, 1, claim.Down, claim.ReasonCarrierLost)))
	k.step(paths(addrA, attachment(addrA, 1, claim.Up, claim.ReasonReady))) // it was a flap
	k.step(paths(addrA, hosts...))
	k.wait(time.Second)
	for i := byte(11); i <= 14; i++ {
		h := k.machine.table.Host(c(i))
		if h.Primary != k.machine.leaves[0].id || h.Waits != 0 {
			t.Errorf("host %s: primary %d, %d wants put off", c(i), h.Primary, h.Waits)
		}
		if _, ok := k.routes[k.machine.backupRoute(h, k.machine.leaves[1]).Key()]; !ok {
			t.Errorf("host %s has no backup: the end of its old one came after the new one", c(i))
		}
	}
}

func TestAfterwards_LeafLost_ItsSessionEndsWhenTheyAreRepaired(t *testing.T) {
	k, hosts := crowd(t)
	k.step(step.PortChanged{PortState: noCarrier("to-A")})
	if k.resets != 0 {
		t.Fatal("the speaker drops the leaf's paths one by one while its hosts are being repaired")
	}
	k.step(paths(addrA, hosts...))
	k.wantLookup(t, c(11), "to-B")
	k.wait(liveness.Respite(4))
	if k.resets != 1 {
		t.Errorf("%d resets after the respite, want 1", k.resets)
	}
	k.wait(time.Second)
	if k.resets != 1 {
		t.Errorf("%d resets, want no other", k.resets)
	}
}

// What was said before the loss does not count, so that a port that is back needs a new session; one that is down needs no reset.
func TestAfterwards_LeafLost_ItsSessionEndsMeanwhile_OnceInAll(t *testing.T) {
	for what, c := range map[string]struct {
		ev     step.Event
		resets int
	}{
		"the port is back":           {step.PortChanged{PortState: up("to-A")}, 1},
		"the session ends by itself": {step.SessionChanged{Peer: addrA, AS: 65001, Reason: step.ReasonHoldTimer}, 0},
		"a session comes up":         {session(addrA), 1},
	} {
		k, _ := crowd(t)
		k.step(step.PortChanged{PortState: noCarrier("to-A")}, c.ev)
		if k.resets != c.resets {
			t.Errorf("%s: %d resets, want %d", what, k.resets, c.resets)
		}
		k.wait(time.Second)
		if k.resets != c.resets {
			t.Errorf("%s: %d resets a second later, want %d", what, k.resets, c.resets)
		}
	}
}

func routesOf(k *kernel) []step.Route {
	var out []step.Route
	for _, r := range k.routes {
		out = append(out, r)
	}
	return out
}
