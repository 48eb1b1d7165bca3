package arpnd

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Layout of the echo frames that we send: no IP options, eight bytes of data.
const (
	icmpAt       = 34
	icmpHeader   = 8
	ipHeaderMin  = 20
	echoData     = 8
	echoLen      = icmpAt + icmpHeader + echoData
	ipTTLAt      = 22
	ipChecksumAt = 24
	ipTargetAt   = 30
	ipLengthAt   = 16
	icmpRequest  = 8

	echoTOS  = 0xc0 // CS6, network control (RFC 4594): a full link is no dead link
	echoTTL  = 64
	loopTTL  = 2 // there and back is one hop; it must not go round
	dontFrag = 0x4000
)

var errChecksum = errors.New("wrong checksum")

// encodeEcho writes the frame that the effect asks for.
func encodeEcho(frame *[echoLen]byte, e *step.SendEcho) error {
	if !e.From.Is4() || !e.To.Is4() {
		return fmt.Errorf("encode echo from %s to %s: want IPv4 addresses", e.From, e.To)
	}
	clear(frame[:])
	copy(frame[dstMACAt:], e.DstMAC[:])
	copy(frame[srcMACAt:], e.SrcMAC[:])
	binary.BigEndian.PutUint16(frame[etherTypeAt:], unix.ETH_P_IP)
	from, to := e.From.As4(), e.To.As4()
	kind, ttl := byte(icmpRequest), byte(echoTTL)
	if e.Loop {
		kind, ttl = icmpReply, loopTTL
	}
	frame[ipVersionAt], frame[ipVersionAt+1] = 0x45, echoTOS
	binary.BigEndian.PutUint16(frame[ipLengthAt:], echoLen-ipVersionAt)
	binary.BigEndian.PutUint16(frame[ipFragmentAt:], dontFrag)
	frame[ipTTLAt], frame[ipProtocolAt] = ttl, icmpProtocol
	copy(frame[ipSourceAt:], from[:])
	copy(frame[ipTargetAt:], to[:])
	binary.BigEndian.PutUint16(frame[ipChecksumAt:], ^sum(frame[ipVersionAt:icmpAt]))
	frame[icmpAt] = kind
	binary.BigEndian.PutUint16(frame[icmpAt+icmpIdentAt:], e.Ident)
	binary.BigEndian.PutUint16(frame[icmpAt+icmpIdentAt+2:], e.Seq)
	copy(frame[icmpAt+icmpHeader:], "peerless")
	binary.BigEndian.PutUint16(frame[icmpAt+2:], ^sum(frame[icmpAt:]))
	return nil
}

// decodeEcho reads an echo reply with the identifier; it reports false for any other packet. A wrong checksum is no answer: the
// link that spoils frames is a dead link.
func decodeEcho(port model.Port, frame []byte, ident uint16) (step.EchoSeen, bool, error) {
	if ident == 0 || len(frame) < ipv4FrameMin || frame[ipProtocolAt] != icmpProtocol {
		return step.EchoSeen{}, false, nil
	}
	header, whole := int(frame[ipVersionAt]&0xf)*4, int(binary.BigEndian.Uint16(frame[ipLengthAt:]))
	at := ipVersionAt + header
	switch {
	case frame[ipVersionAt]>>4 != 4 || header < ipHeaderMin,
		binary.BigEndian.Uint16(frame[ipFragmentAt:])&fragmentMask != 0,
		whole < header+icmpHeader || len(frame) < at+icmpHeader,
		frame[at] != icmpReply || frame[at+1] != 0,
		binary.BigEndian.Uint16(frame[at+icmpIdentAt:]) != ident:
		return step.EchoSeen{}, false, nil
	case len(frame) < ipVersionAt+whole: // longer than anything that we sent
		return step.EchoSeen{}, true, errLong
	case sum(frame[ipVersionAt:at]) != 0xffff || sum(frame[at:ipVersionAt+whole]) != 0xffff:
		return step.EchoSeen{}, true, errChecksum
	}
	return step.EchoSeen{Port: port, From: addrAt(frame, ipSourceAt), To: addrAt(frame, ipTargetAt), Ident: ident,
		Seq: binary.BigEndian.Uint16(frame[at+icmpIdentAt+2:])}, true, nil
}

// sum is the ones' complement sum of RFC 1071.
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
