package bgp

import (
	"net/netip"
	"sync"
	"time"
)

// gateMax bounds how long a session that never comes about can hold Apply up.
const gateMax = 2 * time.Second

// gate keeps Apply and the birth of a session apart. GoBGP first gathers what a new neighbour is to be told and only later
// counts it as established: a change in between is told to all others, and this neighbour never hears of it.
type gate struct {
	token  chan struct{} // holds one while somebody is inside
	mu     sync.Mutex
	newest netip.Addr // the neighbour inside, if it is one
	giveUp *time.Timer
}

func newGate() *gate { return &gate{token: make(chan struct{}, 1)} }

// apply runs f while no session is being born.
func (g *gate) apply(f func() error) error {
	g.token <- struct{}{}
	defer func() { <-g.token }()
	return f()
}

// open lets a session in. It is called before GoBGP gathers anything.
func (g *gate) open(peer netip.Addr) {
	g.token <- struct{}{}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.newest = peer
	g.giveUp = time.AfterFunc(gateMax, func() { g.close(peer) })
}

// close is called when the session counts as established, or is over.
func (g *gate) close(peer netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.newest.IsValid() || g.newest != peer {
		return
	}
	g.newest = netip.Addr{}
	g.giveUp.Stop()
	<-g.token
}
