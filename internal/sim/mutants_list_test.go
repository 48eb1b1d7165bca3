package sim

// alsoEdits are the second places of mutants that need one: each law's other file, text and replacement.
var alsoEdits = map[string][3]string{
	"a flapping port is held though it is the only way": {"leaf/damping.go", "case held && n > 0 && all && m.hearsFeed():", "case held && (n >= 0 || all) && m.hearsFeed():"},
	"a link is closed though its host has moved":        {"leaf/feed.go", "			d.moved(now, addr, c.Attachment)\n", ""},
	"a drain takes somebody's last link":                {"leaf/drain.go", "len(doomed) > 0 && !force", "len(doomed) > 64 && !force"},
	"opens what the operator closed": {"leaf/linkage.go",
		"		if d.gate.State != linkage.Held && d.gate.State != linkage.Closing && d.gate.State != linkage.Yielded {", "		if d.gate.State == linkage.Free || d.gate.State == linkage.Freeing {"},
}

// firstSeed is where the search for mutants begins that few seeds find; for all others it is 1.
var firstSeed = map[string]uint64{
	"the way to the other gateway does not wait for the stop": 440,
	"a link is closed though its host has moved":              230,
	"an arrival is newer by less than MED can tell":           850,
	"a leaf without hosts is taken for mute":                  3,
}

// mutants breaks, one at a time, every invariant that the simulator checks and every law of the design that it can see.
var mutants = []mutant{
	// What came down never goes up; no loops; a leaf's tables hold its own hosts.
	{"no blackhole behind the leaf's suppressing rule", "leaf/setup.go",
		"IIF: u.Port, To: s.Prefix.Masked(), SuppressPrefixLen: -1, Blackhole: true})", "IIF: u.Port, To: s.Prefix.Masked(), SuppressPrefixLen: -1, Table: mainTable})",
		"no-return-up no-forwarding-loop", 60},
	{"the default route does not wait for the rules", "leaf/linkage.go",
		"After: m.lastRule(), ", "", "no-return-up no-forwarding-loop", 2000},
	{"what comes from the other gateway is not stopped", "gateway/setup.go",
		"prioFromPeerK    = 1990\n	prioFromPeerStop = 1991", "prioFromPeerK    = 2095\n	prioFromPeerStop = 2096", "no-gateway-loop no-forwarding-loop", 60},
	{"the way to the other gateway does not wait for the stop", "gateway/setup.go",
		"After: m.stopRule(r.Prefix).Key(), ", "", "no-gateway-loop", 1500},
	{"a leaf installs what it hears of another", "leaf/feed.go",
		"		m.remember(now, addr, c.Attachment, c.MAC)", "		m.want(step.Want{Object: step.Route{Prefix: p.Prefix, NextHop: step.NextHop{Dev: m.ups[0].Port, Via: m.ups[0].Neighbor}}, Why: \"heard\"})",
		"own-hosts-only", 60},

	// Order: install before advertise, replace without a gap, worst news first.
	{"advertised before it is installed", "leaf/hosts.go",
		"w.Object, w.After = adv, m.routeOf(h).Key()", "w.Object = adv", "install-before-advertise", 100},
	{"the engine forgets what comes after what", "engine/turn.go",
		"w.After != (step.Key{}) && after != nil {", "w.After != (step.Key{}) && after != nil && false {",
		"install-before-advertise no-gateway-loop no-return-up", 100},
	{"a gateway deletes the old route first", "gateway/settle.go",
		"m.dropPrimary(h, m.leaves[oldP], choice, step.Want{After: after, Urgent: repair, Cause: cause})", "m.dropPrimary(h, m.leaves[oldP], choice, step.Want{Urgent: true, Cause: cause})",
		"make-before-break one-move soft-never-closes adopt-not-flush", 300},
	{"closings are not urgent", "leaf/gates.go",
		"Object: step.Gate{Port: d.Port, Closed: closed}, Urgent: true,", "Object: step.Gate{Port: d.Port, Closed: closed},", "close-first", 30},
	{"a server is not told that its port will be closed", "leaf/gates.go",
		"	if !d.asks() || !ok || d.group == nil", "	if d.asks() || !ok || d.group == nil", "tell-then-close", 30},
	{"a port whose server was told stays open", "leaf/gates.go", "	if d.gate.State == linkage.Closing {\n		m.emit(w)", "	if d.gate.State == linkage.Held {\n		m.emit(w)", "tell-then-close", 30},
	{"withdrawn before it is told what failed", "leaf/ports.go",
		"	clear(d.told)\n	m.tellAttachment(d, state, reason, cause)\n", "	clear(d.told)\n", "worst-news-first", 30},

	{"a leaf says by ARP what it does not announce", "leaf/ports.go", "m.foretell(adv.Prefix.Addr(), state, reason)", "m.foretell(adv.Prefix.Addr(), 5-state, reason)", "foretold-by-arp", 60},
	{"a leaf says by ARP what it has just announced", "leaf/ports.go", `Urgent: true, Why: "ahead of its announcement"`, `Why: "ahead of its announcement"`, "foretold-by-arp", 60},
	{"a word that is not announced is believed for good", "gateway/word.go", "foretold := k.Foretold(); foretold {", "foretold := k.Foretold(); !foretold {", "reach-after-heal repair-before-failure", 300},
	{"a word is believed of what was announced just now", "gateway/word.go", "int64(m.now.Mono)-k.SaidAt < int64(steadyFor)", "int64(m.now.Mono)-k.SaidAt < 0", "soft-never-closes one-move", 300},

	// A leaf's shelves.
	{"a shelf is open before its server turns up", "leaf/shelf.go",
		"		m.want(step.Want{Object: standbyRoute(d, a), Why: why})", "		m.serveShelf(d, 0)", "shelf-is-shut", 60},
	{"a shelf stays open", "leaf/shelf.go", "	if s.open && len(s.hosts) == 0 {", "	if s.open && len(s.hosts) < 0 {", "shelf-is-shut", 60},
	{"a shelf stays open when its port stops serving", "leaf/afterwards.go", "	m.shut(d, why)\n", "", "shelf-is-shut", 200},

	// Whoever stands by on a leaf.
	{"what comes down finds nobody who stands by", "leaf/setup.go",
		"	if m.shelves() {\n		for _, u := range m.cfg.Uplinks {", "	if !m.shelves() {\n		for _, u := range m.cfg.Uplinks {", "standby-takes-what-comes-down", 60},
	{"everybody's traffic goes to whoever stands by", "leaf/setup.go", "Priority: standbyRule, IIF: u.Port, Table", "Priority: standbyRule, IIF: u.Port[:0], Table", "standby-takes-what-comes-down", 60},
	{"whoever stands by has no neighbour entry", "leaf/shelf.go",
		"		if !mac.IsZero() {\n			m.want(step.Want{Object: step.Neighbor", "		if mac.IsZero() {\n			m.want(step.Want{Object: step.Neighbor", "standby-takes-what-comes-down", 60},
	{"whoever is claimed is forgotten in time", "leaf/neighbor/tick.go", "t.cfg.Remember == 0 || !t.claimed(e)", "t.cfg.Remember >= 0", "standby-takes-what-comes-down", 100},

	// A gateway's bypasses.
	{"a bypass stays open", "gateway/bypass.go",
		"	case b.begun && m.settled >= b.doneAt && len(b.moving) == 0:", "	case b.begun && m.settled < b.doneAt:", "bypass-is-shut", 60},
	{"a bypass is used though some of it leads elsewhere", "gateway/bypass.go",
		" || b.leads[to] != len(b.hosts) {", " {", "standby-moves-nothing one-move reach-after-heal silence-moves-only-to-what-works", 100},

	// Evidence and linkage.
	{"soft evidence counts as hard (leaf)", "leaf/linkage/uplink.go",
		"step.ReasonReset, step.ReasonHoldTimer, step.ReasonCeaseOther:\n		return Soft", "step.ReasonReset, step.ReasonHoldTimer, step.ReasonCeaseOther:\n		return Hard", "soft-never-closes", 60},
	{"soft evidence counts as hard (gateway)", "gateway/session.go",
		"keep, text := m.cfg.GracefulRestart, ", "keep, text := 10*time.Millisecond, ", "soft-never-closes adopt-not-flush", 60},
	{"BFD down is hard (leaf)", "leaf/bfd.go",
		"		b.Begin()\n", "		u.Mute()\n		b.Begin()\n", "soft-never-closes", 60},
	{"BFD down is hard (gateway)", "gateway/bfd.go",
		"	if b.Lost {\n		m.inquire(l)\n", "	if b.Lost {\n		b.deaf = true\n		m.lose(l, \"BFD is down\")\n", "soft-never-closes adopt-not-flush reach-after-heal one-move", 100},
	{"a port is closed without a reason", "leaf/linkage.go",
		"why += \"uplink \" + string(u.Port) + \": \" + u.why", "why += u.why", "closed-for-a-reason", 30},
	{"a leaf without a gateway stays open", "leaf/linkage/linkage.go",
		"Linked: {Lost: then(Shutdown, CloseAll)", "Linked: {Lost: then(Linked, Nothing)", "reach-after-heal open-only-when-forwarding", 150},
	{"opens before it can forward", "leaf/linkage.go",
		"return usable >= need && ready >= need && m.hasDefault(), told >= need", "return usable >= need && ready >= 0, told >= need", "open-only-when-forwarding", 60},
	{"what an earlier life closed opens at once", "leaf/linkage.go",
		"		if !ready || opened && m.cfg.OpenStagger > 0 {", "		if opened && m.cfg.OpenStagger > 0 {", "open-only-when-forwarding", 1000},
	{"never opens again", "leaf/linkage.go",
		"	case due <= now.Mono:\n		g.Step(linkage.Due)", "	case due <= now.Mono:\n		return\n		g.Step(linkage.Due)", "opens-in-the-end reach-after-heal", 30},
	{"opens what the operator closed", "leaf/linkage/gate.go",
		"Close: gate(Off, GateNothing), Open: gate(Off, GateNothing), // the operator's ports are never touched", "Close: gate(Off, GateNothing), Open: gate(Freeing, AskOpen),",
		"operator-closed-stays", 150},
	{"forgets that a port is its own", "leaf/linkage/gate.go",
		"	case s.Ours:\n		return SeenOurs\n", "", "opens-in-the-end reach-after-heal operator-closed-stays", 60},

	// Orders, flapping ports, a leaf without a gateway.
	{"a drain takes somebody's last link", "leaf/linkage/drain.go", "return Dies, over && d.Force", "return Dies, over", "drain-loses-nothing", 200},
	{"a drain closes before the hosts have left", "leaf/linkage/drain.go", "return Moves, false", "return Moves, d.State == Leaving", "drain-loses-nothing install-before-advertise", 60},
	{"a drained leaf goes on answering", "leaf/setup.go", "value, why = \"8\", \"drain:", "value, why = \"1\", \"drain:", "drain-loses-nothing", 200},
	{"a drain is forgotten by a crash", "leaf/drain.go", "	if m.cfg.Drained == nil {", "	if m.cfg.Drained == nil || m.drain.Max > 0 {", "drain-loses-nothing", 100},
	{"after a drain nothing opens", "leaf/drain.go", "		m.reopen(now, g, cause, \"the leaf is not drained any more\")\n", "		_ = g\n", "opens-in-the-end", 60},
	{"a server takes any answer for the one to its question", "server/probe.go", " && e.TargetIP.IsUnspecified()", "", "drain-loses-nothing one-move", 400},
	{"a flapping port is held though it is the only way", "leaf/damping.go", "n, all := m.allElsewhere(d); n == 0 || !all {", "n, all := m.allElsewhere(d); n < 0 && !all {", "damping-delays-only-returns", 100},
	{"damping has no end", "liveness/damper.go", "	if now >= until {", "	if now < 0 {", "damping-delays-only-returns opens-in-the-end", 200},
	{"a port may flap as it likes", "leaf/damping.go", "	if !held || d.group == nil ||", "	if !held || d.group != nil ||", "damping-delays-only-returns", 300},
	{"a leaf opens alone at once", "leaf/local.go", "At: now.Mono + m.cfg.LocalOnly})", "At: now.Mono})", "alone-serves-its-own", 60},
	{"a leaf never opens alone", "leaf/local.go", "	case lost && !g.watched:", "	case lost && g.watched:", "alone-serves-its-own", 200},
	{"a leaf that is alone says that it is open", "leaf/setup.go", "value, why = \"8\", \"no gateway:", "value, why = \"1\", \"no gateway:", "one-move reach-after-heal", 300},
	{"a leaf stays alone when the gateway is back", "leaf/linkage.go", "if g.Step(linkage.Due) == linkage.EndLocal {", "if g.State != linkage.Local && g.Step(linkage.Due) == linkage.EndLocal {", "reach-after-heal opens-in-the-end repair-before-failure", 60},

	// What is up and passes nothing.
	{"the silence of one host is the link's", "liveness/watch.go", "		if w.det.Missed() > 0 {", "		if w.det.Missed() > 99 {", "silent-link-closes-alone", 200},
	{"a link is closed though its host has moved", "leaf/trust.go", "		fed = fed && m.heard.Rival(h.Addr).Stamp == 0\n", "		fed = fed && h.Missed >= 0\n", "silent-link-closes-alone", 600},
	{"a link that passes nothing is trusted", "leaf/trust.go", "	case silent && !t.silent && !t.left(now.Mono) && d.serving && now.", "	case silent && t.silent && !t.left(now.Mono) && d.serving && now.", "silence-moves-only-to-what-works", 400},
	{"a server does not heed what is beyond its leaf", "server/through.go", "		return s.through.known\n", "		return false\n", "silence-moves-only-to-what-works", 200},
	{"a gateway does not heed that nothing comes back through a leaf", "gateway/through.go", "	if silent && !c.silent && c.own {", "	if silent && c.silent && c.own {", "mute-leaf-needs-another", 300},
	{"the last leaf is not told the default route", "gateway/through.go", "	if !other {\n		return \"no other leaf is seen to forward\"\n	}\n", "", "mute-leaf-needs-another", 300},
	{"a leaf without hosts is taken for mute", "gateway/through.go", "	silent := c.looped && lost && quiet ||", "	silent := c.looped && (lost || !c.hosts.Proven()) && quiet ||", "mute-leaf-needs-another", 60},
	{"a leaf that forwards again is never told the default route", "gateway/through.go", "	case !c.silent && c.back.Met(m.now.Mono):", "	case c.silent && c.back.Met(m.now.Mono):", "opens-in-the-end reach-after-heal", 200},
	{"a server stays on a leaf that does not answer", "server/linkpair/pair.go", "	case used.Silent && s.Of(other).Fresh: // it", "	case used.Silent && s.Of(other).Fresh && p.dark: // it", "silence-moves-only-to-what-works drain-loses-nothing", 200},

	// No daemon.
	{"the guard does not wait for the restart time", "guard/guard.go", "= life, now, now+g.cfg.RestartTime, false", "= life, now, now, false", "guard-only-closes", 60},
	{"the guard closes where somebody stopped the daemon", "guard/guard.go", "	if life != Dead {", "	if life != Dead && life != Stopped {", "guard-only-closes", 60},
	{"the guard asks nobody whether routing goes on", "guard/guard.go", "eyes.Carrier(u) && eyes.Speaks(u)", "eyes.Carrier(u)", "guard-only-closes", 200},
	{"the guard leaves servers with a leaf that is forgotten", "guard/guard.go", "	if len(waiting) == 0 || now < g.ask {", "	if len(waiting) >= 0 || now < g.ask {", "guard-only-closes", 300},
	{"what is another's is deleted", "leaf/snapshot.go", "		if !r.Ours || !r.Present || isHostPrefix", "		if !r.Present || isHostPrefix", "uninstall-leaves-nothing", 60},

	// Claims.
	{"the oldest claim wins", "claim/claim.go", "return h.Stamp > o.Stamp", "return h.Stamp < o.Stamp", "newest-wins", 100},
	{"an arrival is newer by less than MED can tell", "claim/claim.go", "	next := max(heard, buildEpochMs) + medUnitMs\n", "	next := max(heard, buildEpochMs) + 1\n",
		"make-before-break", 60},
	{"stamps go by the clock alone", "claim/claim.go", "	next := max(heard, buildEpochMs) + medUnitMs\n", "	next := Stamp(3)\n", "newest-wins", 60},
	{"a refresh renews the stamp", "leaf/neighbor/learn.go",
		"		if announced && now >= e.stamped+renewGap &&", "		if now >= e.stamped &&", "stamp-on-arrival", 30},
	{"an inherited claim is as good as a new one", "leaf/hosts.go",
		"m.install(d, h, announce.Unverified(d.Role), step.Want{", "m.install(d, h, max(announce.Unverified(d.Role), m.heard.Next(h.Addr, now.Wall)), step.Want{", "inherited-is-unproven", 60},
	{"a question proves where its sender is", "leaf/frames.go",
		"	if e.Op == step.ARPRequest && !announced {\n", "	if e.Op == step.ARPRequest && !announced && e.SenderIP == m.cfg.RouterID {\n", "question-is-no-proof inherited-is-unproven", 60},
	{"a leaf waits for the feed before it gives a silent host up", "leaf/neighbor/state.go",
		"		Hinted: to(Local), Adopted: to(Local), Bound: to(Local),\n		Doubted: to(Suspect, probeNow), Fell: to(Draining, Withdraw),", "		Hinted: to(Local), Adopted: to(Local), Bound: to(Local),\n		Doubted: to(Suspect, probeNow), Fell: to(Local),",
		"no-stale-route reach-after-heal drain-loses-nothing", 300},
	{"the withdrawal is skipped", "leaf/hosts.go", "	m.retract(adv, c.Why, cause)\n", "	_ = adv\n", "no-stale-route reach-after-heal newest-wins one-move stamp-on-arrival", 100},
	{"a probe's silence is not drawn", "liveness/liveness.go",
		"	return d.missed >= max(1, d.Multiplier)", "	return false", "reach-after-heal no-stale-route drain-loses-nothing", 300},
	{"the gateway's address is learned as a host", "leaf/neighbor/admit.go", "	if addr == n.Gateway {", "	if addr == n.Gateway.Next() {", "admit-narrowly", 200},
	{"a port takes more hosts than it may", "leaf/neighbor/learn.go",
		"	case (e == nil || !e.State.Installed()) && p.held >= p.max:", "	case (e == nil || !e.State.Installed()) && p.held >= 4*p.max:", "admit-narrowly", 200},
	{"answers a host's own announcement", "leaf/frames.go",
		"e.SenderIP.IsUnspecified() || e.SenderIP == e.TargetIP {", "e.SenderIP.IsUnspecified() {", "no-self-conflict", 60},

	// The gateway's preparation and restraint.
	{"no backups are laid", "gateway/settle.go",
		"	case h.Backup == old:\n		return step.Want{}\n", "	case h.Backup == old, h.Backup != mapping.None:\n		return step.Want{}\n", "repair-before-failure reach-after-heal", 30},
	{"a leaf that returns is let in at once", "gateway/ports.go",
		"	case l.spoke && !l.session:\n		return \"its session is not up yet\"\n	case l.spoke && !l.told:\n		return \"it has not told of its attachments yet\"\n", "", "no-early-return", 60},
	{"a host needs its standby", "gateway/mapping/choose.go",
		"if best := t.newest(h, t.usable); best != nil {", "if best := t.newest(h, t.usable); best != nil && t.backup(best) != None {", "standby-moves-nothing reach-after-heal one-move", 60},
	{"a failed standby takes its host along", "gateway/mapping/choose.go",
		"return t.live(c) && l.serving && !t.Down(c) && !(c.Static && l.mute)",
		"for o := range t.leaves {\n		if k := t.Link(LeafID(o), c.Link.ID); LeafID(o) != c.Link.Leaf && k != nil && t.Failed(k) {\n			return false\n		}\n	}\n	return t.live(c) && l.serving && !t.Down(c) && !(c.Static && l.mute)",
		"standby-moves-nothing reach-after-heal one-move soft-never-closes newest-wins", 100},
	{"a gateway that starts deletes what it finds", "gateway/adopt.go",
		"if !host || !m.adoptRoute(table, r.Route) {", "if !host || r.Present && table > 0 {", "adopt-not-flush", 200},
	{"a leaf that starts deletes what it finds", "leaf/snapshot.go", "		if first {\n			m.adopt(now, port,", "		if first && port == \"\" {\n			m.adopt(now, port,", "adopt-not-flush", 300},

	// The server's pair.
	{"returns to a leaf that is not ready", "server/linkpair/pair.go",
		"	case used.Up && returning:\n		return p.prepare(now, model.Primary, ", "	case used.Up && (returning || p.active == model.Backup && s.Primary.Up):\n		return p.take(model.Primary, ", "make-before-break one-move reach-after-heal silence-moves-only-to-what-works", 100},
	{"stays on a link that is down", "server/linkpair/pair.go",
		"	case s.Of(other).Up:\n		return p.take(other, p.active.String()+\" link lost\")\n", "", "any-link-beats-none reach-after-heal one-move", 60},
	{"its two links are not isolated", "server/move.go", "Learning: false, Isolated: true}", "Learning: false, Isolated: false}", "one-way-out", 30},
	{"announces guests under its own MAC", "server/announce.go", "host{addr: g.addr, mac: g.mac, port: g.port}", "host{addr: g.addr, mac: m.device.mac, port: g.port}", "announce-the-truth", 60},

	// The engine.
	{"what failed is not tried again", "engine/turn.go", "		w.retry = t.at(now.Mono+pause(w.attempt), step.Timer{})", "		w.retry = t.at(now.Mono+time.Hour, step.Timer{})", "reach-after-heal opens-in-the-end open-only-when-forwarding no-stale-route shelf-is-shut repair-before-failure", 150},
}
