package rtnl

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Encoders of wants. They are pure: port names are turned into indexes by the argument.

// request is one netlink message, and the errors that say that its aim is met already.
type request struct {
	msg     netlink.Message
	already []unix.Errno
}

// lookup gives the interface index of a port.
type lookup func(model.Port) (int, error)

const (
	flagsSet    = netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Replace
	flagsAdd    = netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl
	flagsChange = netlink.Request | netlink.Acknowledge
)

// choose is the request that creates the object or the one that deletes it.
func choose(absent bool, set, unset netlink.HeaderType, payload payload, gone ...unix.Errno) request {
	if absent {
		return request{netlink.Message{Header: netlink.Header{Type: unset, Flags: flagsChange}, Data: payload}, gone}
	}
	return request{netlink.Message{Header: netlink.Header{Type: set, Flags: flagsSet}, Data: payload}, nil}
}

// change is a request that only changes what exists.
func change(kind netlink.HeaderType, payload payload) request {
	return request{msg: netlink.Message{Header: netlink.Header{Type: kind, Flags: flagsChange}, Data: payload}}
}

func encodeAddress(o step.Address, absent bool, index lookup) (request, error) {
	if !o.Prefix.Addr().Is4() {
		return request{}, fmt.Errorf("%s is not an IPv4 address", o.Prefix)
	}
	i, err := index(o.Port)
	if err != nil {
		return request{}, err
	}
	var flags uint32
	if o.NoPrefixRoute {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	p := payload{unix.AF_INET, uint8(o.Prefix.Bits()), 0, unix.RT_SCOPE_UNIVERSE}
	p.word(uint32(i))
	p.addr(unix.IFA_LOCAL, o.Prefix.Addr())
	p.addr(unix.IFA_ADDRESS, o.Prefix.Addr())
	p.u32(unix.IFA_FLAGS, flags)
	return choose(absent, unix.RTM_NEWADDR, unix.RTM_DELADDR, p, unix.EADDRNOTAVAIL, unix.ENODEV), nil
}

// encodeRoute names a route to be deleted by its identity and our mark only, so that it goes whatever its next hops. The
// kernel takes metric 0 in a deletion for any metric: nobody may keep two of our routes to one prefix of which one has 0.
func encodeRoute(o step.Route, absent bool, index lookup) (request, error) {
	if !o.Prefix.Addr().Is4() {
		return request{}, fmt.Errorf("%s is not an IPv4 prefix", o.Prefix)
	}
	table := o.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	kind, scope := uint8(unix.RTN_UNICAST), uint8(unix.RT_SCOPE_LINK)
	for _, h := range o.Hops() {
		if h.Via.IsValid() {
			scope = unix.RT_SCOPE_UNIVERSE
		}
	}
	switch {
	case absent:
		kind, scope = unix.RTN_UNSPEC, unix.RT_SCOPE_NOWHERE
	case o.Blackhole:
		kind, scope = unix.RTN_BLACKHOLE, unix.RT_SCOPE_UNIVERSE
	}
	p := payload{unix.AF_INET, uint8(o.Prefix.Bits()), 0, 0, unix.RT_TABLE_UNSPEC, mark, scope, kind}
	p.word(0)
	p.u32(unix.RTA_TABLE, table)
	p.addr(unix.RTA_DST, o.Prefix.Addr())
	p.u32(unix.RTA_PRIORITY, o.Metric)
	if !absent {
		if err := p.hops(o.Hops(), index); err != nil {
			return request{}, err
		}
	}
	return choose(absent, unix.RTM_NEWROUTE, unix.RTM_DELROUTE, p, unix.ESRCH, unix.ENOENT), nil
}

// hops writes RTA_OIF and RTA_GATEWAY, or RTA_MULTIPATH for several next hops.
func (p *payload) hops(hops []step.NextHop, index lookup) error {
	var multi payload
	for _, h := range hops {
		i, err := index(h.Dev)
		if err != nil {
			return err
		}
		if h.Via.IsValid() && !h.Via.Is4() {
			return fmt.Errorf("next hop %s is not an IPv4 address", h.Via)
		}
		var via payload
		if h.Via.IsValid() {
			via.addr(unix.RTA_GATEWAY, h.Via)
		}
		if len(hops) == 1 {
			p.u32(unix.RTA_OIF, uint32(i))
			*p = append(*p, via...)
			return nil
		}
		multi = binary.NativeEndian.AppendUint16(multi, uint16(unix.SizeofRtNexthop+len(via)))
		multi = append(multi, 0, 0) // flags, weight less one
		multi.word(uint32(i))
		multi = append(multi, via...)
	}
	if len(multi) > 0 {
		p.attr(unix.RTA_MULTIPATH, multi)
	}
	return nil
}

const ndaProtocol = 12 // NDA_PROTOCOL of linux/neighbour.h, which x/sys lacks

func encodeNeighbor(o step.Neighbor, absent bool, index lookup) (request, error) {
	if !o.Addr.Is4() {
		return request{}, fmt.Errorf("%s is not an IPv4 address", o.Addr)
	}
	if o.MAC.IsZero() && !absent {
		return request{}, fmt.Errorf("no hardware address")
	}
	i, err := index(o.Port)
	if err != nil {
		return request{}, err
	}
	p := neighborHeader(unix.AF_INET, i, unix.NUD_PERMANENT, unix.NTF_EXT_LEARNED)
	p.addr(unix.NDA_DST, o.Addr)
	if !absent {
		p.attr(unix.NDA_LLADDR, o.MAC[:])
		p.attr(ndaProtocol, []byte{mark}) // kernels before 5.0 do not keep it
	}
	return choose(absent, unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH, p, unix.ENOENT, unix.ENODEV, unix.ENXIO), nil
}

// encodeResolve asks the kernel to resolve as if a packet were waiting.
func encodeResolve(o step.Resolve, index lookup) (request, error) {
	if !o.Addr.Is4() {
		return request{}, fmt.Errorf("%s is not an IPv4 address", o.Addr)
	}
	i, err := index(o.Port)
	if err != nil {
		return request{}, err
	}
	p := neighborHeader(unix.AF_INET, i, unix.NUD_NONE, unix.NTF_USE)
	p.addr(unix.NDA_DST, o.Addr)
	return choose(false, unix.RTM_NEWNEIGH, 0, p), nil
}

const ntfSticky = 0x40 // NTF_STICKY of linux/neighbour.h, which x/sys lacks

// encodeFDB is `bridge fdb replace MAC dev PORT master static sticky`. Without sticky the kernel moves even a static entry to
// whichever port a frame of this MAC comes in by, as long as that port learns.
func encodeFDB(mac model.MAC, index int, absent bool) request {
	p := neighborHeader(unix.AF_BRIDGE, index, unix.NUD_NOARP, unix.NTF_MASTER|ntfSticky)
	p.attr(unix.NDA_LLADDR, mac[:])
	return choose(absent, unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH, p, unix.ENOENT)
}

func neighborHeader(family uint8, index int, state uint16, flags uint8) payload {
	p := payload{family, 0, 0, 0}
	p.word(uint32(index))
	p = binary.NativeEndian.AppendUint16(p, state)
	return append(p, flags, 0)
}

// encodeRule adds exclusively: the kernel has no replace for rules and would keep the same one twice.
func encodeRule(o step.Rule, absent bool) (request, error) {
	var bits uint8
	if o.To.IsValid() {
		if !o.To.Addr().Is4() {
			return request{}, fmt.Errorf("%s is not an IPv4 prefix", o.To)
		}
		bits = uint8(o.To.Bits())
	}
	action := uint8(unix.FR_ACT_TO_TBL)
	if o.Blackhole {
		action = unix.FR_ACT_BLACKHOLE
	}
	p := payload{unix.AF_INET, bits, 0, 0, unix.RT_TABLE_UNSPEC, 0, 0, action}
	p.word(0)
	p.u32(unix.FRA_PRIORITY, o.Priority)
	p.attr(unix.FRA_PROTOCOL, []byte{mark})
	if o.To.IsValid() {
		p.addr(unix.FRA_DST, o.To.Addr())
	}
	if o.IIF != "" {
		p.text(unix.FRA_IIFNAME, string(o.IIF))
	}
	if !o.Blackhole {
		p.u32(unix.FRA_TABLE, o.Table)
		if o.SuppressPrefixLen >= 0 {
			p.u32(unix.FRA_SUPPRESS_PREFIXLEN, uint32(o.SuppressPrefixLen))
		}
	}
	r := choose(absent, unix.RTM_NEWRULE, unix.RTM_DELRULE, p, unix.ENOENT)
	if !absent {
		r.msg.Header.Flags, r.already = flagsAdd, []unix.Errno{unix.EEXIST}
	}
	return r, nil
}

func linkHeader(family uint8, index int, flags, mask uint32) payload {
	p := payload{family, 0, 0, 0}
	p.word(uint32(index))
	p.word(flags)
	p.word(mask)
	return p
}

func encodeAdmin(index int, up bool) request {
	var flags uint32
	if up {
		flags = unix.IFF_UP
	}
	return change(unix.RTM_SETLINK, linkHeader(unix.AF_UNSPEC, index, flags, unix.IFF_UP))
}

// operState is what IF_OPER_DORMANT and IF_OPER_UP are (RFC 2863).
type operState uint8

const (
	operDormant operState = 5
	operUp      operState = 6
)

func encodeOperState(index int, s operState) request {
	p := linkHeader(unix.AF_UNSPEC, index, 0, 0)
	p.attr(unix.IFLA_OPERSTATE, []byte{uint8(s)})
	return change(unix.RTM_SETLINK, p)
}

// encodeProtoDown sets or clears our reason, and protodown with it. The kernel refuses to clear protodown while somebody
// else's reason stands.
func encodeProtoDown(index int, down bool) request {
	p := protoDownReason(index, protoDownBit, down)
	p.attr(unix.IFLA_PROTO_DOWN, []byte{flag(down)})
	return change(unix.RTM_SETLINK, p)
}

// protoDownReason sets or clears one reason bit and nothing else.
func protoDownReason(index int, bit uint32, on bool) payload {
	p := linkHeader(unix.AF_UNSPEC, index, 0, 0)
	var reason payload
	reason.u32(unix.IFLA_PROTO_DOWN_REASON_MASK, bit)
	if on {
		reason.u32(unix.IFLA_PROTO_DOWN_REASON_VALUE, bit)
	} else {
		reason.u32(unix.IFLA_PROTO_DOWN_REASON_VALUE, 0)
	}
	p.attr(unix.IFLA_PROTO_DOWN_REASON|unix.NLA_F_NESTED, reason)
	return p
}

func encodeHardwareAddress(index int, mac model.MAC) request {
	p := linkHeader(unix.AF_UNSPEC, index, 0, 0)
	p.attr(unix.IFLA_ADDRESS, mac[:])
	return change(unix.RTM_SETLINK, p)
}

func encodeBridgePort(index int, o step.BridgePort) request {
	return encodeBridgeFlags(index, bridgeFlags{
		Unicast: o.Flood, Multicast: o.Flood, Broadcast: o.Flood, Learning: o.Learning, Isolated: o.Isolated,
	})
}

func encodeBridgeFlags(index int, f bridgeFlags) request {
	var flags payload
	for _, b := range f.attributes() {
		flags.attr(b.kind, []byte{flag(*b.value)})
	}
	p := linkHeader(unix.AF_BRIDGE, index, 0, 0)
	p.attr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, flags)
	return change(unix.RTM_SETLINK, p)
}

func encodeBondActive(bond, active int) request {
	var data, info payload
	data.u32(unix.IFLA_BOND_ACTIVE_SLAVE, uint32(active))
	info.text(unix.IFLA_INFO_KIND, "bond")
	info.attr(unix.IFLA_INFO_DATA, data)
	p := linkHeader(unix.AF_UNSPEC, bond, 0, 0)
	p.attr(unix.IFLA_LINKINFO, info)
	return change(unix.RTM_NEWLINK, p)
}

// payload is the body of a netlink message as it grows: a fixed header, then attributes.
type payload []byte

func (p *payload) word(v uint32) { *p = binary.NativeEndian.AppendUint32(*p, v) }

func (p *payload) attr(kind uint16, data []byte) {
	*p = binary.NativeEndian.AppendUint16(*p, uint16(unix.SizeofNlAttr+len(data)))
	*p = binary.NativeEndian.AppendUint16(*p, kind)
	*p = append(*p, data...)
	for range align(len(data)) - len(data) {
		*p = append(*p, 0)
	}
}

func (p *payload) u32(kind uint16, v uint32) {
	p.attr(kind, binary.NativeEndian.AppendUint32(make([]byte, 0, 4), v))
}

func (p *payload) text(kind uint16, s string) { p.attr(kind, append([]byte(s), 0)) }

// addr writes an IPv4 address; the caller has made sure that it is one.
func (p *payload) addr(kind uint16, a netip.Addr) {
	b := a.As4()
	p.attr(kind, b[:])
}

func flag(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}
