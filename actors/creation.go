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

func errTaken(id ids.ConversationID) *conversation.CommandError {
	return &conversation.CommandError{
		Code: conversation.ConversationAlreadyExists, Advice: conversation.GiveUp, Detail: "the delivery service has another group " + id.String(),
	}
}

// registration asks whether the order of a new group stands. It is answered when the delivery service has answered.
type registration struct{}

func (a *conversationActor) awaitRegistration(m *ask[registration, struct{}]) {
	if a.wiping || a.state.Lifecycle == conversation.Wiped {
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
