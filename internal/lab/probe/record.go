package probe

import "sort"

// ringLen is how many packets of a flow are remembered: 100 s at 100 µs, 17 minutes at 1 ms.
const ringLen = 1 << 20

// sentLog holds the send times of a flow's newest packets. Sequence numbers begin at 0.
type sentLog struct {
	times []int64
	next  uint64
}

func newSentLog() *sentLog { return &sentLog{times: make([]int64, ringLen)} }

func (s *sentLog) add(t int64) (seq uint64) {
	seq = s.next
	s.times[seq%ringLen] = t
	s.next++
	return seq
}

// at is the send time of a packet, 0 if it is not remembered or was never sent.
func (s *sentLog) at(seq uint64) int64 {
	if seq >= s.next || s.next-seq > ringLen {
		return 0
	}
	return s.times[seq%ringLen]
}

// window gives the packets sent in [from, to): first is the number of the first, end is one past the last.
func (s *sentLog) window(from, to int64) (first, end uint64) {
	oldest := uint64(0)
	if s.next > ringLen {
		oldest = s.next - ringLen
	}
	n := int(s.next - oldest)
	after := func(t int64) uint64 {
		return oldest + uint64(sort.Search(n, func(i int) bool { return s.times[(oldest+uint64(i))%ringLen] >= t }))
	}
	return after(from), after(to)
}

// pause is the longest time between two packets sent in a row, of those in [first, end).
func (s *sentLog) pause(first, end uint64) int64 {
	var longest int64
	for seq := first + 1; seq < end; seq++ {
		longest = max(longest, s.at(seq)-s.at(seq-1))
	}
	return longest
}

// countBits is how much of a seenLog's slot counts arrivals; the rest says which lap of the ring it belongs to.
const (
	countBits = 8
	countMax  = 1<<countBits - 1
)

// seenLog counts how often each of a flow's newest packets arrived.
type seenLog struct {
	slots []uint32
	late  []latePacket // a ring of lateLen
	lates int
}

// latePacket arrived, but only after lateMin: somebody queued it, as a kernel does while it resolves a neighbour.
type latePacket struct {
	seq   uint64
	delay int64
}

// lateMin is above what the loop's own rhythm adds to a packet's age.
const (
	lateMin = 2 * drainEvery
	lateLen = 1 << 12
)

func newSeenLog() *seenLog {
	return &seenLog{slots: make([]uint32, ringLen), late: make([]latePacket, lateLen)}
}

// addLate notes a packet's age at arrival, if it is remarkable.
func (s *seenLog) addLate(seq uint64, delay int64) {
	if delay >= lateMin {
		s.late[s.lates%lateLen] = latePacket{seq, delay}
		s.lates++
	}
}

// latest is the greatest age of a packet of [first, end), 0 if none was remarkable.
func (s *seenLog) latest(first, end uint64) (delay int64) {
	for _, l := range s.late[:min(s.lates, lateLen)] {
		if l.seq >= first && l.seq < end {
			delay = max(delay, l.delay)
		}
	}
	return delay
}

// lap is never 0, so that an untouched slot belongs to none.
func lap(seq uint64) uint32 { return uint32(seq/ringLen+1) << countBits }

func (s *seenLog) add(seq uint64) {
	i, l := seq%ringLen, lap(seq)
	v := s.slots[i]
	switch {
	case v&^countMax < l:
		s.slots[i] = l | 1
	case v&^countMax == l && v&countMax < countMax:
		s.slots[i] = v + 1
	}
}

func (s *seenLog) count(seq uint64) int {
	v := s.slots[seq%ringLen]
	if v&^countMax != lap(seq) {
		return 0
	}
	return int(v & countMax)
}

// Span is the packets [First, End).
type Span struct {
	First uint64 `json:"first"`
	End   uint64 `json:"end"`
}

// Len is how many there are.
func (s Span) Len() uint64 { return s.End - s.First }

// missing lists the spans of packets in [first, end) that never arrived, and how many arrived more than once too often.
func (s *seenLog) missing(first, end uint64) (spans []Span, duplicated uint64) {
	open := false
	for seq := first; seq < end; seq++ {
		c := s.count(seq)
		if c > 1 {
			duplicated += uint64(c - 1)
		}
		if c > 0 {
			open = false
			continue
		}
		if !open {
			spans = append(spans, Span{First: seq})
			open = true
		}
		spans[len(spans)-1].End = seq + 1
	}
	return spans, duplicated
}
