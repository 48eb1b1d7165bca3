package vm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
	"peerless/internal/lab/vm"
)

// jobMax bounds the whole machine; it takes less than four minutes on two idle cores.
const jobMax = 6 * time.Minute

// slow is how much sparser traffic is than on bare metal: an emulated processor is some twenty times slower.
const slow = 60

// promise is what a move may take beyond what the bond needs to see the failure, and beyond what the emulator makes of servers
// without a bond in the same run, by the same fault.
const promise = 50 * time.Millisecond

// slack is what may be missing to the promise, and lost at a return, on a host that does other things too. It tells "recovers" from
// "recovers some day"; with BOND=strict there is none.
func slack() time.Duration {
	if os.Getenv("BOND") == "strict" {
		return 0
	}
	return time.Second
}

// plain is the topology without a bond: what the emulator itself costs as many servers, guests and flows. One run of it is chance.
const (
	plain     = topology.Unbonded
	plainRuns = 3
)

// stalled is a silence of the senders themselves that no healthy run has: the host had no time for the machine. What happened
// meanwhile is judged by its end alone.
const stalled = 250 * time.Millisecond

// sight is how long a server may take to see that its link is gone, and what its return may cost.
type sight struct {
	failure time.Duration
	deaf    bool // it hears nothing on its standby link: its return loses what is under way to the old leaf
	pushed  bool // it returns only when its other link fails
}

// watchedByARP is arp_interval 500 ms: it is silent for missed_max+1 = 3 intervals, then the other link is tried for one.
const watchedByARP = 2 * time.Second

var sights = map[string]map[string]sight{
	plain:          {"S": {}, "T": {}},
	"bond-miimon":  {"S": {failure: 10 * time.Millisecond}, "T": {failure: 100 * time.Millisecond}},
	"bond-deaf":    {"S": {failure: 10 * time.Millisecond, deaf: true}, "T": {failure: 100 * time.Millisecond, deaf: true}},
	"bond-options": {"S": {failure: 10 * time.Millisecond, pushed: true}, "T": {failure: 100 * time.Millisecond}},
	"bond-arp":     {"S": {failure: watchedByARP}, "T": {failure: 100 * time.Millisecond}},
	"bond-vlan":    {"S": {failure: watchedByARP}, "T": {failure: 100 * time.Millisecond}},
}

// watched has a server whose bond watches by ARP, S, and one whose bond peerless drives, T.
const (
	watched      = "bond-arp"
	standbyBooks = "standby"
)

// logLines is how much of each daemon's log is shown of a run that went wrong.
const logLines = 80

// driverTests are packages whose own tests are run on that kernel too: it has what the host's lacks, and is an older one.
var driverTests = []string{"rtnl", "arpnd"}

// TestBond_RealKernel_ServersMove boots one machine and runs every topology with bonds in it, with the real binary.
func TestBond_RealKernel_ServersMove(t *testing.T) {
	k := needKernel(t)
	work := workDir(t)
	build(t, "build", "-o", filepath.Join(work, "peerless"), "peerless/cmd/peerless")
	for _, d := range driverTests {
		build(t, "test", "-c", "-o", filepath.Join(work, d+".test"), "peerless/internal/driver/"+d)
	}
	var names []string
	for _, top := range topology.Bonded() {
		names = append(names, top.Name)
	}
	out := run(t, k, vm.Job{Work: work, Script: script(names), Output: t.Output(), Timeout: jobMax})
	t.Logf("%s: kernel %s, boot %s, total %s", k.Package, out.Kernel, out.Boot.Round(time.Millisecond), out.Total.Round(time.Millisecond))
	if out.Status != 0 {
		t.Fatalf("the script in the machine ended with status %d", out.Status)
	}
	own := floors(result(t, work, plain))
	t.Logf("the emulator's own outages, without a bond: %v", own)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			judge(t, result(t, work, name), sights[name], own)
			if t.Failed() {
				t.Logf("what the daemons said last:\n%s", read(t, work, name+".log"))
			}
		})
	}
	t.Run("standby of a bond that watches by ARP", func(t *testing.T) { judgeStandby(t, read(t, work, standbyBooks)) })
	t.Run("bond that peerless drives", func(t *testing.T) { judgeDriven(t, result(t, work, watched)) })
	for _, d := range driverTests {
		t.Run("tests of "+d, func(t *testing.T) {
			if s := read(t, work, d+".status"); s != "0" {
				t.Errorf("exit status %s:\n%s", s, read(t, work, d+".out"))
			}
		})
	}
}

// run boots a machine, and another one if the kernel of the first got stuck: of some hundred machines one did, and nothing is
// judged of a kernel that stands still. What it printed stays in the output.
func run(t *testing.T, k *vm.Kernel, job vm.Job) *vm.Outcome {
	t.Helper()
	out, err := vm.Run(t.Context(), k, job)
	if errors.Is(err, vm.ErrStuck) {
		t.Logf("%v; one more machine is tried", err)
		out, err = vm.Run(t.Context(), k, job)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// script runs everything. What it starts may fail: the host judges by what is left in the work directory.
func script(names []string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "cd /tmp && cp /run/job/peerless . || exit 1\n")
	for _, n := range names {
		runs := 1
		if n == plain {
			runs = plainRuns
		}
		fmt.Fprintf(&s, "./peerless lab run %s --runs %d --slow %d --keep --json >/run/job/%s.json\n", n, runs, slow, n)
		if n == watched {
			fmt.Fprintf(&s, "./peerless lab exec %s S -- cat /proc/net/bonding/bond0 >/run/job/%s\n", n, standbyBooks)
		}
		fmt.Fprintf(&s, "./peerless lab down %s\n", n)
		fmt.Fprintf(&s, "tail -n %d /run/peerless-lab/%s.last-failure/?.log >/run/job/%s.log 2>/dev/null\n", logLines, n, n)
	}
	for _, d := range driverTests {
		fmt.Fprintf(&s, "/run/job/%s.test -test.short >/run/job/%s.out 2>&1; echo $? >/run/job/%s.status\n", d, d, d)
	}
	s.WriteString("exit 0\n")
	return s.String()
}

// needKernel skips where this test was not asked for or cannot run, and fails where nobody would see the skip.
func needKernel(t *testing.T) *vm.Kernel {
	t.Helper()
	if os.Getenv("BOND") == "" {
		t.Skip("boots a machine for some minutes: make test-bond")
	}
	refuse := t.Skip
	if os.Getenv("CI") != "" {
		refuse = t.Fatal
	}
	if err := vm.Missing(); err != nil {
		refuse(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	k, err := vm.Fetch(t.Context(), filepath.Join(cache, "peerless", "kernel"))
	if err != nil {
		refuse(err)
	}
	return k
}

// workDir is where the results are left: a directory that BOND_WORK names, else one that goes with the test.
func workDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("BOND_WORK")
	if dir == "" {
		return t.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// build makes a static program: the machine's root is this host's, but its libraries may be slow to reach.
func build(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func read(t *testing.T, work, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(work, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func result(t *testing.T, work, name string) *report.Result {
	t.Helper()
	var r report.Result
	if err := json.Unmarshal([]byte(read(t, work, name+".json")), &r); err != nil {
		t.Fatalf("no result of %s: %v", name, err)
	}
	return &r
}

// floors is how long servers without a bond were out by each fault: the worst address of each run, and of the runs the middle one.
func floors(r *report.Result) map[string]time.Duration {
	worst := map[string][]time.Duration{}
	for _, f := range r.Faults {
		var most time.Duration
		for name := range sights[plain] {
			down, up := outages(f, name)
			most = max(most, slices.Max(append(down, up...)))
		}
		worst[f.Name] = append(worst[f.Name], most)
	}
	own := map[string]time.Duration{}
	for name, all := range worst {
		own[name] = slices.Sorted(slices.Values(all))[len(all)/2]
	}
	return own
}

// judge holds every fault against what the server's options promise.
func judge(t *testing.T, r *report.Result, servers map[string]sight, floors map[string]time.Duration) {
	if !r.OK {
		t.Errorf("not ok: %s", r.Error)
	}
	for _, f := range r.Faults {
		for _, e := range f.Timeline {
			if slices.Contains([]string{"duplicate", "conflict", "host-unstable", "loop"}, e.What) {
				t.Errorf("%s: %s: %s (%s)", f.Name, e.Node, e.Event, e.Why)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(servers)) {
			s := servers[name]
			own := floors[f.Name]
			limit := s.failure + own + promise
			down, up := outages(f, name)
			lost := slices.Max(append(down, up...))
			t.Logf("%-21s %s: to it %s, from it %s, sender's longest pause %s", f.Name, name, spread(down), spread(up), pause(f))
			mends := strings.HasSuffix(f.Name, "-restore")
			switch {
			case pause(f) > stalled:
				t.Logf("%s: the emulator stood still for %s; only the end is judged", f.Name, pause(f))
			case mends && !s.deaf && !s.pushed && lost > slack():
				t.Errorf("%s: the return of %s lost traffic for %s\n%s", f.Name, name, lost, story(f))
			case r.Topology == plain || mends:
				if lost > time.Second {
					t.Errorf("%s: %s was out for %s", f.Name, name, lost)
				}
			case lost > limit+slack():
				t.Errorf("%s: %s was out for %s: sees it after %s, the emulator's own %s\n%s", f.Name, name, lost, s.failure, own, story(f))
			case lost > limit:
				t.Logf("%s: %s was out for %s, longer than promised: sees it after %s, the emulator's own %s", f.Name, name, lost, s.failure, own)
			}
		}
	}
}

// outages are those of the flows to and from a server and its guests.
func outages(f report.Fault, server string) (to, from []time.Duration) {
	for _, fl := range f.Flows {
		d := time.Duration(fl.OutageMs * float64(time.Millisecond))
		switch {
		case !fl.Concerned:
		case fl.From == "G" && belongs(fl.To, server):
			to = append(to, d)
		case fl.To == "G" && belongs(fl.From, server):
			from = append(from, d)
		}
	}
	return to, from
}

// belongs reports whether a machine is the server or a guest of it: S, SV1.
func belongs(machine, server string) bool { return strings.HasPrefix(machine, server) }

// story tells what the nodes did, for those who ask where the time went.
func story(f report.Fault) string {
	var b strings.Builder
	for _, e := range f.Timeline {
		fmt.Fprintf(&b, "%9.1f ms %s: %s (%s)\n", e.TMs, e.Node, e.Event, e.Why)
	}
	return b.String()
}

func spread(d []time.Duration) string {
	d = slices.Sorted(slices.Values(d))
	return fmt.Sprintf("%4d ms (worst %4d)", d[len(d)/2].Milliseconds(), d[len(d)-1].Milliseconds())
}

func pause(f report.Fault) time.Duration {
	var most float64
	for _, fl := range f.Flows {
		most = max(most, fl.SenderPauseMs)
	}
	return time.Duration(most * float64(time.Millisecond)).Round(time.Millisecond)
}

var slaveOf = regexp.MustCompile(`(?s)Slave Interface: (\S+).*?MII Status: (\S+).*?Link Failure Count: (\d+)`)

// judgeStandby reads the kernel's own books: a bond that takes its standby link for dead counts a failure, and one that hears
// nothing on it keeps it down. One failure is from the time before the leaves were there.
func judgeStandby(t *testing.T, books string) {
	found := false
	for _, m := range slaveOf.FindAllStringSubmatch(books, -1) {
		failures, err := strconv.Atoi(m[3])
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s, %d failures", m[1], m[2], failures)
		if m[1] == "eth1" {
			found = true
			if failures > 1 || m[2] != "up" {
				t.Errorf("the bond took its standby link for dead:\n%s", books)
			}
		}
	}
	if !found {
		t.Errorf("no standby link in:\n%s", books)
	}
}

// judgeDriven wants the agent to have moved everybody: its own address is on the bridge above the bond, and the guests are there.
func judgeDriven(t *testing.T, r *report.Result) {
	const everybody = "announced 4 addresses"
	for _, f := range r.Faults {
		if !slices.ContainsFunc(f.Timeline, func(e report.Entry) bool { return e.Node == "T" && strings.Contains(e.Event, everybody) }) {
			t.Errorf("%s: T has not %s", f.Name, everybody)
		}
	}
}
