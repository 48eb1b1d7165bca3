package leaf

import (
	"slices"
	"testing"
	"time"

	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
)

// closings gives the ports that effects ask to close, in this order.
func closings(effects []step.Effect) (ports []model.Port) {
	for _, e := range effects {
		if w, ok := e.(step.Want); ok {
			if g, ok := w.Object.(step.Gate); ok && g.Closed && !w.Absent {
				ports = append(ports, g.Port)
			}
		}
	}
	return ports
}

// told gives the servers that effects tell that their port is about to be closed.
func told(effects []step.Effect) (servers []step.SendARP) {
	for _, e := range effects {
		if a, ok := e.(step.SendARP); ok && a.Op == step.ARPNak {
			servers = append(servers, a)
		}
	}
	return servers
}

func TestLeaf_GatewayLost_TellsTheServerThatAsksAndThenCloses(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(asksOpen("A2", 2))
	w.do(garp("A2", 2))
	w.reset()
	now := w.port("A0", carrier(false))
	w.Comment("the server has had its time")
	later := w.pass(3 * time.Millisecond)
	if s := told(now); len(s) != 1 || s[0].Port != "A2" || s[0].DstMAC != macOf(2) || s[0].TargetMAC != macOf(2) || s[0].SenderIP != gwAddr || s[0].SenderMAC != vmac {
		t.Errorf("told %v", s)
	}
	if closings(now) != nil || !slices.Equal(closings(later), []model.Port{"A2"}) || w.m.down("A2").gate.State != linkage.Held {
		t.Errorf("closes %v at once and %v after", closings(now), closings(later))
	}
	w.Golden(t, "parting")
}

// Whoever hangs on another port of the same leaf waits for nobody; and what was asked in an earlier time of the port counts no more.
func TestLeaf_GatewayLost_ClosesAtOnceWhereNobodyAsks(t *testing.T) {
	w := newWorld(t, fig7A())
	w.open()
	w.do(asksOpen("A2", 2))
	w.do(asksOpen("A3", 3))
	w.port("A3", carrier(false))
	w.port("A3", carrier(true))
	now := w.port("A0", carrier(false))
	if got := closings(now); !slices.Equal(got, []model.Port{"A1", "A3", "A4"}) || len(told(now)) != 1 {
		t.Errorf("closes %v at once, tells %v", got, told(now))
	}
	if got := closings(w.pass(3 * time.Millisecond)); !slices.Equal(got, []model.Port{"A2"}) {
		t.Errorf("closes %v after", got)
	}
}

func TestLeaf_ServerParts_OperatorIsFaster(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(asksOpen("A2", 2))
	w.port("A0", carrier(false))
	w.pass(time.Millisecond)
	w.port("A2", admin(false))
	if got := closings(w.pass(time.Second)); got != nil || w.m.down("A2").gate.State != linkage.Off {
		t.Errorf("closes %v, which the operator closed", got)
	}
}

// A gateway that is back at once changes nothing: whether the leaf can forward again shows only later.
func TestLeaf_ServerParts_GatewayIsBackAtOnce_ClosesAndOpens(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	w.do(asksOpen("A2", 2))
	w.port("A0", carrier(false))
	w.port("A0", carrier(true))
	if got := closings(w.pass(3 * time.Millisecond)); !slices.Equal(got, []model.Port{"A2"}) {
		t.Errorf("closes %v", got)
	}
	w.gatewayUp(w.m.cfg.Uplinks[0])
	w.pass(time.Second)
	if !w.m.down("A2").serving {
		t.Errorf("does not serve: %s", w.m.down("A2").why)
	}
}

func TestLeaf_Nak_TeachesNothing(t *testing.T) {
	w := newWorld(t, small())
	w.open()
	e := garp("A2", 2)
	e.Op = step.ARPNak
	if got := w.do(e); len(got) != 0 {
		t.Errorf("does %v", got)
	}
}
