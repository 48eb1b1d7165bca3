package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"time"

	"peerless/internal/bench/hand"
	"peerless/internal/lab/probe"
	"peerless/internal/lab/topology"
	"peerless/internal/step"
)

// How one fault is measured.
const (
	pace       = 50 * time.Microsecond // of each probed flow, around the fault
	backPace   = time.Millisecond      // on the way back
	warmUp     = 100 * time.Millisecond
	wholeFor   = 100 * time.Millisecond // so much of the window's end must have lost nothing
	lookEvery  = 100 * time.Microsecond // at the gateway's kernel, while it is not right
	lookAfter  = 100 * time.Millisecond // from a sample of the hosts to all: asking for each is not to stand in the way of their repair
	lookSample = 64                     // hosts that are looked at first
	faultMax   = 8 * time.Second        // an engine that has not repaired by then has failed this run
	steadyMax  = 40 * time.Second       // until all are where they belong; with many hosts longer
	steadyHost = 500 * time.Microsecond
	// What an engine lays in wait for the next fault it lays when nothing else is to be done.
	restMin  = 200 * time.Millisecond
	restHost = 30 * time.Microsecond
	// What is left to do behind the repair is done before the cable is mended.
	afterHost = 200 * time.Microsecond
)

// momentsMax bounds what is kept of one daemon's journal.
const momentsMax = 40

// Faults that can be measured.
const (
	ServerLink  = "server-link"
	GatewayLink = "gateway-link"
)

// faults are the ports that are set down. Of the cable in the middle, the old leaf's end goes first: its word has the longest way.
var faults = map[string]struct {
	node, entry string
	ports       []string
}{
	ServerLink:  {nodeS, "eth0", []string{"eth0"}},
	GatewayLink: {nodeX, "near", []string{"far", "near"}},
}

// unready counts what a gateway with peerless is not ready for: a server port that is not up on both leaves, or not used on the first.
func (s *stage) unready(ctx context.Context) (left int) {
	if s.engine.act != "" {
		return 0
	}
	var rows []step.MappingRow
	if err := s.stand.Ask(ctx, nodeG, "mapping", &rows); err != nil {
		return 1 // it starts, or is busy: asked again
	}
	left = 2
	for _, r := range rows {
		if r.Uplink == "up" && r.Downlink == "up" && r.Active == (r.Role == "primary") {
			left--
		}
	}
	return max(0, left)
}

// measure injects one fault, tells what the traffic felt, and mends it.
func (s *stage) measure(ctx context.Context, fault string) (Sample, error) {
	out := Sample{Engine: s.engine.name, Fault: fault, Hosts: s.hosts}
	if err := s.steady(ctx); err != nil {
		if ctx.Err() != nil || s.stand.Death() != nil {
			return out, err
		}
		out.Invalid = err.Error()
		return out, nil
	}
	time.Sleep(restMin + time.Duration(s.hosts)*restHost)
	if err := s.each(hand.Arm); err != nil {
		return out, err
	}
	all := func(topology.Flow) bool { return true }
	if err := s.fleet.Rate(pace, all); err != nil {
		return out, err
	}
	time.Sleep(warmUp)
	at, right, err := s.cut(ctx, fault)
	if err != nil {
		return out, errors.Join(err, s.mend(fault))
	}
	got, err := s.felt(ctx, at)
	if err := errors.Join(err, s.fleet.Rate(0, all)); err != nil {
		return out, err
	}
	began := out.fill(got, right)
	if s.timeline && s.engine.act == "" {
		if out.Timeline, err = s.story(ctx, at, began); err != nil {
			return out, err
		}
	}
	out.ReturnLost, err = s.comeBack(ctx, fault)
	return out, err
}

// comeBack mends the fault and tells what the way back costs.
func (s *stage) comeBack(ctx context.Context, fault string) (*uint64, error) {
	all := func(topology.Flow) bool { return true }
	err := s.fleet.Rate(backPace, all)
	if !s.flap {
		time.Sleep(restMin + time.Duration(s.hosts)*afterHost)
	}
	at := probe.Mono()
	if err := errors.Join(err, s.mend(fault)); err != nil {
		return nil, err
	}
	if s.steady(ctx) != nil { // the next fault tells why
		return nil, s.fleet.Rate(0, all)
	}
	time.Sleep(wholeFor + 2*probe.Settle)
	got, err := s.fleet.Measure(at, probe.Mono()-int64(probe.Settle), wholeFor)
	if err := errors.Join(err, s.fleet.Rate(0, all)); err != nil {
		return nil, err
	}
	lost := new(uint64)
	for _, m := range got {
		*lost += m.Lost
	}
	return lost, nil
}

// felt tells what became of the probes once every probed host is whole again, or has had its time.
func (s *stage) felt(ctx context.Context, at int64) (got []probe.Measured, err error) {
	for {
		time.Sleep(wholeFor + 2*probe.Settle)
		now := probe.Mono()
		if got, err = s.fleet.Measure(at-int64(warmUp), now-int64(probe.Settle), wholeFor); err != nil {
			return nil, err
		}
		out := slices.ContainsFunc(got, func(m probe.Measured) bool { return !m.Recovered })
		if !out || time.Duration(now-at) > faultMax || ctx.Err() != nil {
			return got, nil
		}
	}
}

// story merges what the daemons journalled, and what they warned of in the second before: who was not at rest explains most odd figures. Times count
// from the first packet that was lost.
func (s *stage) story(ctx context.Context, at, began int64) ([]Moment, error) {
	var out []Moment
	for _, node := range []string{nodeG, nodeA, nodeB, nodeS} {
		var events []struct {
			MonoNs int64  `json:"mono_ns"`
			Text   string `json:"text"`
			Why    string `json:"why"`
			Warn   bool   `json:"warn"`
		}
		if err := s.stand.Ask(ctx, node, "events?since_ns="+strconv.FormatInt(at-int64(time.Second), 10), &events); err != nil {
			return nil, err
		}
		n := 0
		for _, e := range events {
			if n < momentsMax && (e.Warn || e.MonoNs >= at) {
				n++
				out = append(out, Moment{AtMs: ms(time.Duration(e.MonoNs - began)), Node: node, Event: e.Text, Why: e.Why})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Moment) int { return cmp.Compare(a.AtMs, b.AtMs) })
	return out, nil
}

// mend puts the cable and the stand-ins back.
func (s *stage) mend(fault string) error {
	if err := s.cables[fault].Set(true); err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond) // the ports have their carrier again
	return s.each(hand.Reset)
}

// fill reads the probes' answers. The fault begins with the first packet that was lost.
func (s *Sample) fill(got []probe.Measured, right int64) (began int64) {
	if right == 0 {
		s.Invalid = "the gateway's kernel did not become right in " + faultMax.String()
	}
	var lost uint64
	for _, m := range got {
		lost += m.Lost
		s.OutageMs = append(s.OutageMs, ms(m.Outage))
		s.PauseMs = max(s.PauseMs, ms(m.Pause))
		s.Duplicated += m.Duplicated
		switch {
		case !m.Recovered:
			s.Invalid = "a probed host did not recover"
		case m.Lost == 0 && s.Invalid == "": // it was out while nobody looked
			s.Invalid = fmt.Sprintf("a probed host lost nothing: its sender paused for %.1f ms", ms(m.Pause))
		}
	}
	if lost == 0 {
		s.Invalid = "nothing was lost: the fault was not felt"
		return 0
	}
	began = math.MaxInt64
	for _, m := range got {
		if len(m.Gaps) > 0 {
			began = min(began, m.Gaps[0].Sent)
		}
	}
	if right > 0 {
		s.RightMs = max(0, ms(time.Duration(right-began)))
	}
	return began
}

func ms(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / 1e6 }

// watch is what was seen of the gateway's kernel.
type watch struct {
	right int64 // when it was first seen to send every host to the new leaf; 0: never
	err   error
}

// cut injects the fault and watches the gateway's kernel, from before, until it sends every host to the new leaf.
func (s *stage) cut(ctx context.Context, fault string) (at int64, right int64, err error) {
	seen := make(chan watch, 1)
	at = probe.Mono()
	go func() {
		runtime.LockOSThread() // one that nothing else delays
		var w watch
		w.right, w.err = s.look(ctx, at)
		seen <- w
	}()
	time.Sleep(time.Millisecond) // it looks
	at = probe.Mono()
	err = s.cables[fault].Set(false)
	w := <-seen
	return at, w.right, errors.Join(err, w.err)
}

// look goes on until every host is right: first a sample, so that an unchanged kernel is asked about one host again and again, then all.
func (s *stage) look(ctx context.Context, since int64) (right int64, err error) {
	var some, rest []netip.Addr
	for i := range min(s.hosts, lookSample) {
		some = append(some, host(i*(s.hosts-1)/max(1, min(s.hosts, lookSample)-1)))
	}
	if s.hosts > lookSample {
		for i := range s.hosts {
			rest = append(rest, host(i))
		}
	}
	for i, h := range append(some, rest...) {
		if i == len(some) {
			time.Sleep(lookAfter)
		}
		turned, err := s.await(ctx, h, since)
		if err != nil || turned < 0 {
			return 0, err
		}
		if i == 0 && turned == 0 {
			turned = probe.Mono() // the fault was quicker than the first look
		}
		right = max(right, turned)
	}
	return right, nil
}

// await looks until the kernel sends the host to the new leaf. It gives the instant of the first look that found it so, 0 if it was so
// at once, and -1 if it did not become so.
func (s *stage) await(ctx context.Context, h netip.Addr, since int64) (int64, error) {
	for first := true; ; first = false {
		port, err := s.eyes.Port(h)
		if err != nil {
			return 0, err
		}
		now := probe.Mono()
		switch {
		case port == s.toNew && first:
			return 0, nil
		case port == s.toNew:
			return now, nil
		case time.Duration(now-since) > faultMax:
			return -1, nil
		case ctx.Err() != nil:
			return 0, fmt.Errorf("watch the gateway: %w", context.Cause(ctx))
		}
		time.Sleep(lookEvery)
	}
}
