package leaf

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"peerless/internal/claim"
	"peerless/internal/leaf/linkage"
	"peerless/internal/model"
	"peerless/internal/step"
)

const engineTable = 100

// byTable is a leaf beside an engine.
func byTable(cfg Config, engine string) Config {
	cfg.DefaultFromBGP = false
	cfg.Export = Export{Mode: ByTable, Table: engineTable, Engine: engine, Recency: engine == "bird"}
	cfg.HostProbe = Probe{Interval: 200 * time.Millisecond, Multiplier: 2}
	return cfg
}

func engineDefault(port model.Port, via netip.Addr, present bool) step.RouteState {
	return step.RouteState{Route: step.Route{Prefix: anywhere, Metric: 20, NextHop: step.NextHop{Dev: port, Via: via}}, Present: present, Protocol: 188}
}

// besides brings a leaf beside an engine up to the open state.
func (w *world) besides() {
	w.t.Helper()
	w.do(step.Started{})
	s := w.snapshot()
	def := engineDefault("A0", upper, true)
	for i, u := range w.m.cfg.Uplinks {
		if i > 0 {
			def.More = append(def.More, step.NextHop{Dev: u.Port, Via: u.Neighbor})
		}
		s.Neighbors = append(s.Neighbors, resolved(u))
	}
	s.Routes = append(s.Routes, def)
	w.do(s)
	w.pass(time.Second)
	for _, d := range w.m.downs {
		if !d.serving {
			w.t.Fatalf("port %s does not serve: %s", d.Port, d.why)
		}
	}
}

func engineHas(engine string, hosts ...int) step.EngineState {
	e := step.EngineState{Engine: engine, Running: true}
	for _, i := range hosts {
		e.Routes = append(e.Routes, step.HostPrefix(addrOf(i)))
	}
	return e
}

func TestLeaf_KernelTable_RoutesInPlaceOfAdvertisements(t *testing.T) {
	w := newWorld(t, byTable(small(), "bird"))
	w.besides()
	w.reset()
	w.Comment("a host arrives: its route for the engine comes after the one that forwards")
	w.do(garp("A2", 2))
	w.Comment("doubt does not arise here, but a verified host that is heard again keeps its metric")
	w.do(reply("A2", 2))
	w.Comment("the server's link fails: withdrawn before anything is deleted")
	w.port("A2", carrier(false))
	w.Comment("it returns: a newer stamp is a lower metric")
	w.pass(5 * time.Second)
	w.port("A2", carrier(true))
	w.do(garp("A2", 2))
	w.Golden(t, "kernel-table")
}

func TestLeaf_KernelTable_HostThatMovedAwayIsFoundByProbes(t *testing.T) {
	w := newWorld(t, byTable(small(), "frr"))
	w.besides()
	w.do(garp("A2", 2))
	w.reset()
	w.Comment("nobody tells, and it does not answer any more")
	w.pass(time.Second)
	w.Golden(t, "kernel-table-silent")
}

func TestLeaf_KernelTable_NewStamp_AddsBeforeItDeletes(t *testing.T) {
	for engine, want := range map[string]string{
		"bird": "want route 10.10.10.2/32 dev A2 table 100 metric M after route 10.10.10.2/32 20099 because it announced itself here\n" +
			"want no route 10.10.10.2/32 dev A2 table 100 metric M after route 10.10.10.2/32 100 because a newer route took its place",
		"frr": "",
	} {
		w := newWorld(t, byTable(small(), engine))
		w.besides()
		w.do(garp("A2", 2))
		w.pass(150 * time.Millisecond)
		w.Now.Wall += 60_000
		w.m.change(w.Now, w.m.hosts.Doubt(w.Now.Mono, addrOf(2), false), 0)
		got := anyMetric.ReplaceAllString(strings.Join(lines(w.do(garp("A2", 2)), "table 100"), "\n"), "metric M")
		if got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", engine, got, want)
		}
	}
}

var anyMetric = regexp.MustCompile(`metric \d+`)

func TestLeaf_Metric_NewerIsLowerAndUnverifiedLast(t *testing.T) {
	m := New(byTable(small(), "bird"))
	at := func(d time.Duration) uint32 { return m.metric(claim.Stamp(1_790_000_000_000 + d.Milliseconds())) }
	if a, b := at(0), at(time.Second); b != a-1 {
		t.Errorf("a second later: %d after %d", b, a)
	}
	if at(0) > metricOldest || at(0) < metricNewest || m.metric(1) <= m.metric(2) || m.metric(2) <= metricOldest || m.metric(1) >= 1<<24-1 {
		t.Errorf("metrics %d %d %d: not in the order of newest, primary's, backup's, all below 2^24-1", at(0), m.metric(2), m.metric(1))
	}
	if got := New(byTable(small(), "frr")).metric(1_790_000_000_000); got != plainMetric {
		t.Errorf("FRR loses a route whose metric changes: %d", got)
	}
}

// Where the engine still reaches a gateway it must hear of the withdrawal before the port closes; where not, closing comes first.
func TestLeaf_KernelTable_ClosingOrder(t *testing.T) {
	two := byTable(twoUplinks(small()), "frr")
	two.Groups[0].MinUplinks = 2
	tests := []struct {
		name  string
		cfg   Config
		lose  func(*world) []step.Effect
		first string
	}{
		{"the only uplink loses its carrier", byTable(small(), "frr"), func(w *world) []step.Effect { return w.port("A0", carrier(false)) }, "closed"},
		{"one of two needed uplinks does", two, func(w *world) []step.Effect { return w.port("A0", carrier(false)) }, "want no route 10.10.10.2/32 dev A2 table 100"},
		{"the default route goes, the link stays", byTable(small(), "frr"), func(w *world) []step.Effect {
			return w.do(step.RouteChanged{RouteState: engineDefault("A0", upper, false)})
		}, "want no route 10.10.10.2/32 dev A2 table 100"},
		{"the gateway is silent", byTable(small(), "frr"), func(w *world) []step.Effect {
			w.deaf = true
			return w.do(step.NeighborChanged{NeighborState: step.NeighborState{Neighbor: resolved(w.m.cfg.Uplinks[0]).Neighbor, Present: true, Failed: true}})
		}, "closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.cfg)
			w.besides()
			w.do(garp("A2", 2))
			var order []string
			var gate, gone step.Want
			for _, e := range tt.lose(w) {
				want, ok := e.(step.Want)
				if !ok || !want.Urgent {
					continue
				}
				switch o := want.Object.(type) {
				case step.Gate:
					gate = want
					order = append(order, "closed")
				case step.Route:
					if o.Table == engineTable {
						gone = want
						order = append(order, want.String())
					}
				}
			}
			if !strings.HasPrefix(order[0], tt.first) {
				t.Fatalf("order %v", order)
			}
			if tt.first == "closed" { // the kernel erases the route with the port: it is put in again, to be deleted audibly
				if len(order) != 3 || !strings.HasPrefix(order[1], "want blackhole 10.10.10.2/32 table 100") || !gone.Absent {
					t.Errorf("order %v", order)
				}
			} else if len(order) != 2 {
				t.Errorf("order %v", order)
			}
			if tt.first != "closed" && gate.After != gone.Key() {
				t.Errorf("the closing does not wait: %s", gate)
			}
			if tt.first == "closed" && gate.After != (step.Key{}) {
				t.Errorf("the closing waits: %s", gate)
			}
		})
	}
}

// A route that the kernel erased with its port is deleted so that the engine hears of it, whoever closed the port.
func TestLeaf_KernelTable_PortClosedByTheOperator_DeletesAudibly(t *testing.T) {
	w := newWorld(t, byTable(small(), "frr"))
	w.besides()
	w.do(garp("A2", 2))
	got := lines(w.port("A2", admin(false)), "table 100")
	if len(got) != 2 || !strings.HasPrefix(got[0], "want blackhole 10.10.10.2/32 table 100 metric 20 urgent") ||
		!strings.HasPrefix(got[1], "want no blackhole 10.10.10.2/32 table 100 metric 20 urgent") {
		t.Errorf("%v", got)
	}
	for _, o := range w.held {
		if r, ok := o.(step.Route); ok && r.Table == engineTable {
			t.Errorf("%s is left in the table", r)
		}
	}
}

// A withdrawal that no gateway could hear is told once more when one can, but not of a host that is back.
func TestLeaf_KernelTable_WithdrawnUnheard_IsWithdrawnAgain(t *testing.T) {
	for engine, want := range map[string][]string{"frr": {"want blackhole 10.10.10.2/32 table 100 metric 20"}, "bird": nil} {
		w := newWorld(t, byTable(small(), engine))
		w.besides()
		w.do(garp("A2", 2))
		w.port("A0", carrier(false))
		w.do(step.RouteChanged{RouteState: engineDefault("A0", upper, false)})
		w.port("A0", carrier(true))
		w.do(step.NeighborChanged{NeighborState: resolved(w.m.cfg.Uplinks[0])})
		got := lines(w.do(step.RouteChanged{RouteState: engineDefault("A0", upper, true)}), "want blackhole")
		if len(got) != len(want) || (len(got) == 1 && !strings.HasPrefix(got[0], want[0])) {
			t.Errorf("%s: %v", engine, got)
		}
		w.port("A0", carrier(false))
		if got := lines(w.port("A0", carrier(true)), "want blackhole"); len(got) != 0 {
			t.Errorf("%s: told twice: %v", engine, got)
		}
	}
}

// What FRR still has of a route that went while nobody ran is taken out; BIRD, which is not asked for one table, is left alone.
func TestLeaf_Engine_HasMoreThanTheTable(t *testing.T) {
	for engine, want := range map[string]int{"frr": 2, "bird": 0} { // at the second and the fourth reading
		w := newWorld(t, byTable(small(), engine))
		w.besides()
		w.do(garp("A2", 2))
		tries := 0
		for range 5 {
			out := w.do(engineHas(engine, 2, 9))
			tries += len(lines(out, "want blackhole 10.10.10.9/32 table 100 metric 20"))
			if got := lines(out, "10.10.10.2/32"); len(got) != 0 {
				t.Errorf("%s: touches a route of the table: %v", engine, got)
			}
		}
		if tries != want {
			t.Errorf("%s: %d tries, want %d", engine, tries, want)
		}
		if out := w.do(engineHas(engine, 2)); len(lines(out, "blackhole")) != 0 || w.m.engine.surplus[step.HostPrefix(addrOf(9))] != 0 {
			t.Errorf("%s: goes on when it is gone: %v", engine, out)
		}
	}
}

func TestLeaf_KernelTable_FailedWithdrawal_HoldsUpNoClosing(t *testing.T) {
	w := newWorld(t, byTable(small(), "frr"))
	w.besides()
	w.do(garp("A2", 2))
	w.quiet = true
	w.do(step.RouteChanged{RouteState: engineDefault("A0", upper, false)})
	if w.m.downs[0].gate.State != linkage.Closing {
		t.Fatalf("gate %s", w.m.downs[0].gate.State)
	}
	gone := step.Want{Object: step.Route{Table: engineTable, Prefix: step.HostPrefix(addrOf(2)), Metric: plainMetric}, Absent: true, Urgent: true}
	got := w.do(step.Failed{Want: gone, Err: "no buffer space", Attempt: 1})
	if len(got) != 1 || !strings.HasPrefix(got[0].String(), "want port A2 closed urgent") {
		t.Errorf("%v", got)
	}
}

func TestLeaf_KernelTable_Healing(t *testing.T) {
	mine := step.Route{Table: engineTable, Prefix: step.HostPrefix(addrOf(2)), Metric: plainMetric, NextHop: step.NextHop{Dev: "A2"}}
	other := mine
	other.Metric = 99
	tests := []struct {
		name string
		ev   step.RouteState
		want string
	}{
		{"our route deleted", step.RouteState{Route: mine, Ours: true}, "want route 10.10.10.2/32 dev A2 table 100"},
		{"our route as it should be", step.RouteState{Route: mine, Ours: true, Present: true}, ""},
		{"a route of ours that we do not want", step.RouteState{Route: other, Ours: true, Present: true}, "want no route 10.10.10.2/32"},
		{"somebody else's route", step.RouteState{Route: other, Present: true}, noteTableClash},
		{"its going", step.RouteState{Route: other}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, byTable(small(), "frr"))
			w.besides()
			w.do(garp("A2", 2))
			got := w.one(step.RouteChanged{RouteState: tt.ev})
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || len(lines(got, tt.want)) != 1) {
				t.Fatalf("%v", got)
			}
		})
	}
}

func TestLeaf_Engine_LostRouteIsDeletedAndAdded(t *testing.T) {
	w := newWorld(t, byTable(small(), "frr"))
	w.besides()
	w.do(garp("A2", 2))
	w.do(garp("A2", 3))
	w.reset()
	w.Comment("one reading may have begun before the route was there; two are proof")
	w.do(engineHas("frr", 3))
	w.do(engineHas("frr", 3))
	w.Comment("it has it again")
	w.do(engineHas("frr", 2, 3))
	w.Comment("it dies, and returns without any")
	w.do(step.EngineState{Engine: "frr", Detail: "zebra does not answer: connection refused"})
	w.do(engineHas("frr"))
	w.do(engineHas("frr"))
	for range 5 {
		w.do(engineHas("frr"))
	}
	w.Golden(t, "engine-lost")
}

func TestLeaf_Engine_SessionRow(t *testing.T) {
	clash := step.RouteChanged{RouteState: step.RouteState{Present: true, Protocol: 3,
		Route: step.Route{Table: engineTable, Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: step.NextHop{Dev: "A0"}}}}
	tests := []struct {
		name, engine string
		events       []step.Event
		state, why   string
		received     int
	}{
		{"not asked yet", "frr", nil, "down", "not asked yet", 0},
		{"works", "frr", []step.Event{engineHas("frr", 2)}, "up", "it has 1 of 1 route", 1},
		{"does not run", "bird", []step.Event{engineHas("bird", 2), step.EngineState{Engine: "bird", Detail: "no socket"}}, "down", "no socket", 0},
		{"FRR does not import", "frr", []step.Event{engineHas("frr"), engineHas("frr")}, "degraded",
			"it has no route of the table: `ip import-table 100` missing?", 0},
		{"BIRD does not learn", "bird", []step.Event{engineHas("bird"), engineHas("bird")}, "degraded",
			"it has no route of the table: no kernel protocol with `kernel table 100` and `learn`?", 0},
		{"table in use", "frr", []step.Event{engineHas("frr", 2), clash}, "degraded", "it has 1 of 1 route; the table holds 1 route of others", 1},
		{"nobody is asked", "", nil, "up", "nobody is asked who reads the table", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, byTable(small(), tt.engine))
			w.besides()
			w.do(garp("A2", 2))
			for _, ev := range tt.events {
				w.do(ev)
			}
			rows := w.m.View(w.Now).Sessions
			if len(rows) != 1 || rows[0].State != tt.state || rows[0].Why != tt.why || rows[0].Received != tt.received || rows[0].Name != "kernel table 100" {
				t.Fatalf("%+v", rows)
			}
		})
	}
}

func TestLeaf_KernelTableRestart_AdoptsWithTheOldMetric(t *testing.T) {
	w := newWorld(t, byTable(small(), "bird"))
	s := w.snapshot()
	host := func(table uint32, i int, metric uint32) step.RouteState {
		return step.RouteState{Present: true, Ours: true, Protocol: 201,
			Route: step.Route{Table: table, Prefix: step.HostPrefix(addrOf(i)), Metric: metric, NextHop: step.NextHop{Dev: "A2"}}}
	}
	s.Routes = []step.RouteState{engineDefault("A0", upper, true), host(HostTable, 2, 0), host(engineTable, 2, 7777), host(engineTable, 9, 8888),
		host(254, 5, 0)}
	s.Neighbors = []step.NeighborState{
		{Neighbor: step.Neighbor{Port: "A2", Addr: addrOf(2), MAC: macOf(2)}, Present: true, Resolved: true, Ours: true}}
	w.Comment("the gateway has no neighbour entry, but hosts of ours are there: the leaf was forwarding")
	w.do(step.Started{})
	w.do(s)
	w.Comment("verified: a metric of its own")
	w.do(reply("A2", 2))
	w.Golden(t, "kernel-table-restart")
	if w.m.downs[0].gate.State != linkage.Free {
		t.Errorf("gate %s after a restart", w.m.downs[0].gate.State)
	}
}

func TestLeaf_KernelTableLostMessages_ReappliesWhatIsMissing(t *testing.T) {
	w := newWorld(t, byTable(small(), "frr"))
	w.besides()
	w.do(garp("A2", 2))
	w.do(garp("A2", 3))
	s := w.snapshot()
	s.Reason = "netlink overflow"
	s.Routes = []step.RouteState{engineDefault("A0", upper, true)}
	s.Neighbors = []step.NeighborState{resolved(w.m.cfg.Uplinks[0])}
	for _, k := range w.held {
		if r, ok := k.(step.Route); ok && (r.Table == HostTable || r.Prefix == step.HostPrefix(addrOf(2))) {
			s.Routes = append(s.Routes, step.RouteState{Route: r, Present: true, Ours: true})
		}
	}
	got := lines(w.do(s), "table 100")
	if len(got) != 1 || !strings.HasPrefix(got[0], "want route 10.10.10.3/32 dev A2 table 100") {
		t.Errorf("%v", got)
	}
}

// A gateway that sends no default route leaves the downlinks closed, and `why PORT` says so.
func TestLeaf_NoDefaultRoute_StaysClosedAndSaysWhy(t *testing.T) {
	for name, cfg := range map[string]Config{"beside an engine": byTable(small(), "frr"), "embedded": small()} {
		w := newWorld(t, cfg)
		w.do(step.Started{})
		w.do(w.snapshot())
		w.do(step.NeighborChanged{NeighborState: resolved(cfg.Uplinks[0])})
		w.pass(time.Hour)
		v := w.m.View(w.Now)
		if w.m.downs[0].serving || !strings.Contains(v.Ports[1].Why, "uplink A0: no default route from the gateway") {
			t.Errorf("%s: serving %v, why %q", name, w.m.downs[0].serving, v.Ports[1].Why)
		}
	}
}

// Without a speaker nothing is asked of one, whatever happens.
func TestLeaf_WithoutBGP_AsksNothingOfIt(t *testing.T) {
	nobody := byTable(small(), "")
	nobody.Export = Export{Mode: ByNobody}
	for name, cfg := range map[string]Config{"kernel table": byTable(small(), "frr"), "static": nobody} {
		w := newWorld(t, cfg)
		w.besides()
		var all []step.Effect
		all = append(all, w.do(garp("A2", 2))...)
		all = append(all, w.port("A2", carrier(false))...)
		all = append(all, w.port("A0", carrier(false))...)
		all = append(all, w.port("A0", carrier(true))...)
		all = append(all, w.pass(time.Minute)...)
		if got := append(lines(all, "advertise 10."), lines(all, "reset session")...); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
		w.m.View(w.Now)
	}
}

func TestLeaf_GatewayAsksForAHost_IsAnsweredWhileItIsHere(t *testing.T) {
	cfg := small()
	cfg.DefaultFromBGP, cfg.Export = false, Export{Mode: ByNobody}
	w := newWorld(t, cfg)
	w.besides()
	ask := step.ARPSeen{Port: "A0", Op: step.ARPRequest, SrcMAC: macOf(200), SenderMAC: macOf(200), SenderIP: upper, TargetIP: addrOf(2)}
	answered := func(ev step.ARPSeen) int { return len(lines(w.do(ev), "send arp reply on A0")) }
	if answered(ask) != 0 {
		t.Error("answers for a host that is not here")
	}
	w.do(garp("A2", 2))
	if got := lines(w.do(ask), "send arp reply on A0 to 02:00:00:00:c0:c8: 10.10.10.2 is 02:00:00:00:c0:65, target 172.31.1.1"); len(got) != 1 {
		t.Error("does not answer for a host of its own")
	}
	stranger, echo := ask, ask
	stranger.SenderIP, echo.Op = upper2, step.ARPReply
	if answered(stranger)+answered(echo) != 0 {
		t.Error("answers somebody else, or no question")
	}
	w.port("A2", carrier(false))
	if answered(ask) != 0 {
		t.Error("answers for a host that is gone")
	}
}
