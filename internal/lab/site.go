package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/lab/netns"
	"peerless/internal/lab/topology"
)

// site is where labs of one kind live on a machine.
type site struct {
	root   string // directory of state; one directory a topology below it
	prefix string // of namespaces
}

var machine = site{root: "/run/peerless-lab", prefix: "peerless-"}

func (s site) dir(topology string) string      { return filepath.Join(s.root, topology) }
func (s site) lockPath(topology string) string { return filepath.Join(s.root, topology+".lock") }
func (s site) failurePath(topology string) string {
	return filepath.Join(s.root, topology+".last-failure")
}
func (s site) space(topology, node string) string { return s.prefix + topology + "-" + node }
func (s site) socket(topology, node string) string {
	return filepath.Join(s.dir(topology), node+".sock")
}

// Modes of a lab.
const (
	modeRun = "run" // its processes end with the run
	modeUp  = "up"  // it stands until `lab down`
)

// state is what a lab leaves on disk, so that the next one can clean up after a crash.
type state struct {
	Topology string     `json:"topology"`
	Mode     string     `json:"mode"`
	Owner    netns.ID   `json:"owner"`
	Started  time.Time  `json:"started"`
	Procs    []procLine `json:"procs"`
}

type procLine struct {
	netns.ID
	Node string `json:"node"`
	What string `json:"what"` // daemon, probe, or an engine's program
}

func (st state) alive() (n int) {
	for _, p := range st.Procs {
		if p.Alive() {
			n++
		}
	}
	return n
}

func (s site) load(topology string) (state, error) {
	b, err := os.ReadFile(filepath.Join(s.dir(topology), "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("read state of lab %s: %w", topology, err)
	}
	var st state
	if err := json.Unmarshal(b, &st); err != nil {
		return state{}, nil // half written in a crash: the namespaces are known without it
	}
	return st, nil
}

func (s site) save(st state) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state of lab %s: %w", st.Topology, err)
	}
	path := filepath.Join(s.dir(st.Topology), "state.json")
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return fmt.Errorf("write state of lab %s: %w", st.Topology, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write state of lab %s: %w", st.Topology, err)
	}
	return nil
}

// lock makes this process the only one that works on the topology, until it ends or the file is closed.
func (s site) lock(topology string) (*os.File, error) {
	if err := os.MkdirAll(s.root, 0o755); err != nil {
		return nil, fmt.Errorf("make lab directory: %w", err)
	}
	f, err := os.OpenFile(s.lockPath(topology), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock lab %s: %w", topology, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := f.ReadAt(holder, 0)
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lab %s is in use by process %s: only one at a time", topology, strings.TrimSpace(string(holder[:n])))
		}
		return nil, fmt.Errorf("lock lab %s: %w", topology, err)
	}
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // only for the other's error text
	return f, nil
}

// claim takes the lock, refuses if the lab stands, and removes what a crashed predecessor left.
func (s site) claim(t topology.Topology) (*os.File, error) {
	lock, err := s.lock(t.Name)
	if err != nil {
		return nil, err
	}
	st, err := s.load(t.Name)
	if err == nil && st.Mode == modeUp && st.alive() > 0 {
		err = fmt.Errorf("lab %s is up since %s: `lab down %s` first", t.Name, st.Started.Format(time.TimeOnly), t.Name)
	}
	if err == nil {
		err = s.clean(t, 0)
	}
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return lock, nil
}

// memory puts a directory into memory, as /run is on most machines: daemons write there before they close a port. Where that is
// forbidden the directory stays as it is.
func memory(dir string) {
	_ = unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=64m,mode=0755")
}

// clean ends the processes that the state names and removes namespaces and files. It needs the lock.
func (s site) clean(t topology.Topology, grace time.Duration) error {
	st, err := s.load(t.Name)
	errs := []error{err}
	var ids []netns.ID
	for _, p := range st.Procs {
		ids = append(ids, p.ID)
	}
	errs = append(errs, netns.Stop(ids, grace))
	for _, n := range t.Nodes {
		errs = append(errs, netns.Delete(s.space(t.Name, n.Name)))
	}
	_ = unix.Unmount(filepath.Join(s.dir(t.Name), "state"), unix.MNT_DETACH) // most often there is none
	if err := os.RemoveAll(s.dir(t.Name)); err != nil {
		errs = append(errs, fmt.Errorf("remove state of lab %s: %w", t.Name, err))
	}
	return errors.Join(errs...)
}
