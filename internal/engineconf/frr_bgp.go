package engineconf

import "strconv"

// ribStaleMax is the longest time, in seconds, that FRR lets zebra keep the routes of a bgpd that is gone.
const ribStaleMax = 3600

func (n *node) frrBGP(t *text) {
	t.line("router bgp %d\n bgp router-id %s\n bgp log-neighbor-changes\n bgp fast-external-failover", n.as, n.routerID)
	t.line(" no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n bgp bestpath as-path multipath-relax")
	t.line(" bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart restart-time %d", n.restart)
	t.line(" bgp graceful-restart stalepath-time %d\n bgp graceful-restart rib-stale-time %d", n.restart, min(n.restart, ribStaleMax))
	t.remark(" !", "After a restart wait no longer for neighbours than this; the default is 360 s, and dead ones count.")
	t.line(" bgp graceful-restart select-defer-time %d\n coalesce-time 0\n timers bgp %d %d", deferSeconds, max(1, n.hold/3), n.hold)
	if n.leaf {
		n.frrLeafBGP(t)
	} else {
		n.frrGatewayBGP(t)
	}
	t.line("exit\n!")
}

// frrSession writes what a neighbour, or a group of them, has in common on both kinds of nodes.
func (n *node) frrSession(t *text, who string) {
	t.line(" neighbor %s timers connect %d\n neighbor %[1]s advertisement-interval 0", who, connectSeconds)
	if n.password != "" {
		t.line(" neighbor %s password %s", who, n.password)
	}
	if n.bfd {
		t.line(" neighbor %s bfd\n neighbor %[1]s bfd profile %[2]s", who, profileBFD)
	}
}

func (n *node) frrLeafBGP(t *text) {
	for _, l := range n.links {
		t.line(" neighbor %s remote-as %s", l.address, asWord(l.as))
		if n.port != bgpPort {
			t.line(" neighbor %s port %d", l.address, n.port)
		}
		n.frrSession(t, l.address.String())
	}
	t.line(" !\n address-family ipv4 unicast")
	t.remark("  !", "The kernel's metric becomes MED. A kernel route has no communities, so none are told.")
	t.line("  redistribute table %d route-map %s", n.table, mapOut)
	for _, l := range n.links {
		t.line("  neighbor %s activate\n  neighbor %[1]s prefix-list %[2]s in\n  neighbor %[1]s prefix-list %[3]s out", l.address, listDefault, listHosts)
	}
	t.line(" exit-address-family")
}

func (n *node) frrGatewayBGP(t *text) {
	t.remark(" !", "MED is the age of a claim: the newest of any leaf wins.")
	t.line(" bgp always-compare-med\n bgp bestpath med missing-as-worst")
	// Not passive: FRR's own helper never connects while it waits for a restarted neighbour, so that neighbour has to.
	t.line(" neighbor %s peer-group", groupLeaves)
	n.frrSession(t, groupLeaves)
	for _, l := range n.links {
		t.line(" neighbor %s remote-as %s\n neighbor %[1]s peer-group %[3]s\n neighbor %[1]s description %[4]s", l.address, asWord(l.as), groupLeaves, l.name)
	}
	for i, r := range n.ranges {
		group := frrRangeGroup(i)
		t.line(" neighbor %s peer-group\n neighbor %[1]s remote-as %[2]s", group, asWord(r.AS))
		n.frrSession(t, group)
		t.line(" bgp listen range %s peer-group %s", r.Prefix, group)
	}
	t.line(" !\n address-family ipv4 unicast\n  maximum-paths 1")
	t.remark("  !", "What may become a kernel route: hosts, never attachments.")
	t.line("  table-map %s", mapFIB)
	n.frrLeaves(t, groupLeaves)
	for i := range n.ranges {
		n.frrLeaves(t, frrRangeGroup(i))
	}
	t.line(" exit-address-family")
}

func (n *node) frrLeaves(t *text, group string) {
	t.line("  neighbor %s activate\n  neighbor %[1]s send-community all\n  neighbor %[1]s prefix-list %[2]s in\n  neighbor %[1]s prefix-list %[3]s out",
		group, listHeard, listHosts)
	t.line("  neighbor %s maximum-prefix %d restart 1", group, n.hostsMax+attachmentsMax)
	if n.originate {
		t.line("  neighbor %s default-originate", group)
	}
}

// asWord is an AS number, or any but our own.
func asWord(as uint32) string {
	if as == 0 {
		return "external"
	}
	return strconv.FormatUint(uint64(as), 10)
}

// frrRangeGroup names the peer group of a range of leaves.
func frrRangeGroup(i int) string { return "PEERLESS-RANGE-" + strconv.Itoa(i+1) }
