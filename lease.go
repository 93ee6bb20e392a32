package parley

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"parley/events"
	"parley/events/jetlog"
)

const (
	// leaseRenewal is how often a node renews its lease.
	leaseRenewal = jetlog.LeaseTime / 3
	// leaseLook is how often a node looks whether there is another shred key to write under.
	leaseLook = time.Second
	// leaseCall bounds one try to move on, and the end of a lease.
	leaseCall = 5 * time.Second
	// compareTries is how often a key that another node names is looked for again.
	compareTries = 5
	// proofPlace is what the proof in a lease is bound to.
	proofPlace = "parley node lease"
)

// presence is a node's lease: as long as it is renewed the node counts as alive, and it names the shred key that the node writes under.
// Times are the machine's: the server, which forgets leases, has no other.
type presence struct {
	nodes    *jetlog.Nodes
	guard    *events.RingGuard
	vault    events.KeyVault
	logger   *slog.Logger
	name     string
	instance string // tells this life of the node from every other
	version  string // in the lease
	proof    []byte // that the node has the key of that version
	stop     func()
}

// openNodes opens the leases of the deployment. Those that an embedded server which nobody else can reach has kept are of its earlier life.
func (n *Node) openNodes(ctx context.Context) (err error) {
	if n.nodes, err = n.store.Nodes(ctx); err != nil {
		return err
	}
	if n.server != nil && n.options.Listen == "" {
		return n.nodes.Clear(ctx)
	}
	return nil
}

// startPresence takes the lease. It stands before the node writes its first ring.
func (n *Node) startPresence(ctx context.Context) (*presence, error) {
	instance, err := newInstance()
	if err != nil {
		return nil, err
	}
	p := &presence{
		nodes: n.nodes, guard: events.GuardRings(n.store.Rings(), n.vault), vault: n.vault, logger: n.options.Logger, name: n.options.Name, instance: instance,
	}
	if err := p.advance(ctx); err != nil {
		return nil, err
	}
	if err := p.renew(ctx); err != nil {
		return nil, err
	}
	// Of two nodes that start at once each has its lease in place before it looks, so at least one of them sees the other.
	if err := p.compare(ctx); err != nil {
		return nil, errors.Join(err, p.nodes.Remove(context.WithoutCancel(ctx), instance))
	}
	p.stop = inBackground(context.WithoutCancel(ctx), p.keep)
	return p, nil
}

// newInstance names a life of a node.
func newInstance() (string, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return "", fmt.Errorf("draw the name of an instance: %w", err)
	}
	return hex.EncodeToString(id), nil
}

func (p *presence) renew(ctx context.Context) error {
	return p.nodes.Renew(ctx, p.instance, jetlog.NodeLease{Node: p.name, Version: p.version, Proof: p.proof})
}

// keep renews the lease until ctx ends. A node that cannot say that it has moved on to a new shred key stays alive under the old one, and
// whoever rotates the keys waits for it.
func (p *presence) keep(ctx context.Context) {
	look := time.NewTicker(leaseLook)
	defer look.Stop()
	renewed, failing := time.Now(), false
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		current, err := p.vault.Current(ctx)
		if err == nil && current == p.version && time.Since(renewed) < leaseRenewal {
			continue
		}
		if err == nil {
			err = p.advance(ctx)
		}
		if renewal := p.renew(ctx); renewal == nil {
			renewed = time.Now()
		} else {
			err = renewal
		}
		if err != nil && !failing && ctx.Err() == nil {
			p.logger.Warn("the node's lease could not be brought up to date; it is tried again", "shred key", p.version, "err", err)
		}
		failing = err != nil
	}
}

// advance moves on to the current shred key.
func (p *presence) advance(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseCall)
	defer cancel()
	version, err := p.guard.Advance(ctx)
	if err != nil {
		return err
	}
	proof, err := p.vault.Wrap(ctx, version, []byte(proofPlace), []byte(p.instance))
	if err == nil {
		p.version, p.proof = version, proof
	}
	return err
}

// compare refuses a node whose keys are not those of the nodes that live: each would write rings that the others cannot read. A key that a
// lease names is destroyed only when the lease has moved on, so one that is missing is looked for again.
func (p *presence) compare(ctx context.Context) error {
	look := time.NewTicker(shredLook)
	defer look.Stop()
	for try := 0; ; try++ {
		leases, err := p.nodes.List(ctx)
		if err != nil {
			return err
		}
		var strange error
		for _, l := range leases {
			if len(l.Proof) == 0 {
				continue
			}
			if _, err := p.vault.Unwrap(ctx, l.Version, []byte(proofPlace), l.Proof); err != nil {
				strange = fmt.Errorf("%w: node %s has other keys, and the nodes of a deployment share them: %w", events.ErrKeyMissing, l.Node, err)
			}
		}
		if strange == nil || try == compareTries {
			return strange
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return errors.Join(strange, context.Cause(ctx))
		}
	}
}

// end gives the lease up; one that cannot be given up ends by itself.
func (p *presence) end(ctx context.Context) {
	p.stop()
	ctx, cancel := context.WithTimeout(ctx, leaseCall)
	defer cancel()
	if err := p.nodes.Remove(ctx, p.instance); err != nil {
		p.logger.Info("the node's lease ends by itself", "err", err)
	}
}
