// Package logkey is the one list of keys that log lines use, so that a search for a key finds every line that has it.
//
// It decides nothing. Packages that may not import it write the same words; the test of this package reads all of them.
package logkey

// The keys.
const (
	Absent     = "absent"      // the want asks for an absence
	Attempt    = "attempt"     // number of the try, from 1
	Count      = "count"       // how many
	Detail     = "detail"      // what another program said
	Driver     = "driver"      // which driver says it
	Effect     = "effect"      // an effect as text
	Engine     = "engine"      // routing engine beside us
	Error      = "error"       // what went wrong
	Event      = "event"       // slug of a journal entry
	Host       = "host"        // address of a host
	Limit      = "limit"       // a bound that was reached
	Node       = "node"        // name of this node
	Path       = "path"        // a file
	Peer       = "peer"        // routing neighbour
	Port       = "port"        // network device
	Role       = "role"        // role of this node
	Running    = "running"     // whether it runs
	ServerPort = "server_port" // name of a server port
	Socket     = "socket"      // unix socket
	Version    = "version"     // of peerless
	Want       = "want"        // a wanted object as text
	Why        = "why"         // the reason
)
