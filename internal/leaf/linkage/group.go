// Package linkage decides when downlinks must close and when they may open again: port linkage, the second of the two
// mechanisms that replace the peer link.
//
// It decides from evidence of two strengths and never closes without naming one; it never opens a port that the operator
// closed, never does I/O and holds no clock.
package linkage

import "peerless/internal/model"

// Group binds downlinks to uplinks: with fewer than MinUplinks usable uplinks, the downlinks are closed.
type Group struct {
	Name       string
	Uplinks    []model.Port
	Downlinks  []model.Port
	MinUplinks int // at least 1
}
