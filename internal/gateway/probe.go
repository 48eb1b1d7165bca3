package gateway

import (
	"fmt"
	"net/netip"
	"time"

	"peerless/internal/claim"
	"peerless/internal/gateway/mapping"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// Static hosts have no leaf that tells of them, so the gateway asks, by ARP (RFC 826). A leaf that is silent about its own address
// is gone, whatever its link says. For a host, an answer by one leaf says that the host is there (leaves answer for hosts of
// their own, and so do foreign ones with proxy ARP, RFC 1027); no answer by either says nothing.

// questionPace bounds what is asked: one question a millisecond, whatever the number of static hosts.
const questionPace = time.Millisecond

// prober holds what is asked.
type prober struct {
	leaves []*probed // that static hosts use, in the order of the config
	hosts  []*asked
	byAddr map[netip.Addr]*asked
	every  time.Duration // zero: nothing is asked
	due    time.Duration
	pause  liveness.Pause
}

// probed is a leaf that is asked for.
type probed struct {
	leaf   *leaf
	det    liveness.Detector
	silent bool
	since  time.Duration
}

// asked is a static host, with its two ways.
type asked struct {
	StaticHost
	ways [2]way // primary, backup
}

type way struct {
	to      *probed
	det     liveness.Detector
	answers bool
}

func (m *Machine) newProber() prober {
	p := prober{byAddr: map[netip.Addr]*asked{}}
	if m.cfg.LeafProbe.Interval <= 0 || len(m.cfg.Static) == 0 {
		return p
	}
	p.every = max(m.cfg.LeafProbe.Interval, time.Duration(2*len(m.cfg.Static)+len(m.leaves))*questionPace)
	p.pause.Slack = p.every
	det := liveness.Detector{Interval: p.every, Multiplier: m.cfg.LeafProbe.Multiplier}
	by := make([]*probed, len(m.leaves))
	for _, s := range m.cfg.Static {
		a := &asked{StaticHost: s}
		for i, name := range []string{s.Primary.Leaf, s.Backup.Leaf} {
			for _, l := range m.leaves {
				if l.Name == name && by[l.id] == nil {
					by[l.id] = &probed{leaf: l, det: det}
				}
				if l.Name == name {
					a.ways[i] = way{to: by[l.id], det: det}
				}
			}
		}
		p.hosts = append(p.hosts, a)
		p.byAddr[s.Addr] = a
	}
	for _, l := range by {
		if l != nil {
			p.leaves = append(p.leaves, l)
		}
	}
	return p
}

// uses reports whether anything is asked for on a port.
func (p *prober) uses(port model.Port) bool { return p.at(port) != nil }

func (p *prober) at(port model.Port) *probed {
	for _, l := range p.leaves {
		if l.leaf.Port == port {
			return l
		}
	}
	return nil
}

// presume takes what an earlier life left in the kernel for an answer: a host that its backup serves is not moved to and fro by
// a restart.
func (m *Machine) presume() {
	for _, a := range m.probe.hosts {
		h := m.table.Host(a.Addr)
		for i := range a.ways {
			if w := &a.ways[i]; h != nil && h.Primary == w.to.leaf.id {
				w.answers = true
				m.table.SetAnswer(h.Primary, a.Addr, true)
			}
		}
	}
}

func (m *Machine) startProbing() {
	if m.probe.every > 0 {
		m.probe.due = m.now.Mono
		m.onProbe()
	}
}

// onProbe draws the verdicts on what was asked before and asks again.
func (m *Machine) onProbe() {
	p := &m.probe
	if p.every == 0 {
		return
	}
	p.pause.Fired(m.now.Mono, p.due)
	for _, l := range p.leaves {
		own, ok := m.ownOn(l.leaf)
		if !ok {
			continue
		}
		l.det.Excuse(p.pause.Until())
		if l.det.Probe(m.now.Mono) && !l.silent {
			m.silence(l)
		}
		m.question(l.leaf, own, l.leaf.Address, "is the leaf alive?")
	}
	for _, a := range p.hosts {
		for i := range a.ways {
			w := &a.ways[i]
			own, ok := m.ownOn(w.to.leaf)
			if !ok {
				continue
			}
			w.det.Excuse(p.pause.Until())
			if w.det.Probe(m.now.Mono) && w.answers && !w.to.silent {
				m.answerLost(a, w)
			}
			m.question(w.to.leaf, own, a.Addr, "has this leaf the static host?")
		}
	}
	p.due = m.now.Mono + p.every
	m.emit(step.Arm{Timer: step.Timer{Kind: timerProbe}, At: p.due})
}

// ownOn is our address on the link to a leaf. Without one, or without a link, nothing that we ask proves anything.
func (m *Machine) ownOn(l *leaf) (netip.Addr, bool) {
	if !l.port.Up() || l.port.MAC.IsZero() {
		return netip.Addr{}, false
	}
	for _, a := range m.addrs {
		if a.Port == l.Port && a.Prefix.Contains(l.Address) {
			return a.Prefix.Addr(), true
		}
	}
	return netip.Addr{}, false
}

func (m *Machine) question(l *leaf, own, target netip.Addr, why string) {
	m.emit(step.SendARP{Port: l.Port, Op: step.ARPRequest, DstMAC: model.Broadcast, SenderMAC: l.port.MAC, SenderIP: own, TargetIP: target, Why: why})
}

// onARP takes the answers.
func (m *Machine) onARP(ev step.ARPSeen) {
	if ev.Op == step.ARPNak {
		m.onWord(ev)
		return
	}
	m.hear(ev)
	m.hearThrough(ev)
	l := m.probe.at(ev.Port)
	if l == nil || !l.leaf.port.Up() {
		return // an answer that comes after the link's loss was on its way before it
	}
	if ev.SenderIP == l.leaf.Address {
		if ev.Op != step.ARPReply {
			return // a question of its own shows that we hear the leaf, not that the leaf hears us
		}
		l.det.Heard()
		if l.silent {
			m.speaks(l)
		}
		return
	}
	a := m.probe.byAddr[ev.SenderIP]
	if a == nil || ev.Op != step.ARPReply {
		return
	}
	for i := range a.ways {
		w := &a.ways[i]
		if w.to != l {
			continue
		}
		w.det.Heard()
		if !w.answers {
			m.setAnswer(a, w, true, claim.Up)
		}
	}
}

// setAnswer notes an answer, or that there is none any more; then none is what that says of the downlink, unless the leaf answers
// for another host behind it.
func (m *Machine) setAnswer(a *asked, w *way, on bool, state claim.State) {
	w.answers = on
	id := w.to.leaf.id
	m.table.SetAnswer(id, a.Addr, on)
	for _, o := range m.probe.hosts {
		for i := range o.ways {
			if o.Attachment == a.Attachment && o.ways[i].to == w.to && o.ways[i].answers {
				state = claim.Up
			}
		}
	}
	m.table.Observe(id, a.Attachment, state)
	if h := m.table.Host(a.Addr); h != nil {
		m.touch(h)
	}
}

// answerLost is the fault information of a gateway that nobody tells anything: the leaf is alive and has the host no more. Of a
// leaf that the host is not forwarded through it says nothing: a standby link is silent.
func (m *Machine) answerLost(a *asked, w *way) {
	h := m.table.Host(a.Addr)
	l := w.to.leaf
	if h == nil || m.table.Forward(h) != l.id {
		m.setAnswer(a, w, false, claim.StateUnknown)
		return
	}
	m.setAnswer(a, w, false, claim.Down)
	to := "nowhere to go, no other leaf answers for it"
	if c := m.table.Choose(h); c.Primary != mapping.None && c.Primary != l.id {
		to = "goes to leaf " + m.leafName(c.Primary)
	}
	n := step.Note{Warn: true, What: whatFault, Port: l.Port, Addr: a.Addr, Peer: l.Name, Stage: step.StageDetect, Hosts: 1, Cause: m.ownCause(),
		Why: "the leaf does not answer ARP for it any more", Text: fmt.Sprintf("leaf %s, gateway port %s, disconnected %s, which %s", l.Name, l.Port, a.Addr, to)}
	if k := m.table.Link(l.id, a.Attachment); k != nil && a.Attachment != 0 {
		n.Attachment, n.ServerPort = a.Attachment, m.serverPort(a.Attachment)
		if k.Said.PortIndex != 0 {
			n.Port = model.Port(m.leafPortName(l.id, k.Said.PortIndex))
			n.Text = fmt.Sprintf("leaf %s port %s lost server port %s: %s %s", l.Name, n.Port, n.ServerPort, a.Addr, to)
		}
	}
	m.note(n)
}

// silence is hard evidence against a leaf, as far as static hosts go: whoever has a session has better.
func (m *Machine) silence(l *probed) {
	l.silent, l.since = true, m.now.Mono
	m.table.SetMute(l.leaf.id, true)
	m.note(step.Note{Warn: true, What: whatLeafSilent, Port: l.leaf.Port, Peer: l.leaf.Name, Stage: step.StageDetect, Cause: m.ownCause(),
		Text: "leaf " + l.leaf.Name + " is silent: its static hosts go to their backups", Why: "no answer to ARP for " + l.leaf.Address.String()})
	m.settlePinned()
}

func (m *Machine) speaks(l *probed) {
	l.silent, l.since = false, m.now.Mono
	m.table.SetMute(l.leaf.id, false)
	m.note(step.Note{What: whatLeafSpeaks, Port: l.leaf.Port, Peer: l.leaf.Name, Text: "leaf " + l.leaf.Name + " answers ARP again", Why: "it may serve static hosts"})
	m.settlePinned()
}

// hushed forgets answers of a leaf whose link is lost: the link is evidence enough, and when it returns the leaf has to answer anew.
func (m *Machine) hushed(l *leaf) {
	for _, p := range m.probe.leaves {
		if p.leaf == l {
			p.silent = false
			p.det.Heard()
			m.table.SetMute(l.id, false)
		}
	}
	for _, a := range m.probe.hosts {
		for i := range a.ways {
			w := &a.ways[i]
			if w.to.leaf != l {
				continue
			}
			w.det.Heard()
			w.answers = false
			m.table.SetAnswer(l.id, a.Addr, false)
		}
	}
}

// staticWhy says why a static host left a leaf.
func (m *Machine) staticWhy(from mapping.LeafID) string {
	switch {
	case from < 0:
		return "static host"
	case !m.table.Serving(from):
		return "leaf " + m.leafName(from) + " cannot be used: " + m.leaves[from].why
	case m.table.Muted(from):
		return "leaf " + m.leafName(from) + " is silent to ARP"
	}
	return "static: the other leaf is its primary or answers ARP for it"
}

// probeRows are the leaves that answer for themselves, among the sessions: it is all the session that they have.
func (m *Machine) probeRows(now model.Instant) []step.SessionRow {
	rows := make([]step.SessionRow, 0, len(m.probe.leaves))
	for _, p := range m.probe.leaves {
		r := step.SessionRow{Peer: p.leaf.Address.String(), Name: p.leaf.Name + " (arp)", Port: p.leaf.Port, State: "up", Why: "it answers ARP"}
		if p.since > 0 {
			r.SinceMs = (now.Mono - p.since).Milliseconds()
		}
		for _, a := range m.probe.hosts {
			for i := range a.ways {
				if a.ways[i].to == p && a.ways[i].answers {
					r.Received++
				}
			}
		}
		switch {
		case !p.leaf.port.Up():
			r.State, r.Why = "down", downWhy(p.leaf.port)
		case p.silent:
			r.State, r.Why = "down", "it is silent to ARP"
		}
		rows = append(rows, r)
	}
	return rows
}
