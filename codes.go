package parley

import "parley/conversation"

// The codes: why a command was refused (Error.Code), or a message not accepted (Outcome.Code). Names that CoreCrypto has mean here what they
// mean there. Error.Advice and Outcome.Advice say what to do about each.
const (
	// About the conversation.
	ConversationAlreadyExists = conversation.ConversationAlreadyExists // it was created or joined before, or a join of it is pending; also: the delivery service has another group of this id
	ConversationNotFound      = conversation.ConversationNotFound      // never created, wiped, or we were removed
	ConversationUnreachable   = conversation.ConversationUnreachable   // an accepted commit could not be followed, or the order was purged past us: join again
	ConversationRolledBack    = conversation.ConversationRolledBack    // the log lost its end: nothing is sent in this epoch
	SecretsMissing            = conversation.SecretsMissing            // the key ring is gone: join again
	ClientRolledBack          = conversation.ClientRolledBack          // the client's own log lost its end
	ClientSecretsLost         = conversation.ClientSecretsLost         // the client's keys are gone
	GroupEnded                = conversation.GroupEnded                // reinitialized or restarted under another id

	// About a command.
	InvalidConfiguration         = conversation.InvalidConfiguration         // a value of a Config is out of bounds
	PendingCommit                = conversation.PendingCommit                // an own commit waits for the transport
	PendingProposals             = conversation.PendingProposals             // commit or clear them first
	PendingProposalNotFound      = conversation.PendingProposalNotFound      // no proposal has this reference
	PendingCommitNotFound        = conversation.PendingCommitNotFound        // no own commit is without an answer
	TooManyProposals             = conversation.TooManyProposals             // too many are pending
	NothingToCommit              = conversation.NothingToCommit              // the list is empty, or names nobody we know
	ClientNotFound               = conversation.ClientNotFound               // no member, or nobody who has published key packages
	CannotRemoveSelf             = conversation.CannotRemoveSelf             // a commit cannot remove its committer: propose it, and somebody else commits
	DuplicateSignature           = conversation.DuplicateSignature           // a signature key would be in the group twice; the error names the clients
	InvalidKeyPackage            = conversation.InvalidKeyPackage            // it does not parse, is expired, or breaks a rule of the group
	CredentialRefused            = conversation.CredentialRefused            // the authentication service does not vouch for it
	ClientNameRefused            = conversation.ClientNameRefused            // Config.ClientNames does not let clients of that name in
	CredentialNotFound           = conversation.CredentialNotFound           // the client has none of the cipher suite, or its key is not here
	CredentialStillInUse         = conversation.CredentialStillInUse         // a conversation presents it
	InvalidUserID                = conversation.InvalidUserID                // a client id that names no user
	TrustAnchorAlreadyRegistered = conversation.TrustAnchorAlreadyRegistered // nothing has changed
	TrustAnchorNotFound          = conversation.TrustAnchorNotFound          // no trust anchor is this one, or vouches for it
	PkiEnvironmentUnset          = conversation.PkiEnvironmentUnset          // no trust anchor is registered
	OrphanWelcome                = conversation.OrphanWelcome                // it is for no key package whose keys are here: join externally
	InvalidWelcome               = conversation.InvalidWelcome               // it breaks a rule, or leads to where we have been
	KeyLengthTooLong             = conversation.KeyLengthTooLong             // the exporter does not give so many bytes
	MessageTooLarge              = conversation.MessageTooLarge              // the bound is in the detail
	UpdateRequired               = conversation.UpdateRequired               // too many own generations are not yet in the group's order
	LeaseLost                    = conversation.LeaseLost                    // another node may hold the conversation by now
	TransportAborted             = conversation.TransportAborted             // the delivery service refused the commit for good
	TransportError               = conversation.TransportError               // the delivery service gave no answer: the commit stays and counts when it turns up
	TransportMissing             = conversation.TransportMissing             // the node speaks to no delivery service that would carry it
	RetriesExhausted             = conversation.RetriesExhausted             // the delivery service kept asking to try again
	CommitSuperseded             = conversation.CommitSuperseded             // another commit won the epoch
	CommitInvalid                = conversation.CommitInvalid                // the engine refuses to make it; the detail names the rule
	InvalidGroupInfo             = conversation.InvalidGroupInfo             // it breaks a rule, has no tree, or is older than what we know
	CannotRetryJoin              = conversation.CannotRetryJoin              // another commit was faster: join again from the newest GroupInfo
	PendingJoinNotFound          = conversation.PendingJoinNotFound          // no join is pending
	JoinAbandoned                = conversation.JoinAbandoned                // AbandonJoin was called
	ParentGroupNotFound          = conversation.ParentGroupNotFound          // the client is not in the parent
	MissingExternalSender        = conversation.MissingExternalSender        // the group names none
	InvalidHistorySecret         = conversation.InvalidHistorySecret         // it does not parse, or is not of a reader of history
	DeliveryNotOpen              = conversation.DeliveryNotOpen              // the message was acknowledged or put aside, or is gone; or the event is no message
	DeadLetterNotFound           = conversation.DeadLetterNotFound           // no message of this number has failed, or it is gone
	HistoryClientCannotWrite     = conversation.HistoryClientCannotWrite     // the client was let in to read. Also the answer to what such a client has said all the same, and to taking its name

	// About a command id.
	CommandExpired    = conversation.CommandExpired    // its id is older than the remembered window
	CommandFromFuture = conversation.CommandFromFuture // its time of issue is ahead of the node's clock
	CommandMismatch   = conversation.CommandMismatch   // the id was used for another request
	InvalidCommand    = conversation.InvalidCommand    // its id or principal is too long, or the principal is no text
	InvalidID         = conversation.InvalidID         // of a client or a conversation: empty, or longer than 1024 bytes
	OutcomeExpired    = conversation.OutcomeExpired    // the first outcome held a secret that is gone
	Busy              = conversation.Busy              // a bound of what is kept at once is reached

	// About a message or an entry of the group's order.
	OrderGap                       = conversation.OrderGap                       // entries are missing in between
	NotInOrder                     = conversation.NotInOrder                     // a handshake from elsewhere, in a group that has an order
	MalformedMessage               = conversation.MalformedMessage               // it does not parse
	WrongGroup                     = conversation.WrongGroup                     // it is of another group
	BufferedFutureMessage          = conversation.BufferedFutureMessage          // of the next epoch: it waits for the commit that leads there
	BufferedCommit                 = conversation.BufferedCommit                 // it waits for a proposal that it refers to
	BufferedForPendingConversation = conversation.BufferedForPendingConversation // it waits until the group is joined
	BufferFull                     = conversation.BufferFull                     // too much waits already
	WrongEpoch                     = conversation.WrongEpoch                     // of a later epoch than the next one
	MessageEpochTooOld             = conversation.MessageEpochTooOld             // the keys of its epoch are gone
	StaleCommit                    = conversation.StaleCommit                    // of an epoch that is over
	StaleProposal                  = conversation.StaleProposal                  // of an epoch that is over
	DuplicateMessage               = conversation.DuplicateMessage               // it was taken before
	SelfCommitIgnored              = conversation.SelfCommitIgnored              // an own commit that is not known here
	OwnMessage                     = conversation.OwnMessage                     // an own message, which nobody can open again
	IncompatibleWireFormat         = conversation.IncompatibleWireFormat         // not a message, or not the kind that the wire policy wants
	UnknownProposal                = conversation.UnknownProposal                // a commit refers to a proposal that is not here
	GenerationTooFar               = conversation.GenerationTooFar               // more messages were skipped than the configuration allows
	DecryptionError                = conversation.DecryptionError                // the key does not open it
	InvalidMessage                 = conversation.InvalidMessage                 // another rule; Outcome.Rule names it
)
