package delivery

import (
	"errors"
	"fmt"

	"parley/events"
)

// Code is a stable reason why the delivery service refused; it is an error itself, so errors.Is(err, delivery.Behind) works on this node
// and across the wire.
type Code uint32

// The codes. They are numbered for ever: they travel between nodes and stand in answers.
const (
	Behind          Code = 1  // the wanted entry was purged: rejoin
	UnknownGroup    Code = 2  // no such group here
	GroupExists     Code = 3  // a group of that name is registered with another GroupInfo
	Busy            Code = 4  // a bound is reached: again later
	Expired         Code = 5  // the command was issued outside the remembered window
	CommandReused   Code = 6  // the command id stands for another request
	NotMember       Code = 7  // the submitter owns no leaf of the group
	WrongEpoch      Code = 8  // the message belongs to an epoch the order no longer (or not yet) takes
	Malformed       Code = 9  // the bytes do not parse or are of the wrong kind
	Invalid         Code = 10 // the engine refused: the detail names its rule
	GroupInfoWrong  Code = 11 // the GroupInfo does not belong to the commit
	TreeWrong       Code = 12 // the new tree changes what the commit does not list
	WelcomeWrong    Code = 13 // Welcome missing or not wanted
	Closed          Code = 14 // the group was restarted under another id: the detail names it
	NoKeyPackage    Code = 15 // the client has none to claim
	UnknownIdentity Code = 16 // the authentication service does not know this client with this key
	NotHere         Code = 17 // this node does not hold the group's share
	Unavailable     Code = 18 // the store or the node that serves the share does not answer; nothing was done
	Unknown         Code = 19 // the outcome is not known yet: the same submission again settles it
	TooLarge        Code = 20 // beyond a size bound
	Forbidden       Code = 21 // policy of the group
	NotFound        Code = 22 // no such entry
	Damaged         Code = 23 // the group's order does not verify
	AlreadyMember   Code = 24 // who is to be added is in the group
	NothingToChange Code = 25 // what is asked for is so already
)

var codeNames = [...]string{
	Behind: "behind", UnknownGroup: "unknown-group", GroupExists: "group-exists", Busy: "busy", Expired: "expired",
	CommandReused: "command-reused", NotMember: "not-member", WrongEpoch: "wrong-epoch", Malformed: "malformed", Invalid: "invalid",
	GroupInfoWrong: "group-info-wrong", TreeWrong: "tree-wrong", WelcomeWrong: "welcome-wrong", Closed: "closed",
	NoKeyPackage: "no-key-package", UnknownIdentity: "unknown-identity", NotHere: "not-here", Unavailable: "unavailable",
	Unknown: "unknown-outcome", TooLarge: "too-large", Forbidden: "forbidden", NotFound: "not-found", Damaged: "damaged",
	AlreadyMember: "already-member", NothingToChange: "nothing-to-change",
}

// Error returns the code's stable name.
func (c Code) Error() string {
	if int(c) < len(codeNames) && codeNames[c] != "" {
		return codeNames[c]
	}
	return fmt.Sprintf("code-%d", uint32(c))
}

// Error is a refusal with its detail; it matches its Code under errors.Is.
type Error struct {
	Code   Code
	Detail string
	First  uint64 // Behind: the oldest number still there
	Epoch  uint64 // WrongEpoch: the group's epoch
	cause  error
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Code.Error()
	}
	return e.Code.Error() + ": " + e.Detail
}

// Is matches a Code.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// Unwrap returns what failed underneath, on the node where it failed.
func (e *Error) Unwrap() error { return e.cause }

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// failed wraps a failure of the world under the code a caller branches on.
func failed(code Code, verb string, err error) *Error {
	return &Error{Code: code, Detail: verb + ": " + err.Error(), cause: err}
}

// coded gives an error of the world its code: what the store says, or Unknown where nobody can say what was done.
func coded(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if c, ok := errors.AsType[Code](err); ok {
		return &Error{Code: c, cause: err}
	}
	code := Unknown
	switch {
	case errors.Is(err, events.ErrUnknownOutcome):
	case errors.Is(err, events.ErrFull), errors.Is(err, events.ErrRingFull):
		code = Busy
	case errors.Is(err, events.ErrFenced), errors.Is(err, events.ErrUnavailable), errors.Is(err, events.ErrConflict):
		code = Unavailable
	case errors.Is(err, events.ErrTooLarge), errors.Is(err, events.ErrBadDraft):
		code = TooLarge
	case errors.Is(err, events.ErrNotFound):
		code = NotFound
	case errors.Is(err, events.ErrRolledBack), errors.Is(err, events.ErrSecretsLost), errors.Is(err, events.ErrDamaged),
		errors.Is(err, events.ErrKeyMissing), errors.Is(err, events.ErrRingCorrupt):
		code = Damaged
	}
	if _, ok := errors.AsType[*events.ErrCorrupt](err); ok {
		code = Damaged
	}
	return &Error{Code: code, Detail: err.Error(), cause: err}
}

// CodeOf returns the code an error carries, 0 where it has none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if c, ok := errors.AsType[Code](err); ok {
		return c
	}
	return 0
}
