package bgp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Options of a speaker. The zero value of a duration or limit means its default.
type Options struct {
	AS              uint32
	RouterID        netip.Addr
	ListenPort      int          // 0: 179; -1: do not listen
	ListenAddresses []netip.Addr // none: every IPv4 address
	Neighbors       []Neighbor
	Dynamic         []DynamicRange

	HoldTime        time.Duration // 0: 9 s; at least 3 s (RFC 4271 section 4.2)
	Keepalive       time.Duration // 0: a third of the hold time
	ConnectRetry    time.Duration // pause between two attempts to connect, an eighth of it in the first 5 s; 0: 200 ms
	GracefulRestart time.Duration // the restart time that we tell (RFC 4724), in whole seconds; 0: off
	Restarting      bool          // an earlier life of this speaker had these sessions, and forwarding went on meanwhile

	// Transit lets host routes heard from one neighbour be told to the others: true on a gateway, whose leaves live by
	// this feed; false on a leaf, which must not become a path between two gateways. What carries NO_EXPORT is never passed on.
	Transit          bool
	Withholds        bool           // routes may be withheld from single ones of Neighbors
	AlwaysCompareMED bool           // the lowest MED wins whatever AS it comes from: the newest claim goes into the feed
	Accept           []netip.Prefix // only host routes inside these are heard
	AcceptDefault    bool           // and 0.0.0.0/0
	MaxPrefixes      int            // per neighbour; what goes beyond is not heard, the session stays. 0: no limit

	Logger *slog.Logger
}

// Neighbor is a router that we know by its address.
type Neighbor struct {
	Address       netip.Addr
	AS            uint32     // 0: any
	Passive       bool       // wait for it to connect
	LocalAddress  netip.Addr // invalid: whichever the kernel picks
	BindInterface string     // network device that the connection is bound to; empty: none
	Port          int        // 0: 179
	TTL           int        // 0: 1, it is on a link of ours
	AllowOwnAS    int        // how often our own AS may be in a path heard
	ReplacePeerAS bool       // put our AS in the place of the neighbour's in paths told to it
	Password      string     // TCP MD5 (RFC 2385)
}

// DynamicRange lets every router of a range connect. It is always passive.
type DynamicRange struct {
	Prefix        netip.Prefix
	AS            uint32 // 0: any
	AllowOwnAS    int
	ReplacePeerAS bool
	Password      string
}

const (
	defaultPort         = 179
	defaultHoldTime     = 9 * time.Second
	holdTimeMin         = 3 * time.Second
	defaultConnectRetry = 200 * time.Millisecond

	// A speaker that restarted must not say End-of-RIB before it has told again what it told in its earlier life, or its
	// neighbours forget the rest: sessions begin when its machine has told nothing for settleQuiet, at the latest after
	// deferralMax. So long it also waits for the End-of-RIB of neighbours that do not come (RFC 4724 section 4.1).
	settleQuiet = 100 * time.Millisecond
	deferralMax = 2 * time.Second
)

// checked gives the options with their defaults, or says what is wrong with them.
func (o Options) checked() (Options, error) {
	switch {
	case o.AS == 0:
		return o, errors.New("bgp options: AS number missing")
	case !o.RouterID.Is4():
		return o, fmt.Errorf("bgp options: router id %s: want an IPv4 address", o.RouterID)
	case o.HoldTime != 0 && o.HoldTime < holdTimeMin:
		return o, fmt.Errorf("bgp options: hold time %s: want at least %s", o.HoldTime, holdTimeMin)
	}
	for i, n := range o.Neighbors {
		if !n.Address.Is4() {
			return o, fmt.Errorf("bgp options: neighbour %s: want an IPv4 address", n.Address)
		}
		if slices.ContainsFunc(o.Neighbors[:i], func(m Neighbor) bool { return m.Address == n.Address }) {
			return o, fmt.Errorf("bgp options: neighbour %s given twice", n.Address)
		}
	}
	for _, p := range o.Accept {
		if !p.Addr().Is4() {
			return o, fmt.Errorf("bgp options: accept %s: want an IPv4 prefix", p)
		}
	}
	if o.ListenPort == 0 {
		o.ListenPort = defaultPort
	}
	if len(o.ListenAddresses) == 0 {
		o.ListenAddresses = []netip.Addr{netip.IPv4Unspecified()}
	}
	if o.HoldTime == 0 {
		o.HoldTime = defaultHoldTime
	}
	if o.Keepalive == 0 {
		o.Keepalive = o.HoldTime / 3
	}
	if o.ConnectRetry == 0 {
		o.ConnectRetry = defaultConnectRetry
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// accepts reports whether a prefix may be heard at all.
func (o *Options) accepts(p netip.Prefix) bool {
	if p.Bits() == 0 {
		return o.AcceptDefault
	}
	if !p.IsSingleIP() {
		return false
	}
	for _, within := range o.Accept {
		if within.Contains(p.Addr()) {
			return true
		}
	}
	return false
}
