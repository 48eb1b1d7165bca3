package rtnl

import (
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
	"peerless/internal/step"
)

// before is the record of what the kernel had where we changed a value. Routes, rules and neighbour entries are ours by their
// mark and are simply deleted; a value that is overwritten has no room for one. It is written before the change, outlives a
// crash, and is void after a reboot and in another network namespace, as the record of closed ports is.
type before struct {
	path string // empty: nothing is recorded
	log  *slog.Logger

	mu    sync.Mutex
	dirty bool
	seen  map[step.Key]int // what is changed often and recorded once: by key, the device it was recorded for
	state beforeState
}

// beforeState is the file.
type beforeState struct {
	stamp
	Sysctls   []sysctlBefore  `json:"sysctls,omitempty"`
	Hardware  []macBefore     `json:"hardware_addresses,omitempty"`
	Addresses []addressBefore `json:"addresses,omitempty"`
	Bridged   []bridgedBefore `json:"bridge_ports,omitempty"`
	Entries   []entryBefore   `json:"forwarding_entries,omitempty"`
}

// device says which one a record is about: one made anew under the same name is another.
type device struct {
	Port  model.Port `json:"port,omitempty"`
	Index int        `json:"index,omitempty"`
}

type sysctlBefore struct {
	device
	Path string   `json:"path"`
	Was  string   `json:"was"`
	Set  []string `json:"set,omitempty"` // all that we ever set; none: the kernel did, as a consequence of ip_forward
}

type macBefore struct {
	device
	Was model.MAC   `json:"was"`
	Set []model.MAC `json:"set"`
}

type addressBefore struct {
	device
	Address step.Address `json:"address"`
	Was     string       `json:"was"` // addressNone, or which kind of address was there already
}

const (
	addressNone  = "none"
	addressPlain = "plain" // its kernel made the route to its prefix
	addressAlone = "noprefixroute"
)

type bridgedBefore struct {
	device
	Was bridgeFlags `json:"was"`
}

type entryBefore struct {
	device           // the bridge
	MAC    model.MAC `json:"mac"`
	Was    *entry    `json:"was,omitempty"` // nil: none that anybody made
}

func openBefore(path string, s stamp, log *slog.Logger) (*before, error) {
	b := &before{path: path, log: log, seen: map[step.Key]int{}, state: beforeState{stamp: s}}
	if path == "" {
		return b, nil
	}
	var old beforeState
	switch known, err := readState(path, &old); {
	case errors.Is(err, errSpoiled):
		log.Warn("record of the state before peerless is not understood; uninstall cannot go back to it", "path", path, "error", err)
	case err != nil:
		return nil, err
	case known && old.stamp == s:
		b.state = old
	}
	return b, nil
}

// remember looks at what the wants are about to change, and records it in one write. A change that cannot be recorded is made all
// the same: traffic waits for it, and only uninstall needs the record.
func (d *Driver) remember(wants []step.Want) {
	b := d.before
	if b.path == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range wants {
		if w.Absent {
			continue
		}
		switch o := w.Object.(type) {
		case step.Sysctl:
			d.rememberSysctl(o)
		case step.HardwareAddress:
			d.rememberHardware(o)
		case step.Address:
			d.rememberAddress(o)
		case step.BridgePort:
			d.rememberBridged(o)
		case step.FDB:
			d.rememberEntry(o)
		}
	}
	if err := b.save(); err != nil {
		b.log.Error("the state before peerless is not recorded", "error", err)
	}
}

// put takes the newest record of its kind.
func put[T any](b *before, list *[]T, r T, same func(T) bool) {
	*list = append(slices.DeleteFunc(*list, same), r)
	b.dirty = true
}

func (b *before) save() error {
	if !b.dirty {
		return nil
	}
	if err := writeState(b.path, b.state); err != nil {
		return err
	}
	b.dirty = false
	return nil
}

const (
	sysctlForward   = "net/ipv4/ip_forward"
	sysctlRedirects = "net/ipv4/conf/all/accept_redirects"
	sysctlPorts     = "net/ipv4/conf/*/forwarding"
)

// rememberSysctl records a value that differs. What somebody else set is what we go back to, also when he did so after us; what we set
// ourselves is not. Turning forwarding on or off makes the kernel set some others.
func (d *Driver) rememberSysctl(o step.Sysctl) {
	was, err := readSysctl(o.Path)
	if err != nil || was == spaced(o.Value) {
		return
	}
	r := sysctlBefore{Path: o.Path, Was: was, Set: []string{spaced(o.Value)}}
	if r.device, err = d.deviceOf(o.Path); err != nil {
		return // gone, and its values with it
	}
	same := func(old sysctlBefore) bool { return old.Path == o.Path }
	list := &d.before.state.Sysctls
	if i := slices.IndexFunc(*list, same); i >= 0 && (*list)[i].device == r.device && slices.Contains((*list)[i].Set, was) {
		if r.Was = (*list)[i].Was; slices.Contains((*list)[i].Set, r.Set[0]) {
			return
		}
		r.Set = append((*list)[i].Set, r.Set...)
	} else if o.Path == sysctlForward {
		d.rememberConsequences()
	}
	put(d.before, list, r, same)
}

func (d *Driver) rememberConsequences() {
	paths, _ := filepath.Glob(filepath.Join(sysctlRoot, sysctlPorts))
	for _, path := range append(paths, filepath.Join(sysctlRoot, sysctlRedirects)) {
		path, _ = filepath.Rel(sysctlRoot, path)
		r := sysctlBefore{Path: path}
		var err, gone error
		r.Was, err = readSysctl(path)
		r.device, gone = d.deviceOf(path)
		if err == nil && gone == nil && path != "net/ipv4/conf/all/forwarding" { // that is ip_forward itself
			put(d.before, &d.before.state.Sysctls, r, func(old sysctlBefore) bool { return old.Path == path })
		}
	}
}

// deviceOf is the device that a value belongs to, none for what concerns all.
func (d *Driver) deviceOf(path string) (device, error) {
	port := sysctlPort(path)
	if port == "" {
		return device{}, nil
	}
	index, err := d.links.index(port)
	return device{port, index}, err
}

func (d *Driver) rememberHardware(o step.HardwareAddress) {
	l, err := readLink(d.reads, o.Port)
	if err != nil || l.mac == o.MAC {
		return
	}
	r := macBefore{device{o.Port, l.index}, l.mac, []model.MAC{o.MAC}}
	same := func(old macBefore) bool { return old.Port == o.Port }
	list := &d.before.state.Hardware
	if i := slices.IndexFunc(*list, same); i >= 0 && (*list)[i].device == r.device && slices.Contains((*list)[i].Set, l.mac) {
		if r.Was = (*list)[i].Was; slices.Contains((*list)[i].Set, o.MAC) {
			return
		}
		r.Set = append((*list)[i].Set, o.MAC)
	}
	put(d.before, list, r, same)
}

// sysctlPort is the device that a value belongs to: "net/ipv4/conf/A1/rp_filter" to A1.
func sysctlPort(path string) model.Port {
	rest, ok := strings.CutPrefix(path, "net/ipv4/conf/")
	name, _, _ := strings.Cut(rest, "/")
	if !ok || name == "all" || name == "default" {
		return ""
	}
	return model.Port(name)
}

func (d *Driver) rememberAddress(o step.Address) {
	index, err := d.links.index(o.Port)
	if err != nil {
		return
	}
	was, err := d.addressKind(index, o)
	if err != nil || was == addressPlain && !o.NoPrefixRoute || was == addressAlone && o.NoPrefixRoute {
		return
	}
	put(d.before, &d.before.state.Addresses, addressBefore{device{o.Port, index}, o, was},
		func(r addressBefore) bool { return r.Port == o.Port && r.Address.Prefix == o.Prefix })
}

func (d *Driver) addressKind(index int, o step.Address) (string, error) {
	p := make(payload, unix.SizeofIfAddrmsg).inet()
	all, err := dumpAll(d.reads, "addresses", unix.RTM_GETADDR, p, decodeAddress)
	for _, a := range all {
		switch {
		case a.index != index || a.prefix != o.Prefix:
		case a.noPrefixRoute:
			return addressAlone, err
		default:
			return addressPlain, err
		}
	}
	return addressNone, err
}

func (d *Driver) rememberBridged(o step.BridgePort) {
	index, err := d.links.index(o.Port)
	if err != nil || d.before.seen[o.Key()] == index {
		return
	}
	if slices.ContainsFunc(d.before.state.Bridged, func(r bridgedBefore) bool { return r.device == device{o.Port, index} }) {
		d.before.seen[o.Key()] = index
		return
	}
	was, err := readBridgeFlags(d.reads, o.Port)
	if err != nil {
		return
	}
	d.before.seen[o.Key()] = index
	put(d.before, &d.before.state.Bridged, bridgedBefore{device{o.Port, index}, was}, func(r bridgedBefore) bool { return r.Port == o.Port })
}

func (d *Driver) rememberEntry(o step.FDB) {
	index, err := d.links.index(o.Bridge)
	if err != nil || d.before.seen[o.Key()] == index {
		return
	}
	same := func(r entryBefore) bool { return r.Port == o.Bridge && r.MAC == o.MAC }
	if i := slices.IndexFunc(d.before.state.Entries, same); i >= 0 && d.before.state.Entries[i].Index == index {
		d.before.seen[o.Key()] = index
		return
	}
	was, found, err := d.readEntry(index, o.MAC)
	if err != nil {
		return
	}
	r := entryBefore{device: device{o.Bridge, index}, MAC: o.MAC}
	if found && was.made() {
		was.Port = d.links.name(was.index)
		r.Was = &was
	}
	d.before.seen[o.Key()] = index
	put(d.before, &d.before.state.Entries, r, same)
}
