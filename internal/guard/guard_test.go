package guard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/model"
)

const restart = 30 * time.Second

func config() Config {
	return Config{RestartTime: restart, AskPause: time.Second, Groups: []Group{
		{Name: "east", Uplinks: []model.Port{"A0"}, Downlinks: []model.Port{"A1", "A2"}, MinUplinks: 1},
		{Name: "west", Uplinks: []model.Port{"A8", "A9"}, Downlinks: []model.Port{"A3"}, MinUplinks: 2},
	}}
}

// look is one look; carrier and speaks list the uplinks of which it is true.
type look struct {
	at              time.Duration
	life            Life
	carrier, speaks string
}

const every = "A0 A8 A9"

func (l look) eyes() Eyes {
	has := func(list string) func(model.Port) bool {
		return func(p model.Port) bool { return slices.Contains(strings.Fields(list), string(p)) }
	}
	return Eyes{Carrier: has(l.carrier), Speaks: has(l.speaks)}
}

func TestGuard_Look_Stories(t *testing.T) {
	dead := restart + 10*time.Second
	for _, tt := range []struct {
		name  string
		looks []look
		want  string // the groups that are closed in the end
		held  bool
	}{
		{"alive", []look{{0, Alive, every, every}, {dead, Alive, every, every}}, "", false},
		{"alive without carrier: that is its own affair", []look{{0, Alive, "", ""}, {dead, Alive, "", ""}}, "", false},
		{"never started", []look{{0, Unborn, "", every}, {dead, Unborn, "", every}}, "", false},
		{"stopped", []look{{0, Alive, every, every}, {1, Stopped, every, every}, {dead, Stopped, "", every}}, "", false},
		{"dead for less than the restart time", []look{{0, Alive, every, every}, {1, Dead, every, every}, {restart, Dead, every, every}}, "", false},
		{"dead for the restart time", []look{{0, Alive, every, every}, {1, Dead, every, every}, {restart + 1, Dead, every, every}}, "east west", false},
		{"found dead by a guard that started late", []look{{dead, Dead, every, every}, {dead + restart - 1, Dead, every, every}}, "", false},
		{"returned in between", []look{{0, Dead, every, every}, {5, Alive, every, every}, {6, Dead, every, every}, {restart + 1, Dead, every, every}}, "", false},
		{"the gateway's routing is gone too", []look{{0, Dead, every, ""}, {restart, Dead, every, ""}}, "", true},
		{"and returns", []look{{0, Dead, every, ""}, {restart, Dead, every, ""}, {restart + time.Second, Dead, every, "A0 A9"}}, "east west", false},
		{"it is not asked too often", []look{{0, Dead, every, ""}, {restart, Dead, every, ""}, {restart + 1, Dead, every, every}}, "", true},
		{"one of two groups", []look{{0, Dead, every, ""}, {restart, Dead, every, "A9"}}, "west", true},
		{"no carrier closes at once", []look{{0, Alive, every, every}, {1, Dead, "A8 A9", every}}, "east", false},
		{"too little carrier, too", []look{{0, Alive, every, every}, {1, Dead, "A0 A8", every}}, "west", false},
		{"a gateway that cannot be reached is not asked", []look{{0, Dead, "A0 A8 A9", ""}, {restart, Dead, "A8 A9", "A0"}}, "east", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := New(config())
			var got []string
			for _, l := range tt.looks {
				for _, o := range g.Look(l.at, l.life, l.eyes()) {
					if o.Why == "" {
						t.Errorf("%s is closed without a reason", o.Group.Name)
					}
					got = append(got, o.Group.Name)
					g.Closed(o)
				}
			}
			slices.Sort(got)
			if strings.Join(got, " ") != tt.want || (g.Held() != "") != tt.held {
				t.Errorf("closed %q, held %q", got, g.Held())
			}
		})
	}
}

// What was not carried out is ordered again; what was, is not.
func TestGuard_Look_OrdersUntilClosed(t *testing.T) {
	g := New(config())
	l := look{0, Dead, "A8 A9", ""}
	for i := range 3 {
		if orders := g.Look(time.Duration(i), Dead, l.eyes()); len(orders) != 1 {
			t.Fatal(fmt.Sprint(orders))
		}
	}
	g.Closed(g.Look(4, Dead, l.eyes())[0])
	if orders := g.Look(5, Dead, l.eyes()); len(orders) != 0 {
		t.Error("ordered once more:", orders)
	}
}
