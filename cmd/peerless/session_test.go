package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// obedient is a speaker that opens nothing.
type obedient struct{}

func (obedient) Shut(context.Context, netip.Addr) error { return nil }
func (obedient) Open(context.Context, netip.Addr) error { return errors.New("it came by itself") }

func TestSession_Orders(t *testing.T) {
	socket := daemon(t)
	for _, tt := range []struct {
		name     string
		args     []string
		status   int
		contains string
	}{
		{"by name", []string{"shut", "A"}, 0, "session with 172.31.1.2: shut; it stays so until"},
		{"for machines", []string{"shut", "172.31.1.2", "--json"}, 0, `"peer": "172.31.1.2"`},
		{"a stranger", []string{"shut", "10.9.9.9"}, 1, `no session with a neighbour "10.9.9.9"`},
		{"not taken", []string{"open", "A"}, 1, "session with A: it came by itself"},
		{"nobody", []string{"shut"}, 2, "expected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := inProcess(t, append(append([]string{"session"}, tt.args...), "--socket", socket)...)
			if got.status != tt.status || !strings.Contains(got.out+got.errOut, tt.contains) {
				t.Errorf("%+v", got)
			}
		})
	}
}
