package matrix

import (
	"time"

	"peerless/internal/lab/topology"
)

// Bounds that several cases share.
var (
	carrierLimit = within(10 * time.Millisecond)
	deathLimit   = within(15 * time.Millisecond)
	lateLimit    = within(30 * time.Millisecond)
	shutLimit    = within(30 * time.Millisecond)
	linkSilence  = map[string]time.Duration{Default: 400 * time.Millisecond, Fast: 60 * time.Millisecond}
	leafSilence  = map[string]time.Duration{Default: 400 * time.Millisecond, Fast: 80 * time.Millisecond}
)

func within(d time.Duration) map[string]time.Duration {
	return map[string]time.Duration{Default: d}
}

// The reference topology's parts, by what they are in these cases: A is the active leaf of C1 and C2, B their standby.
var (
	behindA = []string{"C1", "C2"}
	servers = []string{"C1", "C2", "C3", "C4"}

	activeLink  = cable{topology.End{Node: "A", Port: "A2"}, topology.End{Node: "C2", Port: "eth0"}}
	standbyLink = cable{topology.End{Node: "B", Port: "B2"}, topology.End{Node: "C2", Port: "eth1"}}
	otherLink   = cable{topology.End{Node: "A", Port: "A1"}, topology.End{Node: "C1", Port: "eth0"}}
	uplinkA     = cable{topology.End{Node: "G", Port: "to-A"}, topology.End{Node: "A", Port: "A0"}}
	uplinkB     = cable{topology.End{Node: "G", Port: "to-B"}, topology.End{Node: "B", Port: "B0"}}
)

// cable is a link: its upper end is nearer to the gateway.
type cable struct{ upper, lower topology.End }

// All lists the cases in the order in which people should read them.
func All() []Case {
	var out []Case
	for _, part := range [][]Case{links(), deaths(), late(), silence(), sessions(), daemons(), histories(), guests(), hostile()} {
		out = append(out, part...)
	}
	return out
}

// links: carrier lost at one end, administratively down at the other.
func links() []Case {
	down := func(name string, at topology.End, touches []string, limits map[string]time.Duration, signs ...Sign) Case {
		return Case{
			Name: name, Touches: touches, Limits: limits, Signs: signs,
			Break: []Deed{{Verb: PortDown, At: at}}, Mend: []Deed{{Verb: PortUp, At: at}},
		}
	}
	return []Case{
		down("server-link-down-at-server", activeLink.lower, []string{"C2"}, carrierLimit),
		down("server-link-down-at-leaf", activeLink.upper, []string{"C2"}, carrierLimit),
		down("gateway-link-down-at-gateway", uplinkA.upper, behindA, carrierLimit),
		down("gateway-link-down-at-leaf", uplinkA.lower, behindA, carrierLimit),
		down("standby-link-down-at-server", standbyLink.lower, []string{"C2"}, nil, Sign{"C2", "link-down"}),
		down("standby-link-down-at-leaf", standbyLink.upper, []string{"C2"}, nil, Sign{"C2", "link-down"}),
	}
}

func deaths() []Case {
	// The guard looks now and then, and asks first whether the gateway's routing goes on.
	const left, guardLook = restartTime + 100*time.Millisecond, 200 * time.Millisecond
	return []Case{
		{
			Name: "leaf-dies", Touches: behindA, Limits: deathLimit,
			Break: []Deed{{Verb: Die, Node: "A"}}, Mend: []Deed{{Verb: Boot, Node: "A"}},
		},
		{
			// The leaf's kernel forwards until the gateway forgets its routes; then the guard lets its servers go.
			Name: "leaf-daemon-stays-dead", Variant: Guarded, Touches: behindA, Limits: within(left), Until: left + guardLook, Watch: restartTime + time.Second,
			Signs: []Sign{{"G", "session-down"}},
			Break: []Deed{{Verb: Kill, Node: "A"}}, Mend: []Deed{{Verb: Start, Node: "A"}},
		},
		{
			// All servers are on the leaf that opens first without a gateway, and stay there: those of different leaves reach each other too.
			Name: "gateway-dies", Variant: LocalOnly, Touches: servers, Limits: within(localOnly + time.Second), Dead: []string{"G"},
			Signs: []Sign{{"A", "local-only"}, {"B", "local-only"}}, Watch: 10 * time.Second,
			Break: []Deed{{Verb: Die, Node: "G"}}, Mend: []Deed{{Verb: Boot, Node: "G"}}, Returns: 3 * time.Second, MendLimit: 3 * time.Second,
		},
	}
}

// late: of two carrier losses within a second the kernel holds the second back.
func late() []Case {
	case2 := func(name string, second topology.End, touches []string) Case {
		return Case{
			Name: name, Variant: LateCarrier, Touches: touches, Limits: lateLimit,
			Break: []Deed{{Verb: PortDown, At: otherLink.lower}, {Verb: PortDown, At: second, Wait: 300 * time.Millisecond}},
			Mend:  []Deed{{Verb: PortUp, At: second}, {Verb: PortUp, At: otherLink.lower}},
		}
	}
	return []Case{
		case2("late-carrier-server-link", activeLink.lower, behindA),
		case2("late-carrier-gateway-link", uplinkA.upper, behindA),
	}
}

// silence: every carrier stays, and nothing, or nothing one way, passes.
func silence() []Case {
	silent := func(name string, touches []string, limits map[string]time.Duration, ends ...topology.End) Case {
		c := Case{Name: name, Touches: touches, Limits: limits}
		for _, e := range ends {
			c.Break = append(c.Break, Deed{Verb: Deafen, At: e})
			c.Mend = append(c.Mend, Deed{Verb: Hear, At: e})
		}
		return c
	}
	only := []string{"C2"}
	return []Case{
		silent("server-link-silent-upstream", only, linkSilence, activeLink.upper),
		silent("server-link-silent-downstream", only, linkSilence, activeLink.lower),
		silent("server-link-silent-both", only, linkSilence, activeLink.upper, activeLink.lower),
		silent("standby-link-silent-upstream", only, nil, standbyLink.upper),
		silent("standby-link-silent-downstream", only, nil, standbyLink.lower),
		silent("standby-link-silent-both", only, nil, standbyLink.upper, standbyLink.lower),
		silent("gateway-link-silent-upstream", behindA, leafSilence, uplinkA.upper),
		silent("gateway-link-silent-downstream", behindA, leafSilence, uplinkA.lower),
		silent("gateway-link-silent-both", behindA, leafSilence, uplinkA.upper, uplinkA.lower),
		{
			Name: "leaf-forwards-nothing", Touches: behindA, Limits: leafSilence,
			Break: []Deed{{Verb: NoForward, Node: "A"}}, Mend: []Deed{{Verb: Forward, Node: "A"}},
		},
	}
}

// holdTime is above the daemons' hold time.
const holdTime = 12 * time.Second

func sessions() []Case {
	lost := Sign{"G", "session-down"}
	shut := func(at, peer string) Case {
		return Case{
			Name: "session-shut-at-" + map[string]string{"G": "gateway", "A": "leaf"}[at], Touches: behindA, Limits: shutLimit, Signs: []Sign{lost},
			Break: []Deed{{Verb: Shut, Node: at, Peer: peer}}, Mend: []Deed{{Verb: Open, Node: at, Peer: peer}},
		}
	}
	return []Case{
		shut("G", "A"),
		shut("A", "G"),
		{
			Name: "session-reset", Touches: servers, Signs: []Sign{lost},
			Break: []Deed{{Verb: Reset, Node: "A", Peer: "G"}},
		},
		{
			Name: "session-hold-timer", Touches: servers, Signs: []Sign{lost}, Watch: holdTime,
			Break: []Deed{{Verb: Deafen, At: uplinkA.upper, Lost: "BGP"}, {Verb: Deafen, At: uplinkA.lower, Lost: "BGP"}},
			Mend:  []Deed{{Verb: Hear, At: uplinkA.upper}, {Verb: Hear, At: uplinkA.lower}},
		},
		{
			Name: "bfd-lost", Touches: servers, Signs: []Sign{{"A", "bfd-down"}}, Watch: 2 * time.Second,
			Break: []Deed{{Verb: Deafen, At: uplinkA.upper, Lost: "BFD"}, {Verb: Deafen, At: uplinkA.lower, Lost: "BFD"}},
			Mend:  []Deed{{Verb: Hear, At: uplinkA.upper}, {Verb: Hear, At: uplinkA.lower}},
		},
	}
}

// daemons: forwarding does not depend on them.
func daemons() []Case {
	const away, frozen = time.Second, 2 * time.Second
	var out []Case
	for _, group := range []struct {
		name   string
		nodes  []string
		settle time.Duration // it is whole again long before
	}{{"gateway", []string{"G"}, 2 * time.Second}, {"leaves", []string{"A", "B"}, 2 * time.Second}, {"servers", servers, time.Second}} {
		for _, way := range []struct {
			name  string
			off   Verb
			on    Verb
			pause time.Duration
		}{{"killed", Kill, Start, away}, {"stopped", Terminate, Start, away}, {"frozen", Freeze, Thaw, frozen}} {
			c := Case{Name: group.name + "-" + way.name, Touches: servers, Watch: group.settle}
			for i, n := range group.nodes {
				first := Deed{Verb: way.off, Node: n}
				if i > 0 {
					first.Wait = group.settle
				}
				c.Break = append(c.Break, first, Deed{Verb: way.on, Node: n, Wait: way.pause})
			}
			out = append(out, c)
		}
	}
	return out
}

// histories: several deeds in a row.
func histories() []Case {
	flap := Case{
		Name: "server-link-flaps", Touches: []string{"C2"}, Limits: within(10 * time.Millisecond), Moves: 3, Watch: 3 * time.Second,
	}
	const flaps, period = 20, 5 * time.Second
	for i := range flaps {
		wait := period / flaps / 2
		down := Deed{Verb: PortDown, At: activeLink.lower, Wait: wait}
		if i == 0 {
			down.Wait = 0
		}
		flap.Break = append(flap.Break, down, Deed{Verb: PortUp, At: activeLink.lower, Wait: wait})
	}
	return []Case{
		flap,
		{
			Name: "leaf-drained", Touches: servers, Signs: []Sign{{"A", "drained"}},
			Break: []Deed{{Verb: Drain, Node: "A"}}, Mend: []Deed{{Verb: Undrain, Node: "A"}},
		},
		{
			Name: "double-fault", Touches: []string{"C2", "C3", "C4"}, Limits: carrierLimit, Dead: []string{"C2"}, Signs: []Sign{{"C2", "no-link"}},
			Break: []Deed{{Verb: PortDown, At: activeLink.lower}, {Verb: PortDown, At: uplinkB.upper, Wait: 2 * time.Second}},
			Mend:  []Deed{{Verb: PortUp, At: uplinkB.upper}, {Verb: PortUp, At: activeLink.lower}},
		},
		{
			Name: "reload-while-link-down", Touches: []string{"C2"}, Limits: carrierLimit,
			Break: append([]Deed{{Verb: PortDown, At: activeLink.lower}}, reload("A", "log: {level: debug}")...),
			Mend:  append([]Deed{{Verb: PortUp, At: activeLink.lower}}, reload("A", "")...),
		},
	}
}

// reload: the daemon reads its config at its start only.
func reload(node, line string) []Deed {
	return []Deed{
		{Verb: Reconfig, Node: node, Text: line, Wait: time.Second},
		{Verb: Terminate, Node: node}, {Verb: Start, Node: node},
	}
}

// guests leave a server without a word to it, the second time right after it has moved itself, so that it is about to announce all its
// guests again.
func guests() []Case {
	moved := Case{
		Name: "guest-moves", Variant: WithGuest, Roams: true, Touches: []string{"V1", "V3"}, Limits: carrierLimit,
		Break:     []Deed{{Verb: MoveGuest, Node: "V1", Peer: "V3"}},
		Mend:      []Deed{{Verb: MoveGuest, Node: "V3", Peer: "V1"}},
		MendLimit: carrierLimit[Default],
	}
	const soon = 200 * time.Millisecond
	again := moved
	again.Name, again.Touches, again.Watch = "guest-moves-after-its-server", []string{"V1", "V3", "C1"}, 2*time.Second
	again.Break = []Deed{{Verb: PortDown, At: otherLink.lower}, {Verb: MoveGuest, Node: "V1", Peer: "V3", Wait: soon}}
	again.Mend = []Deed{{Verb: PortUp, At: otherLink.lower}, {Verb: MoveGuest, Node: "V3", Peer: "V1", Wait: soon}}
	return []Case{moved, again}
}

// hostile: one server sends what it likes; the others must not notice. Its own flows are its own affair.
func hostile() []Case {
	const rate, long, growth = 50_000, 20 * time.Second, 64
	return []Case{{
		Name: "arp-flood", Touches: []string{"C1"}, Limits: within(long), Watch: long + 2*time.Second, Harmless: true,
		Signs:  []Sign{{"A", "arp-flood"}},
		Bounds: []Bound{{Node: "A", Port: otherLink.upper.Port, Hosts: topology.HostsMax, Growth: growth}, {Node: "B", Growth: growth}, {Node: "G", Growth: growth}},
		Break:  []Deed{{Verb: Flood, At: otherLink.lower, Rate: rate, Long: long}},
	}}
}
