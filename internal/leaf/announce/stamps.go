package announce

import (
	"net/netip"
	"slices"

	"peerless/internal/claim"
	"peerless/internal/model"
)

// The two stamps that verify nothing. A leaf that inherits a host from an earlier life does not know its old stamp, and one
// that is told of a host by its config alone has never seen it: both claim with a stamp that loses to every host that was
// really heard anywhere, and only the host's own ARP on the port raises it (an inherited claim that is not
// verified never wins). A primary's unverified claim beats a backup's, so static hosts need no probe to prefer their primary.
const (
	unverifiedBackup  claim.Stamp = 1
	unverifiedPrimary claim.Stamp = 2
)

// UnverifiedMax is the highest stamp that verifies nothing.
const UnverifiedMax = unverifiedPrimary

// Unverified is the stamp of a claim that nobody has verified.
func Unverified(role model.Role) claim.Stamp {
	if role == model.Backup {
		return unverifiedBackup
	}
	return unverifiedPrimary
}

// Rumour is another leaf's claim, as a gateway's feed tells it.
type Rumour struct {
	By         netip.Addr // the gateway
	AS         uint32
	Stamp      claim.Stamp
	Attachment model.AttachmentID
	MAC        model.MAC // the host's; zero: not told
}

type heard struct {
	highest claim.Stamp // of anybody, us too: the next arrival must be later
	now     []Rumour    // what each gateway tells at present of somebody else's claim; empty: nobody else claims it
}

// Stamps remembers the highest stamp heard for each host, within a bound: the oldest memory goes first. Build it with
// NewStamps.
type Stamps struct {
	limit int
	known map[netip.Addr]heard
	order []netip.Addr // by first hearing
}

// NewStamps makes an empty memory for at most limit hosts.
func NewStamps(limit int) *Stamps { return &Stamps{limit: limit, known: map[netip.Addr]heard{}} }

func (s *Stamps) put(addr netip.Addr, h heard) {
	if _, ok := s.known[addr]; !ok {
		s.order = append(s.order, addr)
		if len(s.order) > s.limit {
			delete(s.known, s.order[0])
			s.order = s.order[1:]
		}
	}
	s.known[addr] = h
}

// Hear tells a claim of another leaf, instead of what the same gateway told before.
func (s *Stamps) Hear(addr netip.Addr, r Rumour) {
	h := s.known[addr]
	h.highest = max(h.highest, r.Stamp)
	if i := h.by(r.By); i >= 0 {
		h.now[i] = r
	} else {
		h.now = append(h.now, r)
	}
	s.put(addr, h)
}

func (h heard) by(gateway netip.Addr) int {
	return slices.IndexFunc(h.now, func(r Rumour) bool { return r.By == gateway })
}

// HearHighest tells a stamp of which nobody stands to gain, such as our own told back.
func (s *Stamps) HearHighest(addr netip.Addr, stamp claim.Stamp) {
	if h := s.known[addr]; stamp > h.highest {
		h.highest = stamp
		s.put(addr, h)
	}
}

// Highest is the latest stamp of a host that is known, whoever's it is; zero if none is.
func (s *Stamps) Highest(addr netip.Addr) claim.Stamp { return s.known[addr].highest }

// Gone tells that a gateway withdrew a claim; what another one tells still stands. It returns what was claimed.
func (s *Stamps) Gone(addr, gateway netip.Addr) Rumour {
	h := s.known[addr]
	i := h.by(gateway)
	if i < 0 {
		return Rumour{}
	}
	was := h.now[i]
	h.now = slices.Delete(h.now, i, i+1)
	s.known[addr] = h
	return was
}

// Rival is the newest claim of another leaf that stands at present; a zero stamp means none.
func (s *Stamps) Rival(addr netip.Addr) Rumour {
	return s.RivalBy(addr, func(netip.Addr) bool { return true })
}

// RivalBy is the same among what those gateways tell that are to be listened to.
func (s *Stamps) RivalBy(addr netip.Addr, heeded func(gateway netip.Addr) bool) (newest Rumour) {
	for _, r := range s.known[addr].now {
		if r.Stamp > newest.Stamp && heeded(r.By) {
			newest = r
		}
	}
	return newest
}

// Next is the stamp of an arrival now, and remembers it. It beats every unverified stamp even when the clock is not to be believed.
func (s *Stamps) Next(addr netip.Addr, wallMs int64) claim.Stamp {
	stamp := claim.Next(wallMs, max(s.known[addr].highest, unverifiedPrimary))
	s.HearHighest(addr, stamp)
	return stamp
}
