package sim

import (
	"fmt"
	"maps"
	"slices"

	"peerless/internal/model"
	"peerless/internal/step"
)

// before is the record of what was overwritten, as internal/driver/rtnl keeps it: the first value, and whether there was any.
type before struct {
	sysctl map[string]string
	mac    map[model.Port]model.MAC
	addr   map[model.Port][]step.Address // that were not there
	flags  map[model.Port]step.BridgePort
	fdb    map[model.MAC]model.Port
}

func newBefore() before {
	return before{sysctl: map[string]string{}, mac: map[model.Port]model.MAC{}, addr: map[model.Port][]step.Address{},
		flags: map[model.Port]step.BridgePort{}, fdb: map[model.MAC]model.Port{}}
}

func first[K comparable, V any](m map[K]V, k K, v V) {
	if _, known := m[k]; !known {
		m[k] = v
	}
}

// remember looks at what a want is about to change.
func (k *kernel) remember(w step.Want) {
	if w.Absent {
		return
	}
	b := &k.before
	switch o := w.Object.(type) {
	case step.Sysctl:
		first(b.sysctl, o.Path, k.sysctl[o.Path])
	case step.HardwareAddress:
		if p := k.port(o.Port); p != nil {
			first(b.mac, o.Port, p.mac)
		}
	case step.Address:
		if p := k.port(o.Port); p != nil && !slices.ContainsFunc(p.addrs, func(a step.Address) bool { return a.Prefix == o.Prefix }) &&
			!slices.Contains(b.addr[o.Port], o) {
			b.addr[o.Port] = append(b.addr[o.Port], o)
		}
	case step.BridgePort:
		if p := k.port(o.Port); p != nil {
			first(b.flags, o.Port, p.flags)
		}
	case step.FDB:
		first(b.fdb, o.MAC, k.fdb[o.MAC])
	}
}

// uninstall takes back what bears our mark and what was recorded, and opens our ports last.
func (n *node) uninstall() {
	k := n.kernel
	for _, r := range k.routes() {
		if r.ours {
			k.remove(r.Route)
		}
	}
	for _, r := range slices.Clone(k.rules) {
		k.removeRule(r)
	}
	maps.DeleteFunc(k.neigh, func(_ neighKey, e *neigh) bool { return e.ours })
	for _, p := range k.ports {
		p.addrs = slices.DeleteFunc(p.addrs, func(a step.Address) bool {
			return slices.ContainsFunc(k.before.addr[p.name], func(b step.Address) bool { return b.Prefix == a.Prefix })
		})
		if mac, changed := k.before.mac[p.name]; changed {
			_ = k.applyMAC(step.HardwareAddress{Port: p.name, MAC: mac}, false) // the port is there
		}
		if f, changed := k.before.flags[p.name]; changed {
			p.flags = f
		}
	}
	for path, value := range k.before.sysctl {
		if k.sysctl[path] = value; value == "" {
			delete(k.sysctl, path)
		}
	}
	for mac, p := range k.before.fdb {
		if k.fdb[mac] = p; p == "" {
			delete(k.fdb, mac)
		}
	}
	for _, p := range k.ports {
		if k.ours[p.name] && !p.open() {
			k.setPort(p, true)
		}
	}
	clear(k.ours)
	clear(k.memos)
	k.before = newBefore()
	n.w.judge.touchAll()
}

// print is a kernel's tables as others than its neighbours' chance have them: what uninstalling is held against.
func (k *kernel) print() []string {
	var out []string
	for _, r := range k.routes() {
		out = append(out, fmt.Sprintf("route %d %s ours %v", r.Table, r.Route, r.ours))
	}
	for _, r := range k.rules {
		out = append(out, r.String())
	}
	for key, e := range k.neigh {
		if e.ours {
			out = append(out, fmt.Sprintf("neighbour %s on %s", key.addr, key.port))
		}
	}
	for path, value := range k.sysctl {
		out = append(out, path+"="+value)
	}
	for mac, p := range k.fdb {
		out = append(out, fmt.Sprintf("fdb %s %s", mac, p))
	}
	for _, p := range k.ports {
		if p.link == nil && p.master != "" {
			continue // guests come and go
		}
		out = append(out, fmt.Sprintf("port %s %s %s", p.name, p.mac, p.flags))
		for _, a := range p.addrs {
			out = append(out, a.String())
		}
	}
	slices.Sort(out)
	return out
}
