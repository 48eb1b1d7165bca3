package linkage

import (
	"net/netip"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Strength is how much a sign of trouble proves.
type Strength uint8

// Strengths of evidence.
const (
	NoEvidence Strength = iota
	Soft                // only demotes; alone it closes nothing before the graceful-restart time
	Hard                // closes at once
)

// Weigh gives the strength of a session's end. A reset connection or an expired hold timer says that a daemon is gone, not
// that its kernel has stopped forwarding; a Cease for shutdown is the neighbour's own word.
func Weigh(r step.SessionReason) Strength {
	switch r {
	case step.ReasonCeaseDown:
		return Hard
	case step.ReasonReset, step.ReasonHoldTimer, step.ReasonCeaseOther:
		return Soft
	case step.ReasonNone, step.ReasonOurs, step.ReasonUnreachable:
	}
	return NoEvidence
}

// Default is what is known of a default route by an uplink.
type Default uint8

// What is known of the default route.
const (
	NoDefault        Default = iota
	InheritedDefault         // found in the kernel as ours after a restart, not heard again yet
	HeardDefault             // told by the gateway, or present in the kernel where others install it
)

// Uplink is what is known of one way to a gateway.
type Uplink struct {
	Port     model.Port
	Neighbor netip.Addr

	Up       bool // admin up, carrier, not protodown
	Default  Default
	Resolved bool // the kernel can send frames to the neighbour
	Alive    bool // the neighbour was reachable at some time since the link came up; only silence takes that back
	Silent   bool // probes of ours, or the kernel's, had no answer
	Asked    bool // we ask by ARP ourselves: only an answer to us ends a silence
	Soft     bool // the session ended by soft evidence; the graceful-restart time runs
	Ceased   bool // the neighbour said that it is shutting down
}

// Usable tells whether traffic may be sent by this uplink, and if not, why not.
func (u *Uplink) Usable() (bool, string) {
	switch {
	case !u.Up:
		return false, "no carrier"
	case u.Silent:
		return false, "the gateway's kernel is silent to ARP"
	case u.Ceased:
		return false, "the gateway is shutting down (BGP Cease)"
	case u.Default == NoDefault:
		return false, "no default route from the gateway"
	case !u.Alive:
		return false, "the gateway's address is not resolved"
	}
	return true, ""
}

// LinkLost forgets everything that was true of the link only while it had carrier. What the routing protocol told stays to the
// caller: the kernel's default routes have their own life.
func (u *Uplink) LinkLost() {
	u.Up, u.Resolved, u.Alive, u.Silent = false, false, false, false
}

// Spoke tells that the neighbour's kernel answered ARP.
func (u *Uplink) Spoke() { u.Alive, u.Silent = true, false }

// Mute tells that probes had no answer: hard evidence.
func (u *Uplink) Mute() { u.Silent, u.Alive = true, false }

// Entry tells the kernel's neighbour entry. An entry that is gone or being resolved again proves nothing; one that failed does. One that is
// there again ends a silence only where nobody else asks: a question of the neighbour's renews it too, and shows one direction only.
func (u *Uplink) Entry(resolved, failed bool) {
	was := u.Resolved
	u.Resolved = resolved
	switch {
	case failed:
		u.Mute()
	case resolved && !was && !(u.Silent && u.Asked):
		u.Spoke()
	}
}

// SessionUp tells that the routing session came up.
func (u *Uplink) SessionUp() { u.Soft, u.Ceased = false, false }

// SessionDown tells that it ended and returns how much that proves.
func (u *Uplink) SessionDown(r step.SessionReason) Strength {
	s := Weigh(r)
	switch s {
	case Soft:
		u.Soft = true
	case Hard:
		u.Ceased, u.Soft = true, false
	case NoEvidence:
	}
	return s
}
