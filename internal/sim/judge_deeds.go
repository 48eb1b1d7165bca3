package sim

import (
	"peerless/internal/engine"
	"peerless/internal/leaf"
	"peerless/internal/step"
)

// turn judges the order of one turn's actions: closings go before every withdrawal and deletion, and before the word on an attachment.
func (j *judge) turn(d *daemon, actions []engine.Action) {
	switch d.node.role {
	case gatewayRole:
		j.decisions(d, actions)
		return
	case serverRole:
		return
	case leafRole:
	}
	j.decided(d, actions)
	j.shuts(d, actions)
	cleaned := ""
	for _, urgent := range [...]bool{true, false} {
		for _, a := range actions {
			if a.Urgent != urgent {
				continue
			}
			if n, ok := a.Emit.(step.Note); ok {
				j.note(d, n)
				continue
			}
			if e, ok := a.Emit.(step.SendARP); ok && e.Op == step.ARPNak {
				j.tells(d, e)
				continue
			}
			g, gate := a.Want.Object.(step.Gate)
			if gate && !a.Want.Absent && d.memory.gates[g.Port] != a.Gen {
				d.memory.gates[g.Port] = a.Gen // a retry is the same decision
				j.gate(d.node, g, a.Want)
			}
			if a.Emit == nil {
				j.withdrawals(d, a.Want)
				j.shelf(d, a)
			}
			j.arrivals(d, a.Want)
			switch {
			case a.Emit != nil:
			case gate && g.Closed && !a.Want.Absent && cleaned != "" && !d.memory.drained:
				j.w.fail("close-first", "%s: %s comes after %s", d.node.name, a.Want.Object, cleaned)
			case a.Want.Absent && !gate, j.word(a.Want):
				cleaned = a.Want.Object.String()
				if adv, ok := a.Want.Object.(step.Advertisement); ok {
					delete(d.memory.said, adv.Prefix) // though it may come again before the speaker has carried it out
				}
			}
		}
	}
}

// arrivals notes when a host arrived: the route that it is forwarded by is asked for while the leaf does not stand behind it on that port. One
// that is put back, or asked for again, is none.
func (j *judge) arrivals(d *daemon, w step.Want) {
	m := &d.memory
	switch o := w.Object.(type) {
	case step.Route:
		a, p := o.Prefix.Addr(), o.NextHop.Dev
		switch {
		case !o.Prefix.IsSingleIP() || o.Table >= leaf.StandbyTable:
		case w.Absent && m.stands[a] == p:
			delete(m.stands, a)
		case !w.Absent && m.stands[a] != p:
			m.stands[a], m.arrived[a] = p, j.w.now
		}
	case step.Advertisement:
		if w.Absent {
			delete(m.stands, o.Prefix.Addr())
		}
	}
}

// word reports whether it tells what has become of an attachment.
func (j *judge) word(w step.Want) bool {
	adv, ok := w.Object.(step.Advertisement)
	return ok && !w.Absent && j.w.cfg.attach.Contains(adv.Prefix.Addr())
}

// decided notes what a turn is about before its deeds, of which the urgent ones come first: a drain, a group that opens alone.
func (j *judge) decided(d *daemon, actions []engine.Action) {
	for _, a := range actions {
		if n, ok := a.Emit.(step.Note); ok && n.What == "local-only" {
			j.alone(d)
		}
		if a.Emit == nil {
			j.orders(d, a.Want)
		}
	}
}

func (j *judge) note(d *daemon, n step.Note) {
	switch n.What {
	case "linkage-open":
		d.memory.served, d.memory.alone = true, false
	case "port-opened":
		d.memory.served = d.memory.served || !d.memory.alone
	case "link-silent":
		j.silent(d, n.Port)
		delete(d.memory.asked, n.Port)
	case "linkage-closed":
		d.memory.cut, d.memory.cutAt, d.memory.served = true, j.w.now, false
	case "port-closed":
		if p := d.node.kernel.port(n.Port); p != nil && p.open() {
			j.w.fail("closing-is-verified", "%s takes %s for closed, and it is open", d.node.name, n.Port)
		}
	}
}

// before judges a want that is about to be applied.
func (j *judge) before(n *node, w step.Want) {
	if n.role == leafRole {
		j.beforeLeaf(n, w)
	}
}

func (j *judge) beforeLeaf(n *node, w step.Want) {
	switch o := w.Object.(type) {
	case step.Route:
		if !w.Absent {
			j.leafRoute(n, o)
		}
	case step.Advertisement:
		j.advertisement(n, o, w.Absent)
	}
}

// after notes outcomes. In calm worlds what is lost for the time of one system call counts.
func (j *judge) after(n *node, w step.Want, err error) {
	if j.calm != nil && n.role == gatewayRole {
		j.calm.look()
	}
	r, ok := w.Object.(step.Route)
	if !ok || err != nil {
		return
	}
	switch n.role {
	case leafRole:
		if r.Prefix.Bits() == 0 {
			n.daemon.memory.applied[step.Key{Kind: step.KindRoute}] = !w.Absent
		} else if r.Table >= leaf.StandbyTable {
			return // told of to nobody
		} else if w.Absent {
			delete(n.daemon.memory.routed, r.Prefix.Addr())
		} else {
			n.daemon.memory.routed[r.Prefix.Addr()] = r.NextHop.Dev
		}
	case gatewayRole:
		if w.Absent {
			j.lastPath(n, r)
		}
	case serverRole:
	}
}
