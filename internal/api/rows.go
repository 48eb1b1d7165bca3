package api

import (
	"net/netip"

	"peerless/internal/model"
	"peerless/internal/step"
)

// list makes an absent list an empty one: a reader of JSON must never meet null where a list is promised.
func list[T any](rows []T) []T {
	if rows == nil {
		return []T{}
	}
	return rows
}

// whole fills every list of a view. The rows are the view's own copies.
func whole(v step.View) step.View {
	v.Ports, v.Hosts, v.Linkage = list(v.Ports), list(v.Hosts), list(v.Linkage)
	v.Mapping, v.Sessions = list(v.Mapping), list(v.Sessions)
	for i := range v.Linkage {
		r := &v.Linkage[i]
		for _, ports := range []*[]model.Port{&r.Uplinks, &r.Downlinks, &r.ClosedByUs, &r.OperatorOff} {
			*ports = list(*ports)
		}
	}
	for i := range v.Mapping {
		v.Mapping[i].Hosts = list[netip.Addr](v.Mapping[i].Hosts)
	}
	if v.Drain != nil {
		v.Drain.Ports = list(v.Drain.Ports)
		for i := range v.Drain.Ports {
			v.Drain.Ports[i].Hosts = list(v.Drain.Ports[i].Hosts)
		}
	}
	return v
}
