package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/lab/flood"
	"peerless/internal/lab/matrix"
	"peerless/internal/lab/netns"
	"peerless/internal/lab/probe"
	"peerless/internal/lab/topology"
)

// routingPort is that of BGP.
const routingPort = 179

// doAll does deeds one after another and gives the instant of the first one.
func (in *instance) doAll(ctx context.Context, deeds []matrix.Deed) (at int64, err error) {
	mark := func() {
		if at == 0 {
			at = probe.Mono()
		}
	}
	for _, d := range deeds {
		if err := in.pause(ctx, d.Wait); err != nil {
			return at, err
		}
		if err := in.do(ctx, d, mark); err != nil {
			return at, fmt.Errorf("%s: %w", d, err)
		}
	}
	mark() // nothing may be a deed too
	return at, nil
}

// do does one deed; it calls now right before the moment that counts.
func (in *instance) do(ctx context.Context, d matrix.Deed, now func()) error {
	switch d.Verb {
	case matrix.PortDown, matrix.PortUp:
		return in.net.SetPort(d.At.Node, d.At.Port, d.Verb == matrix.PortUp, now)
	case matrix.Deafen:
		f, err := filterOf(d.Lost)
		if err != nil {
			return err
		}
		now()
		return netns.Drop(in.space(d.At.Node), d.At.Port, f)
	case matrix.Hear:
		now()
		return netns.Undrop(in.space(d.At.Node), d.At.Port)
	case matrix.NoForward, matrix.Forward:
		now()
		return in.forwarding(d.Node, d.Verb == matrix.Forward)
	case matrix.Kill, matrix.Terminate, matrix.Freeze, matrix.Thaw, matrix.Start:
		now()
		return in.doDaemon(d)
	case matrix.Die:
		return in.die(d.Node, now)
	case matrix.Boot:
		return in.boot(d.Node, now)
	case matrix.Reset:
		peer, err := in.address(d.Peer, d.Node)
		if err != nil {
			return err
		}
		now()
		_, err = netns.Reset(in.space(d.Node), routingPort, peer)
		return err
	case matrix.Drain, matrix.Undrain:
		now()
		return in.order(ctx, d.Node, string(d.Verb), "--wait")
	case matrix.Shut, matrix.Open:
		peer, err := in.address(d.Peer, d.Node)
		if err != nil {
			return err
		}
		now()
		return in.order(ctx, d.Node, "session", string(d.Verb), peer.String())
	case matrix.Flood:
		now()
		go in.flood(ctx, d)
		return nil
	case matrix.Reconfig:
		in.lines[d.Node] = d.Text + "\n"
		return nil
	case matrix.MoveGuest:
		return netns.MoveAddress(in.space(d.Node), in.space(d.Peer), matrix.GuestPort, now)
	}
	return fmt.Errorf("unknown verb %q", d.Verb)
}

func (in *instance) doDaemon(d matrix.Deed) error {
	switch d.Verb {
	case matrix.Kill:
		return in.endDaemon(d.Node, unix.SIGKILL)
	case matrix.Terminate:
		return in.endDaemon(d.Node, unix.SIGTERM)
	case matrix.Freeze:
		_, err := in.signal(d.Node, unix.SIGSTOP)
		return err
	case matrix.Thaw:
		_, err := in.signal(d.Node, unix.SIGCONT)
		return err
	default:
		return in.startAgain(d.Node)
	}
}

func filterOf(lost string) (netns.Filter, error) {
	for _, f := range []netns.Filter{netns.Everything, netns.RoutingOnly, netns.LivenessBFD} {
		if lost == f.String() || lost == "" && f.String() == netns.Everything.String() {
			return f, nil
		}
	}
	return netns.Filter{}, fmt.Errorf("unknown loss %q", lost)
}

func (in *instance) space(node string) string { return in.site.space(in.top.Name, node) }

// forwarding turns a machine's own switch for it.
func (in *instance) forwarding(node string, on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	return netns.Do(in.space(node), func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(value), 0)
	})
}

// address is that of a node's port at the cable to another node.
func (in *instance) address(node, to string) (netip.Addr, error) {
	n, _ := in.top.Node(node)
	for _, l := range in.top.Links {
		for _, ends := range [][2]topology.End{{l.A, l.B}, {l.B, l.A}} {
			if ends[0].Node != node || ends[1].Node != to {
				continue
			}
			i := slices.IndexFunc(n.Addresses, func(a topology.Address) bool { return a.Port == ends[0].Port })
			if i >= 0 {
				return n.Addresses[i].Prefix.Addr(), nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no address on a cable to %s", node, to)
}

// orderMax bounds an order.
const orderMax = 30 * time.Second

// order gives a node's daemon an order as a person would, and waits for its end.
func (in *instance) order(ctx context.Context, node string, words ...string) error {
	ctx, cancel := context.WithTimeout(ctx, orderMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, in.opts.Binary, append(words, "--socket", in.site.socket(in.top.Name, node))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// flood runs beside what follows, and ends by itself.
func (in *instance) flood(ctx context.Context, d matrix.Deed) {
	subnet := topology.Subnet()
	var r flood.Result
	err := netns.Do(in.space(d.At.Node), func() (err error) {
		r, err = flood.Run(ctx, flood.Options{Port: d.At.Port, Kind: flood.Owners, PerSecond: d.Rate, For: d.Long, Subnet: subnet, Seed: 1})
		return err
	})
	in.say("%s: sent %d, refused %d in %s: %v", d, r.Sent, r.Refused, r.Took.Round(time.Millisecond), err)
}
