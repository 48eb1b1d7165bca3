// Package model holds the nouns of peerless: ports, hardware addresses, attachments, instants.
//
// It decides nothing. Every type is a plain comparable value; nothing here reads a clock, does I/O or starts a goroutine.
package model

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// Port is the name of a Linux network device (at most 15 bytes, IFNAMSIZ). Names, not interface indexes, identify ports
// throughout: an index changes when a device is recreated, the operator's name for it does not.
type Port string

// MAC is an IEEE 802 48-bit hardware address. The zero value means "unknown".
type MAC [6]byte

// Broadcast is the Ethernet broadcast address.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ParseMAC reads six colon-separated octets in hexadecimal.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != 17 {
		return MAC{}, fmt.Errorf("parse MAC %q: want six octets such as 02:00:5e:00:00:01", s)
	}
	for i := range m {
		if i > 0 && s[3*i-1] != ':' {
			return MAC{}, fmt.Errorf("parse MAC %q: octets are separated by colons", s)
		}
		if _, err := hex.Decode(m[i:i+1], []byte(s[3*i:3*i+2])); err != nil {
			return MAC{}, fmt.Errorf("parse MAC %q: octet %d: %w", s, i+1, err)
		}
	}
	return m, nil
}

// String gives the colon-separated form.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// IsZero reports whether the address is unset.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsGroup reports whether the address is a multicast or broadcast address (IEEE 802 I/G bit).
func (m MAC) IsGroup() bool { return m[0]&1 == 1 }

// MarshalText and UnmarshalText give the address its JSON and YAML form.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (m *MAC) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMAC(string(b))
	return err
}

// Instant is a moment, given to pure code as an argument.
type Instant struct {
	Mono time.Duration // CLOCK_MONOTONIC: since boot, common to all processes of a machine; orders and measures
	Wall int64         // Unix time in milliseconds; only for stamps and for people
}

// Add moves both clocks.
func (i Instant) Add(d time.Duration) Instant {
	return Instant{Mono: i.Mono + d, Wall: i.Wall + d.Milliseconds()}
}

// Sub is the monotonic time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return i.Mono - j.Mono }

// Role says which of a server's two links an attachment is. The zero value means "not told".
type Role uint8

// The roles of an attachment.
const (
	RoleUnknown Role = iota
	Primary
	Backup
)

// String names the role as config and output do.
func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case Backup:
		return "backup"
	case RoleUnknown:
	}
	return "unknown"
}

// MarshalText gives the role its JSON form.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (r *Role) UnmarshalText(b []byte) error {
	switch string(b) {
	case "primary":
		*r = Primary
	case "backup":
		*r = Backup
	case "unknown":
		*r = RoleUnknown
	default:
		return fmt.Errorf("parse role %q: want primary or backup", b)
	}
	return nil
}

// AttachmentID numbers a server port; the same on both leaves. Zero means "none".
type AttachmentID uint32

// String gives the number.
func (a AttachmentID) String() string { return strconv.FormatUint(uint64(a), 10) }

// Attachment is one leaf's end of a server port.
type Attachment struct {
	ID         AttachmentID
	Port       Port   // the leaf's downlink
	PortIndex  uint32 // the leaf port's number in its config, 1-based; carried in communities
	ServerPort string // the operator's name of the server port, for people
	Role       Role
}

// HostRoute is one host behind one port: what becomes a /32.
type HostRoute struct {
	Addr netip.Addr
	Port Port
	MAC  MAC
}

// Prefix is the host route's /32.
func (h HostRoute) Prefix() netip.Prefix { return netip.PrefixFrom(h.Addr, h.Addr.BitLen()) }

// LargeCommunity is a BGP large community (RFC 8092): global administrator and two local parts.
type LargeCommunity struct{ Global, Local1, Local2 uint32 }

// String gives the canonical form of RFC 8092 section 5.
func (l LargeCommunity) String() string {
	return fmt.Sprintf("%d:%d:%d", l.Global, l.Local1, l.Local2)
}
