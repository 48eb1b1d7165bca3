package readback

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"peerless/internal/step"
)

const patience = 150 * time.Millisecond

// serve answers each command on a unix socket until the test ends; a nil talk accepts nobody, as a stopped daemon does.
func serve(t *testing.T, path string, talk func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if talk == nil {
		return l
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			talk(c)
			_ = c.Close()
		}
	}()
	return l
}

// stale leaves a socket that nobody listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	l := serve(t, path, nil)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// frr speaks as one of FRR's daemons.
func frr(answers map[string]string) func(net.Conn) {
	return func(c net.Conn) {
		command, err := bufio.NewReader(c).ReadString(0)
		if err != nil {
			return
		}
		answer, ok := answers[strings.TrimSuffix(command, "\x00")]
		if !ok {
			answer = "% Unknown command"
		}
		_, _ = c.Write([]byte(answer[:len(answer)/2])) // in two pieces
		time.Sleep(time.Millisecond)
		_, _ = c.Write(append([]byte(answer[len(answer)/2:]), 0, 0, 0, 0))
	}
}

func bird(answer string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Write([]byte("0001 BIRD 2.0.12 ready.\n"))
		if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			_, _ = c.Write([]byte(answer))
		}
	}
}

func hangUp(net.Conn) {}

const (
	tableAnswer = `{"10.10.10.3/32":[{"protocol":"table","instance":100,"selected":true}],
"10.10.10.2/32":[{"protocol":"table","instance":100,"selected":true},{"protocol":"ospf"}],
"10.10.10.4/32":[{"protocol":"table","instance":100},{"protocol":"kernel","selected":true}],
"10.10.10.5/32":[{"protocol":"table","instance":7,"selected":true}],"nonsense":[]}`
	birdRoutes = "1007-Table master4:\n 10.10.10.3/32        unicast [hosts 17:37:04.937] * (200)\n \tdev d0\n \n Table t100:\n" +
		"1007-10.10.10.2/32        unicast [hosts 17:37:04.937] * (200)\n \tdev d0\n 10.10.10.3/32        unicast [hosts] * (200)\n0000 \n"
)

var version = map[string]string{"show version": "FRRouting 8.4.4"}

func zebra(routes map[string]string) func(net.Conn) {
	all := map[string]string{"show version": "FRRouting 8.4.4"}
	for k, v := range routes {
		all[k] = v
	}
	return frr(all)
}

func TestRead_FRR(t *testing.T) {
	routes := map[string]string{"show ip route table json": tableAnswer}
	for _, tt := range []struct {
		name   string
		setup  func(t *testing.T, dir string)
		table  uint32
		detail string // DIR stands for the directory; empty: it runs
		has    string
	}{
		{"works", func(t *testing.T, dir string) {
			serve(t, dir+"/zebra.vty", zebra(routes))
			serve(t, dir+"/ospfd.vty", frr(version))
		}, 100, "", "10.10.10.2/32 10.10.10.3/32"},
		{"only whether it works", func(t *testing.T, dir string) {
			serve(t, dir+"/zebra.vty", zebra(nil))
			serve(t, dir+"/bgpd.vty", frr(version))
		}, 0, "", ""},
		{"older command only", func(t *testing.T, dir string) {
			serve(t, dir+"/zebra.vty", zebra(map[string]string{"show ip route json": tableAnswer}))
			serve(t, dir+"/ospfd.vty", frr(version))
		}, 100, "", "10.10.10.2/32 10.10.10.3/32"},
		{"not installed", func(*testing.T, string) {}, 100, "no socket DIR/zebra.vty: zebra is not installed or not running", ""},
		{"zebra killed", func(t *testing.T, dir string) {
			stale(t, dir+"/zebra.vty")
			stale(t, dir+"/ospfd.vty")
		}, 100, "nobody listens on DIR/zebra.vty: zebra is not running", ""},
		{"ospfd killed", func(t *testing.T, dir string) {
			serve(t, dir+"/zebra.vty", zebra(routes))
			stale(t, dir+"/ospfd.vty")
		}, 100, "nobody listens on DIR/ospfd.vty: ospfd is not running", ""},
		{"ospfd stopped, bgpd works", func(t *testing.T, dir string) {
			serve(t, dir+"/zebra.vty", zebra(routes))
			serve(t, dir+"/ospfd.vty", nil)
			serve(t, dir+"/bgpd.vty", frr(version))
		}, 100, "", "10.10.10.2/32 10.10.10.3/32"},
		{"zebra alone", func(t *testing.T, dir string) { serve(t, dir+"/zebra.vty", zebra(routes)) }, 100,
			"neither ospfd nor bgpd has a socket in DIR: no routing daemon is running", ""},
		{"zebra stopped", func(t *testing.T, dir string) {
			serve(t, dir+"/zebra.vty", nil)
			serve(t, dir+"/ospfd.vty", frr(version))
		}, 100, "zebra does not answer", ""},
		{"zebra hangs up", func(t *testing.T, dir string) {
			serve(t, dir+"/zebra.vty", hangUp)
			serve(t, dir+"/ospfd.vty", frr(version))
		}, 100, "zebra hung up", ""},
		{"no JSON", func(t *testing.T, dir string) {
			serve(t, dir+"/zebra.vty", zebra(nil))
			serve(t, dir+"/ospfd.vty", frr(version))
		}, 100, "zebra does not list its routes as JSON", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			tt.setup(t, dir)
			checkRead(t, Options{Engine: FRR, Socket: filepath.Join(dir, "zebra.vty"), Table: tt.table, Timeout: patience},
				strings.ReplaceAll(tt.detail, "DIR", dir), tt.has)
		})
	}
}

func TestRead_BIRD(t *testing.T) {
	for _, tt := range []struct {
		name   string
		setup  func(t *testing.T, path string)
		table  uint32
		detail string
		has    string
	}{
		{"works", func(t *testing.T, path string) { serve(t, path, bird(birdRoutes)) }, 100, "", "10.10.10.2/32 10.10.10.3/32"},
		{"has none", func(t *testing.T, path string) { serve(t, path, bird("8001 Network not found\n")) }, 100, "", ""},
		{"only whether it works", func(t *testing.T, path string) {
			serve(t, path, bird("1000-BIRD 2.0.12\n1011-Router ID is 1.1.1.1\n Hostname is vm\n0013 Daemon is up and running\n"))
		}, 0, "", ""},
		{"not installed", func(*testing.T, string) {}, 100, "no socket PATH: bird is not installed or not running", ""},
		{"killed", func(t *testing.T, path string) { stale(t, path) }, 100, "nobody listens on PATH: bird is not running", ""},
		{"stopped", func(t *testing.T, path string) { serve(t, path, nil) }, 100, "bird does not answer", ""},
		{"hangs up", func(t *testing.T, path string) { serve(t, path, hangUp) }, 100, "bird hung up", ""},
		{"another BIRD", func(t *testing.T, path string) {
			serve(t, path, bird("9001 syntax error, unexpected CF_SYM_UNDEFINED\n"))
		}, 100,
			"bird refuses to answer: syntax error, unexpected CF_SYM_UNDEFINED", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bird.ctl")
			tt.setup(t, path)
			checkRead(t, Options{Engine: BIRD, Socket: path, Table: tt.table, Timeout: patience}, strings.ReplaceAll(tt.detail, "PATH", path), tt.has)
		})
	}
}

func checkRead(t *testing.T, o Options, detail, has string) {
	t.Helper()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	state := d.read()
	var got []string
	for _, p := range state.Routes {
		got = append(got, p.String())
	}
	if state.Running != (detail == "") || state.Detail != detail || strings.Join(got, " ") != has || state.Engine != o.Engine {
		t.Errorf("%+v, want detail %q and routes %q", state, detail, has)
	}
}

func TestNew_UnknownEngine_IsRefused(t *testing.T) {
	if _, err := New(Options{Engine: "quagga"}); err == nil {
		t.Error("no error")
	}
}

func TestRun_PostsEveryReadingUntilTheContextEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bird.ctl")
	serve(t, path, bird(birdRoutes))
	d, err := New(Options{Engine: BIRD, Socket: path, Table: 100, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var got []step.Event
	if err := d.Run(ctx, func(ev step.Event) {
		if got = append(got, ev); len(got) == 3 {
			cancel()
		}
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || !got[2].(step.EngineState).Running {
		t.Errorf("%v", got)
	}
}

func FuzzBirdAnswer(f *testing.F) {
	for _, s := range []string{birdRoutes, "0000 \n", "8001 x\n", "1007-\n", "0000", "\n", "10070\n0000 \n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		routes, err := birdAnswer(bufio.NewReader(strings.NewReader(s)))
		if err != nil && routes != nil {
			t.Errorf("routes %v with error %v", routes, err)
		}
		if slices.ContainsFunc(routes, func(p netip.Prefix) bool { return !p.IsValid() }) {
			t.Errorf("invalid prefix in %v", routes)
		}
	})
}

func FuzzImported(f *testing.F) {
	f.Add([]byte(tableAnswer))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if routes, err := imported(b, 100); err != nil && routes != nil {
			t.Errorf("routes %v with error %v", routes, err)
		}
	})
}
