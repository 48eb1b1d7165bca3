package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"peerless/internal/model"
	"peerless/internal/step"
)

// encode gives a want the form that GoBGP takes. For an unspecified next hop GoBGP puts its own address on each session; a
// next hop that we give goes out as it is.
func (o *Options) encode(w step.Want) (*apiutil.Path, error) {
	a, ok := w.Object.(step.Advertisement)
	if !ok || !a.Prefix.Addr().Is4() {
		return nil, fmt.Errorf("apply %s: want an IPv4 advertisement", w.Object)
	}
	nlri, err := packet.NewIPAddrPrefix(a.Prefix)
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", a, err)
	}
	via := a.NextHop
	if !via.IsValid() || w.Absent {
		via = netip.IPv4Unspecified()
	}
	nextHop, err := packet.NewPathAttributeNextHop(via)
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", a, err)
	}
	p := &apiutil.Path{
		Family: packet.RF_IPv4_UC, // mandatory
		Nlri:   nlri, Age: time.Now().Unix(), Withdrawal: w.Absent,
		Attrs: []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP), nextHop},
	}
	if a.HasMED {
		p.Attrs = append(p.Attrs, packet.NewPathAttributeMultiExitDisc(a.MED))
	}
	if a.NoExport {
		p.Attrs = append(p.Attrs, packet.NewPathAttributeCommunities([]uint32{uint32(packet.COMMUNITY_NO_EXPORT)}))
	}
	marks := a.Large
	for _, n := range a.Withheld {
		marks = append(slices.Clip(marks), o.withheld(n))
	}
	if len(marks) > 0 {
		large := make([]*packet.LargeCommunity, len(marks))
		for i, c := range marks {
			large[i] = packet.NewLargeCommunity(c.Global, c.Local1, c.Local2)
		}
		p.Attrs = append(p.Attrs, packet.NewPathAttributeLargeCommunities(large))
	}
	return p, nil
}

// decode reads what GoBGP heard. It reports false for anything that is not an IPv4 unicast route.
func decode(p *apiutil.Path) (step.Path, bool) {
	nlri, ok := p.Nlri.(*packet.IPAddrPrefix)
	if !ok || p.Family != packet.RF_IPv4_UC {
		return step.Path{}, false
	}
	path := step.Path{Prefix: nlri.Prefix, Withdrawn: p.Withdrawal}
	if p.Withdrawal {
		return path, true
	}
	for _, attr := range p.Attrs {
		switch a := attr.(type) {
		case *packet.PathAttributeNextHop:
			path.NextHop = a.Value
		case *packet.PathAttributeMpReachNLRI:
			path.NextHop = a.Nexthop
		case *packet.PathAttributeAsPath:
			for _, segment := range a.Value {
				path.ASPath = append(path.ASPath, segment.GetAS()...)
			}
		case *packet.PathAttributeMultiExitDisc:
			path.MED = a.Value
		case *packet.PathAttributeLargeCommunities:
			for _, c := range a.Values {
				path.Large = append(path.Large, model.LargeCommunity{Global: c.ASN, Local1: c.LocalData1, Local2: c.LocalData2})
			}
		}
	}
	return path, true
}
