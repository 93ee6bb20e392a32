package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"parley/conversation"
	"parley/delivery"
	"parley/internal/ids"
)

// transact runs f in a transaction of its own. What other transactions keep it from is begun again while there is time, with the precedence
// that it had at first, so that its turn comes.
func (n *Node) transact(ctx context.Context, client ids.ClientID, f func(*Transaction) error) error {
	began := n.clock.Now()
	for attempt := 0; ; attempt++ {
		err := n.attempt(ctx, client, began, f)
		again := errors.Is(err, ErrConflict) || errors.Is(err, ErrTransactionLost)
		if !again || n.clock.Now().Sub(began) > n.limits.TransactionMax || !n.pause(ctx, attempt) {
			return err
		}
	}
}

// pause waits before another attempt, and reports false when there will be none: ctx or the node has ended.
func (n *Node) pause(ctx context.Context, attempt int) bool {
	due := make(chan struct{})
	timer := n.clock.AfterFunc(delivery.PauseAfter(attempt), func() { close(due) })
	defer timer.Stop()
	select {
	case <-due:
		return true
	case <-ctx.Done():
	case <-n.ended:
	}
	return false
}

// attempt is one transaction of transact's.
func (n *Node) attempt(ctx context.Context, client ids.ClientID, began time.Time, f func(*Transaction) error) error {
	deadline, _ := ctx.Deadline()
	tx, err := n.begin(ctx, client, txBegin{Deadline: deadline, Began: began})
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_, abortErr := tx.Abort(context.WithoutCancel(ctx))
		if errors.Is(abortErr, ErrNoTransaction) {
			abortErr = nil // it was over already
		}
		return errors.Join(err, abortErr)
	}
	_, err = tx.Finish(ctx)
	return err
}

// Transaction is an open transaction of one client. Its results are seen by its caller alone until it is finished. It is safe for
// concurrent use; its commands run one after the other.
type Transaction struct {
	node     *Node
	client   ids.ClientID
	identity Identity
	finish   atomic.Bool // its caller has asked for the end
	abort    atomic.Bool // and not for this one

	durable atomic.Uint32 // segments, as far as the coordinator has said

	mu      sync.Mutex
	created []ids.ConversationID // whose groups have an order in the built-in service
	stands  *TransactionOutcome  // it is durable, and this its outcome
}

// Begin opens a transaction. It is aborted at its deadline, the zero time meaning the longest allowed. What is tried again tells when it
// began first, and keeps its precedence; the zero time is now.
func (n *Node) Begin(ctx context.Context, client ids.ClientID, deadline, began time.Time) (*Transaction, error) {
	return n.begin(ctx, client, txBegin{Deadline: deadline, Began: began})
}

func (n *Node) begin(ctx context.Context, client ids.ClientID, q txBegin) (*Transaction, error) {
	id := transactionIdentity(client, ids.TransactionID(n.entropy.Draw("transaction id", 16)))
	if _, err := request[txBegin, TransactionOutcome](ctx, n, id, q); err != nil {
		return nil, err
	}
	return &Transaction{node: n, client: client, identity: id}, nil
}

// ID is the transaction's id, as the records of the log name it.
func (t *Transaction) ID() ids.TransactionID { return t.identity.Transaction }

// Segments is how many segments of the transaction are durable, as far as its commands and its end have said.
func (t *Transaction) Segments() uint32 { return t.durable.Load() }

func (t *Transaction) heard(segments uint32) {
	for {
		known := t.durable.Load()
		if segments <= known || t.durable.CompareAndSwap(known, segments) {
			return
		}
	}
}

// run runs one command.
func (t *Transaction) run(ctx context.Context, target Identity, w work) (result, error) {
	return t.ask(ctx, txRun{Target: target, Work: w})
}

func (t *Transaction) ask(ctx context.Context, q txRun) (result, error) {
	ended := t.finish.Load() || t.abort.Load()
	r, err := request[txRun, result](ctx, t.node, t.identity, q)
	t.heard(r.Segments)
	if errors.Is(err, ErrNoTransaction) && !errors.Is(err, ErrConflict) && !ended {
		err = fmt.Errorf("%w: %w", ErrTransactionLost, err)
	}
	return r, err
}

// Conversation runs an input on one of the client's conversations.
func (t *Transaction) Conversation(ctx context.Context, id ids.ConversationID, in conversation.Input) (conversation.Reply, error) {
	r, err := t.run(ctx, ConversationIdentity(t.client, id), work{Conversation: in})
	if err == nil {
		err = finalError(r.Conversation)
	}
	return r.Conversation, err
}

// Send encrypts a message and publishes it: everything so far becomes durable as one segment, then the message goes out. It returns its
// position in the group's order. Sent again under the same command id, in this transaction or in another, it is published once.
func (t *Transaction) Send(ctx context.Context, id ids.ConversationID, in conversation.Encrypt) (uint64, conversation.Reply, error) {
	r, err := t.run(ctx, ConversationIdentity(t.client, id), work{Conversation: in, Send: true})
	if err == nil {
		err = finalError(r.Conversation)
	}
	return r.Position, r.Conversation, err
}

// ConversationState is the conversation's state as the transaction sees it: what it has done itself, durable or not, and nothing that
// others do from its first touch on.
func (t *Transaction) ConversationState(ctx context.Context, id ids.ConversationID) (conversation.State, error) {
	r, err := t.run(ctx, ConversationIdentity(t.client, id), work{Look: true})
	if err != nil {
		return conversation.State{}, err
	}
	return *r.Seen, nil
}

// peek is the conversation's state without taking it into the transaction: as the transaction sees it where it has touched it, and else as
// it is committed.
func (t *Transaction) peek(ctx context.Context, id ids.ConversationID) (conversation.State, error) {
	r, err := t.ask(ctx, txRun{Target: ConversationIdentity(t.client, id), Work: work{Look: true}, Peek: true})
	if err != nil {
		return conversation.State{}, err
	}
	return *r.Seen, nil
}

// ClientState is the client's state as the transaction sees it. Nobody else changes it from then on.
func (t *Transaction) ClientState(ctx context.Context) (conversation.ClientState, error) {
	r, err := t.run(ctx, ClientIdentity(t.client), work{Look: true})
	if err != nil {
		return conversation.ClientState{}, err
	}
	return *r.SeenClient, nil
}

// Client runs an input on the client's own log.
func (t *Transaction) Client(ctx context.Context, in conversation.ClientInput) (conversation.ClientReply, error) {
	r, err := t.run(ctx, ClientIdentity(t.client), work{Client: in})
	if err == nil {
		err = refused(r.Client.Err)
	}
	return r.Client, err
}

// Finish makes everything since the last durable segment durable, or nothing. Asked again, because its answer was not waited for, it gives
// the first outcome; once that is no longer known it is ErrUnknownOutcome, and running the whole transaction again under the same command
// ids has no effect beyond the first. It returns when the orders of the groups that were created stand. ConversationAlreadyExists of it is
// about one of those: somebody else has taken its id, it is wiped again, and everything else stands.
func (t *Transaction) Finish(ctx context.Context) (TransactionOutcome, error) {
	again := t.finish.Swap(true)
	t.mu.Lock()
	stands := t.stands
	t.mu.Unlock()
	if stands != nil {
		return *stands, t.awaitOrders(ctx)
	}
	out, err := request[txFinish, TransactionOutcome](ctx, t.node, t.identity, txFinish{})
	t.heard(out.Segments)
	if errors.Is(err, ErrNoTransaction) && !errors.Is(err, ErrConflict) && !t.abort.Load() {
		if again {
			return out, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		}
		err = fmt.Errorf("%w: %w", ErrTransactionLost, err)
	}
	if err != nil {
		return out, err
	}
	t.mu.Lock()
	t.stands = &out
	t.mu.Unlock()
	return out, t.awaitOrders(ctx)
}

// Abort undoes everything since the last durable segment.
func (t *Transaction) Abort(ctx context.Context) (TransactionOutcome, error) {
	t.abort.Store(true)
	out, err := request[txAbort, TransactionOutcome](ctx, t.node, t.identity, txAbort{})
	t.heard(out.Segments)
	return out, err
}
