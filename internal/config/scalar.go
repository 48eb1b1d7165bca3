package config

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"

	"peerless/internal/model"
)

// Mode is a file mode, written in octal.
type Mode os.FileMode

// MarshalText gives the octal form.
func (m Mode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// wrong is a value that cannot be read: what it is, and what it should be.
type wrong struct{ what, fix string }

// scalars reads each scalar type of the schema from its text. A scalar that is not listed here is no scalar.
var scalars map[reflect.Type]func(text string, v reflect.Value) *wrong

func init() {
	scalars = map[reflect.Type]func(string, reflect.Value) *wrong{
		reflect.TypeFor[string]():        readString,
		reflect.TypeFor[bool]():          readBool,
		reflect.TypeFor[int]():           readInt,
		reflect.TypeFor[uint16]():        readUint,
		reflect.TypeFor[uint32]():        readUint,
		reflect.TypeFor[time.Duration](): readDuration,
		reflect.TypeFor[netip.Addr]():    readAddr,
		reflect.TypeFor[netip.Prefix]():  readPrefix,
		reflect.TypeFor[model.MAC]():     readMAC,
		reflect.TypeFor[model.Port]():    readPort,
		reflect.TypeFor[Mode]():          readMode,
	}
}

func (d *decoder) scalar(n ast.Node, v reflect.Value, path string, set func(string, reflect.Value) *wrong) {
	if _, isScalar := n.(ast.ScalarNode); !isScalar {
		d.reject(n, path, fmt.Sprintf("%s is %s", subject(path), describe(n)), "write a single value")
		return
	}
	if w := set(scalarText(n), v); w != nil {
		d.reject(n, path, fmt.Sprintf("%s: %s", subject(path), w.what), w.fix)
	}
}

func readString(text string, v reflect.Value) *wrong {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return &wrong{"the text has control characters", "write plain text"}
	}
	v.SetString(text)
	return nil
}

func readBool(text string, v reflect.Value) *wrong {
	if text != "true" && text != "false" {
		return &wrong{fmt.Sprintf("%q is neither true nor false", text), "write true or false"}
	}
	v.SetBool(text == "true")
	return nil
}

func readInt(text string, v reflect.Value) *wrong {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return &wrong{fmt.Sprintf("%q is not a whole number", text), "write a number such as 3"}
	}
	v.SetInt(n)
	return nil
}

func readUint(text string, v reflect.Value) *wrong {
	n, err := strconv.ParseUint(text, 10, v.Type().Bits())
	if err != nil {
		return &wrong{fmt.Sprintf("%q is not a number from 0 to %d", text, uint64(1)<<v.Type().Bits()-1), "write a number in that range"}
	}
	v.SetUint(n)
	return nil
}

func readDuration(text string, v reflect.Value) *wrong {
	n, err := time.ParseDuration(text)
	if err != nil {
		return &wrong{fmt.Sprintf("%q is not a duration", text), "write a number with its unit, such as 50ms, 5s or 10m"}
	}
	v.SetInt(int64(n))
	return nil
}

func readAddr(text string, v reflect.Value) *wrong {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return &wrong{fmt.Sprintf("%q is not an IPv4 address", text), "write an address such as 10.10.10.254"}
	}
	v.Set(reflect.ValueOf(a))
	return nil
}

func readPrefix(text string, v reflect.Value) *wrong {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return &wrong{fmt.Sprintf("%q is not an IPv4 prefix", text), "write a prefix such as 10.10.10.0/24"}
	}
	if p != p.Masked() {
		return &wrong{fmt.Sprintf("%s has bits set behind its prefix length", p), fmt.Sprintf("write %s", p.Masked())}
	}
	v.Set(reflect.ValueOf(p))
	return nil
}

func readMAC(text string, v reflect.Value) *wrong {
	m, err := model.ParseMAC(text)
	if err != nil {
		return &wrong{fmt.Sprintf("%q is not a hardware address", text), "write six octets such as 02:00:5e:00:00:01"}
	}
	if m.IsZero() || m.IsGroup() {
		return &wrong{fmt.Sprintf("%s is not the address of one machine", m), "write a unicast address such as 02:00:5e:00:00:01"}
	}
	v.Set(reflect.ValueOf(m))
	return nil
}

// portBytes is IFNAMSIZ without the terminating zero.
const portBytes = 15

func readPort(text string, v reflect.Value) *wrong {
	switch {
	case text == "":
		return &wrong{"the port name is empty", "write the name of a network device, such as eth0"}
	case len(text) > portBytes:
		return &wrong{fmt.Sprintf("port name %q has %d bytes", text, len(text)), fmt.Sprintf("Linux allows %d; write the device's real name", portBytes)}
	case text == "." || text == ".." || strings.ContainsAny(text, "/:") || strings.ContainsFunc(text, badInPort):
		return &wrong{fmt.Sprintf("port name %q cannot be a network device", text), "a name has no slash, colon, space or control character"}
	}
	v.SetString(text)
	return nil
}

func badInPort(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError }

func readMode(text string, v reflect.Value) *wrong {
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return &wrong{fmt.Sprintf("%q is not a file mode", text), "write it in octal, such as 0660"}
	}
	v.SetUint(n)
	return nil
}
