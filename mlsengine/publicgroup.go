package mlsengine

import (
	"slices"

	"parley/mlsengine/suite"
)

// PublicGroup is one epoch of a group as somebody without its secrets can know
// it. It is immutable; the slices its accessors return must not be changed.
type PublicGroup struct {
	suite           *suite.Suite
	context         GroupContext
	tree            *RatchetTree
	confirmationTag []byte
	interim         []byte  // interim transcript hash (§8.2)
	reinit          *ReInit // set when this epoch closed the group (§11.2)
}

// Member is one client of a group in one epoch.
type Member struct {
	Index        LeafIndex
	Credential   Credential
	SignatureKey suite.SignaturePublicKey
	Leaf         *LeafNode
}

// Context is the epoch's GroupContext (§8.1).
func (g *PublicGroup) Context() GroupContext { return g.context }

// Epoch is the epoch's number.
func (g *PublicGroup) Epoch() Epoch { return g.context.Epoch }

// GroupID names the group.
func (g *PublicGroup) GroupID() GroupID { return g.context.GroupID }

// CipherSuite is the group's cipher suite.
func (g *PublicGroup) CipherSuite() CipherSuite { return g.context.CipherSuite }

// Tree is the epoch's ratchet tree.
func (g *PublicGroup) Tree() *RatchetTree { return g.tree }

// TreeHash is the tree hash of the root (§7.8).
func (g *PublicGroup) TreeHash() []byte { return g.context.TreeHash }

// ConfirmedTranscriptHash covers every commit up to this epoch (§8.2).
func (g *PublicGroup) ConfirmedTranscriptHash() []byte { return g.context.ConfirmedTranscriptHash }

// InterimTranscriptHash also covers this epoch's confirmation tag (§8.2).
func (g *PublicGroup) InterimTranscriptHash() []byte { return g.interim }

// ConfirmationTag is the tag of the commit that made this epoch (§6.1).
func (g *PublicGroup) ConfirmationTag() []byte { return g.confirmationTag }

// ReInit is the proposal that closed the group with this epoch (§11.2), nil
// while the group is open.
func (g *PublicGroup) ReInit() *ReInit { return g.reinit }

// Members lists the members in leaf order.
func (g *PublicGroup) Members() []Member {
	var members []Member
	for i, leaf := range g.tree.Members {
		members = append(members, memberOf(i, leaf))
	}
	return members
}

// Member finds the member at a leaf.
func (g *PublicGroup) Member(i LeafIndex) (Member, bool) {
	leaf := g.tree.leaf(i)
	if leaf == nil {
		return Member{}, false
	}
	return memberOf(i, leaf), true
}

func memberOf(i LeafIndex, leaf *LeafNode) Member {
	return Member{Index: i, Credential: leaf.Credential, SignatureKey: leaf.SignatureKey, Leaf: leaf}
}

// RequiredCapabilities is the extension of §11.1, nil when the group has none.
func (g *PublicGroup) RequiredCapabilities() *RequiredCapabilities {
	required, _ := g.context.Extensions.RequiredCapabilities() // parsed when the extensions were accepted
	return required
}

// ExternalSenders lists who may send proposals from outside (§12.1.8.1).
func (g *PublicGroup) ExternalSenders() []ExternalSender {
	senders, _ := g.context.Extensions.ExternalSenders() // parsed when the extensions were accepted
	return slices.Clone(senders)
}

// Marshal encodes the epoch; equal epochs have equal bytes.
func (g *PublicGroup) Marshal() []byte { panic(ErrNotImplemented) }

// ParsePublicGroup reads what Marshal wrote and checks it against its tree hash.
func ParsePublicGroup(b []byte) (*PublicGroup, error) { return nil, ErrNotImplemented }

// NewPublicGroup checks a GroupInfo and its tree as §12.4.3.1 asks, as far as
// that needs no secret.
func NewPublicGroup(gi *GroupInfo, tree *RatchetTree, env Env) (*PublicGroup, error) {
	return nil, ErrNotImplemented
}

// VerifyMessage checks framing and signature of a PublicMessage of this epoch.
// The membership tag needs a secret and stays unchecked.
func (g *PublicGroup) VerifyMessage(m *Message) (*Content, error) { return nil, ErrNotImplemented }

// VerifyContent checks the signature of a content that came from storage
// against this epoch.
func (g *PublicGroup) VerifyContent(c *Content) error { return ErrNotImplemented }

// PublicStaged is the outcome of a commit as an outsider sees it.
type PublicStaged struct {
	Next    *PublicGroup
	Delta   []byte
	Effects Effects
	ReInit  *ReInit
}

// StageCommit computes the next epoch from a verified commit and the verified
// proposals it refers to. All rules are checked that need no secret.
func (g *PublicGroup) StageCommit(c *Content, proposals []*Content, env Env) (*PublicStaged, error) {
	return nil, ErrNotImplemented
}

// ApplyDelta computes the next epoch from a delta. It checks that the changed
// tree has the tree hash of the new context.
func (g *PublicGroup) ApplyDelta(delta []byte) (*PublicGroup, error) { return nil, ErrNotImplemented }

// GroupInfoMatches checks that a GroupInfo describes this epoch and is signed
// by a member.
func (g *PublicGroup) GroupInfoMatches(gi *GroupInfo) error { return ErrNotImplemented }
