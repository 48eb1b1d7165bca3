package rtnl

import (
	"slices"

	"peerless/internal/model"
	"peerless/internal/step"
)

// keepRoute takes one route of a dump. Of several with one identity the kernel uses, and lists, the first first.
func (m *mirror) keepRoute(r route) {
	s := m.routeState(r)
	if _, known := m.known(keyOf(s)); !known && (s.Ours || m.scope.watches(s)) {
		m.put(s, r.object)
	}
}

func (m *mirror) put(s step.RouteState, object uint32) {
	key := keyOf(s)
	m.forget(key)
	switch {
	case s.Ours && object == 0 && isPlain(s.Route):
		m.plain.put(key, s.Route)
		return
	case object != 0:
		m.objects[key] = object
	}
	m.routes[key] = s
}

func (m *mirror) forget(key routeKey) {
	delete(m.routes, key)
	delete(m.objects, key)
	m.plain.forget(key)
}

// known gives a route as the kernel has it by all that was heard.
func (m *mirror) known(key routeKey) (step.RouteState, bool) {
	if r, ok := m.routes[key]; ok {
		return r, true
	}
	r, ok := m.plain.get(key)
	if !ok {
		return step.RouteState{}, false
	}
	l, _ := m.links.named(r.NextHop.Dev)
	return step.RouteState{Route: r, Present: true, Ours: true, Protocol: mark, LinkDown: !r.Blackhole && !(l.adminUp && l.carrier)}, true
}

func keyOf(r step.RouteState) routeKey { return routeKey{r.Table, r.Prefix, r.Metric} }

// onRoute keeps our routes and the watched ones, and tells what others did to them. A route that was added beside one of the
// same identity, not in its place, is of no effect yet and ignored.
func (m *mirror) onRoute(r route, present, replaced bool) []step.Event {
	now := m.routeState(r)
	now.Present = present
	last, known := m.known(keyOf(now))
	other := known && last.Protocol != now.Protocol
	told := now.Ours || m.scope.watches(now)
	switch {
	case !present && (!known || other), present && other && !replaced:
		return nil
	case present && told:
		m.put(now, r.object)
	default: // deleted, or replaced by one that is of no concern
		m.forget(keyOf(now))
	}
	var events []step.Event
	if present && other && last.Ours {
		last.Present = false
		events = append(events, step.RouteChanged{RouteState: last})
	}
	if told && (!known || !sameRoute(last, now)) {
		events = append(events, step.RouteChanged{RouteState: now})
	}
	return events
}

func (m *mirror) routeState(r route) step.RouteState {
	s := step.RouteState{
		Route:    step.Route{Table: tableNumber(r.table), Prefix: r.prefix, Metric: r.metric, Blackhole: r.blackhole},
		Present:  true,
		Ours:     r.protocol == mark,
		Protocol: r.protocol,
		LinkDown: len(r.hops) > 0 && !slices.ContainsFunc(r.hops, func(h hop) bool { return !h.down }),
	}
	for i, h := range r.hops {
		next := step.NextHop{Dev: m.links.name(h.index), Via: h.via}
		if i == 0 {
			s.NextHop = next
		} else {
			s.More = append(s.More, next)
		}
	}
	return s
}

func sameRoute(a, b step.RouteState) bool {
	return a.Present == b.Present && a.Ours == b.Ours && a.Protocol == b.Protocol && a.LinkDown == b.LinkDown &&
		a.Blackhole == b.Blackhole && a.NextHop == b.NextHop && slices.Equal(a.More, b.More)
}

// onNexthopGone does what the kernel does without a word when somebody deletes a nexthop object: every route by it is gone. FRR's
// zebra deletes those of its earlier life when it starts.
func (m *mirror) onNexthopGone(id uint32) []step.Event {
	var gone []step.RouteState
	for key, object := range m.objects {
		if object == id {
			r := m.routes[key]
			r.Present = false
			gone = append(gone, r)
			m.forget(key)
		}
	}
	return toldInOrder(gone)
}

// toldInOrder makes events of routes that changed.
func toldInOrder(changed []step.RouteState) []step.Event {
	slices.SortFunc(changed, compareRoutes)
	events := make([]step.Event, len(changed))
	for i, r := range changed {
		events[i] = step.RouteChanged{RouteState: r}
	}
	return events
}

// followPort does what the kernel does without a word when a port changes: routes whose every next hop is on a closed or missing
// port are gone, those without a carrier are flagged. A nexthop object, such as FRR uses, is gone with the carrier already, and
// the carrier's return does not bring it back. A port that lost its last address is emptied as if closed. Our own routes
// vanish here in silence, too: the machine knows that a closed port loses its state, and tells it again when the port opens.
func (m *mirror) followPort(port model.Port, emptied bool) []step.Event {
	if l, ok := m.links.named(port); !ok || !l.adminUp || emptied {
		m.plain.empty(port)
	}
	var changed []step.RouteState
	for key, r := range m.routes {
		hops := r.Hops()
		if !slices.ContainsFunc(hops, func(h step.NextHop) bool { return h.Dev == port }) {
			continue
		}
		gone, flagged := true, true
		var left []step.NextHop
		for _, h := range hops {
			l, ok := m.links.named(h.Dev)
			closed := !ok || !l.adminUp || emptied && h.Dev == port || m.objects[key] != 0 && !l.carrier
			gone = gone && closed
			flagged = flagged && (closed || !l.carrier)
			if !closed {
				left = append(left, h)
			}
		}
		switch {
		case gone:
			m.forget(key)
			r.Present = false
		case m.objects[key] != 0 && len(left) < len(hops):
			r.NextHop, r.More = left[0], left[1:]
			m.routes[key] = r
		case flagged == r.LinkDown:
			continue
		default:
			r.LinkDown = flagged
			m.routes[key] = r
		}
		if !r.Ours {
			changed = append(changed, r)
		}
	}
	return toldInOrder(changed)
}
