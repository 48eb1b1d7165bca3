package arpnd

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"peerless/internal/step"
)

const (
	// arpFrameMax is the longest frame that may carry an ARP packet: its 42 bytes and whatever the sender padded it with.
	arpFrameMax = 128
	// snapLen shows one byte more, so that a longer frame is seen to be one.
	snapLen = arpFrameMax + 1

	etherTypeAt  = 12
	arpOpAt      = 20
	vlanIDMask   = 0x0fff
	sampleFewOne = 64 // SampleFew passes one packet in so many; a power of two
)

// Where the filter and the decoder find an ICMP message (RFC 791, 792); the message starts where the IP header ends.
const (
	ipFragmentAt = 20
	ipProtocolAt = 23
	icmpIdentAt  = 4

	fragmentMask = 0x3fff // "more fragments" and the offset
	icmpProtocol = 1
	icmpReply    = 0

	// echoFrameMax is what is looked at of an echo reply: the longest IP header, and more than we ever send.
	echoFrameMax = 96
)

// filterKey is what a filter depends on.
type filterKey struct {
	sampling step.Sampling
	echo     uint16
	answers  bool
}

// program passes ARP and RARP whoever they are addressed to (requests only where answers are not all that is wanted), echo replies that
// bear our identifier, and the wanted share of the IPv4 packets that are addressed to us or to all. It rejects what we sent ourselves, and
// frames of a VLAN: a VLAN is a port of its own. The kernel has taken the tag off by then; a tag of VLAN 0 carries only a priority
// (IEEE 802.1Q) and makes no difference.
func program(k filterKey) []bpf.Instruction {
	var p []bpf.Instruction
	rejectIf := func(cond bpf.JumpTest, val uint32) {
		p = append(p, bpf.JumpIf{Cond: cond, Val: val, SkipFalse: 1}, bpf.RetConstant{})
	}
	acceptIf := func(etherType uint32, length uint32) {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherType, SkipFalse: 1}, bpf.RetConstant{Val: length})
	}
	p = append(p, bpf.LoadExtension{Num: bpf.ExtType})
	rejectIf(bpf.JumpEqual, unix.PACKET_OUTGOING)
	p = append(p, bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 3}, // without a tag the next value may be stale
		bpf.LoadExtension{Num: bpf.ExtVLANTag})
	rejectIf(bpf.JumpBitsSet, vlanIDMask)
	p = append(p, bpf.LoadAbsolute{Off: etherTypeAt, Size: 2})
	if k.answers {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_ARP, SkipTrue: 4}, bpf.LoadAbsolute{Off: arpOpAt, Size: 2})
		rejectIf(bpf.JumpEqual, uint32(step.ARPRequest))
		p = append(p, bpf.LoadAbsolute{Off: etherTypeAt, Size: 2})
	}
	acceptIf(unix.ETH_P_ARP, snapLen)
	acceptIf(unix.ETH_P_RARP, snapLen)
	if k.sampling == step.SampleNone && k.echo == 0 {
		return append(p, bpf.RetConstant{})
	}
	rejectIf(bpf.JumpNotEqual, unix.ETH_P_IP)
	if k.echo != 0 {
		p = append(p, acceptEcho(k.echo)...)
	}
	if k.sampling == step.SampleNone {
		return append(p, bpf.RetConstant{})
	}
	p = append(p, bpf.LoadExtension{Num: bpf.ExtType})
	rejectIf(bpf.JumpGreaterThan, unix.PACKET_MULTICAST) // host, broadcast and multicast are below
	if k.sampling == step.SampleFew {
		p = append(p, bpf.LoadExtension{Num: bpf.ExtRand})
		rejectIf(bpf.JumpBitsSet, sampleFewOne-1)
	}
	return append(p, bpf.RetConstant{Val: ipv4FrameMin})
}

// acceptEcho passes an unfragmented echo reply with the identifier, and goes on otherwise. It passes those for other stations too: a
// port of a bridge has another hardware address than the bridge. A packet too short for a load is rejected by the kernel.
func acceptEcho(ident uint16) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: ipProtocolAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: icmpProtocol, SkipTrue: 8},
		bpf.LoadAbsolute{Off: ipFragmentAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: fragmentMask, SkipTrue: 6},
		bpf.LoadMemShift{Off: ipVersionAt},
		bpf.LoadIndirect{Off: ipVersionAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: icmpReply, SkipTrue: 3},
		bpf.LoadIndirect{Off: ipVersionAt + icmpIdentAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ident), SkipTrue: 1},
		bpf.RetConstant{Val: echoFrameMax},
	}
}

func assemble(k filterKey) []unix.SockFilter {
	raw, err := bpf.Assemble(program(k))
	if err != nil {
		panic(err) // a fixed program but for one number: wrong in every run or in none
	}
	out := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		out[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return out
}
