package delivery

import (
	"bytes"

	"parley/conversation"
	"parley/mlsengine"
)

// A member may change the credential in its leaf, never the client (RFC 9420 §5.3.1): else whoever is a member could go on under the name of
// another. The order lets no such change in, and of those that keep the client only what the authentication service vouches for.

// judgeSuccessor judges the identity that takes another's place in a leaf.
func (s *SequencerState) judgeSuccessor(before, after Identity, env Env) *Error {
	switch {
	case bytes.Equal(before.SignatureKey, after.SignatureKey) && before.Credential.Equal(after.Credential):
		return nil
	case before.Client != after.Client:
		return refuse(Invalid, "the leaf of %s would be that of %s", before.Client, after.Client)
	case env.Successor == nil:
		return nil
	}
	if err := env.Successor(after); err != nil {
		return coded(err)
	}
	return nil
}

// judgeUpdate judges a proposal by which a member changes its own leaf; any other one passes.
func (s *SequencerState) judgeUpdate(content *mlsengine.Content, env Env) *Error {
	update, ok := content.Proposal().(*mlsengine.Update)
	if !ok {
		return nil
	}
	m, ok := s.public.Member(content.Sender().Leaf)
	if !ok {
		return nil // the engine has said so
	}
	return s.judgeSuccessor(identityOfMember(m), identityOf(&update.LeafNode), env)
}

// judgeUpdated judges the leaves that a commit changes. Those of proposals in the order were judged when they came in; one that travels with
// the commit, and the committer's own, are met here first.
func (c *candidate) judgeUpdated() *Error {
	for _, change := range c.effects.Updated {
		before, ok := c.s.public.Member(change.Index)
		if !ok {
			continue
		}
		env := c.env
		if change.Index != c.effects.CommitterLeaf {
			env.Successor = nil
		}
		after := identityOfMember(mlsengine.Member{Index: change.Index, Credential: change.Credential, SignatureKey: change.SignatureKey})
		if refused := c.s.judgeSuccessor(identityOfMember(before), after, env); refused != nil {
			return refused
		}
	}
	return nil
}

func identityOfMember(m mlsengine.Member) Identity {
	return Identity{
		Client: conversation.ClientOf(m.Credential), CredentialType: uint16(m.Credential.Type()), Credential: m.Credential, SignatureKey: m.SignatureKey,
	}
}
