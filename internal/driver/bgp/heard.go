package bgp

import (
	"net/netip"
	"slices"

	"peerless/internal/step"
)

// heard is the set of prefixes that the machine believes a neighbour to offer, and in which session it heard each last. It
// is what is left to withdraw when the neighbour is gone. The zero value has heard nothing.
type heard struct {
	session uint32
	in      map[netip.Prefix]uint32
}

// begin starts a session: everything heard so far is stale until it is repeated.
func (h *heard) begin() { h.session++ }

// admit records a path of the current session. It reports false when the machine is not to hear it: a withdrawal of what it
// does not know, or a new prefix when limit (if any) many are known.
func (h *heard) admit(p step.Path, limit int) bool {
	_, known := h.in[p.Prefix]
	if p.Withdrawn {
		delete(h.in, p.Prefix)
		return known
	}
	if !known && limit > 0 && len(h.in) >= limit {
		return false
	}
	if h.in == nil {
		h.in = map[netip.Prefix]uint32{}
	}
	h.in[p.Prefix] = h.session
	return true
}

// sweep forgets what was not repeated in the current session and gives its withdrawals, in order.
func (h *heard) sweep() []step.Path {
	return h.drop(func(session uint32) bool { return session != h.session })
}

// forget forgets everything and gives its withdrawals, in order.
func (h *heard) forget() []step.Path { return h.drop(func(uint32) bool { return true }) }

func (h *heard) drop(gone func(session uint32) bool) []step.Path {
	var withdrawals []step.Path
	for prefix, session := range h.in {
		if gone(session) {
			withdrawals = append(withdrawals, step.Path{Prefix: prefix, Withdrawn: true})
			delete(h.in, prefix)
		}
	}
	slices.SortFunc(withdrawals, func(a, b step.Path) int { return a.Prefix.Compare(b.Prefix) })
	return withdrawals
}
