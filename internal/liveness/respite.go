package liveness

import "time"

// When many hosts move at once, what repairs their traffic comes first; what only tidies up after it, host by host, waits until that can
// be over, and then goes by portions (invariant repair-before-housekeeping).
const (
	Burst        = 64 // so many hosts are no burden
	Portion      = 256
	PortionPause = 2 * time.Millisecond

	respiteMin  = 20 * time.Millisecond
	respiteHost = 50 * time.Microsecond
)

// Many reports whether so many hosts that move at once are a burden; most is a bound of one's own, zero: Burst.
func Many(hosts, most int) bool {
	if most == 0 {
		most = Burst
	}
	return hosts > most
}

// Respite is how long the repair of so many hosts is not to be disturbed.
func Respite(hosts int) time.Duration { return respiteMin + time.Duration(hosts)*respiteHost }
