package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run writes the script from the command line's own model, so that it cannot fall behind.
func (c *completionCmd) Run(a *app) error {
	list := verbs(a.cli.Node, nil)
	var script string
	switch c.Shell {
	case "bash":
		script = bashCompletion(list)
	case "zsh":
		script = zshCompletion(list)
	default:
		script = fishCompletion(list)
	}
	if _, err := io.WriteString(a.out, script); err != nil {
		return fmt.Errorf("print completion: %w", err)
	}
	return nil
}

// verb is one command and what may follow it.
type verb struct {
	path  []string // empty: peerless itself
	words []string // subcommands and the values of arguments
	help  map[string]string
	flags []flag
}

type flag struct {
	name, help string
	takesFile  bool
	takesValue bool
}

// verbs lists a command and all below it, hidden ones left out.
func verbs(n *kong.Node, path []string) []verb {
	v := verb{path: path, help: map[string]string{}, flags: []flag{{name: "help", help: "Show help."}}}
	for _, p := range n.Positional {
		if p.Enum != "" {
			v.words = append(v.words, p.EnumSlice()...)
		}
	}
	for _, f := range n.Flags {
		if f.Hidden || f.Name == "help" {
			continue
		}
		v.flags = append(v.flags, flag{
			name: f.Name, help: f.Help, takesValue: !f.IsBool(), takesFile: slices.Contains([]string{"FILE", "PATH", "FILE.html"}, f.PlaceHolder),
		})
	}
	var below []verb
	for _, c := range n.Children {
		if c.Hidden || c.Type != kong.CommandNode {
			continue
		}
		v.words = append(v.words, c.Name)
		v.help[c.Name] = c.Help
		below = append(below, verbs(c, append(slices.Clone(path), c.Name))...)
	}
	return append([]verb{v}, below...)
}

// all is every word that may follow.
func (v verb) all() string {
	out := slices.Clone(v.words)
	for _, f := range v.flags {
		out = append(out, "--"+f.name)
	}
	return strings.Join(out, " ")
}

// fileFlags is the shell pattern of the flags that take a file.
func fileFlags(list []verb) string {
	var out []string
	for _, v := range list {
		for _, f := range v.flags {
			if name := "--" + f.name; f.takesFile && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return strings.Join(out, "|")
}

// cases writes, for a shell's case statement, each command that a word leads to, and the words that may follow each.
func cases(list []verb) (walk, follow string) {
	var w, f strings.Builder
	for _, v := range list {
		at := strings.Join(v.path, " ")
		if at != "" {
			fmt.Fprintf(&w, "      %q) at=%q ;;\n", at, at)
		}
		fmt.Fprintf(&f, "    %q) words=%q ;;\n", at, v.all())
	}
	return w.String(), f.String()
}

func bashCompletion(list []verb) string {
	walk, follow := cases(list)
	return fmt.Sprintf(`# bash completion of peerless. To load it: source <(peerless completion bash)
_peerless() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at="" words="" i
  COMPREPLY=()
  case $prev in
    %s) COMPREPLY=($(compgen -f -- "$cur")); return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${at:+$at }${COMP_WORDS[i]}" in
%s    esac
  done
  case $at in
%s  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _peerless peerless
`, fileFlags(list), walk, follow)
}

func zshCompletion(list []verb) string {
	walk, follow := cases(list)
	return fmt.Sprintf(`#compdef peerless
# zsh completion of peerless. To load it: source <(peerless completion zsh)
_peerless() {
  local at="" candidates="" i
  case ${words[CURRENT-1]} in
    %s) _files; return ;;
  esac
  for ((i = 2; i < CURRENT; i++)); do
    case "${at:+$at }${words[i]}" in
%s    esac
  done
  case $at in
%s  esac
  compadd -- ${=candidates}
}
compdef _peerless peerless
`, fileFlags(list), walk, strings.ReplaceAll(follow, ") words=", ") candidates="))
}

func fishCompletion(list []verb) string {
	var b strings.Builder
	b.WriteString("# fish completion of peerless. To load it: peerless completion fish | source\ncomplete -c peerless -f\n")
	for _, v := range list {
		condition := "__fish_use_subcommand"
		if len(v.path) > 0 {
			condition = "__fish_seen_subcommand_from " + strings.Join(v.path, "; and __fish_seen_subcommand_from ")
		}
		for _, w := range v.words {
			fmt.Fprintf(&b, "complete -c peerless -n %s -a %s -d %s\n", quoted(condition), w, quoted(v.help[w]))
		}
		for _, f := range v.flags {
			more := ""
			if f.takesValue {
				more = " -r"
			}
			if f.takesFile {
				more = " -r -F"
			}
			fmt.Fprintf(&b, "complete -c peerless -n %s -l %s -d %s%s\n", quoted(condition), f.name, quoted(f.help), more)
		}
	}
	return b.String()
}

// quoted is a word in single quotes, for fish.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
