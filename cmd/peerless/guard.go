package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/config"
	"peerless/internal/driver/bgp"
	"peerless/internal/driver/rtnl"
	"peerless/internal/engine"
	"peerless/internal/guard"
	"peerless/internal/logkey"
	"peerless/internal/model"
	"peerless/internal/step"
)

type guardCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The leaf's config file."`
}

const (
	guardPace  = 10 * time.Millisecond // between two looks
	guardPause = time.Second           // between two questions to the gateways, and after a closing that failed
)

// guarding is a guard at work.
type guarding struct {
	leaf  *config.Leaf
	log   *slog.Logger
	eye   *rtnl.Eye
	guard *guard.Guard
	life  guard.Life
	held  string
	pause time.Duration // nothing is closed before: it failed
}

// Run watches until it is told to stop. It holds nothing that anybody needs: its own end changes nothing.
func (c *guardCmd) Run(a *app) error {
	file, err := load(c.Config)
	if err != nil {
		return err
	}
	if err := guardable(file); err != nil {
		return err
	}
	l := file.Leaf
	if err := requireCapabilities(file); err != nil {
		return err
	}
	eye, err := rtnl.OpenEye()
	if err != nil {
		return err
	}
	defer eye.Close()
	g := &guarding{leaf: l, log: newLogger(a.err, &l.Common), eye: eye, guard: guard.New(guardConfig(l))}
	g.log.Info("guarding", logkey.Version, versionText())
	return g.watch(a.ctx)
}

// guardable says why there is nothing to guard.
func guardable(file *config.File) error {
	switch l := file.Leaf; {
	case l == nil:
		return usageError{fmt.Errorf("%s is a %s: only a leaf is guarded", file.Common().Name, file.Common().Role)}
	case l.Advertise.Mode != config.AdvertiseBGP:
		return usageError{errors.New("guard is for advertise: bgp; otherwise nobody forgets the routes of a leaf whose daemon is dead")}
	}
	return nil
}

func guardConfig(l *config.Leaf) guard.Config {
	c := guard.Config{RestartTime: l.GracefulRestart, AskPause: guardPause}
	for _, g := range l.Machine().Groups {
		c.Groups = append(c.Groups, guard.Group{Name: g.Name, Uplinks: g.Uplinks, Downlinks: g.Downlinks, MinUplinks: g.MinUplinks})
	}
	return c
}

func (g *guarding) watch(ctx context.Context) error {
	tick := time.NewTicker(guardPace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := engine.Clock().Mono
		life := lifeOf(&g.leaf.Common)
		orders := g.guard.Look(now, life, guard.Eyes{
			Carrier: g.eye.Carrier, Speaks: func(p model.Port) bool { return g.speaks(ctx, p) },
		})
		g.tell(life)
		if len(orders) > 0 && now >= g.pause && !g.close(orders) {
			g.pause = now + guardPause
		}
	}
}

// tell logs what has changed.
func (g *guarding) tell(life guard.Life) {
	if life != g.life {
		level := slog.LevelInfo
		if life == guard.Dead {
			level = slog.LevelWarn
		}
		g.log.Log(context.Background(), level, "the daemon is "+life.String())
		g.life = life
	}
	if held := g.guard.Held(); held != g.held {
		if g.held = held; held != "" {
			g.log.Warn("downlinks are left open", logkey.Why, held)
		}
	}
}

// speaks asks whether routing goes on at the gateway's end of an uplink.
func (g *guarding) speaks(ctx context.Context, p model.Port) bool {
	for _, u := range g.leaf.Uplinks {
		if u.Port == p {
			return bgp.Speaks(ctx, bgp.Neighbor{
				Address: u.Neighbor, BindInterface: string(p), Port: int(g.leaf.BGP.Port), Password: g.leaf.BGP.Password,
			}) == nil
		}
	}
	return false
}

// close carries the orders out while it holds the daemon's lock, so that the two never write one record at once. It reports whether all
// were carried out.
func (g *guarding) close(orders []guard.Order) bool {
	lock, life := openLife(&g.leaf.Common, syscall.LOCK_EX)
	if lock != nil {
		defer lock.Close()
	}
	if life != guard.Dead {
		return true // it has just returned
	}
	kernel, err := rtnl.New(rtnl.Options{StatePath: statePath(&g.leaf.Common, ".ports"), Logger: g.log.With(logkey.Driver, "rtnl")})
	if err != nil {
		g.log.Error("downlinks are not closed", logkey.Error, err)
		return false
	}
	defer kernel.Close()
	all := true
	for _, o := range orders {
		var wants []step.Want
		for _, p := range o.Group.Downlinks {
			wants = append(wants, step.Want{Object: step.Gate{Port: p, Closed: true}, Urgent: true, Why: o.Why})
		}
		done := true
		for _, err := range kernel.Apply(wants) {
			if err != nil && !errors.Is(err, unix.ENODEV) {
				g.log.Error("a downlink is not closed", logkey.Error, err)
				done = false
			}
		}
		if done {
			g.guard.Closed(o)
			g.log.Warn("closed the downlinks of group "+o.Group.Name, logkey.Count, len(wants), logkey.Why, o.Why)
		}
		all = all && done
	}
	return all
}

// lifeOf says what is known of the node's daemon. Its lock is the truth: the kernel gives it back when the process ends, however.
func lifeOf(c *config.Common) guard.Life {
	lock, life := openLife(c, syscall.LOCK_SH)
	if lock != nil {
		_ = lock.Close()
	}
	return life
}

// openLife takes the daemon's lock if nobody has it, and says what is known of the daemon. A daemon that starts meanwhile waits for us.
func openLife(c *config.Common, how int) (*os.File, guard.Life) {
	f, err := os.Open(statePath(c, ".lock"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, guard.Unborn
		}
		return nil, guard.Alive // whatever that is, it is no sign of death
	}
	if syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB) != nil {
		_ = f.Close()
		return nil, guard.Alive
	}
	id, err := bootID()
	boot, stopped := readLife(f)
	switch {
	case err != nil || boot != id:
		return f, guard.Unborn
	case stopped:
		return f, guard.Stopped
	}
	return f, guard.Dead
}
