package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// decoder walks the syntax tree into a typed config. The library's own decoder stops at the first wrong thing; an operator
// wants to see all of them. It remembers where each value stood, by its path ("uplinks[0].port"), for the checks after it.
type decoder struct {
	file     string
	lines    []string
	role     string
	at       map[string]position
	bad      map[string]bool // values that were present and unreadable
	misspelt map[string]bool // keys that an unknown key was probably meant to be
	problems Problems
}

func newDecoder(file string, data []byte) *decoder {
	return &decoder{
		file: file, lines: strings.Split(string(data), "\n"),
		at: map[string]position{}, bad: map[string]bool{}, misspelt: map[string]bool{},
	}
}

// where is the place of a value; of a block of keys that of its first key, since its token is the colon.
func where(n ast.Node) position {
	switch m := n.(type) {
	case *ast.MappingNode:
		if len(m.Values) > 0 && !m.IsFlowStyle {
			return where(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return where(m.Key)
	}
	return whereToken(n.GetToken())
}

func whereToken(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{t.Position.Line, t.Position.Column}
}

// root is the mapping that the file consists of, or nil after a problem.
func (d *decoder) root(data []byte) ast.Node {
	file, err := parse(data)
	if err != nil {
		at, what := position{1, 1}, strings.SplitN(err.Error(), "\n", 2)[0]
		if e, ok := err.(yaml.Error); ok { //nolint:errorlint // the library returns it bare
			at, what = whereToken(e.GetToken()), e.GetMessage()
		}
		d.problem(at, "not valid YAML: "+what, "correct the syntax")
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.NullType {
			continue
		}
		if body != nil {
			d.problem(where(doc.Body), "a second YAML document", "keep one document in a file")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		d.problem(position{1, 1}, "the file says nothing", "start from `peerless config reference leaf` (or gateway, server)")
		return nil
	}
	if _, ok := entries(body); !ok {
		d.problem(where(body), "the file is "+describe(body)+", not a list of keys with values",
			"start from `peerless config reference leaf` (or gateway, server)")
		return nil
	}
	return body
}

// parse shields the daemon from a panic of the library on hostile text.
func parse(data []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			file, err = nil, fmt.Errorf("parser gave up: %v", r)
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

// findRole reads the role key first: it says which keys the file may have.
func (d *decoder) findRole(root ast.Node) string {
	list, _ := entries(root)
	for _, e := range list {
		if keyText(e) != "role" {
			continue
		}
		value := scalarText(e.Value)
		switch value {
		case RoleLeaf, RoleGateway, RoleServer:
			return value
		}
		d.problem(where(e.Value), fmt.Sprintf("unknown role %q", value), "use leaf, gateway or server")
		return ""
	}
	d.problem(where(root), `required key "role" is missing`, "add `role: leaf`, `role: gateway` or `role: server`")
	return ""
}

// decode reads the whole file into a role's config.
func (d *decoder) decode(root ast.Node, into any) {
	d.at[""] = position{1, 1}
	d.structure(root, reflect.ValueOf(into).Elem(), "")
}

func (d *decoder) value(n ast.Node, v reflect.Value, path string) {
	d.at[path] = where(n)
	switch n.Type() {
	case ast.NullType:
		d.reject(n, path, fmt.Sprintf("key %q has no value", lastKey(path)), "give it a value, or remove it for its default")
		return
	case ast.AnchorType, ast.AliasType, ast.TagType, ast.MergeKeyType:
		d.reject(n, path, describe(n)+" is not supported", "write the value out")
		return
	default:
	}
	if w, ok := v.Addr().Interface().(worded); ok {
		if _, isScalar := n.(ast.ScalarNode); isScalar {
			d.scalar(n, v, path, func(text string, _ reflect.Value) *wrong { return w.word(text) })
			return
		}
		v.SetZero()
	}
	if set, isScalar := scalars[v.Type()]; isScalar {
		d.scalar(n, v, path, set)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		defaultElement(v.Interface())
		d.value(n, v.Elem(), path)
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Slice:
		d.sequence(n, v, path)
	case reflect.Map:
		d.numbered(n, v, path)
	default:
		panic("config: schema type without a reader: " + v.Type().String())
	}
}

func (d *decoder) reject(n ast.Node, path, what, fix string) {
	d.bad[path] = true
	d.problem(where(n), what, fix)
}

// structure reads a mapping with fixed keys.
func (d *decoder) structure(n ast.Node, v reflect.Value, path string) {
	list, ok := entries(n)
	if !ok {
		d.reject(n, path, fmt.Sprintf("%s is %s", subject(path), describe(n)), "write it as keys with values")
		return
	}
	fields := fieldsOf(v.Type())
	seen := map[string]position{}
	for _, e := range list {
		key, at := keyText(e), where(e.Key)
		if first, twice := seen[key]; twice {
			d.problem(at, fmt.Sprintf("duplicate key %q, first on line %d", key, first.line), "remove one of them")
			continue
		}
		seen[key] = at
		index, known := fields[key]
		if !known {
			d.unknownKey(at, key, path, fields)
			continue
		}
		d.value(e.Value, v.FieldByIndex(index), join(path, key))
	}
}

// sequence reads a list.
func (d *decoder) sequence(n ast.Node, v reflect.Value, path string) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		d.reject(n, path, fmt.Sprintf("%s is %s", subject(path), describe(n)), "write it as a list: each element after a dash")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
	for i, e := range list.Values {
		defaultElement(v.Index(i).Addr().Interface())
		d.value(e, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

// numbered reads a mapping from numbers to names.
func (d *decoder) numbered(n ast.Node, v reflect.Value, path string) {
	list, ok := entries(n)
	if !ok {
		d.reject(n, path, fmt.Sprintf("%s is %s", subject(path), describe(n)), "write it as numbers with names, such as `1: A1`")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range list {
		number, err := strconv.ParseUint(keyText(e), 10, 32)
		if err != nil || number == 0 {
			d.problem(where(e.Key), fmt.Sprintf("key %q of %s is not a number from 1", keyText(e), lastKey(path)), "write it as `1: A1`")
			continue
		}
		key := reflect.ValueOf(uint32(number))
		if v.MapIndex(key).IsValid() {
			d.problem(where(e.Key), fmt.Sprintf("duplicate number %d", number), "remove one of them")
			continue
		}
		name := reflect.New(v.Type().Elem()).Elem()
		d.value(e.Value, name, fmt.Sprintf("%s.%d", path, number))
		v.SetMapIndex(key, name)
	}
}
