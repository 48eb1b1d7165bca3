package config

import (
	"fmt"
	"time"

	"peerless/internal/model"
)

func (d *decoder) checkServer(c *Server) {
	d.checkCommon(&c.Common)
	d.profileServer(c)
	d.required("", "link-pair")
	if d.has("link-pair") {
		d.checkLinkPair(&c.LinkPair)
	}
	d.oneOf("fail-back.policy", c.FailBack.Policy, FailBackAfter, FailBackNever)
	d.between("fail-back.stable", c.FailBack.Stable, 0, 24*time.Hour)
	d.checkAnnounce(c)
	d.between("settle", c.Settle, 0, time.Second)
	d.between("standby-probe", c.StandbyProbe, 10*time.Millisecond, 10*time.Second)
	d.count("max-guests", c.MaxGuests, 1<<20)
	d.checkPace("probe.leaf", c.Probe.Leaf)
	d.checkThrough(c)
}

// checkThrough refuses a target by which nothing is shown: the leaf answers for the gateway address itself.
func (d *decoder) checkThrough(c *Server) {
	t := c.Probe.Through
	if t == nil {
		return
	}
	d.checkPace("probe.through", Pace{Interval: t.Interval, Multiplier: t.Multiplier})
	d.required("probe.through", "target")
	const path = "probe.through.target"
	d.checkUnicast(path, t.Target)
	if d.ok(path) && t.Target == c.LinkPair.Gateway {
		d.wrong(path, fmt.Sprintf("%s: %s is the gateway address, for which the leaf itself answers", path, t.Target),
			"name an address of the gateway beyond the leaves")
	}
}

func (d *decoder) checkLinkPair(p *LinkPair) {
	d.required("link-pair", "device", "primary", "backup", "gateway")
	ports := places{}
	for _, e := range []struct {
		key  string
		port model.Port
	}{{"device", p.Device}, {"primary", p.Primary}, {"backup", p.Backup}} {
		d.once(ports, "link-pair."+e.key, "port "+string(e.port), "a pair is two ports in one device")
	}
	d.checkUnicast("link-pair.gateway", p.Gateway)
}

func (d *decoder) checkAnnounce(c *Server) {
	d.empty("announce", len(c.Announce), "at least 0s")
	if len(c.Announce) > 16 {
		d.wrong("announce[16]", fmt.Sprintf("announce: %d moments", len(c.Announce)), "use at most 16")
	}
	for i, at := range c.Announce {
		path := fmt.Sprintf("announce[%d]", i)
		d.between(path, at, 0, time.Minute)
		switch {
		case !d.ok(path):
		case i == 0 && at != 0:
			d.wrong(path, fmt.Sprintf("announce: the first moment is %s", at), "start with 0s: the first announcement moves the traffic")
		case i > 0 && at <= c.Announce[i-1]:
			d.wrong(path, fmt.Sprintf("announce: %s does not come after %s", at, c.Announce[i-1]), "write the moments in rising order")
		}
	}
}
