package arpnd

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"

	"peerless/internal/step"
)

const ident = 0x706c

var (
	beyond = netip.MustParseAddr("10.0.0.1")
	ping   = step.SendEcho{Port: "near", DstMAC: virtualMAC, SrcMAC: serverMAC, From: serverIP, To: beyond, Ident: ident, Seq: 0x9e37}
)

// replyHex is the answer to ping as a Linux kernel sends it, written by hand but for the checksums.
const replyHex = "020000000002 02005e000001 0800 45c0 0024 1234 0000 3f 01 0000 0a000001 0a0a0a02" +
	"0000 0000 706c 9e37 706565726c657373"

// answerFrame is replyHex with what a test does to it, and checksums that fit afterwards.
func answerFrame(spoil func([]byte)) []byte {
	frame := unhex(replyHex)
	if spoil != nil {
		spoil(frame)
	}
	if header := int(frame[ipVersionAt]&0xf) * 4; len(frame) >= ipVersionAt+header && header >= ipHeaderMin {
		binary.BigEndian.PutUint16(frame[ipChecksumAt:], ^sum(frame[ipVersionAt:ipVersionAt+header]))
		if at := ipVersionAt + header; len(frame) >= at+icmpHeader {
			binary.BigEndian.PutUint16(frame[at+2:], ^sum(frame[at:]))
		}
	}
	return frame
}

func TestDecodeEcho_Frame_GivesEventOrSaysWhatIsWrong(t *testing.T) {
	want := step.EchoSeen{Port: "near", From: beyond, To: serverIP, Ident: ident, Seq: 0x9e37}
	options := slices.Insert(answerFrame(nil), icmpAt, 1, 1, 1, 0)
	options[ipVersionAt], options[ipLengthAt+1] = 0x46, 0x28
	binary.BigEndian.PutUint16(options[ipChecksumAt:], 0)
	binary.BigEndian.PutUint16(options[ipChecksumAt:], ^sum(options[ipVersionAt:icmpAt+4]))
	for _, tc := range []struct {
		name  string
		frame []byte
		is    bool
		err   error
	}{
		{"answer", answerFrame(nil), true, nil},
		{"answer in a padded frame", append(answerFrame(nil), make([]byte, 10)...), true, nil},
		{"answer with IP options", options, true, nil},
		{"identifier of somebody else", answerFrame(func(b []byte) { b[icmpAt+icmpIdentAt]++ }), false, nil},
		{"request", answerFrame(func(b []byte) { b[icmpAt] = icmpRequest }), false, nil},
		{"unreachable", answerFrame(func(b []byte) { b[icmpAt] = 3 }), false, nil},
		{"another protocol", answerFrame(func(b []byte) { b[ipProtocolAt] = 17 }), false, nil},
		{"fragment", answerFrame(func(b []byte) { b[ipFragmentAt] = 0x20 }), false, nil},
		{"IP header too short", answerFrame(func(b []byte) { b[ipVersionAt] = 0x44 }), false, nil},
		{"IP header beyond the frame", answerFrame(func(b []byte) { b[ipVersionAt] = 0x4f })[:60-10], false, nil},
		{"length without room for ICMP", answerFrame(func(b []byte) { b[ipLengthAt+1] = 27 }), false, nil},
		{"truncated", answerFrame(nil)[:echoLen-1], true, errLong},
		{"spoilt data", func() []byte { b := answerFrame(nil); b[echoLen-1]++; return b }(), true, errChecksum},
		{"spoilt header", func() []byte { b := answerFrame(nil); b[ipTTLAt]++; return b }(), true, errChecksum},
		{"empty", nil, false, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, is, err := decodeEcho("near", tc.frame, ident)
			if is != tc.is || !errors.Is(err, tc.err) || is && err == nil && got != want {
				t.Errorf("got %v, %t, %v", got, is, err)
			}
		})
	}
	if _, is, _ := decodeEcho("near", answerFrame(nil), 0); is {
		t.Error("taken though nobody asked")
	}
}

func TestEncodeEcho_LoopedFrame_DecodesAsItself(t *testing.T) {
	var frame [echoLen]byte
	loop := ping
	loop.Loop, loop.To = true, loop.From
	if err := encodeEcho(&frame, &loop); err != nil {
		t.Fatal(err)
	}
	want := step.EchoSeen{Port: "near", From: loop.From, To: loop.To, Ident: ident, Seq: loop.Seq}
	if got, is, err := decodeEcho("near", frame[:], ident); got != want || !is || err != nil {
		t.Errorf("got %v, %t, %v", got, is, err)
	}
	if frame[ipTTLAt] != loopTTL || macAt(frame[:], dstMACAt) != virtualMAC {
		t.Errorf("time to live %d", frame[ipTTLAt])
	}
	if err := encodeEcho(&frame, &step.SendEcho{}); err == nil {
		t.Error("no error without addresses")
	}
}

// The kernel's filter and the decoder must agree: what one passes as an answer of ours, the other takes for one.
func TestFilter_Echo_PassesOnlyOurAnswers(t *testing.T) {
	vm := func(k filterKey) *bpf.VM {
		program := program(k)
		for i, in := range program { // the virtual machine knows no extensions: every frame is for us and untagged
			if _, is := in.(bpf.LoadExtension); is {
				program[i] = bpf.LoadConstant{Dst: bpf.RegA}
			}
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		return vm
	}
	listen := vm(filterKey{echo: ident})
	for name, spoil := range map[string]func([]byte){
		"answer": nil, "other identifier": func(b []byte) { b[icmpAt+icmpIdentAt]++ }, "request": func(b []byte) { b[icmpAt] = icmpRequest },
		"fragment": func(b []byte) { b[ipFragmentAt] = 0x20 }, "offset": func(b []byte) { b[ipFragmentAt+1] = 1 },
		"another protocol": func(b []byte) { b[ipProtocolAt] = 17 },
	} {
		frame := answerFrame(spoil)
		n, err := listen.Run(frame)
		if err != nil {
			t.Fatal(err)
		}
		if _, is, _ := decodeEcho("near", frame, ident); is != (n > 0) || is && n < len(frame) {
			t.Errorf("%s: the filter passes %d bytes, the decoder says %t", name, n, is)
		}
	}
	if n, _ := vm(filterKey{}).Run(answerFrame(nil)); n != 0 {
		t.Error("passed though nobody asked")
	}
	if n, _ := vm(filterKey{sampling: step.SampleAll, echo: ident}).Run(unhex(dataHex)); n != ipv4FrameMin {
		t.Errorf("data cut to %d bytes", n)
	}
}

func TestDriver_Echo_ThereAndBack(t *testing.T) {
	w := newWire(t)
	w.run()
	w.must(w.driver.Apply([]step.Want{{Object: step.Listen{Port: w.port, Echo: ident}}})[0])
	if handled, err := w.driver.Emit(ping); !handled || err != nil {
		t.Fatalf("handled %t, %v", handled, err)
	}
	var want [echoLen]byte
	w.must(encodeEcho(&want, &ping))
	if got := w.receiveFar(); string(got) != string(want[:]) {
		t.Fatalf("sent %x, want %x", got, want)
	}
	w.transmit(unhex(dataHex)) // nobody asked for data
	w.transmit(answerFrame(nil))
	w.transmit(answerFrame(func(b []byte) { b[icmpAt+icmpIdentAt]++ }))
	foreign := answerFrame(func(b []byte) { b[dstMACAt+5] = 0x77; b[icmpAt+icmpIdentAt+3] = 1 }) // to the bridge that the port is in
	w.transmit(foreign)
	got := w.untilSentinel()
	if len(got) != 2 || got[0] != (step.EchoSeen{Port: "near", From: beyond, To: serverIP, Ident: ident, Seq: 0x9e37}) {
		t.Fatalf("saw %v", got)
	}
	w.must(w.listen(step.SampleNone))
	w.transmit(answerFrame(nil))
	if got := w.untilSentinel(); len(got) != 0 {
		t.Errorf("saw %v though it is not asked for any more", got)
	}
}

func TestIntake_Echoes_AreBounded(t *testing.T) {
	in := newIntake("near", new(counters))
	in.ident = ident
	told := 0
	for range 10 * echoesBurst {
		if in.take(0, answerFrame(nil)) != nil {
			told++
		}
	}
	if told != echoesBurst {
		t.Errorf("told %d, want %d", told, echoesBurst)
	}
}

func FuzzDecodeEcho(f *testing.F) {
	for _, seed := range [][]byte{answerFrame(nil), unhex(dataHex), nil, answerFrame(func(b []byte) { b[ipVersionAt] = 0x4f })} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		ev, is, err := decodeEcho("near", frame, ident)
		if !is && (err != nil || ev != (step.EchoSeen{})) {
			t.Fatalf("%v, %v of no answer", ev, err)
		}
		if is && err == nil && (!ev.From.Is4() || !ev.To.Is4() || ev.Ident != ident) {
			t.Fatalf("accepted %s", ev)
		}
	})
}
