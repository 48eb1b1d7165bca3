package arpnd

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"peerless/internal/model"
	"peerless/internal/step"
)

var (
	serverMAC  = model.MAC{0x02, 0, 0, 0, 0, 0x02}
	virtualMAC = model.MAC{0x02, 0, 0x5e, 0, 0, 0x01}
	serverIP   = netip.MustParseAddr("10.10.10.2")
	gatewayIP  = netip.MustParseAddr("10.10.10.254")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// arpHex is a request of serverIP for gatewayIP, written by hand.
const (
	ethernetHex = "ffffffffffff 020000000002"
	arpHex      = ethernetHex + "0806 0001 0800 06 04 0001 020000000002 0a0a0a02 000000000000 0a0a0afe"
	rarpHex     = ethernetHex + "8035 0001 0800 06 04 0003 020000000002 00000000 020000000002 00000000"
	dataHex     = "02005e000001 020000000002 0800 45 00 001c 0000 4000 40 11 0000 0a0a0a02 0a000001"
)

func TestDecode_Frame_GivesEventOrSaysWhatIsWrong(t *testing.T) {
	request := step.ARPSeen{Port: "A2", Op: step.ARPRequest, SrcMAC: serverMAC, SenderMAC: serverMAC, SenderIP: serverIP, TargetIP: gatewayIP}
	reply := request
	reply.Op, reply.TargetMAC = step.ARPReply, virtualMAC
	nak := reply
	nak.Op = step.ARPNak
	bridged := request
	bridged.SrcMAC = model.MAC{0x02, 0, 0, 0, 0, 0x77}
	tests := []struct {
		name  string
		frame string
		want  step.Event
		err   error
	}{
		{"request", arpHex, request, nil},
		{"request with padding", arpHex + strings.Repeat("00", 18), request, nil},
		{"request padded to the limit", arpHex + strings.Repeat("ff", arpFrameMax-arpFrameLen), request, nil},
		{"reply", strings.Replace(strings.Replace(arpHex, "04 0001", "04 0002", 1), "000000000000", virtualMAC.String(), 1), reply, nil},
		{"NAK", strings.Replace(strings.Replace(arpHex, "04 0001", "04 000a", 1), "000000000000", virtualMAC.String(), 1), nak, nil},
		{"sender is not the Ethernet source", strings.Replace(arpHex, "020000000002", "020000000077", 1), bridged, nil},
		{"reverse request", rarpHex, step.RARPSeen{Port: "A2", MAC: serverMAC}, nil},
		{"data", dataHex, step.DataSeen{Port: "A2", MAC: serverMAC, Addr: serverIP}, nil},

		{"empty", "", nil, errShort},
		{"Ethernet header only", ethernetHex + "0806", nil, errShort},
		{"request without its last byte", arpHex[:len(arpHex)-2], nil, errShort},
		{"data without its last byte", dataHex[:len(dataHex)-2], nil, errShort},
		{"request padded beyond the limit", arpHex + strings.Repeat("00", snapLen-arpFrameLen), nil, errLong},
		{"hardware is not Ethernet", strings.Replace(arpHex, "0806 0001", "0806 0006", 1), nil, errFormat},
		{"protocol is not IPv4", strings.Replace(arpHex, "0800", "86dd", 1), nil, errFormat},
		{"hardware address of 8 bytes", strings.Replace(arpHex, "06 04", "08 04", 1), nil, errFormat},
		{"protocol address of 16 bytes", strings.Replace(arpHex, "06 04", "06 10", 1), nil, errFormat},
		{"operation zero", strings.Replace(arpHex, "04 0001", "04 0000", 1), nil, errOp},
		{"inverse ARP", strings.Replace(arpHex, "04 0001", "04 0008", 1), nil, errOp},
		{"reverse reply", strings.Replace(rarpHex, "04 0003", "04 0004", 1), nil, errOp},
		{"reverse request under ARP", strings.Replace(arpHex, "04 0001", "04 0003", 1), nil, errOp},
		{"sender is broadcast", strings.Replace(arpHex, "020000000002 0a", "ffffffffffff 0a", 1), nil, errGroupMAC},
		{"sender is zero", strings.Replace(arpHex, "020000000002 0a", "000000000000 0a", 1), nil, errGroupMAC},
		{"Ethernet source is multicast", strings.Replace(dataHex, "020000000002", "01005e000001", 1), nil, errGroupMAC},
		{"data of version 6", strings.Replace(dataHex, "0800 45", "0800 65", 1), nil, errFormat},
		{"data with a header too short", strings.Replace(dataHex, "0800 45", "0800 44", 1), nil, errFormat},
		{"another EtherType", strings.Replace(dataHex, "0800 45", "88cc 45", 1), nil, errType},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := decode("A2", unhex(strings.ReplaceAll(tc.frame, ":", "")))
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %v, %v; want %v, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestEncode_SendARP_DecodesToTheSame(t *testing.T) {
	send := step.SendARP{Port: "A2", Op: step.ARPReply, DstMAC: serverMAC, SrcMAC: model.MAC{2, 1, 1, 1, 1, 1},
		SenderMAC: virtualMAC, SenderIP: gatewayIP, TargetMAC: serverMAC, TargetIP: serverIP}
	var frame [arpFrameLen]byte
	if err := encodeARP(&frame, &send); err != nil {
		t.Fatal(err)
	}
	want := step.ARPSeen{Port: "A2", Op: send.Op, SrcMAC: send.SrcMAC, SenderMAC: send.SenderMAC, SenderIP: send.SenderIP,
		TargetMAC: send.TargetMAC, TargetIP: send.TargetIP}
	if got, err := decode("A2", frame[:]); got != want || err != nil {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got := macAt(frame[:], dstMACAt); got != send.DstMAC {
		t.Errorf("destination %s, want %s", got, send.DstMAC)
	}
}

func TestEncode_AddressUnset_IsAnError(t *testing.T) {
	var frame [arpFrameLen]byte
	if err := encodeARP(&frame, &step.SendARP{SenderIP: gatewayIP}); err == nil {
		t.Error("no error for an invalid target")
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{arpHex, rarpHex, dataHex, "", ethernetHex, ethernetHex + "0806",
		arpHex + strings.Repeat("00", 100), strings.Replace(arpHex, "06 04", "ff ff", 1), strings.Replace(dataHex, "45", "4f", 1)} {
		f.Add(unhex(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		ev, err := decode("A2", frame)
		if (ev == nil) == (err == nil) {
			t.Fatalf("event %v with error %v", ev, err)
		}
		var mac model.MAC
		addrs := []netip.Addr{}
		switch ev := ev.(type) {
		case nil:
			return
		case step.ARPSeen:
			mac, addrs = ev.SenderMAC, append(addrs, ev.SenderIP, ev.TargetIP)
			if !station(ev.SrcMAC) || (ev.Op != step.ARPRequest && ev.Op != step.ARPReply && ev.Op != step.ARPNak) || len(frame) > arpFrameMax {
				t.Errorf("accepted %s", ev)
			}
		case step.RARPSeen:
			mac = ev.MAC
		case step.DataSeen:
			mac, addrs = ev.MAC, append(addrs, ev.Addr)
			if !isData(frame) {
				t.Errorf("%s without being data", ev)
			}
		}
		if !station(mac) {
			t.Errorf("accepted group address %s", mac)
		}
		for _, a := range addrs {
			if !a.Is4() {
				t.Errorf("address %s is not IPv4", a)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	frame := unhex(arpHex)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode("A2", frame); err != nil {
			b.Fatal(err)
		}
	}
}
