package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"peerless/internal/config"
	"peerless/internal/model"
)

// finding is something that an operator should know before it matters.
type finding struct {
	Level   string `json:"level"` // warning: something will not work as it is; note: it works, and this is its limit
	Subject string `json:"subject"`
	What    string `json:"what"`
	Do      string `json:"do"`
}

const (
	warning = "warning"
	note    = "note"
)

// inspect compares a config with a machine, and looks for what fails together.
func inspect(file *config.File, m machine) []finding {
	out := inspectPrivilege(file, m)
	for _, p := range file.Ports() {
		if !m.exists(p) {
			out = append(out, finding{warning, "port " + string(p), "this machine has no such network device", "create it; the daemon waits for it"})
		}
	}
	switch {
	case file.Leaf != nil:
		out = append(out, inspectLeaf(file.Leaf, m)...)
	case file.Gateway != nil:
		out = append(out, inspectGateway(file.Gateway, m)...)
	default:
		out = append(out, inspectServer(file.Server, m)...)
	}
	return out
}

func inspectPrivilege(file *config.File, m machine) []finding {
	var out []finding
	missing, err := m.lacking(needed(file))
	if err != nil {
		return []finding{{warning, "privilege", err.Error(), "check it by hand"}}
	}
	for _, c := range missing {
		out = append(out, finding{warning, "privilege", c.name + " is missing, needed for " + c.use, "run the daemon as root, or grant it to the service"})
	}
	if !m.sysctlsWritable() {
		out = append(out, finding{warning, "sysctl", "/proc/sys is read-only here", "the daemon sets forwarding and reverse-path filters: give it a writable /proc/sys"})
	}
	return out
}

func inspectLeaf(c *config.Leaf, m machine) []finding {
	var out []finding
	var uplinks []model.Port
	for _, u := range c.Uplinks {
		uplinks = append(uplinks, u.Port)
		if u.AS == 0 && c.Advertise.Mode == config.AdvertiseBGP {
			out = append(out, finding{note, "uplink " + string(u.Port), "any AS number is accepted from its gateway", "set `as` to the gateway's"})
		}
	}
	for _, g := range c.Linkage {
		if spare := len(g.Uplinks) - g.MinUplinks; spare == 0 {
			out = append(out, finding{note, "group " + g.Name, fmt.Sprintf("when %s dies, linkage closes %s and their servers move to the other leaf",
				oneOf(g.Uplinks), list(g.Downlinks)), "add an uplink if this leaf should survive it"})
		}
	}
	if c.LocalOnly > 0 {
		out = append(out, finding{note, "local-only", "when this leaf alone loses its gateway, a bond with `primary` here and primary_reselect always or better " +
			"returns to it after " + c.LocalOnly.String() + ", away from the leaf that works; a server that runs peerless stays there",
			"set primary_reselect to failure, or leave `primary` unset, on bonds below it"})
	}
	out = append(out, together("uplinks", uplinks, m)...)
	if c.BFD.On() && c.BFD.Interval < c.Probe.Uplinks.Interval/2 {
		out = append(out, finding{note, "bfd", fmt.Sprintf("it is much faster than probe.uplinks: a gateway without BFD is found silent only in %s",
			time.Duration(c.Probe.Uplinks.Multiplier+1)*c.Probe.Uplinks.Interval), "set `profile: fast`, or probe.uplinks.interval"})
	}
	if t := c.Advertise.KernelTable; t != nil {
		if c.BFD.On() {
			out = append(out, finding{note, "bfd", "peerless itself runs it here", "leave bfdd, or `protocol bfd`, out of the engine beside it: UDP port 3784 has one user"})
		}
		out = append(out, inspectEngine(t.Engine, t.Socket)...)
	}
	for _, l := range c.Downlinks {
		if kind := m.quietKind(l.Port); kind != "" {
			out = append(out, finding{warning, "downlink " + string(l.Port), "it is a " + kind + ": its far end may not lose carrier when linkage closes it",
				"let the server watch its gateway, or use a port whose far end loses carrier"})
		}
		if addrs := m.addresses(l.Port); foreign(addrs, c) {
			out = append(out, finding{warning, "downlink " + string(l.Port), "it has addresses of its own: " + list(addrs),
				"a downlink has only the gateway address; remove the others"})
		}
		if master := m.master(l.Port); master != "" {
			out = append(out, finding{warning, "downlink " + string(l.Port), "it is a member of " + master, "a downlink is a routed port: take it out"})
		}
	}
	return out
}

// foreign reports whether a port has an address of a served subnet that is not the gateway's.
func foreign(addrs []netip.Prefix, c *config.Leaf) bool {
	for _, a := range addrs {
		for _, s := range c.Subnets {
			if s.Prefix.Contains(a.Addr()) && (a.Addr() != s.Gateway || !a.IsSingleIP()) {
				return true
			}
		}
	}
	return false
}

func inspectGateway(c *config.Gateway, m machine) []finding {
	var out []finding
	var down []model.Port
	for _, l := range c.Leaves {
		down = append(down, l.Port)
		if !m.onLink(l.Port, l.Address) {
			out = append(out, finding{warning, "leaf " + l.Name, fmt.Sprintf("%s is in no subnet of port %s", l.Address, l.Port),
				"give the port an address on the link to the leaf"})
		}
	}
	if len(c.Leaves)+len(c.DynamicLeaves) == 1 && len(c.DynamicLeaves) == 0 {
		out = append(out, finding{note, "leaves", "there is only one: no server has a backup through this gateway", "add the other leaf"})
	}
	if c.Routes.Mode == config.RoutesKernel && c.BFD.On() {
		out = append(out, finding{note, "bfd", "with routes: kernel the engine runs it, not peerless", "print the engine's lines with `peerless config frr` or `peerless config bird`"})
	}
	if k := c.Routes.Kernel; k != nil {
		out = append(out, inspectEngine(k.Engine, k.Socket)...)
	}
	return append(out, together("links to the leaves", down, m)...)
}

// inspectEngine looks for the engine's socket: its configuration is its own affair.
func inspectEngine(engine, socket string) []finding {
	switch {
	case engine == "":
		return []finding{{note, "engine", "none is named: nobody notices when it loses routes", "add `engine: frr` or `engine: bird`"}}
	case !present(socket):
		return []finding{{warning, "engine " + engine, "there is no socket " + socket, "start it, or set `socket` to where it listens"}}
	}
	return nil
}

func inspectServer(c *config.Server, m machine) []finding {
	pair := c.LinkPair
	out := together("primary and backup", []model.Port{pair.Primary, pair.Backup}, m)
	if !m.exists(pair.Device) {
		return out
	}
	kind := m.kind(pair.Device)
	device := string(pair.Device)
	switch kind {
	case "bridge":
		if pair.GatewayMAC.IsZero() {
			out = append(out, finding{warning, "device " + device, "it is a bridge, and gateway-mac is not set", "set it: it selects the active link"})
		}
	case "bond":
		if m.bondOption(pair.Device, "all_slaves_active") == "0" {
			out = append(out, finding{warning, "device " + device, "its standby link drops what it receives (all_slaves_active=0)", "set it to 1, or a return loses packets"})
		}
		if mode := m.bondOption(pair.Device, "mode"); !strings.HasPrefix(mode, "active-backup") {
			out = append(out, finding{warning, "device " + device, fmt.Sprintf("its bond mode is %q", mode), "use active-backup"})
		}
	default:
		out = append(out, finding{warning, "device " + device, "it is neither a bridge nor a bond", "make it one, with both links as members"})
		return out
	}
	for _, p := range []model.Port{pair.Primary, pair.Backup} {
		if master := m.master(p); m.exists(p) && master != device {
			out = append(out, finding{warning, "port " + string(p), "it is not a member of " + device, "add it"})
		}
	}
	return out
}

// together reports ports that one failure takes down: of one card, or on one lower device.
func together(subject string, list []model.Port, m machine) []finding {
	var out []finding
	first := map[string]model.Port{}
	for _, p := range list {
		below := m.below(p)
		if below == "" {
			continue
		}
		if other, shared := first[below]; shared {
			out = append(out, finding{warning, subject, fmt.Sprintf("%s and %s both depend on %s", other, p, below), "use separate cards: one failure takes both"})
			continue
		}
		first[below] = p
	}
	return out
}

func list[T any](items []T) string {
	var out []string
	for _, i := range items {
		out = append(out, fmt.Sprint(i))
	}
	return strings.Join(out, ", ")
}

func oneOf(ports []model.Port) string {
	if len(ports) == 1 {
		return string(ports[0])
	}
	return "one of " + list(ports)
}
