package leaf

import (
	"net/netip"

	"peerless/internal/claim"
	"peerless/internal/leaf/announce"
	"peerless/internal/leaf/linkage"
	"peerless/internal/leaf/neighbor"
	"peerless/internal/model"
	"peerless/internal/step"
)

// onPaths takes what a gateway told: the default route, and other leaves' claims. The claims are a hint: they make us probe,
// never install, and without them this leaf is right, only slower.
func (m *Machine) onPaths(now model.Instant, e step.PathsChanged) {
	u := m.uplinkOf(e.Peer)
	for _, p := range e.Paths {
		if u != nil {
			u.count(p)
		}
		switch {
		case p.Prefix == anywhere:
			if u != nil && !p.Withdrawn {
				u.heeds = claim.Heeds(p.Large)
			}
			if u != nil && m.cfg.DefaultFromBGP {
				u.Default = linkage.HeardDefault
				if p.Withdrawn {
					u.Default = linkage.NoDefault
				}
			}
		case !isHostPrefix(p.Prefix) || m.admit.Address(p.Prefix.Addr()) != neighbor.Admitted:
		case p.Withdrawn:
			m.onClaimGone(now, e.Peer, p.Prefix.Addr())
		default:
			m.onClaim(now, e.Peer, p)
		}
	}
	if u != nil {
		m.settle(now, 0)
	}
}

func (u *uplink) count(p step.Path) {
	switch {
	case p.Withdrawn:
		delete(u.paths, p.Prefix)
	case len(u.paths) < maxRumours:
		u.paths[p.Prefix] = struct{}{}
	}
}

// onClaim weighs another leaf's claim to a host.
func (m *Machine) onClaim(now model.Instant, by netip.Addr, p step.Path) {
	as, c, ok := readClaim(p.Large)
	if !ok {
		return // a plain /32 of a foreign leaf carries no stamp to compare
	}
	addr := p.Prefix.Addr()
	mine, standing := m.book.Stamp(addr)
	newer := standing && c.Stamp > mine
	if as == m.cfg.AS && !m.anothers(addr, c.Stamp, standing) {
		m.heard.HearHighest(addr, c.Stamp)
		return
	}
	known := m.heard.Highest(addr)
	m.heard.Hear(addr, announce.Rumour{By: by, AS: as, Stamp: c.Stamp, Attachment: c.Attachment, MAC: c.MAC})
	m.reshelve(now, addr, c.Attachment, c.Stamp > known)
	switch {
	case newer:
		if h, held := m.hosts.Holder(addr); held {
			d := m.down(h.Port)
			left, lost := d.quiet() // two witnesses: it has answered there, and nobody does here
			d.moved(now, addr, c.Attachment)
			if left {
				m.change(now, m.hosts.Departed(now.Mono, addr, m.movedAway(addr, c.Attachment), lost), 0)
				return
			}
		}
		m.change(now, m.hosts.Doubt(now.Mono, addr, m.movedAway(addr, c.Attachment)), 0)
	case !standing:
		m.remember(now, addr, c.Attachment, c.MAC)
	}
}

// anothers reports whether a claim under our own AS number is another leaf's that shares it, and not our own word told back, perhaps from
// before a restart: it is later than what the host itself has verified here, or than all that was known of a host that is not here.
func (m *Machine) anothers(addr netip.Addr, stamp claim.Stamp, standing bool) bool {
	if standing {
		mine, _ := m.book.Stamp(addr)
		return stamp > mine && m.verified(addr)
	}
	known := m.heard.Highest(addr)
	return known != 0 && stamp > known
}

// movedAway reports whether a host of ours is claimed behind another server port than ours.
func (m *Machine) movedAway(addr netip.Addr, id model.AttachmentID) bool {
	h, ok := m.hosts.Holder(addr)
	if !ok || id == 0 {
		return false
	}
	d := m.down(h.Port)
	return d != nil && d.ID != 0 && d.ID != id
}

// onClaimGone: a host whose server port hangs on us too may be coming here. The first gateway that says so is enough to ask for it.
func (m *Machine) onClaimGone(now model.Instant, by, addr netip.Addr) {
	r := m.heard.Gone(addr, by)
	if d := m.attached(r.Attachment); d != nil && r.Stamp != 0 {
		m.change(now, m.hosts.Expect(now.Mono, d.Port, addr), 0)
	}
}

// remember makes an address a probe target on the downlink of its attachment.
func (m *Machine) remember(now model.Instant, addr netip.Addr, id model.AttachmentID, mac model.MAC) {
	if d := m.attached(id); d != nil {
		m.change(now, m.hosts.Hint(now.Mono, d.Port, addr, mac, neighbor.FromFeed), 0)
	}
}

// attached is our own link to a server port, nil if we have none.
func (m *Machine) attached(id model.AttachmentID) *downlink {
	for _, d := range m.downs {
		if d.ID == id && id != 0 {
			return d
		}
	}
	return nil
}

func (m *Machine) verified(addr netip.Addr) bool {
	h, ok := m.hosts.Holder(addr)
	return ok && h.State != neighbor.Inherited
}

// readClaim finds the AS number under which a path carries a host claim.
func readClaim(large []model.LargeCommunity) (uint32, claim.Host, bool) {
	var tried uint32
	for i, l := range large {
		if i > 0 && l.Global == tried {
			continue
		}
		tried = l.Global
		if c, ok := claim.ParseHost(l.Global, large); ok {
			return l.Global, c, true
		}
	}
	return 0, claim.Host{}, false
}
