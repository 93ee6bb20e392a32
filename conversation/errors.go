package conversation

import (
	"errors"
	"fmt"
	"strings"

	"parley/mlsengine"
)

// Code is the stable name of an outcome: of a refused command or of a message
// that was not accepted. It is an error, so that errors.Is(err,
// DuplicateMessage) asks for it. The empty code means that all went well.
type Code string

// The codes. Names that upstream clients know keep their meaning.
const (
	// About the conversation.
	ConversationAlreadyExists Code = "ConversationAlreadyExists"
	ConversationNotFound      Code = "ConversationNotFound" // never created, wiped, or we were removed
	ConversationUnreachable   Code = "ConversationUnreachable"
	ConversationRolledBack    Code = "ConversationRolledBack"
	SecretsMissing            Code = "SecretsMissing"
	ClientRolledBack          Code = "ClientRolledBack"
	ClientSecretsLost         Code = "ClientSecretsLost"
	GroupEnded                Code = "GroupEnded" // reinitialized or restarted under another id

	// About a command.
	InvalidConfiguration    Code = "InvalidConfiguration"
	PendingCommit           Code = "PendingCommit"    // an own commit waits for the transport
	PendingProposals        Code = "PendingProposals" // commit or clear them first
	PendingProposalNotFound Code = "PendingProposalNotFound"
	TooManyProposals        Code = "TooManyProposals"
	NothingToCommit         Code = "NothingToCommit" // the list is empty, or names nobody we know
	ClientNotFound          Code = "ClientNotFound"
	CannotRemoveSelf        Code = "CannotRemoveSelf"
	DuplicateSignature      Code = "DuplicateSignature"
	InvalidKeyPackage       Code = "InvalidKeyPackage"
	CredentialRefused       Code = "CredentialRefused"
	ClientNameRefused       Code = "ClientNameRefused" // Config.ClientNames does not let clients of that name in
	CredentialNotFound      Code = "CredentialNotFound"
	CredentialStillInUse    Code = "CredentialStillInUse"
	OrphanWelcome           Code = "OrphanWelcome"
	InvalidWelcome          Code = "InvalidWelcome"
	KeyLengthTooLong        Code = "KeyLengthTooLong"
	MessageTooLarge         Code = "MessageTooLarge"
	UpdateRequired          Code = "UpdateRequired" // too many own generations are not yet in the group's order
	LeaseLost               Code = "LeaseLost"
	TransportAborted        Code = "MessageRejected" // the delivery service refused the commit for good
	TransportError          Code = "ErrorDuringMlsTransport"
	TransportMissing        Code = "MlsTransportNotProvided" // nobody carries what the conversation sends
	RetriesExhausted        Code = "RetriesExhausted"
	CommitSuperseded        Code = "CommitSuperseded" // another commit won the epoch
	CommitInvalid           Code = "CommitInvalid"    // the engine refuses to make it; the detail names the rule
	InvalidGroupInfo        Code = "InvalidGroupInfo"
	CannotRetryJoin         Code = "CannotRetryWithoutConversation"
	PendingJoinNotFound     Code = "PendingJoinNotFound"
	PendingCommitNotFound   Code = "PendingCommitNotFound" // no commit of ours is without an answer
	JoinAbandoned           Code = "JoinAbandoned"
	ParentGroupNotFound     Code = "ParentGroupNotFound"
	MissingExternalSender   Code = "MissingExternalSenderExtension"
	InvalidHistorySecret    Code = "InvalidHistorySecret"
	DeliveryNotOpen         Code = "DeliveryNotOpen" // the message was acknowledged, or is gone
	DeadLetterNotFound      Code = "DeadLetterNotFound"
	// HistoryClientCannotWrite: the client was let in to read. Also the answer to what such a client has said all the same, and to taking its name.
	HistoryClientCannotWrite Code = "HistoryClientCannotWrite"

	// About a command id.
	CommandExpired    Code = "Expired"
	CommandFromFuture Code = "CommandFromFuture"
	CommandMismatch   Code = "CommandMismatch" // the id was used for another request
	InvalidCommand    Code = "InvalidCommand"  // its id or principal is too long, or the principal is no text
	InvalidID         Code = "InvalidID"       // of a client or a conversation: empty, or too long
	OutcomeExpired    Code = "OutcomeExpired"
	Busy              Code = "Busy"

	// About a message or an entry of the group's order.
	OrderGap              Code = "OrderGap"   // entries are missing in between
	NotInOrder            Code = "NotInOrder" // a handshake from elsewhere, in a group that has an order
	MalformedMessage      Code = "MalformedMessage"
	WrongGroup            Code = "WrongGroup"
	BufferedFutureMessage Code = "BufferedFutureMessage" // of the next epoch: it waits for the commit that leads there
	BufferedCommit        Code = "BufferedCommit"        // it waits for a proposal that it refers to
	// BufferedForPendingConversation: it waits until the group is joined.
	BufferedForPendingConversation Code = "UnmergedPendingGroup"
	BufferFull                     Code = "BufferFull" // too much waits already
	WrongEpoch                     Code = "WrongEpoch" // of a later epoch than the next one
	MessageEpochTooOld             Code = "MessageEpochTooOld"
	StaleCommit                    Code = "StaleCommit"
	StaleProposal                  Code = "StaleProposal"
	DuplicateMessage               Code = "DuplicateMessage"
	SelfCommitIgnored              Code = "SelfCommitIgnored"
	OwnMessage                     Code = "OwnMessage"
	IncompatibleWireFormat         Code = "IncompatibleWireFormat"
	UnknownProposal                Code = "UnknownProposal"
	GenerationTooFar               Code = "GenerationTooFar"
	DecryptionError                Code = "DecryptionError"
	TrustAnchorAlreadyRegistered   Code = "TrustAnchorAlreadyRegistered"
	TrustAnchorNotFound            Code = "NotFound"
	PkiEnvironmentUnset            Code = "PkiEnvironmentUnset"
	InvalidUserID                  Code = "InvalidUserId"
	InvalidMessage                 Code = "InvalidMessage" // another rule; Outcome.Rule names it
)

// Error makes a Code a target of errors.Is.
func (c Code) Error() string { return string(c) }

// Advice says what a caller can do about an error.
type Advice string

// The advices.
const (
	Retry  Advice = "retry"   // the same command may succeed later
	Rejoin Advice = "rejoin"  // this member is out of the group's history; join again
	GiveUp Advice = "give up" // the same command will be refused again
	Decide Advice = "decide"  // an own commit got no answer: hand in what the service has, commit anew, or say what became of it (Resolve)
)

// CommandError is a refused command. Nothing has changed and no event was made.
type CommandError struct {
	Code    Code
	Advice  Advice
	Detail  string
	Rule    string   // the engine's rule, where one was broken
	Clients []string // whom the code is about, where that helps (DuplicateSignature)
}

func (e *CommandError) Error() string {
	if e.Detail == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Detail
}

// Is makes errors.Is(err, PendingCommit) hold.
func (e *CommandError) Is(target error) bool {
	c, ok := target.(Code)
	return ok && e != nil && c == e.Code
}

// ErrBroken is a broken invariant: of this package, or of a log that is not
// ours. It is never the answer to a bad message or a wrong command.
var ErrBroken = errors.New("conversation: broken invariant")

func brokenf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, args...))
}

func refuse(code Code, advice Advice, format string, args ...any) *CommandError {
	return &CommandError{Code: code, Advice: advice, Detail: fmt.Sprintf(format, args...)}
}

// refuseRule turns what the engine said into a refused command.
func refuseRule(code Code, err error) *CommandError {
	e := &CommandError{Code: code, Advice: GiveUp, Detail: bounded(err.Error())}
	var rule *mlsengine.RuleError
	if errors.As(err, &rule) {
		e.Rule = rule.Rule.Code()
	}
	return e
}

// detailBytesMax bounds the text of an error that goes into the log.
const detailBytesMax = 256

// bounded makes text of anybody's fit for the log: short, and text at all, for
// a record with a string that is not UTF-8 has no encoding.
func bounded(text string) string {
	if len(text) > detailBytesMax {
		text = text[:detailBytesMax]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
