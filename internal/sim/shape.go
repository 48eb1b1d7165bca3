package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"peerless/internal/gateway"
	"peerless/internal/leaf"
	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	srv "peerless/internal/server"
	"peerless/internal/step"
)

// shape is a topology before it is built.
type shape struct {
	gateways    int
	leaves      int
	uplinks     [][]int // of each leaf: its gateways
	peers       bool    // the gateways have a link of their own
	sameAS      bool
	protoDn     []bool // leaves that close by protodown
	needAll     bool   // every leaf needs all of its uplinks
	servers     []serverShape
	uplinkPorts []int // numbers of the leaves' uplink ports; nil: 0, then 9n
}

type serverShape struct {
	name            string
	primary, backup int // leaves; backup -1: single-homed
	kind            serverKind
	hears           bool // bond: all_slaves_active
	guests          int
	never           bool // no fail-back
	index           int  // number of its leaf ports and attachment; 0: its place in the list
	guestNames      []string
}

type serverKind uint8

const (
	drivenBridge serverKind = iota
	drivenBond
	plainBond
)

// pace is how quick everything is.
type pace struct {
	hostProbe, uplinkProbe, standbyProbe time.Duration
	openMin, openMax, stagger            time.Duration
	remember, stable, grace, hold        time.Duration
	speaks                               time.Duration
	linkDelay                            time.Duration
	bfd                                  time.Duration // interval; zero: off
}

// usual is the pace of the labs.
func usual() pace {
	return pace{hostProbe: time.Second, uplinkProbe: 300 * time.Millisecond, standbyProbe: 100 * time.Millisecond, openMax: 30 * time.Second,
		stagger: 10 * time.Millisecond, remember: 10 * time.Minute, stable: time.Second, grace: 30 * time.Second, hold: 9 * time.Second,
		speaks: 500 * time.Millisecond, linkDelay: 50 * time.Microsecond}
}

// draw gives a shape and a pace. Most worlds are small, so that many can be run; a few are as large as they come.
func draw(r *rand.Rand) (shape, pace) {
	s := shape{gateways: 1 + r.IntN(2), leaves: 2, sameAS: chance(r, 15), needAll: chance(r, 10)}
	if chance(r, 30) {
		s.leaves = 3 + r.IntN(2)
	}
	s.peers = s.gateways == 2 && chance(r, 70)
	for l := range s.leaves {
		ups := []int{0}
		if s.gateways == 2 {
			ups = pick(r, []int{0, 1}, []int{0, 1}, []int{0}, []int{1})
			if l == 0 && len(ups) == 1 && ups[0] == 1 {
				ups = []int{0, 1}
			}
		}
		s.uplinks = append(s.uplinks, ups)
		s.protoDn = append(s.protoDn, chance(r, 25))
	}
	count := 1 + r.IntN(4)
	switch x := r.IntN(100); {
	case x < 3:
		count = 33 + r.IntN(32)
	case x < 25:
		count = 5 + r.IntN(12)
	}
	for i := range count {
		a := r.IntN(s.leaves)
		b := (a + 1 + r.IntN(s.leaves-1)) % s.leaves
		sv := serverShape{name: fmt.Sprintf("S%d", i+1), primary: a, backup: b, kind: pick(r, drivenBridge, drivenBridge, drivenBridge, plainBond, plainBond, drivenBond),
			hears: chance(r, 60), never: chance(r, 10)}
		if chance(r, 4) {
			sv.backup, sv.kind = -1, plainBond
		}
		if chance(r, 40) {
			sv.guests = 1 + r.IntN(3)
		}
		if chance(r, 5) {
			sv.guests = 8
		}
		s.servers = append(s.servers, sv)
	}
	p := pace{
		hostProbe: pick(r, 200*time.Millisecond, 500*time.Millisecond, time.Second), uplinkProbe: pick(r, 100*time.Millisecond, 300*time.Millisecond),
		standbyProbe: pick(r, 100*time.Millisecond, 200*time.Millisecond), openMin: pick(r, 0, 50*time.Millisecond),
		openMax: pick(r, time.Second, 3*time.Second), stagger: pick(r, time.Millisecond, 10*time.Millisecond),
		remember: pick(r, 20*time.Second, 10*time.Minute), stable: pick(r, 300*time.Millisecond, 2*time.Second),
		grace: pick(r, 3*time.Second, 6*time.Second), hold: pick(r, 3*time.Second, 9*time.Second),
		speaks: pick(r, 300*time.Millisecond, time.Second), linkDelay: pick(r, 20*time.Microsecond, 100*time.Microsecond, time.Millisecond),
	}
	if chance(r, 50) {
		p.bfd = pick(r, 20*time.Millisecond, 100*time.Millisecond)
	}
	if count > 32 {
		p.hostProbe, p.standbyProbe, p.speaks = time.Second, 200*time.Millisecond, 2*time.Second
	}
	return s, p
}

// hostMAC gives each host a hardware address that people can read the IP address from.
func hostMAC(a netip.Addr) model.MAC {
	b := a.As4()
	return model.MAC{2, 0, b[0], b[1], b[2], b[3]}
}

func (w *World) build(s shape, p pace, h habits) {
	w.cfg.habits = h
	w.cfg.subnet = netip.MustParsePrefix("10.10.8.0/21")
	w.cfg.gatewayIP = netip.MustParseAddr("10.10.10.254")
	w.cfg.virtualMAC = model.MAC{2, 0, 0x5e, 0, 0, 1}
	w.cfg.attach = netip.MustParsePrefix("10.255.0.0/16")
	w.cfg.grace, w.cfg.hold, w.cfg.tableBase = p.grace, p.hold, 20100
	w.byAddr = map[netip.Addr]*host{}
	for g := range s.gateways {
		w.addGateway(s, p, g)
	}
	for l := range s.leaves {
		w.addLeaf(s, p, l)
	}
	w.wireUplinks(s, p)
	for i := range s.servers {
		w.addServer(s, p, i)
	}
	for _, n := range w.leaves {
		w.finishLeaf(s, n)
		n.adopt(h)
	}
	for _, g := range w.gateways {
		g.gw.BypassFrom = h.shelf
		g.gw.Through = gateway.Probe{Interval: h.crossing, Multiplier: detectMultiplier}
	}
	for _, n := range append(slices.Clone(w.leaves), w.gateways...) {
		if h.mgmt {
			n.manage()
		}
	}
	for _, n := range w.nodes {
		for _, p := range n.kernel.ports {
			p.hw = p.mac
		}
		n.pristine = n.kernel.print()
	}
	w.startAll()
}

func (w *World) addGateway(s shape, p pace, g int) {
	name := fmt.Sprintf("G%d", g+1)
	if s.gateways == 1 {
		name = "G"
	}
	n := w.addNode(name, gatewayRole)
	n.own = netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + g)})
	n.gw = gateway.Config{Name: name, RouterID: n.own, AS: 65000, Subnets: []netip.Prefix{w.cfg.subnet}, AttachmentRange: w.cfg.attach,
		MaxHosts: 4096, Burst: w.burst(), GracefulRestart: w.cfg.grace, TableBase: w.cfg.tableBase, Default: true,
		BFD:       gateway.Probe{Interval: p.bfd, Multiplier: detectMultiplier},
		LeafProbe: gateway.Probe{Interval: 100 * time.Millisecond, Multiplier: 3}}
	n.daemon = &daemon{node: n}
	n.daemon.speaker = &speaker{d: n.daemon}
	n.daemon.machine = func() step.Machine { return gateway.New(n.gw) }
	w.gateways = append(w.gateways, n)
}

func (w *World) addLeaf(s shape, p pace, l int) {
	name := string(rune('A' + l))
	n := w.addNode(name, leafRole)
	n.own = netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + l)})
	n.protoDown = s.protoDn != nil && s.protoDn[l]
	n.leaf = leaf.Config{
		Name: name, RouterID: n.own, AS: uint32(65001 + l), AttachmentRange: w.cfg.attach,
		Subnets:      []leaf.Subnet{{Prefix: w.cfg.subnet, Gateway: w.cfg.gatewayIP, MAC: w.cfg.virtualMAC}},
		OpenDelayMin: p.openMin, OpenDelayMax: p.openMax, OpenStagger: p.stagger,
		HostProbe: leaf.Probe{Interval: p.hostProbe, Multiplier: 3}, UplinkProbe: leaf.Probe{Interval: p.uplinkProbe, Multiplier: 3},
		BFD:   leaf.Probe{Interval: p.bfd, Multiplier: detectMultiplier},
		Drain: 50 * time.Millisecond, GracefulRestart: p.grace, Remember: p.remember, DefaultFromBGP: true,
	}
	if s.sameAS {
		n.leaf.AS = 65001
	}
	n.daemon = &daemon{node: n}
	n.daemon.speaker = &speaker{d: n.daemon}
	n.daemon.machine = n.newLeaf
	w.leaves = append(w.leaves, n)
}

// downlinkHosts is how many hosts a leaf takes on a port.
const downlinkHosts = 16

func portMAC(kind byte, a, b int) model.MAC {
	return model.MAC{2, 1, kind, byte(a >> 8), byte(a), byte(b)}
}

// wireUplinks joins leaves and gateways, and the gateways.
func (w *World) wireUplinks(s shape, p pace) {
	for l, n := range w.leaves {
		for i, g := range s.uplinks[l] {
			gw := w.gateways[g]
			base := netip.AddrFrom4([4]byte{172, 31, byte(10*l + g), 1})
			up := gw.addPort(model.Port("to-"+n.name), portMAC(1, g, l))
			up.addrs = []step.Address{{Port: up.name, Prefix: netip.PrefixFrom(base, 30)}}
			name := fmt.Sprintf("%s0", n.name)
			switch {
			case i < len(s.uplinkPorts):
				name = fmt.Sprintf("%s%d", n.name, s.uplinkPorts[i])
			case i > 0:
				name = fmt.Sprintf("%s9%d", n.name, i)
			}
			low := n.addPort(model.Port(name), portMAC(2, l, i))
			low.addrs = []step.Address{{Port: low.name, Prefix: netip.PrefixFrom(base.Next(), 30)}}
			k := w.connect(up, low, p.linkDelay)
			n.leaf.Uplinks = append(n.leaf.Uplinks, leaf.Uplink{Port: low.name, Neighbor: base})
			gw.gw.Leaves = append(gw.gw.Leaves, gateway.Leaf{Name: n.name, Port: up.name, Address: base.Next(), AS: n.leaf.AS})
			if session := w.addSession(k, n, gw, base.Next(), base); p.bfd > 0 {
				session.watched(p.bfd)
			}
		}
	}
	if !s.peers {
		return
	}
	a, b := w.gateways[0], w.gateways[1]
	base := netip.AddrFrom4([4]byte{172, 31, 200, 1})
	pa, pb := a.addPort("to-G2", portMAC(1, 0, 99)), b.addPort("to-G1", portMAC(1, 1, 99))
	pa.addrs = []step.Address{{Port: pa.name, Prefix: netip.PrefixFrom(base, 30)}}
	pb.addrs = []step.Address{{Port: pb.name, Prefix: netip.PrefixFrom(base.Next(), 30)}}
	w.connect(pa, pb, p.linkDelay)
	a.gw.Peer = &gateway.Peer{Port: pa.name, Address: base.Next()}
	b.gw.Peer = &gateway.Peer{Port: pb.name, Address: base}
}

func (w *World) addServer(s shape, p pace, i int) {
	sh := s.servers[i]
	if sh.index == 0 {
		sh.index = i + 1
	}
	n := w.addNode(sh.name, serverRole)
	sv := &server{node: n, kind: "bridge", device: "br0", id: model.AttachmentID(sh.index), hears: sh.hears, miimon: 10 * time.Millisecond}
	if sh.kind != drivenBridge {
		sv.kind, sv.device = "bond", "bond0"
	}
	n.server = sv
	own := netip.AddrFrom4([4]byte{10, 10, 10, byte(i + 1)})
	dev := n.addPort(sv.device, hostMAC(own))
	dev.seen = true
	dev.addrs = []step.Address{{Port: sv.device, Prefix: netip.PrefixFrom(own, w.cfg.subnet.Bits())}}
	w.attach(n, sh.primary, sh.index, model.Primary, p)
	if sh.backup >= 0 {
		w.attach(n, sh.backup, sh.index, model.Backup, p)
	}
	w.addHost(n, own, "", p.speaks)
	if sh.guests > 0 && sv.kind == "bond" {
		br := n.addPort("br0", hostMAC(own))
		br.seen = true
		dev.master = "br0"
		dev.addrs[0].Port = "br0"
		br.addrs, dev.addrs = dev.addrs, nil
	}
	for g := range sh.guests {
		addr := netip.AddrFrom4([4]byte{10, 10, byte(11 + g/4), byte(i*4 + g%4)})
		if sh.guestNames != nil {
			addr = netip.AddrFrom4([4]byte{10, 10, 10, byte(11 + g)})
		}
		w.addHost(n, addr, model.Port(fmt.Sprintf("tap%d", i*8+g)), p.speaks)
	}
	if sh.kind != plainBond {
		n.daemon = &daemon{node: n}
		cfg := srv.Config{Name: n.name, Device: sv.device, Primary: "eth0", Backup: "eth1", Gateway: w.cfg.gatewayIP,
			FailBack: srv.FailBack{Never: sh.never, Stable: p.stable}, Settle: 10 * time.Millisecond, Probe: p.standbyProbe,
			Leaf:     srv.Probe{Interval: p.standbyProbe, Multiplier: 3},
			Announce: []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}}
		if sv.kind == "bridge" {
			cfg.GatewayMAC = w.cfg.virtualMAC
		}
		if t := w.cfg.habits.through; t > 0 {
			cfg.Through = srv.Through{Target: outside, Probe: srv.Probe{Interval: t, Multiplier: 3}}
		}
		n.daemon.machine = func() step.Machine { return srv.New(cfg) }
	}
	w.servers = append(w.servers, n)
}

// attach wires a server to a leaf.
func (w *World) attach(n *node, l, i int, r model.Role, p pace) {
	lf := w.leaves[l]
	down := lf.addPort(model.Port(fmt.Sprintf("%s%d", lf.name, i)), portMAC(3, l, i))
	eth := n.addPort("eth0", portMAC(4, i, 0))
	if r == model.Backup {
		eth.name, eth.mac = "eth1", portMAC(4, i, 1)
	}
	eth.master = n.server.device
	n.server.links = append(n.server.links, eth)
	w.connect(down, eth, p.linkDelay)
	lf.leaf.Downlinks = append(lf.leaf.Downlinks, leaf.Downlink{
		Attachment: model.Attachment{ID: n.server.id, Port: down.name, PortIndex: uint32(i), ServerPort: n.name, Role: r}, MaxHosts: downlinkHosts,
	})
}

// burst makes what many hosts call for happen with few of them, in every third world.
func (w *World) burst() int {
	if w.seed%3 == 0 {
		return 1
	}
	return 0
}

func (w *World) addHost(n *node, addr netip.Addr, tap model.Port, speaks time.Duration) {
	h := &host{addr: addr, mac: hostMAC(addr), at: n, tap: tap, speaks: speaks}
	if tap != "" {
		p := n.addPort(tap, portMAC(5, int(n.server.id), len(n.kernel.ports)))
		p.master, p.seen = n.server.guestBridge(), true
	}
	n.server.hosts = append(n.server.hosts, h)
	w.hosts = append(w.hosts, h)
	w.byAddr[addr] = h
}

// finishLeaf makes the one linkage group.
func (w *World) finishLeaf(s shape, n *node) {
	g := linkage.Group{Name: "all", MinUplinks: 1}
	for _, u := range n.leaf.Uplinks {
		g.Uplinks = append(g.Uplinks, u.Port)
	}
	for _, d := range n.leaf.Downlinks {
		g.Downlinks = append(g.Downlinks, d.Port)
	}
	if s.needAll {
		g.MinUplinks = len(g.Uplinks)
	}
	n.leaf.Groups = []linkage.Group{g}
}

// startAll is the first moment: links come up, daemons start one after the other.
func (w *World) startAll() {
	for _, l := range w.links {
		for _, p := range l.ends {
			p.seen = p.carrier()
		}
	}
	for _, n := range w.nodes {
		if n.server != nil {
			n.server.boot()
		}
		if n.daemon != nil {
			w.after(between(w.rng, 0, 300*time.Millisecond), n.daemon.start)
		}
	}
	for _, s := range w.sessions {
		s.ends[0].in, s.ends[1].in = map[netip.Prefix]inPath{}, map[netip.Prefix]inPath{}
		w.after(between(w.rng, 0, tickEvery), s.tick)
	}
	for _, h := range w.hosts {
		h.live()
	}
	w.after(patrolEvery, w.judge.patrol)
}
