package mlsengine

import (
	"bytes"

	"parley/internal/syntax"
)

// committed is one proposal of a commit and where it came from.
type committed struct {
	proposal Proposal
	sender   Sender
	ref      ProposalRef // nil when the commit holds the proposal by value

	encrypted bool // it travelled as a PrivateMessage
}

// proposalList is the list a commit puts into effect, in its order (§12.2).
type proposalList struct {
	group      *PublicGroup
	committer  Sender
	hasPath    bool
	path       *UpdatePath // of a received commit
	founding   bool        // of the first commit of a group that continues another
	custom     CustomProposals
	components Components
	identify   Identifier
	all        []committed
}

// resolve finds the proposals a commit refers to among the verified ones of
// this epoch.
func (g *PublicGroup) resolve(committer Sender, commit *Commit, known []*Content) (*proposalList, error) {
	byRef := make(map[string]*Content, len(known))
	for _, c := range known {
		byRef[string(c.ProposalRef())] = c
	}
	list := &proposalList{group: g, committer: committer, hasPath: commit.Path != nil, path: commit.Path}
	for i := range commit.Proposals {
		p := &commit.Proposals[i]
		if p.Proposal != nil {
			list.all = append(list.all, committed{proposal: p.Proposal, sender: committer})
			continue
		}
		c := byRef[string(p.Ref)]
		if c == nil || c.Proposal() == nil {
			return nil, broken(UnknownProposal, "proposal %x", []byte(p.Ref))
		}
		if c.Epoch() != g.context.Epoch || !bytes.Equal(c.GroupID(), g.context.GroupID) {
			return nil, broken(WrongEpoch, "proposal %x is of epoch %d", []byte(p.Ref), c.Epoch())
		}
		list.all = append(list.all, committed{c.Proposal(), c.Sender(), p.Ref, c.Encrypted()})
	}
	return list, nil
}

// eachProposal calls f for every proposal of one type, in order.
func eachProposal[P Proposal](l *proposalList, f func(P, committed) error) error {
	for _, c := range l.all {
		if p, ok := c.proposal.(P); ok {
			if err := f(p, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// count is the number of proposals of one type.
func (l *proposalList) count(kind ProposalType) int {
	n := 0
	for _, c := range l.all {
		if c.proposal.ProposalType() == kind {
			n++
		}
	}
	return n
}

func (l *proposalList) external() bool { return l.committer.Type == SenderTypeNewMemberCommit }

// appliesTo says to which kind of commit a constraint applies.
type appliesTo uint8

const (
	memberCommits appliesTo = iota
	externalCommits
	allCommits
)

// constraint is one condition on the proposals of a commit.
type constraint struct {
	commits appliesTo
	check   func(*proposalList) error
}

// constraints is the whole of §12.2 and of the per-proposal rules of §12.1 that
// do not need the resulting tree; staging.checkMembers has the others.
func constraints() []constraint {
	return []constraint{
		{allCommits, (*proposalList).pathWhereRequired},
		{memberCommits, (*proposalList).noExternalInit},
		{memberCommits, (*proposalList).sendersMayPropose},
		{allCommits, (*proposalList).typesSupported},
		{allCommits, (*proposalList).componentsKnown},
		{allCommits, (*proposalList).selfRemovesValid},
		{memberCommits, (*proposalList).addsValid},
		{memberCommits, (*proposalList).updatesValid},
		{allCommits, (*proposalList).removesValid},
		{allCommits, (*proposalList).pskIDsValid},
		{memberCommits, (*proposalList).reInitsValid},
		{memberCommits, (*proposalList).extensionsValid},
		{memberCommits, (*proposalList).noUpdateByCommitter},
		{memberCommits, (*proposalList).noRemoveOfCommitter},
		{memberCommits, (*proposalList).oneChangePerLeaf},
		{allCommits, (*proposalList).appDataConsistent},
		{memberCommits, (*proposalList).appDataLocked},
		{allCommits, (*proposalList).pskIDsUnique},
		{memberCommits, (*proposalList).oneGroupContextExtensions},
		{memberCommits, (*proposalList).reInitAlone},
		{externalCommits, (*proposalList).nothingByReference},
		{externalCommits, (*proposalList).oneExternalInit},
		{externalCommits, (*proposalList).onlyExternalTypes},
		{externalCommits, (*proposalList).oneRemoveOfOldSelf},
		{externalCommits, (*proposalList).oneChangePerLeaf},
	}
}

func (l *proposalList) validate() error {
	for _, c := range constraints() {
		if c.commits == memberCommits && l.external() || c.commits == externalCommits && !l.external() {
			continue
		}
		if err := c.check(l); err != nil {
			return err
		}
	}
	return nil
}

// pathRequired reports whether the list asks for a path (§12.4).
func (l *proposalList) pathRequired() bool {
	for _, c := range l.all {
		if l.needsPath(c.proposal) {
			return true
		}
	}
	return len(l.all) == 0
}

// needsPath is pathRequired for one proposal. Those who do not know a custom
// proposal leave it to those who do.
func (l *proposalList) needsPath(p Proposal) bool {
	if custom, ok := p.(*CustomProposal); ok {
		rule, known := l.custom[custom.Type]
		return known && rule == PathRequired
	}
	return pathRequired(p.ProposalType())
}

func (l *proposalList) pathWhereRequired() error {
	if !l.hasPath && l.pathRequired() {
		return broken(PathMissing, "%d proposals", len(l.all))
	}
	return nil
}

func (l *proposalList) noExternalInit() error {
	if n := l.count(ProposalTypeExternalInit); n > 0 {
		return broken(ExternalInitByMember, "%d external_init proposals", n)
	}
	return nil
}

// sendersMayPropose checks the proposals against what their senders may send
// (§12.1.8), and that a member that proposed is still one.
func (l *proposalList) sendersMayPropose() error {
	for _, c := range l.all {
		if err := l.group.mayPropose(c.sender, c.proposal.ProposalType()); err != nil {
			return err
		}
	}
	return nil
}

// mayPropose checks that a sender of this kind may send such a proposal.
func (g *PublicGroup) mayPropose(sender Sender, kind ProposalType) error {
	switch sender.Type {
	case SenderTypeMember:
		if kind == ProposalTypeExternalInit {
			return broken(ExternalInitByMember, "leaf %d", sender.Leaf)
		}
		return nil
	case SenderTypeExternal:
		if !kind.isExternal() {
			return broken(ExternalProposalType, "proposal type %d", kind)
		}
		return nil
	case SenderTypeNewMemberProposal:
		if kind != ProposalTypeAdd {
			return broken(NewMemberProposalContent, "proposal type %d", kind)
		}
		return nil
	case SenderTypeNewMemberCommit:
	}
	return broken(UnknownSender, "sender type %d", sender.Type)
}

func (l *proposalList) addsValid() error {
	var adds []*Add
	for _, c := range l.all {
		if p, ok := c.proposal.(*Add); ok {
			adds = append(adds, p)
		}
	}
	return eachInParallel(len(adds), func(i int) error { return adds[i].KeyPackage.validate(l.group.suite) })
}

func (l *proposalList) updatesValid() error {
	return eachProposal(l, func(p *Update, c committed) error {
		if c.sender.Type != SenderTypeMember {
			return broken(UpdateSender, "sender type %d", c.sender.Type)
		}
		old := l.group.tree.leaf(c.sender.Leaf)
		if old == nil {
			return broken(UpdateSender, "leaf %d is blank", c.sender.Leaf)
		}
		if p.LeafNode.Source != LeafNodeSourceUpdate {
			return broken(LeafSource, "leaf_node_source %d", p.LeafNode.Source)
		}
		if bytes.Equal(old.EncryptionKey, p.LeafNode.EncryptionKey) {
			return broken(LeafKeyUnchanged, "leaf %d keeps its encryption key", c.sender.Leaf)
		}
		if err := p.LeafNode.validateAlone(l.group.suite); err != nil {
			return err
		}
		return p.LeafNode.verifySignature(l.group.senders, l.group.context.GroupID, c.sender.Leaf)
	})
}

func (l *proposalList) removesValid() error {
	return eachProposal(l, func(p *Remove, _ committed) error {
		if l.group.tree.leaf(p.Removed) == nil {
			return broken(RemoveBlankLeaf, "leaf %d", p.Removed)
		}
		return nil
	})
}

// pskIDsValid checks §12.1.4. Resumption PSKs with usage reinit or branch only
// belong into the first commit of a group made for them, which nobody but its
// founder sees: members join it by Welcome.
func (l *proposalList) pskIDsValid() error {
	return eachProposal(l, func(p *PreSharedKey, _ committed) error {
		if err := p.PSK.validateNonce(l.group.suite); err != nil {
			return err
		}
		if p.PSK.linksGroups() && !l.founding {
			return broken(PSKUsage, "resumption usage %d", p.PSK.Usage)
		}
		return nil
	})
}

func (l *proposalList) reInitsValid() error {
	return eachProposal(l, func(p *ReInit, _ committed) error {
		if p.Version < l.group.context.Version {
			return broken(ReInitVersion, "version %d", p.Version)
		}
		return p.Extensions.validateUnique()
	})
}

func (l *proposalList) extensionsValid() error {
	return eachProposal(l, func(p *GroupContextExtensions, _ committed) error {
		if err := p.Extensions.validateUnique(); err != nil {
			return err
		}
		return p.Extensions.validateData()
	})
}

func (l *proposalList) noUpdateByCommitter() error {
	return eachProposal(l, func(_ *Update, c committed) error {
		if c.sender == l.committer {
			return broken(UpdateByCommitter, "leaf %d", c.sender.Leaf)
		}
		return nil
	})
}

func (l *proposalList) noRemoveOfCommitter() error {
	for i := range l.all {
		if leaf, removes := l.all[i].removes(); removes && l.committer == MemberSender(leaf) {
			return broken(RemoveCommitter, "leaf %d", leaf)
		}
	}
	return nil
}

func (l *proposalList) oneChangePerLeaf() error {
	changed := make(map[LeafIndex]struct{})
	for i := range l.all {
		leaf, changes := l.all[i].removes()
		if _, updates := l.all[i].proposal.(*Update); updates {
			leaf, changes = l.all[i].sender.Leaf, true
		}
		if !changes {
			continue
		}
		if _, twice := changed[leaf]; twice {
			return broken(MultipleChangesOfLeaf, "leaf %d", leaf)
		}
		changed[leaf] = struct{}{}
	}
	return nil
}

func (l *proposalList) pskIDsUnique() error {
	used := make(map[string]struct{})
	return eachProposal(l, func(p *PreSharedKey, _ committed) error {
		id := string(syntax.Encode(&p.PSK))
		if _, twice := used[id]; twice {
			return broken(PSKDuplicate, "two proposals have the same id and nonce")
		}
		used[id] = struct{}{}
		return nil
	})
}

func (l *proposalList) oneGroupContextExtensions() error {
	if n := l.count(ProposalTypeGroupContextExtensions); n > 1 {
		return broken(MultipleGroupContextExtensions, "%d group_context_extensions proposals", n)
	}
	return nil
}

func (l *proposalList) reInitAlone() error {
	if l.count(ProposalTypeReInit) > 0 && len(l.all) > 1 {
		return broken(ReInitWithOthers, "%d proposals", len(l.all))
	}
	return nil
}
