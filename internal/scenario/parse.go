package scenario

import (
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"
)

// Parse reads a story. A line is empty, a comment (#), or one of
//
//	about TEXT
//	topology NAME
//	at TIME ACTION
//	by TIME EXPECTATION
//	always EXPECTATION
//	end TIME
//
// with TIME as Go writes durations. What may stand behind it is told by actions and facts below; testdata/scenarios has examples.
func Parse(file, text string) (*Story, error) {
	s := &Story{Name: strings.TrimSuffix(path.Base(file), path.Ext(file))}
	for i, raw := range strings.Split(text, "\n") {
		line, _, _ := strings.Cut(raw, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := s.line(i+1, words); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
	}
	switch {
	case s.Topology == "":
		return nil, fmt.Errorf("%s: no line says the topology", file)
	case s.End == 0:
		return nil, fmt.Errorf("%s: no line says the end", file)
	}
	return s, nil
}

func (s *Story) line(n int, words []string) error {
	rest := words[1:]
	switch words[0] {
	case "about":
		s.About = strings.Join(rest, " ")
		return nil
	case "topology":
		if len(rest) != 1 {
			return fmt.Errorf("topology wants one name")
		}
		s.Topology = rest[0]
		return nil
	case "end":
		return s.end(rest)
	case "always":
		e, err := parseExpect(rest)
		if err == nil {
			s.Steps = append(s.Steps, Step{Line: n, Always: true, Expect: &e})
		}
		return err
	case "at", "by":
		return s.timed(n, words[0], rest)
	}
	return fmt.Errorf("%q begins no line; want about, topology, at, by, always or end", words[0])
}

func (s *Story) end(rest []string) error {
	if len(rest) != 1 {
		return fmt.Errorf("end wants one time")
	}
	d, err := time.ParseDuration(rest[0])
	if err != nil {
		return fmt.Errorf("end: %w", err)
	}
	if d < s.latest() {
		return fmt.Errorf("the end is before %s, of which an earlier line tells", s.latest())
	}
	s.End = d
	return nil
}

func (s *Story) latest() (d time.Duration) {
	for _, st := range s.Steps {
		d = max(d, st.At)
	}
	return d
}

func (s *Story) timed(n int, word string, rest []string) error {
	if len(rest) < 2 {
		return fmt.Errorf("%s wants a time and what happens", word)
	}
	at, err := time.ParseDuration(rest[0])
	if err != nil || at < 0 {
		return fmt.Errorf("%s %s: want a time such as 1.5s", word, rest[0])
	}
	st := Step{Line: n, At: at}
	if word == "by" {
		e, err := parseExpect(rest[1:])
		if err != nil {
			return err
		}
		if e.Fact == FlowLossless || e.Fact == HostMoves {
			return fmt.Errorf("what is lost and how often a host moves is told of the whole story: always %s", strings.Join(rest[1:], " "))
		}
		st.Expect = &e
	} else {
		a, err := parseAction(rest[1:])
		if err != nil {
			return err
		}
		st.Action = &a
	}
	if at < s.latest() {
		return fmt.Errorf("%s is before %s, of which an earlier line tells", at, s.latest())
	}
	s.Steps = append(s.Steps, st)
	return nil
}

// form is a phrase: words in capitals stand for something.
type form[T any] struct {
	words string
	make  func(args []string) (T, error)
}

var actions = []form[Action]{
	{"link LINK down", func(a []string) (Action, error) { return onLink(LinkDown, "", a[0]) }},
	{"link LINK up", func(a []string) (Action, error) { return onLink(LinkUp, "", a[0]) }},
	{"link LINK drops WAY", func(a []string) (Action, error) { return onLink(LinkDrops, a[1], a[0]) }},
	{"port PORT down", func(a []string) (Action, error) { return Action{Verb: PortDown, Port: a[0]}, nil }},
	{"port PORT up", func(a []string) (Action, error) { return Action{Verb: PortUp, Port: a[0]}, nil }},
	{"daemon NODE kill", onNode(DaemonKill)},
	{"daemon NODE stop", onNode(DaemonStop)},
	{"daemon NODE start", onNode(DaemonStart)},
	{"daemon NODE freeze", onNode(DaemonFreeze)},
	{"daemon NODE thaw", onNode(DaemonThaw)},
	{"node NODE down", onNode(NodeDown)},
	{"node NODE up", onNode(NodeUp)},
	{"session NODE NODE reset", func(a []string) (Action, error) { return Action{Verb: SessionReset, Node: a[0], Peer: a[1]}, nil }},
	{"session NODE NODE cease", func(a []string) (Action, error) { return Action{Verb: SessionCease, Node: a[0], Peer: a[1]}, nil }},
	{"guest ADDRESS moves NODE", func(a []string) (Action, error) { return onHost(GuestMoves, a[0], a[1]) }},
	{"host ADDRESS dies", func(a []string) (Action, error) { return onHost(HostDies, a[0], "") }},
	{"leaf NODE drain", onNode(LeafDrain)},
	{"leaf NODE undrain", onNode(LeafUndrain)},
	{"leaf NODE mute", onNode(LeafMute)},
	{"leaf NODE forward", onNode(LeafForward)},
	{"feed NODE off", onNode(FeedOff)},
	{"feed NODE on", onNode(FeedOn)},
}

var facts = []form[Expect]{
	{"flow FLOW works", ofFlow(FlowWorks)},
	{"flow FLOW broken", ofFlow(FlowBroken)},
	{"flow FLOW loses nothing", ofFlow(FlowLossless)},
	{"host ADDRESS behind LEAF", func(a []string) (Expect, error) { return ofHost(HostBehind, a[0], a[1], 0) }},
	{"host ADDRESS nowhere", func(a []string) (Expect, error) { return ofHost(HostNowhere, a[0], "", 0) }},
	{"host ADDRESS moves at most COUNT", func(a []string) (Expect, error) {
		n, err := strconv.Atoi(a[1])
		if err != nil || n < 0 {
			return Expect{}, fmt.Errorf("%q is no count", a[1])
		}
		return ofHost(HostMoves, a[0], "", n)
	}},
	{"port PORT open", func(a []string) (Expect, error) { return Expect{Fact: PortOpen, Port: a[0]}, nil }},
	{"port PORT closed", func(a []string) (Expect, error) { return Expect{Fact: PortClosed, Port: a[0]}, nil }},
}

func parseAction(words []string) (Action, error) { return match(actions, words) }
func parseExpect(words []string) (Expect, error) { return match(facts, words) }

func match[T any](forms []form[T], words []string) (none T, err error) {
	var known []string
	for _, f := range forms {
		known = append(known, f.words)
		pattern := strings.Fields(f.words)
		if len(pattern) != len(words) {
			continue
		}
		var args []string
		fits := true
		for i, p := range pattern {
			if p == strings.ToUpper(p) {
				args = append(args, words[i])
			} else {
				fits = fits && p == words[i]
			}
		}
		if fits {
			return f.make(args)
		}
	}
	return none, fmt.Errorf("%q is none of: %s", strings.Join(words, " "), strings.Join(known, "; "))
}

func onLink(v Verb, way, text string) (Action, error) {
	node, port, ok := strings.Cut(text, "-")
	if !ok || node == "" || port == "" {
		return Action{}, fmt.Errorf("%q is no link; want NODE-PORT such as C2-A2", text)
	}
	switch Way(way) {
	case "", Both, Up, Down, Nothing:
		return Action{Verb: v, Link: Link{node, port}, Way: Way(way)}, nil
	}
	return Action{}, fmt.Errorf("%q is no way; want both, up, down or nothing", way)
}

func onNode(v Verb) func([]string) (Action, error) {
	return func(a []string) (Action, error) { return Action{Verb: v, Node: a[0]}, nil }
}

func onHost(v Verb, text, node string) (Action, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return Action{}, fmt.Errorf("%q is no address", text)
	}
	return Action{Verb: v, Host: addr, Node: node}, nil
}

func ofFlow(f Fact) func([]string) (Expect, error) {
	return func(a []string) (Expect, error) {
		from, to, ok := strings.Cut(a[0], "->")
		if !ok || from == "" || to == "" {
			return Expect{}, fmt.Errorf("%q is no flow; want NODE->NODE such as G->C2", a[0])
		}
		return Expect{Fact: f, From: from, To: to}, nil
	}
}

func ofHost(f Fact, text, leaf string, most int) (Expect, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return Expect{}, fmt.Errorf("%q is no address", text)
	}
	return Expect{Fact: f, Host: addr, Leaf: leaf, Most: most}, nil
}
