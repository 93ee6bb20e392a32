package conversation

import (
	"parley/internal/ids"
	"parley/mlsengine"
)

// CommandMeta is under which id a command runs. With an empty ID it is not
// remembered. A command that was remembered is answered with its first outcome
// as long as the window lasts; see Window.
type CommandMeta struct {
	ID            ids.CommandID
	Principal     string
	IssuedMs      uint64
	RequestDigest ids.Digest // what the id is bound to
}

// Input is what can happen to a conversation: a command, a message, an answer
// of the transport, or something the shell found out. It is a sealed sum.
type Input interface{ isInput() }

// Command is an input that somebody asked for and waits on.
type Command interface {
	Input
	// Name is the command's name in causes and outcomes.
	Name() string
	// Meta is the command's id and principal.
	Meta() CommandMeta
}

// Create makes a new group whose only member is the own client (env.Identity).
type Create struct {
	CommandMeta
	Config Config
}

// Join enters a group by a Welcome.
type Join struct {
	CommandMeta
	Config     Config
	Welcome    []byte // MLSMessage
	KeyPackage []byte
	Secrets    mlsengine.KeyPackageSecrets
	Tree       []byte                 // ratchet_tree encoding, where the Welcome does not carry it
	Position   uint64                 // of the commit that added us in the group's order; following starts behind it
	Origin     *mlsengine.PublicGroup // the group this one reinitializes or branches from
	// EncryptedMessage came with the commit that added us, for the members of the epoch it led to, in a group that has an order.
	EncryptedMessage []byte
}

// JoinExternally joins a group by a commit of our own, or comes back to one. A
// membership that there is goes on until the transport has accepted it.
type JoinExternally struct {
	CommandMeta
	Config    Config
	GroupInfo []byte // bare or MLSMessage, with the tree inside
	Returning bool   // by itself: only while the membership is lost
}

// AbandonJoin gives up a pending JoinExternally.
type AbandonJoin struct {
	CommandMeta
}

// AddMembers commits key packages; everything pending is committed with them.
type AddMembers struct {
	CommandMeta
	KeyPackages [][]byte
}

// RemoveMembers commits the removal of clients. Unknown ones are ignored.
type RemoveMembers struct {
	CommandMeta
	Clients []ids.ClientID
}

// UpdateKeyMaterial commits new keys for the own leaf, everything pending with
// it.
type UpdateKeyMaterial struct {
	CommandMeta
}

// SetCredential commits new keys for the own leaf together with another of the
// client's credentials, everything pending with it. The others see the client
// under it from then on.
type SetCredential struct {
	CommandMeta
	Credential CredentialRef
}

// CommitPending commits what is pending; without anything it does nothing.
type CommitPending struct {
	CommandMeta
}

// ProposeAdd makes an Add proposal.
type ProposeAdd struct {
	CommandMeta
	KeyPackage []byte
}

// ProposeRemove makes a Remove proposal.
type ProposeRemove struct {
	CommandMeta
	Client ids.ClientID
}

// ProposeUpdate makes an Update proposal with new keys for the own leaf, and
// with another of the client's credentials where one is named.
type ProposeUpdate struct {
	CommandMeta
	Credential CredentialRef
}

// ClearProposal drops one pending proposal. It is meant for one that the
// delivery service refused. Should it have reached others after all, their
// commit is followed, and in the group's order it is pending again.
type ClearProposal struct {
	CommandMeta
	Ref mlsengine.ProposalRef
}

// Encrypt makes an application message for all members. It is not remembered:
// a retry draws a new generation.
type Encrypt struct {
	CommandMeta
	Plaintext []byte
	AAD       []byte
}

// ExportSecret derives a secret from the epoch (§8.5).
type ExportSecret struct {
	CommandMeta
	Label   string // empty: "exporter"
	Context []byte
	Length  int
}

// Wipe destroys the conversation locally. Nobody else is told.
type Wipe struct {
	CommandMeta
	Reason string // for the log; empty: it was asked for
}

// MarkAsChild names the conversation that this one belongs to.
type MarkAsChild struct {
	CommandMeta
	Parent ids.ConversationID
	Exists bool // the parent is an established conversation of the client: the shell has looked
}

// Received is one message from a foreign transport, or of a vector run.
type Received struct {
	CommandMeta
	Message  []byte // MLSMessage
	Position uint64 // in the foreign service's order, where it has one
}

// EntryKind says what an entry of the group's order is.
type EntryKind uint8

// The kinds of entries.
const (
	EntryGroup       EntryKind = 1 // the group was registered
	EntryCommit      EntryKind = 2
	EntryProposal    EntryKind = 3
	EntryApplication EntryKind = 4
	EntryRestarted   EntryKind = 5 // an operator closed the group; Message is the successor's id
)

// Entry is one accepted entry of the group's order, verified by its chain and
// MAC.
type Entry struct {
	Number           uint64
	Kind             EntryKind
	Message          []byte   // MLSMessage
	Proposals        [][]byte // of a commit: the committer's own ones that were not in the order before
	EncryptedMessage []byte   // of a commit: an application message of the new epoch
	Sender           ids.ClientID
	Generation       uint32 // of an application message, as its sender said
	TimeMs           uint64
}

// Entries is a batch of the group's order, contiguous and ascending. All that
// is taken of it becomes one record; Reply.Taken says how much that was.
type Entries struct {
	Entries []Entry
}

// TransportOutcome is a delivery service's verdict on a bundle.
type TransportOutcome uint8

// The verdicts.
const (
	TransportSuccess TransportOutcome = 1
	TransportRetry   TransportOutcome = 2
	TransportAbort   TransportOutcome = 3
	TransportFailed  TransportOutcome = 4 // no verdict: nobody knows whether the commit was accepted, and nobody asks again
)

// TransportAnswered is the transport's answer to a commit bundle.
type TransportAnswered struct {
	Bundle   ids.Digest // which one: SendBundle.Digest
	Outcome  TransportOutcome
	Position uint64 // Success: where the commit stands in the group's order
	Reason   string // Abort, Retry, Failed
}

// Acknowledge says what the owner has: every message up to a number, and all
// else that the records up to a version had for it, but history secrets, which
// somebody else may be waiting for.
type Acknowledge struct {
	Through   uint64
	Version   uint64
	History   uint64 // every history secret up to this number
	Histories bool   // every history secret in the records up to Version
	Letter    uint64 // and this message, where it has failed before
}

// ExpireSpool drops messages that were not acknowledged in time.
type ExpireSpool struct{}

// Checkpoint re-seals the private state if that is due: see
// Public.CheckpointDue. Past epochs above their age die with it.
type Checkpoint struct {
	Reason string
	Force  bool // even where none is due
}

// Tick does what time has made due: see Public.NextDue.
type Tick struct {
	MayCommit bool // the transport is there, and the shell has taken in all there is to hear
}

// Burn gives up own generations of this epoch below the given numbers: an
// aborted transaction had reserved them, and its caller may have seen what they
// sealed. Take the numbers from the aborted state's Reserved.
type Burn struct {
	Reserved Reserved
}

// MarkRolledBack says that the log was found behind its anchor.
type MarkRolledBack struct {
	AnchorVersion uint64
	FoundVersion  uint64
	Epoch         mlsengine.Epoch // the newest in which what is lost may have spoken: the anchor's
	Reason        string
	Owed          bool // the log takes nothing else before it says so, whatever the conversation is
}

// MarkBehind says that the group's order was purged past us: what we would
// have to follow next is gone.
type MarkBehind struct {
	First uint64 // oldest entry that is left
}

// MarkSecretsLost says that the key ring is gone.
type MarkSecretsLost struct {
	Reason string
}

func (Create) isInput()            {}
func (Join) isInput()              {}
func (JoinExternally) isInput()    {}
func (AbandonJoin) isInput()       {}
func (AddMembers) isInput()        {}
func (RemoveMembers) isInput()     {}
func (UpdateKeyMaterial) isInput() {}
func (SetCredential) isInput()     {}
func (CommitPending) isInput()     {}
func (ProposeAdd) isInput()        {}
func (ProposeRemove) isInput()     {}
func (ProposeUpdate) isInput()     {}
func (ClearProposal) isInput()     {}
func (Encrypt) isInput()           {}
func (ExportSecret) isInput()      {}
func (MarkAsChild) isInput()       {}
func (Wipe) isInput()              {}
func (Received) isInput()          {}
func (Entries) isInput()           {}
func (TransportAnswered) isInput() {}
func (Acknowledge) isInput()       {}
func (ExpireSpool) isInput()       {}
func (Checkpoint) isInput()        {}
func (Tick) isInput()              {}
func (Burn) isInput()              {}
func (MarkRolledBack) isInput()    {}
func (MarkBehind) isInput()        {}
func (MarkSecretsLost) isInput()   {}

// Meta is the command's id and principal.
func (m CommandMeta) Meta() CommandMeta { return m }

// Name is the command's name in causes and outcomes.
func (Create) Name() string { return "create" }

// Name is the command's name in causes and outcomes.
func (Join) Name() string { return "join" }

// Name is the command's name in causes and outcomes.
func (JoinExternally) Name() string { return "join_by_external_commit" }

// Name is the command's name in causes and outcomes.
func (AbandonJoin) Name() string { return "clear_pending_join" }

// Name is the command's name in causes and outcomes.
func (AddMembers) Name() string { return "add_members" }

// Name is the command's name in causes and outcomes.
func (RemoveMembers) Name() string { return "remove_members" }

// Name is the command's name in causes and outcomes.
func (UpdateKeyMaterial) Name() string { return "update_key_material" }

// Name is the command's name in causes and outcomes.
func (SetCredential) Name() string { return "set_credential" }

// Name is the command's name in causes and outcomes.
func (CommitPending) Name() string { return "commit_pending_proposals" }

// Name is the command's name in causes and outcomes.
func (ProposeAdd) Name() string { return "new_add_proposal" }

// Name is the command's name in causes and outcomes.
func (ProposeRemove) Name() string { return "new_remove_proposal" }

// Name is the command's name in causes and outcomes.
func (ProposeUpdate) Name() string { return "new_update_proposal" }

// Name is the command's name in causes and outcomes.
func (ClearProposal) Name() string { return "clear_pending_proposal" }

// Name is the command's name in causes and outcomes.
func (Encrypt) Name() string { return "encrypt_message" }

// Name is the command's name in causes and outcomes.
func (ExportSecret) Name() string { return "export_secret_key" }

// Name is the command's name in causes and outcomes.
func (MarkAsChild) Name() string { return "mark_as_child_of" }

// Name is the command's name in causes and outcomes.
func (Wipe) Name() string { return "wipe" }

// Name is the command's name in causes and outcomes.
func (Received) Name() string { return "decrypt_message" }
