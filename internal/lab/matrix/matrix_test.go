package matrix

import (
	"slices"
	"testing"
	"time"

	"peerless/internal/lab/topology"
)

func TestCases_EachIsSoundOnItsTopology(t *testing.T) {
	var seen []string
	for _, c := range All() {
		t.Run(c.Name, func(t *testing.T) {
			if slices.Contains(seen, c.Name) {
				t.Error("the name is taken")
			}
			seen = append(seen, c.Name)
			for _, profile := range []string{Default, Fast} {
				top, err := Topology(c.Variant, profile)
				if err != nil {
					t.Fatal(err)
				}
				if err := top.Validate(); err != nil {
					t.Error(err)
				}
				for _, d := range append(slices.Clone(c.Break), c.Mend...) {
					if err := known(top, d); err != "" {
						t.Errorf("%s: %s", d, err)
					}
				}
				for _, b := range c.Bounds {
					if e := known(top, Deed{Node: b.Node}); e != "" || b.Port != "" && known(top, Deed{At: topology.End{Node: b.Node, Port: b.Port}}) != "" {
						t.Errorf("bound of %s %s: no such node or port", b.Node, b.Port)
					}
				}
				if !slices.ContainsFunc(top.Flows, c.Concerns) {
					t.Error("it concerns no flow")
				}
			}
			if c.Limits != nil && c.Limit(Default) == 0 {
				t.Error("it has limits and none for the default profile")
			}
		})
	}
}

// known says what a deed names that is not there.
func known(top topology.Topology, d Deed) string {
	if d.At != (topology.End{}) && !slices.ContainsFunc(top.Links, func(l topology.Link) bool { return l.A == d.At || l.B == d.At }) {
		return "no such port"
	}
	for _, n := range []string{d.Node, d.Peer} {
		if _, ok := top.Node(n); n != "" && !ok {
			return "no such node"
		}
	}
	if d.At == (topology.End{}) && d.Node == "" {
		return "it is done to nobody"
	}
	return ""
}

// opposites undo each other.
var opposites = map[Verb]Verb{
	PortDown: PortUp, Deafen: Hear, NoForward: Forward, Kill: Start, Terminate: Start, Freeze: Thaw, Die: Boot, Drain: Undrain, Shut: Open,
}

func TestCases_WhatIsBroken_IsMended(t *testing.T) {
	for _, c := range All() {
		left := map[Deed]bool{}
		for _, d := range append(slices.Clone(c.Break), c.Mend...) {
			d.Wait, d.Lost = 0, ""
			if _, breaks := opposites[d.Verb]; breaks {
				left[d] = true
			}
			for bad, good := range opposites {
				if good == d.Verb {
					undone := d
					undone.Verb = bad
					delete(left, undone)
				}
			}
		}
		for d := range left {
			t.Errorf("case %s: %s is never mended", c.Name, d)
		}
	}
}

func TestLimit_Profile_FallsBackToTheDefault(t *testing.T) {
	c := Case{Limits: map[string]time.Duration{Default: 400, Fast: 60}}
	if c.Limit(Default) != 400 || c.Limit(Fast) != 60 {
		t.Error("wrong limit of a profile")
	}
	if c = (Case{Limits: within(10)}); c.Limit(Fast) != 10 {
		t.Error("a profile without a limit of its own has not the default's")
	}
}
