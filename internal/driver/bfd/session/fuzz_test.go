package session

import (
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bfd"
)

// FuzzSession feeds a session any packets at any times: it never panics, never has a timer in the past that does nothing, and is up
// only on the word of a neighbour that was heard within the detection time.
func FuzzSession(f *testing.F) {
	for _, state := range []bfd.StateType{bfd.StateDown, bfd.StateInit, bfd.StateUp} {
		if b, err := from(state).MarshalBinary(); err == nil {
			f.Add(b, uint16(50))
			f.Add(append(append(b, b...), b...), uint16(500))
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte, pause uint16) {
		s, now := fresh(), epoch
		for ; len(stream) >= 24; stream = stream[24:] {
			var p bfd.BFDHeader
			raw := append([]byte(nil), stream[:24]...)
			raw[3] = 24
			if p.UnmarshalBinary(raw) == nil && Accepts(&p, raw[1]) {
				s.Receive(now, now-time.Duration(pause)/2, &p, Demands(raw[1]))
			}
			now += time.Duration(pause) * time.Millisecond
			s.Expire(now)
			if s.state == bfd.StateUp && s.hearing && now-s.heard > s.detect() && now > s.grant {
				t.Fatalf("up without being heard for %s of %s", now-s.heard, s.detect())
			}
			if out, ok := s.Transmit(now); ok {
				if _, err := out.MarshalBinary(); err != nil || !Accepts(&out, byte(out.State)<<6) && out.YourDiscriminator != 0 {
					t.Fatalf("packet %+v: %v", out, err)
				}
			}
			if at, ok := s.Next(); ok && at <= now {
				t.Fatalf("a timer %s ago that has nothing to do: %+v", now-at, s)
			}
		}
	})
}
