package liveness

import "time"

// When hosts move, what repairs their traffic comes first; what only tidies up after it, host by host, waits until that can be over, and
// then goes by portions (invariant repair-before-housekeeping).
const (
	Portion      = 256
	PortionPause = 2 * time.Millisecond

	// From Crowd hosts on, one rule that serves all is worth more than a route for each. Their routes are laid for it when nothing has
	// been going on for StockRest, by portions too.
	Crowd      = 16
	StockRest  = 50 * time.Millisecond
	StockPause = 4 * time.Millisecond

	respiteMin  = 20 * time.Millisecond
	respiteHost = 50 * time.Microsecond
	partingMin  = 2 * time.Millisecond
	partingHost = time.Microsecond
	wordHost    = 100 * time.Microsecond
	claimHost   = 400 * time.Microsecond
)

// Word is how much longer than usual it may take until all have heard, and acted on it, that so many hosts moved at once. A few take no longer
// than one.
func Word(hosts int) time.Duration {
	if hosts < Crowd {
		return 0
	}
	return time.Duration(hosts) * wordHost
}

// Claiming is how much longer than usual it may take until the first of so many hosts that moved at once is claimed where they are now: their new
// leaf lays the routes of all of them before, and each claim passes two BGP speakers.
func Claiming(hosts int) time.Duration {
	if hosts < Crowd {
		return 0
	}
	return time.Duration(hosts) * claimHost
}

// Parting is how long a server that was told that its port will be closed has for moving: somewhat longer than it takes, and then the kernel
// is busy with the closing for about as long, 1 µs for each host.
func Parting(hosts int) time.Duration { return partingMin + time.Duration(hosts)*partingHost }

// Respite is how long the repair of so many hosts is not to be disturbed.
func Respite(hosts int) time.Duration { return respiteMin + time.Duration(hosts)*respiteHost }
