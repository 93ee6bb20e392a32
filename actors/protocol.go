package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/conversation"
	"parley/events"
	"parley/internal/ids"
)

// This page is the protocol between a transaction's coordinator and its participants.
//
//	coordinator                        participant
//	ask[txWork]        ->              locks at the first one, steps on a copy        -> txWorked
//	ask[txSeal]        ->              prepares its record for the segment            -> *events.Prepared
//	  one atomic batch: the only point at which the segment is decided
//	ask[txOutcome]     ->              swaps, or drops the copy; keeps or gives up the lock
//	ask[txAwait]       ->              answers when the commit or the message it has sent is settled
//	<- *txWounded                      an older transaction wants the lock

// txRef names a transaction and what a participant must know of it.
type txRef struct {
	ID          ids.TransactionID
	Client      ids.ClientID
	Began       time.Time
	Deadline    time.Time
	Coordinator *actor.PID
}

// older reports whether t has precedence over u: of two in each other's way the older wins.
func (t txRef) older(u txRef) bool {
	if !t.Began.Equal(u.Began) {
		return t.Began.Before(u.Began)
	}
	return t.ID < u.ID
}

// txWork is one command of a transaction. First says that the coordinator has not touched the participant before; where it has
// and the participant does not know the transaction, the participant has lost its copy and the transaction cannot go on.
type txWork struct {
	Tx    txRef
	First bool
	Brief bool // the lock is for the decision that follows alone: its holder waits for nobody, and whoever comes waits for it
	Work  work
}

// txWorked is what a command of a transaction did.
type txWorked struct {
	Result  result
	Dirty   bool   // the copy holds events that are not durable
	Version uint64 // the version the copy's record would get
	Barrier bool   // the segment must be durable before the result may be seen
	Ticket  uint64 // not 0: the result is still to come, by txAwait: a commit or a message is with the transport
	// An answer to txAwait with both is no result yet: a commit was made anew, and goes out once the segment is durable. It is asked for again.
}

// txSeal asks for the participant's record of a segment.
type txSeal struct {
	ID      ids.TransactionID
	Segment uint32
	Batch   *events.BatchInfo // nil where the participant is the only one
}

// txVerdict is how a segment ended.
type txVerdict uint8

const (
	txCommitted txVerdict = iota + 1
	txAborted
	txStale   // somebody's log has moved on: everybody reloads
	txUnknown // nobody knows: the participant looks for its record in the log
)

// txOutcome tells a participant how a segment ended. With Release it is the last message of the transaction.
type txOutcome struct {
	ID       ids.TransactionID
	Verdict  txVerdict
	Version  uint64 // committed: what the participant's log must have reached
	Sequence uint64 // committed: where the participant's record stands in the stream; 0: it had none
	Release  bool
}

// txAwait asks for the result of what was sent.
type txAwait struct {
	ID     ids.TransactionID
	Ticket uint64
}

// txSettled tells a participant that the result of what a transaction has sent is there.
type txSettled struct {
	note
	ID     ids.TransactionID
	Ticket uint64
}

// txWounded tells a coordinator that an older transaction wants what it holds.
type txWounded struct{ note }

// lockExpired tells a participant that its coordinator has been silent for too long.
type lockExpired struct {
	note
	ID ids.TransactionID
}

// The caller's side.

// txBegin opens the transaction: a coordinator that has not heard it knows nothing and takes nothing. Began is when what it stands for was
// asked for first, where it is not the first attempt: with it grows its precedence.
type txBegin struct{ Deadline, Began time.Time }

// txRun is one command to run inside the transaction. Listing is what the client's own log has to say with it, in the same segment: it is
// done when the segment is closed, so that the client's log is held no longer than that. Peek looks without taking the target in.
type txRun struct {
	Target  Identity
	Work    work
	Listing []conversation.ClientInput
	Peek    bool
}

// txFinish makes everything durable, or nothing.
type txFinish struct{}

// txAbort drops everything since the last durable segment.
type txAbort struct{}

// TransactionOutcome is what a finished or aborted transaction reports.
type TransactionOutcome struct {
	ID       ids.TransactionID
	Segments uint32 // durable segments; an abort undoes only what came after the last one
}
