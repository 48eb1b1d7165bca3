package config

import "time"

// The words of the key profile.
const (
	ProfileDefault = "default"
	ProfileFast    = "fast"
)

// A profile says how soon a fault is noticed that no carrier tells of: it sets the pace of probes whose keys are not given. The
// profile default is what the defaults say.
const (
	paceDefault   = 100 * time.Millisecond
	paceFast      = 10 * time.Millisecond
	paceHosts     = time.Second // one question for each host
	paceHostsFast = 100 * time.Millisecond
	paceMissed    = 3
)

// fast reports whether the paces that the file does not give are those of the profile fast.
func (d *decoder) fast(c *Common) bool {
	d.oneOf("profile", c.Profile, ProfileDefault, ProfileFast)
	return c.Profile == ProfileFast
}

// unless sets a duration that the file does not give.
func (d *decoder) unless(path string, v *time.Duration, value time.Duration) {
	if !d.has(path) {
		*v = value
	}
}

func (d *decoder) profileLeaf(c *Leaf) {
	if d.fast(&c.Common) {
		d.unless("probe.hosts.interval", &c.Probe.Hosts.Interval, paceHostsFast)
		d.unless("probe.uplinks.interval", &c.Probe.Uplinks.Interval, paceFast)
		d.unless("probe.links.interval", &c.Probe.Links.Interval, paceFast)
	}
}

func (d *decoder) profileGateway(c *Gateway) {
	if d.fast(&c.Common) {
		d.unless("probe.leaves.interval", &c.Probe.Leaves.Interval, paceFast)
		if t := c.Probe.Through; t != nil {
			d.unless("probe.through.interval", &t.Interval, paceFast)
		}
	}
}

func (d *decoder) profileServer(c *Server) {
	if d.fast(&c.Common) {
		d.unless("standby-probe", &c.StandbyProbe, paceFast)
		d.unless("probe.leaf.interval", &c.Probe.Leaf.Interval, paceFast)
	}
	if t := c.Probe.Through; t != nil && c.Profile == ProfileFast {
		d.unless("probe.through.interval", &t.Interval, paceFast)
	}
}
