package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"peerless/internal/lab"
)

// matrixFlags are those of the fault matrix only.
type matrixFlags struct {
	Case     []string `placeholder:"NAME" help:"With matrix: only these cases. May be repeated."`
	Profile  string   `placeholder:"PROFILE" help:"With matrix: how soon the daemons notice a silent fault, default or fast."`
	Markdown string   `placeholder:"FILE.md" help:"With matrix: also write the table into the section 'Fault matrix' of this document."`
	From     []string `placeholder:"FILE.json" help:"With matrix: run nothing, show what earlier runs printed with --json. May be repeated."`
}

// none refuses the flags where they mean nothing.
func (f *matrixFlags) none() error {
	if len(f.Case) > 0 || f.Profile != "" || f.Markdown != "" || len(f.From) > 0 {
		return usageError{errors.New("--case, --profile, --markdown and --from go with: peerless lab run matrix")}
	}
	return nil
}

// matrix exits with 1 when a case missed its limit.
func (c *labRunCmd) matrix(a *app) error {
	if c.Keep || c.Slow != 1 || c.Engine != lab.EngineBGP || c.Gateway != lab.GatewayPeerless {
		return usageError{errors.New("lab run matrix: --keep, --engine and --gateway do not go with it")}
	}
	res, err := c.matrixResult(a)
	if res == nil {
		return labError(err)
	}
	if c.JSON {
		err = errors.Join(err, printJSON(a.out, res))
	} else {
		err = errors.Join(err, res.WriteTable(a.out))
	}
	if c.Markdown != "" {
		err = errors.Join(err, writeSection(c.Markdown, matrixHeading, res.Markdown()))
	}
	switch {
	case err != nil:
		return labError(err)
	case !res.OK:
		return errors.New("lab run matrix: not ok; the table says which cases missed")
	}
	return nil
}

func (c *labRunCmd) matrixResult(a *app) (*lab.Matrix, error) {
	if len(c.From) == 0 {
		return lab.RunMatrix(a.ctx, lab.MatrixOptions{
			Options: lab.Options{Report: c.Report, Progress: a.err, Runs: c.Runs}, Cases: c.Case, Profile: c.Profile,
		})
	}
	var parts []*lab.Matrix
	for _, path := range c.From {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read earlier run: %w", err)
		}
		var m lab.Matrix
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("read earlier run %s: %w", path, err)
		}
		parts = append(parts, &m)
	}
	return lab.JoinMatrix(parts), nil
}

const matrixHeading = "Fault matrix"

// writeSection replaces a section of the second level, or adds it at the end.
func writeSection(path, heading, body string) error {
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("write section %s: %w", heading, err)
	}
	if err := os.WriteFile(path, []byte(withSection(string(b), heading, body)), 0o644); err != nil {
		return fmt.Errorf("write section %s: %w", heading, err)
	}
	return nil
}

func withSection(text, heading, body string) string {
	section := "## " + heading + "\n\n" + strings.TrimSpace(body) + "\n"
	before, rest, found := cutLine(text, "## "+heading)
	if !found {
		return strings.TrimRight(text, "\n") + "\n\n" + section
	}
	if i := strings.Index(rest, "\n## "); i >= 0 {
		return before + section + "\n" + rest[i+1:]
	}
	return before + section
}

// cutLine cuts around a whole line.
func cutLine(text, line string) (before, after string, found bool) {
	at := 0
	for l := range strings.Lines(text) {
		if strings.TrimRight(l, "\n") == line {
			return text[:at], text[at+len(line):], true
		}
		at += len(l)
	}
	return text, "", false
}
