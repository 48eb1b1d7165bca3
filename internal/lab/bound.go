package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"peerless/internal/lab/matrix"
	"peerless/internal/lab/report"
)

// memory reads the resident memory of the daemons that are to stay within bounds, in MiB.
func (in *instance) memory(bounds []matrix.Bound) (map[string]int, error) {
	out := map[string]int{}
	for _, b := range bounds {
		p, err := in.daemon(b.Node)
		if err != nil {
			return nil, err
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
		if err != nil {
			return nil, fmt.Errorf("read memory of %s: %w", b.Node, err)
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		kib, err := strconv.Atoi(strings.Fields(rest + " none")[0])
		if err != nil {
			return nil, fmt.Errorf("read memory of %s: %w", b.Node, err)
		}
		out[b.Node] = kib / 1024
	}
	return out, nil
}

// unbounded says which daemon holds more than it may.
func (r *runner) unbounded(c matrix.Case, out *report.Fault, before map[string]int) ([]string, error) {
	after, err := r.memory(c.Bounds)
	if err != nil {
		return nil, err
	}
	var findings []string
	for _, b := range c.Bounds {
		r.say("%s: %s had %d MiB, has %d", c.Name, b.Node, before[b.Node], after[b.Node])
		if after[b.Node] > before[b.Node]+b.Growth {
			findings = append(findings, fmt.Sprintf("%s grew from %d to %d MiB", b.Node, before[b.Node], after[b.Node]))
		}
		held := 0
		for _, h := range out.Nodes[b.Node].Hosts {
			if string(h.Port) == b.Port && h.State != "remembered" {
				held++
			}
		}
		if b.Port != "" && held > b.Hosts {
			findings = append(findings, fmt.Sprintf("%s has %d hosts on %s", b.Node, held, b.Port))
		}
	}
	return findings, nil
}
