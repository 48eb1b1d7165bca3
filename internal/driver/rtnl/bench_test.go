package rtnl

import (
	"fmt"
	"net/netip"
	"testing"

	"peerless/internal/model"
	"peerless/internal/step"
)

func hostRoutes(n int, dev model.Port) []step.Want {
	wants := make([]step.Want, n)
	for i := range wants {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		wants[i].Object = step.Route{Table: 20101, Prefix: step.HostPrefix(a), NextHop: step.NextHop{Dev: dev}}
	}
	return wants
}

func BenchmarkApply_SingleRoute(b *testing.B) {
	k := newKernel(b)
	k.veth("ba", "ba-p")
	d := newDriver(b, Options{})
	want := hostRoutes(1, "ba")
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Apply(want)[0]; err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply_Batch(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			k := newKernel(b)
			k.veth("ba", "ba-p")
			d := newDriver(b, Options{})
			watch(b, d)
			wants := hostRoutes(n, "ba")
			for b.Loop() {
				for _, err := range d.Apply(wants) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
