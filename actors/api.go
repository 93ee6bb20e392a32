package actors

import (
	"context"

	"parley/conversation"
	"parley/events"
	"parley/internal/ids"
	"parley/mlsengine"
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

// finalError is the refusal of a command, at once or when it ended.
func finalError(r conversation.Reply) error {
	if r.Err != nil {
		return r.Err
	}
	for _, c := range r.Completed {
		if c.Err != nil {
			return c.Err
		}
	}
	return nil
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
	state, err := n.ClientState(ctx, client)
	if err != nil {
		return err
	}
	if loss := state.Loss(); loss != nil {
		return loss
	}
	_, ref, ok := state.Identity(config.Credential, config.CipherSuite)
	if !ok {
		return &conversation.CommandError{Code: conversation.CredentialNotFound, Advice: conversation.GiveUp, Detail: config.Credential}
	}
	config.Credential = ref
	return nil
}

// JoinRequest says how to join by a Welcome.
type JoinRequest struct {
	Client       ids.ClientID
	Conversation ids.ConversationID // empty: the Welcome tells
	Welcome      []byte             // MLSMessage
	Tree         []byte             // where the Welcome does not carry it
	Position     uint64             // of the commit that added us, where there is an order
	Config       conversation.Config
	Origin       *mlsengine.PublicGroup
	Encrypted    []byte // what came with that commit for the members of its epoch, where there is an order
	Meta         conversation.CommandMeta
}

// Join enters a group. The conversation's first record and the end of the key package are one batch: either both are durable or
// neither is, and then the key package's private keys die.
func (n *Node) Join(ctx context.Context, r JoinRequest) (ids.ConversationID, conversation.Reply, error) {
	state, err := n.ClientState(ctx, r.Client)
	if err != nil {
		return "", conversation.Reply{}, err
	}
	if loss := state.Loss(); loss != nil {
		return "", conversation.Reply{}, loss
	}
	kp, secrets, no := state.KeyPackageFor(r.Welcome)
	if no != nil {
		return n.joinedBefore(ctx, r, no)
	}
	in := conversation.Join{
		CommandMeta: r.Meta, Config: r.Config, Welcome: r.Welcome, KeyPackage: kp.KeyPackage, Secrets: secrets, Tree: r.Tree, Position: r.Position,
		Origin: r.Origin, EncryptedMessage: r.Encrypted,
	}
	in.Config.CipherSuite, in.Config.Credential = kp.CipherSuite, kp.Credential
	id := r.Conversation
	if id == "" {
		identity, _, _ := state.Identity(kp.Credential, kp.CipherSuite)
		env := n.env(n.Now(), identity)
		env.PSKs = state
		if id, no = conversation.WelcomeGroup(r.Welcome, in, env); no != nil {
			return "", conversation.Reply{}, no
		}
	}
	consume := conversation.ConsumeKeyPackage{Ref: kp.Ref, Conversation: id}
	consume.CommandMeta = n.Meta("", r.Meta.Principal)
	results, err := n.together(ctx, r.Client, []txRun{
		{Target: ConversationIdentity(r.Client, id), Work: work{Conversation: in}},
		{Target: ClientIdentity(r.Client), Work: work{Client: consume}},
	})
	if err != nil {
		return id, conversation.Reply{}, err
	}
	n.members.add(r.Client, id)
	n.wakeGroup(id)
	return id, results[0].Conversation, finalError(results[0].Conversation)
}

// joinedBefore answers a join whose key package is gone: because this very Welcome was accepted before, or for good.
func (n *Node) joinedBefore(ctx context.Context, r JoinRequest, no *conversation.CommandError) (ids.ConversationID, conversation.Reply, error) {
	if r.Conversation == "" {
		return "", conversation.Reply{}, no
	}
	s, err := n.ConversationState(ctx, r.Client, r.Conversation)
	if err != nil {
		return "", conversation.Reply{}, err
	}
	if s.Exists() {
		return r.Conversation, conversation.Reply{Repeated: true, Epoch: s.Epoch()}, nil
	}
	return "", conversation.Reply{}, no
}

// Wipe destroys the conversation's secrets here and takes it off the client's list.
func (n *Node) Wipe(ctx context.Context, client ids.ClientID, id ids.ConversationID, in conversation.Wipe) (conversation.Reply, error) {
	results, err := n.together(ctx, client, []txRun{
		{Target: ConversationIdentity(client, id), Work: work{Conversation: in}},
		{Target: ClientIdentity(client), Work: work{Client: conversation.ListConversation{Conversation: id, Gone: true}}},
	})
	if err != nil {
		return conversation.Reply{}, err
	}
	return results[0].Conversation, finalError(results[0].Conversation)
}

// Greet accepts what waits in a client's inbox.
func (n *Node) Greet(client ids.ClientID) {
	if n.delivery != nil {
		n.wakeInbox(client)
	}
}
