package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"peerless/internal/config"
)

// asPeerless makes this test binary behave as peerless itself.
const asPeerless = "PEERLESS_TEST_AS_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(asPeerless) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// result of one run of the binary.
type result struct {
	status      int
	out, errOut string
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asPeerless+"=1")
	return cmd
}

func peerless(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, command(args...))
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// inProcess runs a command line without a process, for what needs no signal and no namespace.
func inProcess(t *testing.T, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	status := execute(t.Context(), args, &out, &errOut)
	return result{status, out.String(), errOut.String()}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandLine_WrongUsage_IsOneLineAndStatus2(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "no.yaml")
	broken := write(t, "broken.yaml", "role: server\nname: C1\n")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown verb", []string{"levitate"}, "peerless: unexpected argument levitate; see peerless --help\n"},
		{"unknown flag", []string{"version", "--loud"}, "peerless: unknown flag --loud; see peerless --help\n"},
		{"missing flag", []string{"run"}, "peerless: missing flags: --config=FILE; see peerless --help\n"},
		{"missing argument", []string{"show"}, "peerless: expected \"<what>\"; see peerless --help\n"},
		{"unknown rows", []string{"show", "cables"}, "peerless: <what> must be one of \"ports\",\"hosts\",\"linkage\",\"mapping\",\"sessions\",\"failovers\",\"events\" but got \"cables\"; see peerless --help\n"},
		{"unknown role", []string{"config", "reference", "spine"}, "peerless: <role> must be one of \"leaf\",\"gateway\",\"server\" but got \"spine\"; see peerless --help\n"},
		{"follow what cannot be followed", []string{"show", "ports", "--follow"}, "peerless: --follow is for events; use `peerless watch` for ports\n"},
		{"watch too often", []string{"watch", "--interval", "1ms"}, "peerless: --interval 1ms is too short: use at least 100ms\n"},
		{"lab of no known topology", []string{"lab", "run", "ring"}, "peerless: no topology \"ring\": known are fig4, fig7, guests, two-gateways\n"},
		{"lab engine that does not exist", []string{"lab", "run", "fig7", "--engine", "rip"}, "peerless: engine \"rip\" is not known: known are bgp, frr-ospf, frr-bgp, bird-ospf, bird-bgp, static\n"},
		{"lab fault without its name", []string{"lab", "fault", "fig7"}, "peerless: one fault is needed: peerless lab fault [TOPOLOGY] FAULT\n"},
		{"lab exec without a command", []string{"lab", "exec", "fig7", "C1"}, "peerless: a node and a command are needed: peerless lab exec [TOPOLOGY] NODE -- COMMAND\n"},
		{"no config file", []string{"run", "--config", missing}, "peerless: read config " + missing + ": no such file or directory\n"},
		{"check without a file", []string{"check", "--config", missing}, "peerless: read config " + missing + ": no such file or directory\n"},
		{
			"bad config", []string{"run", "--config", broken},
			broken + ":1:1: required key \"link-pair\" is missing; add it; `peerless config reference server` explains it\n" +
				"    1 | role: server\n      | ^\npeerless: " + broken + ": 1 problem\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := peerless(t, tt.args...)
			if got.status != 2 || got.errOut != tt.want || got.out != "" {
				t.Errorf("status %d, stdout %q, stderr:\n%s\nwant:\n%s", got.status, got.out, got.errOut, tt.want)
			}
		})
	}
}

func TestCommandLine_HelpOfEveryVerb_NamesItsFlags(t *testing.T) {
	parser, err := kong.New(&commands{}, kong.Name("peerless"), kong.Writers(io.Discard, io.Discard), helpVars)
	if err != nil {
		t.Fatal(err)
	}
	list := verbs(parser.Model.Node, nil)
	if len(list) < 15 {
		t.Fatalf("only %d verbs", len(list))
	}
	for _, v := range list {
		t.Run("peerless "+strings.Join(v.path, " "), func(t *testing.T) {
			got := inProcess(t, append(slices.Clone(v.path), "--help")...)
			if got.status != 0 || got.errOut != "" {
				t.Fatalf("status %d, stderr %s", got.status, got.errOut)
			}
			for _, f := range v.flags {
				if !strings.Contains(got.out, "--"+f.name) {
					t.Errorf("flag --%s is not in the help:\n%s", f.name, got.out)
				}
				if f.help == "" {
					t.Errorf("flag --%s is not explained", f.name)
				}
			}
			if strings.Contains(got.out, "${") {
				t.Errorf("a variable is not filled in:\n%s", got.out)
			}
		})
	}
}

func TestConfigReference_EveryRole_IsWhatCheckAccepts(t *testing.T) {
	for _, role := range config.Roles() {
		got := peerless(t, "config", "reference", role)
		if got.status != 0 {
			t.Fatalf("%s: status %d: %s", role, got.status, got.errOut)
		}
		path := write(t, role+".yaml", got.out)
		if got := peerless(t, "check", "--config", path); got.status != 0 || !strings.Contains(got.out, path+": ok: "+role) {
			t.Errorf("%s: status %d\n%s%s", role, got.status, got.out, got.errOut)
		}
	}
}

func TestVersion_PrintsOneLine(t *testing.T) {
	if got := peerless(t, "version"); got.status != 0 || !strings.HasPrefix(got.out, "peerless ") || strings.Count(got.out, "\n") != 1 {
		t.Errorf("%+v", got)
	}
	if got := peerless(t, "version", "--json"); got.status != 0 || !strings.Contains(got.out, `"version":`) {
		t.Errorf("%+v", got)
	}
}

func TestReport_RuntimeFailure_IsStatus1OnOneLine(t *testing.T) {
	var out bytes.Buffer
	status := report(&out, errors.Join(errors.New("open a"), errors.New("open b")))
	if status != 1 || out.String() != "peerless: open a; open b\n" {
		t.Errorf("status %d, %q", status, out.String())
	}
}

func TestUntilSignal_Stop_EndsTheContext(t *testing.T) {
	ctx, stop := untilSignal()
	stop()
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Error("still running")
	}
}
