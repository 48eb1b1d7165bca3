// Package gateway is the gateway's machine.
package gateway

import (
	"net/netip"
	"time"

	"peerless/internal/model"
)

// Config is what a gateway is told. The config package checks and fills it; the machine trusts it.
type Config struct {
	Name            string
	RouterID        netip.Addr
	AS              uint32
	Subnets         []netip.Prefix // host routes are accepted only inside
	AttachmentRange netip.Prefix
	Leaves          []Leaf
	ServerPorts     []ServerPort  // names for attachment ids; unnamed ones show their number
	MaxHosts        int           // per leaf
	GracefulRestart time.Duration // how long a leaf's paths outlive its session on soft evidence
	Peer            *Peer         // another gateway, the last resort for hosts whose leaf this gateway cannot reach
	TableBase       uint32        // routing tables are numbered from here
	Default         bool          // originate the default route to the leaves
	Static          []StaticHost
	LeafProbe       Probe        // of static hosts' next hops; no interval: link state alone decides
	BFD             Probe        // with every leaf; no interval: none
	Through         Probe        // whether every leaf forwards; no interval: nobody asks
	NoBGP           bool         // no leaf has a session
	Attachments     []Attachment // what leaves that tell nothing would tell
	Burst           int          // more hosts than that, moving at once, are repaired first and tidied up later; zero: 64
	BypassFrom      int          // a server port with so many hosts, or more, has a bypass; zero: none has
	Engine          string       // Watcher: the routing engine that is watched; empty: none is
}

// Probe paces probes: Multiplier unanswered ones, Interval apart, mean silence.
type Probe struct {
	Interval   time.Duration
	Multiplier int
}

// Attachment is what a server port hangs on, and the hosts behind it as far as they are known.
type Attachment struct {
	ID      model.AttachmentID
	Primary LeafEnd
	Backup  LeafEnd
	Hosts   []netip.Addr
}

// LeafEnd is a port of a configured leaf.
type LeafEnd struct {
	Leaf  string
	Index uint32
}

// Leaf is one leaf below this gateway. A leaf known only by a dynamic-neighbour range has no entry: it is named by its address.
type Leaf struct {
	Name    string
	Port    model.Port // the gateway port to it
	Address netip.Addr // its address on the link: BGP neighbour and next hop
	AS      uint32
	Ports   []LeafPort // names of its ports; unnamed ones show their number
}

// LeafPort names the leaf port with this index.
type LeafPort struct {
	Index uint32
	Name  string
}

// ServerPort names a server port.
type ServerPort struct {
	ID   model.AttachmentID
	Name string
}

// Peer is another gateway on a direct link.
type Peer struct {
	Port    model.Port
	Address netip.Addr
}

// StaticHost is a /32 with two next hops, tracked by link state and by ARP: no routing protocol at all.
type StaticHost struct {
	Addr       netip.Addr
	Attachment model.AttachmentID
	Primary    StaticHop
	Backup     StaticHop
}

// StaticHop is a next hop through a leaf.
type StaticHop struct {
	Leaf string // name of a configured leaf
}
