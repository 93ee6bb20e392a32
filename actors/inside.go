package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
)

// answeredInside lets a transaction go on that has heard from the transport: what it hears is not durable yet, and nobody else knows.
func (a *conversationActor) answeredInside(c actor.Context, t stepped[conversation.State]) {
	a.staged(c, t)
	if t.inFlight {
		a.txAgain(t.next.Staged.Command.ID)
		return
	}
	for _, e := range t.outbox {
		a.perform(e) // the identical bundle, which is durable
	}
	if through := t.result.Conversation.FollowThrough; through > 0 {
		a.followThrough(c, through)
	}
}

// staged ends commands that a step on a transaction's copy has settled: the transaction's own caller hears of it before it is durable.
func (a *conversationActor) staged(c actor.Context, t stepped[conversation.State]) {
	a.complete(t.result.Conversation)
	a.settled(c)
}
