package rtnl

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"peerless/internal/step"
)

// Apply makes the wants true and gives each one's outcome. Ports are closed first, all of them back to back behind one write of
// the state file; the rest is done in order, netlink requests by the chunk.
func (d *Driver) Apply(wants []step.Want) []error {
	errs := make([]error, len(wants))
	d.applyClosings(wants, errs)
	d.remember(wants)
	batch := batch{driver: d, wants: wants, errs: errs}
	for i, w := range wants {
		switch o := w.Object.(type) {
		case step.Gate:
			if !closing(w) {
				batch.flush()
				errs[i] = d.applyGate(o, w.Absent)
			}
		case step.Sysctl:
			if !w.Absent {
				batch.flush()
				errs[i] = writeSysctl(o)
			}
		default:
			batch.add(i)
		}
	}
	batch.flush()
	return errs
}

func closing(w step.Want) bool {
	o, ok := w.Object.(step.Gate)
	return ok && o.Closed && !w.Absent
}

func (d *Driver) applyClosings(wants []step.Want, errs []error) {
	var ports []portAt
	for i, w := range wants {
		if closing(w) {
			ports = append(ports, portAt{port: w.Object.(step.Gate).Port, at: i})
		}
	}
	if len(ports) > 0 {
		restore := d.hush(ports)
		d.gates.closePorts(ports, errs)
		restore()
	}
}

func (d *Driver) applyGate(o step.Gate, absent bool) error {
	if absent {
		d.gates.disown(o.Port)
		return nil
	}
	return d.gates.openPort(o.Port)
}

// batch gathers requests until something must come between.
type batch struct {
	driver *Driver
	wants  []step.Want
	errs   []error
	reqs   []request
	at     []int // index of each request's want
}

func (b *batch) add(i int) {
	req, err := b.driver.request(b.wants[i])
	switch {
	case err != nil:
		b.fail(i, err)
	case req.msg.Header.Type != 0: // else it is so already
		b.reqs, b.at = append(b.reqs, req), append(b.at, i)
	}
}

// flush carries the requests out. Deletions are noted before, since the kernel may tell of what follows from them at once; the rest after.
func (b *batch) flush() {
	var gone, made []step.Want
	for _, i := range b.at {
		if b.wants[i].Absent {
			gone = append(gone, b.wants[i])
		}
	}
	b.driver.told.note(gone)
	for n, err := range b.driver.wants.exchange(b.reqs) {
		switch w := b.wants[b.at[n]]; {
		case err != nil:
			b.fail(b.at[n], err)
		case !w.Absent:
			made = append(made, w)
		}
	}
	b.driver.told.note(made)
	b.reqs, b.at = b.reqs[:0], b.at[:0]
}

// fail records the error, unless the port is missing and so is what shall be absent.
func (b *batch) fail(i int, err error) {
	w := b.wants[i]
	switch {
	case w.Absent && errors.Is(err, unix.ENODEV):
	case w.Absent:
		b.errs[i] = fmt.Errorf("delete %s: %w", w.Object, err)
	default:
		b.errs[i] = fmt.Errorf("set %s: %w", w.Object, err)
	}
}

// request gives the netlink request that makes the want true; none if it is true already.
func (d *Driver) request(w step.Want) (request, error) {
	switch o := w.Object.(type) {
	case step.Route:
		return encodeRoute(o, w.Absent, d.links.index)
	case step.Neighbor:
		return encodeNeighbor(o, w.Absent, d.links.index)
	case step.Rule:
		return encodeRule(o, w.Absent)
	case step.Address:
		return encodeAddress(o, w.Absent, d.links.index)
	case step.FDB:
		return d.requestFDB(o, w.Absent)
	case step.HardwareAddress, step.BridgePort, step.BondActive:
		if w.Absent {
			return request{}, nil // there is always some value: leave it as it is
		}
		return d.requestLink(o)
	}
	return request{}, errors.ErrUnsupported
}

func (d *Driver) requestLink(o step.Object) (request, error) {
	switch o := o.(type) {
	case step.HardwareAddress:
		l, err := readLink(d.reads, o.Port)
		if err != nil || l.mac == o.MAC { // setting it again would empty the port's neighbour table
			return request{}, err
		}
		return encodeHardwareAddress(l.index, o.MAC), nil
	case step.BridgePort:
		i, err := d.links.index(o.Port)
		return encodeBridgePort(i, o), err
	case step.BondActive:
		bond, err := d.links.index(o.Bond)
		if err != nil {
			return request{}, err
		}
		active, err := d.links.index(o.Active)
		return encodeBondActive(bond, active), err
	}
	return request{}, errors.ErrUnsupported
}

// requestFDB deletes the entry from whichever port of the bridge holds it: its identity is the bridge and the MAC.
func (d *Driver) requestFDB(o step.FDB, absent bool) (request, error) {
	if !absent {
		i, err := d.links.index(o.Port)
		return encodeFDB(o.MAC, i, false), err
	}
	bridge, err := d.links.index(o.Bridge)
	if err != nil {
		return request{}, err
	}
	e, found, err := d.readEntry(bridge, o.MAC)
	if err != nil || !found {
		return request{}, err
	}
	return encodeFDB(o.MAC, e.index, true), nil
}

// Emit resolves a neighbour. It reports false for every other effect.
func (d *Driver) Emit(ef step.Effect) (handled bool, err error) {
	o, ok := ef.(step.Resolve)
	if !ok {
		return false, nil
	}
	req, err := encodeResolve(o, d.links.index)
	if err == nil {
		err = d.emits.one(req)
	}
	if err != nil {
		return true, fmt.Errorf("resolve %s on %s: %w", o.Addr, o.Port, err)
	}
	return true, nil
}
