// Package claim is what a leaf says upstream of a host or of an attachment, and its codec in BGP large communities
// (RFC 8092). Leaf and gateway share it, so that both read one text.
//
// It decides which of two claims wins. It never reads a clock and knows nothing of routes or sessions.
package claim

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"peerless/internal/model"
)

// Local data part 1 of our large communities ASN:n:value. Foreign routers may ignore them all.
const (
	fieldPortIndex  = 1  // leaf port index, 1-based
	fieldAttachment = 2  // attachment id, the same on both leaves
	fieldRole       = 3  // 0 primary, 1 backup
	fieldStampHigh  = 4  // upper 32 bits of the stamp
	fieldStampLow   = 5  // lower 32 bits
	fieldState      = 6  // attachment routes: a State
	fieldReason     = 7  // attachment routes: a Reason
	fieldTail       = 8  // host routes, where it is known: the last four octets of the host's MAC
	fieldHeeds      = 9  // a gateway's default route: 1, it moves hosts by the word on their attachment
	fieldHead       = 10 // host routes, with the former: the first two
	fieldEnd        = 11
)

// Stamp is a hybrid logical time in milliseconds: the newest attachment of a host wins, whatever the clocks say
// . Zero is older than every stamp.
type Stamp uint64

// buildEpochMs is 2026-01-01T00:00:00Z. A wall clock before it is wrong and is never used.
const buildEpochMs = 1767225600000

// medUnitMs is the resolution of the coarse copy of the stamp in MED: 2^32 tenths of a second last 13.6 years. A wall clock after that
// is wrong as well: MED could not tell its stamps apart.
const (
	medUnitMs = 100
	medEndMs  = buildEpochMs + medUnitMs<<32
)

// Next is the stamp of a host that arrives now: later than every stamp heard for it, and no earlier than the wall clock
// where the clock can be believed. It is later by a whole unit of MED, and never below the first of them: a gateway's BGP goes by MED,
// and between two equal ones it prefers the older route, so that the leaf that lost the host would be told of no newer claim.
func Next(wallMs int64, heard Stamp) Stamp {
	next := max(heard, buildEpochMs) + medUnitMs
	if wallMs < medEndMs && Stamp(max(wallMs, 0)) > next {
		next = Stamp(wallMs)
	}
	return next
}

// MED is the coarse copy of a stamp for foreign routers, which prefer the lowest MED (RFC 4271 section 9.1.2.2): newer
// stamps give lower values.
func (s Stamp) MED() uint32 {
	if s <= buildEpochMs {
		return 1<<32 - 1
	}
	units := (uint64(s) - buildEpochMs) / medUnitMs
	if units >= 1<<32 {
		return 0
	}
	return 1<<32 - 1 - uint32(units)
}

// Host is a leaf's claim that a host is attached to it. Its prefix is the host's /32.
type Host struct {
	PortIndex  uint32
	Attachment model.AttachmentID
	Role       model.Role
	Stamp      Stamp
	MAC        model.MAC // the host's; zero: not told
}

// Newer reports whether h beats o; on equal stamps the lower router id wins.
func (h Host) Newer(o Host, id, otherID netip.Addr) bool {
	if h.Stamp != o.Stamp {
		return h.Stamp > o.Stamp
	}
	return id.Less(otherID)
}

// State of an attachment as its leaf sees it.
type State uint32

// States of an attachment. The zero value is not a state.
const (
	StateUnknown State = iota
	Up                 // the port is open and has carrier
	Down               // the port lost its carrier or was closed by the operator
	Closed             // the leaf closed the port
)

// String names the state as output does.
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Down:
		return "down"
	case Closed:
		return "closed"
	case StateUnknown:
	}
	return "unknown"
}

// Reason says why an attachment is in its state.
type Reason uint32

// Reasons carried in attachment routes.
const (
	ReasonUnknown Reason = iota
	ReasonReady
	ReasonCarrierLost
	ReasonOperator
	ReasonLinkage // uplinks lost: port linkage closed the port
	ReasonMissing // the device does not exist
	ReasonNotReady
	ReasonSilent // link up, hosts silent
	ReasonDrain
	ReasonFlapping // the port comes and goes: its return waits
)

var reasonText = [...]string{"unknown", "ready", "carrier lost", "closed by operator", "port linkage: uplink lost", "port missing",
	"leaf not ready", "hosts silent", "drain", "flapping"}

// String says the reason in words. Unknown codes from newer versions keep their number.
func (r Reason) String() string {
	if int(r) < len(reasonText) {
		return reasonText[r]
	}
	return fmt.Sprintf("reason %d", uint32(r))
}

// Attachment is a leaf's word on one of its attachments. Its prefix is a /32 out of the attachment range.
type Attachment struct {
	PortIndex uint32
	ID        model.AttachmentID
	Role      model.Role
	State     State
	Reason    Reason
}

// Prefix is the attachment's /32: offset ID in the range. It reports false when the range is too small.
func Prefix(within netip.Prefix, id model.AttachmentID) (netip.Prefix, bool) {
	if !within.Addr().Is4() {
		return netip.Prefix{}, false
	}
	if hostBits := 32 - within.Bits(); uint64(id) >= 1<<hostBits {
		return netip.Prefix{}, false
	}
	b := within.Masked().Addr().As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n += uint32(id)
	addr := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	return netip.PrefixFrom(addr, 32), true
}

// Communities encodes the claim under the leaf's AS number.
func (h Host) Communities(asn uint32) []model.LargeCommunity {
	out := []model.LargeCommunity{
		{Global: asn, Local1: fieldPortIndex, Local2: h.PortIndex},
		{Global: asn, Local1: fieldAttachment, Local2: uint32(h.Attachment)},
		{Global: asn, Local1: fieldRole, Local2: roleCode(h.Role)},
		{Global: asn, Local1: fieldStampHigh, Local2: uint32(h.Stamp >> 32)},
		{Global: asn, Local1: fieldStampLow, Local2: uint32(h.Stamp)},
	}
	if m := h.MAC; !m.IsZero() {
		out = append(out,
			model.LargeCommunity{Global: asn, Local1: fieldTail, Local2: binary.BigEndian.Uint32(m[2:])},
			model.LargeCommunity{Global: asn, Local1: fieldHead, Local2: uint32(binary.BigEndian.Uint16(m[:]))})
	}
	return out
}

// Communities encodes the attachment's state under the leaf's AS number.
func (a Attachment) Communities(asn uint32) []model.LargeCommunity {
	return []model.LargeCommunity{
		{Global: asn, Local1: fieldPortIndex, Local2: a.PortIndex},
		{Global: asn, Local1: fieldAttachment, Local2: uint32(a.ID)},
		{Global: asn, Local1: fieldRole, Local2: roleCode(a.Role)},
		{Global: asn, Local1: fieldState, Local2: uint32(a.State)},
		{Global: asn, Local1: fieldReason, Local2: uint32(a.Reason)},
	}
}

// ParseHost reads a host claim. It reports false when no stamp is present: the route is a plain /32 of a foreign leaf.
func ParseHost(asn uint32, communities []model.LargeCommunity) (Host, bool) {
	f := read(asn, communities)
	h := Host{
		PortIndex: f.value[fieldPortIndex], Attachment: model.AttachmentID(f.value[fieldAttachment]), Role: f.role(),
		Stamp: Stamp(f.value[fieldStampHigh])<<32 | Stamp(f.value[fieldStampLow]),
	}
	if f.has[fieldTail] && f.has[fieldHead] && f.value[fieldHead] < 1<<16 {
		binary.BigEndian.PutUint16(h.MAC[:], uint16(f.value[fieldHead]))
		binary.BigEndian.PutUint32(h.MAC[2:], f.value[fieldTail])
	}
	if h.MAC.IsGroup() {
		h.MAC = model.MAC{}
	}
	return h, f.has[fieldStampHigh] && f.has[fieldStampLow]
}

// ParseAttachment reads an attachment's state. It reports false when none is present.
func ParseAttachment(asn uint32, communities []model.LargeCommunity) (Attachment, bool) {
	f := read(asn, communities)
	a := Attachment{
		PortIndex: f.value[fieldPortIndex], ID: model.AttachmentID(f.value[fieldAttachment]), Role: f.role(),
		State: State(f.value[fieldState]), Reason: Reason(f.value[fieldReason]),
	}
	return a, f.has[fieldState] && f.has[fieldAttachment] && a.State >= Up && a.State <= Closed
}

// Foretold is what an ARP packet bears in place of a target's MAC that says ahead of an announcement that a port is not up any more.
func Foretold(s State, r Reason) model.MAC { return model.MAC{4: byte(s), 5: byte(r)} }

// ParseForetold reads it. It reports false for what does not say so: a port that is drained is up until its hosts have left.
func ParseForetold(m model.MAC) (State, Reason, bool) {
	s, r := State(m[4]), Reason(m[5])
	return s, r, m == Foretold(s, r) && (s == Down || s == Closed) && r != ReasonDrain
}

// Use is what a server's question whether a leaf is open bears in place of a target's MAC: whether it sends by the link on which it asks.
func Use(inUse bool) model.MAC {
	if inUse {
		return model.MAC{5: 1}
	}
	return model.MAC{5: 2}
}

// ParseUse reads it. It reports false for a question that says nothing of it.
func ParseUse(m model.MAC) (inUse, said bool) {
	inUse = m == Use(true)
	return inUse, inUse || m == Use(false)
}

// Heeding is what a gateway says of itself with its default route: that the word on an attachment moves every host behind it. Leaves
// need not hurry then with the withdrawals that follow.
func Heeding(asn uint32) []model.LargeCommunity {
	return []model.LargeCommunity{{Global: asn, Local1: fieldHeeds, Local2: 1}}
}

// Heeds reports whether a gateway says so.
func Heeds(communities []model.LargeCommunity) bool {
	return slices.ContainsFunc(communities, func(c model.LargeCommunity) bool { return c.Local1 == fieldHeeds && c.Local2 == 1 })
}

type fields struct {
	value [fieldEnd]uint32
	has   [fieldEnd]bool
}

// read takes the first value of each field under the AS number; others are not ours.
func read(asn uint32, communities []model.LargeCommunity) fields {
	var f fields
	for _, c := range communities {
		if c.Global != asn || c.Local1 == 0 || c.Local1 >= fieldEnd || f.has[c.Local1] {
			continue
		}
		f.value[c.Local1], f.has[c.Local1] = c.Local2, true
	}
	return f
}

func (f fields) role() model.Role {
	if !f.has[fieldRole] {
		return model.RoleUnknown
	}
	switch f.value[fieldRole] {
	case 0:
		return model.Primary
	case 1:
		return model.Backup
	}
	return model.RoleUnknown
}

func roleCode(r model.Role) uint32 {
	if r == model.Backup {
		return 1
	}
	return 0
}
