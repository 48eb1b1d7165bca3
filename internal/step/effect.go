package step

import (
	"net/netip"
	"time"

	"peerless/internal/model"
)

// Effect is what a machine asks for: a Want, an Emit or a Timer effect (Arm, Disarm).
type Effect interface {
	effect()
	String() string
}

// Want asks that an object be so, or be absent, until a later want with the same key says otherwise. It is idempotent
// and retried until applied; the outcome comes back as Applied or Failed. Asking again always applies again: the kernel erases
// state silently when a port closes, so the machine repeats what must be re-applied.
type Want struct {
	Object Object
	Absent bool
	After  Key    // if set: apply only once the latest want of that key is applied. A key never wanted does not block.
	Urgent bool   // closings and withdrawals: go before everything else that is queued
	Why    string // feeds the log, `peerless why`, the web page and golden files
	Cause  Cause
}

// Key is the want's identity.
func (w Want) Key() Key { return w.Object.Key() }

// Object is a thing that can be wanted.
type Object interface {
	Key() Key
	String() string
}

// Kind is the kind of an object; a sink declares which kinds it applies.
type Kind uint8

// Kinds of objects. The zero kind is no object.
const (
	KindNone Kind = iota
	KindGate
	KindAddress
	KindHardwareAddress
	KindSysctl
	KindRoute
	KindNeighbor
	KindRule
	KindFDB
	KindBridgePort
	KindBondActive
	KindListen
	KindAdvertisement
	KindMemo
	KindBFDSession
)

// Key identifies an object. Unused fields are zero.
type Key struct {
	Kind   Kind
	Port   model.Port
	Prefix netip.Prefix
	Number uint32 // table of a route, priority of a rule
	Metric uint32
	MAC    model.MAC
	Name   string
}

// Gate is whether a port is open (frames pass) or closed by us. Closing is applied only when it is verified. Absent means
// that we no longer care: the port is left as it is, and is not ours any more.
type Gate struct {
	Port   model.Port
	Closed bool
}

// Address is an IP address with its prefix length on a port.
type Address struct {
	Port          model.Port
	Prefix        netip.Prefix // host bits kept: 10.10.10.254/32
	NoPrefixRoute bool
}

// HardwareAddress is a port's own MAC address. Absent is not meaningful.
type HardwareAddress struct {
	Port model.Port
	MAC  model.MAC
}

// Sysctl is a value below /proc/sys; Path uses slashes: "net/ipv4/conf/A1/rp_filter". Absent is not meaningful.
type Sysctl struct{ Path, Value string }

// NextHop is one way out. An invalid Via means directly connected.
type NextHop struct {
	Dev model.Port
	Via netip.Addr
}

// Route is a kernel route bearing our mark (protocol 201). Table 0 means main (254). A route with Blackhole set has no
// next hop. More holds further equal-cost next hops. Identity is table, prefix and metric.
type Route struct {
	Table     uint32
	Prefix    netip.Prefix
	Metric    uint32
	Blackhole bool
	NextHop   NextHop
	More      []NextHop
}

// Neighbor is a kernel neighbour entry NUD_PERMANENT | NTF_EXT_LEARNED: the kernel neither probes nor ages it, and keeps it when the carrier
// is lost: with NUD_NOARP it would delete, and tell of, all entries of the port before it tells that the carrier is lost.
type Neighbor struct {
	Port model.Port
	Addr netip.Addr
	MAC  model.MAC
}

// Rule is a policy routing rule bearing our mark. Identity is the whole rule. A SuppressPrefixLen of -1 means none.
type Rule struct {
	Priority          uint32
	IIF               model.Port   // empty: any
	To                netip.Prefix // invalid: any
	Table             uint32
	SuppressPrefixLen int
	Blackhole         bool
}

// FDB is a static forwarding entry of a bridge: frames for MAC leave by Port. Identity is the bridge and MAC, so that a want
// for another port of the same bridge is one replace.
type FDB struct {
	Bridge model.Port
	MAC    model.MAC
	Port   model.Port
}

// BridgePort is the set of flags of a bridge member that peerless owns.
type BridgePort struct {
	Port     model.Port
	Flood    bool // unknown unicast, multicast and broadcast leave by it
	Learning bool
	Isolated bool
}

// BondActive is the active slave of an active-backup bond.
type BondActive struct {
	Bond   model.Port
	Active model.Port
}

// Sampling says how many received IP packets become DataSeen.
type Sampling uint8

// Sampling modes. The driver rate-limits each of them per port.
const (
	SampleNone Sampling = iota
	SampleFew           // about one in 64: a port whose hosts are known
	SampleAll           // a port without a known host: the first packet counts
)

// Listen asks for ARP, RARP and sampled data of a port as events. Also the port's frames are sent by the same socket.
type Listen struct {
	Port     model.Port
	Sampling Sampling
	Hosts    int    // how many may be behind the port: so many announcements at once are no flood
	Echo     uint16 // ICMP echo replies with this identifier are told as EchoSeen; zero: none are
	ARPOnly  bool   // of a port that is in no bridge: what else comes is not even looked at
	Answers  bool   // of ARP, no requests
}

// Memo is a line that the node's next life must know, under a name. Absent forgets it.
type Memo struct{ Name, Text string }

// Advertisement is one route told to every neighbour.
type Advertisement struct {
	Prefix   netip.Prefix
	NextHop  netip.Addr // invalid: this speaker's own address on each session
	MED      uint32
	HasMED   bool
	NoExport bool // RFC 1997 NO_EXPORT
	Large    []model.LargeCommunity
	Withheld []netip.Addr // configured neighbours that are not told it, and are told its withdrawal if they were
}

// BFDSession is bidirectional forwarding detection with a neighbour on a port (RFC 5880, asynchronous; RFC 5881, single hop). Interval
// is what we want to send and are able to receive; the neighbour may ask for less.
type BFDSession struct {
	Port       model.Port
	Peer       netip.Addr
	Interval   time.Duration
	Multiplier int
}

// SendARP sends one ARP packet at once. It is an Emit: fired once, never retried.
type SendARP struct {
	Port      model.Port
	Op        ARPOp
	DstMAC    model.MAC // Ethernet destination
	SrcMAC    model.MAC // Ethernet source; zero: same as SenderMAC
	SenderMAC model.MAC
	SenderIP  netip.Addr // 0.0.0.0 for an RFC 5227 probe
	TargetMAC model.MAC
	TargetIP  netip.Addr
	Urgent    bool // goes before everything of its step that is not
	Why       string
}

// SendEcho sends one ICMP echo request (RFC 792) straight out of a port, past routes and neighbour entries: it asks whether the router
// with that hardware address forwards, by way of an answer from beyond it. It is an Emit.
type SendEcho struct {
	Port   model.Port
	DstMAC model.MAC
	SrcMAC model.MAC
	From   netip.Addr
	To     netip.Addr
	Ident  uint16
	Seq    uint16
	Loop   bool // an echo reply instead, which nobody answers: From and To are ours, and the router itself sends it back
	Why    string
}

// Resolve asks the kernel to resolve a neighbour now (NTF_USE), for a next hop without an entry.
type Resolve struct {
	Port model.Port
	Addr netip.Addr
	Why  string
}

// ResetSession tears the routing session down at once, forgets everything heard on it, and reconnects as soon as the
// peer can be reached.
type ResetSession struct {
	Peer netip.Addr
	Why  string
}

// Stage is a step of a failover, for the ledger.
type Stage uint8

// Stages of a failover in their usual order.
const (
	StageNone Stage = iota
	StageDetect
	StageWithdraw
	StageLearn
	StageAdvertise
	StageInstall
	StageAnnounce
	StageClose
	StageOpen
)

// Note records a fact for the journal: what `show events` lists and what operators read. What is a short slug from the list in
// docs/operations.md ("port-down", "host-learned", "fault", …).
type Note struct {
	Warn       bool // an operator would act on it
	What       string
	Port       model.Port
	Addr       netip.Addr
	Attachment model.AttachmentID
	ServerPort string
	Peer       string
	Text       string // what happened, one line: "port A2 down"
	Why        string // "carrier lost"
	Stage      Stage
	Hosts      int // how many hosts it concerns, when it concerns several
	Cause      Cause
}

// Arm sets a timer to fire at the given monotonic instant.
type Arm struct {
	Timer Timer
	At    time.Duration
}

// Disarm forgets a timer.
type Disarm struct{ Timer Timer }

func (Want) effect()         {}
func (SendARP) effect()      {}
func (SendEcho) effect()     {}
func (Resolve) effect()      {}
func (ResetSession) effect() {}
func (Note) effect()         {}
func (Arm) effect()          {}
func (Disarm) effect()       {}

// Key gives the identity of the object.
func (o Gate) Key() Key { return Key{Kind: KindGate, Port: o.Port} }

// Key gives the identity of the object.
func (o Address) Key() Key { return Key{Kind: KindAddress, Port: o.Port, Prefix: o.Prefix} }

// Key gives the identity of the object.
func (o HardwareAddress) Key() Key { return Key{Kind: KindHardwareAddress, Port: o.Port} }

// Key gives the identity of the object.
func (o Sysctl) Key() Key { return Key{Kind: KindSysctl, Name: o.Path} }

// Key gives the identity of the object.
func (o Route) Key() Key {
	return Key{Kind: KindRoute, Number: o.Table, Prefix: o.Prefix, Metric: o.Metric}
}

// Key gives the identity of the object.
func (o Neighbor) Key() Key {
	return Key{Kind: KindNeighbor, Port: o.Port, Prefix: netip.PrefixFrom(o.Addr, o.Addr.BitLen())}
}

// Key gives the identity of the object.
func (o Rule) Key() Key {
	name := "lookup"
	if o.Blackhole {
		name = "blackhole"
	}
	return Key{Kind: KindRule, Number: o.Priority, Port: o.IIF, Prefix: o.To, Metric: o.Table, Name: name}
}

// Key gives the identity of the object.
func (o FDB) Key() Key { return Key{Kind: KindFDB, Port: o.Bridge, MAC: o.MAC} }

// Key gives the identity of the object.
func (o BridgePort) Key() Key { return Key{Kind: KindBridgePort, Port: o.Port} }

// Key gives the identity of the object.
func (o BondActive) Key() Key { return Key{Kind: KindBondActive, Port: o.Bond} }

// Key gives the identity of the object.
func (o Listen) Key() Key { return Key{Kind: KindListen, Port: o.Port} }

// Key gives the identity of the object.
func (o Advertisement) Key() Key { return Key{Kind: KindAdvertisement, Prefix: o.Prefix} }

// Key gives the identity of the object.
func (o Memo) Key() Key { return Key{Kind: KindMemo, Name: o.Name} }

// Key gives the identity of the object.
func (o BFDSession) Key() Key {
	return Key{Kind: KindBFDSession, Port: o.Port, Prefix: HostPrefix(o.Peer)}
}
