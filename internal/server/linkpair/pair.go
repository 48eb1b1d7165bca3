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
	Settle time.Duration // from the announcement on the new link to the switch
	Grace  time.Duration // at start, with both links up: how long to ask which leaf answers
	Trial  time.Duration // how long a new link may take to show that its leaf forwards
}

// Link is what is known of one link. All but Up counts only while Up.
type Link struct {
	Up    bool
	Ready bool // the leaf at its far end answers
	// Fresh: it answered the newest question that has had its time. Only such a leaf is worth leaving another link for.
	Fresh bool
	// Silent: the leaf has let as many questions pass as prove that the link, or the leaf, is dead. Never with Ready.
	Silent bool
	// Shut: the leaf said that it is about to close the port, and has not answered since. Never with Ready.
	Shut bool
	// Dry: nothing has come back from beyond the leaf lately either, so nothing is lost by leaving at once.
	Dry bool
	// Mute: the leaf answers for itself, but nothing comes back from beyond it, though something did before or does by the other link.
	Mute bool
	// Proves: something comes back from beyond the leaf, so that the same can be asked of the other link.
	Proves bool
	// Passes: during a move to this link, something came back from beyond its leaf by this very link.
	Passes bool
	// Carries: during a move to this link, something came back from beyond its leaf by the other link. Its leaf carries upward, and
	// what comes down has not turned yet: beside some routing engines it does only when the old leaf withdraws.
	Carries bool
}

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
	found    model.Role    // before the first choice: the link that the kernel sends by; unknown if that is not known
	to       model.Role    // the link that a make before break in progress goes to; unknown when there is none
	settled  time.Duration // when that may switch
	dark     bool          // both links are down and it was said
	trial    bool          // that move waits until the new link passes
	until    time.Duration // of the trial
	next     time.Duration // when the move wants to be looked at
	asking   bool          // no choice yet, both links up: waiting for a leaf to answer
	deadline time.Duration // of asking
	stable   liveness.Hold // the primary is up and ready while the backup is in use
	retry    time.Duration // no trial before
	gap      time.Duration // between the last failed trial and the next one
	barred   bool          // something waits for retry
	again    time.Duration // when the decision just made calls for another one; zero: it does not
	why      string        // of the newest decision that was not Stay
}

// Pauses between trials that failed: each moves what comes down to the other leaf and back.
const (
	retryMin = 2 * time.Second
	retryMax = 5 * time.Minute
)

// New gives a pair that has chosen nothing yet.
func New(p Policy) *Pair {
	return &Pair{policy: p, stable: liveness.Hold{For: p.Stable}, why: "not chosen yet"}
}

// Found tells the pair, before its first choice, by which link the kernel sends already: an earlier life chose it, and for a reason.
func (p *Pair) Found(r model.Role) { p.found = r }

// Active is the link in use, unknown before the first choice. It may be down when both are.
func (p *Pair) Active() model.Role { return p.active }

// Target is the link that a make before break in progress goes to; unknown when there is none.
func (p *Pair) Target() model.Role { return p.to }

// Why is the reason of the newest decision that changed anything.
func (p *Pair) Why() string { return p.why }

// Next is when Decide must be called again if nothing happens before.
func (p *Pair) Next() (time.Duration, bool) {
	switch {
	case p.again != 0:
		return p.again, true
	case p.to != model.RoleUnknown:
		return p.next, true
	case p.asking:
		return p.deadline, true
	}
	due, holding := p.stable.Due()
	if p.barred && (!holding || p.retry > due) { // the hold that is met waits for the retry too
		return p.retry, true
	}
	return due, holding
}

// Decide says what is to be done in view of both links.
func (p *Pair) Decide(now time.Duration, s Sight) Decision {
	s.Primary, s.Backup = s.Primary.whileUp(), s.Backup.whileUp()
	d := p.decide(now, s)
	p.again = 0
	if d.Verb != Stay {
		p.why = d.Why
		if used := s.Of(p.active); p.to == model.RoleUnknown && (used.Silent || used.Shut || used.Mute) {
			p.again = now // what was just chosen is no good either, and nothing else may tell
		}
	}
	if p.to == model.RoleUnknown && p.active != model.RoleUnknown {
		p.returning(now, s) // also right after a move: the primary may have become ready during it, and nothing else will tell
	}
	return d
}

func (l Link) whileUp() Link {
	if !l.Up {
		return Link{}
	}
	l.Silent = l.Silent && !l.Ready
	l.Shut = l.Shut && !l.Ready
	l.Fresh = l.Fresh && l.Ready
	l.Mute = l.Mute && l.Ready
	return l
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

// choosing is the start. The link that the kernel sends by already is kept (adopt-not-flush). Where none can be told, what the data plane
// did before may be right all the same: with both links up nothing is touched until a leaf answers, and then the choice is made like any
// other move, new link first.
func (p *Pair) choosing(now time.Duration, s Sight) Decision {
	switch {
	case !s.Primary.Up && !s.Backup.Up:
		p.asking = false
		return p.lost("no link is up yet")
	case !s.Backup.Up:
		return p.take(model.Primary, "the only link that is up")
	case !s.Primary.Up:
		return p.take(model.Backup, "the only link that is up")
	case p.found != model.RoleUnknown:
		return p.take(p.found, "traffic leaves by the "+p.found.String()+" already")
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
	returning := p.returning(now, s)
	leaving := used.Mute && s.Of(other).Fresh && !s.Of(other).Mute
	if !used.Mute && p.active == model.Primary {
		p.gap, p.retry = 0, 0
	}
	p.barred = used.Up && !p.dark && (leaving || returning) && now < p.retry
	switch {
	case used.Up && p.dark:
		p.dark = false
		return Decision{Verb: Resume, To: p.active, From: p.active, Why: p.active.String() + " link is back after both were down"}
	case used.Shut && s.Of(other).Fresh:
		return p.take(other, p.active.String()+" link is lost: its leaf is about to close the port")
	case used.Silent && used.Dry && s.Of(other).Fresh:
		return p.take(other, p.active.String()+" link is dead: its leaf is silent, and nothing comes back from beyond it")
	case used.Silent && s.Of(other).Fresh: // it may be drained, and forward all the same
		return p.prepare(now, other, "the "+p.active.String()+"'s leaf does not answer any more, the "+other.String()+"'s does")
	case p.barred:
		return stay("the last trial of the other link failed")
	case leaving:
		return p.try(now, other, 0, "nothing comes back from beyond the "+p.active.String()+"'s leaf")
	case used.Up && returning && used.Proves:
		return p.try(now, model.Primary, p.policy.Settle, p.whyReturn())
	case used.Up && returning:
		return p.prepare(now, model.Primary, p.whyReturn())
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
	return p.stable.Set(now, wanted && s.Primary.Ready && !s.Primary.Mute)
}

func (p *Pair) whyReturn() string {
	return "the primary's leaf has been ready for " + p.policy.Stable.String()
}

func (p *Pair) whyStay(s Sight) string {
	switch {
	case p.active == model.Primary && s.Primary.Silent:
		return "the primary is in use, its leaf does not answer"
	case p.active == model.Primary:
		return "the primary is in use"
	case p.policy.Never:
		return "the backup is in use and fail-back is off"
	case !s.Primary.Up:
		return "the backup is in use, the primary is down"
	case !s.Primary.Ready:
		return "the backup is in use, the primary's leaf does not answer"
	case s.Primary.Mute:
		return "the backup is in use, nothing comes back from beyond the primary's leaf"
	}
	return "the backup is in use until the primary has been ready for " + p.policy.Stable.String()
}

// moving is the time between the announcement on the new link and the switch.
func (p *Pair) moving(now time.Duration, s Sight) Decision {
	to, old := s.Of(p.to), s.Of(Other(p.to))
	switch {
	case !to.Up && !old.Up:
		p.to, p.trial = model.RoleUnknown, false
		return p.lost("both links went down during a move")
	case !old.Up:
		return p.take(p.to, "the old link died during the move")
	case !to.Up && p.active == model.RoleUnknown:
		return p.take(Other(p.to), "the new link died during the move")
	case !to.Up:
		return p.abort(now, "the new link died during the move")
	case old.Shut && to.Fresh && p.active != model.RoleUnknown:
		return p.take(p.to, "the old link's leaf is about to close the port")
	case old.Silent && old.Dry && to.Fresh && p.active != model.RoleUnknown:
		return p.take(p.to, "the old link turned out to be dead")
	case !to.Ready && p.active != model.RoleUnknown:
		return p.abort(now, "the new link's leaf stopped answering during the move")
	case now < p.settled:
		return stay("the new leaf is learning the announced addresses")
	case p.trial && !to.Passes && now < p.until:
		p.next = p.until
		return stay("nothing has come back from beyond the new leaf yet")
	case p.trial && !to.Passes && !to.Carries:
		return p.abort(now, "nothing came back from beyond the new leaf")
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
	p.trial, p.barred, p.next = false, false, p.settled
	p.stable.Set(now, false)
	return Decision{Verb: Prepare, To: to, From: p.active, Why: why}
}

// try is prepare with a condition: the switch is made when something has come back from beyond the new leaf by the new link, and
// undone if nothing does in time. What comes down is moved by the announcement, so that the whole way there and back is shown; where it
// does not move in time, that the new leaf carries upward must do.
func (p *Pair) try(now time.Duration, to model.Role, settle time.Duration, why string) Decision {
	d := p.prepare(now, to, why)
	p.trial, p.settled, p.until = true, now+settle, now+settle+p.policy.Trial
	p.next = p.settled
	if settle == 0 {
		p.next = p.until
	}
	return d
}

func (p *Pair) abort(now time.Duration, why string) Decision {
	d := Decision{Verb: Abort, To: p.active, From: p.active, Why: why}
	if p.trial {
		p.gap = min(max(retryMin, 2*p.gap), retryMax)
		p.retry = now + p.gap
	}
	p.to, p.trial = model.RoleUnknown, false
	p.stable.Set(now, false)
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
	p.active, p.to, p.dark, p.asking, p.trial, p.barred = r, model.RoleUnknown, false, false, false, false
	p.stable.Set(0, false)
}
