package arch

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the repository, as seen from this package.
const root = "../.."

func TestLaw_Repository_KeepsIt(t *testing.T) {
	tree, err := loadTree(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range tree.order {
		s := tree.sources[p]
		if s.pure() {
			if err := tree.typeCheck(p); err != nil {
				t.Errorf("type check %s: %v", p, err)
			}
		}
		for _, violation := range s.check() {
			t.Error(violation)
		}
	}
}

func TestLaw_Violation_IsFoundWithItsLine(t *testing.T) {
	tests := []struct {
		name string
		path string
		code string // after "package x" on line 1
		want string // empty: none
	}{
		{"role imports role", "leaf", `import _ "peerless/internal/gateway"`, "x.go:2: import law: leaf may not import gateway"},
		{"role imports its part", "leaf", `import _ "peerless/internal/leaf/linkage"`, ""},
		{"role imports another role's part", "leaf", `import _ "peerless/internal/server/linkpair"`, "import law"},
		{"part imports its sibling", "leaf/linkage", `import _ "peerless/internal/leaf/neighbor"`, "import law"},
		{"part imports its role", "leaf/linkage", `import _ "peerless/internal/leaf"`, "import law"},
		{"engine imports a role", "engine", `import _ "peerless/internal/leaf"`, "import law"},
		{"driver imports the engine", "driver/bgp", `import _ "peerless/internal/engine"`, "import law"},
		{"driver imports another driver", "driver/bgp", `import _ "peerless/internal/driver/rtnl"`, "import law"},
		{"simulator imports a role", "sim", `import _ "peerless/internal/leaf"`, ""},
		{"simulator imports a driver", "sim", `import _ "peerless/internal/driver/bgp"`, "import law"},
		{"config imports a part", "config", `import _ "peerless/internal/leaf/linkage"`, ""},
		{"lab imports a role", "lab/topology", `import _ "peerless/internal/leaf"`, "import law"},
		{"package without a row", "surprise", ``, "x.go:1: import law: surprise has no row"},

		{"I/O package", "model", `import _ "os"`, "x.go:2: pure packages do no I/O: import of os"},
		{"I/O package below", "model", `import _ "log/slog"`, "import of log/slog"},
		{"addresses", "model", `import _ "net/netip"`, ""},
		{"I/O package in a driver", "driver/bgp", `import _ "os"`, ""},
		{"clock", "liveness", "import \"time\"\nvar _ = time.Now()", "x.go:3: pure packages do no I/O: time.Now"},
		{"clock as a value, renamed", "liveness", "import t \"time\"\nvar _ = t.Since", "time.Since"},
		{"duration", "liveness", "import \"time\"\nconst _ = time.Second", ""},
		{"goroutine", "leaf/linkage", "func f() { go f() }", "x.go:2: pure packages start no goroutine"},
		{"goroutine in the engine", "engine", "func f() { go f() }", ""},

		{"map range", "leaf", "func f(m map[int]int) {\n\tfor range 2 {}\n\tfor k := range m { _ = k }\n}", "x.go:4: no map order in output"},
		{"map range over a named type", "leaf", "type t map[int]int\nfunc f(m t) { for k := range m { _ = k } }", "no map order"},
		{"map range over a type parameter", "leaf", "func f[M ~map[int]int](m M) { for k := range m { _ = k } }", "no map order"},
		{"map range that only counts", "leaf", "func f(m map[int]int) { for range m {} }", ""},
		{"map range with a reason above", "leaf", "func f(m map[int]int) {\n\t// order: a sum\n\t// has none\n\tfor k := range m { _ = k }\n}", ""},
		{"map range with a reason on its line", "leaf", "func f(m map[int]int) {\n\tfor k := range m { // order: a sum\n\t_ = k }\n}", ""},
		{"map range with a comment but no reason", "leaf", "func f(m map[int]int) {\n\t// order:\n\tfor k := range m { _ = k }\n}", "no map order"},
		{"slice range", "leaf", "func f(s []int) { for i := range s { _ = i } }", ""},
		{"unsorted keys", "leaf", "import \"maps\"\nfunc f(m map[int]int) { for k := range maps.Keys(m) { _ = k } }", "x.go:3: no map order in output: maps.Keys"},
		{"sorted keys", "leaf", "import (\"maps\"; \"slices\")\nfunc f(m map[int]int) { _ = slices.Sorted(maps.Keys(m)) }", ""},
		{"map range in the engine", "engine", "func f(m map[int]int) { for k := range m { _ = k } }", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			found := strings.Join(parse(t, tc.path, "package x\n"+tc.code).check(), "\n")
			if (found == "") != (tc.want == "") || !strings.Contains(found, tc.want) {
				t.Errorf("found %q, want %q", found, tc.want)
			}
		})
	}
}

func TestLaw_BannedPackageName_IsFound(t *testing.T) {
	for _, name := range bannedNames {
		if found := parse(t, "api", "package "+name).check(); len(found) != 1 || !strings.Contains(found[0], "banned package name") {
			t.Errorf("package %s: found %q", name, found)
		}
	}
}

// parse makes a package of one file, x.go. What it imports stays unknown.
func parse(t *testing.T, p, code string) *source {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "x.go", code, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	s := &source{path: p, fset: fset, files: []*ast.File{f}, types: make(map[ast.Expr]types.TypeAndValue)}
	lenient := types.Config{Error: func(error) {}}
	_, _ = lenient.Check(p, fset, s.files, &types.Info{Types: s.types})
	return s
}

// tree is every package below internal/.
type tree struct {
	fset    *token.FileSet
	sources map[string]*source // by path below internal/
	order   []string
	checked map[string]*types.Package
	stdlib  types.Importer // for everything that is not ours
}

func loadTree(root string) (*tree, error) {
	if build.Default.GOROOT == "" { // built with -trimpath
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return nil, fmt.Errorf("find the standard library: %w", err)
		}
		build.Default.GOROOT = strings.TrimSpace(string(out))
	}
	t := &tree{fset: token.NewFileSet(), sources: make(map[string]*source), checked: make(map[string]*types.Package)}
	t.stdlib = importer.ForCompiler(t.fset, "source", nil)
	internal := filepath.Join(root, "internal")
	err := filepath.WalkDir(internal, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "testdata":
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		return t.load(internal, file)
	})
	for p := range t.sources {
		t.order = append(t.order, p)
	}
	slices.Sort(t.order)
	return t, err
}

func (t *tree) load(internal, file string) error {
	code, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	below, err := filepath.Rel(internal, file)
	if err != nil {
		return err
	}
	name := path.Join("internal", filepath.ToSlash(below))
	f, err := parser.ParseFile(t.fset, name, code, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	p := path.Dir(filepath.ToSlash(below))
	if t.sources[p] == nil {
		t.sources[p] = &source{path: p, fset: t.fset, types: make(map[ast.Expr]types.TypeAndValue)}
	}
	t.sources[p].files = append(t.sources[p].files, f)
	return nil
}

// typeCheck fills in the types of a package and of all of ours that it imports.
func (t *tree) typeCheck(p string) error {
	_, err := t.Import(modulePrefix + p)
	return err
}

// Import makes the tree an importer of its own packages.
func (t *tree) Import(importPath string) (*types.Package, error) {
	p, ours := strings.CutPrefix(importPath, modulePrefix)
	if !ours {
		return t.stdlib.Import(importPath)
	}
	s := t.sources[p]
	if s == nil {
		return nil, fmt.Errorf("no package %s", importPath)
	}
	if t.checked[p] == nil {
		config := types.Config{Importer: t}
		pkg, err := config.Check(importPath, t.fset, s.files, &types.Info{Types: s.types})
		if err != nil {
			return nil, err
		}
		t.checked[p] = pkg
	}
	return t.checked[p], nil
}
