package gateway

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"peerless/internal/claim"
	"peerless/internal/gateway/mapping"
	"peerless/internal/model"
	"peerless/internal/step"
)

func (m *Machine) onPaths(ev step.PathsChanged) {
	l := m.leafOf(ev.Peer, 0)
	if l == nil || l.resetting {
		return // the last words of a session that we tore down
	}
	if !l.session {
		switch {
		case anyHeard(ev.Paths):
			m.sessionUp(l)
			l.implied = true
		case l.phase == lost || l.phase == waiting:
			return // the end of a session whose claims do not count any more
		}
	}
	for _, p := range ev.Paths {
		m.path(l, p)
	}
}

func anyHeard(paths []step.Path) bool {
	for _, p := range paths {
		if !p.Withdrawn {
			return true
		}
	}
	return false
}

func (m *Machine) path(l *leaf, p step.Path) {
	id, isAttachment := m.attachmentOf(p.Prefix)
	switch {
	case isAttachment && p.Withdrawn:
		m.attachmentGone(l, id)
	case isAttachment:
		m.attachmentHeard(l, id, p)
	case !p.Prefix.IsSingleIP() || !m.inSubnets(p.Prefix.Addr()):
		if !p.Withdrawn {
			m.refuse(l, p, whatForeign, &l.saidForeign, "it is no host route inside a configured subnet")
		}
	case p.Withdrawn:
		m.withdrawn(l, p.Prefix.Addr())
	default:
		m.heard(l, p)
	}
}

// attachmentOf is the number of an attachment route: its offset in the range.
func (m *Machine) attachmentOf(p netip.Prefix) (model.AttachmentID, bool) {
	within := m.cfg.AttachmentRange
	if !within.IsValid() || !p.IsSingleIP() || !p.Addr().Is4() || !within.Contains(p.Addr()) {
		return 0, false
	}
	base, addr := within.Masked().Addr().As4(), p.Addr().As4()
	return model.AttachmentID(binary.BigEndian.Uint32(addr[:]) - binary.BigEndian.Uint32(base[:])), true
}

// refuse drops a path, counts it, and says so once a session.
func (m *Machine) refuse(l *leaf, p step.Path, what string, said *bool, why string) {
	l.dropped++
	if *said {
		return
	}
	*said = true
	m.note(step.Note{
		Warn: true, What: what, Port: l.Port, Addr: p.Prefix.Addr(), Peer: l.Name, Why: why,
		Text: fmt.Sprintf("%s from leaf %s refused, others like it are only counted", p.Prefix, l.Name),
	})
}

func (m *Machine) heard(l *leaf, p step.Path) {
	addr := p.Prefix.Addr()
	live := m.table.Live(l.id, m.table.Host(addr))
	if !live && m.table.Claims(l.id) >= m.cfg.MaxHosts {
		m.refuse(l, p, whatHostLimit, &l.saidLimit, fmt.Sprintf("the limit of %d hosts a leaf is reached", m.cfg.MaxHosts))
		return
	}
	said, stamped := claim.ParseHost(l.origin(p), p.Large)
	if !stamped {
		said.Stamp = 0 // a leaf that knows nothing of stamps
	}
	if l.dynamic && l.Port == "" && p.NextHop.IsValid() {
		l.via = p.NextHop
		m.locate(l)
	}
	h := m.table.Hear(l.id, addr, said)
	if k := m.table.Link(l.id, said.Attachment); !live && k != nil {
		k.ClaimedAt = int64(m.now.Mono)
	}
	if links := m.table.Links(l.id); links[len(links)-1].ID == 0 {
		l.told = true // there is nothing else that it tells of
	}
	m.conflict(h)
	m.touch(h)
}

// origin is the AS number that the leaf writes its communities under.
func (l *leaf) origin(p step.Path) uint32 {
	if l.asn == 0 && len(p.ASPath) > 0 {
		return p.ASPath[len(p.ASPath)-1]
	}
	return l.asn
}

func (m *Machine) conflict(h *mapping.Host) {
	a, b := m.table.Conflicting(h)
	if a == nil {
		h.Conflict = false
		return
	}
	if h.Conflict {
		return
	}
	h.Conflict = true
	m.note(step.Note{
		Warn: true, What: whatConflict, Addr: h.Addr, Attachment: a.Link.ID, ServerPort: m.serverPort(a.Link.ID), Peer: m.leaves[a.Link.Leaf].Name,
		Text: fmt.Sprintf("%s is claimed under two attachments: %s by leaf %s and %s by leaf %s", h.Addr,
			m.serverPort(a.Link.ID), m.leaves[a.Link.Leaf].Name, m.serverPort(b.Link.ID), m.leaves[b.Link.Leaf].Name),
		Why: "it moved between servers, or the leaves number one server port differently, or two machines have one address",
	})
}

func (m *Machine) withdrawn(l *leaf, addr netip.Addr) {
	c, kept := m.table.Withdraw(l.id, addr)
	if c == nil {
		return
	}
	h := c.Host
	if kept {
		m.remember(c)
	}
	m.touch(h)
	if h.Basis != c || m.table.Choose(h).State == mapping.Claimed {
		return // the host is elsewhere already
	}
	g := group{what: whatWithdrawn, from: l.id, to: mapping.None, cause: c.Link.Cause, stage: step.StageWithdraw, link: c.Link}
	if c.Link.ID == 0 {
		g.what, g.stage, g.warn = whatFault, step.StageDetect, true
	}
	if g.cause == 0 {
		g.cause = m.ownCause()
	}
	m.group(g, addr)
}

func (m *Machine) attachmentGone(l *leaf, id model.AttachmentID) {
	k := m.table.Unannounce(l.id, id)
	if k == nil {
		return
	}
	m.attachmentNote(l, k, whatAttachmentDown, "is not announced any more", "withdrawn by the leaf")
	m.touchUnder(id)
}

func (m *Machine) attachmentHeard(l *leaf, id model.AttachmentID, p step.Path) {
	said, ok := claim.ParseAttachment(l.origin(p), p.Large)
	if !ok || said.ID != id || id == 0 {
		m.refuse(l, p, whatForeign, &l.saidForeign, "it is inside the attachment range but tells of no attachment")
		return
	}
	l.told = true
	m.announced(l, said)
}

// announced takes a leaf's word on one of its attachments.
func (m *Machine) announced(l *leaf, said claim.Attachment) {
	id, before := said.ID, claim.Attachment{}
	if k := m.table.Link(l.id, id); k != nil {
		before = k.Said
	}
	k, wasUp, wasKnown := m.table.Announce(l.id, said)
	k.SaidAt = int64(m.now.Mono)
	switch {
	case m.table.Up(k) && wasUp, wasKnown && before == said: // a repeat
	case m.table.Up(k):
		k.Cause = 0
		m.attachmentNote(l, k, whatAttachmentUp, "up", said.Reason.String())
		m.scratch = m.table.AppendUnder(m.scratch[:0], id)
		m.enqueueAll(m.scratch)
		m.hurry = true
	case wasUp && m.table.Failed(k):
		m.portFailed(l, k)
	default: // down at first sight, down for another reason, or being drained
		m.attachmentNote(l, k, whatAttachmentDown, said.State.String(), said.Reason.String())
		m.touchUnder(id)
	}
}

// portFailed moves who is behind a server port that the leaf has just lost.
func (m *Machine) portFailed(l *leaf, k *mapping.Link) {
	k.Cause = m.newCause()
	m.fault(l, k)
	if !m.openBypass(l, k) {
		m.touchUnder(k.ID)
	}
}

func (m *Machine) touchUnder(id model.AttachmentID) {
	m.scratch = m.table.AppendUnder(m.scratch[:0], id)
	for i, h := range m.scratch {
		m.touch(h)
		m.scratch[i] = nil
	}
}
