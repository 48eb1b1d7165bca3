package config

import (
	"testing"
	"time"
)

func TestProfile_SetsThePacesThatAreNotGiven(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name, text string
		paces      []time.Duration // leaf: hosts, uplinks, links; gateway: leaves, through if asked for; server: standby-probe, leaf, through if asked for
	}{
		{"leaf without", smallLeaf, []time.Duration{1000 * ms, 100 * ms, 100 * ms}},
		{"leaf default", smallLeaf + "profile: default\n", []time.Duration{1000 * ms, 100 * ms, 100 * ms}},
		{"leaf fast", smallLeaf + "profile: fast\n", []time.Duration{100 * ms, 10 * ms, 10 * ms}},
		{"leaf fast, one pace given", smallLeaf + "profile: fast\nprobe: {uplinks: {interval: 70ms}}\n", []time.Duration{100 * ms, 70 * ms}},
		{"leaf fast, only a multiplier given", smallLeaf + "profile: fast\nprobe: {uplinks: {multiplier: 4}}\n", []time.Duration{100 * ms, 10 * ms}},
		{"leaf without a feed", smallLeaf + "advertise: none\n", []time.Duration{200 * ms, 100 * ms}},
		{"leaf fast without a feed", smallLeaf + "profile: fast\nadvertise: none\n", []time.Duration{100 * ms, 10 * ms}},
		{"gateway", smallGateway, []time.Duration{100 * ms}},
		{"gateway fast", smallGateway + "profile: fast\n", []time.Duration{10 * ms}},
		{"gateway asking through", smallGateway + "probe: {through: {}}\n", []time.Duration{100 * ms, 100 * ms}},
		{"gateway fast, asking through", smallGateway + "profile: fast\nprobe: {through: {multiplier: 5}}\n", []time.Duration{10 * ms, 10 * ms}},
		{"gateway fast, asking through at its own pace", smallGateway + "profile: fast\nprobe: {through: {interval: 50ms}}\n", []time.Duration{10 * ms, 50 * ms}},
		{"server", smallServer, []time.Duration{100 * ms, 100 * ms}},
		{"server fast", smallServer + "profile: fast\n", []time.Duration{10 * ms, 10 * ms}},
		{"server fast, asking through", smallServer + "profile: fast\nprobe: {through: {target: 10.0.0.1}}\n", []time.Duration{10 * ms, 10 * ms, 10 * ms}},
		{"server fast, its pace given", smallServer + "profile: fast\nstandby-probe: 1s\n", []time.Duration{1000 * ms}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []time.Duration
			switch f := mustParse(t, tt.text); {
			case f.Leaf != nil:
				got = []time.Duration{f.Leaf.Probe.Hosts.Interval, f.Leaf.Probe.Uplinks.Interval, f.Leaf.Probe.Links.Interval}
			case f.Gateway != nil:
				got = []time.Duration{f.Gateway.Probe.Leaves.Interval}
				if t := f.Gateway.Probe.Through; t != nil {
					got = append(got, t.Interval)
				}
				if m := f.Gateway.Machine(); (m.Through.Interval > 0) != (f.Gateway.Probe.Through != nil) {
					t.Errorf("the machine asks through at %s", m.Through.Interval)
				}
			default:
				got = []time.Duration{f.Server.StandbyProbe, f.Server.Probe.Leaf.Interval}
				if t := f.Server.Probe.Through; t != nil {
					got = append(got, t.Interval)
				}
			}
			for i, want := range tt.paces {
				if got[i] != want {
					t.Errorf("pace %d is %s, want %s", i, got[i], want)
				}
			}
		})
	}
}

func TestBFD_IsOffUnlessAskedFor_AndFollowsTheProfile(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name, text string
		interval   time.Duration // 0: off
		multiplier int
	}{
		{"nothing said", "", 0, 0},
		{"off", "bfd: off\n", 0, 0},
		{"on", "bfd: on\n", 100 * ms, 3},
		{"on, fast", "bfd: on\nprofile: fast\n", 10 * ms, 3},
		{"an empty mapping", "bfd: {}\n", 100 * ms, 3},
		{"a pace", "bfd: {interval: 50ms, multiplier: 5}\n", 50 * ms, 5},
		{"a multiplier, fast", "bfd: {multiplier: 5}\nprofile: fast\n", 10 * ms, 5},
	} {
		l, g := mustParse(t, smallLeaf+tt.text).Leaf.Machine().BFD, mustParse(t, smallGateway+tt.text).Gateway.Machine().BFD
		if l.Interval != tt.interval || l.Multiplier != tt.multiplier || g.Interval != tt.interval || g.Multiplier != tt.multiplier {
			t.Errorf("%s: leaf %+v, gateway %+v", tt.name, l, g)
		}
	}
}

func TestBFD_Effective_IsReadBack(t *testing.T) {
	for _, text := range []string{"", "bfd: {interval: 50ms, multiplier: 5}\n"} {
		first := mustParse(t, smallLeaf+text).Leaf
		printed, err := Effective(first)
		if err != nil {
			t.Fatal(err)
		}
		if again := mustParse(t, string(printed)).Leaf; again.BFD != first.BFD {
			t.Errorf("%+v became %+v in:\n%s", first.BFD, again.BFD, printed)
		}
	}
}
