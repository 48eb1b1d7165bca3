package linkage

import (
	"testing"
	"time"
)

func TestDrain_Product_EveryPairIsStated(t *testing.T) {
	for s := Serving; s < drainStates; s++ {
		for e := Ordered; e < drainEvents; e++ {
			tr := drainTable[s][e]
			if !tr.stated {
				t.Errorf("(%s, %s) is not stated", s, e)
			}
			if s != Serving && tr.to == Serving && e != Recalled {
				t.Errorf("(%s, %s) ends a drain without an order", s, e)
			}
			if s == Serving && tr.to != Serving && e != Ordered {
				t.Errorf("(%s, %s) drains without an order", s, e)
			}
			if e == Recalled && tr.to != Serving {
				t.Errorf("(%s, %s) does not end it", s, e)
			}
		}
	}
}

func TestDrain_Fate_NobodyDiesWithoutForce(t *testing.T) {
	const bound = 10 * time.Second
	tests := []struct {
		name   string
		behind Behind
		early  Fate
		late   Fate
		soon   bool // closed at once
		closed bool // closed after the bound
		forced bool // closed after the bound, by force
	}{
		{"nobody there", Behind{}, Nobody, Nobody, true, true, true},
		{"a server that asks", Behind{Hosts: 3, Asks: true}, Moves, Stays, false, false, true},
		{"a server that moves when its link goes", Behind{Hosts: 3}, Cut, Cut, false, true, true},
		{"a server without another link", Behind{Hosts: 1, Single: true}, Dies, Dies, false, false, true},
		{"one that asks all the same", Behind{Hosts: 1, Single: true, Asks: true}, Dies, Dies, false, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, force := range []bool{false, true} {
				d := Drain{Max: bound}
				if _, now := d.Fate(bound, tt.behind); now {
					t.Fatal("closes a port of a leaf that serves")
				}
				d.Step(time.Second, Ordered)
				d.Force = force
				fate, soon := d.Fate(time.Second+bound-1, tt.behind)
				if fate != tt.early || soon != tt.soon {
					t.Errorf("force %v: before the bound %s, closed %v; want %s, %v", force, fate, soon, tt.early, tt.soon)
				}
				fate, late := d.Fate(time.Second+bound, tt.behind)
				if want := tt.closed || force && tt.forced; fate != tt.late || late != want {
					t.Errorf("force %v: after the bound %s, closed %v; want %s, %v", force, fate, late, tt.late, want)
				}
			}
		})
	}
}
