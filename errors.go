package parley

import (
	"context"
	"errors"

	"parley/actors"
	"parley/conversation"
	"parley/delivery"
	"parley/events"
)

// Advice says what can be done about an error.
type Advice = conversation.Advice

// The advices.
const (
	Retry  = conversation.Retry  // the same command, under the same id where it had one, may succeed later
	Rejoin = conversation.Rejoin // this member is out of the group's history: be added again
	GiveUp = conversation.GiveUp // the same command will be refused again
	Decide = conversation.Decide // an own commit got no answer: see Conversation.Resolve
)

// Code is the stable name of a refusal; errors.Is(err, parley.PendingCommit) asks for it.
type Code = conversation.Code

// UnknownIdentity is what an AuthenticationService answers for who it does not know.
const UnknownIdentity = delivery.UnknownIdentity

// Errors that are no refusals.
var (
	ErrBusy           = actors.ErrBusy
	ErrUnknownOutcome = actors.ErrUnknownOutcome
	ErrNotHere        = actors.ErrNotHere
	ErrDraining       = actors.ErrDraining
	ErrConflict       = actors.ErrConflict
	ErrNoTransaction  = actors.ErrNoTransaction
	ErrStreaming      = actors.ErrStreaming
	ErrObserving      = actors.ErrObserving
)

// Error is what every operation of this package fails with.
type Error struct {
	Op           string
	Conversation ConversationID // empty where it is about none
	Code         Code           // see codes.go and errorcodes.go; errors.Is asks for it too
	Advice       Advice
	Err          error
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() + " (" + string(e.Advice) + ")" }

// Is matches the error's Code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Unwrap gives what went wrong.
func (e *Error) Unwrap() error { return e.Err }

// AdviceOf says what can be done about any error of this package.
func AdviceOf(err error) Advice {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Advice
	}
	return advise(err)
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := &Error{Op: op, Code: codeOf(err), Advice: advise(err), Err: err}
	if one, ok := errors.AsType[*actors.ConversationError](err); ok {
		e.Conversation = one.Conversation
	}
	return e
}

func advise(err error) Advice {
	if refused, ok := errors.AsType[*conversation.CommandError](err); ok {
		return refused.Advice
	}
	if _, ok := errors.AsType[*actors.CorruptError](err); ok {
		return GiveUp
	}
	for _, lasting := range []error{events.ErrKeyMissing, events.ErrBadLog} {
		if errors.Is(err, lasting) {
			return GiveUp
		}
	}
	switch delivery.CodeOf(err) {
	case delivery.Behind, delivery.NotMember, delivery.WrongEpoch:
		if errors.Is(err, delivery.WrongEpoch) {
			return Retry
		}
		return Rejoin
	case delivery.Busy, delivery.NotHere, delivery.Unavailable, delivery.Unknown, delivery.NoKeyPackage:
		return Retry
	case 0:
	default:
		return GiveUp
	}
	for _, passing := range []error{
		ErrBusy, ErrUnknownOutcome, actors.ErrActivation, ErrNotHere, ErrDraining, ErrConflict, actors.ErrTransactionLost, actors.ErrDeadline, actors.ErrPanicked, actors.ErrNoLease,
		events.ErrFull, events.ErrUnavailable, events.ErrFenced, events.ErrConflict, events.ErrRingFull, context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, passing) {
			return Retry
		}
	}
	return GiveUp
}
