// Package guard decides when the downlinks of a leaf whose daemon is dead have to be closed, so that servers without an agent leave it.
//
// It decides from the life of the daemon, from carrier, and from whether the gateways' routing answers. It never opens a port, never
// does I/O and holds no clock; without a reason it does nothing.
package guard

import (
	"fmt"
	"strings"
	"time"

	"peerless/internal/model"
)

// Life is what is known of the daemon.
type Life uint8

// Lives of a daemon.
const (
	Unborn  Life = iota // it has not run since the machine started, or nothing can be known
	Alive               // it holds its lock
	Stopped             // it ended in an orderly way: somebody wanted the kernel to go on without it
	Dead                // it ended otherwise
)

// String names the life for logs.
func (l Life) String() string { return [...]string{"not started yet", "alive", "stopped", "dead"}[l] }

// Group binds downlinks to uplinks as port linkage does.
type Group struct {
	Name       string
	Uplinks    []model.Port
	Downlinks  []model.Port
	MinUplinks int // at least 1
}

// Config says what is guarded.
type Config struct {
	Groups      []Group
	RestartTime time.Duration // how long the gateways keep the routes of a daemon that is gone
	AskPause    time.Duration // between two questions to the gateways' routing
}

// Eyes are how the guard looks. Speaks may take its time; it is asked only when the answer decides.
type Eyes struct {
	Carrier func(model.Port) bool
	Speaks  func(uplink model.Port) bool // a routing daemon answers at the gateway's end of it
}

// Order is a group to close, and why.
type Order struct {
	Group Group
	Why   string
}

// Guard is what the guard remembers. Build it with New.
type Guard struct {
	cfg    Config
	life   Life
	since  time.Duration // when the life became what it is
	ask    time.Duration // when the gateways are asked again
	held   bool          // the last question found nobody
	closed map[string]bool
}

// New makes a guard that has seen nothing yet.
func New(cfg Config) *Guard { return &Guard{cfg: cfg, closed: map[string]bool{}} }

// Held says why nothing is closed though the restart time is over; empty if it is not so.
func (g *Guard) Held() string {
	if !g.held {
		return ""
	}
	return "no gateway's routing answers either: nobody has forgotten this leaf's routes, and the other leaf may be no better"
}

// Look takes one look and gives the groups to close. A daemon that was found dead is given its whole restart time from then on, even
// by a guard that started later. Carrier is another matter: without it nothing can be forwarded, whoever is alive.
func (g *Guard) Look(now time.Duration, life Life, eyes Eyes) []Order {
	if life != g.life {
		g.life, g.since, g.ask, g.held = life, now, now+g.cfg.RestartTime, false
		clear(g.closed)
	}
	if life != Dead {
		return nil
	}
	var orders []Order
	var waiting []Group
	for _, grp := range g.cfg.Groups {
		switch why := g.cut(grp, eyes); {
		case g.closed[grp.Name]:
		case why != "":
			orders = append(orders, Order{grp, why})
		default:
			waiting = append(waiting, grp)
		}
	}
	if len(waiting) == 0 || now < g.ask {
		return orders
	}
	g.ask, g.held = now+g.cfg.AskPause, false
	for _, grp := range waiting {
		if u, ok := g.forgotten(grp, eyes); ok {
			orders = append(orders, Order{grp, fmt.Sprintf("the daemon has been dead for its restart time of %s, and the gateway of uplink %s "+
				"routes without this leaf", g.cfg.RestartTime, u)})
		} else {
			g.held = true
		}
	}
	return orders
}

// Closed tells that an order was carried out: it is not given again while the daemon stays dead.
func (g *Guard) Closed(o Order) { g.closed[o.Group.Name] = true }

// cut says which lost uplinks leave the group too few; empty if it has enough.
func (g *Guard) cut(grp Group, eyes Eyes) string {
	var lost []string
	for _, u := range grp.Uplinks {
		if !eyes.Carrier(u) {
			lost = append(lost, string(u))
		}
	}
	if len(grp.Uplinks)-len(lost) >= max(1, grp.MinUplinks) {
		return ""
	}
	return "the daemon is dead and there is no carrier on " + strings.Join(lost, ", ")
}

// forgotten finds an uplink at whose end routing goes on, and hence without the routes of a leaf that was silent for its restart time.
func (g *Guard) forgotten(grp Group, eyes Eyes) (model.Port, bool) {
	for _, u := range grp.Uplinks {
		if eyes.Carrier(u) && eyes.Speaks(u) {
			return u, true
		}
	}
	return "", false
}
