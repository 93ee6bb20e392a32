package parley

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"parley/events"
	"parley/events/jetlog"
)

// DefaultShredInterval is how old a shred key becomes before a node replaces it and destroys what it wrapped.
const DefaultShredInterval = 24 * time.Hour

const (
	shredPatience = 10 * time.Minute // how long a rotation waits for the leases of nodes
	shredLook     = 200 * time.Millisecond
	shredRound    = time.Minute // at least this often a node looks for a shred key that is too old, or a rotation that nobody finishes
	shredRoundMin = 50 * time.Millisecond
)

// ShredReport says what a rotation of the shred key did.
type ShredReport = events.ShredReport

// Shred makes a new shred key, wraps every key ring anew and destroys the old shred keys: whoever has kept copies of the data
// directory, and gets hold of the keys from now on, opens nothing that had died before. Every node of the deployment has to read the
// same key directory. A rotation that is under way elsewhere is waited for; nothing is destroyed before every node that lives says, in its
// lease, that it writes under the new key. It fails where a static key wraps the rings. After an error the old keys are still there, and
// a later rotation destroys them.
func (n *Node) Shred(ctx context.Context) error {
	_, err := n.shredNow(ctx)
	return wrap("shred", err)
}

// Shred does the same for a deployment from outside of its nodes: nothing but Data or URL with its credentials, Namespace, Partitions and
// the keys is used of the options. Data is the directory of a node that does not run.
func Shred(ctx context.Context, o Options) (report ShredReport, err error) {
	n := &Node{options: o.withDefaults()}
	defer func() { err = wrap("shred", errors.Join(err, n.closeAll(context.WithoutCancel(ctx)))) }()
	if o.KEK != "" || o.KEKFile != "" {
		return report, events.ErrNoErasure
	}
	if err := n.connect(); err != nil {
		return report, err
	}
	n.store, err = jetlog.OpenReadOnly(ctx, n.conn, jetlog.Config{Namespace: o.Namespace, Partitions: o.Partitions})
	if err != nil {
		return report, err
	}
	keys, err := events.OpenKeyDir(n.options.KeyDir)
	if err != nil {
		return report, err
	}
	n.vault = keys
	if err := n.openNodes(ctx); err != nil {
		return report, err
	}
	if err := events.CheckVault(ctx, n.store.Rings(), keys); err != nil {
		return report, err
	}
	return n.shredNow(ctx)
}

func (n *Node) shredNow(ctx context.Context) (report ShredReport, err error) {
	if !n.vault.Erases() {
		return report, events.ErrNoErasure
	}
	look := time.NewTicker(shredLook)
	defer look.Stop()
	for {
		rotation, err := n.takeRotation(ctx)
		if err == nil {
			return n.rotate(ctx, rotation, false)
		}
		if !errors.Is(err, events.ErrConflict) {
			return report, err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return report, errors.Join(err, context.Cause(ctx))
		}
	}
}

// takeRotation takes the right to rotate; events.ErrConflict while somebody else has it.
func (n *Node) takeRotation(ctx context.Context) (*jetlog.Rotation, error) {
	instance, err := newInstance()
	if err != nil {
		return nil, err
	}
	return n.nodes.Rotate(ctx, instance)
}

// rotate rotates the shred key while it has the right to.
func (n *Node) rotate(ctx context.Context, rotation *jetlog.Rotation, resume bool) (report ShredReport, err error) {
	held, lose := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		keepRotation(held, rotation, lose)
	}()
	report, err = events.Shred{Rings: n.store.Rings(), Vault: n.vault, Hooks: n.options.Hooks, Resume: resume, Await: n.awaitNodes}.Run(held)
	if err != nil && held.Err() != nil {
		err = errors.Join(err, context.Cause(held))
	}
	lose(nil)
	<-kept
	// A crash here, or before, leaves the right to end by itself, and whoever takes it next finishes.
	if end := rotation.End(context.WithoutCancel(ctx)); end != nil {
		n.options.Logger.Info("the right to rotate the shred key ends by itself", "err", end)
	}
	if err == nil {
		n.options.Logger.Info("old shred keys destroyed", "version", report.Version, "rings", report.Rings, "destroyed", len(report.Destroyed))
	}
	return report, err
}

// keepRotation renews the right to rotate until ctx ends, and ends ctx where that fails.
func keepRotation(ctx context.Context, rotation *jetlog.Rotation, lose context.CancelCauseFunc) {
	due := time.NewTicker(leaseRenewal)
	defer due.Stop()
	for {
		select {
		case <-due.C:
		case <-ctx.Done():
			return
		}
		if err := rotation.Renew(ctx); err != nil {
			lose(err)
			return
		}
	}
}

// awaitNodes returns when every node that lives writes under the version, or a later one.
func (n *Node) awaitNodes(ctx context.Context, version string) error {
	ctx, cancel := context.WithTimeout(ctx, shredPatience)
	defer cancel()
	look := time.NewTicker(shredLook)
	defer look.Stop()
	var behind []string
	for {
		leases, err := n.nodes.List(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(behind, ", "), err)
		}
		behind = nil
		for _, l := range leases {
			if l.Version < version {
				behind = append(behind, fmt.Sprintf("node %s writes under %s", l.Node, l.Version))
			}
		}
		if len(behind) == 0 {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", strings.Join(behind, ", "), context.Cause(ctx))
		}
	}
}

// startShredding replaces the shred key whenever it has become too old, and finishes what another node did not, until the returned
// function is called. Of several nodes that find it due one does it.
func (n *Node) startShredding() (stop func()) {
	keys, ok := n.vault.(*events.KeyDir)
	interval := n.options.ShredInterval
	if !ok || interval < 0 {
		return func() {}
	}
	if interval == 0 {
		interval = DefaultShredInterval
	}
	return inBackground(context.Background(), func(ctx context.Context) {
		round := time.NewTicker(min(max(interval/24, shredRoundMin), shredRound))
		defer round.Stop()
		for {
			select {
			case <-round.C:
			case <-ctx.Done():
				return
			}
			if err := n.shredIfDue(ctx, keys, interval); err != nil && ctx.Err() == nil {
				n.options.Logger.Warn("old shred keys not destroyed yet", "err", err)
			}
		}
	})
}

func (n *Node) shredIfDue(ctx context.Context, keys *events.KeyDir, interval time.Duration) error {
	if due, err := shredDue(ctx, keys, interval); err != nil || !due {
		return err
	}
	rotation, err := n.takeRotation(ctx)
	if errors.Is(err, events.ErrConflict) {
		return nil
	}
	if err != nil {
		return err
	}
	if due, err := shredDue(ctx, keys, interval); err != nil || !due { // somebody was faster
		return errors.Join(err, rotation.End(ctx))
	}
	_, err = n.rotate(ctx, rotation, true)
	return err
}

// shredDue tells whether the shred key is too old, or a rotation was begun and not finished.
func shredDue(ctx context.Context, keys *events.KeyDir, interval time.Duration) (bool, error) {
	versions, err := keys.Versions(ctx)
	if err != nil {
		return false, err
	}
	made, err := keys.Made()
	if err != nil {
		return false, err
	}
	return len(versions) > 1 || time.Since(made) >= interval, nil // files are dated by the machine's clock
}
