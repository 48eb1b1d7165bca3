package rtnl

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

// bridgeFlags are those of a bridge's member that we set.
type bridgeFlags struct {
	Unicast   bool `json:"unicast_flood"`
	Multicast bool `json:"multicast_flood"`
	Broadcast bool `json:"broadcast_flood"`
	Learning  bool `json:"learning"`
	Isolated  bool `json:"isolated"`
}

type bridgeFlag struct {
	kind  uint16
	value *bool
}

func (f *bridgeFlags) attributes() []bridgeFlag {
	return []bridgeFlag{
		{unix.IFLA_BRPORT_UNICAST_FLOOD, &f.Unicast}, {unix.IFLA_BRPORT_MCAST_FLOOD, &f.Multicast},
		{unix.IFLA_BRPORT_BCAST_FLOOD, &f.Broadcast}, {unix.IFLA_BRPORT_LEARNING, &f.Learning}, {unix.IFLA_BRPORT_ISOLATED, &f.Isolated},
	}
}

var errNoMember = errors.New("not a member of a bridge")

func readBridgeFlags(r *requester, port model.Port) (bridgeFlags, error) {
	p := linkHeader(unix.AF_UNSPEC, 0, 0, 0)
	p.text(unix.IFLA_IFNAME, string(port))
	p.u32(unix.IFLA_EXT_MASK, skipStats)
	msgs, err := r.get(unix.RTM_GETLINK, p)
	if err != nil {
		return bridgeFlags{}, err
	}
	for _, m := range msgs {
		if f, ok := decodeBridgeFlags(m.Data); ok {
			return f, nil
		}
	}
	return bridgeFlags{}, errNoMember
}

// decodeBridgeFlags reads what a device is as a member of its bridge.
func decodeBridgeFlags(b []byte) (f bridgeFlags, ok bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return f, false
	}
	for kind, data := range attributes(b[unix.SizeofIfInfomsg:]) {
		if kind != unix.IFLA_LINKINFO {
			continue
		}
		for kind, data := range attributes(data) {
			switch kind {
			case unix.IFLA_INFO_SLAVE_KIND:
				ok = text(data) == "bridge"
			case unix.IFLA_INFO_SLAVE_DATA:
				for kind, data := range attributes(data) {
					for _, a := range f.attributes() {
						if a.kind == kind {
							*a.value = number(data) != 0
						}
					}
				}
			}
		}
	}
	return f, ok
}

// entry is a forwarding entry of a bridge.
type entry struct {
	Port  model.Port `json:"port"`
	State uint16     `json:"state"`
	Flags uint8      `json:"flags"`
	index int        // of the port
}

// made reports whether somebody made the entry; the bridge learns the others by itself.
func (e entry) made() bool { return e.State&(unix.NUD_NOARP|unix.NUD_PERMANENT) != 0 }

// readEntry finds a bridge's forwarding entry for a MAC.
func (d *Driver) readEntry(bridge int, mac model.MAC) (e entry, found bool, err error) {
	p := neighborHeader(unix.AF_BRIDGE, 0, 0, 0)
	p.attr(unix.NDA_LLADDR, mac[:])
	p.u32(unix.NDA_MASTER, uint32(bridge))
	msgs, err := d.reads.get(unix.RTM_GETNEIGH, p)
	if errors.Is(err, unix.ENOENT) {
		return e, false, nil
	}
	if err != nil || len(msgs) == 0 || len(msgs[0].Data) < unix.SizeofNdMsg {
		return e, false, err
	}
	b := msgs[0].Data
	return entry{index: int(number(b[4:8])), State: binary.NativeEndian.Uint16(b[8:]), Flags: b[10]}, true, nil
}

// encodeEntry puts an entry back as it was found.
func encodeEntry(mac model.MAC, index int, e entry) request {
	p := neighborHeader(unix.AF_BRIDGE, index, e.State, e.Flags&^unix.NTF_SELF|unix.NTF_MASTER)
	p.attr(unix.NDA_LLADDR, mac[:])
	return choose(false, unix.RTM_NEWNEIGH, 0, p)
}
