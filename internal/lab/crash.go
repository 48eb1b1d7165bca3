package lab

import (
	"context"
	"fmt"
	"slices"

	"peerless/internal/lab/netns"
)

// This file is about programs that are killed on purpose, and come back.

// kill ends a daemon, or a program of a routing engine, without warning and returns when it is gone. What is "daemon", or the
// program's name.
func (in *instance) kill(node, what string) error {
	id, err := in.doom(node, what)
	if err != nil {
		return err
	}
	if what != "daemon" {
		return in.engines[node].Kill(what)
	}
	if err := netns.Stop([]netns.ID{id}, 0); err != nil {
		return fmt.Errorf("kill %s of %s: %w", what, node, err)
	}
	return nil
}

// doom makes the end of the running process no reason to give the lab up.
func (in *instance) doom(node, what string) (netns.ID, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, p := range slices.Backward(in.state.Procs) {
		if p.Node == node && p.What == what && p.Alive() {
			in.doomed[p.ID] = true
			return p.ID, nil
		}
	}
	return netns.ID{}, fmt.Errorf("kill %s of %s: it does not run", what, node)
}

// revive starts again what kill ended.
func (in *instance) revive(ctx context.Context, node, what string) error {
	if what == "daemon" {
		n, _ := in.top.Node(node)
		return in.startDaemon(n)
	}
	engine := in.engines[node]
	for _, p := range engine.Processes() { // with zebra, the others are started again too
		if p.Alive() {
			if _, err := in.doom(node, p.Name); err != nil {
				return err
			}
		}
	}
	if err := engine.Restart(ctx, what); err != nil {
		return err
	}
	return in.noteEngine(node)
}
