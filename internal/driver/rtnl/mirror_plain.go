package rtnl

import (
	"maps"

	"peerless/internal/model"
	"peerless/internal/step"
)

// plainRoutes are routes of ours that have one next hop, or none: those of the hosts. There are thousands on a port, and the machine
// waits to hear of it, so a port that loses its routes is only noted; they go when they are asked for, or when many may be gone.
type plainRoutes struct {
	routes map[routeKey]plainRoute
	turns  map[model.Port]uint64 // how often a port has lost all its routes
	sweep  int                   // at this size those that are gone are thrown away
}

type plainRoute struct {
	hop       step.NextHop
	turn      uint64 // of its port when it came
	blackhole bool
}

const sweepMin = 1024

func newPlainRoutes() plainRoutes {
	return plainRoutes{routes: map[routeKey]plainRoute{}, turns: map[model.Port]uint64{}, sweep: sweepMin}
}

func (p *plainRoutes) put(key routeKey, r step.Route) {
	p.routes[key] = plainRoute{hop: r.NextHop, turn: p.turns[r.NextHop.Dev], blackhole: r.Blackhole}
	if len(p.routes) >= p.sweep {
		maps.DeleteFunc(p.routes, func(_ routeKey, r plainRoute) bool { return p.gone(r) })
		p.sweep = max(2*len(p.routes), sweepMin)
	}
}

func (p *plainRoutes) get(key routeKey) (step.Route, bool) {
	r, ok := p.routes[key]
	return step.Route{Table: key.table, Prefix: key.prefix, Metric: key.metric, NextHop: r.hop, Blackhole: r.blackhole}, ok && !p.gone(r)
}

func (p *plainRoutes) forget(key routeKey) { delete(p.routes, key) }

// empty says that the kernel has dropped all routes by a port.
func (p *plainRoutes) empty(port model.Port) { p.turns[port]++ }

func (p *plainRoutes) gone(r plainRoute) bool { return r.turn != p.turns[r.hop.Dev] }
