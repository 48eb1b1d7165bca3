// Package matrix is the fault matrix as data: what is done to the reference topology, whom it concerns, and how long each may feel it.
//
// It decides what is asked of the product. It never touches a lab.
package matrix

import (
	"slices"
	"time"

	"peerless/internal/lab/topology"
)

// Profiles name how soon the daemons notice a silent fault.
const (
	Default = "default"
	Fast    = "fast"
)

// Variant is what a case needs of the topology beyond the reference.
type Variant string

// Variants.
const (
	Plain       Variant = ""
	LateCarrier Variant = "late-carrier" // some cables whose carrier loss the kernel reports late
	WithGuest   Variant = "guest"        // a guest address that C1 or C3 can have
	Guarded     Variant = "guarded"      // a guard beside leaf A, a short restart time, and servers that go by their carrier alone, as a bond does
	LocalOnly   Variant = "local-only"   // leaves that serve their own servers when the gateway is gone
)

// Case is one row of the matrix.
type Case struct {
	Name    string
	Variant Variant
	Break   []Deed
	Mend    []Deed
	// Touches are the machines whose flows the fault concerns. All other flows must lose nothing.
	Touches []string
	// Limits is how long a concerned flow may be out, by profile; a profile that is not there has the default's. Nil: nothing may be
	// lost.
	Limits map[string]time.Duration
	// MendLimit is the same for the mending. Zero: nothing may be lost.
	MendLimit time.Duration
	// Until: no concerned flow loses anything so long after the first deed; its outage may begin late. Zero: not looked at.
	Until time.Duration
	// Dead are machines without a path until all is mended: their flows must not be whole, or the fault was none.
	Dead []string
	// Returns is how soon after the mending whatever had no path is whole. Zero: not looked at.
	Returns time.Duration
	// Signs are events that must have happened, or the fault was not felt. A case with a limit and without a sign must have cost
	// something.
	Signs []Sign
	// Harmless: it need not cost anything.
	Harmless bool
	// Roams: the destination leaves its place before the deed, which is its announcement at the next one: an outage counts from there.
	Roams bool
	// Watch is the least time to watch after the last deed.
	Watch time.Duration
	// Moves bounds how often a host may have moved; zero: not looked at.
	Moves int
	// Bounds are what daemons may hold in the end.
	Bounds []Bound
}

// Bound is what a daemon may hold after a fault.
type Bound struct {
	Node   string
	Port   string // of a leaf; empty: its hosts are not counted
	Hosts  int    // learned on that port
	Growth int    // of its resident memory, in MiB
}

// Sign is an event of a node's journal.
type Sign struct{ Node, What string }

// Limit is how long a concerned flow may be out.
func (c Case) Limit(profile string) time.Duration {
	if l, ok := c.Limits[profile]; ok {
		return l
	}
	return c.Limits[Default]
}

// Lossless tells whether nothing may be lost.
func (c Case) Lossless() bool { return c.Limits == nil }

// Concerns tells whether a flow has an end on one of the machines.
func (c Case) Concerns(f topology.Flow) bool { return touches(f, c.Touches) }

// Kills tells whether a flow has no path during the fault.
func (c Case) Kills(f topology.Flow) bool { return touches(f, c.Dead) }

func touches(f topology.Flow, nodes []string) bool {
	if slices.Contains(nodes, f.Sender) {
		return true
	}
	return slices.ContainsFunc(f.Receivers, func(n string) bool { return slices.Contains(nodes, n) })
}

// Find gives the named case.
func Find(name string) (Case, bool) {
	i := slices.IndexFunc(All(), func(c Case) bool { return c.Name == name })
	if i < 0 {
		return Case{}, false
	}
	return All()[i], true
}
