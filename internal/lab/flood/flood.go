// Package flood is a hostile server: it sends bad ARP at a chosen pace for a bounded time.
//
// It runs only inside a named network namespace, never in the machine's own, and never sends anything but ARP and RARP frames by the
// one port that it is given.
package flood

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

// Kind is what is sent.
type Kind string

// Kinds.
const (
	Owners    Kind = "owners"    // gratuitous ARP: random addresses of the subnet, random owners
	Addresses Kind = "addresses" // gratuitous ARP: random addresses of the subnet, our own MAC
	Askers    Kind = "askers"    // requests for the gateway's address: random addresses, random owners
	Questions Kind = "questions" // requests for random addresses of the subnet, from ours
	Answers   Kind = "answers"   // replies that nobody asked for: random addresses, our own MAC
	Gateway   Kind = "gateway"   // gratuitous ARP: the gateway's address is ours
	Victim    Kind = "victim"    // gratuitous ARP: another host's address is ours
	Twin      Kind = "twin"      // gratuitous ARP: our address, from the leaves' virtual MAC
	Moves     Kind = "moves"     // gratuitous ARP: our address, random owners
	Reverse   Kind = "reverse"   // RARP of random MACs
	Malformed Kind = "malformed" // truncated frames and frames of random bytes
)

// Kinds lists them all.
func Kinds() []Kind {
	return []Kind{Owners, Addresses, Askers, Questions, Answers, Gateway, Victim, Twin, Moves, Reverse, Malformed}
}

// Bounds: a mistake must not become a burden.
const (
	PerSecondMax = 200_000
	ForMax       = time.Minute
)

// Options of a flood. Seed makes it the same every time.
type Options struct {
	Port       string
	Kind       Kind
	PerSecond  int
	For        time.Duration
	Subnet     netip.Prefix
	Own        netip.Addr // our address, and
	OwnMAC     model.MAC
	Gateway    netip.Addr
	GatewayMAC model.MAC  // the leaves' virtual MAC
	Victim     netip.Addr // of Victim
	Seed       uint64
}

// Result is what was sent.
type Result struct {
	Sent    int           `json:"sent"`
	Refused int           `json:"refused"` // by the kernel: no buffer
	Took    time.Duration `json:"took_ns"`
}

// beat is how often a share of the frames is sent.
const beat = time.Millisecond

// Run floods from the calling thread's namespace until the time is over or the context ends.
func Run(ctx context.Context, o Options) (Result, error) {
	if o.PerSecond < 1 || o.PerSecond > PerSecondMax || o.For <= 0 || o.For > ForMax {
		return Result{}, fmt.Errorf("flood: %d frames a second for %s are out of bounds (%d, %s)", o.PerSecond, o.For, PerSecondMax, ForMax)
	}
	if err := elsewhere(); err != nil {
		return Result{}, err
	}
	fd, to, err := open(o.Port)
	if err != nil {
		return Result{}, fmt.Errorf("flood %s: %w", o.Port, err)
	}
	defer unix.Close(fd)
	var (
		r       Result
		frames  = newMaker(o)
		start   = time.Now()
		ticker  = time.NewTicker(beat)
		stopped = ctx.Done()
	)
	defer ticker.Stop()
	for r.Took < o.For {
		for due := int(float64(o.PerSecond) * min(r.Took+beat, o.For).Seconds()); r.Sent+r.Refused < due; {
			switch err := unix.Sendto(fd, frames.next(), 0, to); {
			case err == nil:
				r.Sent++
			case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN):
				r.Refused++
			case errors.Is(err, unix.ENETDOWN): // the port was closed: that may be the point
				r.Refused++
			default:
				return r, fmt.Errorf("flood %s: %w", o.Port, err)
			}
		}
		select {
		case <-stopped:
			return r, nil
		case <-ticker.C:
		}
		r.Took = time.Since(start)
	}
	return r, nil
}

// named is where named namespaces are; the machine's own has no name.
const named = "/run/netns"

// elsewhere refuses to work outside of a named namespace.
func elsewhere() error {
	mine, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("flood: whose namespace is this: %w", err)
	}
	list, _ := os.ReadDir(named)
	for _, e := range list {
		if ns, err := os.Stat(filepath.Join(named, e.Name())); err == nil && os.SameFile(mine, ns) {
			return nil
		}
	}
	return errors.New("flood: this is no named network namespace: run it inside a lab")
}

func open(port string) (int, *unix.SockaddrLinklayer, error) {
	dev, err := net.InterfaceByName(port)
	if err != nil {
		return 0, nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("open packet socket: %w", err)
	}
	return fd, &unix.SockaddrLinklayer{Ifindex: dev.Index}, nil
}

// maker makes frames. Build it with newMaker.
type maker struct {
	o     Options
	rand  *rand.Rand
	first uint32 // of the subnet
	hosts uint32
	buf   [64]byte
}

func newMaker(o Options) *maker {
	m := &maker{o: o, rand: rand.New(rand.NewPCG(o.Seed, uint64(len(o.Kind))))}
	if o.Subnet.IsValid() {
		base := o.Subnet.Masked().Addr().As4()
		m.first, m.hosts = binary.BigEndian.Uint32(base[:]), uint32(1)<<(32-o.Subnet.Bits())
	}
	return m
}

func (m *maker) address() [4]byte {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], m.first+m.rand.Uint32N(max(1, m.hosts)))
	return b
}

// octets of no address are zero: not every kind needs every address.
func octets(a netip.Addr) [4]byte {
	if !a.Is4() {
		return [4]byte{}
	}
	return a.As4()
}

func (m *maker) owner() (mac model.MAC) {
	binary.BigEndian.PutUint32(mac[2:], m.rand.Uint32())
	mac[0], mac[1] = 0x02, 0xbd
	return mac
}

// next gives the next frame; it is valid until the next call.
func (m *maker) next() []byte {
	own, mac := octets(m.o.Own), m.o.OwnMAC
	switch m.o.Kind {
	case Owners:
		a := m.address()
		return m.arp(1, m.owner(), a, a)
	case Addresses:
		a := m.address()
		return m.arp(1, mac, a, a)
	case Askers:
		return m.arp(1, m.owner(), m.address(), octets(m.o.Gateway))
	case Questions:
		return m.arp(1, mac, own, m.address())
	case Answers:
		return m.arp(2, mac, m.address(), octets(m.o.Gateway))
	case Gateway:
		a := octets(m.o.Gateway)
		return m.arp(1, mac, a, a)
	case Victim:
		a := octets(m.o.Victim)
		return m.arp(1, mac, a, a)
	case Twin:
		return m.arp(1, m.o.GatewayMAC, own, own)
	case Moves:
		return m.arp(1, m.owner(), own, own)
	case Reverse:
		f := m.arp(3, m.owner(), [4]byte{}, [4]byte{})
		binary.BigEndian.PutUint16(f[12:], unix.ETH_P_RARP)
		return f
	default:
		return m.malformed()
	}
}

// arp is a broadcast ARP packet (RFC 826).
func (m *maker) arp(op uint16, mac model.MAC, sender, target [4]byte) []byte {
	f := m.buf[:42]
	copy(f, model.Broadcast[:])
	copy(f[6:], mac[:])
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_ARP)
	copy(f[14:], []byte{0, 1, 8, 0, 6, 4})
	binary.BigEndian.PutUint16(f[20:], op)
	copy(f[22:], mac[:])
	copy(f[28:], sender[:])
	clear(f[32:38])
	copy(f[38:], target[:])
	return f
}

// malformed is a good packet cut short, or one with random bytes from some place on.
func (m *maker) malformed() []byte {
	a := m.address()
	f := m.arp(1, m.owner(), a, a)
	at := 14 + m.rand.IntN(len(f)-14)
	if m.rand.IntN(2) == 0 {
		return f[:at]
	}
	for i := at; i < len(f); i++ {
		f[i] = byte(m.rand.Uint32())
	}
	return f
}
