package parley

import (
	"context"
	"iter"
	"time"

	"parley/actors"
	"parley/conversation"
	"parley/delivery"
	"parley/mlsengine"
)

// HistoryClient is who a history secret makes of whoever has it: a reader of one conversation, from the epoch on that the secret was made
// for and until a commit removes it. It lives in memory alone, and its secrets with it; made again, it begins at its beginning. It has no
// key to sign with, and no method that would say anything: under its name the node runs no other client. One goroutine at a time may use it.
type HistoryClient struct {
	node    *Node
	secret  *conversation.HistorySecret
	state   conversation.State
	env     conversation.Env
	waiting []HistoryMessage // decrypted, and not handed out yet
}

// HistoryMessage is a message as a HistoryClient reads it.
type HistoryMessage struct {
	Message
	Epoch    uint64
	Position uint64    // in the group's order; 0: it has none
	Time     time.Time // when the order got it; without an order, when it was decrypted
}

// HistoryClient makes the reader of a history secret. Nobody hears of it: it is in the group already, since sharing was enabled.
func (n *Node) HistoryClient(s HistorySecret) (*HistoryClient, error) {
	secret, err := conversation.ParseHistorySecret(s.encoded.Expose())
	if err != nil {
		return nil, wrap("history client", err)
	}
	identity, err := secret.Identity()
	if err != nil {
		return nil, wrap("history client", err)
	}
	entropy := n.options.Entropy
	if entropy == nil {
		entropy = actors.SystemEntropy{}
	}
	return &HistoryClient{
		node: n, secret: secret, state: conversation.NewState(secret.Client, secret.Conversation),
		env: conversation.Env{Entropy: entropy, Identity: identity, LeaseValid: true},
	}, nil
}

// ID is the reader's own name in the group.
func (h *HistoryClient) ID() ClientID { return h.secret.Client }

// ConversationID is what it reads.
func (h *HistoryClient) ConversationID() ConversationID { return h.secret.Conversation }

// Joined reports whether it is in the group, and reads on; false before and after.
func (h *HistoryClient) Joined() bool { return h.state.Exists() }

// Epoch is the epoch it has come to.
func (h *HistoryClient) Epoch() uint64 { return uint64(h.state.Epoch()) }

// Close forgets all secrets. Nothing can be read any more.
func (h *HistoryClient) Close() {
	h.state, h.waiting = conversation.NewState(h.secret.Client, h.secret.Conversation), nil
	h.secret = &conversation.HistorySecret{Client: h.secret.Client, Conversation: h.secret.Conversation}
}

// step takes an input in: what it reads waits to be handed out.
func (h *HistoryClient) step(in conversation.Input) (conversation.Reply, error) {
	h.env.NowMs = h.node.actors.Now()
	t, err := conversation.Step(h.state, in, h.env)
	if err == nil && t.Reply.Err != nil {
		err = t.Reply.Err
	}
	if err != nil {
		return t.Reply, err
	}
	h.state = t.Next
	if len(t.Events) > 0 {
		h.state = h.state.At(h.state.Version + 1) // its log is kept nowhere
	}
	return t.Reply, nil
}

func (h *HistoryClient) join(in Invitation, transport conversation.TransportKind) error {
	config := h.node.options.Config
	if in.Config != nil {
		config = *in.Config
	}
	config.Transport, config.WirePolicy, config.Credential = transport, conversation.WireMixed, ""
	_, err := h.step(conversation.Join{
		Config: config, Welcome: in.Welcome, Tree: in.Tree, Position: in.Position, KeyPackage: h.secret.KeyPackage, Secrets: h.secret.Secrets(),
	})
	return err
}

// Join lets the reader in by the Welcome of the commit that added it, as a foreign delivery service keeps it. With the node's own service
// Messages finds it.
func (h *HistoryClient) Join(in Invitation) error {
	return wrap("join", h.join(in, conversation.TransportForeign))
}

// Decrypt takes in a message that a foreign delivery service keeps, in the order in which it came: a commit, a proposal or an application
// message. A message that is not accepted is no error, as for Conversation.Decrypt.
func (h *HistoryClient) Decrypt(message []byte) (Received, error) {
	reply, err := h.step(conversation.Received{Message: message})
	if err != nil {
		return Received{}, wrap("decrypt", err)
	}
	all := h.node.receivedIn(reply)
	if len(all) == 0 {
		return Received{}, nil
	}
	all[0].BufferedMessages = all[1:]
	return all[0], nil
}

// historyEntriesAtOnce is how much of the order is read at a time.
const historyEntriesAtOnce = 256

// Messages reads what the order of the node's own delivery service has for the reader, from where it was read to before: everything that
// members have said since the secret's epoch began, as long as the order keeps it. It ends where the order does for now, or the reader's
// time in the group; asked again it gives what has come since.
func (h *HistoryClient) Messages(ctx context.Context) iter.Seq2[HistoryMessage, error] {
	return func(yield func(HistoryMessage, error) bool) {
		more := true
		for {
			for len(h.waiting) > 0 {
				m := h.waiting[0]
				h.waiting = h.waiting[1:]
				if !yield(m, nil) {
					return
				}
			}
			if !more {
				return
			}
			var err error
			if more, err = h.readOn(ctx); err != nil {
				yield(HistoryMessage{}, wrap("read history", err))
				return
			}
		}
	}
}

// readOn takes in some more of the order. It reports whether there may be yet more.
func (h *HistoryClient) readOn(ctx context.Context) (more bool, err error) {
	if h.node.delivery == nil {
		return false, &conversation.CommandError{Code: conversation.ConversationNotFound, Advice: GiveUp, Detail: "this node has no delivery service"}
	}
	switch {
	case h.state.Lifecycle == conversation.Absent:
		if err := h.enter(ctx); err != nil {
			return false, err
		}
	case h.state.Lifecycle == conversation.Unreachable:
		return false, &conversation.CommandError{Code: conversation.ConversationUnreachable, Advice: GiveUp, Detail: "a commit cannot be followed"}
	case !h.state.Exists():
		return false, nil
	}
	found, err := h.node.delivery.Follow(ctx, h.ConversationID(), h.state.Position+1, historyEntriesAtOnce)
	if err != nil || len(found) == 0 {
		return false, err
	}
	in, sent := conversation.Entries{}, make(map[uint64]uint64, len(found))
	for i := range found {
		in.Entries = append(in.Entries, found[i].ForMember())
		sent[found[i].Number] = found[i].TimeMs
	}
	reply, err := h.step(in)
	if err != nil {
		return false, err
	}
	for i := range reply.Messages {
		m := &reply.Messages[i]
		if m.History == "" {
			h.waiting = append(h.waiting, HistoryMessage{
				Message: *messageOf(m), Epoch: uint64(m.Epoch), Position: m.Position, Time: timeOf(sent[m.Position]),
			})
		}
	}
	return reply.Taken > 0, nil
}

// enter joins by the Welcome that stands in the order with the commit that led to the secret's epoch.
func (h *HistoryClient) enter(ctx context.Context) error {
	orphan := &conversation.CommandError{Code: conversation.OrphanWelcome, Advice: GiveUp, Detail: "the order has no Welcome for this reader"}
	if h.secret.Epoch == 0 {
		return orphan
	}
	entry, ok, err := h.node.delivery.WhoWon(ctx, h.ConversationID(), uint64(h.secret.Epoch-1))
	switch {
	case delivery.CodeOf(err) == delivery.UnknownGroup, err == nil && (!ok || len(entry.Welcome) == 0):
		return orphan
	case err != nil:
		return err
	}
	err = h.join(Invitation{Welcome: entry.Welcome, Position: entry.Number}, conversation.TransportBuiltIn)
	if err == nil && h.state.Epoch() != mlsengine.Epoch(h.secret.Epoch) {
		return orphan
	}
	return err
}
