package flood

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"peerless/internal/model"
)

func some(kind Kind) Options {
	return Options{
		Port: "eth0", Kind: kind, PerSecond: 1000, For: time.Second, Subnet: netip.MustParsePrefix("10.10.10.0/24"),
		Own: netip.MustParseAddr("10.10.10.1"), OwnMAC: model.MAC{2, 0, 0, 0, 0, 1}, Victim: netip.MustParseAddr("10.10.10.3"),
		Gateway: netip.MustParseAddr("10.10.10.254"), GatewayMAC: model.MAC{2, 0, 0x5e, 0, 0, 1}, Seed: 7,
	}
}

func TestMaker_EveryKind_IsWhatItSaysAndRepeats(t *testing.T) {
	for _, kind := range Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			a, b := newMaker(some(kind)), newMaker(some(kind))
			senders, macs := map[string]bool{}, map[string]bool{}
			for range 1000 {
				f := a.next()
				if !bytes.Equal(f, b.next()) {
					t.Fatal("the same seed gives another flood")
				}
				if kind == Malformed {
					continue
				}
				if len(f) != 42 {
					t.Fatalf("%d bytes", len(f))
				}
				macs[string(f[22:28])], senders[string(f[28:32])] = true, true
			}
			random := func(what string, n int, want bool) {
				if want != (n > 100) || !want && n > 1 {
					t.Errorf("%d different %s", n, what)
				}
			}
			if kind != Malformed {
				random("owners", len(macs), kind == Owners || kind == Askers || kind == Moves || kind == Reverse)
				random("addresses", len(senders), kind == Owners || kind == Askers || kind == Addresses || kind == Answers)
			}
		})
	}
}

func TestMaker_OwnersOfASubnet_NeedNoOtherAddress(t *testing.T) {
	m := newMaker(Options{Kind: Owners, Subnet: netip.MustParsePrefix("10.10.10.0/24")})
	if f := m.next(); len(f) != 42 || !bytes.Equal(f[28:31], []byte{10, 10, 10}) {
		t.Errorf("% x", f)
	}
}

func TestRun_OutsideOfALab_IsRefused(t *testing.T) {
	if _, err := Run(t.Context(), some(Owners)); err == nil || !strings.Contains(err.Error(), "namespace") {
		t.Fatalf("ran in the machine's namespace: %v", err)
	}
	for _, change := range []func(*Options){
		func(o *Options) { o.PerSecond = PerSecondMax + 1 }, func(o *Options) { o.PerSecond = 0 },
		func(o *Options) { o.For = ForMax + 1 }, func(o *Options) { o.For = 0 },
	} {
		o := some(Owners)
		change(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "bounds") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
