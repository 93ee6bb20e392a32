package parley

import (
	"context"
	"encoding/binary"

	"parley/actors"
	"parley/conversation"
	"parley/mlsengine"
)

// Asking says which group a client asks to be added to, and as whom.
type Asking struct {
	// Epoch of the group, and its cipher suite: in any other epoch the proposal is void. Neither: the newest GroupInfo of the node's delivery
	// service tells, where Options.Access lets the client read it.
	Epoch       uint64
	CipherSuite mlsengine.CipherSuite
	Credential  CredentialRef // empty: the client's first of the cipher suite
	// Transport is who carries it; 0: that of Options.Config. With a foreign one and no Options.Foreign the owner sends the message to the group.
	Transport conversation.TransportKind
}

// AskToJoin asks a group's members to add the client (an external Add proposal, RFC 9420, 12.1.8). The group has it as a pending proposal,
// which whoever commits next takes along. The private keys are kept: the Welcome that comes of it is accepted like any other, by itself in the
// node's delivery service, and with a foreign one by Join. Whom our own service lets ask is Options.Access. Where the group has gone on before
// the proposal was in its order, it is made anew when Epoch is not given, and refused with delivery.WrongEpoch when it is. What a crash, or an
// error that may pass, has kept from being sent is sent by the node that serves the client: a dozen times in all, after pauses that double up to
// an hour, unless it was refused for good or the client has come in.
func (c *Client) AskToJoin(ctx context.Context, id ConversationID, a Asking) (Proposal, error) {
	numbers := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(nil, a.Epoch), uint16(a.CipherSuite))
	made, err := c.node.actors.AskToJoin(ctx, actors.Asking{
		Client: c.id, Group: id, Epoch: mlsengine.Epoch(a.Epoch), CipherSuite: a.CipherSuite, Credential: a.Credential, Transport: a.Transport,
		Meta: c.meta(ctx, "ask to join", []byte(id), numbers, []byte(a.Credential)),
	})
	if err != nil {
		return Proposal{}, c.Conversation(id).wrap("ask to join", err)
	}
	return Proposal{Ref: made.Ref, Message: made.Message}, nil
}
