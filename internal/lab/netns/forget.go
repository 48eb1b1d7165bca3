package netns

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/lab/topology"
)

// Forget removes from a namespace what a reboot would: routes and rules of a protocol, and every address but those given and the
// loopback's own.
func Forget(name string, keep []topology.Address, protocol int) error {
	return Do(name, func() error {
		return errors.Join(forgetRules(protocol), forgetRoutes(protocol), forgetAddresses(keep))
	})
}

func forgetRules(protocol int) error {
	rules, err := netlink.RuleList(unix.AF_INET)
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	var errs []error
	for _, r := range rules {
		if int(r.Protocol) == protocol {
			errs = append(errs, netlink.RuleDel(&r))
		}
	}
	return errors.Join(errs...)
}

func forgetRoutes(protocol int) error {
	routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: netlink.RouteProtocol(protocol)},
		netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var errs []error
	for _, r := range routes {
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("delete route %s: %w", r.Dst, err))
		}
	}
	return errors.Join(errs...)
}

func forgetAddresses(keep []topology.Address) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		addrs, err := netlink.AddrList(l, unix.AF_INET)
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
		}
		for _, a := range addrs {
			kept := a.IP.IsLoopback() || slices.ContainsFunc(keep, func(k topology.Address) bool {
				return k.Port == l.Attrs().Name && a.IPNet.String() == ipNet(k.Prefix).String()
			})
			if !kept {
				errs = append(errs, netlink.AddrDel(l, &a))
			}
		}
	}
	return errors.Join(errs...)
}
