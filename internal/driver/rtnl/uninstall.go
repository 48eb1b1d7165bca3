package rtnl

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// Restored says what Uninstall took away or put back, and what it found changed by others since, which it left.
type Restored struct {
	Routes    int      `json:"routes"`
	Rules     int      `json:"rules"`
	Neighbors int      `json:"neighbors"`
	Addresses int      `json:"addresses"`
	Hardware  int      `json:"hardware_addresses"`
	Bridged   int      `json:"bridge_ports"`
	Entries   int      `json:"forwarding_entries"`
	Sysctls   int      `json:"sysctls"`
	Opened    int      `json:"opened_ports"`
	Left      []string `json:"left"`
}

// undoing is a run of Uninstall.
type undoing struct {
	*Driver
	done Restored
	errs []error
}

// Uninstall leaves nothing of ours: what bears our mark is deleted, values that we changed become again what they were, and the
// ports that we closed are opened last, unless they are to stay closed. What somebody else changed after us is left. No daemon of this node may run. When
// something fails the rest is done nevertheless, and the records stay, so that it can be asked for again.
func (d *Driver) Uninstall(keepClosed bool) (Restored, error) {
	u := &undoing{Driver: d, done: Restored{Left: []string{}}}
	u.marked()
	u.bridges()
	u.addresses()
	u.hardware()
	u.sysctls()
	if !keepClosed {
		u.ports()
	}
	return u.done, errors.Join(u.errs...)
}

// Elsewhere reports whether a record is there that was written in another network namespace of this boot: to uninstall here
// would do half of it, to the wrong tables.
func (d *Driver) Elsewhere() bool {
	for _, path := range []string{d.opts.StatePath, d.opts.BeforePath} {
		var s struct{ stamp }
		if path == "" {
			continue
		}
		if known, err := readState(path, &s); known && err == nil && s.Boot == d.gates.ledger.state.Boot && s.stamp != d.gates.ledger.state.stamp {
			return true
		}
	}
	return false
}

// all carries out the requests and counts those that were.
func (u *undoing) all(count *int, what string, reqs []request) {
	for _, err := range u.wants.exchange(reqs) {
		if err != nil {
			u.fail(what, err)
		} else {
			*count++
		}
	}
}

func (u *undoing) fail(what string, err error) {
	u.errs = append(u.errs, fmt.Errorf("%s: %w", what, err))
}

// marked deletes what bears our mark: first the ways to hosts, then the rules that guard them.
func (u *undoing) marked() {
	routes, err := dumpAll(u.reads, "routes", unix.RTM_GETROUTE, routeFilter(0, mark), decodeRoute)
	if err != nil {
		u.fail("uninstall", err)
	}
	var reqs []request
	for _, r := range routes {
		req, err := encodeRoute(step.Route{Table: r.table, Prefix: r.prefix, Metric: r.metric}, true, u.links.index)
		if err == nil && r.protocol == mark {
			reqs = append(reqs, req)
		}
	}
	u.all(&u.done.Routes, "delete route", reqs)

	neighbors, err := dumpAll(u.reads, "neighbours", unix.RTM_GETNEIGH, neighborHeader(unix.AF_INET, 0, 0, 0), decodeNeighbor)
	if err != nil {
		u.fail("uninstall", err)
	}
	reqs = reqs[:0]
	for _, n := range neighbors {
		req, err := encodeNeighbor(step.Neighbor{Port: u.links.name(n.index), Addr: n.addr}, true, u.links.index)
		if err == nil && n.mark == mark && n.flags&unix.NTF_EXT_LEARNED != 0 {
			reqs = append(reqs, req)
		}
	}
	u.all(&u.done.Neighbors, "delete neighbour", reqs)

	rules, err := dumpAll(u.reads, "rules", unix.RTM_GETRULE, make(payload, unix.SizeofRtMsg).inet(), decodeRule)
	if err != nil {
		u.fail("uninstall", err)
	}
	reqs = reqs[:0]
	for _, r := range rules {
		req, err := encodeRule(step.Rule{Priority: r.priority, IIF: r.iif, To: r.to, Table: r.table, SuppressPrefixLen: r.suppress,
			Blackhole: r.blackhole}, true)
		if err == nil && r.protocol == mark {
			reqs = append(reqs, req)
		}
	}
	u.all(&u.done.Rules, "delete rule", reqs)
}

// here reports whether the device of a record is still that one.
func (u *undoing) here(d device) bool {
	index, err := u.links.index(d.Port)
	return err == nil && index == d.Index
}

func (u *undoing) bridges() {
	for _, r := range slices.Backward(u.before.state.Entries) {
		if !u.here(r.device) {
			continue
		}
		req, err := u.requestFDB(step.FDB{Bridge: r.Port, MAC: r.MAC}, true)
		if err == nil && r.Was != nil {
			var index int
			if index, err = u.links.index(r.Was.Port); err == nil {
				req = encodeEntry(r.MAC, index, *r.Was)
			}
		}
		switch {
		case err != nil:
			u.fail("put back the forwarding entry of "+r.MAC.String(), err)
		case req.msg.Header.Type != 0:
			u.all(&u.done.Entries, "put back the forwarding entry of "+r.MAC.String(), []request{req})
		}
	}
	for _, r := range slices.Backward(u.before.state.Bridged) {
		if !u.here(r.device) {
			continue
		}
		if now, err := readBridgeFlags(u.reads, r.Port); err != nil || now == r.Was {
			continue // out of the bridge by now: its flags went with that
		}
		u.all(&u.done.Bridged, "put back the flags of "+string(r.Port), []request{encodeBridgeFlags(r.Index, r.Was)})
	}
}

func (u *undoing) addresses() {
	for _, r := range slices.Backward(u.before.state.Addresses) {
		if !u.here(r.device) {
			continue
		}
		set := r.Address
		set.NoPrefixRoute = r.Was == addressAlone
		kind, err := u.addressKind(r.Index, r.Address)
		if err != nil || kind == addressNone || kind == r.Was {
			continue
		}
		req, err := encodeAddress(set, r.Was == addressNone, u.links.index)
		if err != nil {
			u.fail("put back addresses of "+string(r.Port), err)
			continue
		}
		u.all(&u.done.Addresses, "put back addresses of "+string(r.Port), []request{req})
	}
}

func (u *undoing) hardware() {
	for _, r := range slices.Backward(u.before.state.Hardware) {
		l, err := readLink(u.reads, r.Port)
		switch {
		case err != nil || l.index != r.Index || l.mac == r.Was:
		case !slices.Contains(r.Set, l.mac):
			u.done.Left = append(u.done.Left, fmt.Sprintf("port %s has hardware address %s, set by somebody else", r.Port, l.mac))
		default:
			u.all(&u.done.Hardware, "put back the hardware address of "+string(r.Port), []request{encodeHardwareAddress(l.index, r.Was)})
			u.linkLocal(l, l.mac)
		}
	}
}

// linkLocal has the kernel make the port's IPv6 link-local address anew. It made one of our hardware address when the port last came
// up, and does not look again when the hardware address changes.
func (u *undoing) linkLocal(l link, of model.MAC) {
	if u.wants.one(encodeDeleteLinkLocal(l.index, of)) != nil {
		return // none was made of it
	}
	const byHardware, never = "0", "1"
	mode := "net/ipv6/conf/" + string(l.name) + "/addr_gen_mode"
	if now, err := readSysctl(mode); err != nil || now != byHardware {
		return
	}
	for _, value := range []string{never, byHardware} { // a change makes the kernel look
		if err := writeSysctl(step.Sysctl{Path: mode, Value: value}); err != nil {
			u.errs = append(u.errs, err)
		}
	}
}

// encodeDeleteLinkLocal deletes the address that RFC 4291 appendix A derives from a MAC.
func encodeDeleteLinkLocal(index int, mac model.MAC) request {
	const universal = 0x02
	a := []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ universal, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
	p := payload{unix.AF_INET6, 64, 0, unix.RT_SCOPE_LINK}
	p.word(uint32(index))
	p.attr(unix.IFA_LOCAL, a)
	p.attr(unix.IFA_ADDRESS, a)
	return change(unix.RTM_DELADDR, p)
}

// sysctls puts back what we set, and then what the kernel made of it, unless forwarding stays as we, or somebody, set it.
func (u *undoing) sysctls() {
	forwardIsBack := false
	for _, consequences := range []bool{false, true} {
		for _, r := range u.before.state.Sysctls {
			if (len(r.Set) == 0) == consequences && (r.Port == "" || u.here(r.device)) && (!consequences || forwardIsBack) {
				u.sysctl(r)
			}
			if now, err := readSysctl(sysctlForward); r.Path == sysctlForward {
				forwardIsBack = err == nil && now == r.Was
			}
		}
	}
}

func (u *undoing) sysctl(r sysctlBefore) {
	now, err := readSysctl(r.Path)
	switch {
	case err != nil:
		u.fail("put back "+r.Path, explain(err))
	case now == r.Was:
	case len(r.Set) > 0 && !slices.Contains(r.Set, now):
		u.done.Left = append(u.done.Left, fmt.Sprintf("%s is %s, set by somebody else", r.Path, now))
	default:
		if err := writeSysctl(step.Sysctl{Path: r.Path, Value: r.Was}); err != nil {
			u.errs = append(u.errs, err)
		} else {
			u.done.Sysctls++
		}
	}
}

func (u *undoing) ports() {
	var ports []model.Port
	for p := range u.gates.ledger.state.Ports {
		ports = append(ports, p)
	}
	slices.Sort(ports)
	for _, p := range ports {
		switch err := u.gates.openPort(p); {
		case errors.Is(err, unix.ENODEV):
		case errors.Is(err, errOperator):
			u.done.Left = append(u.done.Left, fmt.Sprintf("port %s stays closed: the operator closed it", p))
		case err != nil:
			u.errs = append(u.errs, err)
		default:
			u.done.Opened++
		}
	}
}
