package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

const (
	timerTell   = "tell"                 // what was only counted is told
	tellPause   = 200 * time.Millisecond // how long hosts are counted
	togetherMax = 500 * time.Millisecond // hosts of one server port that go within this go by one fault

	whatEngineDown = "engine-down"
	whatEngineUp   = "engine-up"
)

// telling counts hosts that are treated alike: the first few are named, the rest are one note.
type telling struct {
	note step.Note
	from *seenLeaf
	to   *seenLeaf
	n    int
}

// settle compares where a host is forwarded to with where it was.
func (w *Watcher) settle(h *seenHost) {
	was, is := h.at, w.way(h)
	if slices.Equal(was, is) {
		return
	}
	h.at, h.since = is, w.now.Mono
	if len(was) > 0 {
		h.last = was[0]
	}
	w.observe(h, is, claim.Up)
	if !w.ready {
		return
	}
	switch {
	case len(is) == 0:
		w.vanished(h, was)
	case len(was) == 0 && (h.last == nil || h.last == is[0]):
		w.tell(whatLearned, h, nil, is[0], h.cause)
		h.cause = 0
	case len(was) == 0:
		w.tell(whatMoved, h, h.last, is[0], h.cause)
		h.cause = 0
	default:
		w.changed(h, was, is)
	}
}

// vanished: no leaf has the host's route any more. Where the leaf is there all the same, that is the fault information.
func (w *Watcher) vanished(h *seenHost, was []*seenLeaf) {
	if was[0].cause != 0 {
		h.cause = was[0].cause
		return // the loss of the leaf has its own note
	}
	h.cause = w.faultCause(h)
	w.lostAt(h, was[0])
	w.fault(h, was[0], "unreachable until another leaf announces it")
}

// changed: the route leads elsewhere. From the primary to the backup that is a fault; the way back is a return.
func (w *Watcher) changed(h *seenHost, was, is []*seenLeaf) {
	i := slices.IndexFunc(was, func(l *seenLeaf) bool { return !slices.Contains(is, l) })
	if i < 0 {
		return // a second way: both leaves announce it for a while
	}
	from, to := was[i], is[0]
	cause := from.cause
	k := w.of[h.addr]
	switch {
	case cause != 0:
	case k != nil && k.ends[0].leaf == from:
		cause = w.faultCause(h)
		w.lostAt(h, from)
		w.fault(h, from, "to leaf "+to.Name)
		h.cause = cause
	default:
		cause = w.newCause()
	}
	w.tell(whatMoved, h, from, to, cause)
	h.cause = 0
}

// faultCause numbers a fault; hosts of one server port that go together are one.
func (w *Watcher) faultCause(h *seenHost) step.Cause {
	k := w.of[h.addr]
	if k == nil {
		return w.newCause()
	}
	if k.cause == 0 || w.now.Mono-k.at > togetherMax {
		k.cause = w.newCause()
	}
	k.at = w.now.Mono
	return k.cause
}

// observe notes what a host's whereabouts say of its server port.
func (w *Watcher) observe(h *seenHost, at []*seenLeaf, s claim.State) {
	k := w.of[h.addr]
	if k == nil {
		return
	}
	for i := range k.ends {
		if slices.Contains(at, k.ends[i].leaf) {
			k.ends[i].state = s
		}
	}
}

// lostAt takes the leaf's end of the server port for down, unless another host is still reached through it.
func (w *Watcher) lostAt(h *seenHost, l *seenLeaf) {
	k := w.of[h.addr]
	if k == nil {
		return
	}
	for _, other := range k.Hosts {
		if o := w.hosts[other]; o != nil && slices.Contains(o.at, l) {
			return
		}
	}
	w.observe(h, []*seenLeaf{l}, claim.Down)
}

// fault names the leaf port and the server port that were disconnected, as far as the config knows them.
func (w *Watcher) fault(h *seenHost, l *seenLeaf, then string) {
	n := step.Note{Warn: true, What: whatFault, Port: l.Port, Addr: h.addr, Peer: l.Name, Stage: step.StageDetect, Hosts: 1, Cause: h.cause,
		Why: "its route was withdrawn while the link to the leaf is up"}
	if k := w.of[h.addr]; k != nil {
		n.Cause = k.cause
		n.Attachment, n.ServerPort = k.ID, w.serverPort(k.ID)
		for _, end := range k.ends {
			if end.leaf == l {
				n.Port = model.Port(l.portName(end.index))
			}
		}
		n.Text = fmt.Sprintf("leaf %s port %s lost server port %s: %s %s", l.Name, n.Port, n.ServerPort, h.addr, then)
	} else {
		n.Text = fmt.Sprintf("leaf %s, gateway port %s, disconnected %s: %s", l.Name, l.Port, h.addr, then)
	}
	w.say(n, l, nil)
}

func (w *Watcher) tell(what string, h *seenHost, from, to *seenLeaf, cause step.Cause) {
	n := step.Note{What: what, Port: to.Port, Addr: h.addr, Peer: to.Name, Stage: step.StageLearn, Hosts: 1, Cause: cause,
		Why: "route of " + protocol(h.routes[0].Protocol) + " in the kernel"}
	if k := w.of[h.addr]; k != nil {
		n.Attachment, n.ServerPort = k.ID, w.serverPort(k.ID)
	}
	n.Text = h.addr.String() + " learned through leaf " + to.Name
	if from != nil {
		n.Text = fmt.Sprintf("%s moved from leaf %s to leaf %s", h.addr, from.Name, to.Name)
	}
	w.say(n, from, to)
}

// say gives a note, or counts it where many are alike.
func (w *Watcher) say(n step.Note, from, to *seenLeaf) {
	i := slices.IndexFunc(w.told, func(t *telling) bool {
		return t.note.What == n.What && t.note.Cause == n.Cause && t.from == from && t.to == to
	})
	if i < 0 {
		if len(w.told) == 0 {
			w.emit(step.Arm{Timer: step.Timer{Kind: timerTell}, At: w.now.Mono + tellPause})
		}
		w.told = append(w.told, &telling{note: n, from: from, to: to})
		i = len(w.told) - 1
	}
	t := w.told[i]
	if t.n++; t.n <= listMax {
		w.emit(n)
	}
}

// onTell tells what was only counted.
func (w *Watcher) onTell() {
	for _, t := range w.told {
		if t.n <= listMax {
			continue
		}
		n := t.note
		n.Addr, n.Hosts = netip.Addr{}, t.n-listMax
		n.Text = fmt.Sprintf("%s more: %s", hosts(n.Hosts), n.What)
		switch {
		case t.from != nil && t.to != nil:
			n.Text = fmt.Sprintf("%s more moved from leaf %s to leaf %s", hosts(n.Hosts), t.from.Name, t.to.Name)
		case t.to != nil:
			n.Text = fmt.Sprintf("%s more learned through leaf %s", hosts(n.Hosts), t.to.Name)
		case t.from != nil:
			n.Text = fmt.Sprintf("leaf %s disconnected %s more", t.from.Name, hosts(n.Hosts))
		}
		w.emit(n)
	}
	w.told = nil
}

// onEngine notes whether the engine works.
func (w *Watcher) onEngine(e step.EngineState) {
	was, known := w.engine.Running, w.asked
	w.engine, w.asked = e, true
	if !known || was != e.Running {
		w.since = w.now.Mono
	}
	switch {
	case !e.Running && (was || !known):
		w.emit(step.Note{Warn: true, What: whatEngineDown, Peer: e.Engine, Text: "engine " + e.Engine + " does not work", Why: e.Detail})
	case e.Running && known && !was:
		w.emit(step.Note{What: whatEngineUp, Peer: e.Engine, Text: "engine " + e.Engine + " works again", Why: "it answers"})
	}
}

func (w *Watcher) serverPort(id model.AttachmentID) string {
	if name, ok := w.names[id]; ok {
		return name
	}
	return id.String()
}

func (l *seenLeaf) portName(index uint32) string {
	if name, ok := l.names[index]; ok {
		return name
	}
	return fmt.Sprint(index)
}

// protocol names the owner of a route (rtnetlink(7), and the numbers that FRR and BIRD use).
func protocol(p uint8) string {
	switch p {
	case 3, 4:
		return "the operator"
	case 11:
		return "zebra"
	case 12:
		return "bird"
	case 186:
		return "bgp"
	case 188:
		return "ospf"
	}
	return fmt.Sprintf("protocol %d", p)
}
