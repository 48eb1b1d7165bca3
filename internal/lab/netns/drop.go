package netns

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Filter says which of the frames that a port receives are lost. A lost frame is lost to everybody: no capture sees it, and the
// port keeps its carrier.
type Filter struct {
	name string
	code []instruction
}

// String names what the filter takes.
func (f Filter) String() string { return f.name }

// What can be lost.
var (
	Everything  = Filter{"everything", []instruction{{code: movImm, dst: r0, imm: verdictDrop}, {code: exit}}}
	RoutingOnly = Filter{"BGP", portFilter(unix.IPPROTO_TCP, 179)}
	LivenessBFD = Filter{"BFD", portFilter(unix.IPPROTO_UDP, 3784)}
)

// instruction is struct bpf_insn.
type instruction struct {
	code byte
	dst  byte
	src  byte
	off  int16
	imm  int32
}

// What the filters need of the instruction set, and their verdicts (enum xdp_action).
const (
	verdictDrop, verdictPass = 1, 2

	movImm   = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
	movReg   = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X
	addImm   = unix.BPF_ALU64 | unix.BPF_ADD | unix.BPF_K
	loadWord = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	loadHalf = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_H
	loadByte = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_B
	ifMore   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_X
	ifNot    = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K
	ifIs     = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	exit     = unix.BPF_JMP | unix.BPF_EXIT

	r0, r1, r2, r3, r4, r5 = 0, 1, 2, 3, 4, 5
)

// portFilter takes IPv4 packets without options, of a protocol, from or to a port.
func portFilter(protocol, port uint16) []instruction {
	const etherType, proto, source, dest, end = 12, 23, 34, 36, 38 // offsets in the frame
	wire := func(v uint16) int32 {                                 // as a load of the frame's bytes gives it here
		return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)))
	}
	return []instruction{
		{code: loadWord, dst: r2, src: r1, off: 0}, // the frame
		{code: loadWord, dst: r3, src: r1, off: 4}, // its end
		{code: movImm, dst: r0, imm: verdictPass},
		{code: movReg, dst: r4, src: r2},
		{code: addImm, dst: r4, imm: end},
		{code: ifMore, dst: r4, src: r3, off: 9},
		{code: loadHalf, dst: r5, src: r2, off: etherType},
		{code: ifNot, dst: r5, off: 7, imm: wire(unix.ETH_P_IP)},
		{code: loadByte, dst: r5, src: r2, off: proto},
		{code: ifNot, dst: r5, off: 5, imm: int32(protocol)},
		{code: loadHalf, dst: r5, src: r2, off: source},
		{code: ifIs, dst: r5, off: 2, imm: wire(port)},
		{code: loadHalf, dst: r5, src: r2, off: dest},
		{code: ifNot, dst: r5, off: 1, imm: wire(port)},
		{code: movImm, dst: r0, imm: verdictDrop},
		{code: exit},
	}
}

// Drop loses what a port of a namespace receives, until Undrop or the port's end. It survives this process. The kernel tells
// everybody of the port with a message that shows no change.
func Drop(name, port string, f Filter) error {
	return Do(name, func() error {
		l, err := netlink.LinkByName(port)
		if err != nil {
			return fmt.Errorf("drop %s on %s: %w", f, port, err)
		}
		fd, err := f.load()
		if err != nil {
			return fmt.Errorf("drop %s on %s: load: %w", f, port, err)
		}
		defer unix.Close(fd) // the port holds it
		if err := netlink.LinkSetXdpFdWithFlags(l, fd, unix.XDP_FLAGS_SKB_MODE); err != nil {
			return fmt.Errorf("drop %s on %s: %w", f, port, err)
		}
		return nil
	})
}

// Undrop ends a Drop. It is no error if there is none.
func Undrop(name, port string) error {
	return Do(name, func() error {
		l, err := netlink.LinkByName(port)
		if err == nil {
			err = netlink.LinkSetXdpFdWithFlags(l, -1, unix.XDP_FLAGS_SKB_MODE)
		}
		if err != nil {
			return fmt.Errorf("end drop on %s: %w", port, err)
		}
		return nil
	})
}

// loadTries: the kernel's verifier gives up when a signal is pending, and Go's scheduler sends signals.
const loadTries = 32

// load gives the kernel the program.
func (f Filter) load() (fd int, err error) {
	var text []byte
	for _, i := range f.code {
		text = append(text, i.code, registers(i.dst, i.src))
		text = binary.NativeEndian.AppendUint16(text, uint16(i.off))
		text = binary.NativeEndian.AppendUint32(text, uint32(i.imm))
	}
	license := []byte("GPL\x00")
	attr := struct { // the beginning of union bpf_attr for BPF_PROG_LOAD
		kind, count   uint32
		text, license uint64
		rest          [4]uint64
	}{
		kind: unix.BPF_PROG_TYPE_XDP, count: uint32(len(f.code)),
		text: uint64(uintptr(unsafe.Pointer(&text[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	n, errno := uintptr(0), unix.EAGAIN
	for tries := 0; errno == unix.EAGAIN && tries < loadTries; tries++ {
		n, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	}
	runtime.KeepAlive(text)
	runtime.KeepAlive(license)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// registers packs two of them the way the kernel's bit fields lie.
func registers(dst, src byte) byte {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return src<<4 | dst
	}
	return dst<<4 | src
}
