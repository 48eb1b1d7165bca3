package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// start brings GoBGP up without neighbours. The channel takes connections for it.
func start(ctx context.Context, o *Options, log logHandler) (*server.BgpServer, chan<- net.Conn, error) {
	gobgp := server.NewBgpServer(server.LoggerOption(slog.New(log), nil))
	accept, err := acceptChannel(gobgp)
	if err != nil {
		gobgp.Stop()
		return nil, nil, err
	}
	*accept = make(chan net.Conn) // for a speaker that does not listen; otherwise GoBGP makes one
	go gobgp.Serve()
	if err := configure(ctx, gobgp, o); err != nil {
		gobgp.Stop()
		return nil, nil, err
	}
	return gobgp, *accept, nil
}

func configure(ctx context.Context, gobgp *server.BgpServer, o *Options) error {
	listen := make([]string, len(o.ListenAddresses))
	for i, a := range o.ListenAddresses {
		listen[i] = a.String()
	}
	err := gobgp.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: o.AS, RouterId: o.RouterID.String(), ListenPort: int32(o.ListenPort), ListenAddresses: listen,
		Families:              []uint32{0}, // IPv4 unicast in GoBGP's own numbering
		RouteSelectionOptions: &api.RouteSelectionOptionsConfig{AlwaysCompareMed: o.AlwaysCompareMED},
	}})
	if err != nil {
		return startError(o, err)
	}
	if err := importPolicy(ctx, gobgp, o); err != nil {
		return fmt.Errorf("start bgp: set import policy: %w", err)
	}
	if err := exportPolicy(ctx, gobgp, o); err != nil {
		return fmt.Errorf("start bgp: set export policy: %w", err)
	}
	return nil
}

// startError says what an operator can do about a port that cannot be had.
func startError(o *Options, err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "listen" {
		return fmt.Errorf("start bgp: %w", err)
	}
	cause := op.Err
	for next := errors.Unwrap(cause); next != nil; next = errors.Unwrap(cause) {
		cause = next
	}
	host := ""
	if a, ok := op.Addr.(*net.TCPAddr); ok && !a.IP.IsUnspecified() {
		host = a.IP.String()
	}
	return fmt.Errorf("listen on %s: %w (BGP; another daemon may have it: see bgp.port)",
		net.JoinHostPort(host, strconv.Itoa(o.ListenPort)), cause)
}

// importPolicy decides what enters GoBGP's own table, from which it tells other neighbours: without Transit, only our own
// routes. What the machine hears does not depend on it. GoBGP itself does not heed NO_EXPORT (RFC 1997).
func importPolicy(ctx context.Context, gobgp *server.BgpServer, o *Options) error {
	const hosts, private = "hosts", "no-export"
	accept := &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT}
	reject := &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_REJECT}
	policy := &api.Policy{Name: "peerless", Statements: []*api.Statement{{
		Name: "own", Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL}, Actions: accept,
	}}}
	if o.Transit && len(o.Accept) > 0 {
		sets := []*api.DefinedSet{
			{DefinedType: api.DefinedType_DEFINED_TYPE_COMMUNITY, Name: private, List: []string{"^65535:65281$", "^65535:65282$"}},
			{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: hosts},
		}
		for _, p := range o.Accept {
			sets[1].Prefixes = append(sets[1].Prefixes, &api.Prefix{IpPrefix: p.Masked().String(), MaskLengthMin: 32, MaskLengthMax: 32})
		}
		for _, set := range sets {
			if err := gobgp.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
				return err
			}
		}
		anyOf := func(name string) *api.MatchSet { return &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: name} }
		policy.Statements = append(policy.Statements,
			&api.Statement{Name: private, Conditions: &api.Conditions{CommunitySet: anyOf(private)}, Actions: reject},
			&api.Statement{Name: hosts, Conditions: &api.Conditions{PrefixSet: anyOf(hosts)}, Actions: accept})
	}
	if err := gobgp.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return err
	}
	return gobgp.AddPolicyAssignment(ctx, &api.AddPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_IMPORT, Policies: []*api.Policy{{Name: policy.Name}},
		DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}})
}

// admit lets the neighbours in. Those that we know go first, lest they be taken for dynamic ones.
func (o *Options) admit(ctx context.Context, gobgp *server.BgpServer) error {
	for _, n := range o.Neighbors {
		if err := gobgp.AddPeer(ctx, &api.AddPeerRequest{Peer: o.peer(n, o.Restarting)}); err != nil {
			return fmt.Errorf("start bgp: add neighbour %s: %w", n.Address, err)
		}
	}
	for i, r := range o.Dynamic {
		name := "dynamic-" + strconv.Itoa(i)
		if err := gobgp.AddPeerGroup(ctx, &api.AddPeerGroupRequest{PeerGroup: o.peerGroup(name, r)}); err != nil {
			return fmt.Errorf("start bgp: add range %s: %w", r.Prefix, err)
		}
		in := &api.DynamicNeighbor{Prefix: r.Prefix.Masked().String(), PeerGroup: name}
		if err := gobgp.AddDynamicNeighbor(ctx, &api.AddDynamicNeighborRequest{DynamicNeighbor: in}); err != nil {
			return fmt.Errorf("start bgp: add range %s: %w", r.Prefix, err)
		}
	}
	return nil
}

// peer is a neighbour in GoBGP's words: always passive, see the package comment.
func (o *Options) peer(n Neighbor, restarting bool) *api.Peer {
	p := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: n.Address.String(), PeerAsn: n.AS, AuthPassword: n.Password,
			AllowOwnAsn: uint32(n.AllowOwnAS), ReplacePeerAsn: n.ReplacePeerAS,
		},
		Transport: &api.Transport{PassiveMode: true, BindInterface: n.BindInterface},
		Timers:    o.timers(), GracefulRestart: o.gracefulRestart(restarting), AfiSafis: o.families(),
	}
	if n.LocalAddress.IsValid() {
		p.Transport.LocalAddress = n.LocalAddress.String()
	}
	if n.TTL > 1 {
		p.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(n.TTL)}
	}
	return p
}

// peerGroup is a dynamic range in GoBGP's words. GoBGP does not let its members tell that we restarted.
func (o *Options) peerGroup(name string, r DynamicRange) *api.PeerGroup {
	return &api.PeerGroup{
		Conf: &api.PeerGroupConf{
			PeerGroupName: name, PeerAsn: r.AS, AuthPassword: r.Password,
			AllowOwnAsn: uint32(r.AllowOwnAS), ReplacePeerAsn: r.ReplacePeerAS,
		},
		Transport: &api.Transport{PassiveMode: true},
		Timers:    o.timers(), GracefulRestart: o.gracefulRestart(false), AfiSafis: o.families(),
	}
}

func (o *Options) timers() *api.Timers {
	return &api.Timers{Config: &api.TimersConfig{HoldTime: seconds(o.HoldTime), KeepaliveInterval: seconds(o.Keepalive)}}
}

// gracefulRestart tells the neighbour to keep our routes when the connection breaks, and on every NOTIFICATION but a hard
// reset (RFC 8538): a hold timer that expires is soft evidence.
func (o *Options) gracefulRestart(restarting bool) *api.GracefulRestart {
	if o.GracefulRestart <= 0 {
		return nil
	}
	return &api.GracefulRestart{
		Enabled: true, RestartTime: uint32(seconds(o.GracefulRestart)), DeferralTime: uint32(seconds(deferralMax)),
		NotificationEnabled: true, LocalRestarting: restarting,
	}
}

func (o *Options) families() []*api.AfiSafi {
	return []*api.AfiSafi{{
		Config:            &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}, Enabled: true},
		MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: o.GracefulRestart > 0}},
	}}
}

// seconds rounds up, since BGP counts in whole seconds and 0 has another meaning.
func seconds(d time.Duration) uint64 { return uint64((d + time.Second - 1) / time.Second) }
