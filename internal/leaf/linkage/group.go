// Package linkage decides when downlinks must close and when they may open again.
package linkage

import "peerless/internal/model"

// Group binds downlinks to uplinks: with fewer than MinUplinks usable uplinks, the downlinks are closed.
type Group struct {
	Name       string
	Uplinks    []model.Port
	Downlinks  []model.Port
	MinUplinks int // at least 1
}
