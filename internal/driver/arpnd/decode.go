package arpnd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Layout of an Ethernet frame with an ARP packet for IPv4 (RFC 826) or a RARP packet (RFC 903): the same fields.
const (
	dstMACAt     = 0
	srcMACAt     = 6
	hardwareAt   = 14
	protocolAt   = 16
	macLenAt     = 18
	ipLenAt      = 19
	opAt         = 20
	senderMACAt  = 22
	senderIPAt   = 28
	targetMACAt  = 32
	targetIPAt   = 38
	arpFrameLen  = 42
	ipVersionAt  = 14
	ipSourceAt   = 26
	ipv4FrameMin = 34 // with the shortest IPv4 header (RFC 791)

	hardwareEthernet = 1
	opRARPRequest    = 3
)

// What is wrong with a frame.
var (
	errShort    = errors.New("truncated")
	errLong     = errors.New("oversized")
	errType     = errors.New("unexpected EtherType")
	errFormat   = errors.New("not Ethernet and IPv4")
	errOp       = errors.New("unexpected operation")
	errGroupMAC = errors.New("source is no single station")
)

// isData reports whether a frame holds an IP packet.
func isData(frame []byte) bool {
	return len(frame) > etherTypeAt+1 && binary.BigEndian.Uint16(frame[etherTypeAt:]) == unix.ETH_P_IP
}

// decode reads one frame, at most snapLen bytes of it. It gives ARPSeen, RARPSeen or DataSeen, or says what is wrong.
func decode(port model.Port, frame []byte) (step.Event, error) {
	if len(frame) < ipv4FrameMin {
		return nil, errShort
	}
	source := macAt(frame, srcMACAt)
	if !station(source) {
		return nil, errGroupMAC
	}
	switch etherType := binary.BigEndian.Uint16(frame[etherTypeAt:]); etherType {
	case unix.ETH_P_IP:
		if version, words := frame[ipVersionAt]>>4, frame[ipVersionAt]&0xf; version != 4 || words < 5 {
			return nil, errFormat
		}
		return step.DataSeen{Port: port, MAC: source, Addr: addrAt(frame, ipSourceAt)}, nil
	case unix.ETH_P_ARP, unix.ETH_P_RARP:
		return decodeARP(port, source, frame, etherType == unix.ETH_P_RARP)
	}
	return nil, errType
}

func decodeARP(port model.Port, source model.MAC, frame []byte, reverse bool) (step.Event, error) {
	switch {
	case len(frame) < arpFrameLen:
		return nil, errShort
	case len(frame) > arpFrameMax:
		return nil, errLong
	case binary.BigEndian.Uint16(frame[hardwareAt:]) != hardwareEthernet,
		binary.BigEndian.Uint16(frame[protocolAt:]) != unix.ETH_P_IP,
		frame[macLenAt] != 6, frame[ipLenAt] != 4:
		return nil, errFormat
	}
	sender := macAt(frame, senderMACAt)
	if !station(sender) { // RFC 1812 section 3.3.2: never believe a group address
		return nil, errGroupMAC
	}
	op := binary.BigEndian.Uint16(frame[opAt:])
	if reverse {
		if op != opRARPRequest {
			return nil, errOp
		}
		return step.RARPSeen{Port: port, MAC: sender}, nil
	}
	switch step.ARPOp(op) {
	case step.ARPRequest, step.ARPReply, step.ARPNak:
	default:
		return nil, errOp
	}
	return step.ARPSeen{
		Port: port, Op: step.ARPOp(op), SrcMAC: source,
		SenderMAC: sender, SenderIP: addrAt(frame, senderIPAt),
		TargetMAC: macAt(frame, targetMACAt), TargetIP: addrAt(frame, targetIPAt),
	}, nil
}

func station(m model.MAC) bool { return !m.IsZero() && !m.IsGroup() }

func macAt(frame []byte, at int) model.MAC { return model.MAC(frame[at : at+6]) }

func addrAt(frame []byte, at int) netip.Addr { return netip.AddrFrom4([4]byte(frame[at : at+4])) }

// encodeARP writes the frame that the effect asks for.
func encodeARP(frame *[arpFrameLen]byte, a *step.SendARP) error {
	if !a.SenderIP.Is4() || !a.TargetIP.Is4() {
		return fmt.Errorf("encode ARP from %s for %s: want IPv4 addresses", a.SenderIP, a.TargetIP)
	}
	source := a.SrcMAC
	if source.IsZero() {
		source = a.SenderMAC
	}
	senderIP, targetIP := a.SenderIP.As4(), a.TargetIP.As4()
	copy(frame[dstMACAt:], a.DstMAC[:])
	copy(frame[srcMACAt:], source[:])
	binary.BigEndian.PutUint16(frame[etherTypeAt:], unix.ETH_P_ARP)
	binary.BigEndian.PutUint16(frame[hardwareAt:], hardwareEthernet)
	binary.BigEndian.PutUint16(frame[protocolAt:], unix.ETH_P_IP)
	frame[macLenAt], frame[ipLenAt] = 6, 4
	binary.BigEndian.PutUint16(frame[opAt:], uint16(a.Op))
	copy(frame[senderMACAt:], a.SenderMAC[:])
	copy(frame[senderIPAt:], senderIP[:])
	copy(frame[targetMACAt:], a.TargetMAC[:])
	copy(frame[targetIPAt:], targetIP[:])
	return nil
}
