package rtnl

import (
	"maps"
	"net/netip"

	"peerless/internal/model"
	"peerless/internal/step"
)

// plainRoutes are IPv4 routes of ours that have one next hop, or none: those of the hosts. There are thousands on a port, and the machine
// waits to hear of it, so a port that loses its routes is only noted; they go when they are asked for, or when many may be gone. They are
// kept small: a gateway has three for each host.
type plainRoutes struct {
	routes map[plainKey]plainRoute
	hops   []plainHop // where any of them leads
	places map[plainHop]uint32
	turns  map[model.Port]uint32 // how often a port has lost all its routes
	sweep  int                   // at this size those that are gone are thrown away
}

type plainKey struct {
	addr          [4]byte
	table, metric uint32
	bits          uint8
}

type plainRoute struct {
	hop  uint32 // in hops
	turn uint32 // of its port when it came
}

type plainHop struct {
	step.NextHop
	blackhole bool
}

const sweepMin = 1024

func newPlainRoutes() plainRoutes {
	return plainRoutes{routes: map[plainKey]plainRoute{}, places: map[plainHop]uint32{}, turns: map[model.Port]uint32{}, sweep: sweepMin}
}

func isPlain(r step.Route) bool { return r.Prefix.Addr().Is4() && len(r.More) == 0 }

func plain(key routeKey) plainKey {
	if !key.prefix.Addr().Is4() {
		return plainKey{bits: 255} // nobody's
	}
	return plainKey{key.prefix.Addr().As4(), key.table, key.metric, uint8(key.prefix.Bits())}
}

func (k plainKey) full() routeKey {
	return routeKey{k.table, netip.PrefixFrom(netip.AddrFrom4(k.addr), int(k.bits)), k.metric}
}

func (p *plainRoutes) put(key routeKey, r step.Route) {
	hop := plainHop{r.NextHop, r.Blackhole}
	place, ok := p.places[hop]
	if !ok {
		place = uint32(len(p.hops))
		p.hops, p.places[hop] = append(p.hops, hop), place
	}
	p.routes[plain(key)] = plainRoute{place, p.turns[hop.Dev]}
	if len(p.routes) >= p.sweep {
		maps.DeleteFunc(p.routes, func(_ plainKey, r plainRoute) bool { return p.gone(r) })
		p.sweep = max(2*len(p.routes), sweepMin)
	}
}

func (p *plainRoutes) get(key routeKey) (step.Route, bool) {
	r, ok := p.routes[plain(key)]
	if !ok || p.gone(r) {
		return step.Route{}, false
	}
	hop := p.hops[r.hop]
	return step.Route{Table: key.table, Prefix: key.prefix, Metric: key.metric, NextHop: hop.NextHop, Blackhole: hop.blackhole}, true
}

func (p *plainRoutes) forget(key routeKey) { delete(p.routes, plain(key)) }

// empty says that the kernel has dropped all routes by a port.
func (p *plainRoutes) empty(port model.Port) { p.turns[port]++ }

func (p *plainRoutes) gone(r plainRoute) bool { return r.turn != p.turns[p.hops[r.hop].Dev] }
