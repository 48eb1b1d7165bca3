package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// lack skips a test for what the machine lacks, and fails it where nobody would see the skip.
func lack(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func shell(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lack(t, name+" is not installed")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestCompletion_EveryShell_AcceptsTheScript(t *testing.T) {
	for name, check := range map[string][]string{"bash": {"-n"}, "zsh": {"-n"}, "fish": {"--no-execute"}} {
		t.Run(name, func(t *testing.T) {
			got := inProcess(t, "completion", name)
			if got.status != 0 || !strings.Contains(got.out, "peerless") {
				t.Fatalf("%+v", got)
			}
			shell(t, name, append(check, write(t, "script", got.out))...)
		})
	}
}

func TestCompletion_Bash_OffersWhatMayFollow(t *testing.T) {
	script := write(t, "script", inProcess(t, "completion", "bash").out)
	for _, tt := range []struct{ line, want string }{
		{"sh", "show"},
		{"show ", "ports hosts linkage mapping sessions failovers events --help --json --follow --socket"},
		{"show ma", "mapping"},
		{"config ", "reference frr bird systemd --help"},
		{"config reference ", "leaf gateway server --help"},
		{"show ports --j", "--json"},
		{"run --c", "--config"},
		{"check --config " + script[:len(script)-2], script},
	} {
		t.Run(tt.line, func(t *testing.T) {
			words := strings.Split("peerless "+tt.line, " ")
			var quoted strings.Builder
			for _, w := range words {
				quoted.WriteString(" '" + w + "'")
			}
			got := shell(t, "bash", "-c", "source "+script+"; COMP_WORDS=("+quoted.String()+
				"); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _peerless; echo \"${COMPREPLY[*]}\"")
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
