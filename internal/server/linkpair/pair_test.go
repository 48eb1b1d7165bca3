package linkpair

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"peerless/internal/model"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	t0     = 100 * time.Second
	stable = 3 * time.Second
	settle = 10 * time.Millisecond
	grace  = 200 * time.Millisecond
)

// situation is one internal state of the pair, made at t0.
type situation struct {
	name string
	make func(*Pair)
}

var situations = []situation{
	{"start", func(*Pair) {}},
	{"start, found primary", func(p *Pair) { p.Found(model.Primary) }},
	{"start, found backup", func(p *Pair) { p.Found(model.Backup) }},
	{"start, asking", func(p *Pair) { p.asking, p.deadline = true, t0+grace }},
	{"start, dark", func(p *Pair) { p.dark = true }},
	{"start, to primary", func(p *Pair) { p.to, p.settled, p.why = model.Primary, t0+settle, "as prepared" }},
	{"start, to backup", func(p *Pair) { p.to, p.settled, p.why = model.Backup, t0+settle, "as prepared" }},
	{"primary", func(p *Pair) { p.active = model.Primary }},
	{"primary, dark", func(p *Pair) { p.active, p.dark = model.Primary, true }},
	{"backup", func(p *Pair) { p.active = model.Backup }},
	{"backup, primary ready", func(p *Pair) { p.active = model.Backup; p.stable.Set(t0, true) }},
	{"backup, dark", func(p *Pair) { p.active, p.dark = model.Backup, true }},
	{"primary, to backup", func(p *Pair) {
		p.active, p.to, p.settled, p.why = model.Primary, model.Backup, t0+settle, "as prepared"
	}},
	{"backup, to primary", func(p *Pair) {
		p.active, p.to, p.settled, p.why = model.Backup, model.Primary, t0+settle, "as prepared"
	}},
	{"primary, barred", func(p *Pair) { p.active, p.retry, p.gap = model.Primary, t0+settle, retryMin }},
	{"backup, barred", func(p *Pair) { p.active, p.retry, p.gap = model.Backup, t0+settle, retryMin; p.stable.Set(t0, true) }},
	{"primary, trying backup", func(p *Pair) {
		p.active, p.to, p.trial, p.until, p.next, p.why = model.Primary, model.Backup, true, t0+trial, t0+trial, "as tried"
	}},
	{"backup, trying primary", func(p *Pair) {
		p.active, p.to, p.trial, p.why = model.Backup, model.Primary, true, "as tried"
		p.settled, p.next, p.until = t0+settle, t0+settle, t0+settle+trial
	}},
}

var links = []struct {
	name string
	link Link
}{
	{"down", Link{}}, {"up", Link{Up: true}}, {"ready", Link{Up: true, Ready: true, Fresh: true}}, {"late", Link{Up: true, Ready: true}}, {"silent", Link{Up: true, Silent: true}}, {"dead", Link{Up: true, Silent: true, Dry: true}},
	{"shut", Link{Up: true, Shut: true}},
	{"mute", Link{Up: true, Ready: true, Fresh: true, Mute: true}}, {"proves", Link{Up: true, Ready: true, Fresh: true, Proves: true}},
	{"passes", Link{Up: true, Ready: true, Fresh: true, Passes: true}},
	{"carries", Link{Up: true, Ready: true, Fresh: true, Carries: true}},
}

var moments = []struct {
	name string
	at   time.Duration
}{{"early", t0 + time.Millisecond}, {"late", t0 + stable}}

const trial = 300 * time.Millisecond

func newPair(never bool) *Pair {
	return New(Policy{Never: never, Stable: stable, Settle: settle, Grace: grace, Trial: trial})
}

// TestPair_StateProduct_EveryCellDecided enumerates every situation, sight, policy and moment, holds each cell against the
// golden table, and against the laws that every cell must keep.
func TestPair_StateProduct_EveryCellDecided(t *testing.T) {
	var out strings.Builder
	for _, never := range []bool{false, true} {
		for _, sit := range situations {
			for _, p := range links {
				for _, b := range links {
					for _, when := range moments {
						pair := newPair(never)
						sit.make(pair)
						s := Sight{Primary: p.link, Backup: b.link}
						was := *pair
						d := pair.Decide(when.at, s)
						name := fmt.Sprintf("fail-back=%-6s %-22s primary=%-6s backup=%-6s %-5s", map[bool]string{true: "never", false: "stable"}[never],
							sit.name, p.name, b.name, when.name)
						fmt.Fprintf(&out, "%s -> %-7s %-7s: %s\n", name, d.Verb, target(d), d.Why)
						checkCell(t, name, was, pair, d, s, when.at)
					}
				}
			}
		}
	}
	golden(t, "product", out.String())
}

func target(d Decision) string {
	if d.To == model.RoleUnknown {
		return "-"
	}
	return d.To.String()
}

// checkCell holds one decision against the laws; it is written without regard to how decisions are made.
func checkCell(t interface{ Errorf(string, ...any) }, name string, was Pair, p *Pair, d Decision, s Sight, now time.Duration) {
	fail := func(format string, args ...any) { t.Errorf("%s: %s", name, fmt.Sprintf(format, args...)) }
	if d.Verb == Invalid || d.Why == "" {
		fail("verb %v without a reason %q", d.Verb, d.Why)
	}
	switch d.Verb {
	case Take, Switch, Prepare, Resume, Abort:
		if !s.Of(d.To).Up {
			fail("%v to a link that is down", d.Verb)
		}
	case Stay, Lost, Invalid:
	}
	anyUp := s.Primary.Up || s.Backup.Up
	if p.active != model.RoleUnknown && anyUp && !s.Of(p.active).Up {
		fail("the active link is down and the other is up")
	}
	if p.active == model.RoleUnknown && s.Primary.Up != s.Backup.Up {
		fail("nothing chosen though exactly one link is up")
	}
	if p.to != model.RoleUnknown && (!s.Primary.Up || !s.Backup.Up) {
		fail("make before break without two links")
	}
	if p.dark == anyUp && (p.active != model.RoleUnknown || !p.asking) {
		fail("dark is %v with links %+v", p.dark, s)
	}
	if p.policy.Never && d.Verb == Prepare && was.active == model.Backup && !s.Backup.Mute && !s.Backup.Silent {
		fail("returned against the policy")
	}
	left := was.active != model.RoleUnknown && p.active == Other(was.active) && s.Of(was.active).Up
	old, other := s.Of(was.active), s.Of(Other(was.active))
	switch {
	case !left || d.Verb == Switch && was.to == p.active && !was.trial: // prepared, and for a reason: below
	case d.Verb == Take && old.Silent && old.Dry && other.Fresh:
	case d.Verb == Take && old.Shut && other.Fresh:
	case d.Verb == Switch && was.trial && other.Passes:
	case d.Verb == Switch && was.trial && other.Carries && now >= was.until:
	default:
		fail("left a link that is up, and not because it is silent or because the other one passed its trial")
	}
	if d.Verb == Prepare && was.active == model.Primary && !(other.Fresh && (old.Silent || old.Mute && !other.Mute)) {
		fail("tries to leave the primary without a reason")
	}
	if p.trial && p.to == model.RoleUnknown {
		fail("a trial of nothing")
	}
	if at, ok := p.Next(); (p.to != model.RoleUnknown || p.asking) && (!ok || at <= now && p.to == model.RoleUnknown) {
		fail("waits without a timer in the future")
	}
	again := *p
	asked, _ := p.Next()
	if d2 := again.Decide(now, s); d2.Verb != Stay && asked != now && !(d.Verb == Prepare && p.trial) {
		fail("decides again: %v", d2)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run the test with -update to write it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-golden +now):\n%s", name, diff)
	}
}

func TestPair_Stories(t *testing.T) {
	down, up, ready := Link{}, Link{Up: true}, Link{Up: true, Ready: true, Fresh: true}
	type beat struct {
		after           time.Duration
		primary, backup Link
		want            Verb
		active          model.Role
	}
	stories := []struct {
		name  string
		never bool
		beats []beat
	}{
		{"primary lost and back", false, []beat{
			{0, up, up, Stay, model.RoleUnknown},
			{time.Millisecond, ready, up, Prepare, model.RoleUnknown},
			{settle, ready, ready, Switch, model.Primary},
			{time.Second, down, ready, Take, model.Backup},
			{time.Second, up, ready, Stay, model.Backup},
			{time.Millisecond, ready, ready, Stay, model.Backup},
			{stable - 1, ready, ready, Stay, model.Backup},
			{1, ready, ready, Prepare, model.Backup},
			{settle, ready, ready, Switch, model.Primary},
		}},
		{"readiness broken starts the wait again", false, []beat{
			{0, down, up, Take, model.Backup},
			{0, ready, up, Stay, model.Backup},
			{stable - 1, up, up, Stay, model.Backup},
			{1, ready, up, Stay, model.Backup},
			{stable - 1, ready, up, Stay, model.Backup},
			{1, ready, up, Prepare, model.Backup},
		}},
		{"aborted fail-back waits for the whole time again", false, []beat{
			{0, down, up, Take, model.Backup},
			{0, ready, up, Stay, model.Backup},
			{stable, ready, up, Prepare, model.Backup},
			{1, down, up, Abort, model.Backup},
			{1, ready, up, Stay, model.Backup},
			{stable - 1, ready, up, Stay, model.Backup},
			{1, ready, up, Prepare, model.Backup},
			{1, ready, down, Take, model.Primary},
		}},
		{"primary becomes ready during the first move, and nothing else happens", false, []beat{
			{0, up, ready, Stay, model.RoleUnknown},
			{grace, up, ready, Prepare, model.RoleUnknown},
			{1, ready, ready, Stay, model.RoleUnknown},
			{settle - 1, ready, ready, Switch, model.Backup},
			{stable, ready, ready, Prepare, model.Backup},
			{settle, ready, ready, Switch, model.Primary},
		}},
		{"no fail-back by policy", true, []beat{
			{0, down, up, Take, model.Backup},
			{stable, ready, up, Stay, model.Backup},
			{stable, ready, up, Stay, model.Backup},
			{0, ready, down, Take, model.Primary},
		}},
		{"unstable primary is better than none", false, []beat{
			{0, down, up, Take, model.Backup},
			{1, up, up, Stay, model.Backup},
			{1, up, down, Take, model.Primary},
		}},
		{"both down, the first that returns gets it", false, []beat{
			{0, up, down, Take, model.Primary},
			{1, down, down, Lost, model.Primary},
			{1, down, down, Stay, model.Primary},
			{1, down, up, Take, model.Backup},
			{1, down, down, Lost, model.Backup},
			{1, down, up, Resume, model.Backup},
		}},
		{"no leaf answers at start", false, []beat{
			{0, up, up, Stay, model.RoleUnknown},
			{grace, up, up, Prepare, model.RoleUnknown},
			{settle, up, up, Switch, model.Primary},
		}},
		{"only the backup's leaf answers at start", false, []beat{
			{0, up, up, Stay, model.RoleUnknown},
			{1, up, ready, Stay, model.RoleUnknown},
			{grace - 1, up, ready, Prepare, model.RoleUnknown},
			{settle, up, ready, Switch, model.Backup},
		}},
	}
	shut := Link{Up: true, Shut: true}
	silent, dead, mute := Link{Up: true, Silent: true}, Link{Up: true, Silent: true, Dry: true}, Link{Up: true, Ready: true, Fresh: true, Mute: true}
	carries := Link{Up: true, Ready: true, Fresh: true, Carries: true}
	proves, passes := Link{Up: true, Ready: true, Fresh: true, Proves: true}, Link{Up: true, Ready: true, Fresh: true, Passes: true}
	for _, s := range []struct {
		name  string
		beats []beat
	}{
		{"the leaf of the primary wants to be left", []beat{
			{0, ready, down, Take, model.Primary},
			{1, silent, up, Stay, model.Primary}, // the other leaf does not answer either
			{1, silent, ready, Prepare, model.Primary},
			{settle, silent, ready, Switch, model.Backup},
			{stable, silent, ready, Stay, model.Backup},
			{1, ready, ready, Stay, model.Backup},
			{stable, ready, ready, Prepare, model.Backup},
			{settle, ready, ready, Switch, model.Primary},
		}},
		{"the leaf of the primary is about to close", []beat{
			{0, ready, down, Take, model.Primary},
			{1, shut, up, Stay, model.Primary}, // the other leaf does not answer
			{1, shut, ready, Take, model.Backup},
			{1, down, ready, Stay, model.Backup},
		}},
		{"both leaves are about to close", []beat{
			{0, ready, down, Take, model.Primary},
			{1, shut, shut, Stay, model.Primary},
			{1, down, shut, Take, model.Backup},
		}},
		{"the old leaf is about to close while its server leaves it", []beat{
			{0, ready, down, Take, model.Primary},
			{1, silent, ready, Prepare, model.Primary},
			{1, shut, ready, Take, model.Backup},
		}},
		{"dead link is left at once", []beat{
			{0, ready, down, Take, model.Primary},
			{1, dead, ready, Take, model.Backup},
		}},
		{"the link that is being left turns out to be dead", []beat{
			{0, ready, down, Take, model.Primary},
			{1, silent, ready, Prepare, model.Primary},
			{1, dead, ready, Take, model.Backup},
		}},
		{"the new leaf falls silent while its server moves there", []beat{
			{0, ready, down, Take, model.Primary},
			{1, silent, ready, Prepare, model.Primary},
			{1, silent, silent, Abort, model.Primary},
			{1, silent, ready, Prepare, model.Primary},
		}},
		{"both leaves are silent: nothing is gained by moving", []beat{
			{0, ready, down, Take, model.Primary},
			{1, silent, silent, Stay, model.Primary},
			{time.Minute, dead, dead, Stay, model.Primary},
		}},
		{"old link dies while the return settles", []beat{
			{0, down, ready, Take, model.Backup},
			{0, ready, ready, Stay, model.Backup},
			{stable, ready, ready, Prepare, model.Backup},
			{1, ready, dead, Take, model.Primary},
		}},
		{"what comes down does not turn in time, but the new leaf carries upward", []beat{
			{0, down, proves, Take, model.Backup},
			{1, ready, proves, Stay, model.Backup},
			{stable, ready, proves, Prepare, model.Backup},
			{settle, carries, proves, Stay, model.Backup},
			{trial, carries, proves, Switch, model.Primary},
		}},
		{"mute leaf is left once the other one has shown that it forwards", []beat{
			{0, proves, down, Take, model.Primary},
			{1, mute, ready, Prepare, model.Primary},
			{1, mute, ready, Stay, model.Primary},
			{1, mute, passes, Switch, model.Backup},
			{stable, mute, proves, Stay, model.Backup}, // never back while it is mute
			{1, ready, proves, Stay, model.Backup},
			{stable, ready, proves, Prepare, model.Backup},
			{settle, ready, proves, Stay, model.Backup}, // the settling is over, and nothing has come back yet
			{1, passes, proves, Switch, model.Primary},
		}},
		{"trial that shows nothing is undone, and repeated later and later", []beat{
			{0, proves, down, Take, model.Primary},
			{1, mute, ready, Prepare, model.Primary},
			{trial - 1, mute, ready, Stay, model.Primary},
			{1, mute, ready, Abort, model.Primary},
			{retryMin - 1, mute, ready, Stay, model.Primary},
			{1, mute, ready, Prepare, model.Primary},
			{trial, mute, ready, Abort, model.Primary},
			{2*retryMin - 1, mute, ready, Stay, model.Primary},
			{1, mute, ready, Prepare, model.Primary},
			{trial, mute, ready, Abort, model.Primary},
			{1, proves, ready, Stay, model.Primary}, // it forwards again: the count starts anew
			{1, mute, ready, Prepare, model.Primary},
		}},
		{"both leaves mute: nobody moves", []beat{
			{0, proves, down, Take, model.Primary},
			{1, mute, mute, Stay, model.Primary},
		}},
	} {
		stories = append(stories, struct {
			name  string
			never bool
			beats []beat
		}{s.name, false, s.beats})
	}
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			p, now := newPair(story.never), t0
			for i, b := range story.beats {
				now += b.after
				d := p.Decide(now, Sight{Primary: b.primary, Backup: b.backup})
				if d.Verb != b.want || p.Active() != b.active {
					t.Fatalf("beat %d: %v (%s), active %v; want %v, active %v", i, d.Verb, d.Why, p.Active(), b.want, b.active)
				}
			}
		})
	}
}

// A pair that finds the backup in use returns as it always does: after the primary was ready for long.
func TestPair_StartsOnTheLinkInUse(t *testing.T) {
	up, ready := Link{Up: true}, Link{Up: true, Ready: true, Fresh: true}
	p, now := newPair(false), t0
	p.Found(model.Backup)
	for i, b := range []struct {
		after           time.Duration
		primary, backup Link
		want            Verb
	}{{0, up, up, Take}, {1, ready, up, Stay}, {stable - 1, ready, ready, Stay}, {1, ready, ready, Prepare}, {settle, ready, ready, Switch}, {1, Link{}, up, Take}} {
		now += b.after
		if d := p.Decide(now, Sight{Primary: b.primary, Backup: b.backup}); d.Verb != b.want {
			t.Fatalf("beat %d: %v (%s), want %v", i, d.Verb, d.Why, b.want)
		}
	}
	p = newPair(false)
	p.Found(model.Backup)
	if d := p.Decide(t0, Sight{Primary: up}); d.Verb != Take || d.To != model.Primary {
		t.Fatalf("%v to %v: the link found is down", d.Verb, d.To)
	}
}

// TestPair_AnyHistory_KeepsLaws walks at random, so that states are reached only as they can be.
func TestPair_AnyHistory_KeepsLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, now := newPair(rapid.Bool().Draw(t, "never")), t0
		for range rapid.IntRange(1, 60).Draw(t, "length") {
			now += time.Duration(rapid.SampledFrom([]int64{0, 1, int64(settle), int64(grace), int64(stable)}).Draw(t, "after"))
			s := Sight{Primary: rapid.SampledFrom(links).Draw(t, "primary").link, Backup: rapid.SampledFrom(links).Draw(t, "backup").link}
			was := *p
			d := p.Decide(now, s)
			checkCell(t, "history", was, p, d, s, now)
		}
	})
}
