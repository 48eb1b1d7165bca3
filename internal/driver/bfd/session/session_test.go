package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bfd"
)

const (
	ms    = time.Millisecond
	epoch = 1000 * time.Second
)

// from is a packet of a neighbour that knows us.
func from(state bfd.StateType, edit ...func(*bfd.BFDHeader)) *bfd.BFDHeader {
	p := &bfd.BFDHeader{Version: 1, State: state, DetectTimeMultiplier: 3, MyDiscriminator: 7, YourDiscriminator: 42,
		DesiredMinTxInterval: 100_000, RequiredMinRxInterval: 100_000}
	for _, e := range edit {
		e(p)
	}
	return p
}

func fresh() *Session {
	return New(Config{Interval: 100 * ms, Multiplier: 3, Discriminator: 42, Seed: 1}, epoch)
}

// up is a session that came up at the epoch and whose poll was answered.
func up(t *testing.T) *Session {
	t.Helper()
	s := fresh()
	s.Receive(epoch, epoch, from(bfd.StateDown), false)
	s.Receive(epoch, epoch, from(bfd.StateUp), false)
	s.Receive(epoch, epoch, from(bfd.StateUp, func(p *bfd.BFDHeader) { p.Final = true }), false)
	if s.state != bfd.StateUp || s.polling {
		t.Fatalf("not up: %+v", s)
	}
	return s
}

// The whole product of RFC 5880 section 6.8.6 and 6.8.4: states, what the neighbour says, and its silence.
func TestSession_EveryStateAndSign(t *testing.T) {
	const (
		none   = bfd.DiagnosticNoDiagnostic
		silent = bfd.DiagnosticControlDetectionTimeExpired
		told   = bfd.DiagnosticNeighborSignaledSessionDown
		off    = bfd.DiagnosticAdministrativelyDown
	)
	type verdict struct {
		state bfd.StateType
		diag  bfd.DiagnosticType
	}
	product := map[bfd.StateType][5]verdict{ // the neighbour says AdminDown, Down, Init, Up; it says nothing
		bfd.StateAdminDown: {{bfd.StateAdminDown, off}, {bfd.StateAdminDown, off}, {bfd.StateAdminDown, off}, {bfd.StateAdminDown, off}, {bfd.StateAdminDown, off}},
		bfd.StateDown:      {{bfd.StateDown, none}, {bfd.StateInit, none}, {bfd.StateUp, none}, {bfd.StateDown, none}, {bfd.StateDown, none}},
		bfd.StateInit:      {{bfd.StateDown, told}, {bfd.StateInit, none}, {bfd.StateUp, none}, {bfd.StateUp, none}, {bfd.StateDown, silent}},
		bfd.StateUp:        {{bfd.StateDown, told}, {bfd.StateDown, told}, {bfd.StateUp, none}, {bfd.StateUp, none}, {bfd.StateDown, silent}},
	}
	for state := bfd.StateAdminDown; state <= bfd.StateUp; state++ {
		for sign, want := range product[state] {
			t.Run(fmt.Sprintf("%s hears %d", state, sign), func(t *testing.T) {
				s := fresh()
				switch state {
				case bfd.StateAdminDown:
					s.Disable(epoch)
				case bfd.StateInit:
					s.Receive(epoch, epoch, from(bfd.StateDown), false)
				case bfd.StateUp:
					s = up(t)
				default:
				}
				if s.state != state {
					t.Fatalf("begins %s", s.state)
				}
				if now := epoch + 10*ms; sign < 4 {
					s.Receive(now, now, from(bfd.StateType(sign)), false)
				} else {
					s.Expire(epoch + 10*time.Second)
				}
				if got := (verdict{s.state, s.diagnostic}); got != want {
					t.Errorf("%s (%s), want %s (%s)", got.state, got.diag, want.state, want.diag)
				}
			})
		}
	}
}

func TestAccepts_OnlyWhatASessionMayLookAt(t *testing.T) {
	for _, tt := range []struct {
		name  string
		edit  func(*bfd.BFDHeader)
		flags byte
		want  bool
	}{
		{"a good one", func(*bfd.BFDHeader) {}, 0xc0, true},
		{"poll, C and D are flags like others", func(*bfd.BFDHeader) {}, 0xea, true},
		{"version 0", func(p *bfd.BFDHeader) { p.Version = 0 }, 0xc0, false},
		{"version 2", func(p *bfd.BFDHeader) { p.Version = 2 }, 0xc0, false},
		{"multiplier 0", func(p *bfd.BFDHeader) { p.DetectTimeMultiplier = 0 }, 0xc0, false},
		{"no discriminator of its own", func(p *bfd.BFDHeader) { p.MyDiscriminator = 0 }, 0xc0, false},
		{"authenticated", func(*bfd.BFDHeader) {}, 0xc4, false},
		{"multipoint", func(*bfd.BFDHeader) {}, 0xc1, false},
		{"up without our discriminator", func(p *bfd.BFDHeader) { p.YourDiscriminator = 0 }, 0xc0, false},
		{"init without our discriminator", func(p *bfd.BFDHeader) { p.YourDiscriminator, p.State = 0, bfd.StateInit }, 0x80, false},
		{"down without our discriminator", func(p *bfd.BFDHeader) { p.YourDiscriminator, p.State = 0, bfd.StateDown }, 0x40, true},
		{"admin down without our discriminator", func(p *bfd.BFDHeader) { p.YourDiscriminator, p.State = 0, bfd.StateAdminDown }, 0, true},
	} {
		p := from(bfd.StateUp, tt.edit)
		if got := Accepts(p, tt.flags); got != tt.want {
			t.Errorf("%s: accepted %v", tt.name, got)
		}
	}
}

func TestSession_Pace_IsNegotiated(t *testing.T) {
	for _, tt := range []struct {
		name             string
		sends, takes     time.Duration // the neighbour's
		multiplier       uint8
		interval, detect time.Duration
	}{
		{"both want the same", 100 * ms, 100 * ms, 3, 100 * ms, 300 * ms},
		{"the neighbour takes less often", 100 * ms, 250 * ms, 3, 250 * ms, 300 * ms},
		{"the neighbour sends less often", 250 * ms, 100 * ms, 3, 100 * ms, 750 * ms},
		{"the neighbour is faster than we take", 10 * ms, 10 * ms, 3, 100 * ms, 300 * ms},
		{"the neighbour's multiplier counts, not ours", 100 * ms, 100 * ms, 5, 100 * ms, 500 * ms},
	} {
		s := up(t)
		s.Receive(epoch, epoch, from(bfd.StateUp, func(p *bfd.BFDHeader) {
			p.DesiredMinTxInterval, p.RequiredMinRxInterval = uint32(tt.sends.Microseconds()), uint32(tt.takes.Microseconds())
			p.DetectTimeMultiplier = tt.multiplier
		}), false)
		if got := s.Status(); got.Interval != tt.interval || got.Detect != tt.detect {
			t.Errorf("%s: interval %s, detection %s", tt.name, got.Interval, got.Detect)
		}
	}
}

func TestSession_NotUp_IsSlow(t *testing.T) {
	s := fresh()
	s.Receive(epoch, epoch, from(bfd.StateAdminDown), false)
	if p, ok := s.Transmit(epoch); !ok || p.DesiredMinTxInterval != 1_000_000 || p.RequiredMinRxInterval != 100_000 || p.Poll {
		t.Errorf("first packet %+v, %v", p, ok)
	}
	at, ok := s.Next()
	if !ok || at < epoch+300*ms { // the detection time; the next packet comes after it
		t.Errorf("next at %s", at-epoch)
	}
	if _, ok := s.Transmit(epoch + 700*ms); ok {
		t.Error("a second packet within three quarters of a second")
	}
	if _, ok := s.Transmit(epoch + 1000*ms); !ok {
		t.Error("no packet after a second")
	}
}

func TestSession_ComingUp_PollsUntilFinal(t *testing.T) {
	s := fresh()
	s.Receive(epoch, epoch, from(bfd.StateDown), false)
	s.Receive(epoch, epoch, from(bfd.StateUp), false)
	now := epoch
	for range 3 {
		p, ok := s.Transmit(now)
		if !ok || !p.Poll || p.Final || p.DesiredMinTxInterval != 100_000 || p.State != bfd.StateUp || p.YourDiscriminator != 7 {
			t.Fatalf("packet %+v, %v", p, ok)
		}
		now += 100 * ms
	}
	if answer := s.Receive(now, now, from(bfd.StateUp, func(p *bfd.BFDHeader) { p.Final = true }), false); answer {
		t.Error("a final is not to be answered")
	}
	if p, ok := s.Transmit(now); !ok || p.Poll {
		t.Errorf("polls on: %+v, %v", p, ok)
	}
}

func TestSession_Polled_AnswersAtOnceWhateverItsState(t *testing.T) {
	poll := func(p *bfd.BFDHeader) { p.Poll = true }
	off := fresh()
	off.Disable(epoch)
	for name, s := range map[string]*Session{"down": fresh(), "up": up(t), "admin down": off} {
		if !s.Receive(epoch, epoch, from(bfd.StateDown, poll), false) {
			t.Errorf("%s: no answer", name)
		}
		if p := s.Final(); !p.Final || p.Poll {
			t.Errorf("%s: answer %+v", name, p)
		}
	}
}

// RFC 5880 section 6.8.3: while up, a slower pace of ours counts only once the neighbour knows of it, and so does the shorter detection
// time that comes with a faster one.
func TestSession_Retuned_TheSaferPaceCountsUntilTheNeighbourAnswered(t *testing.T) {
	final := func(p *bfd.BFDHeader) {
		p.Final, p.DesiredMinTxInterval, p.RequiredMinRxInterval = true, 1000, 1000
	}
	quick := func(p *bfd.BFDHeader) { p.DesiredMinTxInterval, p.RequiredMinRxInterval = 1000, 1000 }
	for _, tt := range []struct {
		name                         string
		to                           time.Duration
		interval, detect             time.Duration
		afterInterval, afterDetected time.Duration
	}{
		{"slower", 400 * ms, 100 * ms, 1200 * ms, 400 * ms, 1200 * ms},
		{"faster", 10 * ms, 10 * ms, 300 * ms, 10 * ms, 30 * ms},
	} {
		s := up(t)
		s.Receive(epoch, epoch, from(bfd.StateUp, quick), false)
		s.Retune(epoch, tt.to, 3)
		if got := s.Status(); got.Interval != tt.interval || got.Detect != tt.detect {
			t.Errorf("%s: interval %s, detection %s while polling", tt.name, got.Interval, got.Detect)
		}
		if p, ok := s.Transmit(epoch); !ok || !p.Poll || p.DesiredMinTxInterval != uint32(tt.to.Microseconds()) {
			t.Errorf("%s: packet %+v, %v", tt.name, p, ok)
		}
		s.Receive(epoch, epoch, from(bfd.StateUp, final), false)
		if got := s.Status(); got.Interval != tt.afterInterval || got.Detect != tt.afterDetected {
			t.Errorf("%s: interval %s, detection %s after the answer", tt.name, got.Interval, got.Detect)
		}
	}
}

func TestSession_Jitter_StaysInItsBounds(t *testing.T) {
	for _, tt := range []struct {
		multiplier  uint8
		least, most time.Duration
	}{{1, 75 * ms, 90 * ms}, {3, 75 * ms, 100 * ms}} {
		s := up(t)
		s.cfg.Multiplier = tt.multiplier
		low, high := time.Hour, time.Duration(0)
		for range 5000 {
			d := s.jittered(100 * ms)
			low, high = min(low, d), max(high, d)
		}
		if low < tt.least || high > tt.most {
			t.Errorf("multiplier %d: from %s to %s", tt.multiplier, low, high)
		}
		if high-low < (tt.most-tt.least)*9/10 {
			t.Errorf("multiplier %d: only from %s to %s", tt.multiplier, low, high)
		}
	}
}

func TestSession_Silence_IsCountedFromTheLastArrival(t *testing.T) {
	s := up(t)
	now := epoch + 290*ms
	s.Receive(now, epoch+100*ms, from(bfd.StateUp), false) // it waited in our queue for 190 ms
	if s.Expire(epoch + 399*ms) {
		t.Error("a verdict too early")
	}
	if !s.Expire(epoch+400*ms) || s.state != bfd.StateDown || s.remoteID != 0 {
		t.Errorf("no verdict: %+v", s)
	}
	if p, ok := s.Transmit(epoch + 400*ms); !ok || p.State != bfd.StateDown || p.Diagnostic != bfd.DiagnosticControlDetectionTimeExpired ||
		p.YourDiscriminator != 0 || p.DesiredMinTxInterval != 1_000_000 {
		t.Errorf("the neighbour is told at once: %+v, %v", p, ok)
	}
}

func TestSession_PauseOfOurs_IsNoSilence(t *testing.T) {
	s := up(t)
	now := epoch + 2*time.Second
	s.Excuse(now, 2*time.Second)
	if s.Expire(now) || s.Expire(now+99*ms) {
		t.Error("the neighbour is blamed for a pause of ours")
	}
	if p, ok := s.Transmit(now); !ok || p.State != bfd.StateUp {
		t.Errorf("packet %+v, %v", p, ok)
	}
	if _, ok := s.Transmit(now); ok {
		t.Error("what was missed is sent in a burst")
	}
	if !s.Expire(now + 100*ms) {
		t.Error("one excuse is enough")
	}
}

func TestSession_ExcusesOfOurs_AreFew(t *testing.T) {
	s := up(t)
	if s.Excuse(epoch, 49*ms); s.grant != 0 {
		t.Error("a little late is no excuse")
	}
	now := epoch + 310*ms
	for range excusesMax {
		if s.Excuse(now, 60*ms); s.Expire(now) {
			t.Fatal("not excused")
		}
		now += 110 * ms
	}
	if s.Excuse(now, 60*ms); !s.Expire(now) {
		t.Error("excused for ever")
	}
}

func TestSession_NeighbourTakesNothing_NothingIsSent(t *testing.T) {
	s := up(t)
	s.Receive(epoch, epoch, from(bfd.StateUp, func(p *bfd.BFDHeader) { p.RequiredMinRxInterval = 0 }), false)
	if _, ok := s.Transmit(epoch + time.Hour); ok {
		t.Error("a packet")
	}
	if at, ok := s.Next(); !ok || at != epoch+300*ms {
		t.Errorf("next %s, %v: the detection time runs on", at-epoch, ok)
	}
}

func TestSession_Demand_IsHeeded(t *testing.T) {
	s := up(t)
	s.Receive(epoch, epoch, from(bfd.StateUp), Demands(0xc2))
	if _, ok := s.Transmit(epoch + time.Hour); ok {
		t.Error("a packet though the neighbour relies on polls")
	}
	if s.Retune(epoch, 50*ms, 3); !s.polling {
		t.Error("no poll")
	}
	if p, ok := s.Transmit(epoch); !ok || !p.Poll {
		t.Errorf("a poll is sent all the same: %+v, %v", p, ok)
	}
}

func TestSession_Disabled_SaysSo(t *testing.T) {
	s := up(t)
	s.Disable(epoch)
	p, ok := s.Transmit(epoch)
	if !ok || p.State != bfd.StateAdminDown || p.Diagnostic != bfd.DiagnosticAdministrativelyDown || p.YourDiscriminator != 7 {
		t.Errorf("packet %+v, %v", p, ok)
	}
	if s.Expire(epoch + time.Hour) {
		t.Error("a verdict on a session that is turned off")
	}
}
