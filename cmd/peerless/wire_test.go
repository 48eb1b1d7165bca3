package main

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"peerless/internal/config"
)

func parsed(t *testing.T, text string) *config.File {
	t.Helper()
	file, err := config.Parse("t.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLeafSpeaker_NeverListensAndPassesNothingOn(t *testing.T) {
	o := leafSpeaker(parsed(t, minimalLeaf).Leaf, &life{restarting: true}, slog.Default())
	if o.ListenPort != -1 || o.Transit || !o.AcceptDefault || !o.Restarting || o.HoldTime != 9*time.Second {
		t.Errorf("options: %+v", o)
	}
	n := o.Neighbors[0]
	if len(o.Neighbors) != 1 || n.Passive || n.BindInterface != "A0" || n.AllowOwnAS != 1 || n.Password != "secret" || n.Port != 179 {
		t.Errorf("neighbour: %+v", n)
	}
}

func TestGatewaySpeaker_WaitsAndFeedsTheNewestClaim(t *testing.T) {
	g := parsed(t, minimalGateway+"dynamic-leaves: [{prefix: 172.31.16.0/20, as: 65100}]\n").Gateway
	o := gatewaySpeaker(g, &life{}, slog.Default())
	if o.ListenPort != 179 || !o.Transit || !o.AlwaysCompareMED || o.AcceptDefault || o.Restarting || o.MaxPrefixes <= g.MaxHosts {
		t.Errorf("options: %+v", o)
	}
	for _, p := range []string{"10.10.10.0/24", "10.255.0.0/16"} {
		if !slices.Contains(o.Accept, netip.MustParsePrefix(p)) {
			t.Errorf("%s is not accepted", p)
		}
	}
	if n := o.Neighbors[0]; len(o.Neighbors) != 1 || !n.Passive || !n.ReplacePeerAS || len(o.Dynamic) != 1 || !o.Dynamic[0].ReplacePeerAS {
		t.Errorf("neighbours: %+v %+v", o.Neighbors, o.Dynamic)
	}
}

func TestCarrierPoll_Off_MeansNever(t *testing.T) {
	if got := carrierPoll(&config.Common{}); got >= 0 {
		t.Errorf("off gives %s", got)
	}
	if got := carrierPoll(&config.Common{CarrierPoll: time.Millisecond}); got != time.Millisecond {
		t.Errorf("1ms gives %s", got)
	}
}
