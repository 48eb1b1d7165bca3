package logkey

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// listed reads the list from its source, so that a constant cannot be forgotten here.
func listed(t *testing.T) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "logkey.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			out[text(lit)] = true
		}
		return true
	})
	return out
}

func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// keysOf gives the keys written out in one call, if it logs: logger methods take them after the message, slog's constructors first.
func keysOf(call *ast.CallExpr) []string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	name := ""
	switch x := sel.X.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	lower := strings.ToLower(name)
	isLogger := strings.HasPrefix(lower, "log") || name == "slog"
	var from, every int
	switch sel.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
		from, every = 1, 2
	case "With":
		from, every = 0, 2
	case "String", "Int", "Int64", "Uint64", "Bool", "Any", "Duration":
		from, every, isLogger = 0, 9, name == "slog"
	default:
		return nil
	}
	if !isLogger {
		return nil
	}
	var out []string
	for i := from; i < len(call.Args); i += every {
		if key := text(call.Args[i]); key != "" {
			out = append(out, key)
		}
	}
	return out
}

func TestLogKeys_EveryLiteral_IsListed(t *testing.T) {
	known := listed(t)
	found := map[string][]string{}
	for _, root := range []string{"..", "../../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					for _, key := range keysOf(call) {
						found[key] = append(found[key], path)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if !known[key] {
			t.Errorf("log key %q of %s is not in the list", key, strings.Join(slices.Compact(found[key]), ", "))
		}
	}
}
