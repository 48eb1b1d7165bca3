package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"peerless/internal/engine"
	"peerless/internal/model"
	"peerless/internal/step"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is an engine whose state is written down.
type fake struct {
	view step.View
	err  error
}

func (f fake) View(context.Context) (step.View, error) { return f.view, f.err }

// Command takes undrain, and drain only by force.
func (f fake) Command(_ context.Context, c step.Commanded) (step.View, error) {
	if f.view.Drain != nil {
		d := step.Drain{State: c.Order.String()}
		if c.Order == step.OrderDrain && !c.Force {
			d.Refused = "no other link: A5: 10.10.10.5"
		}
		f.view.Drain = &d
	}
	return f.view, f.err
}

var host = netip.MustParseAddr("10.10.10.2")

func leafView() step.View {
	return step.View{
		Role: "leaf", Name: "A",
		Ports:   []step.PortRow{{Port: "A0", Use: "uplink", State: "up"}, {Port: "A2", Use: "downlink", State: "up", ServerPort: "C2"}},
		Hosts:   []step.HostRow{{Addr: host, Port: "A2", State: "local", Advertised: true}},
		Linkage: []step.LinkageRow{{Group: "all", State: "open", Uplinks: []model.Port{"A0"}}},
		Mapping: []step.MappingRow{{Leaf: "A", LeafPort: "A2", ServerPort: "C2"}},
	}
}

func journal() *engine.Journal {
	j := engine.NewJournal("A")
	j.Note(model.Instant{Mono: 5, Wall: 1}, step.Note{What: "port-down", Port: "A2", Text: "port A2 down", Why: "carrier lost", Stage: step.StageDetect, Cause: 1})
	j.Note(model.Instant{Mono: 9, Wall: 2}, step.Note{What: "port-down", Port: "A9", Text: "port A9 down", Why: "carrier lost"})
	return j
}

// serving runs a server over a real socket and gives its options.
func serving(t *testing.T, change func(*Options)) Options {
	t.Helper()
	o := Options{
		Socket: filepath.Join(t.TempDir(), "A.sock"), Mode: 0o660, Status: Status{Name: "A", Role: "leaf", PID: 7},
		Source: fake{view: leafView()}, Journal: journal(), Stop: func() {},
	}
	if change != nil {
		change(&o)
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return o
}

func ask(t *testing.T, o Options, method, path string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", o.Socket)
	}}}
	req, err := http.NewRequest(method, "http://x"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

func TestServer_Answers(t *testing.T) {
	o := serving(t, nil)
	for _, tt := range []struct {
		name, method, path string
		status             int
		contains           string
	}{
		{"ports", "GET", "/v1/ports", 200, `"port":"A0"`},
		{"hosts", "GET", "/v1/hosts", 200, `"addr":"10.10.10.2"`},
		{"linkage fills lists", "GET", "/v1/linkage", 200, `"closed_by_us":[]`},
		{"mapping fills lists", "GET", "/v1/mapping", 200, `"hosts":[]`},
		{"absent rows are an empty list", "GET", "/v1/sessions", 200, `[]`},
		{"failovers", "GET", "/v1/failovers", 200, `"cause":1`},
		{"events", "GET", "/v1/events", 200, `"seq":1,"mono_ns":5,"wall_ms":1,"node":"A","what":"port-down","port":"A2"`},
		{"status", "GET", "/v1/status", 200, `"pid":7`},
		{"why", "GET", "/v1/why?subject=A2", 200, `"subject":"A2"`},
		{"why of a prefix", "GET", "/v1/why?subject=10.10.10.2/32", 200, `"subject":"10.10.10.2"`},
		{"why of nothing known", "GET", "/v1/why?subject=Z9", 404, `A knows no host, port or server port \"Z9\"`},
		{"why of nothing", "GET", "/v1/why", 400, `subject is missing`},
		{"unknown path", "GET", "/v2/ports", 404, `{"error":"no such path: /v2/ports"}`},
		{"write", "POST", "/v1/ports", 405, `{"error":"POST is not allowed on /v1/ports"}`},
		{"stop is an order", "GET", "/v1/stop", 405, `{"error":"GET is not allowed on /v1/stop"}`},
		{"stop", "POST", "/v1/stop", 200, `"pid":7`},
		{"bad instant", "GET", "/v1/events?since_ns=now", 400, `since_ns=\"now\" is not a number of nanoseconds`},
		{"bad follow", "GET", "/v1/events?follow=yes", 400, `follow takes 0 or 1`},
		{"head", "HEAD", "/v1/ports", 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := ask(t, o, tt.method, tt.path)
			if status != tt.status || !strings.Contains(body, tt.contains) {
				t.Errorf("%d %s, want %d with %s", status, body, tt.status, tt.contains)
			}
			if tt.method != "HEAD" && !json.Valid([]byte(body)) {
				t.Errorf("not JSON: %s", body)
			}
		})
	}
}

func TestServer_Orders(t *testing.T) {
	drainable := leafView()
	drainable.Drain = &step.Drain{State: "serving", Refused: "an earlier order"}
	for _, tt := range []struct {
		name         string
		view         step.View
		method, path string
		status       int
		contains     string
	}{
		{"a question orders nothing", drainable, "GET", "/v1/drain", 200, `"state":"serving"`},
		{"a question never answers null", drainable, "GET", "/v1/drain", 200, `"ports":[]`},
		{"refused", drainable, "POST", "/v1/drain", 409, `refused: no other link: A5: 10.10.10.5`},
		{"by force", drainable, "POST", "/v1/drain?force=1", 200, `"state":"drain"`},
		{"bad force", drainable, "POST", "/v1/drain?force=yes", 400, `force takes 0 or 1`},
		{"back", drainable, "POST", "/v1/undrain", 200, `"state":"undrain"`},
		{"an order is no question", drainable, "GET", "/v1/undrain", 405, `GET is not allowed`},
		{"deleted", drainable, "DELETE", "/v1/drain", 405, `DELETE is not allowed`},
		{"a role that cannot be drained", leafView(), "POST", "/v1/drain?force=1", 501, `only a leaf can be drained`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := serving(t, func(o *Options) { o.Source = fake{view: tt.view} })
			status, body := ask(t, o, tt.method, tt.path)
			if status != tt.status || !strings.Contains(body, tt.contains) {
				t.Errorf("%d %s, want %d with %s", status, body, tt.status, tt.contains)
			}
		})
	}
}

// mouth is a speaker that knows one neighbour.
type mouth struct{ said *[]string }

var neighbor = netip.MustParseAddr("172.31.1.2")

func (m mouth) say(what string, peer netip.Addr) error {
	if peer != neighbor {
		return errors.New("no such neighbour")
	}
	*m.said = append(*m.said, what+" "+peer.String())
	return nil
}

func (m mouth) Shut(_ context.Context, peer netip.Addr) error { return m.say("shut", peer) }
func (m mouth) Open(_ context.Context, peer netip.Addr) error { return m.say("open", peer) }

func TestServer_SessionOrders(t *testing.T) {
	view := leafView()
	view.Sessions = []step.SessionRow{{Peer: neighbor.String(), Name: "A"}, {Peer: neighbor.String(), Name: "A (bfd)"}, {Peer: "bird", Name: "bird"}}
	for _, tt := range []struct {
		name, method, path string
		mute               bool
		status             int
		contains, said     string
	}{
		{"shut by name", "POST", "/v1/session/shut?neighbor=A", false, 200, `{"peer":"172.31.1.2","name":"A"}`, "shut 172.31.1.2"},
		{"open by address", "POST", "/v1/session/open?neighbor=172.31.1.2", false, 200, `"name":"A"`, "open 172.31.1.2"},
		{"a stranger", "POST", "/v1/session/shut?neighbor=10.9.9.9", false, 404, `no session with a neighbour`, ""},
		{"nobody", "POST", "/v1/session/shut", false, 404, `no session with a neighbour`, ""},
		{"an engine beside us", "POST", "/v1/session/shut?neighbor=bird", false, 404, `has no address`, ""},
		{"without a speaker", "POST", "/v1/session/shut?neighbor=A", true, 501, `no routing sessions of its own`, ""},
		{"a question orders nothing", "GET", "/v1/session/shut?neighbor=A", false, 405, `GET is not allowed`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var said []string
			o := serving(t, func(o *Options) {
				o.Source = fake{view: view}
				if !tt.mute {
					o.Speaker = mouth{&said}
				}
			})
			status, body := ask(t, o, tt.method, tt.path)
			if status != tt.status || !strings.Contains(body, tt.contains) || strings.Join(said, ", ") != tt.said {
				t.Errorf("%d %s, said %q; want %d with %s, said %q", status, body, said, tt.status, tt.contains, tt.said)
			}
		})
	}
}

func TestServer_EventsSince_GivesOnlyLaterOnes(t *testing.T) {
	o := serving(t, nil)
	var got []engine.Entry
	if err := NewClient(o.Socket).Get(t.Context(), "/v1/events?since_ns=5", &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Port != "A9" {
		t.Errorf("events: %v", got)
	}
}

func TestServer_Why_GivesOnlyWhatConcernsTheSubject(t *testing.T) {
	o := serving(t, nil)
	var got Why
	if err := NewClient(o.Socket).Get(t.Context(), "/v1/why?subject=A2", &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Ports) != 1 || len(got.Hosts) != 1 || len(got.Mapping) != 1 || len(got.Linkage) != 0 || len(got.Events) != 1 || len(got.Failovers) != 1 {
		t.Errorf("why: %+v", got)
	}
}

func TestServer_EngineStopping_IsUnavailable(t *testing.T) {
	o := serving(t, func(o *Options) { o.Source = fake{err: errors.New("the daemon is stopping")} })
	if status, body := ask(t, o, "GET", "/v1/ports"); status != 503 || !strings.Contains(body, "stopping") {
		t.Errorf("%d %s", status, body)
	}
}

func TestClient_Follow_GivesPastAndFutureOnce(t *testing.T) {
	j := journal()
	o := serving(t, func(o *Options) { o.Journal = j })
	enough := errors.New("enough")
	var got []uint64
	err := NewClient(o.Socket).Follow(t.Context(), 0, func(e engine.Entry) error {
		got = append(got, e.Seq)
		if e.Seq < 6 {
			j.Note(model.Instant{Mono: 100}, step.Note{What: "x"})
		}
		if e.Seq == 6 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatalf("follow: %v", err)
	}
	if diff := cmp.Diff([]uint64{1, 2, 3, 4, 5, 6}, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestClient_Follow_DaemonStops_SaysSo(t *testing.T) {
	o := Options{Socket: filepath.Join(t.TempDir(), "A.sock"), Mode: 0o600, Source: fake{}, Journal: journal()}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	err = NewClient(o.Socket).Follow(t.Context(), 0, func(engine.Entry) error { cancel(); return nil })
	if err == nil || !strings.HasSuffix(err.Error(), "the daemon stopped") {
		t.Errorf("follow: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// cutOff is a journal that cuts its first follower off after one entry.
type cutOff struct {
	*engine.Journal
	follows int
}

func (c *cutOff) Follow() (<-chan engine.Entry, func()) {
	c.follows++
	if c.follows > 1 {
		return c.Journal.Follow()
	}
	c.Note(model.Instant{Mono: 9}, step.Note{What: "lost"})
	ch := make(chan engine.Entry)
	close(ch)
	return ch, func() {}
}

func TestServer_SlowFollower_GoesOnWhereItWasCutOff(t *testing.T) {
	o := serving(t, func(o *Options) { o.Journal = &cutOff{Journal: journal()} })
	enough := errors.New("enough")
	var got []uint64
	err := NewClient(o.Socket).Follow(t.Context(), 0, func(e engine.Entry) error {
		if got = append(got, e.Seq); e.Seq == 3 {
			return enough
		}
		return nil
	})
	if diff := cmp.Diff([]uint64{1, 2, 3}, got); diff != "" || !errors.Is(err, enough) {
		t.Errorf("%v, entries (-want +got):\n%s", err, diff)
	}
}

func TestListen_ModeAndCleanup(t *testing.T) {
	o := Options{Socket: filepath.Join(t.TempDir(), "sub", "A.sock"), Mode: 0o660, Group: "0", Source: fake{}, Journal: journal()}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(o.Socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket: %v %v", info, err)
	}
	s.Close()
	left, err := os.ReadDir(filepath.Dir(o.Socket))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestListen_LiveDaemon_IsInUse(t *testing.T) {
	o := serving(t, nil)
	if _, err := Listen(o); !errors.Is(err, ErrInUse) {
		t.Errorf("listen: %v", err)
	}
}

func TestListen_DeadDaemonsSocket_IsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "A.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	s, err := Listen(Options{Socket: path, Mode: 0o600, Source: fake{}, Journal: journal()})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestListen_WhatStandsInTheWay_IsNamed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, socket, group, want string
	}{
		{"a plain file", file, "", "open api socket " + file + ": there is a file that is no socket; remove it, or set api.socket to another path"},
		{"no such group", filepath.Join(dir, "x.sock"), "no-such-group", `group "no-such-group" is not known on this machine`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Listen(Options{Socket: tt.socket, Group: tt.group, Mode: 0o600})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("listen: %v", err)
			}
		})
	}
}

func TestClient_NoDaemon_SaysWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "A.sock")
	err := NewClient(path).Get(t.Context(), "/v1/ports", nil)
	if err == nil || err.Error() != "ask daemon on "+path+": no such socket; is the daemon running?" {
		t.Errorf("get: %v", err)
	}
}

func TestServer_ClientThatSaysNothing_IsLetGo(t *testing.T) {
	o := Options{Socket: filepath.Join(t.TempDir(), "A.sock"), Mode: 0o600, Source: fake{}, Journal: journal()}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	if s.http.ReadHeaderTimeout != headerTimeout {
		t.Errorf("header timeout %s", s.http.ReadHeaderTimeout)
	}
	s.http.ReadHeaderTimeout = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	c, err := net.Dial("unix", o.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
