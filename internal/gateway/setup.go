package gateway

import (
	"net/netip"

	"peerless/internal/gateway/mapping"
	"peerless/internal/model"
	"peerless/internal/step"
)

// Numbers of tables, relative to Config.TableBase, and priorities of rules. A packet for a served subnet looks into the leaves' tables
// (one leaf's rule after the other), then into F (the other gateway, the last resort of a host whose leaf cannot be reached
// from here), then into K (backups, and a blackhole for the rest: an unknown host never leaves by our own default route).
//
// There is no loop between two gateways: what comes in from the other gateway's port meets the rules that start at 1900
// first, and those end in K's blackhole and in one of their own before F is ever looked into. So a packet crosses the link between the
// gateways once at most. There is none with a leaf either: a leaf drops what came down to it for a host that it does not have.
const (
	tableF = 98
	tableK = 99

	prioFromPeer     = 1900 // + slot: from the other gateway, into a leaf's table
	prioFromPeerK    = 1990
	prioFromPeerStop = 1991
	prioLeaf         = 2000 // + slot
	prioF            = 2080
	prioK            = 2090

	blackholeMetric = 4278198272 // last among the routes of K
)

func (m *Machine) leafRules(l *leaf) []step.Rule {
	var rules []step.Rule
	for _, s := range m.cfg.Subnets {
		rules = append(rules, rule(prioLeaf+l.slot, "", s, m.cfg.TableBase+l.slot))
		if m.cfg.Peer != nil {
			rules = append(rules, rule(prioFromPeer+l.slot, m.cfg.Peer.Port, s, m.cfg.TableBase+l.slot))
		}
	}
	return rules
}

func (m *Machine) standingRules() []step.Rule {
	var rules []step.Rule
	for _, s := range m.cfg.Subnets {
		rules = append(rules, rule(prioK, "", s, m.cfg.TableBase+tableK))
		if m.cfg.Peer == nil {
			continue
		}
		rules = append(rules, rule(prioF, "", s, m.cfg.TableBase+tableF), rule(prioFromPeerK, m.cfg.Peer.Port, s, m.cfg.TableBase+tableK), m.stopRule(s))
	}
	return rules
}

// stopRule drops what came from the other gateway before it can look into F.
func (m *Machine) stopRule(s netip.Prefix) step.Rule {
	r := rule(prioFromPeerStop, m.cfg.Peer.Port, s, 0)
	r.Blackhole = true
	return r
}

func rule(priority uint32, iif model.Port, to netip.Prefix, table uint32) step.Rule {
	return step.Rule{Priority: priority, IIF: iif, To: to, Table: table, SuppressPrefixLen: -1}
}

// standingRoutes are those that do not depend on hosts or ports.
func (m *Machine) standingRoutes() []step.Route {
	var routes []step.Route
	for _, s := range m.cfg.Subnets {
		routes = append(routes, step.Route{Table: m.cfg.TableBase + tableK, Prefix: s.Masked(), Metric: blackholeMetric, Blackhole: true})
	}
	return routes
}

// lastResort is F's content while the link to the other gateway is up.
func (m *Machine) lastResort() []step.Route {
	if m.cfg.Peer == nil {
		return nil
	}
	var routes []step.Route
	for _, s := range m.cfg.Subnets {
		routes = append(routes, step.Route{
			Table: m.cfg.TableBase + tableF, Prefix: s.Masked(), NextHop: step.NextHop{Dev: m.cfg.Peer.Port, Via: m.cfg.Peer.Address},
		})
	}
	return routes
}

func (m *Machine) portSysctls(p model.Port) {
	conf := "net/ipv4/conf/" + string(p) + "/"
	m.want(step.Sysctl{Path: conf + "rp_filter", Value: "0"}, "packets of a host may come by either leaf")
	m.want(step.Sysctl{Path: conf + "send_redirects", Value: "0"}, "leaves are not to be told of each other")
	m.want(step.Sysctl{Path: conf + "ignore_routes_with_linkdown", Value: "1"}, "the kernel falls through to backups by itself")
	if m.listens(p) {
		l := step.Listen{Port: p, ARPOnly: true, Answers: true}
		if m.cfg.Through.Interval > 0 {
			l.ARPOnly, l.Echo = false, throughIdent
		}
		m.want(l, "words and answers of the leaf")
	}
}

// listens reports whether what the leaf on a port says by ARP is heard all the time.
func (m *Machine) listens(p model.Port) bool {
	return m.foretold() || m.cfg.Through.Interval > 0 || m.probe.uses(p) || m.cfg.BFD.Interval > 0
}

// foretold reports whether leaves say by ARP what they are about to announce: they do if they are told, with the default route, that they are heeded.
func (m *Machine) foretold() bool { return m.cfg.Default && m.cfg.AttachmentRange.IsValid() }

// setup asks for all that does not depend on leaves. It comes after adoption.
func (m *Machine) setup() {
	m.want(step.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"}, "a gateway forwards")
	m.want(step.Sysctl{Path: "net/ipv4/conf/all/rp_filter", Value: "0"}, "packets of a host may come by either leaf")
	m.want(step.Sysctl{Path: "net/ipv4/conf/all/send_redirects", Value: "0"}, "leaves are not to be told of each other")
	for _, r := range m.standingRoutes() {
		m.want(r, "unknown hosts never leave by the default route")
	}
	for _, r := range m.standingRules() {
		m.want(r, "setup")
	}
	if m.cfg.Default {
		m.tellDefault(0, "leaves send everything else to this gateway")
	}
}

// detour asks for a route of last resort. It waits for the rule that keeps what comes from the other gateway out of it
// (no-gateway-loop).
func (m *Machine) detour(r step.Route, why string) {
	m.emit(step.Want{Object: r, After: m.stopRule(r.Prefix).Key(), Why: why})
}

// pin binds a host of the config to its two leaves.
func (m *Machine) pin(s StaticHost) {
	for _, l := range m.leaves {
		if l.Name == s.Primary.Leaf {
			m.table.Pin(l.id, s.Addr, s.Attachment, model.Primary)
		}
	}
	for _, l := range m.leaves {
		if l.Name == s.Backup.Leaf {
			m.table.Pin(l.id, s.Addr, s.Attachment, model.Backup)
		}
	}
}

// lay names the leaves' ends of a server port.
func (m *Machine) lay(a Attachment) {
	for _, l := range m.leaves {
		switch l.Name {
		case a.Primary.Leaf:
			m.table.Lay(l.id, a.ID, a.Primary.Index, model.Primary)
		case a.Backup.Leaf:
			m.table.Lay(l.id, a.ID, a.Backup.Index, model.Backup)
		}
	}
}

func (m *Machine) primaryRoute(h *mapping.Host, l *leaf) step.Route {
	return step.Route{Table: m.cfg.TableBase + l.slot, Prefix: step.HostPrefix(h.Addr), NextHop: l.hop()}
}

func (m *Machine) backupRoute(h *mapping.Host, l *leaf) step.Route {
	return step.Route{Table: m.cfg.TableBase + tableK, Prefix: step.HostPrefix(h.Addr), NextHop: l.hop()}
}
