package mlsengine

import (
	"bytes"
	"slices"

	"parley/mlsengine/suite"
)

// PublicGroup is one epoch of a group as somebody without its secrets can know
// it. It is immutable; the slices its accessors return must not be changed.
type PublicGroup struct {
	suite           *suite.Suite
	context         GroupContext
	encoded         []byte // the context
	tree            *RatchetTree
	confirmationTag []byte
	interim         []byte  // interim transcript hash (§8.2)
	reinit          *ReInit // set when this epoch closed the group (§11.2)
	senders         *senderKeys
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

// checkPlace checks that a message is of this group and epoch.
func (g *PublicGroup) checkPlace(id GroupID, epoch Epoch) error {
	if !bytes.Equal(id, g.context.GroupID) {
		return broken(WrongGroup, "group id of %d bytes", len(id))
	}
	if epoch != g.context.Epoch {
		return broken(WrongEpoch, "epoch %d, the group is in %d", epoch, g.context.Epoch)
	}
	return nil
}

// VerifyMessage checks framing and signature of a PublicMessage of this epoch.
// The membership tag needs a secret and stays unchecked.
func (g *PublicGroup) VerifyMessage(m *Message) (*Content, error) {
	if m.public == nil {
		return nil, broken(UnsupportedWireFormat, "wire format %d is not public", m.wireFormat)
	}
	if err := m.public.validate(); err != nil {
		return nil, err
	}
	if err := g.verifyAuthenticated(&m.public.content); err != nil {
		return nil, err
	}
	return newContent(g.suite, &m.public.content, 0), nil
}

// VerifyContent checks the signature of a content that came from storage
// against this epoch.
func (g *PublicGroup) VerifyContent(c *Content) error { return g.verifyAuthenticated(&c.authenticated) }

// verifyAuthenticated checks who sent a content, and the signature (§6.1).
func (g *PublicGroup) verifyAuthenticated(a *authenticatedContent) error {
	return g.verifyAuthenticatedBy(g.senders, a)
}

func (g *PublicGroup) verifyAuthenticatedBy(v verifier, a *authenticatedContent) error {
	if err := g.checkPlace(a.Content.GroupID, a.Content.Epoch); err != nil {
		return err
	}
	if err := a.Content.validateSender(); err != nil {
		return err
	}
	if err := g.context.checkAAD(a.Content.AAD); err != nil {
		return err
	}
	key, err := g.senderKey(&a.Content)
	if err != nil {
		return err
	}
	return verifyContent(v, a, key, g.encoded)
}

// senderKey finds the key that verifies a content (§6.1). The content fits its
// sender's type.
func (g *PublicGroup) senderKey(f *framedContent) (suite.SignaturePublicKey, error) {
	switch f.Sender.Type {
	case SenderTypeMember:
		leaf := g.tree.leaf(f.Sender.Leaf)
		if leaf == nil {
			return nil, broken(UnknownSender, "leaf %d", f.Sender.Leaf)
		}
		return leaf.SignatureKey, nil
	case SenderTypeExternal:
		senders, err := g.context.Extensions.ExternalSenders()
		if err != nil {
			return nil, err
		}
		if uint64(f.Sender.Index) >= uint64(len(senders)) {
			return nil, broken(UnknownExternalSender, "%d of %d", f.Sender.Index, len(senders))
		}
		return senders[f.Sender.Index].SignatureKey, nil
	case SenderTypeNewMemberProposal:
		if add, ok := f.Proposal.(*Add); ok {
			return add.KeyPackage.LeafNode.SignatureKey, nil
		}
	case SenderTypeNewMemberCommit:
		if f.Commit != nil && f.Commit.Path != nil {
			return f.Commit.Path.LeafNode.SignatureKey, nil
		}
	}
	return nil, broken(UnknownSender, "sender type %d", f.Sender.Type)
}
