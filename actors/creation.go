package actors

import (
	"context"
	"errors"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/delivery"
	"parley/internal/ids"
	"parley/mlsengine"
)

// An id is free for a new conversation where the delivery service has no order of that name. That is looked at before anything is durable.
// Two creators of one id may both have looked in time: the order belongs to whose registration came first, and the other one's conversation
// is wiped again, which its log says.

// Create makes a conversation whose only member is the client. The conversation and the client's list of it are one batch. It returns when
// the group's order stands, or when that has to be tried again, which goes on by itself.
func (n *Node) Create(ctx context.Context, client ids.ClientID, id ids.ConversationID, in conversation.Create) (conversation.Reply, error) {
	if err := n.chooseCredential(ctx, client, &in.Config); err != nil {
		return conversation.Reply{}, err
	}
	ordered := in.Config.Transport == conversation.TransportBuiltIn && n.delivery != nil
	if ordered {
		if err := n.checkFree(ctx, client, id); err != nil {
			return conversation.Reply{}, err
		}
	}
	results, err := n.together(ctx, client, []txRun{
		{Target: ConversationIdentity(client, id), Work: work{Conversation: in}},
		{Target: ClientIdentity(client), Work: work{Client: conversation.ListConversation{Conversation: id}}},
	})
	if err != nil {
		return conversation.Reply{}, err
	}
	n.members.add(client, id)
	n.wakeGroup(id)
	if err = finalError(results[0].Conversation); err == nil && ordered {
		_, err = request[registration, struct{}](ctx, n, ConversationIdentity(client, id), registration{})
	}
	return results[0].Conversation, err
}

func errTaken(id ids.ConversationID) *conversation.CommandError {
	return &conversation.CommandError{
		Code: conversation.ConversationAlreadyExists, Advice: conversation.GiveUp, Detail: "the delivery service has another group " + id.String(),
	}
}

// checkFree refuses an id under which there is an order already, unless it is of a conversation that the client has.
func (n *Node) checkFree(ctx context.Context, client ids.ClientID, id ids.ConversationID) error {
	state, err := n.ConversationState(ctx, client, id)
	if err != nil {
		return err
	}
	switch state.Lifecycle {
	case conversation.Absent, conversation.Wiped, conversation.Evicted:
	default:
		return nil // the domain knows what to say, also to a command that is asked again
	}
	_, err = n.delivery.Lookup(ctx, id, client)
	switch {
	case err == nil:
		return errTaken(id)
	case errors.Is(err, delivery.UnknownGroup):
		return nil
	}
	return err
}

// registration asks whether the order of a new group stands. It is answered when the delivery service has answered.
type registration struct{}

func (a *conversationActor) awaitRegistration(m *ask[registration, struct{}]) {
	if a.wiping {
		m.refuse(errTaken(a.conversation))
		return
	}
	if !a.state.Unregistered() || a.registeredOnce || !a.follows() {
		m.answer(struct{}{}, nil)
		return
	}
	a.registering = append(a.registering, m)
}

func (a *conversationActor) tellRegistered(err error) {
	for _, m := range a.registering {
		m.answer(struct{}{}, err)
	}
	a.registering = nil
}

// foreignOrder reports whether entries at the beginning of an order show that it is another group's than the one we created.
func (a *conversationActor) foreignOrder(found []delivery.Entry) bool {
	s := a.current()
	if !s.Unregistered() || len(found) == 0 || found[0].Kind != delivery.KindGroup {
		return false
	}
	m, err := mlsengine.ParseMessage(found[0].GroupInfo)
	return err != nil || m.GroupInfo() == nil || s.Group.GroupInfoMatches(m.GroupInfo()) != nil
}

// giveUpID wipes a conversation whose id another group has. Until that is durable nothing of the other group's order is followed; a crash
// here is made up for by the successor, which finds the same order.
func (a *conversationActor) giveUpID(c actor.Context) {
	if a.wiping {
		return
	}
	a.wiping = true
	n, client, id, waiting := a.node, a.client, a.conversation, a.registering
	a.registering = nil
	n.logger.Warn("the id of a new conversation is another group's; it is wiped", "log", a.log.String())
	n.work.Go(func() {
		for attempt := 0; ; attempt++ {
			ctx, cancel := context.WithTimeout(context.Background(), n.limits.Recover)
			_, err := n.Wipe(ctx, client, id, conversation.Wipe{CommandMeta: n.ownMeta(), Reason: "the delivery service has another group of this id"})
			cancel()
			if err == nil || errors.Is(err, conversation.ConversationNotFound) || !n.rest(delivery.PauseAfter(attempt)) {
				break
			}
		}
		for _, m := range waiting {
			m.refuse(errTaken(id))
		}
	})
}
