package actors

import (
	"context"
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/delivery"
	"parley/events"
	"parley/mlsengine"
)

// recover brings the conversation to where its log and its group's order are: snapshot, records after it, unsealed with the live
// keys, compared with the anchor and with the newest own message in the order.
func (a *conversationActor) recover(c actor.Context) error {
	ctx, cancel := context.WithTimeout(context.Background(), a.node.limits.Recover)
	defer cancel()
	// The client first: its own recovery may need a permit too.
	keys, err := request[look, conversation.ClientState](ctx, a.node, ClientIdentity(a.client), look{})
	if err != nil {
		return fmt.Errorf("keys of client %s: %w", a.client, err)
	}
	a.keys = keys
	release, err := a.node.recoveryPermit(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := a.readLog(ctx, c); err != nil {
		return err
	}
	if err := a.compareOrder(ctx, c); err != nil {
		return err
	}
	if err := a.burnAhead(c); err != nil {
		return err
	}
	return a.renewAnchor(ctx)
}

// readLog replays, and records what replay found missing.
func (a *conversationActor) readLog(ctx context.Context, c actor.Context) error {
	err := a.openJournal(ctx, false)
	if errors.Is(err, events.ErrSecretsLost) {
		err = a.openJournal(ctx, true)
	}
	if err != nil {
		return err
	}
	from, err := a.loadSnapshot(ctx)
	if err != nil {
		return err
	}
	if err := a.replay(ctx, from); err != nil {
		return err
	}
	if from.Version > 0 && a.state.Private == nil && (a.state.Exists() || a.state.Joining != nil) {
		// The record that was to follow the snapshot never came: its secrets lie before, be they of a group or of the join to one.
		if err := a.readAll(ctx); err != nil {
			return err
		}
	}
	a.recollect()
	err = a.journal.CheckAnchor(ctx)
	switch {
	case errors.Is(err, events.ErrSecretsLost):
		return a.mark(c, conversation.MarkSecretsLost{Reason: "the key ring was gone"})
	case errors.Is(err, events.ErrRolledBack):
		anchor := a.journal.Anchor()
		return a.mark(c, conversation.MarkRolledBack{
			AnchorVersion: anchor.Version, FoundVersion: a.journal.Head().Version, Epoch: mlsengine.Epoch(anchor.Epoch),
			Reason: "the log ends before its anchor", Owed: true,
		})
	}
	return err
}

// readAll replays from the first record.
func (a *conversationActor) readAll(ctx context.Context) error {
	if err := a.openJournal(ctx, false); err != nil {
		return err
	}
	a.state = conversation.NewState(a.client, a.conversation)
	a.trail, a.letters, a.told, a.logged = nil, letterPlaces{}, 0, 0
	return a.replay(ctx, events.Head{})
}

// mark records a loss by a fenced append: whoever else serves the log learns of it, and a mistaken conclusion loses the race.
func (a *conversationActor) mark(c actor.Context, in conversation.Input) error {
	a.node.logger.Error("conversation cannot go on in this epoch", "log", a.log.String(), "input", inputName(work{Conversation: in}))
	_, err := a.absorb(c, work{Conversation: in})
	if err == nil && a.gone != nil {
		err = errGone
	}
	return err
}

// loadSnapshot starts from the newest public snapshot, where there is one that this build reads. The journal has checked that it
// belongs to the log, and the replay that follows continues its chain.
func (a *conversationActor) loadSnapshot(ctx context.Context) (events.Head, error) {
	snapshot, err := a.journal.Snapshot(ctx)
	if err != nil || snapshot == nil {
		return events.Head{}, err
	}
	public, err := conversation.DecodePublic(snapshot.State)
	if err != nil {
		a.node.logger.Warn("snapshot not understood; the whole log is read", "log", a.log.String(), "err", err)
		return events.Head{}, nil
	}
	a.state.Public, a.snapshotted, a.snapshotSize = public, snapshot.Head.Version, len(snapshot.State)
	a.trail, a.letters = trail{snapshot.Head}, letterPlaces{newest: snapshot.Head}
	if public.Spool.Seen < snapshot.Head.Version {
		a.told = snapshot.Head.Version // perhaps: what lies before is not read
	}
	return snapshot.Head, nil
}

// compareOrder asks the delivery service for the newest own message: one that our log has not reserved means that the log has lost
// its end, whatever the anchor says.
func (a *conversationActor) compareOrder(ctx context.Context, c actor.Context) error {
	if !a.follows() {
		return nil
	}
	if a.node.delivery == nil {
		return errNoDelivery
	}
	last, ok, err := a.node.delivery.LastOwn(ctx, a.conversation, a.client)
	if errors.Is(err, delivery.UnknownGroup) || err == nil && !ok {
		return nil
	}
	if delivery.CodeOf(err) == delivery.Damaged {
		return &CorruptError{Log: events.OrderLog(a.conversation).String(), Err: err}
	}
	if err != nil {
		return fmt.Errorf("newest own message of group %s: %w", a.conversation, err)
	}
	// Of an epoch that our log has not reached we cannot have said anything either.
	epoch := uint64(a.state.Epoch())
	if last.Kind == delivery.KindApplication && (last.Epoch > epoch || last.Epoch == epoch && last.Generation >= a.state.Reserved.Application) {
		return a.mark(c, conversation.MarkRolledBack{
			AnchorVersion: a.journal.Anchor().Version, FoundVersion: a.journal.Head().Version, Epoch: mlsengine.Epoch(last.Epoch),
			Reason: fmt.Sprintf("generation %d of epoch %d was sent and is not reserved", last.Generation, last.Epoch),
		})
	}
	return nil
}

// burnAhead gives up the generations that the anchor speaks for and the log does not: the record that was to reserve them did not come,
// or is lost, and then something may have been made with them.
func (a *conversationActor) burnAhead(c actor.Context) error {
	anchor, reserved := a.journal.Anchor(), a.state.Reserved
	if mlsengine.Epoch(anchor.Epoch) != a.state.Epoch() ||
		anchor.ApplicationReserved <= reserved.Application && anchor.HandshakeReserved <= reserved.Handshake {
		return nil
	}
	reserved.Application = max(reserved.Application, anchor.ApplicationReserved)
	reserved.Handshake = max(reserved.Handshake, anchor.HandshakeReserved)
	_, err := a.absorb(c, work{Conversation: conversation.Burn{Reserved: reserved}})
	switch left := a.state.Reserved; {
	case err != nil:
		return err
	case a.gone != nil:
		return errGone
	case a.state.Lifecycle == conversation.Active && a.state.Private != nil &&
		(left.Application < reserved.Application || left.Handshake < reserved.Handshake):
		return fmt.Errorf("%w: generations are not given up yet", events.ErrUnavailable) // the store has refused the record
	}
	return nil
}

// renewAnchor writes the anchor where a crash came between an append and it: nothing that waits for it has left, and nothing may
// leave before it stands.
func (a *conversationActor) renewAnchor(ctx context.Context) error {
	head := a.journal.Head()
	if head.Version == 0 {
		return nil
	}
	want, have := a.state.Anchor(), a.journal.Anchor()
	if have.Version == head.Version && have.Epoch == want.Epoch && have.ApplicationReserved >= want.ApplicationReserved &&
		have.HandshakeReserved >= want.HandshakeReserved {
		a.sweep(ctx)
		return nil
	}
	return a.journal.WriteAnchor(ctx, want)
}

// resume takes up what the log says was under way: the group's order is followed, which tells who won a staged commit's epoch,
// and what was stored and not known to have been sent is sent again.
func (a *conversationActor) resume(c actor.Context) {
	a.node.alarms.clear(a.entry.identity)
	if a.state.Lifecycle != conversation.Absent {
		a.node.members.add(a.client, a.conversation)
		a.appeared = true
	}
	a.followOrder(c)
	if a.gone != nil {
		return
	}
	if a.state.Unregistered() && a.follows() {
		if e, err := conversation.Register(a.state, a.env(a.state, nil, a.now())); err == nil {
			a.perform(e)
		}
	}
	for _, e := range a.state.Unsent() {
		a.perform(e)
	}
	a.rebuild(c)
	a.lookAtLoss(c)
	a.node.hub.wake(a.client, a.conversation, everybody)
}
