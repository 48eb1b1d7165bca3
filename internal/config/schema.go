package config

import (
	"net/netip"
	"time"

	"peerless/internal/model"
)

// Common holds the keys of every role.
type Common struct {
	Role        string        `yaml:"role"`
	Name        string        `yaml:"name"`
	Profile     string        `yaml:"profile"`
	CarrierPoll time.Duration `yaml:"carrier-poll"`
	StateDir    string        `yaml:"state-dir"`
	API         API           `yaml:"api"`
	Log         Log           `yaml:"log"`
}

// API is the unix socket that `peerless show` and others ask.
type API struct {
	Socket string `yaml:"socket"`
	Group  string `yaml:"group"`
	Mode   Mode   `yaml:"mode"`
}

// Log is what the daemon writes to stderr.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// BGP is the embedded routing speaker.
type BGP struct {
	Port     uint16        `yaml:"port"`
	HoldTime time.Duration `yaml:"hold-time"`
	Password string        `yaml:"password"`
}

// Leaf holds the keys of a leaf.
type Leaf struct {
	Common          `yaml:",inline"`
	RouterID        netip.Addr    `yaml:"router-id"`
	AS              uint32        `yaml:"as,omitempty"`
	Subnets         []Subnet      `yaml:"subnets"`
	AttachmentRange netip.Prefix  `yaml:"attachment-range"`
	Uplinks         []Uplink      `yaml:"uplinks"`
	Downlinks       []Downlink    `yaml:"downlinks"`
	Linkage         []Group       `yaml:"linkage"`
	OpenDelay       OpenDelay     `yaml:"open-delay"`
	Probe           Probes        `yaml:"probe"`
	Drain           time.Duration `yaml:"drain"`
	DrainMax        time.Duration `yaml:"drain-max"`
	GracefulRestart time.Duration `yaml:"graceful-restart"`
	Remember        time.Duration `yaml:"remember"`
	Damping         Damping       `yaml:"damping"`
	LocalOnly       time.Duration `yaml:"local-only"`
	GuardOwners     bool          `yaml:"guard-owners"`
	Advertise       Advertise     `yaml:"advertise"`
	BFD             BFD           `yaml:"bfd"`
	BGP             BGP           `yaml:"bgp"`
}

// Subnet is a subnet that a leaf serves.
type Subnet struct {
	Prefix  netip.Prefix `yaml:"prefix"`
	Gateway netip.Addr   `yaml:"gateway"`
	MAC     model.MAC    `yaml:"mac"`
}

// Uplink is a leaf's port to a gateway.
type Uplink struct {
	Port     model.Port `yaml:"port"`
	Neighbor netip.Addr `yaml:"neighbor"`
	AS       uint32     `yaml:"as,omitempty"`
}

// Downlink is a leaf's port to a server.
type Downlink struct {
	Port        model.Port   `yaml:"port"`
	Attachment  uint32       `yaml:"attachment"`
	ServerPort  string       `yaml:"server-port,omitempty"`
	Role        string       `yaml:"role"`
	Index       uint32       `yaml:"index"`
	MaxHosts    int          `yaml:"max-hosts"`
	SingleHomed bool         `yaml:"single-homed"`
	StaticHosts []StaticHost `yaml:"static-hosts,omitempty"`
}

// IsBackup tells whether the port is the backup link of its server.
func (l Downlink) IsBackup() bool { return l.Role == roleBackup }

// StaticHost is a host bound to a downlink.
type StaticHost struct {
	Address netip.Addr `yaml:"address"`
	MAC     model.MAC  `yaml:"mac,omitempty"`
}

// Group is a linkage group.
type Group struct {
	Name       string       `yaml:"name"`
	Uplinks    []model.Port `yaml:"uplinks"`
	Downlinks  []model.Port `yaml:"downlinks"`
	MinUplinks int          `yaml:"min-uplinks"`
}

// OpenDelay bounds when closed downlinks open again.
type OpenDelay struct {
	Min     time.Duration `yaml:"min"`
	Max     time.Duration `yaml:"max"`
	Stagger time.Duration `yaml:"stagger"`
}

// Damping bounds how often a flapping port is believed when it comes back.
type Damping struct {
	HalfLife time.Duration `yaml:"half-life"`
	Suppress int           `yaml:"suppress"`
	Reuse    int           `yaml:"reuse"`
	Max      time.Duration `yaml:"max"`
}

// Probes paces the probes of hosts and of the gateway.
type Probes struct {
	Hosts   Pace  `yaml:"hosts"`
	Uplinks Pace  `yaml:"uplinks"`
	Links   Links `yaml:"links"`
}

// Links paces the questions whether a downlink that is up passes anything, and says what follows if not.
type Links struct {
	Interval   time.Duration `yaml:"interval"`
	Multiplier int           `yaml:"multiplier"`
	Silent     string        `yaml:"silent"`
}

// Pace is how often is asked, and how many unanswered questions mean silence.
type Pace struct {
	Interval   time.Duration `yaml:"interval"`
	Multiplier int           `yaml:"multiplier"`
}

// Gateway holds the keys of a gateway.
type Gateway struct {
	Common          `yaml:",inline"`
	RouterID        netip.Addr        `yaml:"router-id"`
	AS              uint32            `yaml:"as,omitempty"`
	Subnets         []GatewaySubnet   `yaml:"subnets"`
	AttachmentRange netip.Prefix      `yaml:"attachment-range"`
	Leaves          []GatewayLeaf     `yaml:"leaves,omitempty"`
	DynamicLeaves   []DynamicLeaves   `yaml:"dynamic-leaves,omitempty"`
	ServerPorts     map[uint32]string `yaml:"server-ports,omitempty"`
	MaxHosts        int               `yaml:"max-hosts"`
	GracefulRestart time.Duration     `yaml:"graceful-restart"`
	DefaultRoute    bool              `yaml:"default-route"`
	Peer            *Peer             `yaml:"peer,omitempty"`
	TableBase       uint32            `yaml:"table-base"`
	StaticHosts     []GatewayHost     `yaml:"static-hosts,omitempty"`
	Attachments     []ServerLinks     `yaml:"attachments,omitempty"`
	Routes          Routes            `yaml:"routes"`
	Probe           GatewayProbes     `yaml:"probe"`
	BFD             BFD               `yaml:"bfd"`
	BGP             BGP               `yaml:"bgp"`
}

// GatewaySubnet is a subnet inside which host routes are accepted.
type GatewaySubnet struct {
	Prefix netip.Prefix `yaml:"prefix"`
}

// GatewayLeaf is a leaf below a gateway.
type GatewayLeaf struct {
	Name    string            `yaml:"name"`
	Port    model.Port        `yaml:"port"`
	Address netip.Addr        `yaml:"address"`
	AS      uint32            `yaml:"as,omitempty"`
	Ports   map[uint32]string `yaml:"ports,omitempty"`
}

// DynamicLeaves accepts every leaf whose address is in the range.
type DynamicLeaves struct {
	Prefix netip.Prefix `yaml:"prefix"`
	AS     uint32       `yaml:"as,omitempty"`
}

// Peer is another gateway on a direct link.
type Peer struct {
	Port    model.Port `yaml:"port"`
	Address netip.Addr `yaml:"address"`
}

// GatewayHost is a static /32 with two next hops.
type GatewayHost struct {
	Address    netip.Addr `yaml:"address"`
	Attachment uint32     `yaml:"attachment,omitempty"`
	Primary    string     `yaml:"primary"`
	Backup     string     `yaml:"backup"`
}

// Server holds the keys of a server.
type Server struct {
	Common       `yaml:",inline"`
	LinkPair     LinkPair        `yaml:"link-pair"`
	FailBack     FailBack        `yaml:"fail-back"`
	Announce     []time.Duration `yaml:"announce"`
	Settle       time.Duration   `yaml:"settle"`
	StandbyProbe time.Duration   `yaml:"standby-probe"`
	MaxGuests    int             `yaml:"max-guests"`
	Probe        ServerProbes    `yaml:"probe"`
}

// ServerProbes paces the probes by which a server notices that the link in use is up and passes nothing.
type ServerProbes struct {
	Leaf    Pace     `yaml:"leaf"`
	Through *Through `yaml:"through,omitempty"`
}

// Through asks an address beyond the leaf.
type Through struct {
	Target     netip.Addr    `yaml:"target"`
	Interval   time.Duration `yaml:"interval"`
	Multiplier int           `yaml:"multiplier"`
}

// LinkPair names the two links of a server and what holds them.
type LinkPair struct {
	Device     model.Port `yaml:"device"`
	Primary    model.Port `yaml:"primary"`
	Backup     model.Port `yaml:"backup"`
	Gateway    netip.Addr `yaml:"gateway"`
	GatewayMAC model.MAC  `yaml:"gateway-mac,omitempty"`
}

// FailBack says whether and when a server returns to its primary link.
type FailBack struct {
	Policy string        `yaml:"policy"`
	Stable time.Duration `yaml:"stable"`
}
