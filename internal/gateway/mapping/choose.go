package mapping

import (
	"peerless/internal/claim"
	"peerless/internal/model"
)

// Choice is what a host's routes ought to be.
type Choice struct {
	Primary LeafID // None: no leaf may be used as a primary
	Backup  LeafID // None: nobody stands by
	Basis   *Claim
	State   State
}

// Choose decides where a host belongs: to the newest claim among usable ones, with another leaf that has the same server
// port up standing by. If no claim can be used, the newest one remembered says which server port to look for: where that
// port failed on a leaf that still serves, the other leaf becomes the primary tentatively, and stays it though the port comes up again;
// where the leaf itself is lost, or withdrew the host without a word on the port, the other leaf stays the backup, which needs no work
// for each host.
func (t *Table) Choose(h *Host) Choice {
	if best := t.newest(h, t.usable); best != nil {
		if t.Doubted(best.Link.Leaf) && !best.Static {
			if other := t.newest(h, t.active); other != nil {
				best = other
			}
		}
		return Choice{Primary: best.Link.Leaf, Backup: t.backup(best), Basis: best, State: Claimed}
	}
	last := t.newest(h, func(*Claim) bool { return true })
	if last == nil {
		return Choice{Primary: None, Backup: None}
	}
	other := t.standby(last.Link.ID, last.Link.Leaf)
	switch {
	case other == None || last.Static:
		return Choice{Primary: None, Backup: None, Basis: last, State: Unserved}
	case t.leaves[last.Link.Leaf].serving && t.Down(last), h.State == Tentative && h.Primary == other:
		return Choice{Primary: other, Backup: None, Basis: last, State: Tentative}
	default:
		return Choice{Primary: None, Backup: other, Basis: last, State: Sheltered}
	}
}

// Standby is the leaf that would take over an attachment from the given leaf; None if there is none.
func (t *Table) Standby(id model.AttachmentID, from LeafID) LeafID { return t.standby(id, from) }

// Failed reports that the leaf says the port is not up. A port that is being drained has not failed: it forwards until
// its hosts are withdrawn.
func (t *Table) Failed(k *Link) bool {
	return k.ID != 0 && t.fresh(k) && k.Said.State != claim.Up && k.Said.Reason != claim.ReasonDrain
}

// Down reports that the port was said to have failed since the claim was made. A claim that is news after that speaks for
// a port that is up again: the two travel apart, and either may come first.
func (t *Table) Down(c *Claim) bool { return t.Failed(c.Link) && c.arrival < c.Link.downAt }

// Up reports that the leaf says the port is up, and can be believed.
func (t *Table) Up(k *Link) bool { return t.up(k) }

// Forward is where packets for the host go now: by its primary route, else to the other gateway (Detour), else by its
// backup; None if nowhere.
func (t *Table) Forward(h *Host) LeafID {
	switch {
	case t.Serving(h.Primary):
		return h.Primary
	case t.detour:
		return Detour
	case t.Serving(h.Backup):
		return h.Backup
	}
	return None
}

func (t *Table) backup(best *Claim) LeafID {
	if !best.Static {
		return t.standby(best.Link.ID, best.Link.Leaf)
	}
	for c := best.Host.claims; c != nil; c = c.other {
		if c.Static && c.Link.Leaf != best.Link.Leaf && t.usable(c) {
			return c.Link.Leaf
		}
	}
	return None
}

func (t *Table) standby(id model.AttachmentID, from LeafID) LeafID {
	if id == 0 {
		return None
	}
	for l := range t.leaves {
		if LeafID(l) == from || !t.leaves[l].serving {
			continue
		}
		if k := t.Link(LeafID(l), id); k != nil && t.up(k) {
			return LeafID(l)
		}
	}
	return None
}

func (t *Table) newest(h *Host, among func(*Claim) bool) *Claim {
	var best *Claim
	for c := h.claims; c != nil; c = c.other {
		if among(c) && (best == nil || t.newer(c, best)) {
			best = c
		}
	}
	return best
}

// newer orders claims: pinned before heard, then by stamp. Of pins, one whose leaf answers for the host goes first. Claims without a stamp, of leaves that know nothing of
// stamps, are ordered by arrival.
func (t *Table) newer(a, b *Claim) bool {
	switch {
	case a.Static != b.Static:
		return a.Static
	case a.Static && a.Answer != b.Answer:
		return a.Answer
	case a.Static && a.Said.Role != b.Said.Role:
		return a.Said.Role == model.Primary
	case a.Said.Stamp == 0 && b.Said.Stamp == 0:
		return a.arrival > b.arrival
	}
	return a.Said.Newer(b.Said, t.leaves[a.Link.Leaf].tie, t.leaves[b.Link.Leaf].tie)
}

func (t *Table) live(c *Claim) bool { return !c.gone && c.session > t.leaves[c.Link.Leaf].lost }

func (t *Table) usable(c *Claim) bool {
	l := t.leaves[c.Link.Leaf]
	return t.live(c) && l.serving && !t.Down(c) && !(c.Static && l.mute)
}

// active tells whether a usable claim stands in a session that is up, of a leaf that nothing speaks against.
func (t *Table) active(c *Claim) bool {
	l := t.leaves[c.Link.Leaf]
	return t.usable(c) && l.open && !l.doubted && c.session == l.session && !c.Static
}

func (t *Table) fresh(k *Link) bool { return k.Heard && k.session > t.leaves[k.Leaf].lost }

func (t *Table) up(k *Link) bool { return t.fresh(k) && k.Said.State == claim.Up }
