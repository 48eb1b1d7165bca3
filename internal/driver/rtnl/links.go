package rtnl

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

// linkTable knows every network device of the namespace by name and index. Run writes it from events; sinks read it.
type linkTable struct {
	ioctl *ioctls // may be nil in tests

	mu      sync.RWMutex
	byIndex map[int]link
	byName  map[model.Port]int
}

func newLinkTable(c *ioctls) *linkTable {
	return &linkTable{ioctl: c, byIndex: map[int]link{}, byName: map[model.Port]int{}}
}

// replace forgets everything and takes the devices of a dump.
func (t *linkTable) replace(links []link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.byIndex)
	clear(t.byName)
	for _, l := range links {
		t.byIndex[l.index], t.byName[l.name] = l, l.index
	}
}

// set takes a device's new state and returns the one before.
func (t *linkTable) set(l link) (old link, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known = t.forget(l.index)
	t.byIndex[l.index], t.byName[l.name] = l, l.index
	return old, known
}

// remove forgets a device and returns its last state.
func (t *linkTable) remove(index int) (old link, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.forget(index)
}

func (t *linkTable) forget(index int) (old link, known bool) {
	old, known = t.byIndex[index]
	delete(t.byIndex, index)
	if t.byName[old.name] == index { // the name may be another device's by now
		delete(t.byName, old.name)
	}
	return old, known
}

func (t *linkTable) at(index int) (link, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	l, ok := t.byIndex[index]
	return l, ok
}

func (t *linkTable) named(port model.Port) (link, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	l, ok := t.byIndex[t.byName[port]]
	return l, ok
}

// index is the port's interface index. A port that no event has told of yet is looked up in the kernel.
func (t *linkTable) index(port model.Port) (int, error) {
	if l, ok := t.named(port); ok {
		return l.index, nil
	}
	if t.ioctl != nil {
		if index, err := t.ioctl.index(port); err == nil {
			return index, nil
		}
	}
	return 0, fmt.Errorf("port %s: %w", port, unix.ENODEV)
}

// name is the inverse of index. A device that is gone keeps its number.
func (t *linkTable) name(index int) model.Port {
	if l, ok := t.at(index); ok {
		return l.name
	}
	if t.ioctl != nil {
		if name, err := t.ioctl.name(index); err == nil {
			return name
		}
	}
	return model.Port(fmt.Sprintf("#%d", index))
}
