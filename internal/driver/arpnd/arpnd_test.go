package arpnd

import (
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

var serverRequest = step.ARPSeen{Port: "near", Op: step.ARPRequest, SrcMAC: serverMAC, SenderMAC: serverMAC, SenderIP: serverIP,
	TargetIP: gatewayIP}

func TestDriver_ARPAndRARP_AreSeen(t *testing.T) {
	for _, tc := range []struct {
		name      string
		runsFirst bool
	}{{"port opened after run", true}, {"port opened before run", false}} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWire(t)
			if tc.runsFirst {
				w.run()
			}
			w.must(w.listen(step.SampleNone))
			w.transmit(unhex(arpHex))
			w.transmit(unhex(rarpHex))
			if !tc.runsFirst {
				w.run()
			}
			if got := w.next(); got != serverRequest {
				t.Errorf("got %v, want %v", got, serverRequest)
			}
			if got, want := w.next(), (step.RARPSeen{Port: "near", MAC: serverMAC}); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestDriver_ARPToAnotherStation_IsSeen(t *testing.T) {
	w := newWire(t)
	w.run()
	w.must(w.listen(step.SampleNone))
	frame := unhex(arpHex)
	copy(frame[dstMACAt:], []byte{2, 9, 9, 9, 9, 9})
	w.transmit(frame)
	if got := w.next(); got != serverRequest {
		t.Errorf("got %v, want %v", got, serverRequest)
	}
}

func TestDriver_TaggedFrame_IsOfAnotherPortUnlessOnlyPriority(t *testing.T) {
	tagged := func(tci string) []byte {
		return unhex(strings.Replace(arpHex, "0806", "8100"+tci+"0806", 1))
	}
	for _, tc := range []struct {
		name string
		tci  string
		seen int
	}{{"VLAN 5", "0005", 0}, {"priority 6 of no VLAN", "c000", 1}} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWire(t)
			w.run()
			w.must(w.listen(step.SampleAll))
			w.transmit(tagged(tc.tci))
			if got := w.untilSentinel(); len(got) != tc.seen {
				t.Errorf("saw %v, want %d events", got, tc.seen)
			}
		})
	}
}

func TestDriver_MalformedFrames_AreCountedAndDropped(t *testing.T) {
	w := newWire(t)
	w.run()
	w.must(w.listen(step.SampleNone))
	w.transmit(unhex(arpHex)[:41])
	w.transmit(append(unhex(arpHex), make([]byte, 1400)...))
	w.transmit(unhex(strings.Replace(arpHex, "06 04", "06 10", 1)))
	if got := w.untilSentinel(); len(got) != 0 {
		t.Errorf("saw %v", got)
	}
	if c := w.count(); c.Malformed != 3 || c.Received != 4 {
		t.Errorf("malformed %d of %d, want 3 of 4", c.Malformed, c.Received)
	}
}

// sampleFrames is enough for SampleFew to pass none of them once in 10^13.
const sampleFrames = 2000

func TestDriver_Sampling_PassesItsShare(t *testing.T) {
	for _, tc := range []struct {
		name     string
		sampling step.Sampling
		min, max uint64 // packets read
	}{
		{"none", step.SampleNone, 0, 0},
		{"few", step.SampleFew, 1, 4 * sampleFrames / sampleFewOne},
		{"all", step.SampleAll, readsBurst, sampleFrames},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWire(t)
			w.run()
			w.must(w.listen(tc.sampling))
			for i := range sampleFrames {
				frame := dataFrom(i)
				copy(frame[dstMACAt:], model.Broadcast[:])
				w.transmit(frame)
			}
			seen := w.untilSentinel()
			c := w.count()
			if read := c.Received - 1; read < tc.min || read > tc.max {
				t.Errorf("read %d, want %d to %d", read, tc.min, tc.max)
			}
			if uint64(len(seen)) != c.Sampled || (tc.min > 0) != (len(seen) > 0) {
				t.Errorf("saw %d, counted %d", len(seen), c.Sampled)
			}
		})
	}
}

func TestDriver_SampleAll_FirstPacketCounts(t *testing.T) {
	w := newWire(t)
	w.run()
	w.must(w.listen(step.SampleNone))
	w.must(w.listen(step.SampleAll))
	ours := w.link("near").Attrs().HardwareAddr
	for _, to := range []struct {
		name string
		mac  []byte
		seen int
	}{
		{"to us", ours, 1},
		{"to all", model.Broadcast[:], 1},
		{"to another station", []byte{2, 9, 9, 9, 9, 9}, 0},
	} {
		frame := dataFrom(len(to.name))
		copy(frame[dstMACAt:], to.mac)
		w.transmit(frame)
		if got := w.untilSentinel(); len(got) != to.seen {
			t.Errorf("%s: saw %v, want %d events", to.name, got, to.seen)
		}
	}
}

func TestDriver_DataFlood_IsHeldOffByTheKernelAndEndsInTime(t *testing.T) {
	w := newWire(t)
	w.run()
	w.must(w.listen(step.SampleAll))
	const flood = 100_000
	frame := dataFrom(7)
	copy(frame[dstMACAt:], model.Broadcast[:])
	for range flood {
		w.transmit(frame)
	}
	w.untilSentinel()
	if read := w.count().Received; read > flood/4 {
		t.Errorf("read %d of %d frames", read, flood)
	}
	fresh := dataFrom(8)
	copy(fresh[dstMACAt:], model.Broadcast[:])
	w.hearsAgain(fresh)
}

// burst sends n different ARP requests from the far end and reports how many the veth itself dropped.
func (w *wire) burst(n int) (lost int) {
	w.tb.Helper()
	before := w.link(w.far).Attrs().Statistics.TxDropped
	frame := unhex(arpHex)
	for i := range n {
		binary.BigEndian.PutUint32(frame[senderIPAt:], 10<<24+uint32(i))
		w.transmit(frame)
	}
	return int(w.link(w.far).Attrs().Statistics.TxDropped - before)
}

func TestDriver_BurstOfAnnouncements_ArrivesWhole(t *testing.T) {
	const hosts = 10_000
	for _, tc := range []struct {
		name      string
		runsFirst bool
	}{{"read while it comes", true}, {"queued by the kernel", false}} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWire(t)
			if tc.runsFirst {
				w.run()
			}
			w.must(w.listen(step.SampleAll))
			start := time.Now()
			lost := w.burst(hosts)
			if !tc.runsFirst {
				w.run()
			}
			got := len(w.untilSentinel())
			t.Logf("%d announcements in %s", got, time.Since(start))
			if got != hosts-lost {
				t.Errorf("saw %d of %d announcements (veth dropped %d)", got, hosts, lost)
			}
			if c := w.count(); c.KernelDrops != 0 {
				t.Errorf("kernel dropped %d", c.KernelDrops)
			}
		})
	}
}

func TestDriver_ReceiveBufferFull_IsCounted(t *testing.T) {
	w := newWire(t)
	w.driver.receiveBuffer = 1 << 14
	w.must(w.listen(step.SampleNone))
	w.burst(1000)
	first := w.count().KernelDrops
	w.burst(10)
	if second := w.count().KernelDrops; first == 0 || second != first+10 {
		t.Errorf("kernel dropped %d, then %d", first, second)
	}
}

func TestDriver_PortDownAndUp_StillListens(t *testing.T) {
	w := newWire(t)
	w.run()
	w.must(w.listen(step.SampleNone))
	for range 3 {
		w.setUp("near", false)
		if err := w.listen(step.SampleNone); !errors.Is(err, unix.ENETDOWN) {
			t.Errorf("listen on a port that is down: %v", err)
		}
		if _, err := w.driver.Emit(leafReply); !errors.Is(err, unix.ENETDOWN) {
			t.Errorf("send on a port that is down: %v", err)
		}
		w.setUp("near", true)
		w.hearsAgain(unhex(arpHex))
		w.untilSentinel()
	}
}

func TestDriver_PortDownAtFirst_HearsFromTheMomentItIsUp(t *testing.T) {
	w := newWire(t)
	w.run()
	w.setUp("near", false)
	if err := w.listen(step.SampleNone); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("listen on a port that is down: %v", err)
	}
	w.setUp("near", true)
	w.hearsAgain(unhex(arpHex))
}

func TestDriver_PortDeletedAndRecreated_ListensAgainWhenAsked(t *testing.T) {
	w := newWire(t)
	w.run()
	w.must(w.listen(step.SampleNone))
	for range 2 {
		w.unplug()
		if err := w.listen(step.SampleNone); !errors.Is(err, unix.ENODEV) {
			t.Errorf("listen on a missing port: %v", err)
		}
		w.must(unix.Close(w.fd))
		w.plug()
		w.must(w.listen(step.SampleNone))
		w.hearsAgain(unhex(arpHex))
		w.untilSentinel()
	}
	w.unplug() // and with nobody asking in between
	w.must(unix.Close(w.fd))
	w.plug()
	w.must(w.listen(step.SampleNone))
	w.hearsAgain(unhex(arpHex))
}

func TestDriver_ListenAbsent_HearsNothing(t *testing.T) {
	w := newWire(t)
	w.run()
	w.must(w.listen(step.SampleNone))
	w.transmit(unhex(arpHex))
	w.next()
	for range 2 { // the second time nothing is open
		w.must(w.driver.Apply([]step.Want{{Object: step.Listen{Port: w.port}, Absent: true}})[0])
	}
	w.transmit(unhex(arpHex))
	w.must(w.listen(step.SampleNone))
	if got := w.untilSentinel(); len(got) != 0 {
		t.Errorf("saw %v", got)
	}
}

func TestDriver_WantOfAnotherKind_IsAnError(t *testing.T) {
	w := newWire(t)
	errs := w.driver.Apply([]step.Want{{Object: step.Gate{Port: w.port}}, {Object: step.Listen{Port: w.port}}})
	if errs[0] == nil || errs[1] != nil {
		t.Errorf("got %v", errs)
	}
}

func TestDriver_Closed_OpensNothing(t *testing.T) {
	w := newWire(t)
	w.must(w.listen(step.SampleNone))
	w.driver.Close()
	if err := w.listen(step.SampleNone); !errors.Is(err, errClosed) {
		t.Errorf("listen: %v", err)
	}
	if _, err := w.driver.Emit(leafReply); !errors.Is(err, errClosed) {
		t.Errorf("emit: %v", err)
	}
}

func TestDriver_WithoutCapability_SaysWhichOne(t *testing.T) {
	w := newWire(t)
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine and its capabilities with it
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			result <- err
			return
		}
		result <- w.listen(step.SampleNone)
	}()
	if err := <-result; !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "listen on near") ||
		!strings.Contains(err.Error(), "CAP_NET_RAW") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkDelivery is the time from a write on the far end to the event, one frame at a time.
func BenchmarkDelivery(b *testing.B) {
	w := newWire(b)
	w.run()
	w.must(w.listen(step.SampleAll))
	frame := unhex(arpHex)
	for b.Loop() {
		w.transmit(frame)
		<-w.events
	}
}
