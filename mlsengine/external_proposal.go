package mlsengine

import (
	"bytes"
	"slices"

	"parley/mlsengine/suite"
)

// ProposeExternally makes a proposal from outside the group by a sender that
// its external_senders name (§12.1.8): an Add, Remove, PreSharedKey, ReInit or
// GroupContextExtensions. The sender is the one with the key of env.Identity,
// which signs; the members get a PublicMessage. The empty nonce of a
// PreSharedKey is drawn.
func (g *PublicGroup) ProposeExternally(p Proposal, aad []byte, env Env) (*Proposed, error) {
	if env.Identity == nil {
		return nil, ErrIdentity
	}
	index := slices.IndexFunc(g.ExternalSenders(), func(s ExternalSender) bool {
		return bytes.Equal(s.SignatureKey, env.Identity.Public)
	})
	switch {
	case index < 0:
		return nil, broken(UnknownExternalSender, "our key is none of %d", len(g.ExternalSenders()))
	case g.reinit != nil:
		return nil, broken(GroupEnded, "reinitialized in epoch %d", g.context.Epoch)
	}
	sender := Sender{Type: SenderTypeExternal, Index: uint32(index)}
	if err := g.mayPropose(sender, p.ProposalType()); err != nil {
		return nil, err
	}
	p = withNonce(p, g.suite, env)
	if err := g.checkSent(committed{proposal: p, sender: sender}, env); err != nil {
		return nil, err
	}
	return proposeFromOutside(&g.context, sender, p, aad, env)
}

// ProposeToJoin makes an Add proposal by the client that wants to join (§12.1.8).
// It takes no secret and no tree of the group: the context of its GroupInfo is
// enough. The key package is env.Identity's; its owner joins by the Welcome of
// whoever commits the proposal.
func ProposeToJoin(group *GroupContext, k *KeyPackage, aad []byte, env Env) (*Proposed, error) {
	switch {
	case env.Identity == nil || !bytes.Equal(env.Identity.Public, k.LeafNode.SignatureKey):
		return nil, ErrIdentity
	case group.Version != VersionMLS10:
		return nil, broken(UnsupportedVersion, "version %d", group.Version)
	case group.CipherSuite != k.CipherSuite:
		return nil, broken(KeyPackageCipherSuite, "%d, the group has %d", k.CipherSuite, group.CipherSuite)
	}
	if err := k.Validate(env); err != nil {
		return nil, err
	}
	asked, err := group.Extensions.requirements()
	if err != nil {
		return nil, err
	}
	if err := k.LeafNode.validateInGroup(asked); err != nil {
		return nil, err
	}
	return proposeFromOutside(group, Sender{Type: SenderTypeNewMemberProposal}, &Add{KeyPackage: *k}, aad, env)
}

// proposeFromOutside signs a proposal as somebody who is no member: its
// signature does not cover the group's context (§6.1).
func proposeFromOutside(group *GroupContext, sender Sender, p Proposal, aad []byte, env Env) (*Proposed, error) {
	a := &authenticatedContent{WireFormat: WireFormatPublicMessage, Content: framedContent{
		GroupID: group.GroupID, Epoch: group.Epoch, Sender: sender, AAD: aad, ContentType: ContentTypeProposal, Proposal: p,
	}}
	s, err := suite.Get(group.CipherSuite)
	if err != nil {
		return nil, broken(UnsupportedCipherSuite, "%d", group.CipherSuite)
	}
	if err := a.Content.validateSender(); err != nil {
		return nil, err
	}
	if err := group.checkAAD(aad); err != nil {
		return nil, err
	}
	if err := signContent(env.Identity, a, nil); err != nil {
		return nil, err
	}
	if err := verifyContent(s, a, env.Identity.Public, nil); err != nil {
		return nil, ErrIdentity // the identity's halves do not fit
	}
	c := newContent(s, a, 0)
	return &Proposed{Message: sealPublic(s, a, membershipKey{}, nil).Bytes(), Content: c, Ref: c.ProposalRef()}, nil
}

// WithExternalSenders is the list with these senders in external_senders
// (§12.1.8.1): all of them, in an order that gives each its index. Nobody is
// left when there are none.
func (e Extensions) WithExternalSenders(senders ExternalSenders) Extensions {
	return e.with(extension(ExtensionTypeExternalSenders, &senders))
}

// WithRequiredCapabilities is the list with this required_capabilities (§11.1).
func (e Extensions) WithRequiredCapabilities(r RequiredCapabilities) Extensions {
	return e.with(extension(ExtensionTypeRequiredCapabilities, &r))
}

func (e Extensions) with(x Extension) Extensions { return e.With(x.Type, x.Data) }
