package parley

import (
	"context"
	"time"

	"parley/events"
)

// DefaultShredInterval is how often a node with an embedded server destroys what its old shred keys wrapped.
const DefaultShredInterval = 24 * time.Hour

// shredPause is how long a rotation waits for ring writes that began before it.
const shredPause = 5 * time.Second

// Shred makes a new shred key, wraps every key ring anew and destroys the old shred keys: whoever has kept copies of the data
// directory, and gets hold of the keys from now on, opens nothing that had died before. Every node of the deployment has to read the
// same key directory. It fails where a static key wraps the rings.
func (n *Node) Shred(ctx context.Context) error {
	report, err := events.Shred{
		Rings: n.store.Stores().Rings, Vault: n.vault, Hooks: n.options.Hooks,
		Await: func(ctx context.Context, _ string) error { return n.wait(ctx, shredPause) },
	}.Run(ctx)
	if err == nil {
		n.options.Logger.Info("old shred keys destroyed", "version", report.Version, "rings", report.Rings, "destroyed", len(report.Destroyed))
	}
	return wrap("shred", err)
}

// wait lets time pass.
func (n *Node) wait(ctx context.Context, d time.Duration) error {
	due := make(chan struct{})
	timer := n.options.Clock.AfterFunc(d, func() { close(due) })
	select {
	case <-due:
		return nil
	case <-ctx.Done():
		timer.Stop()
		return context.Cause(ctx)
	}
}

// startShredding rotates the shred key whenever it has become too old, until the returned function is called. It is the embedded
// server's node that does so: of several nodes on a server of its own, none knows what the others are about to write.
func (n *Node) startShredding() (stop func()) {
	keys, ok := n.vault.(*events.KeyDir)
	interval := n.options.ShredInterval
	if !ok || n.server == nil || interval < 0 {
		return func() {}
	}
	if interval == 0 {
		interval = DefaultShredInterval
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			age := time.Duration(0)
			made, err := keys.Made()
			if err == nil {
				age = max(time.Since(made), 0) // files are dated by the machine's clock
			}
			if n.wait(ctx, max(interval-age, interval/24)) != nil {
				return
			}
			if err := n.Shred(ctx); err != nil && ctx.Err() == nil {
				n.options.Logger.Warn("old shred keys not destroyed yet", "err", err)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
