package config

import (
	"time"

	"peerless/internal/server"
)

// RunDir is where sockets and state live unless the config says otherwise.
const RunDir = "/run/peerless"

// The words that keys with a fixed choice take.
const (
	AdvertiseBGP         = "bgp"
	AdvertiseKernelTable = "kernel-table"
	AdvertiseNone        = "none"

	RoutesBGP    = "bgp"
	RoutesKernel = "kernel"
	RoutesNone   = "none"

	EngineFRR  = "frr"
	EngineBIRD = "bird"

	SilentWithdraw = "withdraw"
	SilentClose    = "close"

	FailBackAfter = "after"
	FailBackNever = "never"

	rolePrimary = "primary"
	roleBackup  = "backup"
)

const (
	defaultDownlinkHosts = 256
	defaultLeafHosts     = 16384
	defaultTableBase     = 20100
	defaultGroup         = "all"
)

// Without a feed nobody tells a leaf that a host has moved away, and its claim is as good as the new one unless the engine passes on
// which is newer: it asks its hosts more often.
const (
	feedlessInterval   = 200 * time.Millisecond
	feedlessMultiplier = 2
)

// engineDrain outlasts a routing engine's way to the gateway: FRR's bgpd holds a change for 50 ms on each router.
const engineDrain = 500 * time.Millisecond

// Where the engines listen unless they were told otherwise.
const (
	socketFRR  = "/var/run/frr/zebra.vty"
	socketBIRD = "/run/bird/bird.ctl"
)

func defaultCommon(role string) Common {
	return Common{
		Role:        role,
		Profile:     ProfileDefault,
		CarrierPoll: 5 * time.Millisecond,
		StateDir:    RunDir,
		API:         API{Mode: 0o660},
		Log:         Log{Level: "info", Format: "text"},
	}
}

func defaultBGP() BGP { return BGP{Port: 179, HoldTime: 9 * time.Second} }

func defaultLeaf() *Leaf {
	return &Leaf{
		Common:    defaultCommon(RoleLeaf),
		OpenDelay: OpenDelay{Max: 30 * time.Second, Stagger: 10 * time.Millisecond},
		Probe: Probes{
			Hosts:   Pace{Interval: paceHosts, Multiplier: paceMissed},
			Uplinks: Pace{Interval: paceDefault, Multiplier: paceMissed},
			Links:   Links{Interval: paceDefault, Multiplier: paceMissed, Silent: SilentWithdraw},
		},
		Drain:           50 * time.Millisecond,
		DrainMax:        10 * time.Second,
		Damping:         Damping{HalfLife: 5 * time.Second, Suppress: 2500, Reuse: 1000, Max: time.Minute},
		GracefulRestart: 30 * time.Second,
		Remember:        10 * time.Minute,
		Advertise:       Advertise{Mode: AdvertiseBGP},
		BFD:             defaultBFD(),
		BGP:             defaultBGP(),
	}
}

func defaultGateway() *Gateway {
	return &Gateway{
		Common:          defaultCommon(RoleGateway),
		MaxHosts:        defaultLeafHosts,
		GracefulRestart: 30 * time.Second,
		DefaultRoute:    true,
		TableBase:       defaultTableBase,
		Routes:          Routes{Mode: RoutesBGP},
		BFD:             defaultBFD(),
		Probe:           GatewayProbes{Leaves: Pace{Interval: paceDefault, Multiplier: paceMissed}},
		BGP:             defaultBGP(),
	}
}

func defaultServer() *Server {
	return &Server{
		Common:   defaultCommon(RoleServer),
		FailBack: FailBack{Policy: FailBackAfter, Stable: 5 * time.Second},
		Announce: []time.Duration{
			0, 20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
		},
		Settle:       10 * time.Millisecond,
		StandbyProbe: paceDefault,
		MaxGuests:    server.GuestsDefault,
		Probe: ServerProbes{
			Leaf: Pace{Interval: paceDefault, Multiplier: paceMissed},
		},
	}
}

// defaultElement fills the defaults of one element of a list, or of a block that may be left out, before it is read.
func defaultElement(v any) {
	switch e := v.(type) {
	case *Downlink:
		e.MaxHosts = defaultDownlinkHosts
	case *Group:
		e.MinUplinks = 1
	case *Through:
		e.Interval, e.Multiplier = paceDefault, paceMissed
	case *Pace:
		e.Interval, e.Multiplier = paceDefault, paceMissed
	}
}
