package server

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

// guestAge is how long a guest is remembered. One that is only spoken to answers its leaf's probes well within it.
const guestAge = 10 * time.Minute

// guest is an address behind a member of the bridge that is not of the pair: a virtual machine, a container.
type guest struct {
	addr    netip.Addr
	mac     model.MAC
	port    model.Port
	seen    time.Duration
	asked   time.Duration // when it was asked whether it is still here; zero: it was not, or has answered
	round   uint32        // the newest in which it was announced or asked
	learned string
}

// guestFrom finds the first guest from an address on.
func (m *Machine) guestFrom(a netip.Addr) int {
	i, _ := slices.BinarySearchFunc(m.guests, a, byAddr)
	return i
}

func byAddr(g guest, a netip.Addr) int { return g.addr.Compare(a) }

// listening is a Listen want as it was last asked for.
type listening struct {
	listen step.Listen
	index  int // of the device: a recreated one is listened on anew
}

// guestBridge is the bridge whose members have guests: the device, or the bridge above the bond.
func (m *Machine) guestBridge() model.Port {
	if m.port(m.cfg.Device).Kind == kindBridge {
		return m.cfg.Device
	}
	return m.upper()
}

// isMember reports whether a port may have guests behind it.
func (m *Machine) isMember(p step.PortState) bool {
	bridge := m.guestBridge()
	return p.Present && bridge != "" && p.Master == bridge && p.Port != m.cfg.Device && m.sideOf(p.Port) == nil
}

// syncGuests listens where it is called for and drops the guests that no longer are. Mostly none is: a failover waits for it, so
// they are not gone through one by one to find out.
func (m *Machine) syncGuests() {
	behind := 0
	for _, p := range m.ports {
		if m.isMember(p) {
			behind += m.guestsOn(p.Port)
		}
	}
	if behind < len(m.guests) {
		m.guests = slices.DeleteFunc(m.guests, func(g guest) bool {
			gone := !m.isMember(m.port(g.port))
			if gone {
				m.lose(g, string(g.port)+" is gone")
			}
			return gone
		})
	}
	for _, a := range m.addresses {
		if i, ok := slices.BinarySearchFunc(m.guests, a.Prefix.Addr(), byAddr); ok {
			m.drop(i, "an address of this machine")
		}
	}
	m.syncListening()
}

// syncListening asks for the frames of the pair, for the gateway's answers, and of the guests' ports.
func (m *Machine) syncListening() {
	var wanted []listening
	for _, p := range m.ports {
		switch {
		case m.sideOf(p.Port) != nil && p.Present:
			l := step.Listen{Port: p.Port, Sampling: step.SampleNone, Hosts: m.cfg.MaxGuests}
			if m.asksThrough() {
				l.Echo = echoIdent
			}
			wanted = append(wanted, listening{l, p.Index})
		case m.isMember(p):
			l := step.Listen{Port: p.Port, Sampling: step.SampleAll, Hosts: m.cfg.MaxGuests}
			if m.guestsOn(p.Port) > 0 {
				l.Sampling = step.SampleFew
			}
			wanted = append(wanted, listening{l, p.Index})
		}
	}
	for _, l := range m.listening {
		if !slices.ContainsFunc(wanted, func(w listening) bool { return w.listen.Port == l.listen.Port }) {
			m.want(step.Want{Object: l.listen, Absent: true, Why: "port gone"})
		}
	}
	for _, w := range wanted {
		if !slices.Contains(m.listening, w) {
			m.want(step.Want{Object: w.listen, Why: m.whyListen(w.listen.Port)})
		}
	}
	m.listening = wanted
}

func (m *Machine) whyListen(port model.Port) string {
	if m.sideOf(port) != nil {
		return "the gateway's answers"
	}
	return "guests"
}

func (m *Machine) guestsOn(port model.Port) int { return m.guestCount[port] }

// settled counts a guest on a port, or no longer.
func (m *Machine) settled(port model.Port, by int) {
	if m.guestCount[port] += by; m.guestCount[port] == 0 {
		delete(m.guestCount, port)
	}
}

func (m *Machine) onARP(now model.Instant, e step.ARPSeen) {
	if s := m.sideOf(e.Port); s != nil {
		m.onAnswer(now, s, e)
		m.onElsewhere(e)
		return
	}
	// A sender whose frame bears another source speaks for somebody else; and who takes an answer back tells nothing of himself.
	if e.Op != step.ARPNak && (e.SrcMAC.IsZero() || e.SrcMAC == e.SenderMAC) {
		m.learn(now, guest{addr: e.SenderIP, mac: e.SenderMAC, port: e.Port, seen: now.Mono, learned: "arp"})
	}
}

// onElsewhere forgets a guest whose address somebody on the far side of a link has taken: it moved away, and announcing it
// from here would pull it back. The leaf's own answers for the subnet, which bear the gateway's MAC, say nothing.
func (m *Machine) onElsewhere(e step.ARPSeen) {
	i, ok := slices.BinarySearchFunc(m.guests, e.SenderIP, byAddr)
	if ok && !m.cfg.GatewayMAC.IsZero() && e.SenderMAC != m.guests[i].mac && e.SenderMAC != m.cfg.GatewayMAC {
		m.drop(i, fmt.Sprintf("%s is elsewhere, at %s", e.SenderIP, e.SenderMAC))
		m.syncListening()
	}
}

// onRARP takes a hypervisor's word that a guest's MAC is now behind this port (RFC 903 frames name no address).
func (m *Machine) onRARP(now model.Instant, e step.RARPSeen) {
	if !m.isMember(m.port(e.Port)) {
		return
	}
	for i := range m.guests {
		if g := m.guests[i]; g.mac == e.MAC {
			g.port, g.seen, g.learned = e.Port, now.Mono, "rarp"
			m.learn(now, g)
		}
	}
}

// onData refreshes known guests, and learns one only where its address is of our own subnet: a guest may route for others.
func (m *Machine) onData(now model.Instant, e step.DataSeen) {
	i, known := slices.BinarySearchFunc(m.guests, e.Addr, byAddr)
	if known && m.guests[i].mac == e.MAC || !known && m.onLink(e.Addr) {
		m.learn(now, guest{addr: e.Addr, mac: e.MAC, port: e.Port, seen: now.Mono, learned: "data"})
	}
}

// onLink reports whether the address is in the subnet that the gateway and an address of ours share.
func (m *Machine) onLink(addr netip.Addr) bool {
	return slices.ContainsFunc(m.addresses, func(a step.Address) bool {
		return a.Prefix.Contains(m.cfg.Gateway) && a.Prefix.Contains(addr)
	})
}

func (m *Machine) learn(now model.Instant, g guest) {
	ours := m.isOwn(g.addr) || g.mac == m.device.mac || g.mac == m.cfg.GatewayMAC
	if ours || !m.isMember(m.port(g.port)) || !usableMAC(g.mac) || !m.announceable(g.addr) {
		return
	}
	i, known := slices.BinarySearchFunc(m.guests, g.addr, byAddr)
	if known && m.guests[i].mac == g.mac && m.guests[i].port == g.port {
		m.guests[i].seen = now.Mono
		m.answered(&m.guests[i])
		return
	}
	before := m.guestsOn(g.port)
	if known {
		m.settled(m.guests[i].port, -1)
		m.guests[i] = g
	} else {
		if len(m.guests) >= m.cfg.MaxGuests {
			m.drop(m.oldest(), fmt.Sprintf("more than %d guests: the oldest gives way", m.cfg.MaxGuests))
			i, _ = slices.BinarySearchFunc(m.guests, g.addr, byAddr)
		}
		m.guests = slices.Insert(m.guests, i, g)
	}
	m.settled(g.port, 1)
	m.note(step.Note{What: "guest-learned", Port: g.port, Addr: g.addr, Why: g.learned,
		Text: fmt.Sprintf("guest %s (%s) is behind %s", g.addr, g.mac, g.port)})
	if known || before == 0 { // else nothing changes what is listened to
		m.syncListening()
	}
	if !m.aging {
		m.aging = true
		m.arm(step.Timer{Kind: timerAge}, now.Mono+guestAge)
	}
}

// oldest is the guest that gave no sign for the longest; there is one.
func (m *Machine) oldest() int {
	i := 0
	for j := range m.guests {
		if cmp.Less(m.guests[j].seen, m.guests[i].seen) {
			i = j
		}
	}
	return i
}

func (m *Machine) drop(i int, why string) {
	g := m.guests[i]
	m.guests = slices.Delete(m.guests, i, i+1)
	m.lose(g, why)
}

// lose says that a guest is no longer among them.
func (m *Machine) lose(g guest, why string) {
	m.settled(g.port, -1)
	m.note(step.Note{What: "guest-gone", Port: g.port, Addr: g.addr, Text: fmt.Sprintf("guest %s is forgotten", g.addr), Why: why})
}

func (m *Machine) forget(addr netip.Addr, why string) {
	if i, ok := slices.BinarySearchFunc(m.guests, addr, byAddr); ok {
		m.drop(i, why)
		m.syncListening()
	}
}

func (m *Machine) onAge(now model.Instant) {
	m.aging = false
	m.guests = slices.DeleteFunc(m.guests, func(g guest) bool {
		gone := now.Mono-g.seen >= guestAge
		if gone {
			m.lose(g, "no sign of it for "+guestAge.String())
		}
		return gone
	})
	m.syncListening()
	if len(m.guests) > 0 {
		m.aging = true
		m.arm(step.Timer{Kind: timerAge}, m.guests[m.oldest()].seen+guestAge)
	}
}
