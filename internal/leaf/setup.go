package leaf

import (
	"fmt"
	"net/netip"

	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
)

// mainTable is the number of the kernel's main routing table.
const mainTable = 254

// HostTable is the number of the table that hosts are forwarded by where a routing engine has the main table: what it puts there,
// the other leaf's hosts perhaps, must not send up again what came down.
const HostTable = 20099

// hostRule is the priority of the first rule that looks for hosts that are here.
const hostRule = 900

// firstRule is the priority of the first rule that keeps traffic from going up again.
const firstRule = 1000

func (m *Machine) virtualMAC() model.MAC {
	if len(m.cfg.Subnets) == 0 {
		return model.MAC{}
	}
	return m.cfg.Subnets[0].MAC
}

// isGateway reports whether an address is a gateway address of ours.
func (m *Machine) isGateway(a netip.Addr) bool {
	for _, s := range m.cfg.Subnets {
		if s.Gateway == a {
			return true
		}
	}
	return false
}

func (m *Machine) sysctl(path, value, why string) {
	m.want(step.Want{Object: step.Sysctl{Path: path, Value: value}, Why: why})
}

// setupGlobal asks for what concerns the whole node.
func (m *Machine) setupGlobal() {
	m.sysctl("net/ipv4/ip_forward", "1", "a leaf routes")
	m.sysctl("net/ipv4/conf/all/rp_filter", "0", "replies may leave by another port")
	m.sysctl("net/ipv4/conf/all/send_redirects", "0", "hosts reach each other through the leaf")
	var before step.Key
	for _, r := range m.wantedRules() {
		why := "what came down never goes up again"
		switch {
		case r.Table == StandbyTable:
			why = "a gateway that has lost the other leaf finds whoever stands by"
		case r.Priority >= shelfRule && r.Priority < firstRule:
			why = "a server that has turned up is being taken"
		case r.Priority < firstRule:
			why = "hosts that are here come first"
		}
		m.want(step.Want{Object: r, After: before, Why: why})
		before = r.Key()
	}
}

// lastRule is the rule that is put in place when all others are: the default route waits for it, so that nothing can go up before
// what came down cannot (no-return-up).
func (m *Machine) lastRule() step.Key {
	rules := m.wantedRules()
	if len(rules) == 0 {
		return step.Key{}
	}
	return rules[len(rules)-1].Key()
}

// wantedRules: traffic for a served subnet finds a local host, or one that is being taken; what enters by an uplink finds whoever stands by beside, and
// is dropped if it finds none, without a word: an ICMP error would abort connections that are about to be repaired.
func (m *Machine) wantedRules() []step.Rule {
	var rules []step.Rule
	for i, s := range m.cfg.Subnets {
		r := step.Rule{Priority: hostRule + uint32(i), To: s.Prefix.Masked(), Table: m.table, SuppressPrefixLen: -1}
		if m.table == 0 {
			r.Table, r.SuppressPrefixLen = mainTable, s.Prefix.Bits()
		}
		rules = append(rules, r)
	}
	for _, d := range m.downs {
		if d.shelf.open {
			rules = append(rules, m.shelfRule(d))
		}
	}
	if m.shelves() {
		for _, u := range m.cfg.Uplinks {
			rules = append(rules, step.Rule{Priority: standbyRule, IIF: u.Port, Table: StandbyTable, SuppressPrefixLen: -1})
		}
	}
	p := uint32(firstRule)
	for _, u := range m.cfg.Uplinks {
		for _, s := range m.cfg.Subnets {
			rules = append(rules, step.Rule{Priority: p, IIF: u.Port, To: s.Prefix.Masked(), SuppressPrefixLen: -1, Blackhole: true})
			p++
		}
	}
	return rules
}

// setupUplink asks for what an uplink port needs; again whenever the port came up or was created.
func (m *Machine) setupUplink(u *uplink) {
	conf := "net/ipv4/conf/" + string(u.Port) + "/"
	m.sysctl(conf+"rp_filter", "0", "replies may leave by another port")
	m.sysctl(conf+"send_redirects", "0", "hosts reach each other through the leaf")
	m.sysctl(conf+"ignore_routes_with_linkdown", "1", "the kernel skips a dead uplink by itself")
	m.want(step.Want{Object: step.Listen{Port: u.Port, ARPOnly: true}, Why: "signs of life of the gateway"})
	if bfd := m.cfg.BFD; bfd.Interval > 0 {
		m.want(step.Want{Object: step.BFDSession{Port: u.Port, Peer: u.Neighbor, Interval: bfd.Interval, Multiplier: bfd.Multiplier},
			Why: "a path to the gateway that is silent is noticed soon"})
	}
}

// setupDownlink asks for what a downlink needs; again whenever it came up, since closing it erased all of it silently.
func (m *Machine) setupDownlink(d *downlink) {
	conf := "net/ipv4/conf/" + string(d.Port) + "/"
	m.setupMAC(d, "the same on both leaves")
	m.setupAddresses(d, "the same on both leaves")
	d.listen = step.Listen{}
	m.listen(d)
	m.sysctl(conf+"rp_filter", "0", "replies may leave by another port")
	m.sysctl(conf+"send_redirects", "0", "hosts reach each other through the leaf")
	m.setupAnswering(d)
	m.sysctl(conf+"arp_filter", "0", "the kernel answers on every downlink")
	m.sysctl(conf+"ignore_routes_with_linkdown", "1", "the kernel skips a dead port by itself: its hosts may be behind the other leaf")
	m.sysctl(conf+"proxy_arp", "0", "the kernel's would answer a host's own announcement")
}

// setupAnswering: the kernel answers for the gateway address only, and on a leaf that is drained not even for that: a server
// takes its silence as the wish that it leave. Whoever needs an answer to send gets it from us (see answerFor).
func (m *Machine) setupAnswering(d *downlink) {
	value, why, urgent := "1", "the kernel answers for the gateway address only", false
	switch {
	case d.drained:
		value, why = "8", "drain: the kernel does not answer, so that servers leave"
	case d.group != nil && d.group.State == linkage.Local:
		value, why = "8", "no gateway: a server that has a better link is to keep it"
		urgent = true // before the port opens: a server asks as soon as it has carrier
	}
	m.want(step.Want{Object: step.Sysctl{Path: "net/ipv4/conf/" + string(d.Port) + "/arp_ignore", Value: value}, Urgent: urgent, Why: why})
}

func (m *Machine) setupMAC(d *downlink, why string) {
	m.want(step.Want{Object: step.HardwareAddress{Port: d.Port, MAC: m.virtualMAC()}, Why: "virtual MAC: " + why})
}

func (m *Machine) setupAddresses(d *downlink, why string) {
	for _, s := range m.cfg.Subnets {
		p := netip.PrefixFrom(s.Gateway, s.Gateway.BitLen())
		m.want(step.Want{Object: step.Address{Port: d.Port, Prefix: p, NoPrefixRoute: true}, Why: "gateway address: " + why})
	}
}

// listen asks for a port's frames: all data while no host is known there, since the first packet of a silent host counts.
func (m *Machine) listen(d *downlink) {
	l := step.Listen{Port: d.Port, Sampling: step.SampleAll, Hosts: d.MaxHosts}
	if m.hosts.Count(d.Port) > 0 {
		l.Sampling = step.SampleFew
	}
	if l == d.listen {
		return
	}
	d.listen = l
	m.want(step.Want{Object: l, Why: fmt.Sprintf("%s known there", plural(m.hosts.Count(d.Port), "host"))})
}
