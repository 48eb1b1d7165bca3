// Package mapping is the gateway's picture of which host is behind which server port, by which leaves that port can be
// reached, and which of them carries the host now.
//
// It decides, for every host, the leaf that it is forwarded through (the newest claim among the leaves that can be used) and
// the leaf that stands by for it (another one that has the same server port up). It keeps the state of the uplink
// (gateway port - leaf) apart from the state of the downlink (leaf port - server port), and keeps both after a failure. It
// never makes a route, never reads a clock and knows nothing of sessions but their order.
package mapping

import (
	"iter"
	"math"
	"net/netip"
	"slices"

	"peerless/internal/claim"
	"peerless/internal/model"
	"peerless/internal/step"
)

// LeafID numbers the leaves of a table from 0 in the order in which they were added.
type LeafID int16

// None is no leaf; Detour is the other gateway, which serves what has no usable primary here.
const (
	None   LeafID = -1
	Detour LeafID = -2
)

// forever is the session of pinned claims: no session's end touches them.
const forever = math.MaxUint32

// Table holds leaves, links, claims and hosts.
type Table struct {
	leaves  []leaf
	hosts   map[netip.Addr]*Host
	arrival uint64 // counts news as they arrive
	detour  bool   // the other gateway comes before backups
}

type leaf struct {
	serving bool       // its uplink is up and the gateway looks into its routes
	session uint32     // the newest session
	open    bool       // and it is up
	doubted bool       // BFD with it is down: a claim that somebody else holds goes first
	mute    bool       // silent to ARP: hard evidence for pinned hosts, which nothing else tells of
	lost    uint32     // what was heard in sessions up to this one cannot be used any more
	tie     netip.Addr // router id, for equal stamps
	claims  int        // live claims
	links   []*Link    // by attachment id
}

// Link is one leaf's end of a server port: one line of the mapping. It stays when the leaf or the port fails.
type Link struct {
	Leaf   LeafID
	ID     model.AttachmentID
	Said   claim.Attachment // the leaf's last word
	Heard  bool             // announced now
	Pinned bool             // named by a static host
	Cause  step.Cause       // the transition that took it down; zero while it is up

	// In monotonic nanoseconds; the gateway's machine keeps them.
	SaidAt    int64 // when the leaf announced it last
	ClaimedAt int64 // when the leaf last claimed a host behind it that it did not claim before

	foretold   bool             // Said was heard ahead of the announcement
	announced  claim.Attachment // foretold: what the last announcement was
	session    uint32
	downAt     uint64 // arrival of the word that the port is not up
	head, tail *Claim
	size       int // of that list
	standing   int // of those, the ones that are not gone
}

// Claim is what one leaf said of one host.
type Claim struct {
	Host   *Host
	Link   *Link
	Said   claim.Host
	Static bool
	Answer bool // Static: the leaf answers ARP for the host

	session    uint32
	gone       bool   // withdrawn, remembered for a while because another leaf may have the host
	arrival    uint64 // when it was new: a repeat is no news
	prev, next *Claim // in the link
	other      *Claim // of the same host
}

// Gone reports whether the claim was withdrawn and is only remembered.
func (c *Claim) Gone() bool { return c.gone }

// Arrival tells one life of a claim from the next: it changes when the claim is heard after it was gone.
func (c *Claim) Arrival() uint64 { return c.arrival }

// Host is one address. The fields about placement belong to the gateway's machine: what it last asked the kernel for.
type Host struct {
	Addr    netip.Addr
	Primary LeafID // whose table of primaries holds the host's route
	Backup  LeafID // the leaf that the route in the table of backups leads to
	Basis   *Claim // the claim that the placement rests on
	State   State
	Since   int64 // when Basis last moved to another leaf, in monotonic nanoseconds

	BypassOf model.AttachmentID // the server port on whose bypass the host is, or will be if there are more; 0: none
	BypassBy LeafID             // the leaf that it leads to
	Listed   bool               // waits to be looked at for a bypass

	Adopted  bool  // found in the kernel at start, not yet heard of
	Queued   bool  // waits for its turn to be settled
	Touched  bool  // is in the batch at hand
	Conflict bool  // two attachment ids were reported
	Seen     uint8 // scratch of a reconciliation
	Waits    uint8 // wants of it that were put off

	claims *Claim
}

// State says what a host's placement rests on.
type State uint8

// States of a host.
const (
	Unserved  State = iota // no leaf can be used for it
	Claimed                // a usable leaf claims it
	Tentative              // its server port failed: forwarded by the other leaf, which has not claimed it yet
	Sheltered              // its leaf is lost or withdrew it: only the backup route serves
)

// String names the state as output does.
func (s State) String() string {
	return [...]string{"unserved", "claimed", "tentative", "sheltered"}[s]
}

// New is an empty table.
func New() *Table { return &Table{hosts: map[netip.Addr]*Host{}} }

// AddLeaf adds a leaf that is not serving; tie orders it among claims with equal stamps.
func (t *Table) AddLeaf(tie netip.Addr) LeafID {
	t.leaves = append(t.leaves, leaf{tie: tie})
	return LeafID(len(t.leaves) - 1)
}

// SetTie replaces the leaf's router id.
func (t *Table) SetTie(l LeafID, tie netip.Addr) { t.leaves[l].tie = tie }

// Serve says that the leaf's claims can be used from now on.
func (t *Table) Serve(l LeafID) { t.leaves[l].serving = true }

// Serving reports whether the leaf's claims can be used.
func (t *Table) Serving(l LeafID) bool { return l >= 0 && t.leaves[l].serving }

// SetMute says whether the leaf is silent to ARP.
func (t *Table) SetMute(l LeafID, on bool) { t.leaves[l].mute = on }

// Muted reports whether the leaf is silent to ARP.
func (t *Table) Muted(l LeafID) bool { return t.leaves[l].mute }

// SetDetour says whether the other gateway serves hosts without a usable primary, before their backups do.
func (t *Table) SetDetour(on bool) { t.detour = on }

// Lose makes all that was heard from the leaf unusable, whatever the number of hosts. It is remembered.
func (t *Table) Lose(l LeafID) {
	t.leaves[l].serving = false
	t.leaves[l].lost = t.leaves[l].session
	t.leaves[l].claims = 0
}

// OpenSession starts a new session of the leaf: what was heard before is stale until it is heard again.
func (t *Table) OpenSession(l LeafID) {
	t.leaves[l].session++
	t.leaves[l].open = true
}

// CloseSession says that the session is down. What was heard in it stays.
func (t *Table) CloseSession(l LeafID) { t.leaves[l].open = false }

// SetDoubt says whether soft evidence speaks against the leaf: it loses the hosts that another leaf claims actively, and no other.
func (t *Table) SetDoubt(l LeafID, on bool) { t.leaves[l].doubted = on }

// Doubted reports whether soft evidence speaks against the leaf.
func (t *Table) Doubted(l LeafID) bool { return l >= 0 && t.leaves[l].doubted }

// Claims is the number of live claims of the leaf.
func (t *Table) Claims(l LeafID) int { return t.leaves[l].claims }

// Len is the number of hosts.
func (t *Table) Len() int { return len(t.hosts) }

// Host finds a host; nil if unknown.
func (t *Table) Host(addr netip.Addr) *Host { return t.hosts[addr] }

// Add finds a host or makes it.
func (t *Table) Add(addr netip.Addr) *Host {
	h := t.hosts[addr]
	if h == nil {
		h = &Host{Addr: addr, Primary: None, Backup: None}
		t.hosts[addr] = h
	}
	return h
}

// Remove forgets a host that nobody claims and that has no route.
func (t *Table) Remove(h *Host) {
	if t.hosts[h.Addr] == h {
		delete(t.hosts, h.Addr)
	}
}

// Hosts are all hosts by address.
func (t *Table) Hosts() []*Host {
	all := make([]*Host, 0, len(t.hosts))
	// order: sorted below
	for _, h := range t.hosts {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *Host) int { return a.Addr.Compare(b.Addr) })
	return all
}

// Links are the leaf's links by attachment id; the one of number 0 stands for "not told".
func (t *Table) Links(l LeafID) []*Link { return t.leaves[l].links }

// Link finds the leaf's link of an attachment; nil if there is none.
func (t *Table) Link(l LeafID, id model.AttachmentID) *Link {
	links := t.leaves[l].links
	if i, found := slices.BinarySearchFunc(links, id, byID); found {
		return links[i]
	}
	return nil
}

func byID(k *Link, id model.AttachmentID) int { return int(int64(k.ID) - int64(id)) }

func (t *Table) addLink(l LeafID, id model.AttachmentID) *Link {
	i, found := slices.BinarySearchFunc(t.leaves[l].links, id, byID)
	if !found {
		t.leaves[l].links = slices.Insert(t.leaves[l].links, i, &Link{Leaf: l, ID: id})
	}
	return t.leaves[l].links[i]
}

// AppendHosts adds the hosts that the leaf claims or claimed, then those that it may stand by for. A host may come twice.
func (t *Table) AppendHosts(to []*Host, l LeafID) []*Host {
	for _, k := range t.leaves[l].links {
		if k.ID != 0 {
			to = t.AppendUnder(to, k.ID)
			continue
		}
		for c := k.head; c != nil; c = c.next {
			to = append(to, c.Host)
		}
	}
	return to
}

// Claims gives the claims that stand under a link and were not withdrawn.
func (k *Link) Claims() iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) {
		for c := k.head; c != nil; c = c.next {
			if !c.gone && !yield(c) {
				return
			}
		}
	}
}

// Standing is the number of them.
func (k *Link) Standing() int { return k.standing }

// Under is the length of what AppendUnder would add.
func (t *Table) Under(id model.AttachmentID) int {
	n := 0
	for l := range t.leaves {
		if k := t.Link(LeafID(l), id); k != nil {
			n += k.size
		}
	}
	return n
}

// AppendUnder adds the hosts that any leaf claims or claimed under an attachment. A host may come twice.
func (t *Table) AppendUnder(to []*Host, id model.AttachmentID) []*Host {
	for l := range t.leaves {
		if k := t.Link(LeafID(l), id); k != nil {
			for c := k.head; c != nil; c = c.next {
				to = append(to, c.Host)
			}
		}
	}
	return to
}
