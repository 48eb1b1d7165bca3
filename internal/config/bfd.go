package config

import (
	"fmt"
	"time"
)

// The words of the key bfd.
const (
	bfdOn  = "on"
	bfdOff = "off"
)

// BFD is bidirectional forwarding detection with every node at the other end: one word, or its pace.
type BFD struct {
	Mode       string        // bfdOn or bfdOff; a pace means on
	Interval   time.Duration `yaml:"interval"`
	Multiplier int           `yaml:"multiplier"`
}

// On reports whether it is wanted.
func (b BFD) On() bool { return b.Mode == bfdOn }

// pace is for a machine: no interval means none.
func (b BFD) pace() Pace {
	if !b.On() {
		return Pace{}
	}
	return Pace{Interval: b.Interval, Multiplier: b.Multiplier}
}

func (b *BFD) word(text string) *wrong {
	if text != bfdOn && text != bfdOff {
		return &wrong{fmt.Sprintf("unknown value %q", text), "use on, off or {interval: 100ms, multiplier: 3}"}
	}
	b.Mode = text
	return nil
}

// MarshalYAML gives the value as a file would have it.
func (b BFD) MarshalYAML() (any, error) {
	if !b.On() {
		return bfdOff, nil
	}
	return Pace{Interval: b.Interval, Multiplier: b.Multiplier}, nil
}

// String is the word.
func (b BFD) String() string { return b.Mode }

func defaultBFD() BFD { return BFD{Mode: bfdOff, Interval: paceDefault, Multiplier: paceMissed} }

// checkBFD fills in what a mapping does not say.
func (d *decoder) checkBFD(b *BFD, c *Common) {
	if d.bad["bfd"] {
		return
	}
	if b.Mode == "" {
		b.Mode = bfdOn
	}
	interval := paceDefault
	if c.Profile == ProfileFast {
		interval = paceFast
	}
	d.unless("bfd.interval", &b.Interval, interval)
	if !d.has("bfd.multiplier") {
		b.Multiplier = paceMissed
	}
	d.checkPace("bfd", Pace{Interval: b.Interval, Multiplier: b.Multiplier})
}
