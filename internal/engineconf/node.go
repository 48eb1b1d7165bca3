package engineconf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"peerless/internal/config"
	"peerless/internal/model"
)

// node is what both engines need to know of a leaf or a gateway.
type node struct {
	leaf      bool
	name      string
	routerID  netip.Addr
	as        uint32
	subnets   []netip.Prefix
	names     netip.Prefix // attachment-range: addresses in it are names, never destinations
	links     []link
	backups   []model.Port // a leaf's downlinks that are the backup links of their servers
	ranges    []config.DynamicLeaves
	hostsMax  int
	originate bool // a gateway tells its leaves a default route
	restart   int  // graceful-restart time, seconds
	hold      int  // BGP hold time, seconds
	port      uint16
	password  string
	table     uint32
	bfd       bool
	bfdMillis int64
	bfdMissed int
}

// link is a port to the other kind of node.
type link struct {
	name    string
	port    model.Port
	address netip.Addr // of the other end
	as      uint32     // 0: any
}

// What every generated configuration is tuned to.
const (
	helloSeconds   = 1
	deadSeconds    = 3 // hello 1 and dead 3 is the fastest that FRR and BIRD both speak, so that either works under the other
	connectSeconds = 1 // pause between two tries to connect
	plainMetric    = 20
	backupMetric   = 10 // of OSPF in FRR: a host behind its backup link
	defaultMetric  = 10
	bfdMillis      = 100 // unless the file says otherwise
	bfdMultiplier  = 3
	// deferSeconds bounds how long a restarted BGP speaker waits for its neighbours before it decides. The usual 360 waits for dead
	// ones too.
	deferSeconds = 5
	// attachmentsMax is room for attachment routes beside the hosts of one leaf.
	attachmentsMax = 1024
	bgpPort        = 179
)

func read(file *config.File, o Options) (*node, error) {
	if file == nil {
		return nil, errors.New("no config")
	}
	var n *node
	switch {
	case file.Leaf != nil:
		n = readLeaf(file.Leaf)
	case file.Gateway != nil:
		n = readGateway(file.Gateway)
	default:
		return nil, fmt.Errorf("%s has role %s: only a leaf or a gateway routes", file.Common().Name, file.Common().Role)
	}
	n.bfd, n.bfdMillis, n.bfdMissed = o.BFD, bfdMillis, bfdMultiplier
	switch {
	case file.Leaf != nil && file.Leaf.BFD.On() && o.BFD:
		return nil, errors.New("bfd is on in the file: peerless itself runs it on this leaf, and the engine must not")
	case file.Gateway != nil && file.Gateway.BFD.On():
		b := file.Gateway.BFD
		n.bfd, n.bfdMillis, n.bfdMissed = true, b.Interval.Milliseconds(), b.Multiplier
	}
	if o.Table != 0 {
		n.table = o.Table
	}
	if n.table == 0 {
		n.table = DefaultTable
	}
	return n, nil
}

func readLeaf(c *config.Leaf) *node {
	n := &node{
		leaf: true, name: c.Name, routerID: c.RouterID, as: c.AS, names: c.AttachmentRange, restart: seconds(c.GracefulRestart),
		hold: seconds(c.BGP.HoldTime), port: c.BGP.Port, password: c.BGP.Password,
	}
	for _, s := range c.Subnets {
		n.subnets = append(n.subnets, s.Prefix)
	}
	if t := c.Advertise.KernelTable; t != nil {
		n.table = t.Table
	}
	for _, u := range c.Uplinks {
		n.links = append(n.links, link{name: string(u.Port), port: u.Port, address: u.Neighbor, as: u.AS})
	}
	for _, d := range c.Downlinks {
		if d.IsBackup() {
			n.backups = append(n.backups, d.Port)
		}
	}
	return n
}

func readGateway(c *config.Gateway) *node {
	n := &node{
		name: c.Name, routerID: c.RouterID, as: c.AS, names: c.AttachmentRange, ranges: c.DynamicLeaves, hostsMax: c.MaxHosts,
		originate: c.DefaultRoute, restart: seconds(c.GracefulRestart),
		hold: seconds(c.BGP.HoldTime), port: c.BGP.Port, password: c.BGP.Password,
	}
	for _, s := range c.Subnets {
		n.subnets = append(n.subnets, s.Prefix)
	}
	for _, l := range c.Leaves {
		n.links = append(n.links, link{name: l.Name, port: l.Port, address: l.Address, as: l.AS})
	}
	return n
}

func seconds(d time.Duration) int { return int(d / time.Second) }

// plainName tells whether a name means itself in both engines' languages: BIRD takes * and ? for patterns and a leading - for a
// negation, FRR takes ? for a cry for help.
func plainName(s string) bool {
	return s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("._-+@", r)
	}) < 0
}

// check reports what the file leaves open though the engine needs it, and what the engine's language cannot say.
func (n *node) check(engine Engine, protocol Protocol) error {
	switch t := n.table; {
	case engine == FRR && t > frrTableMax:
		return fmt.Errorf("FRR does not import kernel table %d; use a number from 1 to %d", t, frrTableMax)
	case t >= 253 && t <= 255:
		return fmt.Errorf("kernel table %d is the kernel's own; use a number from 1 to %d", t, frrTableMax)
	case !n.routerID.IsValid():
		return errors.New("router-id is missing: the engine needs it")
	}
	for _, p := range n.namedPorts(engine, protocol) {
		if !plainName(string(p)) {
			return fmt.Errorf("port name %q has a special meaning to routing engines; rename the device", p)
		}
	}
	if protocol == BGP {
		return n.checkBGP()
	}
	if len(n.ranges) > 0 {
		return errors.New("OSPF runs on ports, and dynamic-leaves names none; list them under leaves")
	}
	return nil
}

// namedPorts lists the ports that the engine's configuration names.
func (n *node) namedPorts(engine Engine, protocol Protocol) []model.Port {
	var out []model.Port
	for _, l := range n.links {
		out = append(out, l.port)
	}
	if engine == FRR && protocol == OSPF {
		out = append(out, n.backups...)
	}
	return out
}

func (n *node) checkBGP() error {
	switch {
	case n.as == 0:
		return errors.New("as is missing: BGP needs it")
	case strings.ContainsAny(n.password, "\"?! \t\r\n"):
		return errors.New("bgp.password has a blank, a quotation, question or exclamation mark, which engines do not take")
	}
	return nil
}
