package neighbor

import (
	"net/netip"

	"peerless/internal/model"
)

// Net is a served subnet as far as admission is concerned.
type Net struct {
	Prefix  netip.Prefix
	Gateway netip.Addr
	MAC     model.MAC // our virtual MAC there
}

// Refusal says why something seen on a port is not a host of ours. The zero value means admitted.
type Refusal uint8

// Refusals.
const (
	Admitted      Refusal = iota
	NoSender              // 0.0.0.0: a probe of RFC 5227, which claims nothing
	OutsideSubnet         // not in a served subnet, or its network or broadcast address
	ClaimsGateway         // somebody uses the gateway's own address
	OwnMAC                // our virtual MAC came back: the server bridges its two links
	BadMAC                // zero, multicast or broadcast
)

// String gives the refusal in words.
func (r Refusal) String() string {
	return [...]string{"admitted", "no sender address", "outside the served subnets", "claims the gateway's address",
		"carries the virtual MAC of the leaves", "no unicast MAC"}[r]
}

// Admission tells which senders may become hosts.
type Admission struct{ Nets []Net }

// Net finds the served subnet of an address.
func (a Admission) Net(addr netip.Addr) (Net, bool) {
	for _, n := range a.Nets {
		if n.Prefix.Contains(addr) {
			return n, true
		}
	}
	return Net{}, false
}

// Own reports whether a MAC is a virtual MAC of ours.
func (a Admission) Own(mac model.MAC) bool {
	for _, n := range a.Nets {
		if n.MAC == mac {
			return true
		}
	}
	return false
}

// Sender judges the sender of a frame: its address, the MAC it gives for itself, and the Ethernet source. The two MACs may
// differ (proxying bridges), but neither may be ours.
func (a Admission) Sender(addr netip.Addr, mac, src model.MAC) Refusal {
	switch {
	case a.Own(mac) || a.Own(src):
		return OwnMAC
	case mac.IsZero() || mac.IsGroup() || src.IsGroup():
		return BadMAC
	}
	return a.Address(addr)
}

// Address judges an address alone.
func (a Admission) Address(addr netip.Addr) Refusal {
	if !addr.Is4() || addr.IsUnspecified() {
		return NoSender
	}
	n, ok := a.Net(addr)
	if !ok {
		return OutsideSubnet
	}
	if addr == n.Gateway {
		return ClaimsGateway
	}
	if n.Prefix.Bits() <= 30 && (addr == n.Prefix.Masked().Addr() || addr == broadcast(n.Prefix)) {
		return OutsideSubnet
	}
	return Admitted
}

// broadcast is the last address of an IPv4 prefix.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}
