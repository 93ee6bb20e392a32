package conversation

import (
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
)

// Lifecycle says where a conversation stands in its life.
type Lifecycle uint8

// The lifecycles. In all but Active only leaving, joining again and reading
// what is left are possible; see the table in the package comment.
const (
	Absent      Lifecycle = iota // never created
	Active                       // we are a member
	Wiped                        // destroyed on request
	Evicted                      // a commit removed us
	Unreachable                  // an accepted commit cannot be followed; rejoin
	RolledBack                   // the log lost its end; no sending in the epochs it may have reached
	SecretsLost                  // the key ring is gone; rejoin
	Closed                       // an operator restarted the group under another id
)

var lifecycleNames = [...]string{"absent", "active", "wiped", "evicted", "unreachable", "rolled back", "secrets lost", "closed"}

// String names the lifecycle.
func (l Lifecycle) String() string {
	if int(l) < len(lifecycleNames) {
		return lifecycleNames[l]
	}
	return "unknown"
}

// The bounds of a state. Overflow is a typed outcome.
const (
	PendingMax        = 1024      // proposals of an epoch that we make or are handed
	PendingOrderedMax = 1 << 14   // those that the group's order holds: what it lets in, commits may refer to
	CommandsMax       = 4096      // remembered commands
	JoinedMax         = 64        // epochs that we joined in: nobody is let into one of them again
	RecentMax         = 64        // digests of handshake messages, to know duplicates
	SpoolMarksMax     = 256       // spool marks; neighbours merge above it
	HeldMax           = 64        // history secrets that wait for the owner; above it the oldest go
	PlaintextMax      = 256 << 10 // bytes of an application message
	MessageMax        = 16 << 20  // bytes of an incoming message
	SendBlockSize     = 32        // generations reserved at once
	RetriesMax        = 5         // times that an identical bundle is sent again
	RebuildsMax       = 64        // times that a command's commit is made anew after another one won its epoch
	RenewalsMax       = 8         // times that an own proposal is made anew after a commit left it out
	ShelvedMax        = 8         // discarded commits of an epoch that may still turn up
	BufferMax         = 256       // messages that wait for what has to come before them
	BufferBytesMax    = 4 << 20   // bytes of them
	BufferAgeMs       = dayMs     // how long they wait
	CheckpointEvery   = 256       // consumed messages after which the private state is sealed anew
	CheckpointAfterMs = hourMs    // age, with traffic, at which it is
	Window            = 10 * minuteMs
	FutureMs          = minuteMs // how far a command's time of issue may lie ahead
	batchBytesMax     = 256 << 10
)

// State is a conversation: what can be known without keys, the member's
// secrets where they are there, and what only the running process knows. It is
// a value; Step and Fold return successors.
type State struct {
	Public
	Private *Private
	joining secret.Bytes // what the commit of Public.Joining cannot be taken without
	Live    Live
}

// Public is everything that Fold knows without keys.
type Public struct {
	Client       ids.ClientID
	Conversation ids.ConversationID
	Lifecycle    Lifecycle
	Version      uint64 // of the newest record folded
	TimeMs       uint64 // its time
	Config       Config
	OwnLeaf      mlsengine.LeafIndex
	Group        *mlsengine.PublicGroup // the epoch; nil while we are no member
	Fingerprint  []byte                 // of the epoch's authenticator
	Past         []PastEpoch            // epochs whose messages stay readable, newest first
	Pending      []PendingProposal      // proposals of this epoch, in the order they came
	Cleared      []PendingProposal      // dropped ones: others may commit them as long as the epoch lasts
	Staged       *StagedCommit          // own commit that waits for the transport
	Shelved      []StagedCommit         // own commits of this epoch that were discarded and may nevertheless turn up
	Superseded   *SupersededCommit      // own commit whose epoch another one won, while its command goes on
	Joining      *Joining               // own commit by which we join, on its way
	Loss         *Loss                  // we cannot follow the group any more, and nobody has removed us
	Returns      uint32                 // how often we came back by a commit of our own, each time within an hour of the time before
	ReturnedMs   uint64                 // when we did last
	Buffer       Buffer
	Position     uint64          // newest entry of the group's order (or foreign position) that is part of the state
	Reserved     Reserved        // own generations of this epoch that are spoken for
	Muted        mlsengine.Epoch // RolledBack: through this epoch generations may be used of which the log does not know
	OwnOrdered   uint32          // own application generations of this epoch below this were seen in the order
	Spool        Spool
	Commands     []RememberedCommand // by time of completion
	Recent       []ids.Digest        // handshake messages that took effect, oldest first
	Consumed     uint32              // messages consumed and own generations reserved since the private state was last sealed
	SealedMs     uint64              // when that was
	CommitDueMs  uint64              // when we commit what is pending, should nobody have done so; 0: not we
	RotatedMs    uint64              // when the own leaf got its keys
	ExposedMs    uint64              // since when somebody who was removed may be a reader of the group; 0: nobody may
	HeldUntilMs  uint64              // what time makes due is not committed before: the last attempt failed
	Parent       ids.ConversationID
	Successor    ids.ConversationID // Closed: where the group goes on
	Joined       [][]byte           // fingerprints of the epochs that we joined in, oldest first; leaving does not forget them
}

// PastEpoch is an epoch whose late application messages can still be read.
type PastEpoch struct {
	Group   *mlsengine.PublicGroup
	EndedMs uint64
}

// Reserved counts own generations: below these numbers everything may have
// been used.
type Reserved struct {
	Application uint32
	Handshake   uint32
}

// PendingProposal is a proposal of the current epoch that is not committed yet.
type PendingProposal struct {
	Ref         mlsengine.ProposalRef
	Type        mlsengine.ProposalType
	Proposal    []byte // Proposal struct
	SenderType  mlsengine.SenderType
	SenderIndex uint32 // leaf of a member, index of an external sender
	Content     []byte // AuthenticatedContent; empty where it travelled encrypted (then Private has it)
	Encrypted   bool
	Own         bool
	Message     []byte     // own: the MLSMessage, so that it can be sent again
	Digest      ids.Digest // of the MLSMessage
	Position    uint64     // in the group's order; 0: not there yet
	TimeMs      uint64
	Renewed     uint32        // own: how often it was made anew, because the commit of its epoch left it out
	Credential  CredentialRef // own Update: what the leaf is to present from then on; empty: what it does
}

// StagedCommit is an own commit between being made and the transport's verdict.
type StagedCommit struct {
	Digest         ids.Digest // of the bundle: its idempotency key
	Epoch          mlsengine.Epoch
	Commit         []byte // MLSMessage
	Welcome        []byte // MLSMessage; empty where nobody is added
	GroupInfo      []byte // MLSMessage
	Refs           []mlsengine.ProposalRef
	Intent         string // the command's name
	Clients        []ids.ClientID
	AddClients     []ids.ClientID
	Attempt        uint32 // how often the transport asked to try again
	Encrypted      bool
	Generation     uint32 // handshake generation it travels under, when encrypted
	Command        CommandRef
	Added          []Member
	Removed        []Member
	Updated        []Member
	ContextChanged bool
	StagedMs       uint64
	Inline         [][]byte      // what the command wants, as Proposal structs
	Rebuilt        uint32        // how often the command's commit was made anew
	Failed         bool          // the transport gave no answer: nobody waits, a new commit may take its place
	Credential     CredentialRef // what our leaf presents with it; empty: what it does

	EncryptedMessage []byte // MLSMessage of the epoch it leads to: the secret of the reader that it adds
	NextReserved     uint32 // own application generations of that epoch that it uses

	carriedOut bool // an older commit of its command has won: known within one record only
}

// Member is one client of the group.
type Member struct {
	Leaf           mlsengine.LeafIndex
	Client         ids.ClientID
	SignatureKey   []byte
	CredentialType mlsengine.CredentialType
}

// CommandRef is a command id with what it is bound to. An empty ID is nobody's.
type CommandRef struct {
	ID            ids.CommandID
	Principal     string
	Name          string
	IssuedMs      uint64
	RequestDigest ids.Digest
}

// RememberedCommand is a command that had an outcome inside the window.
type RememberedCommand struct {
	CommandRef
	ErrorCode Code   // empty: done
	Detail    string // of an error
	Outcome   []byte // public outcome: see Completion
}

// Spool counts decrypted messages that the owner has not acknowledged.
type Spool struct {
	Next         uint64 // running number of the next message; the first is 1
	Acknowledged uint64 // every message up to this number is acknowledged or expired
	Seen         uint64 // the owner has seen all that the records up to this version had for it
	Marks        []SpoolMark
	Secrets      uint64       // running number of the newest history secret
	Held         []HeldSecret // history secrets that were not acknowledged, oldest first
	Letters      []Letter     // messages that have failed; those put aside in the order in which they were
	Aside        []uint64     // ascending: numbers above Acknowledged of messages that have failed, be it that they were acknowledged since
}

// HeldSecret says where in the log a history secret is.
type HeldSecret struct {
	Number  uint64
	Version uint64
	TimeMs  uint64
}

// SpoolMark says where in the log a run of spooled messages begins.
type SpoolMark struct {
	First   uint64 // running number of its first message
	Version uint64 // record that holds it; the following ones hold the rest
	TimeMs  uint64
	Last    uint64
	LastMs  uint64
}

// Private are the member's secrets. It is immutable.
type Private struct {
	Group    *mlsengine.Group
	Past     []*mlsengine.Group // retired epochs, like Public.Past
	updates  []keyed            // secrets of own pending Updates, by proposal reference
	contents []keyed            // AuthenticatedContent of pending proposals that travelled encrypted
	staged   secret.Bytes       // stagedSecrets of the own staged commit
	shelved  []keyed            // the same of the discarded ones, by bundle digest
}

// keyed is a secret by a proposal's reference or a bundle's digest.
type keyed struct {
	ref   []byte
	value secret.Bytes
}

// Live is what only the running process knows; it is outside of the law that
// ties Step to Fold, and lost in a crash without harm.
type Live struct {
	block   *mlsengine.SendBlock // reserved application generations of this epoch
	staged  *mlsengine.Staged    // outcome of the own staged commit, as when it was made
	joining *mlsengine.Staged    // outcome of the commit by which we join
}

// NewState is the state of a conversation whose log is empty.
func NewState(client ids.ClientID, conversation ids.ConversationID) State {
	return State{Public: Public{Client: client, Conversation: conversation, Spool: Spool{Next: 1}}}
}

// At is the state after its events became the record of that version. The
// shell calls it once the record is durable.
func (s State) At(version uint64) State {
	s.Version = version
	return s
}
