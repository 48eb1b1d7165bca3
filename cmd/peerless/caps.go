package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"peerless/internal/config"
)

// capability is what the kernel must allow this process, and what for.
type capability struct {
	bit  uint
	name string
	use  string
}

// needed lists the capabilities of a role.
func needed(file *config.File) []capability {
	out := []capability{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "routes, neighbours and port state"}}
	if g := file.Gateway; g == nil || g.Routes.Mode != config.RoutesKernel {
		out = append(out, capability{unix.CAP_NET_RAW, "CAP_NET_RAW", "ARP on the ports"})
	}
	if g := file.Gateway; g != nil && g.Routes.Mode == config.RoutesBGP && int(g.BGP.Port) < unprivilegedPort() {
		out = append(out, capability{unix.CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", fmt.Sprintf("listening on TCP port %d", g.BGP.Port)})
	}
	return out
}

// unprivilegedPort is the first TCP port that anybody may listen on.
func unprivilegedPort() int {
	const usual = 1024
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return usual
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return usual
	}
	return n
}

// lacking is the part of the list that this process does not have.
func lacking(list []capability) ([]capability, error) {
	effective, err := effectiveCapabilities()
	if err != nil {
		return nil, err
	}
	var out []capability
	for _, c := range list {
		if effective&(1<<c.bit) == 0 {
			out = append(out, c)
		}
	}
	return out, nil
}

func effectiveCapabilities() (uint64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(text), 16, 64)
		}
	}
	return 0, errors.Join(errors.New("read own capabilities: /proc/self/status names none"), lines.Err())
}

// requireCapabilities names what is missing before anything is half done.
func requireCapabilities(file *config.File) error {
	missing, err := lacking(needed(file))
	if err != nil || len(missing) == 0 {
		return err
	}
	var parts []string
	for _, c := range missing {
		parts = append(parts, c.name+" (for "+c.use+")")
	}
	return fmt.Errorf("missing privilege: %s; run as root, or grant it to the service", strings.Join(parts, ", "))
}
