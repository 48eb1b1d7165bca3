package server

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

func compareAddress(a, b step.Address) int {
	return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(a.Port, b.Port))
}

// urgentMax is how many announcements go before the kernel is asked to send by the new link; each takes some microseconds.
const urgentMax = 16

// portion is how many announcements follow at a time, and portionPause how long after one another. For each, so many guests are looked at
// at most.
const (
	portion      = 32
	portionPause = 2 * time.Millisecond
	looksFor     = 64
)

// A guest may leave without a word to us, and to announce one that has left takes it from where it is now. So the first announcement of a
// move is for those that gave a sign within lately, which is often enough for whoever answers its leaf's probes; the others are asked,
// and so is everybody before a repetition: who answers within answerMax is announced at that moment.
const (
	lately    = 3 * time.Second
	answerMax = 250 * time.Millisecond
)

// announceable reports whether an address may be said to be here: a unicast IPv4 address of more than this link or
// machine, and never the gateway's (announce-the-truth).
func (m *Machine) announceable(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && a != m.cfg.Gateway
}

// upper is the bridge above a bond, empty if there is none: there the machine has its addresses, and its guests are.
func (m *Machine) upper() model.Port {
	dev := m.port(m.cfg.Device)
	if up := m.port(dev.Master); dev.Kind == kindBond && up.Present && up.Kind == kindBridge {
		return up.Port
	}
	return ""
}

// host is one address that is reached over the pair.
type host struct {
	addr netip.Addr
	mac  model.MAC
	port model.Port // where it is: the device, or a guest's port
	own  bool
	ask  bool // it has to answer before it is announced
}

// hosts lists every address that may be announced: our own, then the guests', each by address.
func (m *Machine) hosts() []host {
	list := slices.Grow(m.own(), len(m.guests))
	for g := range m.present() {
		list = append(list, m.hostOf(g))
	}
	return list
}

// own lists this machine's addresses.
func (m *Machine) own() []host {
	list := make([]host, 0, len(m.addresses))
	upper := m.upper()
	for _, a := range m.addresses {
		addr := a.Prefix.Addr()
		if a.Port != m.cfg.Device && (upper == "" || a.Port != upper) || !m.announceable(addr) {
			continue
		}
		if n := len(list); n > 0 && list[n-1].addr == addr {
			continue
		}
		if mac := m.port(a.Port).MAC; usableMAC(mac) {
			list = append(list, host{addr: addr, mac: mac, port: a.Port, own: true})
		}
	}
	return list
}

// present gives the guests whose port is up.
func (m *Machine) present() iter.Seq[*guest] {
	return func(yield func(*guest) bool) {
		var port step.PortState // most are behind the same few
		for i := range m.guests {
			g := &m.guests[i]
			if i == 0 || port.Port != g.port {
				port = m.port(g.port)
			}
			if port.Up() && !yield(g) {
				return
			}
		}
	}
}

func (m *Machine) hostOf(g *guest) host { return host{addr: g.addr, mac: g.mac, port: g.port} }

func usableMAC(m model.MAC) bool { return !m.IsZero() && !m.IsGroup() }

// isOwn reports whether the address is one of this machine's, wherever it is.
func (m *Machine) isOwn(addr netip.Addr) bool {
	for _, a := range m.addresses {
		if a.Prefix.Addr() == addr {
			return true
		}
	}
	return false
}

// round is a round of announcements: every address is told by one link, straight out of its port. It goes through our own addresses, then
// through the guests that gave a sign lately, then through the others. It keeps its place and no list: a failover waits for its first step.
type round struct {
	number  uint32
	port    model.Port
	why     string
	running bool
	own     int           // how many of our own are told
	since   time.Duration // guests that gave no sign since then are asked first
	asking  bool          // it is at those
	next    netip.Addr    // the guest with which it goes on
}

// tally is what a round comes to. Of many guests it is not counted how many are asked first.
type tally struct {
	all, asked int
	some       bool // that was not counted
}

func (t tally) told() int { return t.all - t.asked }

// String tells it to people.
func (t tally) String() string {
	if t.some {
		return fmt.Sprintf("announcing %d addresses", t.all)
	}
	s := fmt.Sprintf("announced %d addresses", t.told())
	if t.told() == 1 {
		s = "announced 1 address"
	}
	if t.asked > 0 {
		s += fmt.Sprintf(", asks %d more first", t.asked)
	}
	return s
}

// countMax is of how many guests the tally says who is asked first.
const countMax = 1024

func (m *Machine) tally(own int) (t tally) {
	t.all = own
	for _, p := range m.ports {
		if p.Up() {
			t.all += m.guestsOn(p.Port)
		}
	}
	if t.some = len(m.guests) > countMax; t.some {
		return t
	}
	for g := range m.present() {
		if g.seen < m.round.since {
			t.asked++
		}
	}
	return t
}

// announceAll begins a round and says how many it will tell; again: a repetition, in which all guests are asked. The first announcements are
// urgent: they tell the leaf that this server has come, and what the leaf has to do takes longer than anything here. The rest
// follows in portions that no port has to drop.
func (m *Machine) announceAll(r model.Role, why string, again bool) tally {
	s := m.side(r)
	if r == model.RoleUnknown || !s.up {
		return tally{}
	}
	if m.round.running {
		m.disarm(step.Timer{Kind: timerMore})
	}
	m.round = round{number: m.round.number + 1, port: s.port, why: why, running: true, since: m.now - lately}
	if again {
		m.round.since = m.now + 1
	}
	own := m.own()
	t := m.tally(len(own))
	m.tell(own, urgentMax, true)
	return t
}

// announceMore tells the next portion, as long as the link is there.
func (m *Machine) announceMore() {
	if s := m.sideOf(m.round.port); s == nil || !s.up {
		m.round.running = false
	}
	if m.round.running {
		m.tell(m.own(), portion, false)
	}
}

// tell goes on with the round for so many addresses, and looks at so many times more at most.
func (m *Machine) tell(own []host, n int, urgent bool) {
	r := &m.round
	for ; n > 0 && r.own < len(own); n-- {
		m.announce(r.port, own[r.own], urgent, r.why)
		r.own++
	}
	var port step.PortState // most are behind the same few
	i := m.guestFrom(r.next)
	for looks := looksFor * n; ; looks-- {
		if i == len(m.guests) {
			if r.asking {
				r.running = false
				return
			}
			r.asking, i = true, 0
			continue
		}
		g := &m.guests[i]
		if n == 0 || looks <= 0 {
			r.next = g.addr
			break
		}
		i++
		if port.Port != g.port {
			port = m.port(g.port)
		}
		ask := g.seen < r.since
		if !port.Up() || g.round == r.number || ask && !r.asking {
			continue
		}
		g.round = r.number
		h := m.hostOf(g)
		h.ask = ask
		m.announce(r.port, h, urgent, r.why)
		n--
	}
	m.arm(step.Timer{Kind: timerMore}, m.now+portionPause)
}

// ask asks a guest whether it is still here: straight out of its port, where nobody else can answer.
func (m *Machine) ask(h host) {
	i, ok := slices.BinarySearchFunc(m.guests, h.addr, byAddr)
	if !ok || m.guests[i].mac != h.mac || m.guests[i].port != h.port {
		return // it changed since the round began, and whatever comes now is a sign of its own
	}
	m.guests[i].asked = m.now
	from, mac, ok := m.asker()
	if !ok {
		from, mac = netip.IPv4Unspecified(), m.device.mac
	}
	m.out = append(m.out, step.SendARP{
		Port: h.port, Op: step.ARPRequest, DstMAC: h.mac, SenderMAC: mac, SenderIP: from, TargetMAC: h.mac, TargetIP: h.addr, Why: "is it still here",
	})
}

// answered announces a guest that was asked, and is here. What it sent before it was asked says nothing.
func (m *Machine) answered(g *guest) {
	asked := g.asked
	g.asked = 0
	if s := m.sideOf(m.round.port); asked != 0 && m.now-asked <= answerMax && s != nil && s.up && m.device.there {
		m.announce(m.round.port, m.hostOf(g), false, m.round.why)
	}
}

// announce sends an ARP announcement (RFC 5227 section 2.3): a request, sender and target being the address itself.
func (m *Machine) announce(port model.Port, h host, urgent bool, why string) {
	if h.ask {
		m.ask(h)
		return
	}
	m.out = append(m.out, step.SendARP{
		Port: port, Op: step.ARPRequest, DstMAC: model.Broadcast, SenderMAC: h.mac, SenderIP: h.addr, TargetIP: h.addr, Urgent: urgent, Why: why,
	})
}

// repeat arms the next repetition of the newest move's announcements. The first was at once, whatever the list says.
func (m *Machine) repeat() {
	for ; m.move.next < len(m.cfg.Announce); m.move.next++ {
		if after := m.cfg.Announce[m.move.next]; after > 0 {
			m.move.next++
			m.move.repeating = true
			m.arm(step.Timer{Kind: timerAnnounce}, m.move.at+after)
			return
		}
	}
	m.move.repeating = false
}

func (m *Machine) onAnnounce() {
	if !m.move.repeating || !m.device.there {
		return
	}
	if !m.round.running { // else the round before is still under way
		m.announceAll(m.pair.Active(), "again", true)
	}
	m.repeat()
}

// announceAgain starts the announcements anew where the move is not what calls for them.
func (m *Machine) announceAgain(now model.Instant, why string) {
	active := m.pair.Active()
	if active == model.RoleUnknown || !m.side(active).up || m.pair.Target() != model.RoleUnknown {
		return
	}
	m.move.at, m.move.next = now.Mono, 0
	m.announceAll(active, why, false)
	m.repeat()
}

func (m *Machine) stopAnnouncing() {
	if m.move.repeating {
		m.move.repeating = false
		m.disarm(step.Timer{Kind: timerAnnounce})
	}
}

// onAddress follows our own addresses; a new one is announced, since the kernel need not (net.ipv4 arp_notify).
func (m *Machine) onAddress(e step.AddressChanged) {
	i := 0
	for i < len(m.addresses) && compareAddress(m.addresses[i], e.Address) < 0 {
		i++
	}
	known := i < len(m.addresses) && compareAddress(m.addresses[i], e.Address) == 0
	switch {
	case known && !e.Present:
		m.addresses = append(m.addresses[:i], m.addresses[i+1:]...)
		return
	case known || !e.Present:
		return
	}
	m.addresses = append(m.addresses[:i], append([]step.Address{e.Address}, m.addresses[i:]...)...)
	addr := e.Prefix.Addr()
	m.forget(addr, "an address of this machine")
	active := m.pair.Active()
	if active == model.RoleUnknown || !m.side(active).up {
		return
	}
	for _, h := range m.own() {
		if h.addr == addr {
			m.announce(m.side(active).port, h, false, "new address")
		}
	}
}
