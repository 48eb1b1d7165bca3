package config

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// explained is one key of a reference config with the comment above it.
type explained struct{ comment string }

var keyLine = regexp.MustCompile(`^( *)(- )?([a-z-]+):`)

// explanations reads the reference config's keys by their indentation; the first naming of a key counts.
func explanations(text string) map[string]explained {
	type level struct {
		indent int
		key    string
	}
	out := map[string]explained{}
	var stack []level
	var comment []string
	for _, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(trimmed, "#"); ok {
			comment = append(comment, strings.TrimSpace(rest))
			continue
		}
		if m := keyLine.FindStringSubmatch(line); m != nil {
			indent := len(m[1]) + len(m[2])
			for len(stack) > 0 && stack[len(stack)-1].indent >= indent {
				stack = stack[:len(stack)-1]
			}
			path := m[3]
			if len(stack) > 0 {
				path = stack[len(stack)-1].key + "." + m[3]
			}
			stack = append(stack, level{indent, path})
			if _, seen := out[path]; !seen {
				out[path] = explained{strings.Join(comment, " ")}
			}
		}
		comment = nil
	}
	return out
}

// instead names the keys that the lines marked "#|" of a reference config stand for.
var instead = map[string][]string{
	RoleLeaf: {"advertise"}, RoleGateway: {"routes", "dynamic-leaves", "peer", "static-hosts", "probe"},
}

// forms are the reference config as it stands, and the one that it has in comments beside it, for a node beside an engine.
func forms(role string) []string {
	text, _ := Reference(role)
	var other []string
	drop := false
	for _, line := range strings.Split(text, "\n") {
		marked, isMarked := strings.CutPrefix(line, "#|")
		switch m := keyLine.FindStringSubmatch(line); {
		case isMarked:
			line = marked
		case m != nil && m[1] == "" && m[2] == "":
			drop = slices.Contains(instead[role], m[3])
		}
		if !drop || isMarked || strings.HasPrefix(line, "#") {
			other = append(other, line)
		}
	}
	return []string{text, strings.Join(other, "\n")}
}

// allKeys are the keys of both forms.
func allKeys(role string) map[string]explained {
	out := map[string]explained{}
	for _, text := range forms(role) {
		for key, e := range explanations(text) {
			if _, seen := out[key]; !seen {
				out[key] = e
			}
		}
	}
	return out
}

func TestReference_EveryRole_Parses(t *testing.T) {
	for _, role := range Roles() {
		text, err := Reference(role)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range append(forms(role), text) {
			if _, err := Parse(role+".yaml", []byte(text)); err != nil {
				t.Errorf("%v", err)
			}
		}
	}
}

func TestReference_UnknownRole_IsRefused(t *testing.T) {
	if _, err := Reference("spine"); err == nil {
		t.Error("no error")
	}
}

func TestReference_EveryKey_IsExplained(t *testing.T) {
	for _, role := range Roles() {
		keys := allKeys(role)
		paths := schemaPaths(role)
		for _, path := range paths {
			e, ok := keys[path]
			if !ok {
				t.Errorf("%s: key %s is not in the reference config", role, path)
			} else if e.comment == "" {
				t.Errorf("%s: key %s is not explained", role, path)
			}
		}
		for key := range keys {
			if !slices.Contains(paths, key) {
				t.Errorf("%s: key %s of the reference config is not in the schema", role, key)
			}
		}
	}
}

var statedDefault = regexp.MustCompile(`Default: (\[[^]]*\]|[0-9][0-9a-z]*|[a-z]+|/run/peerless)\.$`)

// inWords are defaults that a comment puts in words, since they depend on other keys.
var inWords = []string{"all of them", "its place", "its number", "the number", "the daemon's", "none", "any", "learned", "one group", "/run/peerless/NAME.sock"}

// TestReference_StatedDefaults_AreTrue compares every "Default: X." of the comments with what Parse fills in.
func TestReference_StatedDefaults_AreTrue(t *testing.T) {
	roots := map[string]any{RoleLeaf: defaultLeaf(), RoleGateway: defaultGateway(), RoleServer: defaultServer()}
	for _, role := range Roles() {
		for path, e := range allKeys(role) {
			_, after, states := strings.Cut(e.comment, "Default: ")
			if !states || slices.ContainsFunc(inWords, func(w string) bool { return strings.HasPrefix(after, w) }) {
				continue
			}
			m := statedDefault.FindStringSubmatch(e.comment)
			if m == nil {
				t.Errorf("%s: %s: cannot read the stated default of %q", role, path, e.comment)
				continue
			}
			if got := formatDefault(defaultAt(reflect.ValueOf(roots[role]), strings.Split(path, "."))); got != m[1] {
				t.Errorf("%s: %s: the reference says %s, the default is %s", role, path, m[1], got)
			}
		}
	}
}

// defaultAt walks the default config along a path; elements of lists take their own defaults.
func defaultAt(v reflect.Value, path []string) reflect.Value {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v = reflect.New(v.Type().Elem())
			defaultElement(v.Interface())
		}
		v = v.Elem()
	}
	if len(path) == 0 {
		return v
	}
	if v.Kind() == reflect.Slice {
		element := reflect.New(v.Type().Elem())
		defaultElement(element.Interface())
		return defaultAt(element, path)
	}
	return defaultAt(v.FieldByIndex(fieldsOf(v.Type())[path[0]]), path[1:])
}

func formatDefault(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return short(x)
	case []time.Duration:
		var out []string
		for _, d := range x {
			out = append(out, short(d))
		}
		return "[" + strings.Join(out, ", ") + "]"
	case encoding.TextMarshaler:
		b, _ := x.MarshalText()
		return string(b)
	}
	return fmt.Sprint(v.Interface())
}
