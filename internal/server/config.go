// Package server is the server's machine.
package server

import (
	"net/netip"
	"time"

	"peerless/internal/model"
)

// Config is what a server is told. The config package checks and fills it; the machine trusts it.
type Config struct {
	Name       string
	Device     model.Port // the bridge or bond that holds the pair
	Primary    model.Port
	Backup     model.Port
	Gateway    netip.Addr
	GatewayMAC model.MAC // the leaves' virtual MAC; zero: no static forwarding entry (bond)
	FailBack   FailBack
	// Announce are the moments after a move at which every address is announced again; the first is at once, 0.
	Announce []time.Duration
	Settle   time.Duration // make before break: from the announcement on the new port to the switch
	Probe    time.Duration // how often a standby port asks whether its leaf is open
	// MaxGuests bounds how many guests are remembered.
	MaxGuests int
	Leaf      Probe // of the active link's leaf, by ARP
	Through   Through
}

// Probe paces probes: Multiplier unanswered ones, Interval apart, mean silence.
type Probe struct {
	Interval   time.Duration
	Multiplier int
}

// Through asks an address beyond the leaf. Without a target nothing is asked.
type Through struct {
	Target netip.Addr
	Probe
}

// GuestsDefault is how many guests are remembered unless told otherwise.
const GuestsDefault = 1024

// FailBack says whether and when the server returns to its primary link.
type FailBack struct {
	Never  bool
	Stable time.Duration // the primary's leaf must have been ready for so long
}
