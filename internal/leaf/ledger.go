package leaf

import (
	"net/netip"
	"slices"

	"peerless/internal/model"
	"peerless/internal/step"
)

// maxOpenCauses bounds how many transitions may wait for outcomes at once; the oldest is given up.
const maxOpenCauses = 64

// tally counts what is still out of one transition, stage by stage.
type tally struct {
	cause                         step.Cause
	withdraws, installs, tells    int // asked and not applied yet
	withdrawn, installed, telling int // applied in all
}

// ledger turns single outcomes into one note for each stage of a transition: when the last withdrawal, route or
// advertisement of its hosts is applied.
type ledger struct{ open []*tally }

func (l *ledger) find(c step.Cause) *tally {
	for _, t := range l.open {
		if t.cause == c {
			return t
		}
	}
	return nil
}

func (l *ledger) asked(w step.Want) {
	if w.Cause == 0 || !isHost(w.Object) {
		return
	}
	t := l.find(w.Cause)
	if t == nil {
		if len(l.open) == maxOpenCauses {
			l.open = slices.Delete(l.open, 0, 1)
		}
		t = &tally{cause: w.Cause}
		l.open = append(l.open, t)
	}
	pending, _ := t.stage(w)
	if pending != nil {
		*pending++
	}
}

// applied counts an outcome; it gives a note when the stage is complete.
func (l *ledger) applied(w step.Want) (step.Note, bool) {
	if w.Cause == 0 || !isHost(w.Object) {
		return step.Note{}, false
	}
	t := l.find(w.Cause)
	if t == nil {
		return step.Note{}, false
	}
	pending, done := t.stage(w)
	if pending == nil || *pending == 0 {
		return step.Note{}, false
	}
	*pending--
	*done++
	if *pending > 0 {
		return step.Note{}, false
	}
	n := step.Note{Hosts: *done, Cause: w.Cause, Why: w.Why}
	switch pending {
	case &t.withdraws:
		n.What, n.Stage, n.Text = noteWithdrawn, step.StageWithdraw, plural(*done, "host")+" withdrawn"
	case &t.installs:
		n.What, n.Stage, n.Text = noteInstalled, step.StageInstall, plural(*done, "host route")+" in the kernel"
	default:
		n.What, n.Stage, n.Text = noteAdvertised, step.StageAdvertise, plural(*done, "host")+" advertised"
	}
	*done = 0
	if t.withdraws+t.installs+t.tells == 0 {
		l.open = slices.DeleteFunc(l.open, func(o *tally) bool { return o == t })
	}
	return n, true
}

func (t *tally) stage(w step.Want) (pending, done *int) {
	switch o := w.Object.(type) {
	case step.Route:
		switch {
		case o.Table != 0 && o.Table != HostTable: // for the engine to tell
			return t.tellings(w.Absent)
		case !w.Absent:
			return &t.installs, &t.installed
		}
		return nil, nil
	default:
		return t.tellings(w.Absent)
	}
}

func (t *tally) tellings(absent bool) (pending, done *int) {
	if absent {
		return &t.withdraws, &t.withdrawn
	}
	return &t.tells, &t.telling
}

// isHost reports whether an object is a host's route or advertisement. Attachments carry NO_EXPORT, hosts never.
func isHost(o step.Object) bool {
	switch o := o.(type) {
	case step.Route:
		return isHostPrefix(o.Prefix) && !o.NextHop.Via.IsValid()
	case step.Advertisement:
		return !o.NoExport
	}
	return false
}

func isHostPrefix(p netip.Prefix) bool { return p.IsValid() && p.IsSingleIP() }

// onApplied books an outcome.
func (m *Machine) onApplied(now model.Instant, w step.Want) {
	switch o := w.Object.(type) {
	case step.Gate:
		if !w.Absent {
			m.onGateApplied(now, o)
		}
	case step.Route:
		if o.Prefix == anywhere && !w.Absent && slices.Equal(o.Hops(), m.defaultHops) {
			m.defaultSet = true
			m.settle(now, w.Cause)
		}
		if m.isExport(o.Table) {
			m.onExported(o, w)
		}
		m.onShelfApplied(o, w.Absent)
	case step.Rule:
		m.onShelfOpen(w)
	}
	if n, ok := m.ledger.applied(w); ok {
		m.emit(n)
	}
}

// onFailed reports a closing that did not come about: the one failure that an operator must know of at once. A withdrawal that
// fails holds up no closing.
func (m *Machine) onFailed(_ model.Instant, f step.Failed) {
	if r, ok := f.Want.Object.(step.Route); ok && f.Want.Absent && f.Want.Urgent && m.isExport(r.Table) {
		m.closeAnyway(f.Want.Cause)
	}
	g, ok := f.Want.Object.(step.Gate)
	if !ok || f.Attempt != 1 {
		return
	}
	verb := "open"
	if g.Closed {
		verb = "close"
	}
	m.emit(step.Note{Warn: true, What: noteCloseFailed, Port: g.Port, Cause: f.Want.Cause,
		Text: "could not " + verb + " port " + string(g.Port) + "; trying again", Why: f.Err})
}
