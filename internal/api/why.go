package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"peerless/internal/engine"
	"peerless/internal/model"
	"peerless/internal/step"
)

// Why is all that a daemon knows of one host or port: how it is, and how it came to be so.
type Why struct {
	Subject   string            `json:"subject"`
	Ports     []step.PortRow    `json:"ports"`
	Hosts     []step.HostRow    `json:"hosts"`
	Linkage   []step.LinkageRow `json:"linkage"`
	Mapping   []step.MappingRow `json:"mapping"`
	Sessions  []step.SessionRow `json:"sessions"`
	Failovers []engine.Failover `json:"failovers"`
	Events    []engine.Entry    `json:"events"`
}

func (o Options) why(_ http.ResponseWriter, r *http.Request) (any, error) {
	subject := r.URL.Query().Get("subject")
	if subject == "" {
		return nil, refusal{http.StatusBadRequest, "subject is missing: /v1/why?subject=HOST or PORT"}
	}
	// An address may be written with its prefix length, as routes are.
	if p, err := netip.ParsePrefix(subject); err == nil && p.IsSingleIP() {
		subject = p.Addr().String()
	}
	v, err := o.view(r)
	if err != nil {
		return nil, err
	}
	out := explain(subject, v, o.Journal)
	if len(out.Ports)+len(out.Hosts)+len(out.Linkage)+len(out.Mapping)+len(out.Sessions)+len(out.Events) == 0 {
		return nil, refusal{http.StatusNotFound, fmt.Sprintf("%s knows no host, port or server port %q", o.Status.Name, subject)}
	}
	return out, nil
}

func explain(subject string, v step.View, j Journal) Why {
	port := model.Port(subject)
	addr, _ := netip.ParseAddr(subject)
	out := Why{
		Subject: subject,
		Ports:   pick(v.Ports, func(p step.PortRow) bool { return p.Port == port || p.ServerPort == subject }),
		Hosts: pick(v.Hosts, func(h step.HostRow) bool {
			return (addr.IsValid() && h.Addr == addr) || h.Port == port || h.ServerPort == subject || h.MAC == subject
		}),
		Linkage: pick(v.Linkage, func(l step.LinkageRow) bool {
			return l.Group == subject || slices.Contains(l.Uplinks, port) || slices.Contains(l.Downlinks, port)
		}),
		Mapping: pick(v.Mapping, func(m step.MappingRow) bool {
			return m.GatewayPort == port || m.LeafPort == subject || m.ServerPort == subject || slices.Contains(m.Hosts, addr)
		}),
		Sessions: pick(v.Sessions, func(s step.SessionRow) bool {
			return s.Peer == subject || s.Name == subject || s.Port == port
		}),
		Events: pick(j.Since(0), func(e engine.Entry) bool {
			return e.Addr == subject || e.Port == port || e.ServerPort == subject || e.Peer == subject
		}),
	}
	causes := map[step.Cause]bool{}
	for _, e := range out.Events {
		causes[e.Cause] = e.Cause != 0
	}
	out.Failovers = pick(j.Failovers(), func(f engine.Failover) bool { return causes[f.Cause] })
	return out
}

func pick[T any](rows []T, match func(T) bool) []T {
	out := []T{}
	for _, r := range rows {
		if match(r) {
			out = append(out, r)
		}
	}
	return out
}
