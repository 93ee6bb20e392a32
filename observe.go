package parley

import (
	"context"

	"parley/actors"
	"parley/conversation"
)

// Position is a place in a conversation's log: what an observer has got to, and where another one can go on. It is the same for the same
// change on whatever node it is told, and however often. The zero position is before everything.
type Position = actors.Place

// Positions are how far observers have come, by conversation. Conversations that are not in it are observed from their beginning.
type Positions map[ConversationID]Position

// EpochChange is an epoch that a conversation has entered: by an own commit, somebody else's or an external one, by being created or
// joined; or, with the kind MembershipEvicted, the epoch that began without us.
type EpochChange struct {
	Conversation *Conversation
	Position     Position // to go on behind it
	Epoch        uint64
	Membership   Membership // who has done it, and what it did
}

// EpochObserver is told of an epoch. See Client.ObserveEpochs.
type EpochObserver func(context.Context, EpochChange) error

// ObserveEpochs tells an observer of every epoch of the client's conversations, those that begin meanwhile included: in the order of the
// epochs of a conversation, once the epoch is durable, and again until the observer has returned nil. It returns when ctx ends, the
// node does, or another node serves the client (ErrNotHere).
//
// Nothing waits for an observer but what it is still to be told of the same conversation, and it may use the client's conversations as
// anybody. Where it begins is for the caller to say, who keeps the positions of the changes that were dealt with: whoever observes from
// there again, here or on the node that has taken over, is told the rest. It is told what it was told twice where that was not kept.
func (c *Client) ObserveEpochs(ctx context.Context, after Positions, observe EpochObserver) error {
	o, err := c.node.actors.ObserveEpochs(ctx, c.id)
	if err != nil {
		return wrap("observe epochs", err)
	}
	defer o.Close()
	seen, failures := make(Positions, len(after)), map[ConversationID]int{}
	for id, position := range after {
		seen[id] = position
	}
	for {
		id, err := o.Next(ctx)
		if err != nil {
			return wrap("observe epochs", err)
		}
		changes, next, err := o.Changes(ctx, id, seen[id])
		if err != nil {
			if err := o.Later(ctx, id, err); err != nil {
				return wrap("observe epochs", err)
			}
			continue
		}
		if seen[id], err = c.tell(ctx, id, seen[id], changes, observe); err != nil {
			failures[id]++
			c.node.options.Logger.Warn("an observer of epochs failed and is called again", "conversation", id.String(), "err", err)
			o.Failed(id, failures[id])
			continue
		}
		delete(failures, id)
		if seen[id] = next; len(changes) > 0 {
			o.Again(id) // there may be more
		}
	}
}

// tell calls an observer for changes, and returns how far it has come.
func (c *Client) tell(ctx context.Context, id ConversationID, at Position, changes []actors.Change, observe EpochObserver) (Position, error) {
	for i, change := range changes {
		told := EpochChange{Conversation: c.Conversation(id), Position: change.Place, Epoch: uint64(change.Membership.Epoch), Membership: change.Membership}
		if !entersEpoch(changes[i:]) {
			continue
		}
		if err := observe(ctx, told); err != nil {
			return at, err
		}
		at = change.Place
	}
	return at, nil
}

// entersEpoch reports whether the first of some changes is an epoch to be told of. The commit that removes us is told by what it did to us.
func entersEpoch(changes []actors.Change) bool {
	switch m := changes[0].Membership; m.Kind {
	case conversation.MembershipCreated, conversation.MembershipJoined, conversation.MembershipEvicted:
		return true
	case conversation.MembershipChanged:
		return len(changes) == 1 || changes[1].Membership.Kind != conversation.MembershipEvicted || changes[1].Version != changes[0].Version
	}
	return false
}

// Positions are where the client's conversations stand now: whoever observes after them is told what comes from now on.
func (c *Client) Positions(ctx context.Context) (Positions, error) {
	all, err := c.Conversations(ctx)
	if err != nil {
		return nil, err
	}
	now := make(Positions, len(all))
	for _, conv := range all {
		s, err := conv.state(ctx)
		if err != nil {
			return nil, conv.wrap("positions", err)
		}
		now[conv.id] = actors.Behind(s.Version)
	}
	return now, nil
}

// HistoryObserver is told of a reader's secret. See Client.ObserveHistory.
type HistoryObserver func(context.Context, *Conversation, HistoryShared) error

// ObserveHistory tells an observer of every history secret that the client's conversations hold, our own included, in the order in which
// they came and again until the observer has returned nil. Then it can be read no more: keep it. As long as it observes, the stream of
// events does not hand them out; at most one does. It returns when ctx ends, the node does, or another node serves the client.
//
// How far the observer has come is in the log: it goes on where it was, also on the node that has taken over.
func (c *Client) ObserveHistory(ctx context.Context, observe HistoryObserver) error {
	o, err := c.node.actors.ObserveHistory(ctx, c.id)
	if err != nil {
		return wrap("observe history", err)
	}
	defer o.Close()
	failures := map[ConversationID]int{}
	for {
		id, err := o.Next(ctx)
		if err != nil {
			return wrap("observe history", err)
		}
		held, err := o.Secrets(ctx, id)
		for i := 0; i < len(held) && err == nil; i++ {
			if err = observe(ctx, c.Conversation(id), *sharedHistory(held[i].Message)); err != nil {
				failures[id]++
				c.node.options.Logger.Warn("an observer of history failed and is called again", "conversation", id.String(), "err", err)
				o.Failed(id, failures[id])
				break
			}
			delete(failures, id)
			err = o.Acknowledge(ctx, held[i])
		}
		if err != nil && failures[id] == 0 {
			if err := o.Later(ctx, id, err); err != nil {
				return wrap("observe history", err)
			}
		}
	}
}
