package actors

import (
	"context"
	"errors"

	"parley/conversation"
	"parley/internal/ids"
)

// ExternalJoin says how to join a group, or to come back to it, without being added.
type ExternalJoin struct {
	Client       ids.ClientID
	Conversation ids.ConversationID
	GroupInfo    []byte // bare or MLSMessage, with the tree; empty: the newest one that the built-in service has
	Config       conversation.Config
	Meta         conversation.CommandMeta
	MembersOnly  bool // a lost member comes back: only where the GroupInfo has the client still, and it is still lost
}

// externalJoins is how often a join is tried that other commits overtake.
const externalJoins = 8

// JoinExternally joins by a commit of the client's own. Where the service tells the GroupInfo, one that others have overtaken is fetched
// again.
func (n *Node) JoinExternally(ctx context.Context, r ExternalJoin) (conversation.Reply, error) {
	reply, err := n.tryJoin(ctx, r, func(in conversation.JoinExternally) (conversation.Reply, error) {
		return n.Conversation(ctx, r.Client, r.Conversation, in)
	})
	if err != nil {
		return reply, err
	}
	// A crash here loses nothing: the log of the conversation is there, and whoever asks again under the command's id comes by here.
	_, err = n.Client(ctx, r.Client, conversation.ListConversation{Conversation: r.Conversation})
	return reply, err
}

// tryJoin makes the command of an external join, as often as it has to be run.
func (n *Node) tryJoin(
	ctx context.Context, r ExternalJoin, run func(conversation.JoinExternally) (conversation.Reply, error),
) (conversation.Reply, error) {
	for attempt := 0; ; attempt++ {
		in, err := n.joinCommand(ctx, r)
		if err != nil {
			return conversation.Reply{}, err
		}
		reply, err := run(in)
		overtaken := errors.Is(err, conversation.CannotRetryJoin) && len(r.GroupInfo) == 0
		if !overtaken || attempt+1 == externalJoins || !n.pause(ctx, attempt) {
			return reply, err
		}
	}
}

func (n *Node) joinCommand(ctx context.Context, r ExternalJoin) (conversation.JoinExternally, error) {
	in := conversation.JoinExternally{CommandMeta: r.Meta, Config: r.Config, GroupInfo: r.GroupInfo, Returning: r.MembersOnly}
	if refused := conversation.Writes(r.Client); refused != nil {
		return in, refused
	}
	if len(in.GroupInfo) == 0 {
		if n.delivery == nil {
			return in, errNoDelivery
		}
		info, _, err := n.delivery.GroupInfo(ctx, r.Conversation, r.Client)
		if err != nil {
			return in, err
		}
		in.GroupInfo = info
	}
	if r.MembersOnly {
		if in, refused := conversation.MemberIn(in.GroupInfo, r.Client); refused != nil {
			return conversation.JoinExternally{}, refused
		} else if !in {
			return conversation.JoinExternally{}, errRemoved
		}
	}
	suite, refused := conversation.SuiteOf(in.GroupInfo)
	if refused != nil {
		return in, refused
	}
	in.Config.CipherSuite = suite
	return in, n.chooseCredential(ctx, r.Client, &in.Config)
}

// MarkAsChild names the conversation that another one belongs to. The client must be in both.
func (n *Node) MarkAsChild(ctx context.Context, client ids.ClientID, id ids.ConversationID, in conversation.MarkAsChild) error {
	parent, err := n.ConversationState(ctx, client, in.Parent)
	if err != nil {
		return err
	}
	in.Exists = parent.Exists()
	_, err = n.Conversation(ctx, client, id, in)
	return err
}
