package arpnd

import (
	"testing"

	"golang.org/x/sys/unix"

	"peerless/internal/step"
)

var leafReply = step.SendARP{Port: "near", Op: step.ARPReply, DstMAC: serverMAC, SenderMAC: virtualMAC, SenderIP: gatewayIP,
	TargetMAC: serverMAC, TargetIP: serverIP}

func TestDriver_OwnTransmissions_AreNotSeen(t *testing.T) {
	w := newWire(t)
	w.run()
	w.must(w.listen(step.SampleAll))
	for range 10 {
		if handled, err := w.driver.Emit(leafReply); !handled || err != nil {
			t.Fatalf("handled %t, %v", handled, err)
		}
	}
	if got := w.untilSentinel(); len(got) != 0 {
		t.Errorf("saw %v", got)
	}
	if c := w.count(); c.Sent != 10 || c.Received != 1 {
		t.Errorf("sent %d, received %d; want 10, 1", c.Sent, c.Received)
	}
}

func TestDriver_Emit_PutsTheFrameOnTheWire(t *testing.T) {
	for _, tc := range []struct {
		name   string
		listen bool
	}{{"port listened to", true}, {"port not listened to", false}} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWire(t)
			w.run()
			if tc.listen {
				w.must(w.listen(step.SampleNone))
			}
			if handled, err := w.driver.Emit(leafReply); !handled || err != nil {
				t.Fatalf("handled %t, %v", handled, err)
			}
			var want [arpFrameLen]byte
			w.must(encodeARP(&want, &leafReply))
			if got := w.receiveFar(); string(got) != string(want[:]) {
				t.Errorf("got %x, want %x", got, want)
			}
		})
	}
}

func TestDriver_EmitOfAnotherEffect_IsNotHandled(t *testing.T) {
	d, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if handled, err := d.Emit(step.Resolve{}); handled || err != nil {
		t.Errorf("handled %t, %v", handled, err)
	}
}

func TestDriver_EmitWithoutListening_SurvivesRecreation(t *testing.T) {
	w := newWire(t)
	for range 2 {
		if _, err := w.driver.Emit(leafReply); err != nil {
			t.Error(err)
		}
		w.unplug()
		if _, err := w.driver.Emit(leafReply); err == nil {
			t.Error("sent on a missing port")
		}
		w.must(unix.Close(w.fd))
		w.plug()
	}
	if _, err := w.driver.Emit(leafReply); err != nil {
		t.Error(err)
	}
}

func TestDriver_Emit_AllocatesNothing(t *testing.T) {
	w := newWire(t)
	var effect step.Effect = leafReply
	if n := testing.AllocsPerRun(100, func() { _, _ = w.driver.Emit(effect) }); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func BenchmarkEmit(b *testing.B) {
	w := newWire(b)
	w.must(w.listen(step.SampleNone))
	var effect step.Effect = leafReply
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.driver.Emit(effect); err != nil {
			b.Fatal(err)
		}
	}
}
