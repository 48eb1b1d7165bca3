package leaf

import "peerless/internal/step"

// What a leaf's notes are about: the slugs of `show events`.
const (
	notePortDown       = "port-down"        // detect: a downlink lost its carrier, or the operator closed it
	notePortUp         = "port-up"          // a downlink serves again
	notePortMissing    = "port-missing"     // a configured device does not exist
	notePortClosed     = "port-closed"      // close: our closing of one downlink is verified
	notePortOpened     = "port-opened"      // open: our opening of one downlink is applied
	notePortOperator   = "port-operator"    // the operator closed a downlink: we never open it
	notePortReclosed   = "port-reclosed"    // the operator opened a port that we hold closed; closed again, once
	notePortYielded    = "port-yielded"     // he opened it again: left open, though the leaf cannot forward
	noteCloseFailed    = "close-failed"     // a downlink could not be closed
	noteHostLearned    = "host-learned"     // learn: a host arrived on a downlink
	noteHostMoved      = "host-moved"       // learn: a host moved between our downlinks, or changed its MAC
	noteHostGone       = "host-gone"        // detect: a host is withdrawn
	noteHostAdopted    = "host-adopted"     // after a restart, the kernel's word is taken until the host is probed
	noteHostVerified   = "host-verified"    // an inherited claim is confirmed
	noteHostLimit      = "host-limit"       // a downlink holds as many hosts as it may
	noteHostUnstable   = "host-unstable"    // a host moves between our ports too often to be followed
	noteDuplicate      = "duplicate"        // one address on two leaves
	noteConflict       = "conflict"         // an address bound by config is used by another port or MAC
	noteGatewayClaimed = "gateway-claimed"  // a host uses the gateway's address
	noteLoop           = "loop"             // our virtual MAC comes back by a downlink: the server bridges its links
	noteMalformed      = "malformed"        // senders that cannot be hosts
	noteUplinkDown     = "uplink-down"      // detect: an uplink became unusable
	noteUplinkUp       = "uplink-up"        // an uplink became usable
	noteUplinkSoft     = "uplink-soft"      // its routing session ended by soft evidence: paths are kept
	noteBFDDown        = "bfd-down"         // BFD with a gateway went down: its kernel is asked
	noteBFDUp          = "bfd-up"           // it came up
	noteLinkageClosed  = "linkage-closed"   // a group closes its downlinks
	noteLinkageWaiting = "linkage-waiting"  // uplinks are back; the downlinks wait until the leaf can forward
	noteLinkageOpen    = "linkage-open"     // every downlink of a group is open again
	noteAdvertised     = "hosts-advertised" // advertise: every host of the cause is advertised
	noteWithdrawn      = "hosts-withdrawn"  // withdraw: every host of the cause is withdrawn
	noteEngineDown     = "engine-down"      // the routing engine beside us does not work
	noteEngineUp       = "engine-up"        // it works again
	noteEngineDeaf     = "engine-deaf"      // it works and has none of our routes
	noteEngineLost     = "engine-lost"      // it lost one: put in again
	noteEngineStale    = "engine-stale"     // it has one that is not in the table: taken out again
	noteTableClash     = "table-clash"      // somebody else's routes are in the table of our hosts
	noteFlood          = "arp-flood"        // a port sends more ARP than is listened to
	noteClaimHeld      = "claim-held"       // an address that another leaf has with another MAC is not taken
	notePortDamped     = "port-damped"      // a flapping downlink is held closed; its hosts reach the other leaf
	noteLocalOnly      = "local-only"       // a group opens without a gateway
	noteDraining       = "draining"         // planned maintenance begins: hosts are asked to leave
	noteDrained        = "drained"          // every downlink is closed
	noteDrainStuck     = "drain-stuck"      // hosts have had their time and cannot leave
	noteDrainRefused   = "drain-refused"    // somebody would have no link left
	noteUndrained      = "undrained"        // and back
	noteLinkSilent     = "link-silent"      // detect: a downlink is up, and none of its hosts answers any more
	noteLinkProven     = "link-proven"      // one of them answers again
	noteInstalled      = "hosts-installed"  // install: every route of the cause is in the kernel
	noteInherited      = "hosts-inherited"  // learn: remembered hosts are taken, since their server has turned up
)

// Timers of the machine.
const (
	timerHosts  = "hosts"  // the one timer of all hosts: probes, verdicts, drains, forgetting
	timerUplink = "uplink" // by port: the next ARP probe of a gateway
	timerDoubt  = "doubt"  // by port: the next quick ARP probe of a gateway that BFD says is silent
	timerSoft   = "soft"   // by port: the graceful-restart time of an uplink is over
	timerReuse  = "reuse"  // by port: a damped port may be used again
	timerLocal  = "local"  // by group number: the gateway has been gone for too long
	timerWatch  = "watch"  // by port: the next question whether the link passes anything
	timerHush   = "hush"   // by port: a downlink that was closed for its silence gets another chance
	timerDrain  = "drain"  // hosts have had their time to leave
	timerClean  = "clean"  // by port: hosts of a port that stopped serving are taken off
	timerPart   = "part"   // by port: the server that was told so has had its time, and the port closes
	timerClaim  = "claim"  // by port: hosts of a server that has turned up are taken and claimed
	timerShelf  = "shelf"  // by port: who stands by is put on its shelf
	timerOpen   = "open"   // by group number: readiness or the next downlink to open
)

func hostsTimer() step.Timer { return step.Timer{Kind: timerHosts} }
