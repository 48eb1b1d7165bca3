// Package leaf is the leaf's machine.
package leaf

import (
	"net/netip"
	"time"

	"peerless/internal/leaf/linkage"
	"peerless/internal/liveness"
	"peerless/internal/model"
)

// Config is what a leaf is told. The config package checks and fills it; the machine trusts it.
type Config struct {
	Name            string
	RouterID        netip.Addr
	AS              uint32
	Subnets         []Subnet
	AttachmentRange netip.Prefix // attachment id n is announced as the n-th address
	Uplinks         []Uplink
	Downlinks       []Downlink
	Groups          []linkage.Group // every downlink is in exactly one

	OpenDelayMin time.Duration // a closed downlink stays closed at least so long after the leaf became ready
	OpenDelayMax time.Duration // and is opened at the latest so long after the hard conditions hold, End-of-RIB or not
	OpenStagger  time.Duration // between two downlinks that open

	HostProbe   Probe // hosts on downlinks
	UplinkProbe Probe // the gateway's kernel, by ARP
	BFD         Probe // with every gateway; no interval: none
	LinkProbe   Probe // of a whole downlink, by asking one of its hosts; no interval: none
	CloseSilent bool  // close a downlink whose hosts are all silent, unless its server asks for us and so moves by itself

	ShelfFrom int // so many hosts that stand by on a port, or more, are taken with one rule when their server turns up; zero: always host by host

	Drain           time.Duration // between the withdrawal of a host that moved away and the deletion of its route
	GracefulRestart time.Duration // how long soft evidence is borne
	Remember        time.Duration // how long addresses of an attachment are kept as probe targets; those that another leaf has stay
	DrainMax        time.Duration // planned maintenance: after so long a port is closed though hosts are still behind it
	Drained         *Drained      // an earlier life was ordered to drain
	DefaultFromBGP  bool          // install the default route heard by the embedded BGP; else only watch the kernel's
	Damping         liveness.Damping
	LocalOnly       time.Duration // without a gateway for so long, servers are to reach at least each other; zero: never
	GuardOwners     bool          // an address that another leaf has with another MAC is not taken from it
	Export          Export        // how host routes get to the gateway
}

// Drained is what an earlier life wrote down of a drain.
type Drained struct{ Force bool }

// ExportMode is the way in which host routes get to the gateway.
type ExportMode uint8

// Ways of host routes to the gateway.
const (
	ByBGP    ExportMode = iota // the embedded speaker advertises them
	ByTable                    // a routing engine beside us takes them from a kernel table
	ByNobody                   // the gateway has static routes
)

// Export says how host routes get to the gateway.
type Export struct {
	Mode    ExportMode
	Table   uint32 // ByTable: the kernel table
	Engine  string // ByTable: the engine that is asked what it has of the table; empty: none is
	Recency bool   // ByTable: the metric of a route tells how new it is; the engine passes it on
}

// Subnet is a served subnet: its gateway address and virtual MAC are the same on both leaves.
type Subnet struct {
	Prefix  netip.Prefix
	Gateway netip.Addr
	MAC     model.MAC
}

// Uplink is a port to a gateway.
type Uplink struct {
	Port     model.Port
	Neighbor netip.Addr // the gateway's address on this link; also its BGP address
}

// Downlink is a port to a server.
type Downlink struct {
	model.Attachment
	MaxHosts int
	Single   bool              // its server has no other link
	Static   []model.HostRoute // hosts bound by config; a zero MAC is learned
}

// Probe paces probes: Multiplier unanswered ones, Interval apart, mean silence.
type Probe struct {
	Interval   time.Duration
	Multiplier int
}
