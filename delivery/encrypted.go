package delivery

import (
	"bytes"

	"parley/conversation"
	"parley/internal/ids"
	"parley/mlsengine"
)

// judgeSealed judges a commit that only members can read by where it leads: a GroupInfo that carries the tree, is signed by the
// submitter's own leaf and passes every check of tree hash, parent hashes and leaf signatures, and whose other leaves are as they were or
// changed as listed. That tree becomes the state. A member who finds the commit itself to be something else cannot follow it and rejoins.
func (c *candidate) judgeSealed() *Error {
	gi, err := parseGroupInfo(c.bundle.GroupInfo)
	if err != nil {
		return refuse(GroupInfoWrong, "%v", err)
	}
	if !carriesTree(gi) {
		return refuse(GroupInfoWrong, "it does not carry the tree")
	}
	if refused := c.s.speaksFor(gi.Signer, c.bundle.Origin.Client); refused != nil {
		return refused
	}
	next, err := publicFromInfo(c.bundle.GroupInfo)
	if err != nil {
		return refuse(GroupInfoWrong, "%v", err)
	}
	if refused := c.judgeContext(next); refused != nil {
		return refused
	}
	if refused := c.judgeLeaves(next, gi.Signer); refused != nil {
		return refused
	}
	c.next, c.delta = next, nil
	return c.judgeSealedWelcome()
}

// judgeContext compares what may not change from one epoch to the next.
func (c *candidate) judgeContext(next *mlsengine.PublicGroup) *Error {
	was, is := c.s.public.Context(), next.Context()
	switch {
	case is.Epoch != was.Epoch+1:
		return refuse(GroupInfoWrong, "epoch %d after epoch %d", is.Epoch, was.Epoch)
	case !bytes.Equal(is.GroupID, was.GroupID), is.CipherSuite != was.CipherSuite, is.Version != was.Version:
		return refuse(GroupInfoWrong, "it describes another group")
	case len(is.ConfirmedTranscriptHash) != len(is.TreeHash):
		return refuse(GroupInfoWrong, "a confirmed transcript hash of %d bytes", len(is.ConfirmedTranscriptHash))
	case !is.Extensions.Equal(was.Extensions) && !c.lists(ChangeContext, 0, ""):
		return refuse(TreeWrong, "the group's extensions changed unlisted")
	}
	return nil
}

// judgeLeaves compares the trees leaf by leaf: every difference must be listed, and everything listed must be there.
func (c *candidate) judgeLeaves(next *mlsengine.PublicGroup, committer mlsengine.LeafIndex) *Error {
	was, is := c.s.public.Tree(), next.Tree()
	found := map[Change]bool{}
	for i := range mlsengine.LeafIndex(max(was.LeafCount(), is.LeafCount())) {
		before, after := leafAt(was, i), leafAt(is, i)
		if sameLeaf(before, after) {
			continue
		}
		if i == committer {
			if after == nil {
				return refuse(TreeWrong, "the committer's leaf is gone")
			}
			if refused := c.s.judgeSuccessor(identityOf(before), identityOf(after), c.env); refused != nil {
				return refused
			}
			found[Change{Kind: ChangeUpdated, Leaf: uint32(i), Client: conversation.ClientOf(after.Credential)}] = true
			continue
		}
		for _, change := range changesAt(i, before, after) {
			if change.Kind == ChangeUpdated {
				if refused := c.s.judgeSuccessor(identityOf(before), identityOf(after), c.env); refused != nil {
					return refused
				}
			}
			if !c.lists(change.Kind, change.Leaf, change.Client) {
				return refuse(TreeWrong, "leaf %d changed unlisted", i)
			}
			found[change] = true
			c.note(change, before, after)
		}
	}
	for _, listed := range c.bundle.Changes {
		if listed.Kind != ChangeContext && !found[listed] {
			return refuse(TreeWrong, "the listed change of leaf %d is not in the tree", listed.Leaf)
		}
	}
	return nil
}

func leafAt(t *mlsengine.RatchetTree, i mlsengine.LeafIndex) *mlsengine.LeafNode {
	if uint32(i) >= t.LeafCount() {
		return nil
	}
	return t.Leaf(i)
}

// sameLeaf compares by the signature: it covers all the rest under the same key (§7.2).
func sameLeaf(a, b *mlsengine.LeafNode) bool {
	if a == nil || b == nil {
		return a == b
	}
	return bytes.Equal(a.SignatureKey, b.SignatureKey) && bytes.Equal(a.Signature, b.Signature)
}

// changesAt tells what happened at a leaf. A leaf that went from one client to another was removed and filled again.
func changesAt(i mlsengine.LeafIndex, before, after *mlsengine.LeafNode) []Change {
	at := func(kind ChangeKind, leaf *mlsengine.LeafNode) Change {
		return Change{Kind: kind, Leaf: uint32(i), Client: conversation.ClientOf(leaf.Credential)}
	}
	switch {
	case before == nil:
		return []Change{at(ChangeAdded, after)}
	case after == nil:
		return []Change{at(ChangeRemoved, before)}
	case after.Source == mlsengine.LeafNodeSourceKeyPackage:
		return []Change{at(ChangeRemoved, before), at(ChangeAdded, after)}
	}
	return []Change{at(ChangeUpdated, after)}
}

func (c *candidate) lists(kind ChangeKind, leaf uint32, client ids.ClientID) bool {
	for _, l := range c.bundle.Changes {
		if l.Kind == kind && (kind == ChangeContext || l.Leaf == leaf && l.Client == client) {
			return true
		}
	}
	return false
}

// note keeps a change of the roster for the entry.
func (c *candidate) note(change Change, before, after *mlsengine.LeafNode) {
	member := func(leaf *mlsengine.LeafNode) mlsengine.MemberChange {
		return mlsengine.MemberChange{Index: mlsengine.LeafIndex(change.Leaf), Credential: leaf.Credential, SignatureKey: leaf.SignatureKey}
	}
	switch change.Kind {
	case ChangeAdded:
		c.effects.Added = append(c.effects.Added, member(after))
	case ChangeRemoved:
		c.effects.Removed = append(c.effects.Removed, member(before))
	}
}

// judgeSealedWelcome checks the number of those welcomed: which key packages they came by is not to be seen.
func (c *candidate) judgeSealedWelcome() *Error {
	welcomed, refused := c.welcomed()
	if refused != nil {
		return refused
	}
	if len(welcomed) != len(c.effects.Added) {
		return refuse(WelcomeWrong, "%d are added and %d welcomed", len(c.effects.Added), len(welcomed))
	}
	return nil
}
