package config

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"peerless/internal/claim"
	"peerless/internal/model"
)

// The checks run after the whole file was read. A value that could not be read was reported then; the checks pass over it.

func (d *decoder) has(path string) bool {
	_, ok := d.at[path]
	return ok
}

// ok reports whether the value was given and readable.
func (d *decoder) ok(path string) bool { return d.has(path) && !d.bad[path] }

// wrong reports a problem at a value, or at what should hold it.
func (d *decoder) wrong(path, what, fix string) {
	for p := path; ; p = parent(p) {
		if at, ok := d.at[p]; ok {
			d.problem(at, what, fix)
			return
		}
	}
}

func parent(path string) string {
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return ""
}

// required reports each key that is missing below a path.
func (d *decoder) required(path string, keys ...string) {
	if d.bad[path] {
		return
	}
	for _, key := range keys {
		if d.has(join(path, key)) || d.misspelt[join(path, key)] {
			continue
		}
		in := ""
		if path != "" {
			in = " in " + path
		}
		d.wrong(join(path, key), fmt.Sprintf("required key %q is missing%s", key, in), "add it; `peerless config reference "+d.role+"` explains it")
	}
}

// empty reports a list that was given and has no element.
func (d *decoder) empty(path string, length int, want string) {
	if d.ok(path) && length == 0 {
		d.wrong(path, fmt.Sprintf("%s is an empty list", path), "add "+want)
	}
}

func (d *decoder) oneOf(path, value string, words ...string) {
	if d.ok(path) && !slices.Contains(words, value) {
		d.wrong(path, fmt.Sprintf("%s: unknown value %q", path, value), "use "+orList(words))
	}
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func (d *decoder) between(path string, value, least, most time.Duration) {
	if d.ok(path) && (value < least || value > most) {
		d.wrong(path, fmt.Sprintf("%s: %s is out of bounds", path, short(value)),
			fmt.Sprintf("use a duration from %s to %s", short(least), short(most)))
	}
}

// short writes a duration as an operator would: 10m, not 10m0s.
func short(v time.Duration) string {
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (d *decoder) absolute(path, value string) {
	if d.ok(path) && !filepath.IsAbs(value) {
		d.wrong(path, fmt.Sprintf("%s: %q is not an absolute path", path, value), "start it with a slash")
	}
}

func (d *decoder) count(path string, value, most int) {
	if d.ok(path) && (value < 1 || value > most) {
		d.wrong(path, fmt.Sprintf("%s: %d is out of bounds", path, value), fmt.Sprintf("use a number from 1 to %d", most))
	}
}

// names are used in file names, log lines and output columns.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (d *decoder) name(path, value string) {
	if d.ok(path) && !nameForm.MatchString(value) {
		d.wrong(path, fmt.Sprintf("%s: %q is not a name", path, value), "use 1 to 64 letters, digits, dots, dashes and underscores")
	}
}

// label is a name given to a port for people: it need only be visible and short.
func (d *decoder) label(path, value string) {
	if d.ok(path) && (strings.TrimSpace(value) == "" || len(value) > 64) {
		d.wrong(path, fmt.Sprintf("%s: %q is not a name", path, value), "use 1 to 64 visible characters")
	}
}

// socketPathMax is sizeof(sun_path) (unix(7)) less room for the passing name that the socket is made under.
const socketPathMax = 90

func (d *decoder) checkCommon(c *Common) {
	d.required("", "name")
	d.name("name", c.Name)
	if c.CarrierPoll != 0 {
		d.between("carrier-poll", c.CarrierPoll, time.Millisecond, time.Second)
	}
	d.absolute("state-dir", c.StateDir)
	if c.API.Socket == "" && !d.has("api.socket") {
		c.API.Socket = filepath.Join(RunDir, c.Name+".sock")
	} else {
		d.absolute("api.socket", c.API.Socket)
	}
	if d.ok("api.socket") && len(c.API.Socket) > socketPathMax {
		d.wrong("api.socket", fmt.Sprintf("api.socket: the path has %d bytes", len(c.API.Socket)),
			fmt.Sprintf("use a path of at most %d", socketPathMax))
	}
	d.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	d.oneOf("log.format", c.Log.Format, "text", "json")
}

func (d *decoder) checkBGP(b BGP) {
	if d.ok("bgp.port") && b.Port == 0 {
		d.wrong("bgp.port", "bgp.port: 0 is not a TCP port", "use a number from 1 to 65535")
	}
	d.between("bgp.hold-time", b.HoldTime, 3*time.Second, 65535*time.Second)
	if d.ok("bgp.hold-time") && b.HoldTime%time.Second != 0 {
		d.wrong("bgp.hold-time", fmt.Sprintf("bgp.hold-time: %s is not whole seconds", b.HoldTime), "BGP carries seconds: write 9s")
	}
	// RFC 2385 leaves the length open; Linux takes 80 bytes.
	if len(b.Password) > 80 {
		d.wrong("bgp.password", "bgp.password: longer than 80 bytes", "the kernel takes 80")
	}
}

// checkRestart bounds the graceful-restart time, 12 bits of seconds (RFC 4724 section 3).
func (d *decoder) checkRestart(v time.Duration) {
	d.between("graceful-restart", v, time.Second, 4095*time.Second)
	if d.ok("graceful-restart") && v%time.Second != 0 {
		d.wrong("graceful-restart", fmt.Sprintf("graceful-restart: %s is not whole seconds", v), "BGP carries seconds: write 30s")
	}
}

// checkRouter checks what the embedded BGP speaker must know. Without it, nobody asks for it.
func (d *decoder) checkRouter(id netip.Addr, as uint32, bgp bool) {
	if bgp {
		d.required("", "router-id", "as")
	}
	if d.ok("router-id") && !unicast(id) {
		d.wrong("router-id", fmt.Sprintf("router-id: %s is not the address of one machine", id), "use an address of this machine")
	}
	d.checkAS("as", as)
}

// checkAS refuses the numbers that no speaker may use (RFC 7607, RFC 7300, RFC 6793).
func (d *decoder) checkAS(path string, as uint32) {
	if d.ok(path) && (as == 0 || as == 65535 || as == math.MaxUint32 || as == 23456) {
		d.wrong(path, fmt.Sprintf("%s: %d is a reserved AS number", path, as), "use a private one, such as 65001")
	}
}

func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (d *decoder) checkUnicast(path string, a netip.Addr) {
	if d.ok(path) && !unicast(a) {
		d.wrong(path, fmt.Sprintf("%s: %s is not the address of one machine", path, a), "write the neighbour's own address")
	}
}

// checkSubnets reports subnets that overlap, and returns the readable ones.
func (d *decoder) checkSubnets(prefixes []netip.Prefix) {
	for i, p := range prefixes {
		path := fmt.Sprintf("subnets[%d].prefix", i)
		if !d.ok(path) {
			continue
		}
		if p.Bits() < 8 || p.Bits() > 30 {
			d.wrong(path, fmt.Sprintf("%s: %s is no subnet for hosts", path, p), "use a prefix length from 8 to 30")
		}
		for j, o := range prefixes[:i] {
			if o.IsValid() && o.Overlaps(p) {
				d.wrong(path, fmt.Sprintf("subnet %s overlaps subnet %s of subnets[%d]", p, o, j), "give every subnet its own addresses")
				break
			}
		}
	}
}

// checkRange checks attachment-range against the subnets: its addresses are names of attachments, never of hosts.
func (d *decoder) checkRange(r netip.Prefix, subnets []netip.Prefix) {
	for _, s := range subnets {
		if d.ok("attachment-range") && s.IsValid() && s.Overlaps(r) {
			d.wrong("attachment-range", fmt.Sprintf("attachment-range %s overlaps subnet %s", r, s), "use a range that no host has")
			return
		}
	}
}

// checkAttachment checks one attachment id against the range.
func (d *decoder) checkAttachment(path string, id uint32, within netip.Prefix) {
	if !d.ok(path) {
		return
	}
	if id == 0 {
		d.wrong(path, "attachment id 0 means none", "number the server ports from 1, the same on both leaves")
		return
	}
	if _, fits := claim.Prefix(within, model.AttachmentID(id)); d.ok("attachment-range") && !fits {
		d.wrong(path, fmt.Sprintf("attachment id %d lies outside attachment-range %s", id, within), "use a smaller id or a larger range")
	}
}

// hostIn reports whether a can be a host's address in one of the subnets: not its network or broadcast address.
func hostIn(a netip.Addr, subnets []netip.Prefix) bool {
	return slices.ContainsFunc(subnets, func(p netip.Prefix) bool {
		return p.IsValid() && p.Contains(a) && a != p.Addr() && a != broadcast(p)
	})
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := range b {
		ones := min(max(p.Bits()-8*i, 0), 8)
		b[i] |= byte(0xff >> ones)
	}
	return netip.AddrFrom4(b)
}

// places remembers where a thing that must be unique was named first.
type places map[string]string

// once reports a second naming of the same thing.
func (d *decoder) once(seen places, path, thing, fix string) {
	if !d.ok(path) {
		return
	}
	if first, twice := seen[thing]; twice {
		d.wrong(path, fmt.Sprintf("%s is named twice, first in %s on line %d", thing, first, d.at[first].line), fix)
		return
	}
	seen[thing] = path
}
