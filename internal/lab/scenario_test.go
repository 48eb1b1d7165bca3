package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/lab/matrix"
	"peerless/internal/lab/probe"
	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
	"peerless/internal/scenario"
)

const storyDir = "../../testdata/scenarios"

func stories(t *testing.T) []*scenario.Story {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(storyDir, "*.story"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories in %s: %v", storyDir, err)
	}
	var out []*scenario.Story
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenario.Parse(f, string(b))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// What a story does must be something that the lab can do, so that the simulator's and the lab's stories stay the same ones.
func TestStory_EveryAction_HasADeed(t *testing.T) {
	for _, s := range stories(t) {
		top, ok := topology.Find(s.Topology)
		if !ok {
			t.Errorf("%s: no topology %s", s.Name, s.Topology)
			continue
		}
		for _, st := range s.Steps {
			if st.Action == nil {
				continue
			}
			if _, err := deedsOf(top, *st.Action); err != nil {
				t.Errorf("%s:%d: %v", s.Name, st.Line, err)
			}
		}
	}
}

// TestStory_OnRealPackets tells every story on real kernels and daemons, one after another on one lab of each topology.
func TestStory_OnRealPackets(t *testing.T) {
	needRootHere(t)
	if testing.Short() {
		t.Skip("takes as long as the stories")
	}
	only, binary, site := os.Getenv("STORY"), daemonBinary(t), testSite(t)
	labs := map[string]*runner{}
	t.Cleanup(func() {
		for _, r := range labs {
			if err := r.end(downGrace); err != nil {
				t.Error(err)
			}
		}
	})
	for _, s := range stories(t) {
		t.Run(s.Name, func(t *testing.T) {
			if only != "" && only != s.Name {
				t.Skip("STORY names another one")
			}
			r := labs[s.Topology]
			if r == nil {
				top, _ := topology.Find(s.Topology)
				o := Options{Engine: EngineBGP, Gateway: GatewayPeerless, Binary: binary, probeBinary: selfBinary(t), Progress: os.Stderr}
				in, err := begin(t.Context(), site, top, o, modeRun)
				if err != nil {
					t.Fatal(err)
				}
				r = &runner{instance: in, ask: newAsker(site, top, in.net), drops: map[string]uint32{}}
				labs[s.Topology] = r
				if _, err := r.converged(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.untilSteady(t.Context(), returnMax); err != nil {
				t.Fatal(err)
			}
			defer r.heal(t, s)
			r.tell(t, s)
		})
	}
}

// heal undoes what a story leaves broken, for the next one.
func (r *runner) heal(t *testing.T, s *scenario.Story) {
	t.Helper()
	undo := map[matrix.Verb]matrix.Verb{
		matrix.PortDown: matrix.PortUp, matrix.Deafen: matrix.Hear, matrix.Kill: matrix.Start, matrix.Terminate: matrix.Start,
		matrix.Freeze: matrix.Thaw, matrix.Die: matrix.Boot, matrix.Drain: matrix.Undrain, matrix.NoForward: matrix.Forward,
	}
	var left []matrix.Deed
	for _, st := range s.Steps {
		if st.Action == nil {
			continue
		}
		deeds, err := deedsOf(r.top, *st.Action)
		if err != nil {
			t.Error(err)
		}
		for _, d := range deeds {
			left = slices.DeleteFunc(left, func(l matrix.Deed) bool { return l == d })
			if good, ok := undo[d.Verb]; ok {
				d.Verb = good
				left = append(left, d)
			}
		}
	}
	if _, err := r.doAll(context.Background(), left); err != nil {
		t.Error(err)
	}
}

// deedsOf puts an action of a story into what the lab does.
func deedsOf(top topology.Topology, a scenario.Action) ([]matrix.Deed, error) {
	onNode := map[scenario.Verb]matrix.Verb{
		scenario.DaemonKill: matrix.Kill, scenario.DaemonStop: matrix.Terminate, scenario.DaemonStart: matrix.Start,
		scenario.DaemonFreeze: matrix.Freeze, scenario.DaemonThaw: matrix.Thaw, scenario.NodeDown: matrix.Die, scenario.NodeUp: matrix.Boot,
		scenario.LeafDrain: matrix.Drain, scenario.LeafUndrain: matrix.Undrain, scenario.LeafMute: matrix.NoForward, scenario.LeafForward: matrix.Forward,
	}
	if v, ok := onNode[a.Verb]; ok {
		return []matrix.Deed{{Verb: v, Node: a.Node}}, nil
	}
	switch a.Verb {
	case scenario.LinkDown, scenario.LinkUp, scenario.LinkDrops:
		far, leaf, err := cableOf(top, a.Link)
		if err != nil {
			return nil, err
		}
		return onCable(top, a, far, leaf), nil
	case scenario.PortDown, scenario.PortUp:
		i := slices.IndexFunc(top.Links, func(l topology.Link) bool { return l.A.Port == a.Port || l.B.Port == a.Port })
		if i < 0 {
			return nil, fmt.Errorf("no port %s", a.Port)
		}
		at := top.Links[i].A
		if at.Port != a.Port {
			at = top.Links[i].B
		}
		if a.Verb == scenario.PortDown {
			return []matrix.Deed{{Verb: matrix.PortDown, At: at}}, nil
		}
		return []matrix.Deed{{Verb: matrix.PortUp, At: at}}, nil
	case scenario.SessionReset:
		return []matrix.Deed{{Verb: matrix.Reset, Node: a.Node, Peer: a.Peer}}, nil
	}
	return nil, fmt.Errorf("the lab cannot do %q", a.Verb)
}

// onCable: a cable of this kernel is cut by setting the end that is not the leaf's down.
func onCable(top topology.Topology, a scenario.Action, far, leaf topology.End) []matrix.Deed {
	node, _ := top.Node(far.Node)
	upper, lower := leaf, far
	if node.Role == topology.Gateway {
		upper, lower = far, leaf
	}
	switch {
	case a.Verb == scenario.LinkDown:
		return []matrix.Deed{{Verb: matrix.PortDown, At: far}}
	case a.Verb == scenario.LinkUp:
		return []matrix.Deed{{Verb: matrix.PortUp, At: far}}
	}
	verb := map[bool]matrix.Verb{true: matrix.Deafen, false: matrix.Hear}
	return []matrix.Deed{
		{Verb: verb[a.Way == scenario.Both || a.Way == scenario.Up], At: upper},
		{Verb: verb[a.Way == scenario.Both || a.Way == scenario.Down], At: lower},
	}
}

// cableOf finds a link's end at the named node, and the other one.
func cableOf(top topology.Topology, l scenario.Link) (at, port topology.End, err error) {
	for _, c := range top.Links {
		for _, ends := range [][2]topology.End{{c.A, c.B}, {c.B, c.A}} {
			if ends[0].Node == l.Node && (ends[1].Port == l.Port || ends[1].Node == l.Port) {
				return ends[0], ends[1], nil
			}
		}
	}
	return at, port, fmt.Errorf("no link %s-%s", l.Node, l.Port)
}

// tell does what a story says and holds what follows against it.
func (r *runner) tell(t *testing.T, s *scenario.Story) {
	t.Helper()
	ctx, start, from := t.Context(), time.Now(), probe.Mono()
	for _, st := range s.Steps {
		switch {
		case st.Always:
		case st.Action != nil:
			if err := r.pause(ctx, time.Until(start.Add(st.At))); err != nil {
				t.Fatal(err)
			}
			deeds, err := deedsOf(r.top, *st.Action)
			if err == nil {
				_, err = r.doAll(ctx, deeds)
			}
			if err != nil {
				t.Fatalf("%s:%d: %v", s.Name, st.Line, err)
			}
		default:
			if why := r.byThen(ctx, start.Add(st.At), *st.Expect); why != "" {
				t.Errorf("%s:%d: not by %s: %s", s.Name, st.Line, st.At, why)
			}
		}
	}
	if err := r.pause(ctx, time.Until(start.Add(s.End))); err != nil {
		t.Fatal(err)
	}
	to := probe.Mono() - int64(probe.Settle)
	got, err := r.fleet.Measure(from, to, recoveredFor)
	if err != nil {
		t.Fatal(r.better(err))
	}
	timeline, err := r.timeline(ctx, from, to)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range s.Steps {
		if !st.Always {
			continue
		}
		if why := r.always(*st.Expect, got, timeline); why != "" {
			t.Errorf("%s:%d: %s", s.Name, st.Line, why)
		}
	}
}

// byThen waits for an expectation; it says why it has not come true.
func (r *runner) byThen(ctx context.Context, end time.Time, e scenario.Expect) string {
	for {
		why, err := r.notYet(ctx, e)
		if err != nil {
			return err.Error()
		}
		if why == "" || time.Now().After(end) {
			return why
		}
		if err := r.pause(ctx, 20*time.Millisecond); err != nil {
			return err.Error()
		}
	}
}

func (r *runner) notYet(ctx context.Context, e scenario.Expect) (string, error) {
	switch e.Fact {
	case scenario.FlowWorks, scenario.FlowBroken:
		left, err := r.broken(recoveredFor)
		broken := slices.ContainsFunc(left, func(text string) bool { return strings.HasPrefix(text, "flow "+e.From+"->"+e.To+" ") })
		if broken != (e.Fact == scenario.FlowBroken) {
			return fmt.Sprintf("flow %s->%s is broken: %v", e.From, e.To, broken), err
		}
		return "", err
	case scenario.HostBehind, scenario.HostNowhere:
		return r.hostAt(ctx, e), nil
	case scenario.PortOpen, scenario.PortClosed:
		leaf := e.Port[:1]
		var rows []portRow
		if err := r.ask.get(ctx, leaf, "ports", &rows); err != nil {
			return err.Error(), nil
		}
		for _, p := range rows {
			if string(p.Port) != e.Port {
				continue
			}
			if open := p.Admin && p.ClosedBy == ""; open != (e.Fact == scenario.PortOpen) {
				return fmt.Sprintf("port %s is %s, closed by %q", e.Port, p.State, p.ClosedBy), nil
			}
			return "", nil
		}
		return "no port " + e.Port, nil
	case scenario.FlowLossless, scenario.HostMoves:
	}
	return "", fmt.Errorf("%q is told of a whole story only", e.Fact)
}

// hostAt asks the gateways where a host is.
func (r *runner) hostAt(ctx context.Context, e scenario.Expect) string {
	for _, n := range r.top.Nodes {
		if n.Role != topology.Gateway {
			continue
		}
		var rows []mappingRow
		if err := r.ask.get(ctx, n.Name, "mapping", &rows); err != nil {
			return err.Error()
		}
		leaf := ""
		for _, m := range rows {
			if slices.Contains(m.Hosts, e.Host) && m.Active {
				leaf = m.Leaf
			}
		}
		if leaf != e.Leaf {
			return fmt.Sprintf("%s has %s behind leaf %q, not %q", n.Name, e.Host, leaf, e.Leaf)
		}
	}
	return ""
}

func (r *runner) always(e scenario.Expect, got []probe.Measured, timeline []report.Entry) string {
	switch e.Fact {
	case scenario.FlowLossless:
		for i, f := range r.top.Flows {
			if f.From != e.From || f.To != e.To {
				continue
			}
			if got[i].Lost > 0 || got[i].Sent == 0 {
				return fmt.Sprintf("flow %s lost %d of %d", f.Name(), got[i].Lost, got[i].Sent)
			}
			return ""
		}
		return fmt.Sprintf("no flow %s->%s", e.From, e.To)
	case scenario.HostMoves:
		moves := 0
		for _, en := range timeline {
			if en.Node == outside && en.What == "host-moved" && en.Addr == e.Host.String() {
				moves++
			}
		}
		if moves > e.Most {
			return fmt.Sprintf("%s moved %d times", e.Host, moves)
		}
		return ""
	default:
		return fmt.Sprintf("%q cannot be held always", e.Fact)
	}
}
