package conversation

import (
	"parley/events"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
)

// Transition is what a step leads to. Store Events first; then Next is the
// state, and only then may Reply and Outbox leave the process.
type Transition struct {
	Next   State
	Events []events.Event // one record, or part of one; none: nothing has to be stored
	Outbox []Effect
	Reply  Reply
	// Anchor, where set, must be in the ring before anything leaves: generations were reserved or an epoch was reached. It
	// belongs into events.Draft.
	Anchor *events.Anchor
}

// Reply is the answer to an input.
type Reply struct {
	// Err says that the command was refused; nothing has changed.
	Err *CommandError
	// Repeated says that the command's id was known: the reply is its first outcome.
	Repeated bool
	// InFlight says that a commit is with the transport. The command ends when a later step reports its Completion.
	InFlight bool
	// Completed are commands that ended in this step.
	Completed []Completion
	// Outcomes says what became of each message, in order; behind it, what became of those that had waited for it.
	Outcomes []Outcome
	// Messages are the application messages decrypted in this step. They are also in the spool until acknowledged.
	Messages []ReceivedMessage
	// Taken is how many of the Entries are part of Next, those already known included.
	Taken int
	// Ciphertext is the MLSMessage that Encrypt made, and Generation its generation.
	Ciphertext []byte
	Generation uint32
	// Proposal is what a propose command made.
	Proposal *Proposal
	// DistributionPoints are what AddMembers found in the credentials it adds, or a join in those of the members; see Outcome.
	DistributionPoints []string
	// Letters is how many messages RequeueLetters or DropLetters was about.
	Letters int
	// Failing is how many messages have failed and are to be handed over again; Fail says it.
	Failing int
	// Secret is what ExportSecret derived.
	Secret secret.Bytes
	// Epoch is the epoch after the step.
	Epoch mlsengine.Epoch
	// Removed says that the step ended our membership.
	Removed bool
	// FollowThrough asks the shell to follow the group's order up to this entry: there the own commit is merged.
	FollowThrough uint64
}

// Proposal is an own proposal.
type Proposal struct {
	Ref                mlsengine.ProposalRef
	Message            []byte   // MLSMessage
	DistributionPoints []string // in the credential it brings in; see Outcome
}

// Completion is the outcome of a command.
type Completion struct {
	Command CommandRef
	Err     *CommandError // nil: done
	Epoch   mlsengine.Epoch
}

// OutcomeKind says what a message was.
type OutcomeKind uint8

// The kinds of outcomes.
const (
	OutcomeRejected    OutcomeKind = iota // Code says why; nothing changed
	OutcomeApplication                    // decrypted
	OutcomeProposal                       // pending now
	OutcomeCommit                         // the epoch changed
	OutcomeOwn                            // our own message, seen in the group's order
	OutcomeUnreachable                    // an accepted commit that cannot be followed
	OutcomeOther                          // an entry without effect on members
	OutcomeBuffered                       // it waits for what has to come before it; Code says for what
	OutcomeHistory                        // decrypted: the secret of a reader of history, see ReceivedMessage.History
)

// Outcome is what became of one message.
type Outcome struct {
	Kind     OutcomeKind
	Code     Code   // empty: accepted
	Rule     string // the engine's rule behind the code, where there is one
	Detail   string
	Position uint64
	Epoch    mlsengine.Epoch     // of the message
	Sender   ids.ClientID        // verified; of a commit its committer
	Leaf     mlsengine.LeafIndex // the sender's, where it is a member
	Ref      mlsengine.ProposalRef
	Number   uint64    // running number of an application message, or of a history secret
	Warnings []string  // what policy or the authentication service says against an accepted handshake
	Identity *Identity // of the sender as of the message's epoch; nil where nothing was authenticated
	// Proposals are own ones that the commit left out, made anew in the new epoch: they have to reach the others again.
	Proposals []Proposal
	// Active says that we are still a member behind this message.
	Active bool
	// Delay is how many seconds to wait before committing what is pending; nil: nothing is, or it removes us.
	Delay *uint64
	// DistributionPoints are revocation lists that the message's credentials name and nobody has registered: nil where it brought no
	// X.509 credential, empty where all are known.
	DistributionPoints []string
	// Buffered says that the message had waited, and was taken because of the one before.
	Buffered bool
}

// EpochChanged reports whether the message led to another epoch.
func (o Outcome) EpochChanged() bool { return o.Kind == OutcomeCommit }

// Advice is what can be done about a message that was not accepted.
func (o Outcome) Advice() Advice {
	switch o.Code {
	case WrongEpoch, BufferFull, OrderGap, TooManyProposals, BufferedFutureMessage, BufferedCommit, BufferedForPendingConversation:
		return Retry // hand it in again once what is missing has come; what waits in the buffer needs no help
	case ConversationUnreachable, SelfCommitIgnored:
		return Rejoin
	}
	return GiveUp
}

// ReceivedMessage is a decrypted application message for the conversation's owner.
type ReceivedMessage struct {
	Number    uint64 // stable running number in the conversation, from 1; history secrets have their own
	Sender    ids.ClientID
	Leaf      mlsengine.LeafIndex
	Epoch     mlsengine.Epoch
	TimeMs    uint64 // of the record that consumed it
	Position  uint64
	AAD       []byte
	Plaintext secret.Bytes
	History   ids.ClientID // set: Plaintext is no message but the HistorySecret of this client
}

// Effect is something to send once the events are stored. Repeating one is
// safe. It is a sealed sum.
type Effect interface{ isEffect() }

// SendBundle offers an own commit to the transport.
type SendBundle struct {
	Digest           ids.Digest // idempotency key
	Epoch            mlsengine.Epoch
	Commit           []byte
	Welcome          []byte
	GroupInfo        []byte
	EncryptedMessage []byte   // of the epoch it leads to, for its members: a history secret; empty as a rule
	Proposals        [][]byte // own proposals the commit refers to that are not in the order yet
	AddedClients     []ids.ClientID
	Added            []Member
	Removed          []Member
	Updated          []Member
	ContextChanged   bool
	Encrypted        bool
	External         bool // it joins: the sender is no member yet, or comes back
	Generation       uint32
	Attempt          uint32 // how often the transport asked to try again with it
	Rebuilt          uint32 // how often the command's commit lost its epoch and was made anew
	Command          CommandRef
}

// SendProposal fans an own proposal out.
type SendProposal struct {
	Message []byte
	Ref     mlsengine.ProposalRef
	Epoch   mlsengine.Epoch
	Command CommandRef
}

// RegisterGroup makes a new group known to the built-in delivery service.
type RegisterGroup struct {
	GroupInfo []byte // MLSMessage, with the tree
}

func (SendBundle) isEffect()    {}
func (SendProposal) isEffect()  {}
func (RegisterGroup) isEffect() {}
