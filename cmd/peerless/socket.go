package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"peerless/internal/api"
	"peerless/internal/config"
)

// runDir is a variable so that tests need not touch the machine's own.
var runDir = config.RunDir

// helpVars are the values that help texts name.
var helpVars = kong.Vars{"rundir": config.RunDir}

// daemonFlags say which daemon is asked.
type daemonFlags struct {
	Socket string `placeholder:"PATH" help:"The daemon's socket. Default: the only one in ${rundir}."`
}

// client finds the daemon to ask.
func (f daemonFlags) client() (*api.Client, error) {
	if f.Socket != "" {
		return api.NewClient(f.Socket), nil
	}
	found, err := filepath.Glob(filepath.Join(runDir, "*.sock"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("look for daemons in %s: %w", runDir, err)
	case len(found) == 0:
		return nil, errors.New("no daemon's socket in " + runDir + "; start one with `peerless run`, or name its socket with --socket")
	case len(found) > 1:
		return nil, usageError{errors.New("several daemons run here; name one with --socket: " + strings.Join(found, ", "))}
	}
	return api.NewClient(found[0]), nil
}
