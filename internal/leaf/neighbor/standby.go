package neighbor

import (
	"net/netip"

	"peerless/internal/model"
)

// Whoever is remembered of a port's server, and not there now, stands by: he is taken with the first of that server who turns up.

// review looks whether an entry has begun or ceased to stand by.
func (t *Table) review(e *entry) {
	now := e.State == Target && e.kin && !e.Static
	if now == e.standby {
		return
	}
	p := t.ports[e.Port]
	if e.standby = now; now {
		p.standby++
	} else {
		p.standby--
	}
	t.turn(e)
}

// turn has it looked at what whoever stands by is to have in the kernel.
func (t *Table) turn(e *entry) {
	p := t.ports[e.Port]
	p.turned = append(p.turned, e.Addr)
	t.turned = true
}

// StandsBy reports whether an address stands by on a port.
func (t *Table) StandsBy(port model.Port, addr netip.Addr) bool {
	e := t.entries[place{port, addr}]
	return e != nil && e.standby
}

// Standby lists who stands by on a port, by address.
func (t *Table) Standby(port model.Port) []netip.Addr {
	p := t.ports[port]
	list := make([]netip.Addr, 0, p.standby)
	for _, e := range t.sorted(p) {
		if e.standby {
			list = append(list, e.Addr)
		}
	}
	return list
}

// StandbyCount is the number of those who stand by on a port.
func (t *Table) StandbyCount(port model.Port) int { return t.ports[port].standby }

// HaveTurned reports, once, whether anybody on any port has begun or ceased to stand by.
func (t *Table) HaveTurned() bool {
	was := t.turned
	t.turned = false
	return was
}

// Turned gives, once, who has begun or ceased to stand by on a port; some may be named twice.
func (t *Table) Turned(port model.Port) []netip.Addr {
	p := t.ports[port]
	list := p.turned
	p.turned = nil
	return list
}

// room is how many hosts may be installed on a port that were not heard there.
func (p *portTable) room() int { return p.max - (p.max+3)/4 }

// Room is how many hosts may stand by for a port and be taken together.
func (t *Table) Room(port model.Port) int { return t.ports[port].room() }
