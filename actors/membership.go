package actors

import (
	"context"
	"errors"
	"slices"

	"parley/conversation"
	"parley/delivery"
	"parley/internal/ids"
	"parley/mlsengine"
)

// What makes and ends conversations concerns two logs: the conversation's, and the client's own, which lists it. Here it runs inside a
// transaction; outside of one it is a transaction of its own.

// Create makes a conversation whose only member is the client. Others learn of the group once the transaction is finished, or a commit or
// message of it has closed the segment.
func (t *Transaction) Create(ctx context.Context, id ids.ConversationID, in conversation.Create) (conversation.Reply, error) {
	n := t.node
	if err := n.chooseCredential(ctx, t.client, &in.Config); err != nil {
		return conversation.Reply{}, err
	}
	ordered := in.Config.Transport == conversation.TransportBuiltIn && n.delivery != nil
	if ordered {
		if err := t.checkFree(ctx, id); err != nil {
			return conversation.Reply{}, err
		}
	}
	reply, err := t.listed(ctx, id, in, conversation.ListConversation{Conversation: id})
	if err == nil && ordered {
		t.mu.Lock()
		t.created = append(t.created, id)
		t.mu.Unlock()
	}
	return reply, err
}

// listed runs an input on a conversation, and others on the client's own log with it.
func (t *Transaction) listed(
	ctx context.Context, id ids.ConversationID, in conversation.Input, listing ...conversation.ClientInput,
) (conversation.Reply, error) {
	r, err := t.ask(ctx, txRun{Target: ConversationIdentity(t.client, id), Work: work{Conversation: in}, Listing: listing})
	if err == nil {
		err = finalError(r.Conversation)
	}
	return r.Conversation, err
}

// checkFree refuses an id under which there is an order already, unless it is of a conversation that the client has.
func (t *Transaction) checkFree(ctx context.Context, id ids.ConversationID) error {
	state, err := t.peek(ctx, id)
	if err != nil {
		return err
	}
	switch state.Lifecycle {
	case conversation.Absent, conversation.Wiped, conversation.Evicted:
	default:
		return nil // the domain knows what to say, also to a command that is asked again
	}
	_, err = t.node.delivery.Lookup(ctx, id, t.client)
	switch {
	case err == nil:
		return errTaken(id)
	case errors.Is(err, delivery.UnknownGroup):
		return nil
	}
	return err
}

// awaitOrders waits until the delivery service has the orders of the groups that the transaction has created.
func (t *Transaction) awaitOrders(ctx context.Context) error {
	t.mu.Lock()
	created := slices.Clone(t.created)
	t.mu.Unlock()
	for _, id := range created {
		if _, err := request[registration, struct{}](ctx, t.node, ConversationIdentity(t.client, id), registration{}); err != nil {
			return &ConversationError{Conversation: id, Err: err}
		}
	}
	return nil
}

// Join enters a group by a Welcome. The conversation's first record and the end of the key package are one segment: either both are durable
// or neither is, and then the key package's private keys die.
func (t *Transaction) Join(ctx context.Context, r JoinRequest) (ids.ConversationID, conversation.Reply, error) {
	n := t.node
	state, err := n.ClientState(ctx, t.client)
	if err != nil {
		return "", conversation.Reply{}, err
	}
	if loss := state.Loss(); loss != nil {
		return "", conversation.Reply{}, loss
	}
	kp, secrets, no := state.KeyPackageFor(r.Welcome)
	if no != nil {
		if r.Conversation == "" {
			r.Conversation, _ = state.JoinedUnder(r.Meta)
		}
		return t.joinedBefore(ctx, r, no)
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
	// The client remembers the join too: asked again, its Welcome has no key package here any more that would tell the group.
	consume := conversation.ConsumeKeyPackage{CommandMeta: r.Meta, Ref: kp.Ref, Conversation: id}
	reply, err := t.listed(ctx, id, in, consume, conversation.ListConversation{Conversation: id})
	return id, reply, err
}

// joinedBefore answers a join whose key package is gone: because this very Welcome was accepted before, or for good.
func (t *Transaction) joinedBefore(ctx context.Context, r JoinRequest, no *conversation.CommandError) (ids.ConversationID, conversation.Reply, error) {
	if r.Conversation == "" {
		return "", conversation.Reply{}, no
	}
	s, err := t.peek(ctx, r.Conversation)
	if err != nil {
		return "", conversation.Reply{}, err
	}
	if s.Exists() {
		return r.Conversation, conversation.Reply{Repeated: true, Epoch: s.Epoch()}, nil
	}
	return "", conversation.Reply{}, no
}

// Wipe destroys the conversation's secrets here and takes it off the client's list.
func (t *Transaction) Wipe(ctx context.Context, id ids.ConversationID, in conversation.Wipe) (conversation.Reply, error) {
	reply, err := t.listed(ctx, id, in, conversation.ListConversation{Conversation: id, Gone: true})
	if err == nil {
		t.mu.Lock()
		t.created = slices.DeleteFunc(t.created, func(created ids.ConversationID) bool { return created == id })
		t.mu.Unlock()
	}
	return reply, err
}

// JoinExternally joins by a commit of the client's own, like that of a Node.
func (t *Transaction) JoinExternally(ctx context.Context, r ExternalJoin) (conversation.Reply, error) {
	listing := conversation.ListConversation{Conversation: r.Conversation}
	reply, err := t.node.tryJoin(ctx, r, func(in conversation.JoinExternally) (conversation.Reply, error) {
		return t.listed(ctx, r.Conversation, in, listing)
	})
	if err != nil || !reply.Repeated {
		return reply, err
	}
	// A crash may have come between the segment of the join and the one that lists the conversation.
	state, err := t.peek(ctx, r.Conversation)
	if err == nil && state.Exists() {
		_, err = t.run(ctx, ClientIdentity(t.client), work{Client: listing})
	}
	return reply, err
}

// MarkAsChild names the conversation that another one belongs to. The client must be in both, as the transaction sees it.
func (t *Transaction) MarkAsChild(ctx context.Context, id ids.ConversationID, in conversation.MarkAsChild) error {
	parent, err := t.peek(ctx, in.Parent)
	if err != nil {
		return err
	}
	in.Exists = parent.Exists()
	_, err = t.Conversation(ctx, id, in)
	return err
}

// Create makes a conversation whose only member is the client. The conversation and the client's list of it are one batch. It returns when
// the group's order stands, or when that has to be tried again, which goes on by itself.
func (n *Node) Create(ctx context.Context, client ids.ClientID, id ids.ConversationID, in conversation.Create) (reply conversation.Reply, err error) {
	err = n.transact(ctx, client, func(t *Transaction) (err error) {
		reply, err = t.Create(ctx, id, in)
		return err
	})
	return reply, err
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

// Join enters a group: see the Transaction's.
func (n *Node) Join(ctx context.Context, r JoinRequest) (id ids.ConversationID, reply conversation.Reply, err error) {
	err = n.transact(ctx, r.Client, func(t *Transaction) (err error) {
		id, reply, err = t.Join(ctx, r)
		return err
	})
	return id, reply, err
}

// Wipe destroys the conversation's secrets here and takes it off the client's list.
func (n *Node) Wipe(ctx context.Context, client ids.ClientID, id ids.ConversationID, in conversation.Wipe) (reply conversation.Reply, err error) {
	err = n.transact(ctx, client, func(t *Transaction) (err error) {
		reply, err = t.Wipe(ctx, id, in)
		return err
	})
	return reply, err
}
