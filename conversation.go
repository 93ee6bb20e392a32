package parley

import (
	"context"
	"errors"
	"strconv"
	"time"

	"parley/conversation"
	"parley/delivery"
	"parley/mlsengine"
)

// Conversation is one conversation of a client. It is a name: taking it costs nothing, and what it was last seen as is not kept.
type Conversation struct {
	client *Client
	id     ConversationID
	tx     *Transaction // nil outside of transactions
}

// ID is the conversation's id.
func (c *Conversation) ID() ConversationID { return c.id }

// Client is whose conversation it is.
func (c *Conversation) Client() *Client { return c.client }

// wrap says what failed, and where.
func (c *Conversation) wrap(op string, err error) error {
	err = wrap(op, err)
	if e, ok := errors.AsType[*Error](err); ok && e.Conversation == "" {
		e.Conversation = c.id
	}
	return err
}

// do runs an input, in the transaction where there is one.
func (c *Conversation) do(ctx context.Context, op string, in conversation.Input) (conversation.Reply, error) {
	if c.tx != nil {
		reply, err := c.tx.inner.Conversation(ctx, c.id, in)
		return reply, c.wrap(op, err)
	}
	reply, err := c.client.node.actors.Conversation(ctx, c.client.id, c.id, in)
	return reply, c.wrap(op, err)
}

// Add commits the addition of clients, with key packages they have published, and everything that is pending with it. It returns when
// the group's order has the commit and the own state has followed it.
func (c *Conversation) Add(ctx context.Context, clients ...ClientID) error {
	_, err := c.AddMembers(ctx, Addition{Clients: clients})
	return err
}

// claim takes one key package of each client out of the directory. A repeated claim under the same command id gets the same ones.
func (c *Conversation) claim(ctx context.Context, clients []ClientID) ([][]byte, error) {
	service := c.client.node.delivery
	if service == nil {
		return nil, errNoService
	}
	state, err := c.joined(ctx)
	if err != nil {
		return nil, err
	}
	command := c.client.meta(ctx, "claim").ID
	var out [][]byte
	for _, client := range clients {
		claimed, err := service.ClaimKeyPackage(ctx, delivery.Claim{
			Client: client, Suite: uint16(state.Config.CipherSuite), Claimer: c.client.id, CommandID: command,
		})
		if err != nil {
			return nil, err
		}
		out = append(out, claimed.KeyPackage)
	}
	return out, nil
}

// AddKeyPackages is Add with key packages that were obtained otherwise.
func (c *Conversation) AddKeyPackages(ctx context.Context, packages ...[]byte) error {
	_, err := c.AddMembers(ctx, Addition{KeyPackages: packages})
	return err
}

// Remove commits the removal of clients. Those who are no members are ignored.
func (c *Conversation) Remove(ctx context.Context, clients ...ClientID) error {
	return c.change(ctx, "remove", conversation.RemoveMembers{CommandMeta: c.client.meta(ctx, "remove", clientBytes(clients)...), Clients: clients})
}

func clientBytes(clients []ClientID) (out [][]byte) {
	for _, client := range clients {
		out = append(out, []byte(client))
	}
	return out
}

// UpdateKeys commits new keys of our own.
func (c *Conversation) UpdateKeys(ctx context.Context) error {
	return c.change(ctx, "update keys", conversation.UpdateKeyMaterial{CommandMeta: c.client.meta(ctx, "update")})
}

// CommitPending commits every pending proposal; without any it does nothing.
func (c *Conversation) CommitPending(ctx context.Context) error {
	return c.change(ctx, "commit pending", conversation.CommitPending{CommandMeta: c.client.meta(ctx, "commit_pending")})
}

// ProposeAdd proposes to add a client, with a key package it has published.
func (c *Conversation) ProposeAdd(ctx context.Context, client ClientID) (Proposal, error) {
	packages, err := c.claim(ctx, []ClientID{client})
	if err != nil {
		return Proposal{}, c.wrap("propose", err)
	}
	return c.ProposeAddKeyPackage(ctx, packages[0])
}

// ProposeAddKeyPackage is ProposeAdd with a key package that was obtained otherwise.
func (c *Conversation) ProposeAddKeyPackage(ctx context.Context, keyPackage []byte) (Proposal, error) {
	return c.propose(ctx, conversation.ProposeAdd{CommandMeta: c.client.meta(ctx, "propose_add", keyPackage), KeyPackage: keyPackage})
}

// ProposeRemove proposes to remove a client.
func (c *Conversation) ProposeRemove(ctx context.Context, client ClientID) (Proposal, error) {
	return c.propose(ctx, conversation.ProposeRemove{CommandMeta: c.client.meta(ctx, "propose_remove", []byte(client)), Client: client})
}

// ProposeUpdate proposes new keys of our own.
func (c *Conversation) ProposeUpdate(ctx context.Context) (Proposal, error) {
	return c.propose(ctx, conversation.ProposeUpdate{CommandMeta: c.client.meta(ctx, "propose_update")})
}

// ClearProposal drops a pending proposal. It is meant for one that the delivery service has refused.
func (c *Conversation) ClearProposal(ctx context.Context, ref []byte) error {
	_, err := c.do(ctx, "clear proposal", conversation.ClearProposal{CommandMeta: c.client.meta(ctx, "clear_proposal", ref), Ref: ref})
	return err
}

// Send encrypts a message for the members and publishes it. It returns the message's position in the group's order; 0 where a foreign
// transport has none. In a transaction it closes a segment, like a commit.
func (c *Conversation) Send(ctx context.Context, text []byte) (uint64, error) {
	in := conversation.Encrypt{CommandMeta: c.client.meta(ctx, "send", text), Plaintext: text}
	if c.tx != nil {
		position, _, err := c.tx.inner.Send(ctx, c.id, in)
		return position, c.wrap("send", err)
	}
	position, _, err := c.client.node.actors.Send(ctx, c.client.id, c.id, in)
	return position, c.wrap("send", err)
}

// Encrypt makes a message for a foreign transport. It is not remembered: asked again it makes another one.
func (c *Conversation) Encrypt(ctx context.Context, text, aad []byte) ([]byte, error) {
	reply, err := c.do(ctx, "encrypt", conversation.Encrypt{CommandMeta: c.client.meta(ctx, "encrypt"), Plaintext: text, AAD: aad})
	return reply.Ciphertext, err
}

// Outcome is what became of a message that was handed in.
type Outcome = conversation.Outcome

// Received is what Decrypt got out of a message.
type Received struct {
	Outcome
	Message *Message       // of an application message
	History *HistoryShared // of a message that held a history secret
	// Identity is who sent it, as of the message's epoch and as far as can be relied on now; nil where nothing was authenticated.
	Identity *WireIdentity
	// BufferedMessages had waited for this one and were taken with it: messages of the epoch that a commit led to, or a commit that
	// refers to the proposal just taken.
	BufferedMessages []Received
}

// Decrypt takes in a message that a foreign transport has brought: a commit, a proposal or an application message. With the node's own
// delivery service nobody needs it. A message that is not accepted is no error: the outcome says why, and nothing has changed. One that
// came too early is kept until what it needs has come, and is handed out with that.
func (c *Conversation) Decrypt(ctx context.Context, message []byte) (Received, error) {
	meta := c.client.unnamed(ctx) // an id that nobody chose need not be remembered: the message itself is known when it comes again
	if settingsOf(ctx).command != "" {
		meta = c.client.meta(ctx, "decrypt", message)
	}
	reply, err := c.do(ctx, "decrypt", conversation.Received{CommandMeta: meta, Message: message})
	if err != nil {
		return Received{}, err
	}
	all := c.client.node.receivedIn(reply)
	if len(all) == 0 {
		return Received{}, nil
	}
	all[0].BufferedMessages = all[1:]
	return all[0], nil
}

// ExportSecret derives a secret from the epoch (RFC 9420, 8.5); an empty label is "exporter".
func (c *Conversation) ExportSecret(ctx context.Context, label string, context []byte, length int) ([]byte, error) {
	meta := c.client.meta(ctx, "export", []byte(label), context, strconv.AppendInt(nil, int64(length), 10))
	reply, err := c.do(ctx, "export secret", conversation.ExportSecret{CommandMeta: meta, Label: label, Context: context, Length: length})
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), reply.Secret.Expose()...), nil
}

// AbandonJoin gives up an external join that the delivery service has not answered. The conversation is as it was before.
func (c *Conversation) AbandonJoin(ctx context.Context) error {
	_, err := c.do(ctx, "abandon join", conversation.AbandonJoin{CommandMeta: c.client.meta(ctx, "abandon join")})
	return err
}

// MarkAsChildOf names the conversation that this one belongs to. The client must be a member of it.
func (c *Conversation) MarkAsChildOf(ctx context.Context, parent ConversationID) error {
	in := conversation.MarkAsChild{CommandMeta: c.client.meta(ctx, "mark as child", []byte(parent)), Parent: parent}
	if c.tx != nil {
		return c.wrap("mark as child", c.tx.inner.MarkAsChild(ctx, c.id, in))
	}
	return c.wrap("mark as child", c.client.node.actors.MarkAsChild(ctx, c.client.id, c.id, in))
}

// ExternalSender is the public key of the group's first external sender.
func (c *Conversation) ExternalSender(ctx context.Context) ([]byte, error) {
	s, err := c.state(ctx)
	if err != nil {
		return nil, c.wrap("external sender", err)
	}
	key, err := s.ExternalSender()
	return key, c.wrap("external sender", err)
}

// Wipe destroys the conversation here. Nobody else is told.
func (c *Conversation) Wipe(ctx context.Context) error {
	in := conversation.Wipe{CommandMeta: c.client.meta(ctx, "wipe")}
	if c.tx != nil {
		_, err := c.tx.inner.Wipe(ctx, c.id, in)
		return c.wrap("wipe", err)
	}
	_, err := c.client.node.actors.Wipe(ctx, c.client.id, c.id, in)
	return c.wrap("wipe", err)
}

func (c *Conversation) state(ctx context.Context) (conversation.State, error) {
	if c.tx != nil {
		return c.tx.inner.ConversationState(ctx, c.id)
	}
	return c.client.node.actors.ConversationState(ctx, c.client.id, c.id)
}

// joined is the state of a conversation that we are a member of.
func (c *Conversation) joined(ctx context.Context) (conversation.State, error) {
	s, err := c.state(ctx)
	if err == nil && (!s.Exists() || s.Group == nil) {
		err = &conversation.CommandError{Code: ConversationNotFound, Advice: GiveUp, Detail: c.id.String() + " is " + s.Lifecycle.String()}
	}
	return s, err
}

// Member is one client of a group.
type Member = conversation.Member

// Holdings count what a conversation keeps beside its epoch.
type Holdings = conversation.Holdings

// Status is a conversation as it is committed; in a transaction, as that sees it.
type Status struct {
	Exists        bool   // we are a member
	Lifecycle     string // active, wiped, evicted, ...
	Epoch         uint64
	CipherSuite   mlsengine.CipherSuite
	Members       []Member       // in leaf order
	Pending       int            // how many Proposals there are
	Proposals     []Pending      // of the epoch, not committed yet, in the order they came
	Lost          *Loss          // not nil: the group cannot be followed any more, although nobody has removed us
	Unresolved    []Unresolved   // own commits that a foreign delivery service gave no answer about; while there are any: Decide
	Staged        bool           // an own commit waits for the delivery service
	Position      uint64         // followed in the group's order
	Version       uint64         // of the log
	Digest        string         // of the public state: what replay prints too
	Authenticator []byte         // of the epoch
	History       bool           // what is said can be read by readers of history, see EnableHistorySharing
	Parent        ConversationID // that this one was marked as a child of; empty: none
	Holdings      Holdings       // what is kept beside the epoch
	NextDue       time.Time      // when the conversation does something by itself: an expiry, a checkpoint, a commit; zero: nothing is due
	Time          time.Time
}

// Status reads the committed state, or the transaction's own.
func (c *Conversation) Status(ctx context.Context) (Status, error) {
	s, err := c.state(ctx)
	if err != nil {
		return Status{}, c.wrap("status", err)
	}
	return Status{
		Exists: s.Exists(), Lifecycle: s.Lifecycle.String(), Epoch: uint64(s.Epoch()), CipherSuite: s.Config.CipherSuite, Members: s.Roster(),
		Pending: len(s.PendingProposals()), Staged: s.Staged != nil, Position: s.Position, Version: s.Version, Digest: s.Digest().String(),
		Authenticator: s.EpochAuthenticator(), Time: timeOf(s.TimeMs), Parent: s.Parent, Holdings: s.Holdings(), NextDue: timeOf(s.NextDue(!c.client.node.options.ManualCommits)),
		History:    s.HistorySharing(),
		Unresolved: unresolvedIn(c.id, s), Lost: lossOf(s),
		Proposals: proposalsOf(s),
	}, nil
}

// Exists reports whether we are a member.
func (c *Conversation) Exists(ctx context.Context) (bool, error) {
	s, err := c.state(ctx)
	return s.Exists(), c.wrap("exists", err)
}

// ClientIDs lists the members' client ids in leaf order.
func (c *Conversation) ClientIDs(ctx context.Context) ([]ClientID, error) {
	s, err := c.joined(ctx)
	if err != nil {
		return nil, c.wrap("client ids", err)
	}
	return s.ClientIDs(), nil
}
