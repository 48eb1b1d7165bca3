package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"peerless/internal/config"
	"peerless/internal/driver/rtnl"
	"peerless/internal/leaf"
	"peerless/internal/logkey"
)

type uninstallCmd struct {
	Config     string `required:"" placeholder:"FILE" help:"The node's config file."`
	KeepClosed bool   `help:"Leave closed the ports that peerless closed: a server's bond returns to any port that has carrier."`
	JSON       bool   `name:"json" help:"Print JSON: how much was put back, and what others changed since."`
}

// uninstalled is what was done.
type uninstalled struct {
	Name string `json:"name"`
	rtnl.Restored
}

// Run leaves the kernel as it was before the node's daemon ever ran. It moves no traffic away first: that is for drain.
func (c *uninstallCmd) Run(a *app) error {
	file, err := load(c.Config)
	if err != nil {
		return err
	}
	if err := requireCapabilities(file); err != nil {
		return err
	}
	common := file.Common()
	lock, err := takeLock(common)
	if errors.Is(err, errRuns) {
		return fmt.Errorf("uninstall %s: its daemon runs; stop it first: peerless stop --socket %s", common.Name, common.API.Socket)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	kernel, err := rtnl.New(rtnl.Options{
		StatePath: statePath(common, ".ports"), BeforePath: statePath(common, ".before"),
		Logger: newLogger(a.err, common).With(logkey.Driver, "rtnl"),
	})
	if err != nil {
		return wiring("kernel driver", err)
	}
	defer kernel.Close()
	if kernel.Elsewhere() {
		return fmt.Errorf("uninstall %s: its daemon ran in another network namespace; run this there", common.Name)
	}
	done := uninstalled{Name: common.Name}
	if done.Restored, err = kernel.Uninstall(c.KeepClosed); err != nil {
		return errors.Join(fmt.Errorf("uninstall %s, run it again when this is mended: %w", common.Name, err), done.print(a, c.JSON))
	}
	return errors.Join(removeFiles(common), done.print(a, c.JSON))
}

// removeFiles takes the records away, the lock last of them, and the socket that a killed daemon left.
func removeFiles(c *config.Common) error {
	paths := []string{statePath(c, ".ports"), statePath(c, ".before"), statePath(c, "."+leaf.DrainMemo)}
	if conn, err := net.Dial("unix", c.API.Socket); err == nil {
		_ = conn.Close() // somebody else's: ours is dead
	} else if info, err := os.Lstat(c.API.Socket); err == nil && info.Mode().Type() == fs.ModeSocket {
		paths = append(paths, c.API.Socket)
	}
	var errs []error
	for _, p := range append(paths, statePath(c, ".lock")) {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove state: %w", err))
		}
	}
	_ = os.Remove(c.StateDir) // if nothing else is in it
	return errors.Join(errs...)
}

func (u uninstalled) print(a *app, asJSON bool) error {
	if asJSON {
		return printJSON(a.out, u)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s: deleted %s, %s, %s; put back %s, %s, %s, %s, %s; opened %s\n", u.Name,
		counted(u.Routes, "route"), counted(u.Rules, "rule"), counted(u.Neighbors, "neighbour"), counted(u.Sysctls, "sysctl"),
		numbered(u.Addresses, "address", "addresses"), numbered(u.Hardware, "hardware address", "hardware addresses"),
		counted(u.Bridged, "bridge port"), numbered(u.Entries, "forwarding entry", "forwarding entries"), counted(u.Opened, "port"))
	for _, l := range u.Left {
		fmt.Fprintf(&text, "left: %s\n", l)
	}
	if _, err := a.out.Write([]byte(text.String())); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func numbered(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
