package bgp

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"

	"peerless/internal/model"
)

// withheld marks a route that one neighbour is not to be told, by a large community for each such neighbour. GoBGP sends a withdrawal to a
// neighbour whose policy accepted a route and rejects what replaces it: so the policies stand from the start, and telling the route again
// with another mark is one UPDATE to one neighbour. To change a policy instead would mean telling that neighbour everything again.
func (o *Options) withheld(from netip.Addr) model.LargeCommunity {
	b := from.As4()
	return model.LargeCommunity{Global: o.AS, Local1: withheldFunction, Local2: uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])}
}

// withheldFunction is the second number of the mark; leaves use the small ones.
const withheldFunction = 101

// exportPolicy has each neighbour not told what is withheld from it.
func exportPolicy(ctx context.Context, gobgp *server.BgpServer, o *Options) error {
	if !o.Withholds {
		return nil
	}
	reject := &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_REJECT}
	policy := &api.Policy{Name: "withheld"}
	for _, n := range o.Neighbors {
		name := "withheld-" + n.Address.String()
		mark := o.withheld(n.Address)
		for _, set := range []*api.DefinedSet{
			{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: name, List: []string{n.Address.String() + "/32"}},
			{DefinedType: api.DefinedType_DEFINED_TYPE_LARGE_COMMUNITY, Name: name,
				List: []string{fmt.Sprintf("^%d:%d:%d$", mark.Global, mark.Local1, mark.Local2)}},
		} {
			if err := gobgp.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
				return err
			}
		}
		anyOf := &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: name}
		policy.Statements = append(policy.Statements, &api.Statement{
			Name: name, Conditions: &api.Conditions{NeighborSet: anyOf, LargeCommunitySet: anyOf}, Actions: reject,
		})
	}
	if err := gobgp.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return err
	}
	return gobgp.AddPolicyAssignment(ctx, &api.AddPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_EXPORT, Policies: []*api.Policy{{Name: policy.Name}},
		DefaultAction: api.RouteAction_ROUTE_ACTION_ACCEPT,
	}})
}
