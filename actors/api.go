package actors

import (
	"context"
	"fmt"
	"strconv"

	"parley/conversation"
	"parley/events"
	"parley/internal/ids"
)

// refused turns the domain's no into an error.
func refused(e *conversation.CommandError) error {
	if e == nil {
		return nil
	}
	return e
}

// NewCommandID draws an id for a command.
func (n *Node) NewCommandID() ids.CommandID {
	return ids.CommandID(n.entropy.Draw("command id", 16))
}

// Now is the node's time in Unix milliseconds: what a command is issued at.
func (n *Node) Now() uint64 { return milliseconds(n.clock.Now()) }

// Meta makes the metadata of a command. An empty id becomes a fresh one; parts are what the id is bound to.
func (n *Node) Meta(id ids.CommandID, principal string, parts ...[]byte) conversation.CommandMeta {
	if id == "" {
		id = n.NewCommandID()
	}
	return conversation.CommandMeta{ID: id, Principal: principal, IssuedMs: n.Now(), RequestDigest: ids.DigestOf(parts...)}
}

// Client runs an input on the client's own log.
func (n *Node) Client(ctx context.Context, client ids.ClientID, in conversation.ClientInput) (conversation.ClientReply, error) {
	r, err := request[work, result](ctx, n, ClientIdentity(client), work{Client: in})
	if err == nil {
		err = refused(r.Client.Err)
	}
	return r.Client, err
}

// ClientState is the client's committed state.
func (n *Node) ClientState(ctx context.Context, client ids.ClientID) (conversation.ClientState, error) {
	return request[look, conversation.ClientState](ctx, n, ClientIdentity(client), look{})
}

// Conversation runs an input on a conversation.
func (n *Node) Conversation(ctx context.Context, client ids.ClientID, id ids.ConversationID, in conversation.Input) (conversation.Reply, error) {
	r, err := request[work, result](ctx, n, ConversationIdentity(client, id), work{Conversation: in})
	if err == nil {
		err = finalError(r.Conversation)
	}
	return r.Conversation, err
}

// finalError is the refusal of a command, at once or when it ended. Other commands that its step has ended have callers of their own.
func finalError(r conversation.Reply) error {
	if r.Err == nil {
		return nil
	}
	return r.Err
}

// Send encrypts a message and publishes it in the group's order under the command's id. It returns its position there.
func (n *Node) Send(ctx context.Context, client ids.ClientID, id ids.ConversationID, in conversation.Encrypt) (uint64, conversation.Reply, error) {
	r, err := request[work, result](ctx, n, ConversationIdentity(client, id), work{Conversation: in, Send: true})
	if err == nil {
		err = finalError(r.Conversation)
	}
	return r.Position, r.Conversation, err
}

// ConversationState is the conversation's committed state.
func (n *Node) ConversationState(ctx context.Context, client ids.ClientID, id ids.ConversationID) (conversation.State, error) {
	return request[look, conversation.State](ctx, n, ConversationIdentity(client, id), look{})
}

// Conversations lists the client's conversations that have a log, the ones that have ended included.
func (n *Node) Conversations(ctx context.Context, client ids.ClientID) (out []ids.ConversationID, err error) {
	logs, err := n.stores.Log.List(ctx, client)
	for _, id := range logs {
		if id.Kind == events.KindMember && id.Client == client && id.Conversation != "" {
			out = append(out, id.Conversation)
		}
	}
	return out, err
}

// chooseCredential fills in the client's first credential of the suite.
func (n *Node) chooseCredential(ctx context.Context, client ids.ClientID, config *conversation.Config) error {
	if refused := conversation.Writes(client); refused != nil {
		return refused
	}
	state, err := n.ClientState(ctx, client)
	if err != nil {
		return err
	}
	if loss := state.Loss(); loss != nil {
		return loss
	}
	if refused := conversation.CheckSuite(config.CipherSuite); refused != nil {
		return refused
	}
	_, ref, ok := state.Identity(config.Credential, config.CipherSuite)
	if !ok {
		detail := fmt.Sprintf("%s has none for cipher suite %d", client, config.CipherSuite)
		if config.Credential != "" {
			detail += " that is called " + strconv.Quote(string(config.Credential))
		}
		return &conversation.CommandError{Code: conversation.CredentialNotFound, Advice: conversation.GiveUp, Detail: detail}
	}
	config.Credential = ref
	return nil
}

// Greet accepts what waits in a client's inbox.
func (n *Node) Greet(client ids.ClientID) {
	if n.delivery != nil {
		n.wakeInbox(client)
	}
}
