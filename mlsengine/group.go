package mlsengine

import (
	"errors"

	"parley/internal/secret"
	"parley/mlsengine/suite"
)

// ErrNotImplemented marks an operation under construction.
var ErrNotImplemented = errors.New("mlsengine: not implemented yet")

// Group is one epoch as one member knows it: the public state and the
// member's secrets. It is immutable: every operation returns a successor.
type Group struct {
	public *PublicGroup
	own    LeafIndex
}

// Public is the part of the epoch that holds no secret.
func (g *Group) Public() *PublicGroup { return g.public }

// GroupID names the group.
func (g *Group) GroupID() GroupID { return g.public.GroupID() }

// Epoch is the epoch's number.
func (g *Group) Epoch() Epoch { return g.public.Epoch() }

// OwnLeaf is the member's place in the tree.
func (g *Group) OwnLeaf() LeafIndex { return g.own }

// GroupParams says what a new group is like.
type GroupParams struct {
	GroupID      GroupID
	Suite        CipherSuite
	Identity     SigningIdentity
	Capabilities Capabilities // zero values are filled in with what this engine supports
	Lifetime     Lifetime
	Extensions   Extensions
}

// NewGroup creates a group whose only member is the creator (§11).
func NewGroup(p GroupParams, env Env) (*Group, error) { return nil, ErrNotImplemented }

// JoinInput is what a client brings along to join by Welcome.
type JoinInput struct {
	KeyPackage *KeyPackage
	Secrets    KeyPackageSecrets
	Identity   SigningIdentity
	Tree       *RatchetTree // when the Welcome does not carry it
	PSKs       PSKStore
	Origin     *PublicGroup // the group this one reinitializes or branches from, in the epoch its PSK names
}

// JoinFromWelcome joins the epoch that a Welcome describes (§12.4.3.1).
func JoinFromWelcome(w *Welcome, in JoinInput, env Env) (*Group, error) {
	return nil, ErrNotImplemented
}

// EpochAuthenticator lets members compare epochs out of band (§8.7).
func (g *Group) EpochAuthenticator() []byte { panic(ErrNotImplemented) }

// ConfirmationKey recomputes confirmation tags of this epoch (§8.1).
func (g *Group) ConfirmationKey() secret.Bytes { panic(ErrNotImplemented) }

// Export derives a secret for use outside MLS (§8.5).
func (g *Group) Export(label string, context []byte, n int) (secret.Bytes, error) {
	return secret.Bytes{}, ErrNotImplemented
}

// ResumptionPSK proves membership in this epoch to a later one (§8.6).
func (g *Group) ResumptionPSK() secret.Bytes { panic(ErrNotImplemented) }

// GroupInfo describes the epoch to those who want to join (§12.4.3); with
// external_pub, and with the tree if asked for. It is signed by env.Identity.
func (g *Group) GroupInfo(tree TreeInclusion, env Env) (*GroupInfo, error) {
	return nil, ErrNotImplemented
}

// TreeInclusion says whether a GroupInfo carries the ratchet tree.
type TreeInclusion bool

// The two ways to give a joiner the tree.
const (
	WithoutTree TreeInclusion = false
	WithTree    TreeInclusion = true
)

// MarshalPrivate encodes the member's secrets of this epoch, except the
// signature key; equal states have equal bytes.
func (g *Group) MarshalPrivate() secret.Bytes { panic(ErrNotImplemented) }

// RestoreGroup joins a public state and what MarshalPrivate wrote.
func RestoreGroup(pub *PublicGroup, private []byte) (*Group, error) { return nil, ErrNotImplemented }

// Open authenticates a message of this epoch and decrypts it. The successor
// has the used key deleted.
func (g *Group) Open(m *Message, limits Limits) (*Content, *Group, error) {
	return nil, nil, ErrNotImplemented
}

// Consume repeats a consumption that Open made: same successor, no message.
func (g *Group) Consume(leaf LeafIndex, ct ContentType, gen Generation) (*Group, error) {
	return nil, ErrNotImplemented
}

// Retire keeps only what opens late application messages of this epoch.
func (g *Group) Retire() *Group { panic(ErrNotImplemented) }

// Reserve moves the own ratchet past n generations and hands out their keys.
func (g *Group) Reserve(ct ContentType, n uint32) (Generation, *Group, *SendBlock, error) {
	return 0, nil, nil, ErrNotImplemented
}

// SealApplication encrypts an application message with the next generation of
// the block (§6.3). Padding is the number of zero bytes to add.
func (g *Group) SealApplication(block *SendBlock, p Plaintext, env Env) ([]byte, Generation, error) {
	return nil, 0, ErrNotImplemented
}

// Plaintext is an application message before encryption.
type Plaintext struct {
	AAD     []byte
	Data    []byte
	Padding int
}

// Framing says how a handshake message travels.
type Framing struct {
	Encrypt bool
	AAD     []byte
	Block   *SendBlock // of handshake generations; needed when Encrypt is set
	Padding int        // when Encrypt is set
}

// Proposed is a proposal message ready to be sent.
type Proposed struct {
	Message []byte
	Content *Content
	Ref     ProposalRef
	Secrets secret.Bytes // of an Update: what OwnUpdates needs when it is committed
}

// Propose makes a proposal message (§12.1), signed by env.Identity. An *Update
// without an encryption key is completed with a fresh one.
func (g *Group) Propose(p Proposal, f Framing, env Env) (*Proposed, error) {
	return nil, ErrNotImplemented
}

// OwnUpdates are the secrets of own Update proposals by the reference of the
// proposal (as a string).
type OwnUpdates map[string]secret.Bytes

// CommitIntent says what a commit should do.
type CommitIntent struct {
	Proposals     []*Content // verified, included by reference in this order, before Inline
	Inline        []Proposal // included by value
	OwnUpdates    OwnUpdates
	ForcePath     bool             // even where §12.4 does not ask for one
	NewIdentity   *SigningIdentity // replaces the committer's credential and signature key
	Framing       Framing
	PSKs          PSKStore
	TreeInWelcome TreeInclusion
	TreeInInfo    TreeInclusion
}

// CommitOut is a commit ready to be sent. Nothing has changed until Staged.Next
// is taken as the group.
type CommitOut struct {
	Message   []byte
	Welcome   []byte // MLSMessage; nil when nobody is added
	GroupInfo []byte // MLSMessage, of the new epoch
	Staged    *Staged
	Secrets   secret.Bytes // what ResumeCommit needs and the message does not tell
}

// Commit makes a commit (§12.4.1), signed by env.Identity.
func (g *Group) Commit(in CommitIntent, env Env) (*CommitOut, error) { return nil, ErrNotImplemented }

// ResumeInput is a commit of our own found again after a crash.
type ResumeInput struct {
	Message   []byte
	Secrets   secret.Bytes
	Proposals []*Content
	PSKs      PSKStore
}

// ResumeCommit stages a commit of our own from its message and secrets; the
// outcome is the one Commit had.
func (g *Group) ResumeCommit(in ResumeInput, env Env) (*Staged, error) { return nil, ErrNotImplemented }

// CommitInput is what a member needs to process a commit.
type CommitInput struct {
	Commit     *Content
	Proposals  []*Content
	OwnUpdates OwnUpdates
	PSKs       PSKStore
}

// StageCommit computes the next epoch from a commit of somebody else (§12.4.2).
func (g *Group) StageCommit(in CommitInput, env Env) (*Staged, error) { return nil, ErrNotImplemented }

// Staged is the outcome of a commit, not yet taken.
type Staged struct {
	Next    *Group // nil when the commit removes us
	Public  *PublicGroup
	Delta   []byte
	Effects Effects
	Removed bool
	ReInit  *ReInit // the commit closed the group in favour of this one
}

// MemberChange is one line of a change to the roster.
type MemberChange struct {
	Index        LeafIndex
	Credential   Credential
	SignatureKey suite.SignaturePublicKey
}

// AppliedProposal is a proposal a commit put into effect.
type AppliedProposal struct {
	Type   ProposalType
	Sender Sender
	Ref    ProposalRef // nil when it was included by value
	Bytes  []byte      // the Proposal struct
}

// Effects says what a commit changed.
type Effects struct {
	Committer      Sender
	CommitterLeaf  LeafIndex // also of an external joiner
	External       bool      // the committer joined by this commit (§12.4.3.2)
	PathCommitter  bool      // the committer replaced its leaf and path
	ContextChanged bool      // the group's extensions were replaced
	Added          []MemberChange
	Removed        []MemberChange
	Updated        []MemberChange // by Update proposals, or the committer when its credential or signature key changed
	Proposals      []AppliedProposal
	Expired        []LeafIndex // added by a key package outside its lifetime: reported, never refused (§7.3)
}
