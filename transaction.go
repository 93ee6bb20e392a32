package parley

import (
	"context"
	"errors"
	"time"

	"parley/actors"
)

// Transaction is an ordered batch of commands of one client over any of its conversations. All of it becomes durable when it is
// finished, or nothing. Until then its results are seen here and nowhere else.
//
// What the delivery service sees has to be durable before, so a commit or a message sent inside a transaction closes a segment: everything
// up to it becomes durable at once, and an abort undoes only what came after. Of two transactions in each other's way the older wins; the
// younger one's commands fail with ErrConflict, and the whole of it may be run again. Transactions that do not meet run side by side.
//
// While a commit of the transaction is with a foreign Transport, that may hand messages of the same conversation in by Decrypt, on the
// transaction's own Conversation, before it answers: a commit that another one has beaten is then made anew after its Retry.
type Transaction struct {
	client *Client
	inner  *actors.Transaction
}

// Begin opens a transaction. It is aborted at the deadline of ctx at the latest. Within Insist it has the precedence of the first attempt:
// it grows older with every one, until nothing is older.
func (c *Client) Begin(ctx context.Context) (*Transaction, error) {
	deadline, _ := ctx.Deadline()
	inner, err := c.node.actors.Begin(ctx, c.id, deadline, settingsOf(ctx).began)
	if err != nil {
		return nil, wrap("begin", err)
	}
	return &Transaction{client: c, inner: inner}, nil
}

// ID is the transaction's id, as the records of the log name it.
func (t *Transaction) ID() TransactionID { return t.inner.ID() }

// Segments is how many parts of the transaction are durable, as far as its commands, Finish or Abort have said: a commit or a message that is
// sent closes one, and an abort undoes only what came after the last. 0: nothing of it is.
func (t *Transaction) Segments() uint32 { return t.inner.Segments() }

// Conversation takes a conversation into the transaction: its operations run inside.
func (t *Transaction) Conversation(id ConversationID) *Conversation {
	return &Conversation{client: t.client, id: id, tx: t}
}

// Create makes a conversation whose only member is the client. Without a configuration it gets the node's. The group is known to others
// once the transaction is finished, or a commit or a message of it has closed the segment.
func (t *Transaction) Create(ctx context.Context, id ConversationID, config ...Config) (*Conversation, error) {
	if _, err := t.inner.Create(ctx, id, t.client.creation(ctx, id, config)); err != nil {
		return nil, t.Conversation(id).wrap("create", err)
	}
	return t.Conversation(id), nil
}

// Join enters a group by a Welcome. The key package that it uses up is used up with the transaction, or not at all.
func (t *Transaction) Join(ctx context.Context, in Invitation) (*Conversation, error) {
	id, _, err := t.inner.Join(ctx, t.client.joinRequest(ctx, in))
	if err != nil {
		return nil, t.Conversation(id).wrap("join", err)
	}
	return t.Conversation(id), nil
}

// JoinExternally joins a group by a commit of the client's own, which closes a segment.
func (t *Transaction) JoinExternally(ctx context.Context, id ConversationID, in ExternalJoin) (*Conversation, error) {
	if _, err := t.inner.JoinExternally(ctx, t.client.externalJoin(ctx, id, in)); err != nil {
		return nil, t.Conversation(id).wrap("join externally", err)
	}
	return t.Conversation(id), nil
}

// Finish makes the transaction durable. It returns when the orders of the groups that it created stand; ConversationAlreadyExists is about
// one of those, whose id somebody else has taken at the same time: it is wiped again, and everything else stands. Asked again it returns its first outcome. Where nobody knows that any more (the node has died), the
// whole transaction run again under the same command ids has no effect beyond the first.
func (t *Transaction) Finish(ctx context.Context) error {
	_, err := t.inner.Finish(ctx)
	return wrap("finish", err)
}

// Abort undoes everything after the last commit or message that was sent.
func (t *Transaction) Abort(ctx context.Context) error {
	_, err := t.inner.Abort(ctx)
	return wrap("abort", err)
}

// Transact runs f in a transaction: finished when f returns nil, aborted when it does not.
func (c *Client) Transact(ctx context.Context, f func(*Transaction) error) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortPatience)
		defer cancel()
		if undone := tx.Abort(abort); undone != nil && !errors.Is(undone, ErrNoTransaction) {
			return errors.Join(err, undone)
		}
		return err
	}
	return tx.Finish(ctx)
}

const abortPatience = 5 * time.Second
