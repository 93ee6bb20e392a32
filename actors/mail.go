package actors

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// mail is what a mailbox holds on somebody's behalf. It is answered exactly once: by the actor, or by whoever finds
// that the actor is gone.
type mail interface {
	refuse(error)
	IgnoreDeadLetterLogging() // the library's dead-letter log would print the message
}

// ask is a question Q that is answered by an R.
type ask[Q, R any] struct {
	Query    Q
	Deadline time.Time
	reply    chan answer[R] // nil: nobody waits, or hear does
	hear     func(R, error) // takes the answer in place of wait, on whichever goroutine gives it; it must not block
	state    atomic.Int32   // pending, answered or left
	release  func()
}

// What a question can come to. It is decided once, so that who answers knows whether anybody has heard it.
const (
	askPending int32 = iota
	askAnswered
	askLeft
)

type answer[R any] struct {
	value R
	err   error
}

func newAsk[Q, R any](q Q, deadline time.Time) *ask[Q, R] {
	a := newQuietAsk[Q, R](q, deadline)
	a.reply = make(chan answer[R], 1)
	return a
}

// newQuietAsk is a question for whose answer nobody waits.
func newQuietAsk[Q, R any](q Q, deadline time.Time) *ask[Q, R] {
	return &ask[Q, R]{Query: q, Deadline: deadline, release: func() {}}
}

// answer gives the outcome, and reports whether the caller was still there to hear it. Only the first counts: a panic handler may come
// after the actor has answered.
func (a *ask[Q, R]) answer(value R, err error) (heard bool) {
	if a.state.CompareAndSwap(askPending, askAnswered) {
		a.release()
		if a.hear != nil {
			a.hear(value, err)
		} else if a.reply != nil {
			a.reply <- answer[R]{value, err}
		}
		return true
	}
	if a.state.CompareAndSwap(askLeft, askAnswered) {
		a.release() // nobody waits, but it was counted as work until now
	}
	return false
}

func (a *ask[Q, R]) refuse(err error) {
	var none R
	a.answer(none, err)
}

// expired reports whether the caller has stopped waiting, so that the question need not be begun. Callers wait by the machine's clock,
// whatever the node's says.
func (a *ask[Q, R]) expired() bool { return !a.Deadline.IsZero() && time.Now().After(a.Deadline) }

// wait blocks until the outcome or the end of ctx. The question may still be carried out after ctx ended.
func (a *ask[Q, R]) wait(ctx context.Context) (R, error) {
	select {
	case got := <-a.reply:
		return got.value, got.err
	case <-ctx.Done():
		if !a.state.CompareAndSwap(askPending, askLeft) {
			got := <-a.reply
			return got.value, got.err
		}
		var none R
		return none, context.Cause(ctx)
	}
}

// IgnoreDeadLetterLogging keeps the library from printing the message.
func (a *ask[Q, R]) IgnoreDeadLetterLogging() {}

// LogValue redacts: questions carry plaintext and keys.
func (a *ask[Q, R]) LogValue() slog.Value { return slog.StringValue("ask") }

// String redacts.
func (a *ask[Q, R]) String() string { return "ask" }

// note is a message without an answer. It embeds what keeps it out of logs.
type note struct{}

func (note) IgnoreDeadLetterLogging() {}
func (note) LogValue() slog.Value     { return slog.StringValue("note") }
func (note) String() string           { return "note" }
