package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"strings"
)

// module is one loadable part of the kernel.
type module struct {
	name  string // with underscores, as the kernel tells it
	needs []string
	image []byte
}

// readModule reads what a module says of itself in its .modinfo section: strings of the form key=value.
func readModule(image []byte) (module, error) {
	m := module{image: image}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return m, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return m, fmt.Errorf("no .modinfo section")
	}
	info, err := io.ReadAll(s.Open())
	if err != nil {
		return m, err
	}
	for line := range strings.SplitSeq(string(info), "\x00") {
		switch key, value, _ := strings.Cut(line, "="); key {
		case "name":
			m.name = value
		case "depends":
			m.needs = strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
		}
	}
	if m.name == "" {
		return m, fmt.Errorf("it does not say its name")
	}
	return m, nil
}

// inOrder gives the wanted modules and all that they need, each after what it needs. What this kernel has built in need not be
// among the modules, but a dependency is always a module.
func inOrder(all map[string]module, wanted []string) ([]module, error) {
	var out []module
	state := map[string]int{} // 1: being looked at, 2: in the list
	var visit func(name, by string) error
	visit = func(name, by string) error {
		name = strings.ReplaceAll(name, "-", "_")
		m, there := all[name]
		switch {
		case state[name] == 2:
			return nil
		case state[name] == 1:
			return fmt.Errorf("module %s: needs itself by way of %s", name, by)
		case !there:
			return fmt.Errorf("module %s, wanted by %s, is not in the kernel package", name, by)
		}
		state[name] = 1
		for _, n := range m.needs {
			if err := visit(n, name); err != nil {
				return err
			}
		}
		state[name] = 2
		out = append(out, m)
		return nil
	}
	for _, w := range wanted {
		if err := visit(w, "us"); err != nil {
			return nil, err
		}
	}
	return out, nil
}
