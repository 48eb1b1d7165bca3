// Package engineconf writes the configuration of a foreign routing engine, FRR or BIRD, that carries host routes for a node.
//
// It decides which of the engine's knobs matter here: which routes it takes from the leaf's table and tells the gateway, which
// it may install, and how fast it acts. It never looks at the machine, starts nothing, and writes no file.
package engineconf

import (
	"fmt"
	"strings"

	"peerless/internal/config"
)

// Engine is a routing engine.
type Engine string

// The engines.
const (
	FRR  Engine = "frr"  // 8.4 or newer
	BIRD Engine = "bird" // 2.0.12 or newer
)

// Protocol is what the engine speaks with the other node.
type Protocol string

// The protocols.
const (
	OSPF Protocol = "ospf"
	BGP  Protocol = "bgp"
)

// Options are what the node's config file does not say.
type Options struct {
	// Table is the kernel table that a leaf has its host routes in. 0: the one that the file names, else DefaultTable.
	Table uint32
	// BFD adds 3 × 100 ms of bidirectional forwarding detection (RFC 5880), also to a gateway whose file does not have it. Both ends need
	// it. A leaf whose file has it runs it itself.
	BFD bool
}

// DefaultTable is the leaf's kernel table unless told otherwise. FRR imports from tables 1 to 252 only.
const (
	DefaultTable = 210
	frrTableMax  = 252
)

// Files is what an engine needs to run.
type Files struct {
	Engine   Engine
	Name     string    // what the engine calls its configuration file
	Text     string    // that file
	Programs []Program // in the order in which they start
}

// Program is one daemon of an engine.
type Program struct {
	Name string
	Args []string // besides those that say where its files are
}

// Generate gives the whole configuration of the engine for the node that the file describes: a leaf whose hosts are in a kernel
// table, or a gateway. A gateway with BGP takes leaves with an engine and leaves with the embedded speaker alike.
func Generate(engine Engine, protocol Protocol, file *config.File, o Options) (Files, error) {
	fail := func(err error) (Files, error) {
		return Files{}, fmt.Errorf("configure %s for %s: %w", engine, protocol, err)
	}
	if protocol != OSPF && protocol != BGP {
		return fail(fmt.Errorf("unknown protocol %q; use ospf or bgp", protocol))
	}
	n, err := read(file, o)
	if err != nil {
		return fail(err)
	}
	if err := n.check(engine, protocol); err != nil {
		return fail(err)
	}
	switch engine {
	case FRR:
		return frr(n, protocol), nil
	case BIRD:
		return bird(n, protocol), nil
	}
	return fail(fmt.Errorf("unknown engine %q; use frr or bird", engine))
}

// text is lines of a configuration file.
type text struct{ strings.Builder }

func (t *text) line(format string, args ...any) { fmt.Fprintf(&t.Builder, format+"\n", args...) }

// remark writes comment lines; mark starts a comment in the engine's language.
func (t *text) remark(mark string, lines ...string) {
	for _, l := range lines {
		t.line("%s %s", mark, l)
	}
}
