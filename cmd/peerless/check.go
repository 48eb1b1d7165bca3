package main

import (
	"errors"
	"fmt"

	"peerless/internal/config"
)

type checkCmd struct {
	Config    string `required:"" placeholder:"FILE" help:"The config file to check."`
	Effective bool   `help:"Print the config with every default filled in; a password is hidden."`
	JSON      bool   `name:"json" help:"Print JSON: problems of the file, and findings on this machine."`
}

// verdict is the result of a check. Problems are of the file and make it unusable; findings are of this machine or of the design,
// and the daemon starts all the same.
type verdict struct {
	OK       bool            `json:"ok"`
	File     string          `json:"file"`
	Role     string          `json:"role,omitempty"`
	Name     string          `json:"name,omitempty"`
	Problems config.Problems `json:"problems"`
	Findings []finding       `json:"findings"`
	Config   string          `json:"effective,omitempty"`
}

func (c *checkCmd) Run(a *app) error {
	file, err := load(c.Config)
	var problems config.Problems
	switch {
	case err == nil:
	case c.JSON && errors.As(err, &problems):
		v := verdict{File: c.Config, Problems: problems, Findings: []finding{}}
		return errors.Join(usageError{errReported}, printJSON(a.out, v))
	default:
		return err
	}
	v := verdict{
		OK: true, File: c.Config, Role: file.Common().Role, Name: file.Common().Name,
		Problems: config.Problems{}, Findings: append([]finding{}, inspect(file, thisMachine())...),
	}
	if c.Effective {
		b, err := config.Effective(effective(file))
		if err != nil {
			return err
		}
		v.Config = string(b)
	}
	if c.JSON {
		return printJSON(a.out, v)
	}
	return c.print(a, v)
}

// print writes findings to stderr when the config itself goes to stdout, so that it can be redirected to a file.
func (c *checkCmd) print(a *app, v verdict) error {
	to := a.out
	if c.Effective {
		to = a.err
		if _, err := fmt.Fprint(a.out, v.Config); err != nil {
			return fmt.Errorf("print effective config: %w", err)
		}
	}
	for _, f := range v.Findings {
		if _, err := fmt.Fprintf(to, "%s: %s: %s; %s\n", f.Level, f.Subject, f.What, f.Do); err != nil {
			return fmt.Errorf("print finding: %w", err)
		}
	}
	_, err := fmt.Fprintf(to, "%s: ok: %s %s, %s\n", v.File, v.Role, v.Name, counted(len(v.Findings), "finding"))
	return err
}

// hidden stands for a password that is set.
const hidden = "(hidden)"

// effective is the role's config as it is in force. It gets pasted into tickets: the password is hidden.
func effective(file *config.File) any {
	hide := func(b *config.BGP) {
		if b.Password != "" {
			b.Password = hidden
		}
	}
	switch {
	case file.Leaf != nil:
		hide(&file.Leaf.BGP)
		return file.Leaf
	case file.Gateway != nil:
		hide(&file.Gateway.BGP)
		return file.Gateway
	default:
		return file.Server
	}
}
