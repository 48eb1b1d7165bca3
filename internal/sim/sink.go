package sim

import (
	"errors"
	"slices"
	"strings"
	"time"

	"peerless/internal/model"
	"peerless/internal/step"
)

var (
	errBusy     = errors.New("device or resource busy")
	errNoBufs   = errors.New("no buffer space available")
	errTimeout  = errors.New("timed out")
	errExists   = errors.New("file exists")
	errNoDevice = errors.New("no such device")
	errNetDown  = errors.New("network is down")
	errOperator = errors.New("closed by the operator")
	errInvalid  = errors.New("invalid argument")
)

// trouble makes effects of a node fail for a while.
type trouble struct {
	until   time.Duration
	percent int
}

// apply is what the kernel driver does with a want. In trouble it fails; a timeout may hide that it was done all the same.
func (k *kernel) apply(w step.Want) error {
	n := k.node
	if n.w.now < n.trouble.until && chance(n.w.rng, n.trouble.percent) {
		err := pick(n.w.rng, errBusy, errNoBufs, errTimeout, errExists)
		if errors.Is(err, errTimeout) && chance(n.w.rng, 50) {
			_ = k.carryOut(w) // done, and nobody was told
		}
		return err
	}
	return k.carryOut(w)
}

func (k *kernel) carryOut(w step.Want) error {
	k.remember(w)
	switch o := w.Object.(type) {
	case step.Gate:
		return k.gate(o, w.Absent)
	case step.Sysctl:
		k.sysctl[o.Path] = o.Value
		if strings.HasSuffix(o.Path, "linkdown") {
			k.node.w.judge.touchAll()
		}
	case step.Route:
		return k.applyRoute(o, w.Absent)
	case step.Rule:
		if w.Absent {
			k.removeRule(o)
		} else {
			k.addRule(o)
		}
	case step.Neighbor:
		return k.applyNeighbor(o, w.Absent)
	case step.Address:
		return k.applyAddress(o, w.Absent)
	case step.HardwareAddress:
		return k.applyMAC(o, w.Absent)
	case step.Memo:
		if w.Absent {
			delete(k.memos, o.Name)
		} else {
			k.memos[o.Name] = o.Text
		}
	case step.FDB, step.BridgePort, step.BondActive:
		return k.applyPair(o, w.Absent)
	}
	return nil
}

func (k *kernel) applyRoute(r step.Route, absent bool) error {
	if absent {
		k.remove(r)
		return nil
	}
	for _, h := range r.Hops() {
		p := k.port(h.Dev)
		switch {
		case p == nil:
			return errNoDevice
		case !p.adminUp:
			return errNetDown
		}
	}
	k.set(r, true)
	return nil
}

func (k *kernel) applyNeighbor(o step.Neighbor, absent bool) error {
	p := k.port(o.Port)
	key := neighKey{o.Port, o.Addr}
	switch {
	case absent:
		delete(k.neigh, key)
	case p == nil:
		return errNoDevice
	case !p.adminUp:
		return errNetDown
	default:
		k.neigh[key] = &neigh{mac: o.MAC, ours: true, resolved: true}
	}
	k.node.w.judge.touch(step.HostPrefix(o.Addr))
	return nil
}

func (k *kernel) applyAddress(o step.Address, absent bool) error {
	p := k.port(o.Port)
	if p == nil {
		if absent {
			return nil
		}
		return errNoDevice
	}
	p.addrs = slices.DeleteFunc(p.addrs, func(a step.Address) bool { return a.Prefix == o.Prefix })
	if !absent {
		p.addrs = append(p.addrs, o)
	}
	k.node.w.judge.touchAll()
	return nil
}

// applyMAC empties the port's neighbour table, as the kernel does, if the address is another one.
func (k *kernel) applyMAC(o step.HardwareAddress, absent bool) error {
	p := k.port(o.Port)
	switch {
	case p == nil:
		return errNoDevice
	case absent || p.mac == o.MAC:
		return nil
	}
	p.mac = o.MAC
	for key := range k.neigh {
		if key.port == p.name {
			delete(k.neigh, key)
		}
	}
	k.node.w.judge.touchAll()
	k.node.tellPort(p)
	return nil
}

// applyPair sets what chooses a server's way out.
func (k *kernel) applyPair(o step.Object, absent bool) error {
	s := k.node.server
	defer k.node.w.judge.touchAll()
	switch o := o.(type) {
	case step.FDB:
		switch {
		case absent:
			delete(k.fdb, o.MAC)
		case k.port(o.Port) == nil:
			return errNoDevice
		default:
			if k.fdb[o.MAC] != o.Port && s != nil {
				s.usedAt = k.node.w.now
			}
			k.fdb[o.MAC] = o.Port
		}
	case step.BridgePort:
		if p := k.port(o.Port); p != nil && !absent {
			p.flags = o
		}
	case step.BondActive:
		p := k.port(o.Active)
		if absent || s == nil {
			return nil
		}
		if p == nil || !p.up() {
			return errInvalid // the bond has not seen the link come up yet
		}
		s.take(o.Active)
	}
	return nil
}

// gate is the driver's closing and opening of ports: only what is open becomes ours, only what is ours is opened.
func (k *kernel) gate(o step.Gate, absent bool) error {
	p := k.port(o.Port)
	switch {
	case absent:
		delete(k.ours, o.Port)
		return nil
	case p == nil:
		return errNoDevice
	case o.Closed && !p.open():
		return nil // closed already, by whomever; it does not become ours
	case o.Closed:
		k.ours[o.Port] = true
		k.setPort(p, false)
		return nil
	case p.open():
		delete(k.ours, o.Port)
		return nil
	case !k.ours[o.Port]:
		return errOperator
	}
	delete(k.ours, o.Port)
	k.setPort(p, true)
	if p.operator && p.open() {
		k.node.w.fail("operator-closed-stays", "%s opens %s, which the operator closed", k.node.name, o.Port)
	}
	return nil
}

// setPort is how the node closes and opens ports: by protodown where its driver has it, else by admin-down.
func (k *kernel) setPort(p *port, up bool) {
	if k.node.protoDown {
		p.protoDown, p.changedAt = !up, k.node.w.now
		p.link.changed()
		k.node.tellPort(p)
		return
	}
	k.setAdmin(p, up)
}

// setAdmin sets a port up or down, whoever asks for it.
func (k *kernel) setAdmin(p *port, up bool) {
	if p.adminUp == up {
		return
	}
	p.adminUp, p.changedAt = up, k.node.w.now
	if !up {
		p.seen = false
		k.adminDown(p)
	}
	if p.link != nil {
		p.link.changed()
	} else {
		p.changed()
	}
	k.node.tellPort(p)
}

// portState is what the kernel says of a port now.
func (k *kernel) portState(p *port) step.PortState {
	return step.PortState{Port: p.name, Index: p.index, Present: true, AdminUp: p.adminUp, Carrier: p.seen && p.adminUp, ProtoDown: p.protoDown,
		Ours: k.ours[p.name] && !p.open(), MAC: p.mac, Master: p.master, Kind: k.kindOf(p.name)}
}

func (k *kernel) kindOf(name model.Port) string {
	s := k.node.server
	switch {
	case s == nil:
	case name == s.device:
		return s.kind
	case name == s.guestBridge():
		return "bridge"
	}
	return "veth"
}
