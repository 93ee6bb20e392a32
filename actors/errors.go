package actors

import (
	"errors"
	"fmt"

	"parley/internal/ids"
)

var (
	// ErrBusy means that the bound of the actor or of the node is reached. Nothing was done; retry later.
	ErrBusy = errors.New("actors: too much is waiting already")
	// ErrNotHere means that another node serves the identity. Nothing was done.
	ErrNotHere = errors.New("actors: the identity is served by another node")
	// ErrDraining means that the node is shutting down. Nothing was done.
	ErrDraining = errors.New("actors: the node is draining")
	// ErrUnknownOutcome means that the record may or may not have become durable. Ask again under the same command id.
	ErrUnknownOutcome = errors.New("actors: the outcome is unknown")
	// ErrPanicked means that the command ran into a bug. The actor has stopped; its log is untouched or holds the whole command.
	ErrPanicked = errors.New("actors: the actor panicked")
	// ErrDeadline means that the command waited longer than its caller allowed. Nothing was done.
	ErrDeadline = errors.New("actors: the deadline passed before the command began")
	// ErrNoLease means that this node does not hold the lease over the identity, so it may not use reserved keys.
	ErrNoLease = errors.New("actors: the node's lease does not hold")
	// ErrConflict means that an older transaction has the conversation. Nothing was done; run the transaction again.
	ErrConflict = errors.New("actors: an older transaction is in the way")
	// ErrNoTransaction means that the transaction is over: its caller has finished or aborted it, or ErrTransactionLost.
	ErrNoTransaction = errors.New("actors: the transaction is over")
	// ErrTransactionLost means that the transaction could not go on: its deadline has passed, or a participant or the coordinator has lost
	// what was not durable. Nothing was done since its last durable segment; run the transaction again.
	ErrTransactionLost = fmt.Errorf("%w: it was lost", ErrNoTransaction)

	// ErrActivation means that an actor could not read its log. Nothing was done; the next request tries again.
	ErrActivation = errors.New("actors: the activation failed")

	// errBounced means that the actor stopped before it saw the mail. The asker activates a successor and asks again.
	errBounced = errors.New("actors: bounced")
)

// ConversationError is what one conversation of several had to say.
type ConversationError struct {
	Conversation ids.ConversationID
	Err          error
}

func (e *ConversationError) Error() string { return e.Conversation.String() + ": " + e.Err.Error() }

// Unwrap gives what went wrong.
func (e *ConversationError) Unwrap() error { return e.Err }

// CorruptError says that a log cannot be believed. It stops that conversation or client and nothing else.
type CorruptError struct {
	Log string
	Err error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("log %s is corrupt: %v; run `replay verify` on it", e.Log, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }
