package actors

import (
	"context"
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"parley/delivery"
	"parley/events"
	"parley/internal/ids"
)

// groupActor owns the sequencer of one group's order. Package delivery says what a sequencer is; the actor says when it lives: one
// mailbox in front of it, what waits there is one batch, and it ends where a conversation's actor would end.
//
// It blocks on its own append, as every owner of a log here does: the library runs each busy mailbox on a goroutine of its own, so that
// nothing waits but this group, and the appends of many groups meet in the node's gathered store.
type groupActor struct {
	lifeCycle
	node      *Node
	entry     *entry
	self      *actor.PID
	group     ids.ConversationID
	sequencer *delivery.Sequencer // nil until the first batch has opened it

	pending []*ask[submit, []delivery.Outcome] // gathered and not answered
	waiting int                                // submissions in pending
	flushed bool                               // a flush is in the mailbox
	resting Timer                              // runs while the anchor may lag behind the order
	gone    bool                               // the actor is leaving
}

// submit hands submissions to a group's sequencer.
type submit struct{ Submissions []delivery.Submission }

// restDue says that the order's anchor has lagged behind for long enough.
type restDue struct{ note }

func newGroupActor(n *Node, e *entry) *groupActor {
	a := &groupActor{node: n, entry: e, group: e.identity.Conversation}
	a.receive = a.serving
	return a
}

// Receive dispatches to what the actor is: serving, or stopped at a log that cannot be believed.
func (a *groupActor) Receive(c actor.Context) { a.receive(c) }

func (a *groupActor) serving(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		a.self = c.Self()
	case *ask[submit, []delivery.Outcome]:
		a.gather(c, m)
	case *flush:
		a.handle(c)
	case *restDue:
		a.rest(c)
	case *passivate:
		a.passivate(c)
	case *actor.Stopping:
		a.entry.leaving.Store(true)
		a.stopResting()
		a.abandon(errBounced)
	case mail:
		m.refuse(errors.New("actors: not a question for this actor"))
	}
}

// gather takes submissions in, up to the flush that the first of them posted behind what stood in the mailbox.
func (a *groupActor) gather(c actor.Context, m *ask[submit, []delivery.Outcome]) {
	if m.expired() {
		m.refuse(ErrDeadline)
		return
	}
	a.pending = append(a.pending, m)
	if a.waiting += len(m.Query.Submissions); a.waiting >= a.node.limits.CommandsPerGroup {
		a.handle(c)
		return
	}
	if !a.flushed {
		a.flushed = true
		c.Send(c.Self(), &flush{})
	}
}

// handle lets the sequencer judge what was gathered, as one batch, and tells every caller its part.
func (a *groupActor) handle(c actor.Context) {
	a.flushed = false
	if len(a.pending) == 0 || a.gone {
		return
	}
	batch := make([]delivery.Submission, 0, a.waiting)
	for _, m := range a.pending {
		batch = append(batch, m.Query.Submissions...)
	}
	if err := a.open(batch); err != nil {
		a.fail(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Store)
	defer cancel()
	outcomes, err := a.sequencer.Handle(ctx, batch)
	for _, m := range a.pending {
		mine := outcomes[:len(m.Query.Submissions)]
		outcomes = outcomes[len(mine):]
		if errors.Is(err, events.ErrFenced) && untouched(mine) {
			m.refuse(errBounced) // the order has gone on without us: a successor judges by its end
		} else {
			m.answer(mine, nil)
		}
	}
	a.pending, a.waiting = nil, 0
	if err != nil {
		a.lost(c, err)
		return
	}
	if a.resting == nil {
		self, runtime := a.self, a.node.runtime
		a.resting = a.node.clock.AfterFunc(a.node.limits.AnchorDelay, func() { runtime.system.Root.Send(self, &restDue{}) })
	}
}

// untouched reports whether nothing was done for any of the submissions.
func untouched(outcomes []delivery.Outcome) bool {
	for _, o := range outcomes {
		if !errors.Is(o.Err, delivery.Unavailable) {
			return false
		}
	}
	return true
}

// open reads the order. Only a registration may begin one.
func (a *groupActor) open(batch []delivery.Submission) error {
	if a.sequencer != nil {
		return nil
	}
	create := delivery.MustExist
	for _, s := range batch {
		if _, ok := s.(*delivery.Registration); ok {
			create = delivery.MayCreate
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Recover)
	defer cancel()
	// Permits of their own: a conversation that holds one of the others may be waiting for this group.
	release, err := permit(ctx, a.node.groupRecovery)
	if err != nil {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	defer release()
	a.sequencer, err = a.node.delivery.OpenSequencer(ctx, a.group, create)
	return err
}

// fail answers those who wait for an order that could not be opened. One that cannot be believed keeps answering so until the actor is
// passivated; anything else is tried again for the next who asks.
func (a *groupActor) fail(c actor.Context, err error) {
	corrupt := delivery.CodeOf(err) == delivery.Damaged
	if corrupt {
		err = &CorruptError{Log: events.OrderLog(a.group).String(), Err: err}
		a.node.counters.corrupt.Add(1)
		a.node.logger.Error("the order of a group cannot be served", "log", events.OrderLog(a.group).String(), "err", err)
	}
	a.abandon(err)
	if !corrupt {
		a.leave(c)
		return
	}
	a.receive = func(c actor.Context) {
		switch m := c.Message().(type) {
		case mail:
			m.refuse(err)
		case *passivate:
			a.leave(c)
		}
	}
}

// lost ends an actor whose sequencer has lost its place in the order, or cannot know it: its successor reads the log.
func (a *groupActor) lost(c actor.Context, err error) {
	if errors.Is(err, events.ErrFenced) {
		a.node.counters.fenced.Add(1)
	} else {
		a.node.counters.unknown.Add(1)
		a.node.logger.Warn("the order of a group is read again", "log", events.OrderLog(a.group).String(), "err", err)
	}
	a.leave(c)
}

// rest anchors the order, so that so much at most can be lost without being found.
func (a *groupActor) rest(c actor.Context) {
	a.resting = nil
	if a.sequencer == nil || a.gone {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Store)
	defer cancel()
	if err := a.sequencer.Rest(ctx); err != nil {
		a.lost(c, err)
	}
}

// passivate ends the actor after what it has been asked, and leaves the order anchored.
func (a *groupActor) passivate(c actor.Context) {
	a.handle(c)
	if a.gone {
		return
	}
	if a.sequencer != nil {
		ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Store)
		defer cancel()
		if err := a.sequencer.Close(ctx); err != nil {
			a.node.logger.Warn("anchor not written", "log", events.OrderLog(a.group).String(), "err", err)
		}
	}
	a.leave(c)
}

func (a *groupActor) leave(c actor.Context) {
	if a.gone {
		return
	}
	a.gone = true
	a.entry.leaving.Store(true)
	a.stopResting()
	a.abandon(errBounced)
	c.Stop(c.Self())
}

func (a *groupActor) stopResting() {
	if a.resting != nil {
		a.resting.Stop()
		a.resting = nil
	}
}

// abandon answers everybody who waits inside the actor.
func (a *groupActor) abandon(err error) {
	for _, m := range a.pending {
		m.refuse(err)
	}
	a.pending, a.waiting = nil, 0
}

// sequencers is where the delivery service finds the sequencers of this node.
type sequencers struct{ node *Node }

// Submit implements delivery.Host.
func (s sequencers) Submit(ctx context.Context, g delivery.GroupID, subs []delivery.Submission) ([]delivery.Outcome, error) {
	if len(subs) > 0 {
		at := place{group: g, client: delivery.SubmitterOf(subs[0])}
		if !s.node.places.take(at) {
			s.node.groups.refused.Add(1)
			return nil, submitError(ErrBusy)
		}
		defer s.node.places.leave(at)
	}
	outcomes, err := request[submit, []delivery.Outcome](ctx, s.node, GroupIdentity(g), submit{subs})
	if err != nil {
		return nil, submitError(err)
	}
	return outcomes, nil
}

// submitError says to whoever submitted what he may do, in the words of the delivery service.
func submitError(err error) error {
	if _, ok := errors.AsType[*delivery.Error](err); ok {
		return err
	}
	code := delivery.Unknown // the sequencer goes on without its caller: what it accepts stays accepted, and a retry hears of it
	switch {
	case errors.Is(err, ErrBusy):
		code = delivery.Busy
	case errors.Is(err, ErrNotHere), errors.Is(err, ErrDraining):
		code = delivery.NotHere
	case errors.Is(err, ErrDeadline), errors.Is(err, events.ErrUnavailable):
		code = delivery.Unavailable
	}
	return &delivery.Error{Code: code, Detail: err.Error()}
}
