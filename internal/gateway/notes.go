package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"peerless/internal/gateway/mapping"
	"peerless/internal/model"
	"peerless/internal/step"
)

// What notes tell of: the words in the column WHAT of `peerless show events`.
const (
	whatFault          = "fault" // a server port was disconnected from a leaf, or a leaf took a host back
	whatLeafDown       = "leaf-down"
	whatLeafUp         = "leaf-up"
	whatLeafSilent     = "leaf-silent"
	whatLeafSpeaks     = "leaf-speaks"
	whatBFDUp          = "bfd-up"
	whatBFDDown        = "bfd-down"
	whatLeafLimit      = "leaf-limit"
	whatLearned        = "host-learned"
	whatMoved          = "host-moved"
	whatWithdrawn      = "host-withdrawn"
	whatGone           = "host-gone"
	whatAttachmentUp   = "attachment-up"
	whatAttachmentDown = "attachment-down"
	whatNotAnnounced   = "not-announced" // a leaf said by ARP that a port is down, and not by BGP
	whatConflict       = "attachment-conflict"
	whatForeign        = "foreign-prefix"
	whatHostLimit      = "host-limit"
	whatSessionUp      = "session-up"
	whatSessionDown    = "session-down"
	whatExpired        = "session-expired"
	whatAdopted        = "adopted"
	whatRouteLost      = "route-lost"
	whatLeafMute       = "leaf-mute" // it answers and forwards nothing
	whatLeafForwards   = "leaf-forwards"
	whatLeafKept       = "leaf-kept"        // it is mute, and has the default route all the same
	whatWithheld       = "default-withheld" // from a leaf that is mute
	whatTold           = "default-told"
)

// group gathers the hosts that one step treats alike, so that 10,000 hosts are one note.
type group struct {
	what      string
	from, to  mapping.LeafID
	cause     step.Cause
	stage     step.Stage
	warn      bool
	tentative bool
	static    bool
	link      *mapping.Link
	n         int
	first     []netip.Addr // up to listMax
}

func (g *group) like(o *group) bool {
	return g.what == o.what && g.from == o.from && g.to == o.to && g.cause == o.cause && g.tentative == o.tentative && g.static == o.static && g.link == o.link
}

func (m *Machine) group(g group, addr netip.Addr) {
	i := slices.IndexFunc(m.groups, func(o group) bool { return o.like(&g) })
	if i < 0 {
		i = len(m.groups)
		m.groups = append(m.groups, g)
	}
	at := &m.groups[i]
	if at.n++; at.n <= listMax {
		at.first = append(at.first, addr)
	}
}

// tell turns groups into notes: one for each host while they are few, else one for all.
func (m *Machine) tell() {
	for i := range m.groups {
		g := &m.groups[i]
		if g.n > listMax {
			m.tellGroup(g, fmt.Sprintf("%d hosts", g.n), netip.Addr{}, g.n)
			continue
		}
		for _, a := range g.first {
			m.tellGroup(g, a.String(), a, 1)
		}
	}
}

func (m *Machine) tellGroup(g *group, who string, addr netip.Addr, n int) {
	note := step.Note{Warn: g.warn, What: g.what, Addr: addr, Stage: g.stage, Hosts: n, Cause: g.cause}
	if g.link != nil && g.link.ID != 0 {
		note.Attachment, note.ServerPort = g.link.ID, m.serverPort(g.link.ID)
	}
	from, to := m.leafName(g.from), m.leafName(g.to)
	note.Peer = to
	switch g.what {
	case whatLearned:
		note.Text, note.Why = who+" learned from leaf "+to, "it claims it"
	case whatMoved:
		note.Text, note.Why = fmt.Sprintf("%s moved from leaf %s to leaf %s", who, from, to), "newest claim"
		switch {
		case m.table.Doubted(g.from):
			note.Why = m.doubtWhy(g.from) + ", and leaf " + to + " claims it in a session that is up"
		case g.static:
			note.Why = m.staticWhy(g.from)
		case g.tentative:
			note.Why = "its server port failed on leaf " + from + "; leaf " + to + " has the port up and is expected to claim it"
		}
	case whatWithdrawn:
		note.Peer, note.Text, note.Why = from, who+" withdrawn by leaf "+from, m.withdrawnWhy(g.link)
	case whatFault:
		note.Peer, note.Why = from, "withdrawn; the leaf tells no more"
		note.Text = fmt.Sprintf("leaf %s, gateway port %s, disconnected %s", from, m.leaves[g.from].Port, who)
	case whatGone:
		note.Peer, note.Text, note.Why = from, who+" gone", "no leaf claims it"
	}
	m.note(note)
}

func (m *Machine) doubtWhy(id mapping.LeafID) string {
	if l := m.leaves[id]; !l.bfd.Lost {
		return "leaf " + l.Name + " forwards nothing"
	}
	return "BFD with leaf " + m.leaves[id].Name + " is down"
}

func (m *Machine) withdrawnWhy(k *mapping.Link) string {
	if m.table.Failed(k) {
		return k.Said.Reason.String()
	}
	return "its port there is up: silent, or moved"
}

// report says what a choice means for a host.
func (m *Machine) report(h *mapping.Host, choice mapping.Choice, cause step.Cause) {
	was := h.Basis
	g := group{from: mapping.None, to: choice.Primary, cause: cause}
	if was != nil {
		g.from = was.Link.Leaf
	} else {
		g.from = h.Primary
	}
	switch {
	case choice.State == mapping.Claimed && h.State != mapping.Claimed && (g.from == mapping.None || g.from == g.to):
		if h.Adopted && was == nil {
			return // confirmed
		}
		g.what, g.from, g.stage = whatLearned, mapping.None, step.StageLearn
	case choice.State == mapping.Claimed && h.State == mapping.Tentative && h.Primary == choice.Primary: // as expected
		g.what, g.from, g.stage = whatLearned, mapping.None, step.StageLearn
	case choice.State == mapping.Claimed && g.from != g.to:
		g.what, g.stage = whatMoved, step.StageLearn
	case choice.State == mapping.Tentative && h.State != mapping.Tentative:
		g.what, g.tentative = whatMoved, true
	case choice.Basis == nil && !h.Claimed() && was != nil && was.Link.ID != 0:
		g.what, g.to = whatGone, mapping.None
	default: // it stays, or its leaf's own note tells
		return
	}
	if choice.Basis != nil {
		g.link, g.static = choice.Basis.Link, choice.Basis.Static
	} else if was != nil {
		g.link = was.Link
	}
	m.group(g, h.Addr)
}

// fault is the fault information of the gateway: which leaf port and which server port were disconnected, why, and which
// hosts that concerns: all that the leaf claims there, also those that have moved already, since the other leaf's claim may
// be faster than this word. The repair waits for it, so only those that it names are looked at.
func (m *Machine) fault(l *leaf, k *mapping.Link) {
	var first []string
	var only netip.Addr
	n, moved := k.Standing(), mapping.None
	for c := range k.Claims() {
		if n == 1 {
			only = c.Host.Addr
		}
		first = append(first, c.Host.Addr.String())
		if to := m.table.Forward(c.Host); to != l.id {
			moved = to
		}
		if len(first) == listMax {
			break
		}
	}
	text := fmt.Sprintf("leaf %s port %s lost server port %s: ", l.Name, m.leafPortName(l.id, k.Said.PortIndex), m.serverPort(k.ID))
	switch other := m.table.Standby(k.ID, l.id); {
	case n == 0:
		text += "no host used it"
	case moved != mapping.None:
		text += listed(first, n) + " moved to leaf " + m.leafName(moved) + " already"
	case other == mapping.None:
		text += listed(first, n) + " unreachable, no other leaf has the port up"
	default:
		text += listed(first, n) + " to leaf " + m.leafName(other)
	}
	why := k.Said.State.String() + ": " + k.Said.Reason.String()
	if _, foretold := k.Foretold(); foretold {
		why += ", told by ARP"
	}
	m.note(step.Note{
		Warn: true, What: whatFault, Port: model.Port(m.leafPortName(l.id, k.Said.PortIndex)), Addr: only, Attachment: k.ID,
		ServerPort: m.serverPort(k.ID), Peer: l.Name, Text: text, Why: why,
		Stage: step.StageDetect, Hosts: n, Cause: k.Cause,
	})
}

func listed(first []string, n int) string {
	s := strings.Join(first, ", ")
	if n > len(first) {
		s += fmt.Sprintf(" and %d more", n-len(first))
	}
	return s
}

func (m *Machine) attachmentNote(l *leaf, k *mapping.Link, what, is, why string) {
	port := m.leafPortName(l.id, k.Said.PortIndex)
	m.note(step.Note{
		What: what, Port: model.Port(port), Attachment: k.ID, ServerPort: m.serverPort(k.ID), Peer: l.Name, Why: why,
		Text: fmt.Sprintf("leaf %s port %s to server port %s %s", l.Name, port, m.serverPort(k.ID), is),
	})
}

func (m *Machine) leafName(id mapping.LeafID) string {
	if id < 0 {
		return ""
	}
	return m.leaves[id].Name
}

func (m *Machine) leafPortName(id mapping.LeafID, index uint32) string {
	if name, ok := m.leafPorts[id][index]; ok {
		return name
	}
	return fmt.Sprint(index)
}

func (m *Machine) serverPort(id model.AttachmentID) string {
	if name, ok := m.serverPorts[id]; ok {
		return name
	}
	return id.String()
}

func hosts(n int) string {
	if n == 1 {
		return "1 host"
	}
	return fmt.Sprintf("%d hosts", n)
}

func hostsGo(n int) string {
	if n == 1 {
		return "1 host goes"
	}
	return fmt.Sprintf("%d hosts go", n)
}
