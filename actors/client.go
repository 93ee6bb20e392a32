package actors

import (
	"context"
	"errors"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/events"
)

// clientActor owns a client's own log: credentials, key packages, pre-shared keys.
type clientActor struct {
	aggregate[conversation.ClientState]
	lifeCycle
	timer Timer // for what is to be sent again
}

func newClientActor(n *Node, e *entry) *clientActor {
	a := &clientActor{}
	a.aggregate = aggregate[conversation.ClientState]{
		domain: a, node: n, entry: e, log: e.identity.log(), state: conversation.NewClientState(e.identity.Client),
	}
	a.receive = a.recovering
	return a
}

// Receive dispatches to what the actor is: recovering, active or stopped.
func (a *clientActor) Receive(c actor.Context) { a.receive(c) }

func (a *clientActor) recovering(c actor.Context) {
	if _, ok := c.Message().(*actor.Started); !ok {
		return
	}
	a.self = c.Self()
	if err := a.recover(c); err != nil {
		if !errors.Is(err, errGone) {
			a.fail(c, err)
		}
		return
	}
	if loss := a.state.Loss(); loss != nil {
		a.node.logger.Error("the client can do nothing any more", "log", a.log.String(), "err", loss)
	}
	if a.state.Created {
		a.node.members.addClient(a.state.Client)
	}
	a.receive = a.active
	a.node.alarms.clear(a.entry.identity)
	a.arm()
}

func (a *clientActor) recover(c actor.Context) error {
	ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Recover)
	defer cancel()
	release, err := a.node.recoveryPermit(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err = a.openJournal(ctx, false); errors.Is(err, events.ErrSecretsLost) {
		err = a.openJournal(ctx, true)
	}
	if err != nil {
		return err
	}
	if err := a.replay(ctx, events.Head{}); err != nil {
		return err
	}
	err = a.journal.CheckAnchor(ctx)
	switch {
	case errors.Is(err, events.ErrSecretsLost):
		return a.mark(c, conversation.MarkClientLost{Code: conversation.ClientSecretsLost, Reason: "the key ring was gone"})
	case errors.Is(err, events.ErrRolledBack):
		return a.mark(c, conversation.MarkClientLost{
			Code: conversation.ClientRolledBack, AnchorVersion: a.journal.Anchor().Version, FoundVersion: a.journal.Head().Version,
			Reason: "the log ends before its anchor",
		})
	case err != nil:
		return err
	}
	a.sweep(ctx)
	return nil
}

// mark records a loss by a fenced append, as for a conversation.
func (a *clientActor) mark(c actor.Context, in conversation.MarkClientLost) error {
	_, err := a.absorb(c, work{Client: in})
	if err == nil && a.gone != nil {
		err = errGone
	}
	return err
}

func (a *clientActor) active(c actor.Context) {
	switch m := c.Message().(type) {
	case *ask[look, conversation.ClientState]:
		if a.copy != nil && a.copy.sealed != nil {
			a.hold(m) // as for a conversation
			return
		}
		a.commit(c) // what came before the question is part of the answer
		if a.gone == nil {
			m.answer(a.state, nil)
		} else {
			m.refuse(errBounced)
		}
	case *askingDue:
		a.askAgain(c)
	case *passivate:
		a.passivate(c, m)
	case *actor.Stopping:
		a.stopTimer()
		a.stopping()
	default:
		a.common(c)
	}
}

// passivate stops the actor unless something is under way.
func (a *clientActor) passivate(c actor.Context, m *passivate) {
	a.commit(c)
	if a.gone != nil || !m.now && (a.copy != nil || len(a.held) > 0) {
		return
	}
	a.saveAnchor()
	a.stopTimer()
	if due := a.state.AskingDue(); due > 0 {
		a.node.alarms.set(a.entry.identity, due)
	}
	a.leave(c, errBounced)
}

func (a *clientActor) step(s conversation.ClientState, w work, nowMS uint64) (stepped[conversation.ClientState], error) {
	if w.Look {
		seen := s
		return stepped[conversation.ClientState]{next: s, step: step{result: result{SeenClient: &seen}}}, nil
	}
	t, err := conversation.StepClient(s, w.Client, a.node.env(nowMS, nil))
	return stepped[conversation.ClientState]{
		next: t.Next, step: step{timeMS: t.Next.TimeMs, events: t.Events, result: result{Client: t.Reply}},
	}, err
}

func (a *clientActor) fold(s conversation.ClientState, r *events.Record) (conversation.ClientState, error) {
	return conversation.FoldClient(s, r)
}

func (a *clientActor) at(s conversation.ClientState, version uint64) conversation.ClientState {
	return s.At(version)
}

func (a *clientActor) storing([]events.Event) {}

func (a *clientActor) merged(evs []events.Event) []events.Event { return evs }

func (a *clientActor) unlocked(actor.Context, *conversation.ClientState) {}

func (a *clientActor) holds(work) bool { return false }

func (a *clientActor) staged(actor.Context, stepped[conversation.ClientState]) {}

func (a *clientActor) recheck(finished[conversation.ClientState]) bool { return false }

// landed tells the client's conversations when keys they may use have changed, and answers the callers.
func (a *clientActor) landed(_ actor.Context, done []finished[conversation.ClientState]) {
	if a.state.Created {
		a.node.members.addClient(a.state.Client)
	}
	// Conversations hear of it first: whoever is answered may use what is new at once.
	if slices.ContainsFunc(done, func(d finished[conversation.ClientState]) bool { return changesKeys(d.events) }) {
		for _, id := range a.node.directory.conversationsOf(a.state.Client) {
			a.node.directory.tell(id, &clientChanged{State: a.state})
		}
	}
	for _, d := range done {
		if d.caller != nil {
			d.caller.answer(d.result, nil)
		}
	}
	a.arm()
}

// changesKeys reports whether events of a client matter to its conversations.
func changesKeys(evs []events.Event) bool {
	for i := range evs {
		switch evs[i].Kind() {
		case "CredentialAdded", "CredentialRemoved", "PreSharedKeyAdded", "PreSharedKeyRemoved":
			return true
		}
	}
	return false
}
