package step

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Golden transcripts, the journal and logs all print events and effects with the String methods of this file.

func word(on bool, yes, no string) string {
	if on {
		return yes
	}
	return no
}

func (Started) String() string { return "started" }

func (e Snapshot) String() string {
	return fmt.Sprintf("snapshot (%s): %d ports, %d addresses, %d routes, %d neighbours, %d rules",
		e.Reason, len(e.Ports), len(e.Addresses), len(e.Routes), len(e.Neighbors), len(e.Rules))
}

// String gives the state in words.
func (p PortState) String() string {
	if !p.Present {
		return fmt.Sprintf("port %s missing", p.Port)
	}
	s := fmt.Sprintf("port %s admin %s carrier %s", p.Port, word(p.AdminUp, "up", "down"), word(p.Carrier, "up", "down"))
	if p.ProtoDown {
		s += " protodown"
	}
	if p.Ours {
		s += " closed by us"
	}
	return s
}

func (e AddressChanged) String() string {
	return e.Address.String() + word(e.Present, " present", " gone")
}

// String gives the route with its state.
func (r RouteState) String() string {
	return r.Route.String() + word(r.Present, " present", " gone") + word(r.Ours, " ours", "") + word(r.LinkDown, " linkdown", "")
}

// String gives the entry with its state.
func (n NeighborState) String() string {
	s := n.Neighbor.String()
	switch {
	case !n.Present:
		s += " gone"
	case n.Failed:
		s += " failed"
	case n.Resolved:
		s += " resolved"
	default:
		s += " unresolved"
	}
	return s + word(n.Ours, " ours", "")
}

func (o ARPOp) String() string {
	switch o {
	case ARPRequest:
		return "request"
	case ARPReply:
		return "reply"
	case ARPNak:
		return "nak"
	}
	return strconv.Itoa(int(o))
}

func (e ARPSeen) String() string {
	return fmt.Sprintf("arp %s on %s: %s is %s, target %s", e.Op, e.Port, e.SenderIP, e.SenderMAC, e.TargetIP)
}
func (e RARPSeen) String() string { return fmt.Sprintf("rarp on %s: %s", e.Port, e.MAC) }
func (e Flooded) String() string {
	return fmt.Sprintf("flood on %s: %d packets ignored", e.Port, e.Frames)
}
func (e DataSeen) String() string {
	return fmt.Sprintf("data on %s: from %s (%s)", e.Port, e.Addr, e.MAC)
}

func (e EchoSeen) String() string {
	return fmt.Sprintf("echo on %s: from %s to %s, %d/%d", e.Port, e.From, e.To, e.Ident, e.Seq)
}

func (e SessionChanged) String() string {
	if e.Up {
		return fmt.Sprintf("session %s up (AS %d)", e.Peer, e.AS)
	}
	return fmt.Sprintf("session %s down: %s", e.Peer, e.Reason)
}

func (e BFDChanged) String() string {
	switch {
	case e.Up:
		return fmt.Sprintf("bfd %s on %s up, detects in %s", e.Peer, e.Port, e.Detect)
	case e.Admin:
		return fmt.Sprintf("bfd %s on %s down: turned off by the neighbour", e.Peer, e.Port)
	}
	return fmt.Sprintf("bfd %s on %s down: %s", e.Peer, e.Port, e.Diag)
}

func (e PathsChanged) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "paths from %s:", e.Peer)
	for i, p := range e.Paths {
		if i == 8 {
			fmt.Fprintf(&b, " and %d more", len(e.Paths)-i)
			break
		}
		fmt.Fprintf(&b, " %s%s", word(p.Withdrawn, "-", "+"), p.Prefix)
	}
	return b.String()
}
func (e EngineState) String() string {
	if !e.Running {
		return fmt.Sprintf("engine %s does not run: %s", e.Engine, e.Detail)
	}
	return fmt.Sprintf("engine %s runs, has %d routes", e.Engine, len(e.Routes))
}
func (e Commanded) String() string {
	return "commanded " + e.Order.String() + word(e.Force, " by force", "")
}
func (e EndOfRIB) String() string   { return fmt.Sprintf("end of RIB from %s", e.Peer) }
func (e TimerFired) String() string { return "timer " + e.Timer.String() }
func (e Applied) String() string    { return "applied " + e.Want.line() }
func (e Failed) String() string {
	return fmt.Sprintf("failed %s: attempt %d: %s", e.Want.line(), e.Attempt, e.Err)
}

// String gives the parts that are set.
func (t Timer) String() string {
	s := t.Kind
	if t.Port != "" {
		s += " " + string(t.Port)
	}
	if t.Addr.IsValid() {
		s += " " + t.Addr.String()
	}
	if t.ID != 0 {
		s += fmt.Sprintf(" #%d", t.ID)
	}
	return s
}

func (w Want) line() string { return word(w.Absent, "no ", "") + w.Object.String() }

func (w Want) String() string {
	s := "want " + w.line()
	if w.After != (Key{}) {
		s += " after " + w.After.String()
	}
	return s + word(w.Urgent, " urgent", "") + because(w.Why)
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " because " + why
}

// String names the kind.
func (k Kind) String() string {
	return [...]string{"none", "gate", "address", "hardware address", "sysctl", "route", "neighbour", "rule", "fdb",
		"bridge port", "bond active", "listen", "advertisement", "memo", "bfd session"}[k]
}

// String gives the parts that are set.
func (k Key) String() string {
	s := k.Kind.String()
	if k.Port != "" {
		s += " " + string(k.Port)
	}
	if k.Prefix.IsValid() {
		s += " " + k.Prefix.String()
	}
	if k.Number != 0 {
		s += fmt.Sprintf(" %d", k.Number)
	}
	if !k.MAC.IsZero() {
		s += " " + k.MAC.String()
	}
	if k.Name != "" {
		s += " " + k.Name
	}
	return s
}

func (o Gate) String() string {
	return fmt.Sprintf("port %s %s", o.Port, word(o.Closed, "closed", "open"))
}

// String gives the address as `ip` would.
func (o Address) String() string {
	return fmt.Sprintf("address %s dev %s%s", o.Prefix, o.Port, word(o.NoPrefixRoute, " noprefixroute", ""))
}
func (o HardwareAddress) String() string { return fmt.Sprintf("port %s address %s", o.Port, o.MAC) }
func (o Sysctl) String() string          { return fmt.Sprintf("sysctl %s=%s", o.Path, o.Value) }

// String gives the next hop as `ip` would.
func (n NextHop) String() string {
	if n.Via.IsValid() {
		return fmt.Sprintf("via %s dev %s", n.Via, n.Dev)
	}
	return fmt.Sprintf("dev %s", n.Dev)
}

// Hops lists every next hop of the route.
func (o Route) Hops() []NextHop {
	if o.Blackhole {
		return nil
	}
	return append([]NextHop{o.NextHop}, o.More...)
}

// String gives the route as `ip` would.
func (o Route) String() string {
	var b strings.Builder
	b.WriteString(word(o.Blackhole, "blackhole ", "route "))
	b.WriteString(o.Prefix.String())
	for _, n := range o.Hops() {
		b.WriteString(" " + n.String())
	}
	if o.Table != 0 {
		fmt.Fprintf(&b, " table %d", o.Table)
	}
	if o.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", o.Metric)
	}
	return b.String()
}

// String gives the entry as `ip` would.
func (o Neighbor) String() string {
	return fmt.Sprintf("neighbour %s lladdr %s dev %s", o.Addr, o.MAC, o.Port)
}

// String gives the rule as `ip` would.
func (o Rule) String() string {
	s := fmt.Sprintf("rule %d:", o.Priority)
	if o.IIF != "" {
		s += " iif " + string(o.IIF)
	}
	if o.To.IsValid() {
		s += " to " + o.To.String()
	}
	if o.Blackhole {
		return s + " blackhole"
	}
	s += fmt.Sprintf(" lookup %d", o.Table)
	if o.SuppressPrefixLen >= 0 {
		s += fmt.Sprintf(" suppress_prefixlength %d", o.SuppressPrefixLen)
	}
	return s
}
func (o FDB) String() string {
	return fmt.Sprintf("fdb %s dev %s master %s", o.MAC, o.Port, o.Bridge)
}
func (o BridgePort) String() string {
	return fmt.Sprintf("bridge port %s %s %s %s", o.Port, word(o.Flood, "flood", "no-flood"),
		word(o.Learning, "learning", "no-learning"), word(o.Isolated, "isolated", "not-isolated"))
}
func (o BondActive) String() string { return fmt.Sprintf("bond %s active %s", o.Bond, o.Active) }
func (o Listen) String() string {
	s := fmt.Sprintf("listen %s sample %s", o.Port, [...]string{"none", "few", "all"}[o.Sampling])
	if o.Echo != 0 {
		s += fmt.Sprintf(" echo %d", o.Echo)
	}
	return s + word(o.ARPOnly, " arp only", "") + word(o.Answers, " no requests", "")
}

func (o Memo) String() string { return "memo " + o.Name + ": " + o.Text }

func (o Advertisement) String() string {
	var b strings.Builder
	b.WriteString("advertise " + o.Prefix.String())
	if o.NextHop.IsValid() {
		b.WriteString(" next-hop " + o.NextHop.String())
	}
	if o.HasMED {
		fmt.Fprintf(&b, " med %d", o.MED)
	}
	for _, l := range o.Large {
		b.WriteString(" " + l.String())
	}
	for _, a := range o.Withheld {
		b.WriteString(" not to " + a.String())
	}
	return b.String() + word(o.NoExport, " no-export", "")
}

func (o BFDSession) String() string {
	return fmt.Sprintf("bfd %s dev %s every %s x %d", o.Peer, o.Port, o.Interval, o.Multiplier)
}

func (e SendARP) String() string {
	return fmt.Sprintf("send arp %s on %s to %s: %s is %s, target %s%s%s",
		e.Op, e.Port, e.DstMAC, e.SenderIP, e.SenderMAC, e.TargetIP, word(e.Urgent, " urgent", ""), because(e.Why))
}
func (e SendEcho) String() string {
	return fmt.Sprintf("send echo%s on %s to %s: from %s to %s, %d/%d%s",
		word(e.Loop, " loop", ""), e.Port, e.DstMAC, e.From, e.To, e.Ident, e.Seq, because(e.Why))
}

func (e Resolve) String() string {
	return fmt.Sprintf("resolve %s on %s%s", e.Addr, e.Port, because(e.Why))
}
func (e ResetSession) String() string {
	return fmt.Sprintf("reset session %s%s", e.Peer, because(e.Why))
}

// String names the stage.
func (s Stage) String() string {
	return [...]string{"", "detect", "withdraw", "learn", "advertise", "install", "announce", "close", "open"}[s]
}

func (e Note) String() string {
	s := fmt.Sprintf("note %s: %s%s", e.What, e.Text, because(e.Why))
	if e.Stage != StageNone {
		s += " [" + e.Stage.String() + "]"
	}
	return word(e.Warn, "warn ", "") + s
}
func (e Arm) String() string    { return fmt.Sprintf("arm %s at %s", e.Timer, e.At) }
func (e Disarm) String() string { return "disarm " + e.Timer.String() }

// HostPrefix is the /32 (or /128) of an address.
func HostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

var _ = []Event{Started{}, Snapshot{}, PortChanged{}, AddressChanged{}, RouteChanged{}, NeighborChanged{}, ARPSeen{}, RARPSeen{},
	Flooded{}, DataSeen{}, EchoSeen{}, SessionChanged{}, BFDChanged{}, PathsChanged{}, EndOfRIB{}, EngineState{}, Commanded{}, TimerFired{},
	Applied{}, Failed{}}
var _ = []Effect{Want{}, SendARP{}, SendEcho{}, Resolve{}, ResetSession{}, Note{}, Arm{}, Disarm{}}
var _ = []Object{Gate{}, Address{}, HardwareAddress{}, Sysctl{}, Route{}, Neighbor{}, Rule{}, FDB{}, BridgePort{}, BondActive{},
	Listen{}, Advertisement{}, Memo{}, BFDSession{}}
