package audit

import (
	"bytes"
	"errors"
	"slices"

	"parley/conversation"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// memberCheck verifies the log of one conversation of one client, record by record. It keeps the group's public state by itself, from
// commits where their signed bytes can be read and from deltas where they cannot, beside the state that Fold builds.
type memberCheck struct {
	id        events.LogID
	book      *book
	tally     *Tally
	state     conversation.State
	version   uint64 // of the record at hand
	ownLeaf   uint32
	group     *mlsengine.PublicGroup        // nil before the conversation begins
	proposals map[string]*mlsengine.Content // of the current epoch, by reference; nil where the signed bytes cannot be read
}

func newMemberCheck(id events.LogID, b *book, t *Tally) *memberCheck {
	return &memberCheck{id: id, book: b, tally: t, state: conversation.NewState(id.Client, id.Conversation), proposals: map[string]*mlsengine.Content{}}
}

// record checks what the next record says and then folds it.
func (m *memberCheck) record(r *events.Record) error {
	m.version = r.Version
	for _, e := range r.Events {
		if err := m.event(e); err != nil {
			return err
		}
	}
	next, err := conversation.Fold(m.state, r)
	if err != nil {
		return flawed(CheckFold, "%v", err)
	}
	m.state = next
	if m.group != nil && next.Group != nil && !bytes.Equal(m.group.Marshal(), next.Group.Marshal()) {
		return flawed(CheckFold, "the folded group of epoch %d is not the verified one", m.group.Epoch())
	}
	return nil
}

func (m *memberCheck) event(e events.Event) error {
	switch b := e.Body.(type) {
	case *eventsv1.ConversationCreated:
		return m.created(e, b)
	case *eventsv1.ConversationJoined:
		return m.joined(e, b)
	case *eventsv1.ProposalCreated:
		return m.proposal(e, b.GetFacts())
	case *eventsv1.ProposalReceived:
		return m.proposal(e, b.GetFacts())
	case *eventsv1.EpochAdvanced:
		return m.advanced(e, b)
	}
	return nil
}

// created takes epoch 0 as it was stored and checks its one leaf.
func (m *memberCheck) created(e events.Event, b *eventsv1.ConversationCreated) error {
	group, err := mlsengine.ParsePublicGroup(b.GetPublicGroup())
	if err != nil {
		return flawed(CheckTreeHash, "%v", err)
	}
	m.ownLeaf = b.GetOwnLeaf()
	if err := m.verifyTree(group); err != nil {
		return err
	}
	if err := m.enter(group, b.GetFacts(), b.GetRoster()); err != nil {
		return err
	}
	return m.secrets(e, b.GetFacts())
}

// joined takes the epoch that a Welcome described, checked as a joiner must (§12.4.3.1).
func (m *memberCheck) joined(e events.Event, b *eventsv1.ConversationJoined) error {
	stored, err := mlsengine.ParsePublicGroup(b.GetPublicGroup())
	if err != nil {
		return flawed(CheckTreeHash, "%v", err)
	}
	m.ownLeaf = b.GetOwnLeaf()
	if err := m.welcomed(stored, b.GetGroupInfo()); err != nil {
		return err
	}
	if err := m.enter(stored, b.GetFacts(), b.GetRoster()); err != nil {
		return err
	}
	return m.secrets(e, b.GetFacts())
}

// welcomed checks the GroupInfo of a Welcome with its signature and the tree, and that they lead to the recorded group.
func (m *memberCheck) welcomed(stored *mlsengine.PublicGroup, message []byte) error {
	info, err := groupInfo(message)
	if err != nil {
		return err
	}
	group, err := mlsengine.NewPublicGroup(info, stored.Tree())
	if err != nil {
		return flawed(CheckSignature, "group info: %v", err)
	}
	m.tally.Signatures.Done += 1 + len(group.Members())
	m.tally.Trees++
	if !bytes.Equal(group.Marshal(), stored.Marshal()) {
		return flawed(CheckTreeHash, "the recorded group is not the one of the group info")
	}
	return nil
}

// verifyTree checks a tree from scratch: structure, parent hashes, tree hash and every leaf's signature.
func (m *memberCheck) verifyTree(group *mlsengine.PublicGroup) error {
	if err := group.Verify(); err != nil {
		return flawed(CheckTreeHash, "epoch %d: %v", group.Epoch(), err)
	}
	m.tally.Trees++
	m.tally.Signatures.Done += len(group.Members())
	return nil
}

// enter makes group the current epoch, once what the event says of it is true.
func (m *memberCheck) enter(group *mlsengine.PublicGroup, facts *eventsv1.EpochFacts, roster []*eventsv1.MemberChange) error {
	if string(group.GroupID()) != string(m.id.Conversation) {
		return flawed(CheckFold, "the group is %s", ids.ConversationID(group.GroupID()))
	}
	if len(roster) > 0 && !sameMembers(roster, group.Members()) {
		return flawed(CheckRoster, "the recorded roster is not the tree's")
	}
	if err := compareFacts(group, facts); err != nil {
		return err
	}
	m.group = group
	clear(m.proposals)
	m.tally.Epochs++
	return m.book.epoch(m.id, facts)
}

func compareFacts(group *mlsengine.PublicGroup, facts *eventsv1.EpochFacts) error {
	switch {
	case uint64(group.Epoch()) != facts.GetEpoch():
		return flawed(CheckCommit, "the epoch is %d and recorded as %d", group.Epoch(), facts.GetEpoch())
	case !bytes.Equal(group.TreeHash(), facts.GetTreeHash()):
		return flawed(CheckTreeHash, "the tree of epoch %d has another hash than recorded", group.Epoch())
	case !bytes.Equal(group.ConfirmedTranscriptHash(), facts.GetConfirmedTranscriptHash()):
		return flawed(CheckTranscript, "epoch %d has another confirmed transcript hash than recorded", group.Epoch())
	case !bytes.Equal(group.ConfirmationTag(), facts.GetConfirmationTag()):
		return flawed(CheckTranscript, "epoch %d has another confirmation tag than recorded", group.Epoch())
	}
	return nil
}

// signed is the authenticated content of a handshake: in the open, or sealed for auditors.
func signed(e events.Event, open []byte) []byte {
	if len(open) > 0 {
		return open
	}
	if sealed, ok := e.Secret(events.ClassAudit); ok {
		return sealed.Expose()
	}
	return nil
}

// proposal checks a proposal's signature and keeps it for the commit that will refer to it.
func (m *memberCheck) proposal(e events.Event, facts *eventsv1.ProposalFacts) error {
	if m.group == nil {
		return flawed(CheckFold, "a proposal stands before the conversation begins")
	}
	raw := signed(e, facts.GetContent())
	if _, known := m.proposals[string(facts.GetRef())]; known && raw == nil {
		return nil // our own, seen again in the group's order
	}
	if raw == nil {
		m.tally.Signatures.Skipped++
		m.proposals[string(facts.GetRef())] = nil // known, and unreadable
		return compareProposal(m.group, facts)
	}
	content, err := mlsengine.ParseContent(raw)
	if err != nil {
		return flawed(CheckSignature, "proposal: %v", err)
	}
	if err := m.group.VerifyContent(content); err != nil {
		return flawed(CheckSignature, "proposal: %v", err)
	}
	m.tally.Signatures.Done++
	if !bytes.Equal(content.ProposalRef(), facts.GetRef()) {
		return flawed(CheckSignature, "a proposal is recorded under another reference than its own")
	}
	if p := content.Proposal(); p == nil || !bytes.Equal(mlsengine.MarshalProposal(p), facts.GetProposal()) || !sameSender(content.Sender(), facts) {
		return flawed(CheckCommit, "proposal %x is told otherwise than it was signed", facts.GetRef())
	}
	m.proposals[string(facts.GetRef())] = content
	return compareProposal(m.group, facts)
}

// advanced repeats a commit and compares what came of it with what was recorded.
func (m *memberCheck) advanced(e events.Event, b *eventsv1.EpochAdvanced) error {
	if m.group == nil {
		return flawed(CheckFold, "a commit stands before the conversation begins")
	}
	next, err := m.restage(signed(e, b.GetContent()), b)
	if errors.Is(err, errSealed) {
		next, err = m.applied(b)
	}
	if err != nil {
		return err
	}
	m.book.followed(follow{m.id, m.version, b.GetPosition(), b.GetMessageDigest()})
	if err := m.enter(next, b.GetFacts(), nil); err != nil {
		return err
	}
	removed := func(c *eventsv1.MemberChange) bool { return c.GetLeaf() == m.ownLeaf }
	if len(b.GetFacts().GetAuthenticatorFingerprint()) == 0 && slices.ContainsFunc(b.GetRemoved(), removed) {
		return nil // whom a commit removes, cannot compute the secrets of the epoch after it
	}
	return m.secrets(e, b.GetFacts())
}

// applied takes an epoch from its delta where the signed bytes of its commit cannot be read: the tree is checked from scratch, the
// signature and the transcript are not.
func (m *memberCheck) applied(b *eventsv1.EpochAdvanced) (*mlsengine.PublicGroup, error) {
	next, err := m.group.ApplyDelta(b.GetDelta())
	if err != nil {
		return nil, flawed(CheckTreeHash, "epoch %d: %v", b.GetFacts().GetEpoch(), err)
	}
	m.tally.Signatures.Skipped++
	m.tally.Transcripts.Skipped++
	return next, m.verifyTree(next)
}

// errSealed says that signed bytes are sealed under a key that is not here.
var errSealed = errors.New("sealed")

func (m *memberCheck) restage(raw []byte, b *eventsv1.EpochAdvanced) (*mlsengine.PublicGroup, error) {
	if raw == nil {
		return nil, errSealed
	}
	content, err := mlsengine.ParseContent(raw)
	if err != nil {
		return nil, flawed(CheckSignature, "commit: %v", err)
	}
	if err := m.group.VerifyContent(content); err != nil {
		return nil, flawed(CheckSignature, "commit: %v", err)
	}
	staged, err := stage(m.group, content, m.proposals)
	if err != nil {
		return nil, err
	}
	m.tally.Signatures.Done++
	m.tally.Trees++
	m.tally.Transcripts.Done++
	if !bytes.Equal(staged.Delta, b.GetDelta()) {
		return nil, flawed(CheckCommit, "the commit to epoch %d leads to another state than recorded", b.GetFacts().GetEpoch())
	}
	return staged.Next, compareEffects(m.group, staged.Effects, b)
}

// stage computes the next epoch from a verified commit and the proposals it refers to.
func stage(group *mlsengine.PublicGroup, content *mlsengine.Content, known map[string]*mlsengine.Content) (*mlsengine.PublicStaged, error) {
	commit := content.Commit()
	if commit == nil {
		return nil, flawed(CheckCommit, "what is recorded as a commit is none")
	}
	var proposals []*mlsengine.Content
	for _, ref := range commit.ProposalRefs() {
		p, ok := known[string(ref)]
		if !ok {
			return nil, flawed(CheckCommit, "the commit refers to proposal %x, which is not in the log", []byte(ref))
		}
		if p == nil {
			return nil, errSealed
		}
		proposals = append(proposals, p)
	}
	staged, err := group.StageCommit(content, proposals, mlsengine.Env{Identify: conversation.Identify})
	if err != nil {
		return nil, flawed(CheckCommit, "%v", err)
	}
	return staged, nil
}

// compareEffects holds what is told of a commit against what it did.
func compareEffects(before *mlsengine.PublicGroup, did mlsengine.Effects, b *eventsv1.EpochAdvanced) error {
	switch {
	case uint32(did.CommitterLeaf) != b.GetCommitterLeaf():
		return flawed(CheckRoster, "the committer is leaf %d and recorded as %d", did.CommitterLeaf, b.GetCommitterLeaf())
	case !sameChanges(did.Added, b.GetAdded()):
		return flawed(CheckRoster, "the commit added other members than recorded")
	case !sameChanges(did.Removed, b.GetRemoved()):
		return flawed(CheckRoster, "the commit removed other members than recorded")
	case !sameChanges(did.Updated, b.GetUpdated()):
		return flawed(CheckRoster, "the commit updated other members than recorded")
	case len(did.Proposals) != len(b.GetProposals()):
		return flawed(CheckCommit, "the commit applied %d proposals and %d are recorded", len(did.Proposals), len(b.GetProposals()))
	}
	for i, p := range did.Proposals {
		told := b.GetProposals()[i]
		if !bytes.Equal(p.Bytes, told.GetProposal()) || !bytes.Equal(p.Ref, told.GetRef()) || !sameSender(p.Sender, told) {
			return flawed(CheckCommit, "proposal %d of the commit is another than recorded", i)
		}
		if err := compareProposal(before, told); err != nil {
			return err
		}
	}
	return nil
}

func sameChanges(did []mlsengine.MemberChange, told []*eventsv1.MemberChange) bool {
	return slices.EqualFunc(did, told, func(d mlsengine.MemberChange, t *eventsv1.MemberChange) bool {
		return uint32(d.Index) == t.GetLeaf() && conversation.ClientOf(d.Credential) == ids.ClientID(t.GetClient()) && bytes.Equal(d.SignatureKey, t.GetSignatureKey())
	})
}

func sameMembers(told []*eventsv1.MemberChange, members []mlsengine.Member) bool {
	return slices.EqualFunc(members, told, func(m mlsengine.Member, t *eventsv1.MemberChange) bool {
		return uint32(m.Index) == t.GetLeaf() && conversation.ClientOf(m.Credential) == ids.ClientID(t.GetClient()) && bytes.Equal(m.SignatureKey, t.GetSignatureKey())
	})
}
