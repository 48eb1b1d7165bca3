package engineconf

import (
	"fmt"
	"strings"
)

// bird writes bird.conf.
func bird(n *node, p Protocol) Files {
	var t text
	what := "BIRD as gateway " + n.name + " of peerless leaves."
	if n.leaf {
		what = "peerless leaf " + n.name + " beside BIRD."
	}
	t.remark("#", what+" Restart it with -R, so that it keeps the kernel's routes until it has learned them again.")
	t.line("log stderr { info, warning, error, fatal, bug, auth };\nrouter id %s;\ngraceful restart wait %d;\n", n.routerID, n.restart)
	t.line("protocol device { scan time 1; }\n")
	n.birdSets(&t)
	if n.leaf {
		n.birdLeafTables(&t)
	} else {
		n.birdGatewayTables(&t)
	}
	if n.bfd {
		t.line("protocol bfd {\n\tinterface %s {\n\t\tmin rx interval %d ms;\n\t\tmin tx interval %[2]d ms;\n\t\tmultiplier %[3]d;\n\t};\n}\n",
			n.birdPorts(), n.bfdMillis, n.bfdMissed)
	}
	switch {
	case p == OSPF:
		n.birdOSPF(&t)
	case n.leaf:
		n.birdLeafBGP(&t)
	default:
		n.birdGatewayBGP(&t)
	}
	return Files{Engine: BIRD, Name: "bird.conf", Text: strings.TrimRight(t.String(), "\n") + "\n", Programs: []Program{{Name: "bird"}}}
}

func (n *node) birdSets(t *text) {
	var hosts []string
	for _, s := range n.subnets {
		hosts = append(hosts, fmt.Sprintf("%s{32,32}", s))
	}
	t.line("function is_host() { return net ~ [ %s ]; }", strings.Join(hosts, ", "))
	if n.names.IsValid() && !n.leaf {
		t.line("function is_attachment() { return net ~ [ %s{32,32} ]; }", n.names)
	}
	t.line("")
}

// birdPorts lists the ports as BIRD wants them.
func (n *node) birdPorts() string {
	var ports []string
	for _, l := range n.links {
		ports = append(ports, fmt.Sprintf("%q", l.port))
	}
	return strings.Join(ports, ", ")
}

// birdLeafTables: only what was learned from the leaf's table goes out, and only the default route comes in.
func (n *node) birdLeafTables(t *text) {
	t.remark("#", "The leaf's hosts. Preference 200: a kernel route's 10 loses to the copy that comes back by the routing protocol.")
	t.remark("#", "A blackhole is how the leaf takes a host back whose port is dead: BIRD heeds no message about dead routes.")
	t.line("ipv4 table hosts;\nprotocol kernel from_leaf {\n\tkernel table %d;\n\tlearn;\n\tscan time 1;", n.table)
	t.line("\tipv4 {\n\t\ttable hosts;\n\t\tpreference 200;\n\t\timport where source = RTS_INHERIT && is_host() && dest != RTD_BLACKHOLE;\n\t\texport none;\n\t};\n}")
	t.line("protocol pipe {\n\ttable hosts;\n\tpeer table master4;\n\timport none;\n\texport where source = RTS_INHERIT;\n}\n")
	t.remark("#", "From the gateway comes the default route and nothing else: the hosts of another leaf are never installed here.")
	t.line("protocol kernel main {\n\tscan time 1;\n\tpersist;\n\tgraceful restart on;\n\tmerge paths on;\n\tipv4 { import none; export where net = 0.0.0.0/0; };\n}\n")
}

func (n *node) birdGatewayTables(t *text) {
	if n.originate {
		t.line("protocol static origin {\n\tipv4;\n\troute 0.0.0.0/0 unreachable; # for the leaves, never for the kernel\n}\n")
	}
	t.remark("#", "Hosts only: attachments of leaves with the embedded speaker are never a destination.")
	t.line("protocol kernel main {\n\tscan time 1;\n\tpersist;\n\tgraceful restart on;\n\tipv4 { import none; export where is_host(); };\n}\n")
}

func (n *node) birdOSPF(t *text) {
	t.line("protocol ospf v2 peerless {\n\ttick 1;\n\tgraceful restart on;")
	if n.leaf {
		t.line("\tstub router; # never transit between two gateways (RFC 6987)")
		t.line("\tipv4 {\n\t\timport where net = 0.0.0.0/0;\n\t\texport filter {\n\t\t\tif source != RTS_INHERIT then reject;")
		t.remark("\t\t\t#", "The kernel's metric, 24 bits: the lower one, that is the newer claim, wins. The largest means unreachable.")
		t.line("\t\t\tif defined(krt_metric) && krt_metric > 0 && krt_metric < 16777215 then ospf_metric2 = krt_metric;\n\t\t\telse ospf_metric2 = %d;\n\t\t\taccept;\n\t\t};\n\t};", plainMetric)
	} else {
		t.line("\tecmp no; # one leaf at a time: during a move half of the flows would take the wrong one")
		t.line("\tipv4 {\n\t\timport where is_host();\n\t\timport limit %d action block;", n.hostsMax*max(1, len(n.links)))
		if n.originate {
			t.line("\t\texport filter {\n\t\t\tif proto != \"origin\" then reject;\n\t\t\tospf_metric2 = %d;\n\t\t\taccept;\n\t\t};\n\t};", defaultMetric)
		} else {
			t.line("\t\texport none;\n\t};")
		}
	}
	bfd := ""
	if n.bfd {
		bfd = " bfd;"
	}
	t.line("\tarea 0.0.0.0 {\n\t\tinterface %s { type ptp; hello %d; dead %d; check link;%s };\n\t};\n}", n.birdPorts(), helloSeconds, deadSeconds, bfd)
}

// birdSession opens the template of all sessions.
func (n *node) birdSession(t *text) {
	port := ""
	if !n.leaf && n.port != bgpPort {
		port = fmt.Sprintf(" port %d", n.port)
	}
	t.line("template bgp session {\n\tlocal%s as %d;\n\thold time %d;\n\tkeepalive time %d;\n\tconnect delay time %d;\n\tconnect retry time %[5]d;",
		port, n.as, n.hold, max(1, n.hold/3), connectSeconds)
	t.line("\terror wait time 1, 5;\n\terror forget time 30;\n\tcheck link;\n\tgraceful restart on;\n\tgraceful restart time %d;", n.restart)
	if n.password != "" {
		t.line("\tpassword %q;", n.password)
	}
	if n.bfd {
		t.line("\tbfd;")
	}
}

// birdAS says which AS number a neighbour may have.
func birdAS(as uint32) string {
	if as == 0 {
		return "external"
	}
	return "as " + asWord(as)
}

func (n *node) birdLeafBGP(t *text) {
	n.birdSession(t)
	t.line("\tipv4 {\n\t\timport where net = 0.0.0.0/0;\n\t\timport limit 16 action block;\n\t\texport filter {\n\t\t\tif source != RTS_INHERIT then reject;")
	t.remark("\t\t\t#", "The kernel's metric becomes MED: the lower one, that is the newer claim, wins. A kernel route has no communities.")
	t.line("\t\t\tbgp_med = krt_metric;\n\t\t\taccept;\n\t\t};\n\t};\n}")
	port := ""
	if n.port != bgpPort {
		port = fmt.Sprintf(" port %d", n.port)
	}
	for i, l := range n.links {
		t.line("protocol bgp gateway%d from session { neighbor %s%s %s; interface %q; }", i+1, l.address, port, birdAS(l.as), l.port)
	}
}

func (n *node) birdGatewayBGP(t *text) {
	n.birdSession(t) // not passive: FRR's helper never connects while it waits for a restarted neighbour
	t.remark("\t#", "MED is the age of a claim: the newest of any leaf wins.")
	t.line("\tmed metric;\n\tdefault bgp_med 4294967295;")
	heard := "is_host()"
	if n.names.IsValid() {
		heard += " || is_attachment()"
	}
	t.line("\tipv4 {\n\t\timport where %s;\n\t\timport limit %d action block;\n\t\texport filter {", heard, n.hostsMax+attachmentsMax)
	if n.originate {
		t.line("\t\t\tif proto = \"origin\" then accept;")
	}
	t.remark("\t\t\t#", "A leaf hears who holds its hosts now.")
	t.line("\t\t\tif source = RTS_BGP && is_host() then accept;\n\t\t\treject;\n\t\t};\n\t\tnext hop self;\n\t};\n}")
	for i, l := range n.links {
		t.line("protocol bgp leaf%d from session { description %q; neighbor %s %s; interface %q; }", i+1, l.name, l.address, birdAS(l.as), l.port)
	}
	for i, r := range n.ranges {
		t.line("protocol bgp from session { neighbor range %s %s; dynamic name \"range%d_\"; }", r.Prefix, birdAS(r.AS), i+1)
	}
}
