package rtnl

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"peerless/internal/step"
)

func TestApply_Error_NamesSubjectAndKernelText(t *testing.T) {
	k := newKernel(t)
	k.vethAt("ea", 0, "ea-p", 0, 0) // stays down
	d := newDriver(t, Options{})
	for _, c := range []struct {
		name string
		want step.Want
		text []string
		is   error
	}{
		{"port is down", step.Want{Object: step.Route{Prefix: prefix("10.10.10.2/32"), NextHop: step.NextHop{Dev: "ea"}}},
			[]string{"set route 10.10.10.2/32 dev ea: ", "Device for nexthop is not up"}, unix.ENETDOWN},
		{"no such port", step.Want{Object: step.Route{Prefix: prefix("10.10.10.2/32"), NextHop: step.NextHop{Dev: "ghost"}}},
			[]string{"set route 10.10.10.2/32 dev ghost: port ghost: no such device"}, unix.ENODEV},
		{"IPv6 prefix", step.Want{Object: step.Route{Prefix: prefix("2001:db8::/64")}}, []string{"not an IPv4 prefix"}, nil},
		{"zero prefix", step.Want{Object: step.Route{}}, []string{"not an IPv4 prefix"}, nil},
		{"zero address", step.Want{Object: step.Address{}}, []string{"not an IPv4 address"}, nil},
		{"zero neighbour", step.Want{Object: step.Neighbor{}}, []string{"not an IPv4 address"}, nil},
		{"neighbour without MAC", step.Want{Object: step.Neighbor{Port: "ea", Addr: addr("10.0.0.1")}}, []string{"no hardware address"}, nil},
		{"bond without bonding", step.Want{Object: step.BondActive{Bond: "ea", Active: "ea-p"}}, []string{"set bond ea active ea-p: "}, nil},
		{"bridge port without bridge", step.Want{Object: step.BridgePort{Port: "ea"}}, []string{"set bridge port ea"}, nil},
		{"foreign kind", step.Want{Object: step.Listen{Port: "ea"}}, []string{"unsupported"}, errors.ErrUnsupported},
		{"close a missing port", step.Want{Object: step.Gate{Port: "ghost", Closed: true}}, []string{"close port ghost: "}, unix.ENODEV},
		{"open a missing port", step.Want{Object: step.Gate{Port: "ghost"}}, []string{"open port ghost: "}, unix.ENODEV},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := d.Apply([]step.Want{c.want})[0]
			for _, text := range c.text {
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("error is %v, want %q", err, text)
				}
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v is not %v", err, c.is)
			}
		})
	}
}

func TestApply_WithoutPrivilege_NamesTheCapability(t *testing.T) {
	k := newKernel(t)
	k.veth("pa", "pa-p")
	d := newDriver(t, Options{})
	errs := make(chan []error)
	go func() {
		runtime.LockOSThread() // the thread is given up with its capabilities
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			errs <- []error{err}
			return
		}
		errs <- d.Apply([]step.Want{
			{Object: step.Route{Prefix: prefix("10.10.10.2/32"), NextHop: step.NextHop{Dev: "pa"}}},
			{Object: step.Gate{Port: "pa", Closed: true}},
		})
	}()
	for _, err := range <-errs {
		if err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("error is %v", err)
		}
	}
}
