package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/goccy/go-yaml"

	"peerless/internal/gateway"
	"peerless/internal/leaf"
	"peerless/internal/model"
)

// This file holds what a node is told of a routing engine beside it, FRR or BIRD, and of doing without any.

// Advertise is how a leaf's host routes get to the gateway: one word, or a kernel table that an engine reads.
type Advertise struct {
	Mode        string       // AdvertiseBGP, AdvertiseKernelTable or AdvertiseNone
	KernelTable *KernelTable `yaml:"kernel-table"`
}

// KernelTable is the kernel table of a leaf's host routes.
type KernelTable struct {
	Table  uint32 `yaml:"table"`
	Engine string `yaml:"engine,omitempty"`
	Socket string `yaml:"socket,omitempty"`
}

// Routes is where a gateway's host routes come from: one word, or an engine that is watched.
type Routes struct {
	Mode   string        // RoutesBGP, RoutesKernel or RoutesNone
	Kernel *KernelRoutes `yaml:"kernel"`
}

// KernelRoutes names the engine that puts host routes into the kernel's main table.
type KernelRoutes struct {
	Engine string `yaml:"engine"`
	Socket string `yaml:"socket,omitempty"`
}

// GatewayProbes paces the gateway's probes.
type GatewayProbes struct {
	Leaves  Pace  `yaml:"leaves"`
	Through *Pace `yaml:"through,omitempty"`
}

// ServerLinks says what a server port hangs on, where no leaf tells it.
type ServerLinks struct {
	ID      uint32       `yaml:"id"`
	Primary LeafEnd      `yaml:"primary"`
	Backup  LeafEnd      `yaml:"backup"`
	Hosts   []netip.Addr `yaml:"hosts,omitempty"`
}

// LeafEnd is a port of a leaf.
type LeafEnd struct {
	Leaf string `yaml:"leaf"`
	Port uint32 `yaml:"port"`
}

// worded is a value that may be one word instead of a mapping.
type worded interface {
	word(text string) *wrong
}

func (a *Advertise) word(text string) *wrong {
	switch text {
	case AdvertiseBGP, AdvertiseNone:
		a.Mode = text
		return nil
	case AdvertiseKernelTable:
		return &wrong{"kernel-table needs the number of the table", "write {kernel-table: {table: 100}}"}
	}
	return &wrong{fmt.Sprintf("unknown value %q", text), "use bgp, none or {kernel-table: {table: 100}}"}
}

func (r *Routes) word(text string) *wrong {
	switch text {
	case RoutesBGP, RoutesKernel, RoutesNone:
		r.Mode = text
		return nil
	}
	return &wrong{fmt.Sprintf("unknown value %q", text), "use bgp, none, kernel or {kernel: {engine: frr}}"}
}

// MarshalYAML gives the value as a file would have it.
func (a Advertise) MarshalYAML() (any, error) {
	if a.KernelTable != nil {
		return map[string]*KernelTable{AdvertiseKernelTable: a.KernelTable}, nil
	}
	return a.Mode, nil
}

// MarshalYAML gives the value as a file would have it.
func (r Routes) MarshalYAML() (any, error) {
	if r.Kernel != nil {
		return map[string]*KernelRoutes{RoutesKernel: r.Kernel}, nil
	}
	return r.Mode, nil
}

// Effective prints the config of a role as a file would have it, defaults filled in and without keys that have no value.
func Effective(role any) ([]byte, error) {
	b, err := yaml.MarshalWithOptions(role, yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("print effective config: %w", err)
	}
	// The library takes every address for empty, so it cannot leave out those that are.
	for _, key := range []string{"router-id", "attachment-range"} {
		b = bytes.Replace(b, []byte("\n"+key+": \"\"\n"), []byte("\n"), 1)
	}
	return b, nil
}

// String is the word, or the key of the mapping.
func (a Advertise) String() string { return a.Mode }

// String is the word, or the key of the mapping.
func (r Routes) String() string { return r.Mode }

func (d *decoder) checkAdvertise(c *Leaf) {
	a := &c.Advertise
	if d.bad["advertise"] {
		a.Mode = "" // reported; nothing follows from it
	}
	if d.has("advertise.kernel-table") {
		a.Mode = AdvertiseKernelTable
	} else if d.ok("advertise") && a.Mode == "" {
		d.required("advertise", AdvertiseKernelTable)
	}
	if recency := a.KernelTable != nil && a.KernelTable.Engine == EngineBIRD; a.Mode != AdvertiseBGP && !recency {
		d.unless("probe.hosts.interval", &c.Probe.Hosts.Interval, min(feedlessInterval, c.Probe.Hosts.Interval))
		if !d.has("probe.hosts.multiplier") {
			c.Probe.Hosts.Multiplier = feedlessMultiplier
		}
	}
	if a.Mode != AdvertiseBGP && !d.has("drain") {
		c.Drain = engineDrain
	}
	if a.KernelTable == nil {
		return
	}
	const path = "advertise.kernel-table"
	d.required(path, "table")
	t := a.KernelTable
	// 0 means any table, 253 to 255 are the kernel's own, and one is what this leaf forwards by.
	if d.ok(path+".table") && (t.Table == 0 || t.Table >= 253 && t.Table <= 255 || t.Table == leaf.HostTable) {
		d.wrong(path+".table", fmt.Sprintf("table %d has another use", t.Table), "use a number from 1 to 252")
	} else if d.ok(path+".table") && t.Engine == EngineFRR && t.Table > 252 {
		d.wrong(path+".table", fmt.Sprintf("FRR does not import table %d", t.Table), "use a number from 1 to 252")
	}
	d.checkEngine(path, t.Engine, &t.Socket)
}

func (d *decoder) checkRoutes(c *Gateway) {
	r := &c.Routes
	if d.bad["routes"] {
		r.Mode = "" // reported; nothing follows from it
		return
	}
	if d.has("routes.kernel") {
		r.Mode = RoutesKernel
	} else if d.ok("routes") && r.Mode == "" {
		d.required("routes", RoutesKernel)
	}
	if r.Kernel != nil {
		d.required("routes.kernel", "engine")
		d.checkEngine("routes.kernel", r.Kernel.Engine, &r.Kernel.Socket)
	}
	if r.Mode == RoutesBGP {
		if d.has("attachments") {
			d.wrong("attachments", "attachments are told by the leaves with routes: bgp", "remove the key")
		}
		return
	}
	if d.has("dynamic-leaves") {
		d.wrong("dynamic-leaves", "dynamic-leaves connect by BGP, which routes: "+r.Mode+" turns off", "list them under leaves")
	}
	if r.Mode != RoutesKernel {
		for i := range c.Attachments {
			if path := fmt.Sprintf("attachments[%d].hosts", i); d.has(path) {
				d.wrong(path, path+": nothing is learned with routes: none", "list them under static-hosts")
			}
		}
		return
	}
	for _, key := range []string{"static-hosts", "peer"} {
		if d.has(key) {
			d.wrong(key, key+" are routes of peerless, which installs none with routes: kernel", "remove the key, or use routes: none")
		}
	}
}

// checkEngine fills in where the engine listens.
func (d *decoder) checkEngine(path, engine string, socket *string) {
	d.oneOf(path+".engine", engine, EngineFRR, EngineBIRD)
	switch {
	case d.ok(path+".socket") && !d.has(path+".engine"):
		d.wrong(path+".socket", path+".socket: of which engine?", "add engine: frr or engine: bird")
	case d.has(path + ".socket"):
		d.absolute(path+".socket", *socket)
	case engine == EngineFRR:
		*socket = socketFRR
	case engine == EngineBIRD:
		*socket = socketBIRD
	}
}

func (d *decoder) checkAttachments(c *Gateway, subnets []netip.Prefix) {
	ids, ends, hosts := places{}, places{}, places{}
	for i, a := range c.Attachments {
		path := fmt.Sprintf("attachments[%d]", i)
		d.required(path, "id", "primary", "backup")
		d.checkAttachment(path+".id", a.ID, c.AttachmentRange)
		d.once(ids, path+".id", fmt.Sprintf("attachment id %d", a.ID), "a server port has one entry")
		for _, end := range []struct {
			key string
			LeafEnd
		}{{rolePrimary, a.Primary}, {roleBackup, a.Backup}} {
			at := path + "." + end.key
			if !d.has(at) {
				continue
			}
			d.required(at, "leaf", "port")
			d.leafName(at+".leaf", end.Leaf, c)
			d.count(at+".port", int(end.Port), 1<<20)
			d.once(ends, at+".port", fmt.Sprintf("port %d of leaf %s", end.Port, end.Leaf), "one server port hangs on a leaf's port")
		}
		if d.ok(path+".backup.leaf") && a.Primary.Leaf == a.Backup.Leaf {
			d.wrong(path+".backup.leaf", fmt.Sprintf("primary and backup are the same leaf %s", a.Backup.Leaf), "the backup is the other leaf")
		}
		for j, h := range a.Hosts {
			at := fmt.Sprintf("%s.hosts[%d]", path, j)
			if d.ok(at) && !hostIn(h, subnets) {
				d.wrong(at, fmt.Sprintf("host %s is no host address of a configured subnet", h), "correct the address, or add its subnet")
			}
			d.once(hosts, at, "host "+h.String(), "a host is behind one server port")
		}
	}
}

func (a Advertise) machine() leaf.Export {
	switch {
	case a.KernelTable != nil:
		return leaf.Export{Mode: leaf.ByTable, Table: a.KernelTable.Table, Engine: a.KernelTable.Engine, Recency: a.KernelTable.Engine == EngineBIRD}
	case a.Mode == AdvertiseNone:
		return leaf.Export{Mode: leaf.ByNobody}
	}
	return leaf.Export{}
}

func (r Routes) engine() string {
	if r.Kernel == nil {
		return ""
	}
	return r.Kernel.Engine
}

func (l ServerLinks) machine() gateway.Attachment {
	return gateway.Attachment{
		ID: model.AttachmentID(l.ID), Hosts: slices.Clone(l.Hosts),
		Primary: gateway.LeafEnd{Leaf: l.Primary.Leaf, Index: l.Primary.Port}, Backup: gateway.LeafEnd{Leaf: l.Backup.Leaf, Index: l.Backup.Port},
	}
}
