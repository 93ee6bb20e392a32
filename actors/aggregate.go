package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/events"
	v1 "parley/events/v1"
)

// stepped is what one step of a domain leads to.
type stepped[S any] struct {
	next S
	step
}

// step is what becomes of a step beside the state.
type step struct {
	timeMS   uint64
	events   []events.Event
	outbox   []conversation.Effect
	anchor   *events.Anchor
	result   result
	inFlight bool // the command ends when a later step completes it
	reserved bool // own generations were reserved: nothing made with them may be seen before the record is durable
}

// domain is the pure core of one kind of log, as the shell drives it.
type domain[S any] interface {
	step(s S, w work, nowMS uint64) (stepped[S], error)
	fold(s S, r *events.Record) (S, error)
	at(s S, version uint64) S
	// landed runs after steps became durable, in their order: replies that are complete are given, effects begun.
	landed(c actor.Context, done []finished[S])
	// storing runs before a record is appended.
	storing(evs []events.Event)
	// staged runs after a step on a transaction's copy.
	staged(c actor.Context, t stepped[S])
	// merged says what the steps of a record decided in as few events as may be.
	merged(evs []events.Event) []events.Event
	// unlocked runs after a transaction has let go, with the copy that was dropped if there was one.
	unlocked(c actor.Context, dropped *S)
	// recheck looks whether a refused input was carried out when it was asked for first, and then answers its caller; false: it need not.
	recheck(d finished[S]) bool
	// abandon answers everybody who waits inside the actor.
	abandon(err error)
	// holds reports whether an input must wait until the commit under way is settled.
	holds(w work) bool
}

// finished is a step that became durable, with the caller who asked for it (nil: the shell itself).
type finished[S any] struct {
	step   // without the state it led to: many of these wait in a transaction
	work   work
	caller *ask[work, result]
}

// aggregate is one log's state in memory, and the only writer of that log on this node. It belongs to one actor.
type aggregate[S any] struct {
	domain[S]
	node    *Node
	entry   *entry
	self    *actor.PID
	log     events.LogID
	journal *events.Journal
	state   S // the fold of exactly the journal's records

	pending  []*ask[work, result] // gathered for the next record
	flushed  bool                 // a flush is in the mailbox
	expected int                  // callers who were answered together and have not come again yet
	held     []mail               // waits for a transaction or for the commit under way
	copy     *txCopy[S]           // the transaction that has the lock
	anchor   Timer                // runs while the anchor may lag behind the log

	gone error // the actor is leaving, and why
}

// replay reads the log: after it, state is what the records say.
func (g *aggregate[S]) replay(ctx context.Context, from events.Head) error {
	return g.journal.Replay(ctx, from, func(r *events.Record) error {
		next, err := g.fold(g.state, r)
		if err != nil {
			return &CorruptError{Log: g.log.String(), Err: fmt.Errorf("record %d: %w", r.Version, err)}
		}
		g.state = next
		return nil
	})
}

// fate is what became of an append.
type fate uint8

const (
	fateStored  fate = iota
	fateRefused      // nothing stored, memory stands: the error goes to the callers
	fateLost         // nothing stored, memory is behind the log: reload; the callers ask again
	fateUnknown      // nobody knows
)

// errRingBehind stops the actor: its record is durable, but nothing that waits for the anchor may leave.
var errRingBehind = errors.New("actors: the anchor could not be written")

// store appends one record and moves memory once it is durable.
func (g *aggregate[S]) store(next S, d events.Draft) (fate, error) {
	ctx, cancel := context.WithTimeout(context.Background(), g.node.limits.Store)
	defer cancel()
	_, err := g.journal.Append(ctx, d)
	if errors.Is(err, events.ErrUnknownOutcome) && g.journal.Pending() != nil {
		err = g.settle(err)
	}
	return g.judge(next, err)
}

// secure writes what the ring lags behind in, once everybody who waited has his answer: the end of keys that nothing needs any more,
// the anchor of a new epoch. A crash before it leaves both to the successor, who finds the record and reads there which keys are dead.
func (g *aggregate[S]) secure(c actor.Context) {
	if g.gone != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.node.limits.Store)
	defer cancel()
	if err := g.journal.Secure(ctx); err != nil {
		g.node.logger.Warn("key ring not written; the log is read again", "log", g.log.String(), "err", err)
		g.leave(c, errBounced)
	}
}

// sweep makes up, at activation, for what a crash has left of dead keys and of the anchor. A store that does not take it now does later.
func (g *aggregate[S]) sweep(ctx context.Context) {
	if err := g.journal.Sweep(ctx, g.now()); err != nil {
		g.node.logger.Warn("key ring not written yet", "log", g.log.String(), "err", err)
		g.anchorSoon()
	}
}

// noteAt sends the actor a note once a time has come, in Unix milliseconds, and not within a second.
func (g *aggregate[S]) noteAt(due uint64, note any) Timer {
	wait := time.Duration(0)
	if now := g.now(); due > now {
		wait = time.Duration(due-now) * time.Millisecond
	}
	self, system := g.self, g.node.runtime.system
	return g.node.clock.AfterFunc(max(wait, time.Second), func() { system.Root.Send(self, note) })
}

// swift reports whether what a record leaves to be written to the ring may come after the answers: not where the end of keys was asked
// for, and not where a commit leaves with generations of the epoch that it begins, for which only an anchor behind the record speaks.
func swift[S any](evs []events.Event, done []finished[S]) bool {
	return !destroys(done) && !slices.ContainsFunc(evs, func(e events.Event) bool {
		staged, ok := e.Body.(*v1.CommitStaged)
		return ok && staged.GetNextReserved() > 0
	})
}

// destroys reports whether the end of keys is what somebody asked for, and waits for.
func destroys[S any](done []finished[S]) bool {
	return slices.ContainsFunc(done, func(d finished[S]) bool { return d.work.destroys() })
}

// judge turns the outcome of an append into what happens next.
func (g *aggregate[S]) judge(next S, err error) (fate, error) {
	switch {
	case err == nil:
		// A crash here loses nothing: the successor folds the record.
		err := crossing(context.Background(), g.node.hooks, StepSwap, g.log, func() error {
			g.state = g.at(next, g.journal.Head().Version)
			return nil
		})
		if err != nil {
			return fateUnknown, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		}
		g.anchorSoon()
		return fateStored, nil
	case errors.Is(err, events.ErrFenced), errors.Is(err, events.ErrDead):
		return fateLost, err
	case errors.Is(err, events.ErrFull), errors.Is(err, events.ErrUnavailable), errors.Is(err, events.ErrTooLarge),
		errors.Is(err, events.ErrRingFull), errors.Is(err, events.ErrBadDraft):
		if g.journal.Err() != nil {
			return fateUnknown, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		}
		return fateRefused, err
	case errors.Is(err, events.ErrRingBehind):
		return fateUnknown, fmt.Errorf("%w: %w: %w", ErrUnknownOutcome, errRingBehind, err)
	default:
		return fateUnknown, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
}

// settle looks for a record of unknown outcome in the log, or takes its place there. Either way the journal must be reopened.
func (g *aggregate[S]) settle(unknown error) error {
	ctx, cancel := context.WithTimeout(context.Background(), g.node.limits.Store)
	defer cancel()
	outcome, err := g.journal.Settle(ctx, g.journal.Pending())
	switch {
	case err != nil:
		return errors.Join(unknown, err)
	case outcome == events.Stored:
		return fmt.Errorf("%w: the record stands after all", events.ErrRingBehind)
	default:
		return fmt.Errorf("%w: another record took the place", events.ErrFenced)
	}
}

// leave stops the actor: whoever waits is answered with why, or bounced so that a successor serves them.
func (g *aggregate[S]) leave(c actor.Context, why error) {
	if g.gone != nil {
		return
	}
	g.gone = why
	g.entry.leaving.Store(true)
	if g.anchor != nil {
		g.anchor.Stop()
	}
	g.domain.abandon(why)
	c.Stop(c.Self())
}

// abandon answers everybody who waits for the log.
func (g *aggregate[S]) abandon(err error) {
	for _, m := range g.pending {
		m.refuse(err)
	}
	for _, m := range g.held {
		m.refuse(err)
	}
	g.pending, g.held = nil, nil
	if g.copy != nil {
		g.copy.timer.Stop()
		g.copy.forsake(err)
	}
}

// now is the time of the next record.
func (g *aggregate[S]) now() uint64 { return milliseconds(g.node.clock.Now()) }
