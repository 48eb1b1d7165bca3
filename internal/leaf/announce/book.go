// Package announce decides what a leaf says upstream: which host /32s and attachments it stands behind, with which metric
// and communities, and with which stamp a host's arrival is claimed.
//
// It never decides where a host is, never does I/O and holds no clock.
package announce

import (
	"net/netip"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// Book holds what the leaf stands behind. Build it with New.
type Book struct {
	as     uint32
	within netip.Prefix // attachment range
	shy    bool         // foreign routers are to prefer anybody else
	hosts  map[netip.Addr]claim.Host
	ports  map[model.Port]claim.Attachment
}

// New makes an empty book.
func New(as uint32, attachmentRange netip.Prefix) *Book {
	return &Book{as: as, within: attachmentRange, hosts: map[netip.Addr]claim.Host{}, ports: map[model.Port]claim.Attachment{}}
}

// Host stands behind a host on an attachment with this stamp, tells its MAC if it is known, and gives the route that says so. It must be advertised only
// after the kernel has the host's route.
func (b *Book) Host(addr netip.Addr, att model.Attachment, stamp claim.Stamp, mac model.MAC) step.Advertisement {
	c := claim.Host{PortIndex: att.PortIndex, Attachment: att.ID, Role: att.Role, Stamp: stamp, MAC: mac}
	b.hosts[addr] = c
	return b.advertise(addr, c)
}

func (b *Book) advertise(addr netip.Addr, c claim.Host) step.Advertisement {
	med := c.Stamp.MED()
	if b.shy {
		med = 1<<32 - 1 // the worst (RFC 4271 section 9.1.2.2)
	}
	return step.Advertisement{Prefix: step.HostPrefix(addr), MED: med, HasMED: true, Large: c.Communities(b.as)}
}

// Shy makes what is advertised from now on the last choice of foreign routers. Stamps, which our own go by, stay true.
func (b *Book) Shy(on bool) { b.shy = on }

// Drop stops standing behind a host. It gives the route to withdraw; false if the leaf did not stand behind it.
func (b *Book) Drop(addr netip.Addr) (step.Advertisement, bool) {
	if _, ok := b.hosts[addr]; !ok {
		return step.Advertisement{}, false
	}
	delete(b.hosts, addr)
	return step.Advertisement{Prefix: step.HostPrefix(addr)}, true
}

// Stands reports whether the leaf stands behind a host, and gives the route to withdraw.
func (b *Book) Stands(addr netip.Addr) (step.Advertisement, bool) {
	_, ok := b.hosts[addr]
	return step.Advertisement{Prefix: step.HostPrefix(addr)}, ok
}

// Claim gives the route of a host that the leaf stands behind.
func (b *Book) Claim(addr netip.Addr) (step.Advertisement, bool) {
	c, ok := b.hosts[addr]
	if !ok {
		return step.Advertisement{}, false
	}
	return b.advertise(addr, c), true
}

// Stamp is the stamp of a host that the leaf stands behind.
func (b *Book) Stamp(addr netip.Addr) (claim.Stamp, bool) {
	c, ok := b.hosts[addr]
	return c.Stamp, ok
}

// Attachment says an attachment's state. It reports false when nothing changed, or when the attachment has no number or
// its number lies outside the range: there is nothing to say then.
func (b *Book) Attachment(att model.Attachment, state claim.State, reason claim.Reason) (step.Advertisement, bool) {
	c := claim.Attachment{PortIndex: att.PortIndex, ID: att.ID, Role: att.Role, State: state, Reason: reason}
	if b.ports[att.Port] == c {
		return step.Advertisement{}, false
	}
	b.ports[att.Port] = c
	p, ok := claim.Prefix(b.within, att.ID)
	if !ok || att.ID == 0 {
		return step.Advertisement{}, false
	}
	return step.Advertisement{Prefix: p, NoExport: true, Large: c.Communities(b.as)}, true
}

// Said is the last word on a port's attachment.
func (b *Book) Said(port model.Port) claim.Attachment { return b.ports[port] }
