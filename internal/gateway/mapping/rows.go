package mapping

import (
	"net/netip"
	"slices"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// Uplink is the way from the gateway to a leaf, as the gateway sees it.
type Uplink struct {
	Leaf string     // the leaf's name
	Port model.Port // the gateway's port to it
	Up   bool
	Why  string
}

// Names gives rows the operator's names.
type Names struct {
	Uplink     func(LeafID) Uplink
	LeafPort   func(l LeafID, index uint32) string
	ServerPort func(model.AttachmentID) string
}

// Rows is the mapping as operators see it, by attachment and then by leaf: gateway port - leaf - leaf port - server port.
// Lines stay when the uplink or the downlink fails.
func (t *Table) Rows(names Names) []step.MappingRow {
	var ids []model.AttachmentID
	for l := range t.leaves {
		for _, k := range t.leaves[l].links {
			if k.ID != 0 {
				ids = append(ids, k.ID)
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	rows := []step.MappingRow{}
	for _, id := range ids {
		carried := t.carried(id)
		for l := range t.leaves {
			if k := t.Link(LeafID(l), id); k != nil {
				rows = append(rows, t.row(k, carried[l], names))
			}
		}
	}
	return rows
}

// carried lists, for each leaf, the hosts of the attachment that are forwarded through it now.
func (t *Table) carried(id model.AttachmentID) [][]netip.Addr {
	by := make([][]netip.Addr, len(t.leaves))
	for l := range t.leaves {
		k := t.Link(LeafID(l), id)
		if k == nil {
			continue
		}
		for c := k.head; c != nil; c = c.next {
			if now := t.Forward(c.Host); c.Host.Basis == c && now >= 0 {
				by[now] = append(by[now], c.Host.Addr)
			}
		}
	}
	for _, hosts := range by {
		slices.SortFunc(hosts, netip.Addr.Compare)
	}
	return by
}

func (t *Table) row(k *Link, hosts []netip.Addr, names Names) step.MappingRow {
	up := names.Uplink(k.Leaf)
	row := step.MappingRow{
		GatewayPort: up.Port, Leaf: up.Leaf, LeafPort: names.LeafPort(k.Leaf, k.Said.PortIndex), Attachment: k.ID,
		ServerPort: names.ServerPort(k.ID), Role: k.Said.Role.String(), Uplink: "down", Downlink: k.Said.State.String(),
		Active: len(hosts) > 0, Hosts: append([]netip.Addr{}, hosts...), Why: t.why(k, up, len(hosts) > 0),
	}
	if up.Up {
		row.Uplink = "up"
	}
	return row
}

func (t *Table) why(k *Link, up Uplink, active bool) string {
	switch {
	case !up.Up && k.Said.State == claim.StateUnknown:
		return "uplink: " + up.Why
	case !up.Up:
		return "uplink: " + up.Why + "; the downlink is as last told (" + k.Said.Reason.String() + ")"
	case k.Pinned && !k.Heard && k.Said.State == claim.Up:
		return "static: the leaf answers for its hosts"
	case k.Pinned && !k.Heard && k.Said.State == claim.Down:
		return "static: the leaf does not answer for its host any more"
	case k.Pinned && !k.Heard:
		return "static: the leaf says nothing of its port, and answers for no host"
	case !k.Heard:
		return "the leaf does not announce this port any more"
	case !t.fresh(k):
		return "the leaf is back but has not told of this port yet; last told: " + k.Said.Reason.String()
	case k.Said.State != claim.Up:
		return "downlink: " + k.Said.Reason.String()
	case active:
		return "in use"
	}
	return "ready, stands by"
}
