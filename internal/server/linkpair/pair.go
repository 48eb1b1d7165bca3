// Package linkpair chooses which of a server's two links carries its traffic.
//
// It decides when to move, when to return to the primary, and whether a move can be made before the old link is given up. It
// never touches a port, and it never leaves a link that is up for one that is not.
package linkpair

import (
	"time"

	"peerless/internal/liveness"
	"peerless/internal/model"
)

// Policy is what the operator chose.
type Policy struct {
	Never  bool          // no return to the primary while the backup works
	Stable time.Duration // the primary must have been up and ready for so long before traffic returns to it
	Quit   time.Duration // the leaf of the link in use must have been silent for so long, and the other's ready, before traffic leaves it
	Settle time.Duration // from the announcement on the new link to the switch
	Grace  time.Duration // at start, with both links up: how long to ask which leaf answers
}

// Link is what is known of one link. Ready means that the leaf at its far end answers; it counts only while Up.
type Link struct{ Up, Ready bool }

// Sight is what is known of both links at one moment.
type Sight struct{ Primary, Backup Link }

// Of gives the link of that role.
func (s Sight) Of(r model.Role) Link {
	switch r {
	case model.Primary:
		return s.Primary
	case model.Backup:
		return s.Backup
	case model.RoleUnknown:
	}
	return Link{}
}

// Other is the opposite link; of unknown it is unknown.
func Other(r model.Role) model.Role {
	switch r {
	case model.Primary:
		return model.Backup
	case model.Backup:
		return model.Primary
	case model.RoleUnknown:
	}
	return model.RoleUnknown
}

// Verb is what is to be done now.
type Verb uint8

// Verbs. The zero value is none of them.
const (
	Invalid Verb = iota
	Stay         // nothing
	Take         // use To at once: the other link is no use
	Prepare      // announce on To, go on using the old link
	Switch       // the announcement has settled: use To, then make the old link receive-only
	Abort        // To failed before the switch: announce on the old link again
	Lost         // no link is up: say so, and keep what is selected
	Resume       // the selected link is back after both were down
)

// String names the verb.
func (v Verb) String() string {
	return [...]string{"invalid", "stay", "take", "prepare", "switch", "abort", "lost", "resume"}[v]
}

// Decision is what is to be done and why. To is the link that it is about. From is the link in use before; unknown
// when none was (start).
type Decision struct {
	Verb     Verb
	To, From model.Role
	Why      string
}

// Pair is the state of the choice. It is level-triggered: Decide may be called at any time with the present sight, so a
// missed or repeated event changes nothing.
type Pair struct {
	policy Policy

	active   model.Role    // the link in use; unknown until the first choice
	to       model.Role    // the link that a make before break in progress goes to; unknown when there is none
	settled  time.Duration // when that may switch
	dark     bool          // both links are down and it was said
	asking   bool          // no choice yet, both links up: waiting for a leaf to answer
	deadline time.Duration // of asking
	stable   liveness.Hold // the primary is up and ready while the backup is in use
	quit     liveness.Hold // the link in use is up and its leaf silent, while the other's leaf answers
	why      string        // of the newest decision that was not Stay
}

// New gives a pair that has chosen nothing yet.
func New(p Policy) *Pair {
	return &Pair{policy: p, stable: liveness.Hold{For: p.Stable}, quit: liveness.Hold{For: p.Quit}, why: "not chosen yet"}
}

// Active is the link in use, unknown before the first choice. It may be down when both are.
func (p *Pair) Active() model.Role { return p.active }

// Target is the link that a make before break in progress goes to; unknown when there is none.
func (p *Pair) Target() model.Role { return p.to }

// Why is the reason of the newest decision that changed anything.
func (p *Pair) Why() string { return p.why }

// Next is when Decide must be called again if nothing happens before.
func (p *Pair) Next() (time.Duration, bool) {
	switch {
	case p.to != model.RoleUnknown:
		return p.settled, true
	case p.asking:
		return p.deadline, true
	}
	at, ok := p.stable.Due()
	if quit, waits := p.quit.Due(); waits && (!ok || quit < at) {
		return quit, true
	}
	return at, ok
}

// Decide says what is to be done in view of both links.
func (p *Pair) Decide(now time.Duration, s Sight) Decision {
	s.Primary.Ready = s.Primary.Ready && s.Primary.Up
	s.Backup.Ready = s.Backup.Ready && s.Backup.Up
	d := p.decide(now, s)
	if d.Verb != Stay {
		p.why = d.Why
	}
	if p.to == model.RoleUnknown && p.active != model.RoleUnknown {
		p.quitting(now, s)
		p.returning(now, s) // also right after a move: the primary may have become ready during it, and nothing else will tell
	}
	return d
}

func (p *Pair) decide(now time.Duration, s Sight) Decision {
	switch {
	case p.to != model.RoleUnknown:
		return p.moving(now, s)
	case p.active == model.RoleUnknown:
		return p.choosing(now, s)
	}
	return p.steady(now, s)
}

// choosing is the start. What the data plane did before is not known, and may be right: with both links up nothing is
// touched until a leaf answers, and then the choice is made like any other move, new link first (adopt-not-flush).
func (p *Pair) choosing(now time.Duration, s Sight) Decision {
	switch {
	case !s.Primary.Up && !s.Backup.Up:
		p.asking = false
		return p.lost("no link is up yet")
	case !s.Backup.Up:
		return p.take(model.Primary, "the only link that is up")
	case !s.Primary.Up:
		return p.take(model.Backup, "the only link that is up")
	}
	if !p.asking {
		p.asking, p.deadline = true, now+p.policy.Grace
	}
	switch {
	case s.Primary.Ready:
		return p.prepare(now, model.Primary, "the primary's leaf answers")
	case now < p.deadline:
		return stay("both links are up: asking which leaf answers")
	case s.Backup.Ready:
		return p.prepare(now, model.Backup, "only the backup's leaf answers")
	}
	return p.prepare(now, model.Primary, "no leaf answers: the primary is as good as the backup")
}

func (p *Pair) steady(now time.Duration, s Sight) Decision {
	used, other := s.Of(p.active), Other(p.active)
	returning, quitting := p.returning(now, s), p.quitting(now, s)
	switch {
	case used.Up && p.dark:
		p.dark = false
		return Decision{Verb: Resume, To: p.active, From: p.active, Why: p.active.String() + " link is back after both were down"}
	case used.Up && returning:
		return p.prepare(now, model.Primary, "the primary's leaf has been ready for "+p.policy.Stable.String())
	case used.Up && quitting:
		return p.prepare(now, other, "the "+p.active.String()+"'s leaf does not answer any more, the "+other.String()+"'s does")
	case used.Up:
		return stay(p.whyStay(s))
	case s.Of(other).Up && p.dark: // any-link-beats-none, here and below
		return p.take(other, other.String()+" link came first after both were down")
	case s.Of(other).Up:
		return p.take(other, p.active.String()+" link lost")
	}
	return p.lost(p.active.String() + " link lost, " + other.String() + " link down too")
}

// returning tells the fail-back hold what is seen and reports whether it is time to return.
func (p *Pair) returning(now time.Duration, s Sight) bool {
	wanted := p.active == model.Backup && s.Backup.Up && !p.policy.Never
	return p.stable.Set(now, wanted && s.Primary.Ready)
}

// quitting does the same for a link whose leaf wants to be left: it is being drained, or worse. Both links are up, so nothing is
// lost if that is wrong.
func (p *Pair) quitting(now time.Duration, s Sight) bool {
	used, other := s.Of(p.active), s.Of(Other(p.active))
	return p.quit.Set(now, used.Up && !used.Ready && other.Ready)
}

func (p *Pair) whyStay(s Sight) string {
	switch {
	case p.active == model.Primary && !s.Primary.Ready && s.Backup.Ready:
		return "the primary is in use, its leaf does not answer"
	case p.active == model.Primary:
		return "the primary is in use"
	case p.policy.Never:
		return "the backup is in use and fail-back is off"
	case !s.Primary.Up:
		return "the backup is in use, the primary is down"
	case !s.Primary.Ready:
		return "the backup is in use, the primary's leaf does not answer"
	}
	return "the backup is in use until the primary has been ready for " + p.policy.Stable.String()
}

// moving is the time between the announcement on the new link and the switch.
func (p *Pair) moving(now time.Duration, s Sight) Decision {
	to, old := s.Of(p.to), s.Of(Other(p.to))
	switch {
	case !to.Up && !old.Up:
		p.to = model.RoleUnknown
		return p.lost("both links went down during a move")
	case !old.Up:
		return p.take(p.to, "the old link died during the move")
	case !to.Up && p.active == model.RoleUnknown:
		return p.take(Other(p.to), "the new link died during the move")
	case !to.Up:
		return p.abort(now, "the new link died during the move")
	case !to.Ready && p.active != model.RoleUnknown:
		return p.abort(now, "the new link's leaf stopped answering during the move")
	case now < p.settled:
		return stay("the new leaf is learning the announced addresses")
	}
	d := Decision{Verb: Switch, To: p.to, From: p.active, Why: p.why}
	p.use(p.to)
	return d
}

func stay(why string) Decision { return Decision{Verb: Stay, Why: why} }

func (p *Pair) take(to model.Role, why string) Decision {
	d := Decision{Verb: Take, To: to, From: p.active, Why: why}
	p.use(to)
	return d
}

func (p *Pair) prepare(now time.Duration, to model.Role, why string) Decision {
	p.to, p.settled, p.asking, p.dark = to, now+p.policy.Settle, false, false
	p.stable.Set(now, false)
	p.quit.Set(now, false)
	return Decision{Verb: Prepare, To: to, From: p.active, Why: why}
}

func (p *Pair) abort(now time.Duration, why string) Decision {
	d := Decision{Verb: Abort, To: p.active, From: p.active, Why: why}
	p.to = model.RoleUnknown
	p.stable.Set(now, false)
	p.quit.Set(now, false)
	return d
}

func (p *Pair) lost(why string) Decision {
	if p.dark {
		return stay("both links are down")
	}
	p.dark = true
	return Decision{Verb: Lost, To: p.active, From: p.active, Why: why}
}

func (p *Pair) use(r model.Role) {
	p.active, p.to, p.dark, p.asking = r, model.RoleUnknown, false, false
	p.stable.Set(0, false)
	p.quit.Set(0, false)
}
