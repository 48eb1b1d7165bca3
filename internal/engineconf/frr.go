package engineconf

import "strconv"

// importDistance is that of host routes which zebra copies from the leaf's table. Only the best route of a prefix is told to the
// protocols, and zebra takes a foreign kernel route in the main table for one of distance metric>>24: the leaf's own /32 there
// needs a metric above importDistance<<24 | 0xffffff, or nothing is advertised.
const importDistance = 15

// Names of lists and maps in FRR.
const (
	listHosts   = "PEERLESS-HOSTS"
	listDefault = "PEERLESS-DEFAULT"
	listHeard   = "PEERLESS-HEARD"
	mapFIB      = "PEERLESS-FIB"
	mapOut      = "PEERLESS-OUT"
	groupLeaves = "PEERLESS-LEAVES"
	profileBFD  = "peerless"
)

// frr writes frr.conf, the configuration of all daemons in one file.
func frr(n *node, p Protocol) Files {
	f := Files{Engine: FRR, Name: "frr.conf", Programs: []Program{frrZebra(n)}}
	if n.bfd {
		f.Programs = append(f.Programs, Program{Name: "bfdd"})
	}
	var t text
	t.line("frr version 8.4\nfrr defaults traditional\nhostname %s\nservice integrated-vtysh-config", n.name)
	frrIntroduction(&t, n, p)
	t.remark("!", "zebra holds every change for 10 ms otherwise.")
	t.line("zebra work-queue 0\n!")
	if n.leaf {
		t.remark("!", "The leaf's hosts. zebra copies them into the main table too, for as long as they are in this one.")
		t.line("ip import-table %d distance %d\n!", n.table, importDistance)
	}
	n.frrLists(&t, p)
	if n.bfd {
		t.line("bfd\n profile %s\n  transmit-interval %d\n  receive-interval %[2]d\n  detect-multiplier %[3]d\n exit\nexit\n!",
			profileBFD, n.bfdMillis, n.bfdMissed)
	}
	switch p {
	case OSPF:
		f.Programs = append(f.Programs, Program{Name: "ospfd"})
		n.frrOSPF(&t)
	default:
		f.Programs = append(f.Programs, frrBGPD(n))
		n.frrBGP(&t)
	}
	f.Text = t.String()
	return f
}

// frrZebra: a gateway's zebra keeps the routes of its former life until they have been learned again. A leaf's must not: it would
// take its own copies of the hosts for foreign routes, prefer them to the leaf's table, and advertise nothing.
func frrZebra(n *node) Program {
	z := Program{Name: "zebra", Args: []string{"-s", "90000000"}}
	if !n.leaf {
		z.Args = append(z.Args, "-K", strconv.Itoa(n.restart))
	}
	return z
}

func frrBGPD(n *node) Program {
	b := Program{Name: "bgpd"}
	if !n.leaf && n.port != bgpPort {
		b.Args = []string{"-p", strconv.Itoa(int(n.port))}
	}
	return b
}

func frrIntroduction(t *text, n *node, p Protocol) {
	t.line("!")
	daemons := map[Protocol]string{OSPF: "ospfd=yes", BGP: "bgpd=yes"}[p]
	if n.bfd {
		daemons += " bfdd=yes"
	}
	if n.leaf {
		t.remark("!", "peerless leaf "+n.name+" beside FRR. In /etc/frr/daemons: "+daemons+"; zebra_options without -K and -r.")
		return
	}
	t.remark("!", "FRR as gateway "+n.name+" of peerless leaves. In /etc/frr/daemons: "+daemons+"; zebra_options with -K "+strconv.Itoa(n.restart)+".")
	if p == BGP && n.port != bgpPort {
		t.remark("!", "bgpd_options with -p "+strconv.Itoa(int(n.port))+".")
	}
}

// frrLists writes what the node tells, hears and installs.
func (n *node) frrLists(t *text, p Protocol) {
	for i, s := range n.subnets {
		t.line("ip prefix-list %s seq %d permit %s ge 32", listHosts, 5*(i+1), s)
	}
	if n.leaf {
		t.line("ip prefix-list %s seq 5 permit 0.0.0.0/0\n!", listDefault)
		n.frrOut(t, p)
		t.remark("!", "From the gateway comes the default route and nothing else: the hosts of another leaf are never installed here.")
		t.line("route-map %s permit 10\n match ip address prefix-list %s\nexit\n!", mapFIB, listDefault)
		return
	}
	for i, s := range n.subnets {
		t.line("ip prefix-list %s seq %d permit %s ge 32", listHeard, 5*(i+1), s)
	}
	if n.names.IsValid() {
		t.remark("!", "Attachments of leaves with the embedded speaker: heard, shown, never a destination.")
		t.line("ip prefix-list %s seq %d permit %s ge 32", listHeard, 5*(len(n.subnets)+1), n.names)
	}
	t.line("!")
	t.line("route-map %s permit 10\n match ip address prefix-list %s\nexit\n!", mapFIB, listHosts)
}

// frrOut writes what a leaf tells. In OSPF a host behind its backup link is told with the better metric: there it is only when its
// primary link failed, and then the gateway must change at once. Of two equal LSAs ospfd keeps to the older one, whose leaf it may no
// longer reach: what it takes in before it has found that out it weighs again only one second later (OSPF_ASE_CALC_INTERVAL).
// And a leaf that returns is believed again what it told before it was cut off.
func (n *node) frrOut(t *text, p Protocol) {
	seq := 10
	if p == OSPF && len(n.backups) > 0 {
		t.remark("!", "A host behind its backup link is there because its primary link failed: that claim wins at once.")
		for _, port := range n.backups {
			t.line("route-map %s permit %d\n match ip address prefix-list %s\n match interface %s\n set metric %d\nexit\n!",
				mapOut, seq, listHosts, port, backupMetric)
			seq += 10
		}
	}
	t.line("route-map %s permit %d\n match ip address prefix-list %s\nexit\n!", mapOut, seq, listHosts)
}

func (n *node) frrOSPF(t *text) {
	t.line("ip protocol ospf route-map %s\n!", mapFIB)
	for _, l := range n.links {
		t.line("interface %s\n ip ospf area 0.0.0.0\n ip ospf network point-to-point\n ip ospf hello-interval %d\n ip ospf dead-interval %d",
			l.port, helloSeconds, deadSeconds)
		t.remark(" !", "What was flushed while the link was down is told by retransmission only; else that takes 5 s.")
		t.line(" ip ospf retransmit-interval 1")
		if n.bfd {
			t.line(" ip ospf bfd\n ip ospf bfd profile %s", profileBFD)
		}
		t.line("exit\n!")
	}
	t.line("router ospf\n ospf router-id %s\n log-adjacency-changes", n.routerID)
	t.remark(" !", "Without these two a change soon after another one waits for 5 s and more.")
	t.line(" timers throttle lsa all 0\n timers lsa min-arrival 0\n timers throttle spf 0 10 100\n graceful-restart helper enable")
	if n.leaf {
		t.remark(" !", "Never transit between two gateways (RFC 6987).")
		t.line(" max-metric router-lsa administrative")
		t.remark(" !", "ospfd does not see the kernel's metric, so of two leaves with the primary link of a host the older claim wins.")
		t.line(" redistribute table %d metric %d metric-type 2 route-map %s", n.table, plainMetric, mapOut)
	} else {
		t.remark(" !", "One leaf at a time: during a move half of the flows would take the wrong one.")
		t.line(" maximum-paths 1")
		if n.originate {
			t.line(" default-information originate always metric %d metric-type 2", defaultMetric)
		}
	}
	t.line("exit\n!")
}
