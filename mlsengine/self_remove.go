package mlsengine

import "parley/internal/syntax"

// SelfRemove asks to remove its sender (ext., SelfRemove Proposal). Unlike a
// Remove it may also be committed by somebody who joins by external commit, and
// it is only ever included by reference: the sender's own signature says who
// leaves. It travels as a PublicMessage, so that a joiner can read it.
type SelfRemove struct{}

// ProposalType names the arm.
func (*SelfRemove) ProposalType() ProposalType { return ProposalTypeSelfRemove }

// Code walks the SelfRemove struct, which is empty.
func (*SelfRemove) Code(*syntax.Coder) {}

// removedBy is the leaf that a proposal removes: the one it names, or its
// sender's.
func (c *committed) removes() (LeafIndex, bool) {
	switch p := c.proposal.(type) {
	case *Remove:
		return p.Removed, true
	case *SelfRemove:
		return c.sender.Leaf, true
	}
	return 0, false
}

// selfRemovesValid checks how each SelfRemove came, and that its sender is a
// member.
func (l *proposalList) selfRemovesValid() error {
	return eachProposal(l, func(_ *SelfRemove, c committed) error {
		switch {
		case c.ref == nil && c.sender == l.committer:
			return broken(SelfRemoveByValue, "")
		case c.encrypted:
			return broken(SelfRemoveEncrypted, "leaf %d", c.sender.Leaf)
		case c.sender.Type != SenderTypeMember || l.group.tree.leaf(c.sender.Leaf) == nil:
			return broken(UnknownSender, "of a self_remove")
		}
		return nil
	})
}
