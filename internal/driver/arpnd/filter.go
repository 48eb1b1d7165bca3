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
	vlanIDMask   = 0x0fff
	sampleFewOne = 64 // SampleFew passes one packet in so many; a power of two
)

// filters are the kernel's share of the work, by Sampling.
var filters = [...][]unix.SockFilter{
	step.SampleNone: assemble(step.SampleNone),
	step.SampleFew:  assemble(step.SampleFew),
	step.SampleAll:  assemble(step.SampleAll),
}

// program passes ARP and RARP whoever they are addressed to, and the wanted share of the IPv4 packets that are addressed to
// us or to all. It rejects what we sent ourselves, and frames of a VLAN: a VLAN is a port of its own. The kernel has taken the
// tag off by then; a tag of VLAN 0 carries only a priority (IEEE 802.1Q) and makes no difference.
func program(s step.Sampling) []bpf.Instruction {
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
	acceptIf(unix.ETH_P_ARP, snapLen)
	acceptIf(unix.ETH_P_RARP, snapLen)
	if s == step.SampleNone {
		return append(p, bpf.RetConstant{})
	}
	rejectIf(bpf.JumpNotEqual, unix.ETH_P_IP)
	p = append(p, bpf.LoadExtension{Num: bpf.ExtType})
	rejectIf(bpf.JumpGreaterThan, unix.PACKET_MULTICAST) // host, broadcast and multicast are below
	if s == step.SampleFew {
		p = append(p, bpf.LoadExtension{Num: bpf.ExtRand})
		rejectIf(bpf.JumpBitsSet, sampleFewOne-1)
	}
	return append(p, bpf.RetConstant{Val: ipv4FrameMin})
}

func assemble(s step.Sampling) []unix.SockFilter {
	raw, err := bpf.Assemble(program(s))
	if err != nil {
		panic(err) // a fixed program: wrong in every run or in none
	}
	out := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		out[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return out
}
