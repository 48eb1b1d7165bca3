// Package session is one BFD session (RFC 5880, asynchronous mode) without its sockets: the state machine, the negotiation of
// intervals, poll sequences, and the two timers of transmission and detection.
//
// It decides from packets and instants that it is given what is to be sent, and when the session is up or down. It holds no
// clock, does no I/O, and never decides what a session that is down means.
package session

import (
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bfd"
)

// slowInterval is the least pause between packets while the session is not up (RFC 5880 section 6.8.3).
const slowInterval = time.Second

// Config is what a session is told. Interval and Multiplier must be positive.
type Config struct {
	Interval      time.Duration // that we want to send at, and can receive at, while up
	Multiplier    uint8         // packets that the neighbour must miss to call us silent
	Discriminator uint32        // tells our sessions apart; never 0
	Seed          uint64        // of the jitter
}

// Session is one session. Make it with New.
type Session struct {
	cfg        Config
	state      bfd.StateType
	diagnostic bfd.DiagnosticType

	// What the neighbour told last. Before it told anything its least interval is 1 µs (section 6.8.1).
	remoteState      bfd.StateType
	remoteDiagnostic bfd.DiagnosticType
	remoteID         uint32
	remoteSends      time.Duration // its desired least interval of transmission
	remoteTakes      time.Duration // the least interval that it can receive at; 0: nothing may be sent
	remoteMultiplier uint8
	remoteDemand     bool

	// What we tell, and what we go by: they differ until a poll sequence has ended (section 6.8.3).
	sends, takes       time.Duration
	sendsNow, takesNow time.Duration
	polling            bool

	heard   time.Duration // when the newest packet of the neighbour came
	hearing bool          // the detection time runs
	grant   time.Duration // no verdict before: we ourselves were not running
	excuses int           // in a row
	next    time.Duration // when the next packet is due
	dice    uint64
}

// New makes a session that is down and whose first packet is due at once.
func New(cfg Config, now time.Duration) *Session {
	s := &Session{cfg: cfg, state: bfd.StateDown, remoteState: bfd.StateDown, remoteTakes: time.Microsecond, next: now, dice: cfg.Seed | 1}
	s.slow()
	s.takesNow = s.takes
	return s
}

// Status is what is known of a session.
type Status struct {
	State, RemoteState           bfd.StateType
	Diagnostic, RemoteDiagnostic bfd.DiagnosticType
	Interval                     time.Duration // between two packets of ours, before jitter
	Detect                       time.Duration // silence for so long takes the session down; 0 until the neighbour was heard
}

// Status is the state as of now.
func (s *Session) Status() Status {
	return Status{State: s.state, RemoteState: s.remoteState, Diagnostic: s.diagnostic, RemoteDiagnostic: s.remoteDiagnostic,
		Interval: s.interval(), Detect: s.detect()}
}

// slow is the pace of a session that is not up.
func (s *Session) slow() {
	s.takes = s.cfg.Interval
	s.sends = max(slowInterval, s.cfg.Interval)
	s.sendsNow, s.takesNow, s.polling = s.sends, s.takes, false
}

// interval is the negotiated pause between two packets of ours (section 6.8.7).
func (s *Session) interval() time.Duration { return max(s.sendsNow, s.remoteTakes) }

// detect is the detection time (section 6.8.4): what the neighbour's multiplier makes of the pace that it negotiated with us.
func (s *Session) detect() time.Duration {
	return time.Duration(s.remoteMultiplier) * s.receives()
}

// receives is the pause between two packets of the neighbour's, before its jitter.
func (s *Session) receives() time.Duration { return max(s.takesNow, s.remoteSends) }

// Accepts reports whether a packet is one that any session may look at (section 6.8.6). The flags are the second byte of the
// packet: we authenticate nothing, so that a packet that claims to be authenticated is not for us.
func Accepts(p *bfd.BFDHeader, flags byte) bool {
	const authenticated, multipoint = 1 << 2, 1
	switch {
	case p.Version != 1, p.DetectTimeMultiplier == 0, p.MyDiscriminator == 0, flags&(authenticated|multipoint) != 0:
		return false
	case p.YourDiscriminator == 0:
		return p.State == bfd.StateDown || p.State == bfd.StateAdminDown
	}
	return true
}

// Demands reports whether the neighbour asks us to be quiet while both ends are up: the D flag.
func Demands(flags byte) bool { return flags&(1<<1) != 0 }

// Receive takes a packet that Accepts let through and that belongs to this session; at is when it came, at most now. It reports whether
// the neighbour asks for an answer at once: Final.
func (s *Session) Receive(now, at time.Duration, p *bfd.BFDHeader, demand bool) (answer bool) {
	s.remoteID, s.remoteState, s.remoteDiagnostic, s.remoteDemand = p.MyDiscriminator, p.State, p.Diagnostic, demand
	s.remoteSends, s.remoteTakes = micros(p.DesiredMinTxInterval), micros(p.RequiredMinRxInterval)
	s.remoteMultiplier = p.DetectTimeMultiplier
	if p.Final && s.polling {
		s.polling, s.sendsNow, s.takesNow = false, s.sends, s.takes
	}
	if s.state == bfd.StateAdminDown {
		return p.Poll
	}
	s.heard, s.hearing, s.excuses = max(s.heard, at), true, 0
	switch {
	case p.State == bfd.StateAdminDown:
		if s.state != bfd.StateDown {
			s.become(now, bfd.StateDown, bfd.DiagnosticNeighborSignaledSessionDown)
		}
	case s.state == bfd.StateDown && p.State == bfd.StateDown:
		s.become(now, bfd.StateInit, s.diagnostic)
	case s.state == bfd.StateDown && p.State == bfd.StateInit, s.state == bfd.StateInit && p.State >= bfd.StateInit:
		s.become(now, bfd.StateUp, bfd.DiagnosticNoDiagnostic)
	case s.state == bfd.StateUp && p.State == bfd.StateDown:
		s.become(now, bfd.StateDown, bfd.DiagnosticNeighborSignaledSessionDown)
	}
	s.hasten(now)
	return p.Poll
}

func micros(n uint32) time.Duration { return time.Duration(n) * time.Microsecond }

// become changes the state; the neighbour is told at once (section 6.8.7).
func (s *Session) become(now time.Duration, state bfd.StateType, why bfd.DiagnosticType) {
	was := s.state
	s.state, s.diagnostic, s.next = state, why, now
	switch {
	case state == bfd.StateUp:
		s.retime()
	case was == bfd.StateUp:
		s.slow()
	}
}

// retime goes over to the configured intervals by a poll sequence. A faster pace counts at once; a slower one, and a faster one of the
// neighbour's, only once the neighbour has answered.
func (s *Session) retime() {
	s.sends, s.takes, s.polling = s.cfg.Interval, s.cfg.Interval, true
	s.sendsNow = min(s.sendsNow, s.sends)
	s.takesNow = max(s.takesNow, s.takes)
}

// hasten brings the next packet forward when the pace became faster.
func (s *Session) hasten(now time.Duration) {
	if i := s.interval(); s.next > now+i {
		s.next = now + s.jittered(i)
	}
}

// Retune changes what the session was told. Its discriminator stays.
func (s *Session) Retune(now, interval time.Duration, multiplier uint8) {
	if s.cfg.Interval == interval && s.cfg.Multiplier == multiplier {
		return
	}
	s.cfg.Interval, s.cfg.Multiplier = interval, multiplier
	if s.state == bfd.StateUp {
		s.retime()
	} else if s.state != bfd.StateAdminDown {
		s.slow()
	}
	s.next = now
}

// Disable takes the session down on purpose; the neighbour is to draw no conclusion from it (section 6.8.16).
func (s *Session) Disable(now time.Duration) {
	s.become(now, bfd.StateAdminDown, bfd.DiagnosticAdministrativelyDown)
	s.hearing = false
}

// mayTransmit: not when the neighbour takes nothing, nor while it relies on us to speak only when asked (section 6.8.7).
func (s *Session) mayTransmit() bool {
	quiet := s.remoteDemand && s.state == bfd.StateUp && s.remoteState == bfd.StateUp && !s.polling
	return s.remoteTakes > 0 && !quiet
}

// Next is the earliest instant at which Transmit or Expire has something to do; false if only a packet can change anything.
func (s *Session) Next() (time.Duration, bool) {
	switch {
	case s.mayTransmit() && s.hearing:
		return min(s.next, s.deadline()), true
	case s.mayTransmit():
		return s.next, true
	case s.hearing:
		return s.deadline(), true
	}
	return 0, false
}

// Transmit gives the packet that is due, if one is. One that is late is sent once: the pace goes on from now.
func (s *Session) Transmit(now time.Duration) (bfd.BFDHeader, bool) {
	if now < s.next || !s.mayTransmit() {
		return bfd.BFDHeader{}, false
	}
	p := s.packet()
	p.Poll = s.polling
	s.next = now + s.jittered(s.interval())
	return p, true
}

// Final is the answer to a poll: it is sent without regard to any timer (section 6.8.7).
func (s *Session) Final() bfd.BFDHeader {
	p := s.packet()
	p.Final = true
	return p
}

// packet is what every packet of now has. The flag C is not set: this daemon's end is not the kernel's (RFC 5882 section 4.3).
func (s *Session) packet() bfd.BFDHeader {
	return bfd.BFDHeader{
		Version: 1, Diagnostic: s.diagnostic, State: s.state, DetectTimeMultiplier: s.cfg.Multiplier,
		MyDiscriminator: s.cfg.Discriminator, YourDiscriminator: s.remoteID,
		DesiredMinTxInterval: uint32(s.sends.Microseconds()), RequiredMinRxInterval: uint32(s.takes.Microseconds()),
	}
}

// jittered shortens an interval by up to a quarter, and by a tenth at least where one lost packet is fatal (section 6.8.7).
func (s *Session) jittered(i time.Duration) time.Duration {
	least, most := int64(750), int64(1000)
	if s.cfg.Multiplier == 1 {
		most = 900
	}
	// xorshift: it only has to keep sessions from marching in step.
	s.dice ^= s.dice << 13
	s.dice ^= s.dice >> 7
	s.dice ^= s.dice << 17
	share := least + int64(s.dice%uint64(most-least+1))
	return i * time.Duration(share) / 1000
}

func (s *Session) deadline() time.Duration { return max(s.heard+s.detect(), s.grant) }

// excusesMax bounds how often in a row a silent neighbour gets more time: a machine that is always late must still see a dead path.
const excusesMax = 3

// Excuse tells that we ourselves were late in looking. What came meanwhile was queued and has been received; but after a long pause, who
// says that the machine as a whole was running, and that the queue held everything? The neighbour gets one more interval to be heard.
func (s *Session) Excuse(now, late time.Duration) {
	if late > s.receives()/2 && s.hearing && s.excuses < excusesMax {
		s.excuses++
		s.grant = max(s.grant, now+s.receives())
	}
}

// Expire draws the verdict on the neighbour's silence. Everything that has come must have been received before. It reports whether
// anything changed.
func (s *Session) Expire(now time.Duration) bool {
	if !s.hearing || now < s.deadline() {
		return false
	}
	s.hearing, s.remoteID, s.remoteDemand = false, 0, false
	s.remoteTakes = time.Microsecond
	if s.state == bfd.StateInit || s.state == bfd.StateUp {
		s.become(now, bfd.StateDown, bfd.DiagnosticControlDetectionTimeExpired)
	}
	return true
}
