package rtnl

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

// Decoders of netlink payloads. They are pure, hold on to nothing of their input, and report false for what is cut short or
// of no concern (another address family, a cloned route). They never panic.

// attrTypeMask leaves out NLA_F_NESTED and NLA_F_NET_BYTEORDER.
const attrTypeMask = 0x3fff

// link is one network device.
type link struct {
	index     int
	name      model.Port
	adminUp   bool
	carrier   bool
	protoDown bool
	mac       model.MAC
	master    int
	kind      string
	active    int // of a bond: its active slave; 0: none
}

// down reports whether the device is closed, by whichever means.
func (l link) down() bool { return !l.adminUp || l.protoDown }

// address is one IPv4 address of a device.
type address struct {
	index         int
	prefix        netip.Prefix
	noPrefixRoute bool
}

// hop is one next hop of a route.
type hop struct {
	index int
	via   netip.Addr
	down  bool // RTNH_F_LINKDOWN or RTNH_F_DEAD
}

// route is one IPv4 route to be forwarded along or to be dropped by.
type route struct {
	table     uint32
	prefix    netip.Prefix
	metric    uint32
	protocol  uint8
	blackhole bool // unreachable and prohibit too: none of them forwards
	hops      []hop
	object    uint32 // the nexthop object that its next hops are, which has a life of its own; 0: none
}

// neighbor is one entry of the IPv4 neighbour table.
type neighbor struct {
	index int
	addr  netip.Addr
	mac   model.MAC
	state uint16
	flags uint8
	mark  uint8 // the route protocol of whoever made it; 0 if unknown
}

// rule is one IPv4 policy rule.
type rule struct {
	priority  uint32
	protocol  uint8
	iif       model.Port
	to        netip.Prefix
	table     uint32
	suppress  int
	blackhole bool
}

// attributes walks a list of netlink attributes and stops at the first that is malformed.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofNlAttr || size > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&attrTypeMask, b[unix.SizeofNlAttr:size]) {
				return
			}
			b = b[min(align(size), len(b)):]
		}
	}
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

func decodeLink(b []byte) (link, bool) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC { // AF_BRIDGE tells of a bridge port, not of the device
		return link{}, false
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	l := link{
		index:   int(int32(binary.NativeEndian.Uint32(b[4:]))),
		adminUp: flags&unix.IFF_UP != 0,
		carrier: flags&unix.IFF_LOWER_UP != 0, // unlike IFLA_CARRIER false while the device is down
	}
	for kind, data := range attributes(b[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.name = model.Port(text(data))
		case unix.IFLA_ADDRESS:
			l.mac = hardware(data)
		case unix.IFLA_MASTER:
			l.master = int(number(data))
		case unix.IFLA_PROTO_DOWN:
			l.protoDown = number(data) != 0
		case unix.IFLA_LINKINFO:
			l.kind, l.active = decodeLinkInfo(data)
		}
	}
	return l, l.index > 0 && l.name != ""
}

func decodeLinkInfo(b []byte) (kind string, active int) {
	for k, data := range attributes(b) {
		switch k {
		case unix.IFLA_INFO_KIND:
			kind = text(data)
		case unix.IFLA_INFO_DATA:
			for k, data := range attributes(data) {
				if kind == "bond" && k == unix.IFLA_BOND_ACTIVE_SLAVE { // the number means something else for other kinds
					active = int(number(data))
				}
			}
		}
	}
	return kind, active
}

func decodeAddress(b []byte) (address, bool) {
	if len(b) < unix.SizeofIfAddrmsg || b[0] != unix.AF_INET {
		return address{}, false
	}
	a := address{index: int(int32(binary.NativeEndian.Uint32(b[4:])))}
	bits, flags := int(b[1]), uint32(b[2])
	var local, peer netip.Addr
	for kind, data := range attributes(b[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_LOCAL:
			local = ipv4(data)
		case unix.IFA_ADDRESS:
			peer = ipv4(data)
		case unix.IFA_FLAGS:
			flags = number(data)
		}
	}
	if !local.IsValid() {
		local = peer
	}
	a.prefix = netip.PrefixFrom(local, bits)
	a.noPrefixRoute = flags&unix.IFA_F_NOPREFIXROUTE != 0
	return a, a.prefix.IsValid()
}

// rtaNexthopID is RTA_NH_ID of linux/rtnetlink.h, which x/sys lacks.
const rtaNexthopID = 30

func decodeRoute(b []byte) (route, bool) {
	if len(b) < unix.SizeofRtMsg || b[0] != unix.AF_INET {
		return route{}, false
	}
	r := route{table: uint32(b[4]), protocol: b[5]}
	switch b[7] {
	case unix.RTN_UNICAST:
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
		r.blackhole = true
	default:
		return route{}, false
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	if flags&unix.RTM_F_CLONED != 0 {
		return route{}, false
	}
	dst := netip.IPv4Unspecified()
	single := hop{down: hopDown(uint8(flags))}
	for kind, data := range attributes(b[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_TABLE:
			r.table = number(data)
		case unix.RTA_DST:
			dst = ipv4(data)
		case unix.RTA_PRIORITY:
			r.metric = number(data)
		case unix.RTA_OIF:
			single.index = int(int32(number(data)))
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			single.via = gateway(kind, data)
		case rtaNexthopID:
			r.object = number(data)
		case unix.RTA_MULTIPATH:
			r.hops = decodeHops(data)
		}
	}
	if len(r.hops) == 0 && single.index > 0 {
		r.hops = []hop{single}
	}
	if r.blackhole {
		r.hops = nil // an error route may name lo
	}
	r.prefix = netip.PrefixFrom(dst, int(b[1]))
	return r, r.prefix.IsValid()
}

// decodeHops reads a list of struct rtnexthop, each followed by its attributes.
func decodeHops(b []byte) []hop {
	var hops []hop
	for len(b) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			break
		}
		h := hop{index: int(int32(binary.NativeEndian.Uint32(b[4:]))), down: hopDown(b[2])}
		for kind, data := range attributes(b[unix.SizeofRtNexthop:size]) {
			if kind == unix.RTA_GATEWAY || kind == unix.RTA_VIA {
				h.via = gateway(kind, data)
			}
		}
		hops = append(hops, h)
		b = b[min(align(size), len(b)):]
	}
	return hops
}

// nexthopID is NHA_ID of linux/nexthop.h, and nexthopSize the size of its struct nhmsg; x/sys lacks both.
const (
	nexthopID   = 1
	nexthopSize = 8
)

// decodeNexthop gives the number of a nexthop object.
func decodeNexthop(b []byte) (id uint32, ok bool) {
	if len(b) < nexthopSize {
		return 0, false
	}
	for kind, data := range attributes(b[nexthopSize:]) {
		if kind == nexthopID {
			id = number(data)
		}
	}
	return id, id != 0
}

func hopDown(flags uint8) bool { return flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0 }

func decodeNeighbor(b []byte) (neighbor, bool) {
	if len(b) < unix.SizeofNdMsg || b[0] != unix.AF_INET { // AF_BRIDGE are forwarding entries
		return neighbor{}, false
	}
	n := neighbor{
		index: int(int32(binary.NativeEndian.Uint32(b[4:]))),
		state: binary.NativeEndian.Uint16(b[8:]),
		flags: b[10],
	}
	for kind, data := range attributes(b[unix.SizeofNdMsg:]) {
		switch kind {
		case unix.NDA_DST:
			n.addr = ipv4(data)
		case unix.NDA_LLADDR:
			n.mac = hardware(data)
		case ndaProtocol:
			n.mark = uint8(number(data))
		}
	}
	// The kernel keeps NOARP entries for group addresses; they are nobody.
	return n, n.addr.IsValid() && !n.addr.IsMulticast() && !n.mac.IsGroup()
}

func decodeRule(b []byte) (rule, bool) {
	const size = 12 // struct fib_rule_hdr
	if len(b) < size || b[0] != unix.AF_INET {
		return rule{}, false
	}
	r := rule{table: uint32(b[4]), suppress: -1}
	switch b[7] {
	case unix.FR_ACT_TO_TBL:
	case unix.FR_ACT_BLACKHOLE:
		r.blackhole = true
	default:
		return rule{}, false
	}
	var to netip.Addr
	for kind, data := range attributes(b[size:]) {
		switch kind {
		case unix.FRA_PRIORITY:
			r.priority = number(data)
		case unix.FRA_PROTOCOL:
			r.protocol = uint8(number(data))
		case unix.FRA_IIFNAME:
			r.iif = model.Port(text(data))
		case unix.FRA_DST:
			to = ipv4(data)
		case unix.FRA_TABLE:
			r.table = number(data)
		case unix.FRA_SUPPRESS_PREFIXLEN:
			r.suppress = int(int32(number(data)))
		}
	}
	if to.IsValid() {
		r.to = netip.PrefixFrom(to, int(b[1]))
	}
	return r, true
}

// number reads an unsigned integer of one, two or four bytes; anything else is zero.
func number(b []byte) uint32 {
	switch len(b) {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.NativeEndian.Uint16(b))
	case 4:
		return binary.NativeEndian.Uint32(b)
	}
	return 0
}

func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func hardware(b []byte) (m model.MAC) {
	if len(b) == len(m) {
		copy(m[:], b)
	}
	return m
}

func ipv4(b []byte) netip.Addr {
	if len(b) != 4 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(b))
}

// gateway reads RTA_GATEWAY, or RTA_VIA of an IPv4 route with an IPv6 next hop (RFC 8950).
func gateway(kind uint16, b []byte) netip.Addr {
	if kind == unix.RTA_GATEWAY {
		return ipv4(b)
	}
	if len(b) == 2+16 && binary.NativeEndian.Uint16(b) == unix.AF_INET6 {
		return netip.AddrFrom16([16]byte(b[2:]))
	}
	return netip.Addr{}
}
