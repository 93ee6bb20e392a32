package actors

import (
	"context"
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/delivery"
	"parley/internal/ids"
)

// Lost is a member that cannot follow its group any more, although nobody has removed it.
type Lost struct {
	Client       ids.ClientID
	Conversation ids.ConversationID
	conversation.Loss
}

// rejoinDue says that the conversation has come to a loss that nobody has looked at.
type rejoinDue struct{ note }

// returned is what became of an attempt to come back.
type returned struct {
	note
	err error
}

// lookAtLoss has a new loss looked at once what led to it is done with.
func (a *conversationActor) lookAtLoss(c actor.Context) {
	if loss := a.state.Loss; loss != nil && loss.SinceMs+1 != a.pondered {
		a.pondered, a.pondering = loss.SinceMs+1, true
		c.Send(a.self, &rejoinDue{})
	}
}

// comeBack brings a member that is lost back by itself where its node's policy lets it: at the time that the log has for it. The next attempt is
// planned before this one begins, so that a crash in it, here or on the node that takes over, is not followed by another at once.
func (a *conversationActor) comeBack(c actor.Context) {
	a.pondering = false
	loss := a.state.Loss
	if loss == nil || loss.Refused != "" || a.copy != nil || a.gone != nil || a.returning || a.state.Joining != nil || a.node.delivery == nil {
		return
	}
	config := a.state.Config
	if config.Transport == 0 {
		config = a.node.joinConfig // its own went with its keys
	}
	if config.Transport != conversation.TransportBuiltIn {
		return
	}
	if loss.DueMs > a.now() {
		return
	}
	allowed := a.node.rejoin != nil && a.node.rejoin(Lost{Client: a.client, Conversation: a.conversation, Loss: *loss})
	if !allowed && loss.DueMs == 0 {
		return
	}
	first := loss.DueMs == 0
	if _, err := a.absorb(c, work{Conversation: conversation.PlanRejoin{SpreadMs: uint64(a.node.limits.RejoinSpread.Milliseconds())}}); err != nil {
		if !errors.Is(err, errGone) {
			a.node.logger.Warn("way back not planned", "log", a.log.String(), "err", err)
		}
		return
	}
	if first || !allowed || a.gone != nil || a.state.Loss == nil || a.state.Loss.Refused != "" {
		return // a policy that was withdrawn costs an attempt
	}
	a.returning = true
	n := a.node
	r := ExternalJoin{Client: a.client, Conversation: a.conversation, Config: config, MembersOnly: true, Meta: n.ownMeta()}
	a.beside(func(ctx context.Context) any {
		_, err := n.JoinExternally(ctx, r)
		return &returned{err: err}
	})
}

// cameBack notes how an attempt went. What may pass is tried again when the plan says so.
func (a *conversationActor) cameBack(c actor.Context, m *returned) {
	a.returning = false
	if m.err == nil || errors.Is(m.err, conversation.ConversationAlreadyExists) { // another attempt has brought it back
		return
	}
	a.node.logger.Warn("did not come back", "log", a.log.String(), "err", m.err)
	code, final := refusedForGood(m.err)
	if !final || a.copy != nil {
		a.arm()
		return
	}
	in := conversation.RefuseRejoin{Code: code, Detail: m.err.Error()}
	if _, err := a.absorb(c, work{Conversation: in}); err != nil && !errors.Is(err, errGone) {
		a.node.logger.Warn("end of the way back not noted", "log", a.log.String(), "err", err)
	}
}

// refusedForGood tells an error that no later attempt gets round, and its code.
func refusedForGood(err error) (conversation.Code, bool) {
	if refused, ok := errors.AsType[*conversation.CommandError](err); ok {
		return refused.Code, refused.Advice != conversation.Retry && refused.Code != conversation.CommandExpired // the clock was set: the next attempt is a new command
	}
	switch code := delivery.CodeOf(err); code {
	case delivery.Forbidden, delivery.NotMember, delivery.Closed, delivery.UnknownGroup, delivery.UnknownIdentity, delivery.Invalid,
		delivery.Malformed, delivery.TooLarge, delivery.Damaged:
		return conversation.Code(code.Error()), true
	}
	return "", false
}

// errRemoved means that the newest GroupInfo no longer has us: who was removed does not come back by itself.
var errRemoved = &conversation.CommandError{
	Code: conversation.ConversationNotFound, Advice: conversation.GiveUp, Detail: "the group has removed us meanwhile",
}

// rejoinSpread is within how long a member that is lost tries to come back for the first time, where the limits say nothing.
const rejoinSpread = 30 * time.Second
