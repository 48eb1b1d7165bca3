package step

import (
	"net/netip"
	"time"

	"peerless/internal/model"
)

// Event is something that happened, told to a machine. Addresses are IPv4 unless a field says otherwise.
type Event interface {
	event()
	String() string
}

// Started is the first event of a machine's life, before anything of the kernel is known.
type Started struct{}

// Snapshot is the whole kernel state that concerns us. It comes once after Started, and again whenever netlink lost
// messages (ENOBUFS): the machine reconciles against it, an absence here is a fact.
type Snapshot struct {
	Reason    string // "start" or why a re-dump was needed
	Ports     []PortState
	Addresses []Address
	Routes    []RouteState    // default routes of the main table by whoever, and every route that bears our mark
	Neighbors []NeighborState // on every configured port
	Rules     []Rule          // only those that bear our mark
	Entries   []FDB           // of the bridge that the driver was told to look into: the static forwarding entry, by whoever,
	Members   []BridgePort    // and the flags of its configured members
	Bonds     []BondActive    // configured bonds that have an active slave
}

// PortChanged tells the new state of a port. A port that vanished comes with Present false.
type PortChanged struct{ PortState }

// PortState is what the kernel says of one network device.
type PortState struct {
	Port      model.Port
	Index     int
	Present   bool
	AdminUp   bool
	Carrier   bool // lower layer up; meaningless while AdminUp is false
	ProtoDown bool
	Ours      bool // the port is closed and it is we who closed it (also in an earlier life)
	MAC       model.MAC
	Master    model.Port // bridge or bond that it belongs to; empty if none
	Kind      string     // "bridge", "bond", "veth", …; empty for physical NICs
}

// Up reports whether the port can carry frames.
func (p PortState) Up() bool { return p.Present && p.AdminUp && p.Carrier && !p.ProtoDown }

// AddressChanged tells that an address came to or left a local port.
type AddressChanged struct {
	Address
	Present bool
}

// RouteChanged tells a route change that we did not make ourselves: a default route of the main table, a route bearing
// our mark that somebody deleted, or a route of a watched table.
type RouteChanged struct{ RouteState }

// RouteState is a route as the kernel has it.
type RouteState struct {
	Route
	Present  bool
	Ours     bool  // bears our mark, route protocol 201
	Protocol uint8 // rtm_protocol of the owner
	LinkDown bool  // RTNH_F_LINKDOWN or RTNH_F_DEAD on every next hop
}

// NeighborChanged tells a change of the kernel's neighbour table that we did not make ourselves.
type NeighborChanged struct{ NeighborState }

// NeighborState is an entry of the kernel's neighbour table.
type NeighborState struct {
	Neighbor
	Present  bool
	Resolved bool // REACHABLE, STALE, DELAY, PROBE, NOARP or PERMANENT: frames can be sent
	Failed   bool // FAILED: the kernel asked and nobody answered
	Ours     bool // NTF_EXT_LEARNED
}

// ARPOp is the operation of an ARP packet (RFC 826).
type ARPOp uint16

// ARP operations. A NAK (RFC 2225) takes back what an answer said of the sender; Linux itself heeds none.
const (
	ARPRequest ARPOp = 1
	ARPReply   ARPOp = 2
	ARPNak     ARPOp = 10
)

// ARPSeen is an ARP packet received on a listened port, never one that we sent. SrcMAC is the Ethernet source.
type ARPSeen struct {
	Port      model.Port
	Op        ARPOp
	SrcMAC    model.MAC
	SenderMAC model.MAC
	SenderIP  netip.Addr
	TargetMAC model.MAC
	TargetIP  netip.Addr
}

// RARPSeen is a reverse ARP request (RFC 903): hypervisors announce a moved guest by it. It names a MAC, no address.
type RARPSeen struct {
	Port model.Port
	MAC  model.MAC
}

// Flooded tells that a port sends more ARP than is listened to: so many packets since the last word on it never became events.
type Flooded struct {
	Port   model.Port
	Frames int
}

// DataSeen is a sampled IP packet received on a listened port.
type DataSeen struct {
	Port model.Port
	MAC  model.MAC // Ethernet source
	Addr netip.Addr
}

// EchoSeen is an ICMP echo reply (RFC 792) received on a listened port, bearing the identifier that Listen asked for: the answer to a
// SendEcho, or one sent with Loop that came back.
type EchoSeen struct {
	Port  model.Port
	From  netip.Addr
	To    netip.Addr
	Ident uint16
	Seq   uint16
}

// SessionReason says why a routing session ended. Whether that is hard or soft evidence is the machine's affair.
type SessionReason uint8

// Reasons of SessionChanged. ReasonNone goes with Up.
const (
	ReasonNone        SessionReason = iota
	ReasonReset                     // TCP reset or closed without a NOTIFICATION
	ReasonHoldTimer                 // hold timer expired
	ReasonCeaseDown                 // received Cease: administrative shutdown, peer de-configured, hard reset (RFC 4486, 8538)
	ReasonCeaseOther                // received Cease of another subcode, or another NOTIFICATION
	ReasonOurs                      // we closed it (ResetSession, shutdown)
	ReasonUnreachable               // never came up: connection refused or timed out
)

// String names the reason for logs.
func (r SessionReason) String() string {
	return [...]string{"none", "connection reset", "hold timer expired", "cease: shutdown", "notification", "closed by us", "unreachable"}[r]
}

// SessionChanged tells that a routing session came up or went down.
type SessionChanged struct {
	Peer     netip.Addr
	RouterID netip.Addr
	AS       uint32
	Up       bool
	Reason   SessionReason
	Detail   string
}

// BFDChanged tells that a wanted BFDSession came up or went down, or runs at another pace. A session that never came up is never told
// of. Down is soft evidence: the neighbour's daemon may be gone while its kernel still forwards.
type BFDChanged struct {
	Port   model.Port
	Peer   netip.Addr
	Up     bool
	Admin  bool          // the neighbour turned it off on purpose: no evidence of anything
	Diag   string        // why it is down, in the words of RFC 5880 section 4.1
	Detect time.Duration // while up: it goes down when the neighbour is not heard for so long
}

// PathsChanged carries the routes of one received UPDATE (or several, coalesced, in order): every path heard from the
// peer, before any best-path choice. A repeat of a known path is told again.
type PathsChanged struct {
	Peer  netip.Addr
	Paths []Path
}

// Path is one route heard from a peer.
type Path struct {
	Prefix    netip.Prefix
	Withdrawn bool
	NextHop   netip.Addr
	ASPath    []uint32
	MED       uint32
	Large     []model.LargeCommunity
}

// EndOfRIB tells that the peer has sent all it had (RFC 4724).
type EndOfRIB struct{ Peer netip.Addr }

// EngineState tells how a routing engine beside us is, and what it has of the routes in the kernel table that it reads.
type EngineState struct {
	Engine  string // "frr" or "bird"
	Running bool
	Detail  string         // why it is not running
	Routes  []netip.Prefix // sorted; none if no table was asked for
}

// Order is what an operator may order.
type Order uint8

// Orders. The zero value is none of them.
const (
	OrderNone    Order = iota
	OrderDrain         // planned maintenance: move everything away, then close
	OrderUndrain       // and back
)

// String names the order as the command line does.
func (o Order) String() string { return [...]string{"none", "drain", "undrain"}[o] }

// Commanded is an operator's order. Whether it was taken is told by the machine's View.
type Commanded struct {
	Order Order
	Force bool // although it takes the last path of somebody
}

// TimerFired tells that an armed timer's time has come. The engine drops stale firings.
type TimerFired struct{ Timer Timer }

// Timer names a timer within a machine; arming the same name replaces it. Unused fields are zero.
type Timer struct {
	Kind string // a short constant of the machine, such as "probe"
	Port model.Port
	Addr netip.Addr
	ID   uint32
}

// Applied reports that a want was made true (or was found true).
type Applied struct {
	Want Want
	Took time.Duration // from the moment the machine asked
}

// Failed reports that a want could not be made true; the engine goes on trying with growing pauses and reports each
// failure. Attempt counts from 1.
type Failed struct {
	Want    Want
	Err     string
	Attempt int
}

func (Commanded) event()       {}
func (Flooded) event()         {}
func (Started) event()         {}
func (Snapshot) event()        {}
func (PortChanged) event()     {}
func (AddressChanged) event()  {}
func (RouteChanged) event()    {}
func (NeighborChanged) event() {}
func (ARPSeen) event()         {}
func (RARPSeen) event()        {}
func (DataSeen) event()        {}
func (EchoSeen) event()        {}
func (SessionChanged) event()  {}
func (BFDChanged) event()      {}
func (PathsChanged) event()    {}
func (EndOfRIB) event()        {}
func (EngineState) event()     {}
func (TimerFired) event()      {}
func (Applied) event()         {}
func (Failed) event()          {}
