package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"
)

// rule is one row of the import law, over paths below internal/. "x/..." means everything below x, not x itself. The first row
// whose path fits applies.
type rule struct {
	path      string
	mayImport []string
}

var (
	contract = []string{"model", "step", "claim"}
	pureBase = append([]string{"liveness"}, contract...)
	roles    = []string{"leaf", "gateway", "server"}
	parts    = []string{"leaf/...", "gateway/...", "server/..."}
)

// imports go one way: model <- step, claim <- liveness and parts <- roles. Only cmd sees everything.
var importLaw = []rule{
	{"model", nil},
	{"step", []string{"model"}},
	{"step/steptest", []string{"model", "step"}},
	{"claim", []string{"model"}},
	{"liveness", contract},
	{"leaf/...", pureBase},
	{"gateway/...", pureBase},
	{"server/...", pureBase},
	{"leaf", append([]string{"leaf/..."}, pureBase...)},
	{"gateway", append([]string{"gateway/..."}, pureBase...)},
	{"server", append([]string{"server/..."}, pureBase...)},
	{"engine", contract},
	{"driver/bfd", append([]string{"driver/bfd/..."}, contract...)},
	{"driver/...", contract},
	{"config", slices.Concat(pureBase, roles, parts)},
	{"engineconf", []string{"model", "config"}},
	{"api", append([]string{"engine", "logkey"}, contract...)},
	{"web", []string{"api"}},
	{"scenario", nil},
	{"sim", slices.Concat(pureBase, roles, parts, []string{"engine", "guard", "scenario"})},
	{"sim/...", slices.Concat(pureBase, roles, parts, []string{"engine", "scenario", "sim", "sim/..."})},
	{"lab", append([]string{"api", "config", "engineconf", "logkey", "scenario", "lab/..."}, contract...)},
	{"lab/...", append([]string{"api", "config", "engineconf", "logkey", "scenario", "lab/..."}, contract...)},
	{"bench", append([]string{"config", "engineconf", "lab", "lab/...", "bench/..."}, contract...)},
	{"bench/...", nil},
	{"guard", []string{"model"}},
	{"logkey", nil},
	{"arch", nil},
	{"deps", nil},
}

var (
	purePaths = slices.Concat([]string{"model", "step", "claim", "liveness", "guard", "driver/bfd/session"}, roles, parts)

	bannedNames = []string{"common", "util", "utils", "helpers", "types", "core", "manager", "base", "misc"}

	// impureImports do I/O, read a clock, roll dice or share memory.
	impureImports = []string{"os", "os/...", "net", "net/...", "log", "log/...", "math/rand", "math/rand/...", "crypto/rand", "sync",
		"sync/...", "context", "io/fs", "io/ioutil", "syscall", "runtime", "runtime/...", "golang.org/x/sys/..."}
	pureAfterAll = []string{"net/netip"}

	// mapIterators give a map's elements in map order.
	mapIterators = []string{"Keys", "Values", "All"}

	// impureNames are what the otherwise pure packages time and fmt offer of that kind.
	impureNames = map[string][]string{
		"time": {"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"},
		"fmt":  {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
	}
)

// fits reports whether path is what one of the patterns means.
func fits(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if below, ok := strings.CutSuffix(p, "..."); ok {
			return strings.HasPrefix(path, below)
		}
		return path == p
	})
}

// source is one package without its tests.
type source struct {
	path  string // below internal/
	fset  *token.FileSet
	files []*ast.File
	types map[ast.Expr]types.TypeAndValue // of pure packages
}

func (s *source) pure() bool { return fits(s.path, purePaths) }

// check gives every violation in the package as "file:line: law: what".
func (s *source) check() []string {
	var found []string
	report := func(at token.Pos, law, format string, args ...any) {
		p := s.fset.Position(at)
		found = append(found, fmt.Sprintf("%s:%d: %s: %s", p.Filename, p.Line, law, fmt.Sprintf(format, args...)))
	}
	if s.pure() {
		for _, f := range s.files {
			checkImpureImports(f, report)
			checkPurity(f, s, report)
		}
	}
	for _, f := range s.files {
		if slices.Contains(bannedNames, f.Name.Name) {
			report(f.Name.Pos(), "banned package name", "%s says nothing about what the package is for", f.Name.Name)
		}
		checkImports(s.path, f, report)
	}
	slices.SortFunc(found, cmp.Compare)
	return found
}

type reporter func(at token.Pos, law, format string, args ...any)

// modulePrefix is what our own packages' import paths start with.
const modulePrefix = "peerless/internal/"

func checkImports(path string, f *ast.File, report reporter) {
	row := slices.IndexFunc(importLaw, func(r rule) bool { return fits(path, []string{r.path}) })
	if row < 0 {
		report(f.Name.Pos(), "import law", "%s has no row in it: add one to internal/arch/law_test.go", path)
		return
	}
	for _, spec := range f.Imports {
		to, ours := strings.CutPrefix(importPath(spec), modulePrefix)
		if ours && !fits(to, importLaw[row].mayImport) {
			report(spec.Pos(), "import law", "%s may not import %s, only %s", path, to, orNothing(importLaw[row].mayImport))
		}
	}
}

func orNothing(patterns []string) string {
	if len(patterns) == 0 {
		return "nothing of ours"
	}
	return strings.Join(patterns, ", ")
}

func importPath(spec *ast.ImportSpec) string {
	path, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser accepted it
	}
	return path
}

func checkImpureImports(f *ast.File, report reporter) {
	for _, spec := range f.Imports {
		if path := importPath(spec); fits(path, impureImports) && !fits(path, pureAfterAll) {
			report(spec.Pos(), "pure packages do no I/O", "import of %s", path)
		}
	}
}

// checkPurity looks at what the code does: goroutines, clocks, and map order that may reach output.
func checkPurity(f *ast.File, s *source, report reporter) {
	const noOrder = "no map order in output"
	imported := localNames(f)
	ordered := orderComments(f, s.fset)
	sorted := make(map[ast.Expr]bool) // arguments of slices.Sorted and its kin
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n.Pos(), "pure packages start no goroutine", "go statement")
		case *ast.SelectorExpr:
			if pkg, name := qualified(n, imported); slices.Contains(impureNames[pkg], name) {
				report(n.Pos(), "pure packages do no I/O", "%s.%s", pkg, name)
			}
		case *ast.CallExpr:
			switch pkg, name := qualified(n.Fun, imported); {
			case pkg == "slices" && strings.HasPrefix(name, "Sorted"):
				sorted[n.Args[0]] = true
			case pkg == "maps" && slices.Contains(mapIterators, name) && !sorted[n] && !ordered(n.Pos()):
				report(n.Pos(), noOrder, "maps.%s neither sorted nor with an `// order:` comment that says why it is harmless", name)
			}
		case *ast.RangeStmt:
			if n.Key != nil && isMap(s.types[n.X].Type) && !ordered(n.Pos()) {
				report(n.Pos(), noOrder, "range over a map without an `// order:` comment that says why it is harmless")
			}
		}
		return true
	})
}

// localNames maps the names that a file gives its imports to their paths.
func localNames(f *ast.File) map[string]string {
	imported := make(map[string]string)
	for _, spec := range f.Imports {
		path := importPath(spec)
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = path
	}
	return imported
}

// qualified splits pkg.Name into the imported path and the name.
func qualified(e ast.Expr, imported map[string]string) (path, name string) {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	pkg, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return imported[pkg.Name], sel.Sel.Name
}

// isMap reports whether ranging over the type goes in map order; of a type parameter it looks at the constraint.
func isMap(t types.Type) bool {
	if t == nil {
		return false
	}
	constraint, ok := t.Underlying().(*types.Interface)
	if !ok {
		_, ok := t.Underlying().(*types.Map)
		return ok
	}
	for embedded := range constraint.EmbeddedTypes() {
		union, ok := embedded.(*types.Union)
		if ok && union.Len() > 0 && isMap(union.Term(0).Type()) {
			return true
		}
	}
	return false
}

// orderComments finds the comments that begin with "order:" and so give a reason. They speak for the line that they end on and for
// the next. It returns the question whether a position is spoken for.
func orderComments(f *ast.File, fset *token.FileSet) func(at token.Pos) bool {
	spoken := make(map[int]bool)
	for _, group := range f.Comments {
		for _, c := range group.List {
			reason, ok := strings.CutPrefix(c.Text, "// order:")
			if ok && strings.TrimSpace(reason) != "" {
				last := fset.Position(group.End()).Line
				spoken[last], spoken[last+1] = true, true
			}
		}
	}
	return func(at token.Pos) bool { return spoken[fset.Position(at).Line] }
}
