package main

import (
	"fmt"
	"io"

	"peerless/internal/config"
)

type configCmd struct {
	Reference referenceCmd `cmd:"" help:"Print the reference config of a role: every key explained."`
	FRR       frrCmd       `cmd:"" name:"frr" help:"Print the frr.conf that fits a leaf or gateway."`
	BIRD      birdCmd      `cmd:"" name:"bird" help:"Print the bird.conf that fits a leaf or gateway."`
	Systemd   systemdCmd   `cmd:"" name:"systemd" help:"Print the unit that runs a node's daemon, or a leaf's guard."`
}

type referenceCmd struct {
	Role string `arg:"" enum:"leaf,gateway,server" help:"leaf, gateway or server."`
}

func (c *referenceCmd) Run(a *app) error {
	text, err := config.Reference(c.Role)
	if err != nil {
		return usageError{err}
	}
	if _, err := io.WriteString(a.out, text); err != nil {
		return fmt.Errorf("print reference config: %w", err)
	}
	return nil
}
