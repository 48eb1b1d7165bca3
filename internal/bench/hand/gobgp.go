package hand

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
	"github.com/vishvananda/netlink"
)

// AS numbers of the two speakers.
const (
	leafAS    = 65002
	gatewayAS = 65000
)

// sessionMax bounds the wait for the session: GoBGP takes 2 s by itself.
const sessionMax = 20 * time.Second

// neighbor makes the machine that has all hosts known for good, so that no ARP is in the way.
func (n *node) neighbor() error {
	mac, err := net.ParseMAC(n.spec.MAC)
	if err != nil {
		return fmt.Errorf("read MAC: %w", err)
	}
	entry := &netlink.Neigh{LinkIndex: n.port, State: netlink.NUD_PERMANENT, IP: n.spec.Via.AsSlice(), HardwareAddr: mac}
	if err := netlink.NeighSet(entry); err != nil {
		return fmt.Errorf("set neighbour %s: %w", n.spec.Via, err)
	}
	return nil
}

// speaker is GoBGP as its own example sets it up: one neighbour, nothing of ours.
func (n *node) speaker(own, far uint32, heard func([]*apiutil.Path)) (*server.BgpServer, error) {
	ctx := context.Background()
	gobgp := server.NewBgpServer(server.LoggerOption(slog.New(slog.DiscardHandler), nil))
	go gobgp.Serve()
	port := int32(-1)
	if n.spec.Role == Gateway {
		port = 179
	}
	err := gobgp.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{Asn: own, RouterId: n.spec.Local.String(), ListenPort: port}})
	if err != nil {
		return nil, fmt.Errorf("start GoBGP: %w", err)
	}
	up := make(chan struct{})
	var said bool
	err = gobgp.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnPathUpdate: func(p []*apiutil.Path, _ time.Time) { heard(p) },
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
			if !said && e.Type == apiutil.PEER_EVENT_STATE && e.Peer.State.SessionState == bgp.BGP_FSM_ESTABLISHED {
				said = true
				close(up)
			}
		},
	}, server.WatchUpdate(false, "", ""), server.WatchPeer())
	if err != nil {
		return nil, fmt.Errorf("watch GoBGP: %w", err)
	}
	err = gobgp.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: n.spec.Far.String(), PeerAsn: far},
		Transport: &api.Transport{PassiveMode: n.spec.Role == Gateway, LocalAddress: n.spec.Local.String()},
		Timers:    &api.Timers{Config: &api.TimersConfig{ConnectRetry: 1, IdleHoldTimeAfterReset: 1}},
	}})
	if err != nil {
		return nil, fmt.Errorf("add neighbour %s: %w", n.spec.Far, err)
	}
	if n.spec.Role == Gateway {
		return gobgp, nil // the leaf is started after it and waits for both
	}
	select {
	case <-up:
		return gobgp, nil
	case <-time.After(sessionMax):
		return nil, fmt.Errorf("session with %s: not established after %s", n.spec.Far, sessionMax)
	}
}

// announcer advertises and withdraws one host route.
func (n *node) announcer() (announce, withdraw func() error, err error) {
	gobgp, err := n.speaker(leafAS, gatewayAS, func([]*apiutil.Path) {})
	if err != nil {
		return nil, nil, err
	}
	nlri, err := bgp.NewIPAddrPrefix(netip.PrefixFrom(n.spec.First, 32))
	if err != nil {
		return nil, nil, fmt.Errorf("make route: %w", err)
	}
	hop, err := bgp.NewPathAttributeNextHop(n.spec.Local)
	if err != nil {
		return nil, nil, fmt.Errorf("make route: %w", err)
	}
	path := func() []*apiutil.Path {
		return []*apiutil.Path{{
			Family: bgp.RF_IPv4_UC, Nlri: nlri,
			Attrs: []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(0), hop},
		}}
	}
	announce = func() error {
		_, err := gobgp.AddPath(apiutil.AddPathRequest{Paths: path()})
		return err
	}
	withdraw = func() error {
		return gobgp.DeletePath(apiutil.DeletePathRequest{Paths: path()})
	}
	return announce, withdraw, nil
}

// listener acts in GoBGP's own callback.
func (n *node) listener() error {
	_, err := n.speaker(gatewayAS, leafAS, func(paths []*apiutil.Path) {
		for _, p := range paths {
			if !p.Withdrawal {
				n.fire(n.act)
				return
			}
		}
	})
	return err
}
