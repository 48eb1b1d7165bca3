package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"peerless/internal/config"
)

type systemdCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The node's config file."`
	Guard  bool   `help:"Print the unit of the leaf's guard instead."`
}

// Run prints a unit. What matters in it: state outlives a stop, an orderly end is the end, and a crash is short.
func (c *systemdCmd) Run(a *app) error {
	file, err := load(c.Config)
	if err != nil {
		return err
	}
	path, err := filepath.Abs(c.Config)
	if err != nil {
		return fmt.Errorf("find %s: %w", c.Config, err)
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own binary: %w", err)
	}
	text := unit{file.Common(), binary, path}.daemon()
	if c.Guard {
		if err := guardable(file); err != nil {
			return err
		}
		text = unit{file.Common(), binary, path}.guard()
	}
	if _, err := io.WriteString(a.out, text); err != nil {
		return fmt.Errorf("print unit: %w", err)
	}
	return nil
}

type unit struct {
	common         *config.Common
	binary, config string
}

func (u unit) daemon() string {
	return fmt.Sprintf(`# /etc/systemd/system/peerless-%[1]s.service
[Unit]
Description=peerless %[2]s %[1]s
After=network.target

[Service]
ExecStart=%[3]s run --config %[4]s
# A crash is over in a moment; after an orderly end (peerless stop) it stays ended.
Restart=on-failure
RestartSec=50ms
%[5]sOOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`, u.common.Name, u.common.Role, u.binary, u.config, u.directory())
}

func (u unit) guard() string {
	return fmt.Sprintf(`# /etc/systemd/system/peerless-%[1]s-guard.service
[Unit]
Description=peerless guard of leaf %[1]s

[Service]
ExecStart=%[2]s guard --config %[3]s
Restart=always
RestartSec=1s
%[4]sOOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`, u.common.Name, u.binary, u.config, u.directory())
}

// directory keeps the state directory through a stop: it says which ports are ours, and what was before us.
func (u unit) directory() string {
	name, ok := strings.CutPrefix(u.common.StateDir, "/run/")
	if !ok {
		return ""
	}
	return fmt.Sprintf("RuntimeDirectory=%s\nRuntimeDirectoryPreserve=yes\n", name)
}
