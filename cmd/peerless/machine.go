package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

// machine is what `check` reads of the live system. Tests give it another root.
type machine struct {
	sys, proc string
	addresses func(model.Port) []netip.Prefix
	lacking   func([]capability) ([]capability, error)
}

func thisMachine() machine {
	return machine{sys: "/sys", proc: "/proc", addresses: interfaceAddresses, lacking: lacking}
}

func (m machine) file(p model.Port, parts ...string) string {
	return filepath.Join(append([]string{m.sys, "class/net", string(p)}, parts...)...)
}

func present(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (m machine) exists(p model.Port) bool { return present(m.file(p)) }

// kind is the device's type where it has one: bridge, bond, vlan, macvlan, …
func (m machine) kind(p model.Port) string {
	b, err := os.ReadFile(m.file(p, "uevent"))
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(b), "\n") {
		if kind, ok := strings.CutPrefix(line, "DEVTYPE="); ok {
			return kind
		}
	}
	return ""
}

// quietKind names the kinds of ports whose far end may not notice that they were closed.
func (m machine) quietKind(p model.Port) string {
	switch kind := m.kind(p); kind {
	case "vlan", "macvlan", "macvtap", "ipvlan":
		return kind
	}
	if present(m.file(p, "tun_flags")) {
		return "tap"
	}
	if present(m.file(p, "device", "physfn")) {
		return "virtual function"
	}
	return ""
}

// below is what a port hangs on: its lower device, else its card (a PCI device without its function number).
func (m machine) below(p model.Port) string {
	if lower, err := filepath.Glob(m.file(p, "lower_*")); err == nil && len(lower) == 1 {
		return "port " + strings.TrimPrefix(filepath.Base(lower[0]), "lower_")
	}
	device, err := filepath.EvalSymlinks(m.file(p, "device"))
	if err != nil {
		return ""
	}
	if up, err := filepath.EvalSymlinks(m.file(p, "device", "physfn")); err == nil {
		device = up
	}
	slot, _, isPCI := strings.Cut(filepath.Base(device), ".")
	if !isPCI {
		return ""
	}
	return "card " + slot
}

func (m machine) master(p model.Port) string {
	target, err := os.Readlink(m.file(p, "master"))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

func (m machine) bondOption(p model.Port, name string) string {
	b, err := os.ReadFile(m.file(p, "bonding", name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (m machine) sysctlsWritable() bool {
	return unix.Access(filepath.Join(m.proc, "sys/net/ipv4/ip_forward"), unix.W_OK) == nil
}

// onLink reports whether an address is in a subnet of the port; a port that does not exist yet is not judged.
func (m machine) onLink(p model.Port, a netip.Addr) bool {
	if !m.exists(p) {
		return true
	}
	for _, have := range m.addresses(p) {
		if have.Contains(a) {
			return true
		}
	}
	return false
}

func interfaceAddresses(p model.Port) []netip.Prefix {
	dev, err := net.InterfaceByName(string(p))
	if err != nil {
		return nil
	}
	addrs, err := dev.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
			out = append(out, prefix)
		}
	}
	return out
}
