package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/events"
	"parley/mlsengine"
)

// lifeCycle is which of its receive functions an actor is in, and why it stopped.
type lifeCycle struct {
	receive func(actor.Context)
}

// common is what every active aggregate understands.
func (g *aggregate[S]) common(c actor.Context) {
	switch m := c.Message().(type) {
	case *ask[work, result]:
		g.gather(c, m)
	case *flush:
		g.flush(c, m)
	case *anchorDue:
		g.anchorNow()
	case *ask[txWork, txWorked]:
		g.txWork(c, m)
	case *ask[txSeal, *events.Prepared]:
		g.txSeal(m)
	case *ask[txOutcome, struct{}]:
		g.txOutcome(c, m)
	case *ask[txAwait, txWorked]:
		g.txAwait(m)
	case *txSettled:
		g.txSettled(m)
	case *lockExpired:
		g.orphaned(c, m.ID)
	case *actor.Terminated:
		g.coordinatorGone(c, m.Who)
	case mail:
		m.refuse(errors.New("actors: not a question for this actor"))
	}
}

// openJournal reads the log's ring.
func (g *aggregate[S]) openJournal(ctx context.Context, acceptLoss bool) (err error) {
	g.journal, err = events.OpenJournal(ctx, g.node.stores, g.node.vault, g.log, events.JournalOptions{
		Hooks: g.node.hooks, AcceptLoss: acceptLoss,
	})
	return err
}

// fail makes a stopped actor of one that could not recover. A log that cannot be believed keeps answering so until the actor is
// passivated, for reading it again would tell nothing new; anything else is answered to those who wait now, and tried again for
// the next.
func (a *clientActor) fail(c actor.Context, err error)       { a.receive = a.stopped(c, err) }
func (a *conversationActor) fail(c actor.Context, err error) { a.receive = a.stopped(c, err) }

func (g *aggregate[S]) stopped(c actor.Context, err error) func(actor.Context) {
	err = g.diagnose(err)
	_, corrupt := errors.AsType[*CorruptError](err)
	if corrupt {
		g.node.counters.corrupt.Add(1)
	}
	g.node.logger.Error("activation failed", "log", g.log.String(), "err", err)
	if !corrupt {
		g.entry.failed.Store(true)
		c.Send(c.Self(), &passivate{now: true}) // behind what waits now
	}
	return func(c actor.Context) {
		switch m := c.Message().(type) {
		case mail:
			m.refuse(err)
		case *passivate:
			g.entry.rest.Store(corrupt || errors.Is(err, events.ErrKeyMissing) || errors.Is(err, errNoDelivery))
			g.leave(c, errBounced)
		}
	}
}

// diagnose names the kind of failure.
func (g *aggregate[S]) diagnose(err error) error {
	if _, ok := errors.AsType[*CorruptError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*events.ErrCorrupt](err); ok || errors.Is(err, events.ErrRingCorrupt) {
		return &CorruptError{Log: g.log.String(), Err: err}
	}
	return fmt.Errorf("%w: %w", ErrActivation, err)
}

// anchorDue says that the anchor has lagged behind the log for long enough.
type anchorDue struct{ note }

// anchorSoon sees to it that the anchor follows an append within a moment, so that so much at most can be lost without being found.
func (g *aggregate[S]) anchorSoon() {
	if g.anchor != nil || g.journal.Anchor().Version == g.journal.Head().Version {
		return
	}
	self, runtime := g.self, g.node.runtime
	g.anchor = g.node.clock.AfterFunc(g.node.limits.AnchorDelay, func() { runtime.system.Root.Send(self, &anchorDue{}) })
}

// anchorNow writes the anchor, and lets keys die whose time is over. A store that does not take it now is asked again.
func (g *aggregate[S]) anchorNow() {
	g.anchor = nil
	if g.gone != nil || g.journal.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.node.limits.Store)
	defer cancel()
	if err := g.journal.Sweep(ctx, g.now()); err != nil {
		g.node.logger.Warn("anchor not written", "log", g.log.String(), "err", err)
		g.anchorSoon()
	}
}

// saveAnchor writes the anchor at passivation and at a clean stop: from here on, a log that comes back shorter is found out.
func (g *aggregate[S]) saveAnchor() {
	if g.journal == nil || g.journal.Head().Version == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.node.limits.Store)
	defer cancel()
	if err := g.journal.WriteAnchor(ctx, g.journal.Anchor()); err != nil {
		g.node.logger.Warn("anchor not written", "log", g.log.String(), "err", err)
	}
}

// stopping refuses whoever still waits inside the actor.
func (g *aggregate[S]) stopping() {
	g.entry.leaving.Store(true)
	g.domain.abandon(errBounced)
}

// env is all that a step may know of the world.
func (n *Node) env(nowMS uint64, identity *mlsengine.SigningIdentity) conversation.Env {
	return conversation.Env{
		NowMs: nowMS, Entropy: n.entropy, Identity: identity, LeaseValid: true, KeyPackageLifetimeMax: uint64(max(n.limits.KeyPackages, 0) / time.Second),
		KeyTables: &n.tables,
	}
}
