package arpnd

import (
	"testing"

	"peerless/internal/step"
)

// A router's port: nothing but ARP is looked at, and of that no question if none is wanted.
func TestDriver_ARPOnly_HearsNothingElse(t *testing.T) {
	nak := serverRequest
	nak.Op = step.ARPNak
	frame := unhex(arpHex)
	frame[arpOpAt+1] = byte(step.ARPNak)
	for _, tc := range []struct {
		name string
		want step.Listen
		seen []step.Event
	}{
		{"all ARP", step.Listen{Port: "near", ARPOnly: true}, []step.Event{serverRequest, nak}},
		{"no requests", step.Listen{Port: "near", ARPOnly: true, Answers: true}, []step.Event{nak}},
		{"no requests among all frames", step.Listen{Port: "near", Answers: true, Echo: ident}, []step.Event{nak}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWire(t)
			w.run()
			w.must(w.driver.Apply([]step.Want{{Object: step.Listen{Port: "near", Sampling: step.SampleAll}}})[0]) // it was wanted otherwise before
			w.must(w.driver.Apply([]step.Want{{Object: tc.want}})[0])
			w.transmit(unhex(dataHex))
			w.transmit(unhex(arpHex))
			w.transmit(frame)
			for _, want := range tc.seen {
				if got := w.next(); got != want {
					t.Errorf("got %v, want %v", got, want)
				}
			}
			if n := w.count().Received; n != uint64(len(tc.seen)) {
				t.Errorf("%d frames were read, want %d", n, len(tc.seen))
			}
		})
	}
}
