package config

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// entries lists a mapping's keys and values; it reports false for anything else.
func entries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	return nil, false
}

func keyText(e *ast.MappingValueNode) string {
	if t := e.Key.GetToken(); t != nil {
		return t.Value
	}
	return ""
}

// scalarText is a scalar as it was written, without quotes; empty for anything else.
func scalarText(n ast.Node) string {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value
	case *ast.LiteralNode:
		if s.Value != nil {
			return strings.TrimRight(s.Value.Value, "\n")
		}
		return ""
	}
	if _, isScalar := n.(ast.ScalarNode); isScalar && n.GetToken() != nil {
		return n.GetToken().Value
	}
	return ""
}

// describe names what stands in the file, for messages.
func describe(n ast.Node) string {
	switch n.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType:
		return "a YAML anchor or alias"
	case ast.TagType:
		return "a YAML tag"
	case ast.NullType:
		return "empty"
	default:
		return fmt.Sprintf("%q", scalarText(n))
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func lastKey(path string) string {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[i+1:]
	}
	return path
}

func subject(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

// fieldsOf maps the keys of a schema struct to its fields, embedded ones included.
func fieldsOf(t reflect.Type) map[string][]int {
	out := map[string][]int{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name != "" {
			out[name] = f.Index
		}
	}
	return out
}

var indexes = regexp.MustCompile(`\[\d+\]`)

// schemaPaths lists every key of a role as a path without indexes, such as "downlinks.static-hosts.mac".
func schemaPaths(role string) []string {
	roots := map[string]reflect.Type{
		RoleLeaf: reflect.TypeFor[Leaf](), RoleGateway: reflect.TypeFor[Gateway](), RoleServer: reflect.TypeFor[Server](),
	}
	var out []string
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		if _, isScalar := scalars[t]; isScalar {
			return
		}
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(t.Elem(), path)
		case reflect.Struct:
			fields := fieldsOf(t)
			for _, name := range slices.Sorted(maps.Keys(fields)) {
				out = append(out, join(path, name))
				walk(t.FieldByIndex(fields[name]).Type, join(path, name))
			}
		default:
		}
	}
	walk(roots[role], "")
	return out
}

func (d *decoder) unknownKey(at position, key, path string, fields map[string][]int) {
	full := join(indexes.ReplaceAllString(path, ""), key)
	for _, role := range Roles() {
		if role != d.role && slices.Contains(schemaPaths(role), full) {
			d.problem(at, fmt.Sprintf("key %q belongs to role %s, and this file has role %s", full, role, d.role), "remove it")
			return
		}
	}
	names := slices.Sorted(maps.Keys(fields))
	fix := "known keys here: " + strings.Join(names, ", ")
	if near := nearest(key, names); near != "" {
		fix = fmt.Sprintf("did you mean %q?", near)
		d.misspelt[join(path, near)] = true
	}
	in := ""
	if path != "" {
		in = " in " + path
	}
	d.problem(at, fmt.Sprintf("unknown key %q%s", key, in), fix)
}

// nearest is the known name within two edits of what was written, or empty.
func nearest(word string, names []string) string {
	best, distance := "", 3
	for _, name := range names {
		if n := edits(word, name); n < distance && n < len(name) {
			best, distance = name, n
		}
	}
	return best
}

// edits is the Levenshtein distance; words far apart in length are not compared.
func edits(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
