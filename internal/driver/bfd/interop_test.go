package bfd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"peerless/internal/engineconf"
	"peerless/internal/lab/daemon"
)

// foreign is another implementation in the far machine.
type foreign struct {
	w      *world
	engine *daemon.Engine
}

const (
	theirInterval   = 40 * ms
	theirMultiplier = 4
	ourInterval     = 30 * ms
)

// files configure an engine for a session of 40 ms × 4 with the near machine.
func files(engine engineconf.Engine) engineconf.Files {
	if engine == engineconf.BIRD {
		return engineconf.Files{Engine: engine, Name: "bird.conf", Programs: []engineconf.Program{{Name: "bird"}}, Text: fmt.Sprintf(`log stderr all;
router id %s;
protocol device {}
protocol bfd {
	interface "%s" { min rx interval %d ms; min tx interval %[3]d ms; multiplier %d; };
	neighbor %s dev "%[2]s";
}
`, addrs[far], port, theirInterval.Milliseconds(), theirMultiplier, addrs[near])}
	}
	return engineconf.Files{Engine: engine, Name: "frr.conf", Programs: []engineconf.Program{{Name: "zebra"}, {Name: "bfdd"}}, Text: fmt.Sprintf(`frr defaults traditional
service integrated-vtysh-config
bfd
 peer %s interface %s
  receive-interval %d
  transmit-interval %[3]d
  detect-multiplier %d
 exit
exit
`, addrs[near], port, theirInterval.Milliseconds(), theirMultiplier)}
}

func startForeign(t *testing.T, w *world, engine engineconf.Engine) *foreign {
	t.Helper()
	if err := daemon.Installed(engine); err != nil {
		lack(t, err.Error())
	}
	dir, err := os.MkdirTemp("/run", testPrefix) // FRR's own user must be able to enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	e, err := daemon.Start(t.Context(), daemon.Spec{Space: names[far], Dir: dir + "/e", Files: files(engine), Tied: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Stop(time.Second) })
	return &foreign{w, e}
}

// says waits until the engine's account of the session has all of the words.
func (f *foreign) says(question string, words ...string) {
	f.w.t.Helper()
	var out string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * ms) {
		var err error
		if out, err = f.engine.Ask(context.Background(), question); err != nil {
			f.w.t.Fatal(err)
		}
		missing := false
		for _, w := range words {
			missing = missing || !strings.Contains(out, w)
		}
		if !missing {
			return
		}
	}
	f.w.t.Fatalf("%s: no %q in:\n%s", question, words, out)
}

// Either end first; what is negotiated; loss in each direction; an end that stops on purpose, and one that dies.
func TestInterop_FRRAndBIRD(t *testing.T) {
	for _, tt := range []struct {
		engine   engineconf.Engine
		question string
		up, down []string
	}{
		{engineconf.FRR, "show bfd peers", []string{"Status: up"}, []string{"Status: down"}},
		{engineconf.BIRD, "show bfd sessions", []string{"10.9.0.1", "Up", "0.040"}, []string{"10.9.0.1", "Down"}},
	} {
		for _, first := range []int{near, far} {
			t.Run(fmt.Sprintf("%s, %s first", tt.engine, [2]string{"we", "it"}[first]), func(t *testing.T) {
				w := newWorld(t)
				a := w.start(near)
				var f *foreign
				if first == near {
					a.ask(ourInterval, 3)
					time.Sleep(1200 * ms) // asked in vain: nothing may be told
					a.silent()
				}
				f = startForeign(t, w, tt.engine)
				if first == far {
					a.ask(ourInterval, 3)
				}
				a.awaitUp(theirMultiplier * theirInterval)
				f.says(tt.question, tt.up...)
				status, _ := a.look()
				if status.Interval != theirInterval {
					t.Errorf("we send every %s, want %s: it takes no more", status.Interval, theirInterval)
				}
				time.Sleep(2 * time.Second)
				a.silent()
				for _, deaf := range []int{near, far} {
					w.drop(deaf, true)
					begin := time.Now()
					ev := a.awaitDown()
					took := ev.at.Sub(begin)
					t.Logf("%s is deaf: we know after %s: %s", names[deaf], took, ev.Diag)
					if took > theirMultiplier*theirInterval+30*ms {
						t.Errorf("%s is deaf: seen only after %s", names[deaf], took)
					}
					f.says(tt.question, tt.down...)
					w.drop(deaf, false)
					a.awaitUp(theirMultiplier * theirInterval)
				}
				a.stop()
				f.says(tt.question, tt.down...)
				again := w.start(near)
				again.ask(ourInterval, 3)
				again.awaitUp(theirMultiplier * theirInterval)
				if err := f.engine.Stop(0); err != nil { // dies without a word
					t.Fatal(err)
				}
				if ev := again.awaitDown(); ev.Admin {
					t.Errorf("%s", ev)
				}
			})
		}
	}
}
