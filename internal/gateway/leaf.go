package gateway

import (
	"net/netip"
	"time"

	"peerless/internal/gateway/mapping"
	"peerless/internal/liveness"
	"peerless/internal/model"
	"peerless/internal/step"
)

// phase is how far a leaf may be used. Its rules are in the kernel from opening on.
type phase uint8

const (
	// lost: the port to it cannot carry frames. The rules are withdrawn and nothing heard before counts any more.
	lost phase = iota
	// waiting: the port is back. The leaf is let in when its table is clean, its session is up and it has told of its
	// attachments again; else a carrier that returns would draw traffic before the leaf can forward.
	waiting
	// opening: the rules are asked for but not all in place: no host may move to the leaf's table yet.
	opening
	// serving: the rules are in place, the leaf's claims count.
	serving
)

// String names the phase as output does.
func (p phase) String() string { return [...]string{"lost", "waiting", "opening", "serving"}[p] }

// leaf is what the gateway knows of one leaf, besides what the leaf says of hosts and attachments.
type leaf struct {
	Leaf
	id      mapping.LeafID
	slot    uint32 // number of its rules and its table
	dynamic bool
	via     netip.Addr
	asn     uint32

	port  step.PortState
	phase phase
	why   string     // in words, why the phase is what it is
	cause step.Cause // the transition that took the leaf out; zero once it serves again

	bfd   detection
	cross crossing

	session   bool
	since     time.Duration // when the session came or went
	reason    string        // why the session is down
	resetting bool          // we tear the session down; what still comes in belongs to it
	parting   bool          // that waits until its hosts are repaired
	implied   bool          // paths came before the word that the session is up
	spoke     bool          // a session was up at some time
	told      bool          // in this session, it told of its attachments or of all it has
	endOfRIB  bool          // in this session
	confirmed bool          // since this life began, it said all it has at least once

	unclean   bool                    // lost, and its hosts are not even queued for cleaning up
	cleanAt   uint64                  // clean when the queue has got so far
	deleting  map[netip.Addr]struct{} // deletions in its table that are not confirmed: counted, never ranged
	opening   map[step.Key]struct{}   // rules that are not in place yet: counted, never ranged
	primaries int                     // hosts in its table

	dropped      int // paths refused in this session
	saidForeign  bool
	saidLimit    bool
	claimedWhy   string // texts that every host's wants need, made once
	backupWhy    string
	tentativeWhy string
}

func (m *Machine) addLeaf(cfg Leaf, slot uint32) *leaf {
	l := &leaf{
		Leaf: cfg, id: m.table.AddLeaf(cfg.Address), slot: slot, via: cfg.Address, asn: cfg.AS, why: "nothing is known of the port yet",
		bfd: detection{Path: liveness.NewPath(m.cfg.BFD.Interval)}, cross: newCrossing(m.cfg.Through), reason: "not established yet", deleting: map[netip.Addr]struct{}{}, opening: map[step.Key]struct{}{},
		claimedWhy: "leaf " + cfg.Name + " claims it", backupWhy: "leaf " + cfg.Name + " has the same server port up",
		tentativeWhy: "server port failed: leaf " + cfg.Name + " has it up",
	}
	m.leaves = append(m.leaves, l)
	m.leafPorts = append(m.leafPorts, map[uint32]string{})
	return l
}

// leafAt finds the leaf with an address; nil if there is none.
func (m *Machine) leafAt(addr netip.Addr) *leaf {
	for _, l := range m.leaves {
		if l.Address == addr {
			return l
		}
	}
	return nil
}

// leafOf finds the leaf with an address, or makes it. A neighbour that is not configured becomes a leaf at first sight: named by its
// address, with the next free table. The port to it is the one with the connected subnet.
func (m *Machine) leafOf(addr netip.Addr, as uint32) *leaf {
	if l := m.leafAt(addr); l != nil {
		return l
	}
	if m.cfg.Peer != nil && m.cfg.Peer.Address == addr {
		return nil // the other gateway is not below us
	}
	return m.addDynamic(addr, as, m.freeSlot())
}

func (m *Machine) addDynamic(addr netip.Addr, as, slot uint32) *leaf {
	if slot == 0 {
		if !m.tooMany {
			m.tooMany = true
			m.note(step.Note{Warn: true, What: whatLeafLimit, Peer: addr.String(), Text: "leaf " + addr.String() + " is ignored", Why: "there are as many leaves as there are tables"})
		}
		return nil
	}
	l := m.addLeaf(Leaf{Name: addr.String(), Address: addr, AS: as}, slot)
	l.dynamic = true
	if m.ready {
		m.locate(l)
	}
	return l
}

func (m *Machine) freeSlot() uint32 {
	var used [leavesMax + 1]bool
	for _, l := range m.leaves {
		used[l.slot] = true
	}
	for slot := uint32(1); slot <= leavesMax; slot++ {
		if !used[slot] {
			return slot
		}
	}
	return 0
}

func (m *Machine) inSlot(slot uint32) *leaf {
	for _, l := range m.leaves {
		if l.slot == slot {
			return l
		}
	}
	return nil
}

// locate finds the port of a leaf that no config names.
func (m *Machine) locate(l *leaf) {
	if !l.dynamic {
		return
	}
	port := m.portTo(l.via)
	if port == "" && l.Port == "" {
		l.why = "no port has a subnet with its address"
	}
	if port == l.Port {
		return
	}
	if l.Port != "" {
		m.unwatch(l)
		m.lose(l, "its address is not on port "+string(l.Port)+" any more")
	}
	l.Port, l.port = port, step.PortState{}
	if port == "" {
		l.why = "no port has a subnet with its address"
		return
	}
	m.leafPort(l, m.ports[port])
}

// portTo is the port with the longest connected prefix that has the address.
func (m *Machine) portTo(addr netip.Addr) model.Port {
	var port model.Port
	bits := -1
	for _, a := range m.addrs {
		if a.Prefix.Masked().Contains(addr) && a.Prefix.Addr() != addr && a.Prefix.Bits() > bits {
			port, bits = a.Port, a.Prefix.Bits()
		}
	}
	return port
}

func (m *Machine) onAddress(ev step.AddressChanged) {
	kept := m.addrs[:0]
	for _, a := range m.addrs {
		if a.Port != ev.Port || a.Prefix != ev.Prefix {
			kept = append(kept, a)
		}
	}
	m.addrs = kept
	if ev.Present {
		m.addrs = append(m.addrs, ev.Address)
	}
	if !m.ready {
		return
	}
	for _, l := range m.leaves {
		m.locate(l)
	}
}

func (l *leaf) hop() step.NextHop { return step.NextHop{Dev: l.Port, Via: l.via} }
