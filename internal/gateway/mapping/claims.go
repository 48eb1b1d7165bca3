package mapping

import (
	"net/netip"

	"peerless/internal/claim"
	"peerless/internal/model"
)

// Hear records a leaf's claim in its newest session. A repeat refreshes the claim and changes nothing else; what was said before a session was
// lost, and is said again with the same stamp, is no news either.
func (t *Table) Hear(l LeafID, addr netip.Addr, said claim.Host) *Host {
	h := t.Add(addr)
	c := h.by(l, false)
	fresh := c == nil || !t.live(c)
	news := c == nil || c.gone || said.Stamp > c.Said.Stamp || said.Stamp == 0 && fresh
	if c == nil {
		c = &Claim{Host: h, other: h.claims}
		h.claims = c
	}
	if fresh {
		t.leaves[l].claims++
	}
	if news {
		t.arrival++
		c.arrival = t.arrival
	}
	c.Said, c.session = said, t.leaves[l].session
	c.withdraw(false)
	k := t.addLink(l, said.Attachment)
	t.attach(c, k)
	if k.foretold { // the claim was under way when the port was lost
		t.arrival++
		k.downAt = t.arrival
	}
	return h
}

// Live reports whether the leaf's claim to the host is live.
func (t *Table) Live(l LeafID, h *Host) bool {
	if h == nil {
		return false
	}
	c := h.by(l, false)
	return c != nil && t.live(c)
}

// Pin binds a host to a leaf by configuration; what leaves announce of the host does not count any more. Among pins
// the primary wins.
func (t *Table) Pin(l LeafID, addr netip.Addr, id model.AttachmentID, role model.Role) *Host {
	h := t.Add(addr)
	c := &Claim{Host: h, Static: true, session: forever, other: h.claims}
	c.Said = claim.Host{Attachment: id, Role: role}
	h.claims = c
	k := t.addLink(l, id)
	k.Pinned = true
	if k.Said.Role == model.RoleUnknown {
		k.Said.Role = role
	}
	t.attach(c, k)
	return h
}

// Lay records what the config says of a leaf's end of a server port, where the leaf itself says nothing.
func (t *Table) Lay(l LeafID, id model.AttachmentID, index uint32, role model.Role) {
	k := t.addLink(l, id)
	k.Pinned, k.Said.PortIndex, k.Said.Role = true, index, role
}

// Observe records what was found out about a leaf's end of a server port of which the leaf itself says nothing.
func (t *Table) Observe(l LeafID, id model.AttachmentID, s claim.State) {
	if k := t.Link(l, id); k != nil && !k.Heard {
		k.Said.State = s
	}
}

// SetAnswer says whether the leaf answers ARP for a pinned host. It reports whether that is news.
func (t *Table) SetAnswer(l LeafID, addr netip.Addr, on bool) bool {
	h := t.hosts[addr]
	if h == nil {
		return false
	}
	c := h.by(l, true)
	if c == nil || c.Answer == on {
		return false
	}
	c.Answer = on
	return true
}

// Withdraw takes a leaf's claim back. The claim is remembered (kept) when the host would otherwise be lost although another
// leaf has its server port up: the caller ends that with Forget.
func (t *Table) Withdraw(l LeafID, addr netip.Addr) (c *Claim, kept bool) {
	h := t.hosts[addr]
	if h == nil {
		return nil, false
	}
	if c = h.by(l, false); c == nil || c.gone {
		return nil, false
	}
	return c, t.takeBack(c)
}

func (t *Table) takeBack(c *Claim) (kept bool) {
	if t.live(c) {
		t.leaves[c.Link.Leaf].claims--
	}
	c.withdraw(true)
	if t.newest(c.Host, t.usable) == nil && t.standby(c.Link.ID, c.Link.Leaf) != None {
		return true
	}
	t.Forget(c)
	return false
}

// Forget removes a claim. The link that it names stays readable.
func (t *Table) Forget(c *Claim) {
	for at := &c.Host.claims; *at != nil; at = &(*at).other {
		if *at == c {
			*at = c.other
			break
		}
	}
	if t.live(c) && !c.Static {
		t.leaves[c.Link.Leaf].claims--
	}
	c.withdraw(true)
	c.unlink()
}

// Sweep takes back what the leaf has not said again in its newest session, as if it were withdrawn, or forgets all it said, and marks the
// links alike. It adds the hosts concerned to the list, those under links that went included, and gives the claims that are kept.
func (t *Table) Sweep(to []*Host, l LeafID, all bool) (hosts []*Host, kept []*Claim) {
	stale := func(session uint32) bool { return session != forever && (all || session < t.leaves[l].session) }
	for _, k := range t.leaves[l].links {
		if k.Heard && stale(k.session) {
			k.Heard = false
			if k.ID != 0 {
				to = t.AppendUnder(to, k.ID)
			}
		}
		for c := k.head; c != nil; {
			next := c.next
			switch {
			case !stale(c.session), c.gone && !all: // withdrawn before, and remembered for its time
			case all:
				to = append(to, c.Host)
				t.Forget(c)
			default:
				to = append(to, c.Host)
				if t.takeBack(c) {
					kept = append(kept, c)
				}
			}
			c = next
		}
	}
	return to, kept
}

// Announce records a leaf's word on one of its attachments. It returns the link and whether it was up and whether it was
// known at all until now.
func (t *Table) Announce(l LeafID, said claim.Attachment) (k *Link, wasUp, wasKnown bool) {
	k = t.addLink(l, said.ID)
	wasUp, wasKnown = t.up(k), t.fresh(k)
	if wasUp || !wasKnown {
		t.arrival++
		k.downAt = t.arrival
	}
	k.Said, k.Heard, k.session, k.foretold = said, true, t.leaves[l].session, false
	return k, wasUp, wasKnown
}

// Foretell records that a port is not up any more before the leaf announces it.
func (t *Table) Foretell(k *Link, state claim.State, reason claim.Reason) {
	k.foretold, k.announced = true, k.Said
	k.Said.State, k.Said.Reason = state, reason
	t.arrival++
	k.downAt = t.arrival
}

// Foretold reports whether that is all there is of it yet, and gives the last announcement.
func (k *Link) Foretold() (announced claim.Attachment, foretold bool) {
	return k.announced, k.foretold
}

// Unannounce records that a leaf does not speak of an attachment any more; nil if it did not.
func (t *Table) Unannounce(l LeafID, id model.AttachmentID) *Link {
	k := t.Link(l, id)
	if k == nil || !k.Heard {
		return nil
	}
	k.Heard = false
	return k
}

// Conflicting finds two live claims to the host under different attachment ids.
func (t *Table) Conflicting(h *Host) (a, b *Claim) {
	for c := h.claims; c != nil; c = c.other {
		if c.Static || c.Link.ID == 0 || !t.live(c) {
			continue
		}
		if a == nil {
			a = c
		} else if a.Link.ID != c.Link.ID {
			return a, c
		}
	}
	return nil, nil
}

// Claimed reports whether any leaf claims or claimed the host.
func (h *Host) Claimed() bool { return h.claims != nil }

// Static reports whether the host is bound by configuration.
func (h *Host) Static() bool {
	for c := h.claims; c != nil; c = c.other {
		if c.Static {
			return true
		}
	}
	return false
}

func (h *Host) by(l LeafID, static bool) *Claim {
	for c := h.claims; c != nil; c = c.other {
		if c.Link.Leaf == l && c.Static == static {
			return c
		}
	}
	return nil
}

func (t *Table) attach(c *Claim, k *Link) {
	if c.Link == k {
		return
	}
	if c.Link != nil {
		c.unlink()
	}
	c.Link, c.prev = k, k.tail
	if k.tail != nil {
		k.tail.next = c
	} else {
		k.head = c
	}
	k.tail = c
	k.size++
	if !c.gone {
		k.standing++
	}
}

func (c *Claim) linked() bool { return c.Link != nil && (c.prev != nil || c.Link.head == c) }

// withdraw marks the claim as gone, or as heard again.
func (c *Claim) withdraw(gone bool) {
	switch {
	case c.gone == gone:
		return
	case c.linked() && gone:
		c.Link.standing--
	case c.linked():
		c.Link.standing++
	}
	c.gone = gone
}

// unlink leaves Link itself in place: a claim that is gone still tells where it was.
func (c *Claim) unlink() {
	if !c.linked() {
		return
	}
	k := c.Link
	k.size--
	if !c.gone {
		k.standing--
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		k.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		k.tail = c.prev
	}
	c.prev, c.next = nil, nil
}
