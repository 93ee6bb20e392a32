package parley

import (
	"context"
	"errors"

	"parley/actors"
	"parley/conversation"
	"parley/delivery"
	"parley/events"
	"parley/mlsengine/pki"
)

// Codes of errors that are about no rule of a conversation, but about the node, the log or the delivery service.
const (
	Unavailable         Code = "Unavailable"         // the log's server, or the node that serves the group, does not answer; nothing was done
	StoreFull           Code = "StoreFull"           // there is no space left; nothing was done
	UnknownOutcome      Code = "UnknownOutcome"      // it may have taken effect: ask again under the same command id
	Interrupted         Code = "Interrupted"         // the caller's context ended first; it may have taken effect
	NotHere             Code = "NotHere"             // another node serves the client
	Draining            Code = "Draining"            // the node is shutting down
	TransactionConflict Code = "TransactionConflict" // an older transaction is in the way: run the whole of it again
	TransactionLost     Code = "TransactionLost"     // its time was over, or who took part in it has died: run the whole of it again
	TransactionOver     Code = "TransactionOver"     // it was finished or aborted before
	AlreadyStreaming    Code = "AlreadyStreaming"    // the client has one stream of events at a time
	AlreadyObserving    Code = "AlreadyObserving"    // the client has one observer of history at a time
	LogDamaged          Code = "LogDamaged"          // a log does not verify: `replay verify` tells where
	GroupNotFound       Code = "GroupNotFound"       // the delivery service has no such group
	NotMember           Code = "NotMember"           // the client is not in the group, as the delivery service knows it
	AccessDenied        Code = "AccessDenied"        // Options.Access does not let the client
	AlreadyMember       Code = "AlreadyMember"       // who is to be added is in the group
	NothingToChange     Code = "NothingToChange"     // what is asked for is so already
	CertificateRefused  Code = "CertificateRefused"  // it does not parse, or cannot stand where it is to
	ListRefused         Code = "ListRefused"         // a revocation list that does not parse or verify, is not in force, or is older than the one held
	Failed              Code = "Failed"              // anything else; the error tells
)

// codeOf is the code of any error of this package.
func codeOf(err error) Code {
	if refused, ok := errors.AsType[*conversation.CommandError](err); ok {
		return refused.Code
	}
	if code := delivery.CodeOf(err); code != 0 {
		return codeOfService(code)
	}
	if _, ok := errors.AsType[*actors.CorruptError](err); ok {
		return LogDamaged
	}
	for _, known := range [...]struct {
		is   error
		code Code
	}{
		{pki.ErrCertificate, CertificateRefused}, {pki.ErrList, ListRefused}, {pki.ErrListExpired, ListRefused}, {pki.ErrListOlder, ListRefused},
		{pki.ErrIssuerUnknown, TrustAnchorNotFound}, {pki.ErrFull, Busy},
		{events.ErrKeyMissing, LogDamaged}, {events.ErrBadLog, LogDamaged}, {ErrRetention, InvalidConfiguration}, {errOptions, InvalidConfiguration},
		{ErrConflict, TransactionConflict}, {actors.ErrTransactionLost, TransactionLost}, {ErrNoTransaction, TransactionOver},
		{ErrUnknownOutcome, UnknownOutcome}, {events.ErrUnknownOutcome, UnknownOutcome}, {ErrBusy, Busy}, {events.ErrRingFull, Busy},
		{events.ErrFull, StoreFull}, {ErrDraining, Draining}, {ErrNotHere, NotHere}, {actors.ErrNoLease, LeaseLost},
		{ErrStreaming, AlreadyStreaming}, {ErrObserving, AlreadyObserving}, {errNoService, TransportMissing},
		{actors.ErrDeadline, Interrupted}, {context.DeadlineExceeded, Interrupted}, {context.Canceled, Interrupted},
		{actors.ErrActivation, Unavailable}, {events.ErrUnavailable, Unavailable}, {events.ErrFenced, Unavailable}, {events.ErrConflict, Unavailable},
	} {
		if errors.Is(err, known.is) {
			return known.code
		}
	}
	return Failed
}

// codeOfService is what a refusal of the delivery service is called here.
func codeOfService(code delivery.Code) Code {
	switch code {
	case delivery.Behind:
		return ConversationUnreachable
	case delivery.UnknownGroup:
		return GroupNotFound
	case delivery.GroupExists:
		return ConversationAlreadyExists
	case delivery.Busy:
		return Busy
	case delivery.Expired:
		return CommandExpired
	case delivery.CommandReused:
		return CommandMismatch
	case delivery.NotMember:
		return NotMember
	case delivery.WrongEpoch:
		return WrongEpoch
	case delivery.Malformed:
		return InvalidCommand
	case delivery.Invalid:
		return InvalidMessage
	case delivery.GroupInfoWrong, delivery.TreeWrong, delivery.WelcomeWrong:
		return CommitInvalid
	case delivery.Closed:
		return GroupEnded
	case delivery.NoKeyPackage:
		return ClientNotFound
	case delivery.UnknownIdentity:
		return CredentialRefused
	case delivery.NotHere, delivery.Unavailable:
		return Unavailable
	case delivery.Unknown:
		return UnknownOutcome
	case delivery.TooLarge:
		return MessageTooLarge
	case delivery.Forbidden:
		return AccessDenied
	case delivery.Damaged:
		return LogDamaged
	case delivery.AlreadyMember:
		return AlreadyMember
	case delivery.NothingToChange:
		return NothingToChange
	}
	return Failed
}
