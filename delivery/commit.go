package delivery

import (
	"bytes"
	"slices"

	"parley/conversation"
	eventsv1 "parley/events/v1"
	"parley/mlsengine"
)

// decideBundle lets at most one publicly valid commit per epoch in, whole or not at all.
func (s *SequencerState) decideBundle(b *Bundle, env Env) Decision {
	m, refused := s.parse(b.Commit, mlsengine.ContentTypeCommit)
	if refused != nil {
		return answered(b, refused)
	}
	epoch, now := uint64(m.Epoch()), s.Epoch()
	if epoch < now {
		if w, ok := s.winnerOf(epoch); ok && w.digest == b.Digest() {
			return Decision{Outcome: Outcome{Answer: Success{Position: w.number}, Position: w.number}}
		}
		// Somebody else ended that epoch, or we no longer remember who: the order tells, and the submitter is behind it.
		return Decision{Outcome: Outcome{Answer: Retry{Epoch: now}}}
	}
	if epoch > now {
		return answered(b, &Error{Code: WrongEpoch, Detail: "the commit belongs to an epoch the order has not reached", Epoch: now})
	}
	if err := s.open(); err != nil {
		return answered(b, err)
	}
	c := candidate{s: s, bundle: b, env: env}
	if refused := c.judge(m); refused != nil {
		return answered(b, refused)
	}
	entry := c.entry()
	return Decision{Event: entry, Outcome: Outcome{Answer: Success{Position: entry.Number}, Position: entry.Number}, next: c.next}
}

// candidate is a bundle for the current epoch while it is judged.
type candidate struct {
	s      *SequencerState
	bundle *Bundle
	env    Env

	next      *mlsengine.PublicGroup
	delta     []byte // empty: the GroupInfo tells the tree
	effects   mlsengine.Effects
	travelled []*mlsengine.Content // the bundle's own proposals, verified
}

func (c *candidate) judge(m *mlsengine.Message) *Error {
	// Every member holds what travels with a commit beside what is pending.
	if n := len(c.bundle.Proposals); n > c.s.limits.Pending {
		return refuse(TooLarge, "%d proposals travel with a commit, at most %d may", n, c.s.limits.Pending)
	}
	if m.WireFormat() == mlsengine.WireFormatPrivateMessage {
		return c.judgeSealed()
	}
	content, err := c.s.public.VerifyMessage(m)
	if err != nil {
		return ruleBroken(err)
	}
	if refused := c.judgeSender(content); refused != nil {
		return refused
	}
	proposals, sealed, refused := c.proposals(content.Commit())
	if refused != nil {
		return refused
	}
	if sealed {
		// It refers to a proposal that only members can read: its outcome is judged as that of an encrypted commit is.
		return c.judgeSealed()
	}
	staged, err := c.s.public.StageCommit(content, proposals, mlsengine.Env{Now: c.env.NowMs / 1000, Identify: conversation.Identify})
	if err != nil {
		return ruleBroken(err)
	}
	c.next, c.delta, c.effects = staged.Next, staged.Delta, staged.Effects
	if refused := c.judgeUpdated(); refused != nil {
		return refused
	}
	if refused := c.judgeWelcome(); refused != nil {
		return refused
	}
	return c.judgeGroupInfo(staged.Effects.CommitterLeaf)
}

// judgeSender checks that the submitter owns the leaf that commits, or may join by this commit.
func (c *candidate) judgeSender(content *mlsengine.Content) *Error {
	sender := content.Sender()
	if sender.Type == mlsengine.SenderTypeMember {
		return c.s.speaksFor(sender.Leaf, c.bundle.Origin.Client)
	}
	joiner, ok := joinerOf(content)
	if !ok || joiner.Client != c.bundle.Origin.Client {
		return refuse(NotMember, "the commit is signed by another identity")
	}
	if c.env.Joiner == nil {
		return refuse(Forbidden, "nobody joins this group by external commit")
	}
	if err := c.env.Joiner(joiner); err != nil {
		return ruleBroken(err)
	}
	return nil
}

// JoinerOf names who wants to come in by itself, and what the policy must grant for it: by an external commit (§12.4.3.2), or by proposing
// that it be added (§12.1.8). NoAccess stands for any other submission. The signature has been verified.
func (s *SequencerState) JoinerOf(sub Submission) (Identity, Access) {
	if s.public == nil {
		return Identity{}, NoAccess
	}
	switch sub := sub.(type) {
	case *Bundle:
		content := s.fromNewMember(sub.Commit, mlsengine.ContentTypeCommit, mlsengine.SenderTypeNewMemberCommit)
		if joiner, ok := joinerOf(content); ok {
			return joiner, JoinsByInfo
		}
	case *Proposal:
		content := s.fromNewMember(sub.Message, mlsengine.ContentTypeProposal, mlsengine.SenderTypeNewMemberProposal)
		if asker, ok := askerOf(content); ok {
			return asker, AsksToJoin
		}
	}
	return Identity{}, NoAccess
}

// fromNewMember opens a message of somebody who is no member yet; nil where it is none.
func (s *SequencerState) fromNewMember(b []byte, ct mlsengine.ContentType, by mlsengine.SenderType) *mlsengine.Content {
	m, refused := s.parse(b, ct)
	if refused != nil || m.WireFormat() != mlsengine.WireFormatPublicMessage {
		return nil
	}
	if sender, ok := m.Sender(); !ok || sender.Type != by {
		return nil
	}
	content, err := s.public.VerifyMessage(m)
	if err != nil {
		return nil
	}
	return content
}

// askerOf is who proposes to be added.
func askerOf(content *mlsengine.Content) (Identity, bool) {
	if content == nil {
		return Identity{}, false
	}
	add, ok := content.Proposal().(*mlsengine.Add)
	if !ok {
		return Identity{}, false
	}
	return identityOf(&add.KeyPackage.LeafNode), true
}

func joinerOf(content *mlsengine.Content) (Identity, bool) {
	if content == nil {
		return Identity{}, false
	}
	commit := content.Commit()
	if commit == nil || commit.Path == nil {
		return Identity{}, false
	}
	return identityOf(&commit.Path.LeafNode), true
}

func identityOf(leaf *mlsengine.LeafNode) Identity {
	return Identity{
		Client: conversation.ClientOf(leaf.Credential), CredentialType: uint16(leaf.Credential.Type()), Credential: leaf.Credential, SignatureKey: leaf.SignatureKey,
	}
}

// proposals finds what the commit refers to: in the order, or travelling with it. sealed says that one of them is not to be found in the
// open while the order holds encrypted proposals.
func (c *candidate) proposals(commit *mlsengine.Commit) (found []*mlsengine.Content, sealed bool, refused *Error) {
	refs := commit.ProposalRefs()
	if refused := c.takeTravelling(refs); refused != nil {
		return nil, false, refused
	}
	for _, ref := range refs {
		content := c.find(ref)
		if content == nil {
			if c.s.hasSealedProposals() {
				return nil, true, nil
			}
			return nil, false, refuse(Invalid, "%s: a proposal that is not in the order", mlsengine.UnknownProposal.Code())
		}
		found = append(found, content)
	}
	return found, false, nil
}

// takeTravelling verifies the proposals in the bundle: each the committer's own, and referred to.
func (c *candidate) takeTravelling(refs []mlsengine.ProposalRef) *Error {
	if len(c.bundle.Proposals) > len(refs) {
		return refuse(Malformed, "%d proposals travel with a commit that refers to %d", len(c.bundle.Proposals), len(refs))
	}
	for _, b := range c.bundle.Proposals {
		m, refused := c.s.parse(b, mlsengine.ContentTypeProposal)
		if refused != nil {
			return refused
		}
		content, refused := c.s.verifyProposal(m, c.bundle.Origin.Client, c.env)
		if refused != nil {
			return refused
		}
		ref := content.ProposalRef()
		if !slices.ContainsFunc(refs, func(r mlsengine.ProposalRef) bool { return bytes.Equal(r, ref) }) {
			return refuse(Malformed, "a proposal travels with a commit that does not refer to it")
		}
		c.travelled = append(c.travelled, content)
	}
	return nil
}

func (c *candidate) find(ref mlsengine.ProposalRef) *mlsengine.Content {
	for _, content := range c.travelled {
		if bytes.Equal(content.ProposalRef(), ref) {
			return content
		}
	}
	for _, p := range c.s.pending {
		if p.content != nil && bytes.Equal(p.content.ProposalRef(), ref) {
			return p.content
		}
	}
	return nil
}

func (s *SequencerState) hasSealedProposals() bool {
	return slices.ContainsFunc(s.pending, func(p pendingProposal) bool { return p.content == nil })
}

// judgeWelcome checks that the Welcome is for exactly those whom the commit adds (§12.4.3.1).
func (c *candidate) judgeWelcome() *Error {
	var refs [][]byte
	for _, p := range c.effects.Proposals {
		if p.Type != mlsengine.ProposalTypeAdd {
			continue
		}
		proposal, err := mlsengine.ParseProposal(p.Bytes)
		if err != nil {
			return ruleBroken(err)
		}
		if add, ok := proposal.(*mlsengine.Add); ok {
			refs = append(refs, add.KeyPackage.Ref())
		}
	}
	welcomed, refused := c.welcomed()
	if refused != nil {
		return refused
	}
	if len(refs) != len(welcomed) {
		return refuse(WelcomeWrong, "%d are added and %d welcomed", len(refs), len(welcomed))
	}
	for _, ref := range refs {
		if !slices.ContainsFunc(welcomed, func(w []byte) bool { return bytes.Equal(w, ref) }) {
			return refuse(WelcomeWrong, "somebody who is added is not welcomed")
		}
	}
	return nil
}

// welcomed lists the key packages a bundle's Welcome is for.
func (c *candidate) welcomed() ([][]byte, *Error) {
	if len(c.bundle.Welcome) == 0 {
		return nil, nil
	}
	m, err := mlsengine.ParseMessage(c.bundle.Welcome)
	if err != nil {
		return nil, refuse(WelcomeWrong, "%v", err)
	}
	w := m.Welcome()
	if w == nil {
		return nil, refuse(WelcomeWrong, "it is another kind of message")
	}
	if w.CipherSuite != c.s.public.CipherSuite() {
		return nil, refuse(WelcomeWrong, "cipher suite %d", w.CipherSuite)
	}
	var refs [][]byte
	for i := range w.Secrets {
		refs = append(refs, w.Secrets[i].NewMember)
	}
	return refs, nil
}

// judgeGroupInfo checks that the GroupInfo describes the epoch the commit leads to, carries its tree and is signed by the committer.
func (c *candidate) judgeGroupInfo(committer mlsengine.LeafIndex) *Error {
	gi, err := parseGroupInfo(c.bundle.GroupInfo)
	if err != nil {
		return refuse(GroupInfoWrong, "%v", err)
	}
	if gi.Signer != committer {
		return refuse(GroupInfoWrong, "leaf %d committed and leaf %d signed it", committer, gi.Signer)
	}
	if !carriesTree(gi) {
		return refuse(GroupInfoWrong, "it does not carry the tree")
	}
	if err := c.next.GroupInfoMatches(gi); err != nil {
		return refuse(GroupInfoWrong, "%v", err)
	}
	return nil
}

func carriesTree(gi *mlsengine.GroupInfo) bool {
	return gi.Extensions.Has(mlsengine.ExtensionTypeRatchetTree)
}

// entry is the accepted bundle: one entry, so that commit, Welcome and GroupInfo are in the order together or not at all.
func (c *candidate) entry() *eventsv1.OrderEntry {
	b := c.bundle
	e := c.s.entry(eventsv1.EntryKind_ENTRY_KIND_COMMIT, &b.Origin, c.env)
	digest := b.Digest()
	e.Epoch, e.Message, e.Welcome, e.GroupInfo, e.EncryptedMessage = c.s.Epoch(), b.Commit, b.Welcome, b.GroupInfo, b.EncryptedMessage
	e.Digest, e.Delta, e.ProposalMessages, e.Generation = digest[:], c.delta, b.Proposals, b.Generation
	for _, p := range c.effects.Proposals {
		facts := &eventsv1.ProposalFacts{
			Type: uint32(p.Type), Proposal: p.Bytes, SenderType: uint32(p.Sender.Type), SenderIndex: p.Sender.Index, Ref: p.Ref,
		}
		if p.Sender.Type == mlsengine.SenderTypeMember {
			facts.SenderIndex = uint32(p.Sender.Leaf)
		}
		e.Proposals = append(e.Proposals, facts)
	}
	e.Added, e.Removed = changesOf(c.effects.Added), changesOf(c.effects.Removed)
	return e
}

func changesOf(ms []mlsengine.MemberChange) []*eventsv1.MemberChange {
	var out []*eventsv1.MemberChange
	for _, m := range ms {
		out = append(out, &eventsv1.MemberChange{
			Leaf: uint32(m.Index), Client: []byte(conversation.ClientOf(m.Credential)), SignatureKey: m.SignatureKey, CredentialType: uint32(m.Credential.Type()),
		})
	}
	return out
}
