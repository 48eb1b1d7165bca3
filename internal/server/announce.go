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

// portion is how many announcements follow at a time, and portionPause how long after one another.
const (
	portion      = 32
	portionPause = 2 * time.Millisecond
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
	list := m.own(len(m.guests))
	for g := range m.present() {
		list = append(list, m.hostOf(g))
	}
	return list
}

// own lists this machine's addresses; there will be room for more.
func (m *Machine) own(more int) []host {
	list := make([]host, 0, len(m.addresses)+more)
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

// round is what a round of announcements comes to.
type round struct{ told, asked int }

// String tells it to people.
func (r round) String() string {
	s := fmt.Sprintf("announced %d addresses", r.told)
	if r.told == 1 {
		s = "announced 1 address"
	}
	if r.asked > 0 {
		s += fmt.Sprintf(", asks %d more first", r.asked)
	}
	return s
}

// audience lists who is announced, and behind them who is asked first: in a repetition all guests. A failover waits for it.
func (m *Machine) audience(again bool) (hosts []host, told int) {
	hosts = m.own(len(m.guests))
	for _, ask := range []bool{false, true} {
		for g := range m.present() {
			if (again || m.now-g.seen > lately) == ask {
				h := m.hostOf(g)
				h.ask = ask
				hosts = append(hosts, h)
			}
		}
		if !ask {
			told = len(hosts)
		}
	}
	return hosts, told
}

// announceAll announces every address straight out of the link, past bridge and bond, and says how many. The first ones
// are urgent: they tell the leaf that this server has come, and what the leaf has to do takes longer than anything here. The rest
// follows in portions that no port has to drop.
func (m *Machine) announceAll(r model.Role, why string, again bool) round {
	s := m.side(r)
	if r == model.RoleUnknown || !s.up {
		return round{}
	}
	hosts, told := m.audience(again)
	first := min(len(hosts), urgentMax)
	if len(m.rest) > 0 {
		m.disarm(step.Timer{Kind: timerMore})
	}
	m.rest, m.roundPort, m.roundWhy = hosts[first:], s.port, why
	for _, h := range hosts[:first] {
		m.announce(s.port, h, true, why)
	}
	m.armMore()
	return round{told: told, asked: len(hosts) - told}
}

func (m *Machine) armMore() {
	if len(m.rest) > 0 {
		m.arm(step.Timer{Kind: timerMore}, m.now+portionPause)
	}
}

// announceMore sends the next portion, as long as the link is there.
func (m *Machine) announceMore() {
	if s := m.sideOf(m.roundPort); s == nil || !s.up {
		m.rest = nil
		return
	}
	n := min(len(m.rest), portion)
	for _, h := range m.rest[:n] {
		m.announce(m.roundPort, h, false, m.roundWhy)
	}
	m.rest = m.rest[n:]
	m.armMore()
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
	if s := m.sideOf(m.roundPort); asked != 0 && m.now-asked <= answerMax && s != nil && s.up && m.device.there {
		m.announce(m.roundPort, m.hostOf(g), false, m.roundWhy)
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
	if len(m.rest) == 0 { // else the round before is still under way
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
	for _, h := range m.own(0) {
		if h.addr == addr {
			m.announce(m.side(active).port, h, false, "new address")
		}
	}
}
