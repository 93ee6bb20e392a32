package mlsengine

import (
	"bytes"
	"slices"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// Staged is the outcome of a commit, not yet taken.
type Staged struct {
	Next    *Group // nil when the commit removes us
	Public  *PublicGroup
	Delta   []byte
	Effects Effects
	Removed bool
	ReInit  *ReInit  // the commit closed the group in favour of this one
	Commit  *Content // of a commit of our own, which Open does not read
}

// PublicStaged is the outcome of a commit as an outsider sees it.
type PublicStaged struct {
	Next    *PublicGroup
	Delta   []byte
	Effects Effects
	ReInit  *ReInit
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

// staging is a commit being put into effect: everything that needs no secret,
// shared by members, outsiders and the committer itself (§12.3, §12.4.2). It
// works on a draft, so that an error leaves the group as it was.
type staging struct {
	from      *PublicGroup
	list      *proposalList
	draft     *treeDraft
	tree      *RatchetTree // the draft once it is complete
	context   GroupContext // provisional until the transcript hash is set
	committer LeafIndex
	added     []LeafIndex // sorted, in the order of the Adds
	removed   []LeafIndex
	updated   []LeafIndex // by Update proposals
	effects   Effects
	reinit    *ReInit
}

// stage validates a list of proposals and applies it (§12.3).
func (g *PublicGroup) stage(list *proposalList, env Env) (*staging, error) {
	if g.reinit != nil {
		return nil, broken(GroupEnded, "reinitialized in epoch %d", g.context.Epoch)
	}
	if g.context.Epoch == epochMax {
		return nil, broken(GroupEnded, "epoch %d is the last one", g.context.Epoch)
	}
	list.custom, list.components, list.identify = env.CustomProposals, env.Components, env.Identify
	if err := list.validate(); err != nil {
		return nil, err
	}
	return g.apply(list, env)
}

// apply starts a staging from a list that is valid.
func (g *PublicGroup) apply(list *proposalList, env Env) (*staging, error) {
	st := &staging{from: g, list: list, draft: g.tree.draft(), context: g.context, committer: list.committer.Leaf}
	st.context.Epoch++
	st.effects.Committer = list.committer
	st.effects.External = list.external()
	if err := st.apply(env); err != nil {
		return nil, err
	}
	if st.effects.External {
		leaf, err := st.draft.leftmostBlank(0)
		if err != nil {
			return nil, err
		}
		st.committer = leaf
	} else if st.draft.leaf(st.committer) == nil {
		return nil, broken(UnknownSender, "leaf %d", st.committer)
	}
	st.effects.CommitterLeaf = st.committer
	return st, nil
}

// epochMax is the last epoch a group can reach.
const epochMax = ^Epoch(0)

// apply puts the proposals into effect in the order of §12.3.
func (st *staging) apply(env Env) error {
	for _, c := range st.list.all {
		if p, ok := c.proposal.(*GroupContextExtensions); ok {
			st.context.Extensions = p.Extensions
			st.effects.ContextChanged = true
		}
	}
	for _, c := range st.list.all {
		if p, ok := c.proposal.(*Update); ok {
			st.draft.update(c.sender.Leaf, &p.LeafNode)
			st.updated = append(st.updated, c.sender.Leaf)
			st.effects.Updated = append(st.effects.Updated, changeOf(c.sender.Leaf, &p.LeafNode))
		}
	}
	for i := range st.list.all {
		if leaf, removes := st.list.all[i].removes(); removes {
			st.effects.Removed = append(st.effects.Removed, changeOf(leaf, st.from.tree.leaf(leaf)))
			st.removed = append(st.removed, leaf)
		}
	}
	if len(st.removed) > 0 {
		st.draft.remove(st.removed...)
	}
	if err := st.applyAdds(env); err != nil {
		return err
	}
	for _, c := range st.list.all {
		if p, ok := c.proposal.(*ReInit); ok {
			st.reinit = p
		}
		st.effects.Proposals = append(st.effects.Proposals, AppliedProposal{
			Type: c.proposal.ProposalType(), Sender: c.sender, Ref: c.ref, Bytes: MarshalProposal(c.proposal),
		})
	}
	return st.applyAppData()
}

func (st *staging) applyAdds(env Env) error {
	var leaves []*LeafNode
	for _, c := range st.list.all {
		if p, ok := c.proposal.(*Add); ok {
			leaves = append(leaves, &p.KeyPackage.LeafNode)
		}
	}
	if len(leaves) == 0 {
		return nil
	}
	var err error
	if st.added, err = st.draft.add(leaves...); err != nil {
		return err
	}
	for n, leaf := range leaves {
		st.effects.Added = append(st.effects.Added, changeOf(st.added[n], leaf))
		if !leaf.Lifetime.Contains(env.Now) {
			st.effects.Expired = append(st.effects.Expired, st.added[n])
		}
	}
	return nil
}

func changeOf(i LeafIndex, leaf *LeafNode) MemberChange {
	return MemberChange{Index: i, Credential: leaf.Credential, SignatureKey: leaf.SignatureKey}
}

// checkPathLeaf validates the committer's new leaf (§7.3, §12.4.2).
func (st *staging) checkPathLeaf(leaf *LeafNode) error {
	if leaf.Source != LeafNodeSourceCommit {
		return broken(LeafSource, "leaf_node_source %d in a path", leaf.Source)
	}
	if old := st.draft.leaf(st.committer); old != nil && bytes.Equal(old.EncryptionKey, leaf.EncryptionKey) {
		return broken(LeafKeyUnchanged, "leaf %d keeps its encryption key", st.committer)
	}
	if err := leaf.validateAlone(st.from.suite); err != nil {
		return err
	}
	return leaf.verifySignature(st.from.senders, st.context.GroupID, st.committer)
}

// mergePath validates a received path and merges it into the draft.
func (st *staging) mergePath(path *UpdatePath) error {
	if err := st.checkPathLeaf(&path.LeafNode); err != nil {
		return err
	}
	st.notePath(&path.LeafNode)
	return st.draft.mergePath(st.committer, path, st.added)
}

// notePath records what the committer's new leaf changes for the roster.
func (st *staging) notePath(leaf *LeafNode) {
	st.effects.PathCommitter = true
	change := changeOf(st.committer, leaf)
	switch old := st.draft.leaf(st.committer); {
	case st.effects.External:
		st.effects.Added = append(st.effects.Added, change)
	case !old.Credential.Equal(leaf.Credential) || !bytes.Equal(old.SignatureKey, leaf.SignatureKey):
		st.effects.Updated = append(st.effects.Updated, change)
	}
}

// finishTree checks the resulting tree and completes the provisional context.
func (st *staging) finishTree() error {
	if err := st.checkMembers(); err != nil {
		return err
	}
	st.tree = st.draft.seal()
	st.context.TreeHash = st.tree.hash()
	return nil
}

// changed lists the leaves that the commit puts into the tree, in order.
func (st *staging) changed() []LeafIndex {
	changed := slices.Concat(st.added, st.updated)
	if st.effects.PathCommitter {
		changed = append(changed, st.committer)
	}
	slices.Sort(changed)
	return slices.Compact(changed)
}

// checkMembers checks the leaves of the resulting tree as §12.2 asks. A leaf
// that the commit does not touch was valid in the old tree, so it is only
// compared with what is new.
func (st *staging) checkMembers() error {
	changed := st.changed()
	if err := st.checkExtensions(changed); err != nil {
		return err
	}
	if err := st.checkSignatureKeys(changed); err != nil {
		return err
	}
	if err := st.checkEncryptionKeys(changed); err != nil {
		return err
	}
	return st.checkCredentialTypes(changed)
}

// checkExtensions checks that the members support the group's extensions and
// what they require (§12.1.7, §13.4): all of them when the extensions changed.
func (st *staging) checkExtensions(changed []LeafIndex) error {
	asked, err := st.context.Extensions.requirements()
	if err != nil {
		return err
	}
	if st.effects.ContextChanged {
		return st.draft.checkSupport(asked)
	}
	for _, i := range changed {
		if err := st.draft.leaf(i).validateInGroup(asked); err != nil {
			return err
		}
	}
	return nil
}

// checkSignatureKeys checks that no two members share a signature key (§7.3).
// For Adds that is also what makes two key packages the same client (§12.2).
func (st *staging) checkSignatureKeys(changed []LeafIndex) error {
	fresh := newKeySet(len(changed))
	for _, i := range changed {
		if other, twice := fresh.add(st.draft.leaf(i).SignatureKey, i); twice {
			if slices.Contains(st.added, i) && slices.Contains(st.added, other) {
				return broken(AddDuplicate, "leaves %d and %d", other, i)
			}
			return broken(LeafDuplicateSignatureKey, "leaves %d and %d", other, i)
		}
	}
	return st.draft.eachWithSignatureKey(fresh, func(at, other LeafIndex) error {
		if at == other {
			return nil
		}
		if slices.Contains(st.added, other) {
			return broken(AddMember, "leaf %d", at)
		}
		return broken(LeafDuplicateSignatureKey, "leaves %d and %d", at, other)
	})
}

// checkEncryptionKeys checks that the encryption key of no new leaf is that of
// another node (§7.3, §12.4.3.1).
func (st *staging) checkEncryptionKeys(changed []LeafIndex) error {
	fresh := newKeySet(len(changed))
	for _, i := range changed {
		if other, twice := fresh.add(st.draft.leaf(i).EncryptionKey, i); twice {
			return broken(LeafDuplicateEncryptionKey, "leaves %d and %d", other, i)
		}
	}
	return st.draft.eachWithEncryptionKey(fresh, func(x treemath.NodeIndex, i LeafIndex) error {
		switch {
		case x == i.Node():
			return nil
		case x.IsLeaf():
			return broken(LeafDuplicateEncryptionKey, "leaves %d and %d", x/2, i)
		}
		return broken(TreeDuplicateKey, "leaf %d has the key of node %d", i, x)
	})
}

// checkCredentialTypes checks that all members support all credential types in
// use (§7.3): everybody those that are new, new leaves those of everybody.
func (st *staging) checkCredentialTypes(changed []LeafIndex) error {
	before := st.from.tree.credentialTypes()
	inUse := st.draft.credentialTypes()
	for _, kind := range inUse {
		if slices.Contains(before, kind) {
			continue
		}
		for i, leaf := range st.draft.members {
			if !leaf.Capabilities.supportsCredential(kind) {
				return broken(LeafCredentialUnsupported, "leaf %d does not support credential type %d", i, kind)
			}
		}
	}
	for _, i := range changed {
		capabilities := &st.draft.leaf(i).Capabilities
		for _, kind := range inUse {
			if !capabilities.supportsCredential(kind) {
				return broken(LeafCredentialOfOthers, "leaf %d does not support credential type %d", i, kind)
			}
		}
	}
	return nil
}

// provisional encodes the GroupContext that path secrets are bound to: the new
// epoch with the old transcript hash (§12.4.1).
func (st *staging) provisional() []byte { return syntax.Encode(&st.context) }

// conclude takes the transcript hash that the signed commit leads to. The
// context is the new epoch's from here on (§8.2).
func (st *staging) conclude(a *authenticatedContent) {
	st.context.ConfirmedTranscriptHash = confirmedTranscriptHash(st.from.suite, st.from.interim, a)
}

// public is the next epoch with its confirmation tag.
func (st *staging) public(tag []byte) *PublicGroup {
	next := newPublicGroup(st.from.suite, st.context, st.tree, tag)
	next.reinit, next.senders = st.reinit, st.from.senders
	return next
}

// staged is the outcome of the commit; next is nil when it removes us.
func (st *staging) staged(next *Group, tag []byte) *Staged {
	out := &Staged{Next: next, Effects: st.effects, Removed: next == nil, ReInit: st.reinit}
	if next != nil {
		out.Public = next.public
	} else {
		out.Public = st.public(tag)
	}
	out.Delta = st.delta(out.Public)
	return out
}
