package actors

import (
	"context"
	"errors"

	"parley/conversation"
	"parley/delivery"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Asking says which group a client asks to be added to, and as whom.
type Asking struct {
	Client      ids.ClientID
	Group       ids.ConversationID
	Epoch       mlsengine.Epoch
	CipherSuite mlsengine.CipherSuite // 0: it and the epoch are those of the newest GroupInfo that the built-in service has
	Credential  conversation.CredentialRef
	Transport   conversation.TransportKind // 0: that of joined conversations
	Meta        conversation.CommandMeta
}

// askings is how often a client asks while the group goes on faster than that.
const askings = 8

// AskToJoin proposes to add the client to a group that it is no member of, and sends the proposal to the group. The proposal is durable with
// its private keys before it is sent, and the same whenever it is asked for under its command's id.
func (n *Node) AskToJoin(ctx context.Context, r Asking) (conversation.Proposal, error) {
	if r.Transport == 0 {
		r.Transport = n.joinConfig.Transport
	}
	if err := n.stranger(ctx, r); err != nil {
		// What was asked for under this id may be how it became a member.
		state, unread := n.ClientState(ctx, r.Client)
		if made, asked := state.AskedUnder(r.Meta); unread == nil && asked {
			return made, nil
		}
		return conversation.Proposal{}, err
	}
	told := r.CipherSuite != 0
	for attempt := 0; ; attempt++ {
		reply, err := n.ask(ctx, r)
		if err != nil {
			return conversation.Proposal{}, err
		}
		// A crash here loses nothing: the proposal is in the client's log, and sent by whichever node takes the client.
		err = n.sendAsking(ctx, r, *reply.Proposal)
		if !errors.Is(err, delivery.WrongEpoch) || told || attempt+1 == askings || !n.pause(ctx, attempt) {
			// A crash before this is durable has it sent once more, as any other error that may pass has.
			if noted := n.asked(ctx, r.Client, reply.Proposal.Ref, err); err == nil {
				err = noted
			}
			return *reply.Proposal, err
		}
		// It never came into the order, and never will: its keys are of no use, and the group is asked anew.
		for _, kp := range reply.KeyPackages {
			drop := conversation.RemoveKeyPackages{CommandMeta: n.Meta("", r.Meta.Principal), Refs: []mlsengine.KeyPackageRef{kp.Ref}}
			if _, err := n.Client(ctx, r.Client, drop); err != nil {
				return conversation.Proposal{}, err
			}
		}
		r.Meta = n.Meta("", r.Meta.Principal)
	}
}

// stranger refuses who is a member already.
func (n *Node) stranger(ctx context.Context, r Asking) error {
	s, err := n.ConversationState(ctx, r.Client, r.Group)
	if err != nil {
		return err
	}
	if s.Exists() {
		return &conversation.CommandError{
			Code: conversation.ConversationAlreadyExists, Advice: conversation.GiveUp, Detail: r.Client.String() + " is a member of " + r.Group.String(),
		}
	}
	return nil
}

// ask makes the proposal, in the epoch that the group is in where nobody has said which.
func (n *Node) ask(ctx context.Context, r Asking) (conversation.ClientReply, error) {
	in := conversation.AskToJoin{CommandMeta: r.Meta, Group: r.Group, Epoch: r.Epoch, CipherSuite: r.CipherSuite, Credential: r.Credential, Transport: r.Transport}
	in.Renews = in.CipherSuite == 0
	if in.CipherSuite == 0 {
		if r.Transport != conversation.TransportBuiltIn || n.delivery == nil {
			return conversation.ClientReply{}, errNoDelivery
		}
		info, _, err := n.delivery.GroupInfo(ctx, r.Group, r.Client)
		if err != nil {
			return conversation.ClientReply{}, err
		}
		m, err := mlsengine.ParseMessage(info)
		if err != nil || m.GroupInfo() == nil {
			return conversation.ClientReply{}, &conversation.CommandError{Code: conversation.InvalidGroupInfo, Advice: conversation.GiveUp}
		}
		in.Epoch, in.CipherSuite = m.GroupInfo().GroupContext.Epoch, m.GroupInfo().GroupContext.CipherSuite
	}
	return n.Client(ctx, r.Client, in)
}

// sendAsking hands the proposal to whoever carries it. Its name is that of its bytes: the order takes it once.
func (n *Node) sendAsking(ctx context.Context, r Asking, made conversation.Proposal) error {
	var carrier delivery.Transport
	switch {
	case r.Transport == conversation.TransportForeign:
		carrier = n.foreign
	case n.delivery != nil:
		carrier = n.delivery.Transport()
	}
	if carrier == nil {
		return nil // its owner hands it on
	}
	p := delivery.Proposal{
		Group: r.Group, Message: made.Message,
		Origin: delivery.Origin{Client: r.Client, CommandID: ids.CommandID("proposal/" + string(made.Ref)), IssuedMs: n.Now()},
	}
	err := crossing(ctx, n.hooks, StepSendProposal, ConversationIdentity(r.Client, r.Group).log(), func() error {
		ctx, cancel := context.WithTimeout(ctx, n.limits.Transport)
		defer cancel()
		_, err := carrier.SendProposal(ctx, p)
		return err
	})
	if isCrash(err) {
		return ErrUnknownOutcome
	}
	return err
}
