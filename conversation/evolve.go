package conversation

import (
	"bytes"
	"slices"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// begin starts a record at its time: what the window no longer covers is
// forgotten first, by Step and Fold alike.
func (p *Public) begin(timeMs uint64) {
	p.TimeMs = max(p.TimeMs, timeMs)
	keep := 0
	for _, c := range p.Commands {
		if c.IssuedMs+Window >= p.TimeMs {
			keep++
		}
	}
	if keep == len(p.Commands) {
		p.Commands = slices.Clip(p.Commands) // what this record remembers goes into an array of its own: a state is never changed in place
		return
	}
	kept := make([]RememberedCommand, 0, keep)
	for _, c := range p.Commands {
		if c.IssuedMs+Window >= p.TimeMs {
			kept = append(kept, c)
		}
	}
	p.Commands = kept
}

// evolve is what an event makes of the public state. The group is the epoch
// that an epoch event leads to; Step has computed it, Fold takes it from the
// event's open parts. Slices are replaced, never changed in place.
func (p *Public) evolve(body events.Body, group *mlsengine.PublicGroup) error {
	switch e := body.(type) {
	case *v1.ConversationCreated:
		p.Position = 0 // the order of the new group begins
		return p.enter(e.GetConfig(), group, mlsengine.LeafIndex(e.GetOwnLeaf()), e.GetFacts())
	case *v1.ConversationJoined:
		return p.join(e, group)
	case *v1.ExternalJoinStaged, *v1.ExternalJoinAccepted, *v1.ExternalJoinRejected:
		return p.evolveJoining(body)
	case *v1.EpochAdvanced:
		p.advance(e, group)
	case *v1.ProposalCreated, *v1.ProposalReceived, *v1.ProposalCleared:
		p.evolveProposals(body)
	case *v1.CommitStaged, *v1.CommitRetried, *v1.CommitAccepted, *v1.CommitRejected, *v1.CommitUnanswered, *v1.CommitDiscarded,
		*v1.CommitAbandoned:
		return p.evolveStaged(body)
	case *v1.CommitDelayed:
		p.HeldUntilMs = e.GetUntilMs()
	case *v1.MessageBuffered, *v1.BufferDrained, *v1.BufferExpired, *v1.MessageDropped:
		p.evolveBuffer(body)
	case *v1.GenerationsReserved:
		p.reserve(e)
	case *v1.MessagesConsumed, *v1.MessagesDelivered, *v1.DeliveryExpired, *v1.HistorySecretHeld:
		p.evolveSpool(body)
	case *v1.DeliveryFailed, *v1.MessageDeadLettered, *v1.LettersSettled, *v1.LettersRequeued, *v1.LettersDropped:
		p.evolveLetters(body)
	case *v1.OrderFollowed:
		p.follow(e.GetPosition(), e.GetOwnGeneration())
	case *v1.MessageRejected:
		p.follow(e.GetPosition(), 0)
	case *v1.SecretsCheckpoint:
		p.Consumed, p.SealedMs = 0, p.TimeMs
	case *v1.EpochKeysShredded:
		p.Past = slices.DeleteFunc(slices.Clone(p.Past), func(past PastEpoch) bool { return uint64(past.Group.Epoch()) == e.GetEpoch() })
	case *v1.CommandCompleted:
		p.remember(e)
	case *v1.EpochUnreachable, *v1.ConversationWiped, *v1.MemberEvicted, *v1.LogRolledBack, *v1.SecretsLost, *v1.GroupRestarted:
		p.evolveLoss(body)
		p.evolveLifecycle(body)
	case *v1.RejoinPlanned, *v1.RejoinRefused:
		p.evolveRejoin(body)
	case *v1.MarkedAsChild:
		p.Parent = ids.ConversationID(e.GetParent())
	case *v1.SecretExported, *v1.CrlDistributionPointsFound, *v1.ProposalsRenewed, *v1.TransactionTorn, *v1.Moved, *v1.Claimed:
		// Facts for auditors and for the log itself; the conversation does not move.
	default:
		return brokenf("a conversation's log holds no %T that this build can fold", body)
	}
	return nil
}

// join enters a group that others made. The epoch is remembered: its keys are
// ours to use once. Who joins by a commit of his own finds what has waited for
// it.
func (p *Public) join(e *v1.ConversationJoined, group *mlsengine.PublicGroup) error {
	waiting := p.Buffer.Messages
	p.Position = e.GetPosition()
	joined := append(slices.Clone(p.Joined), e.GetFacts().GetAuthenticatorFingerprint())
	if n := len(joined); n > JoinedMax {
		joined = joined[n-JoinedMax:]
	}
	p.Joined = joined
	if err := p.enter(e.GetConfig(), group, mlsengine.LeafIndex(e.GetOwnLeaf()), e.GetFacts()); err != nil {
		return err
	}
	if e.GetExternal() {
		p.Buffer.Messages = waiting
		if e.GetMissed() != nil {
			p.returned()
		}
	}
	p.note(e.GetMessageDigest())
	return nil
}

// enter is the first epoch of a membership.
func (p *Public) enter(config *v1.Configuration, group *mlsengine.PublicGroup, own mlsengine.LeafIndex, facts *v1.EpochFacts) error {
	c, err := configFromProto(config)
	if err != nil {
		return err
	}
	p.leaveGroup()
	p.Lifecycle = Active
	p.Config = c
	p.OwnLeaf = own
	p.Group = group
	p.Fingerprint = facts.GetAuthenticatorFingerprint()
	p.SealedMs, p.RotatedMs = p.TimeMs, p.TimeMs
	p.Recent, p.Successor, p.Joining, p.Loss = nil, "", nil, nil
	return nil
}

// leaveGroup forgets everything that belongs to a membership. What the owner
// has not acknowledged yet stays.
func (p *Public) leaveGroup() {
	p.Group, p.Fingerprint, p.Past, p.Pending, p.Cleared = nil, nil, nil, nil, nil
	p.Reserved, p.Muted, p.OwnOrdered, p.Consumed, p.SealedMs = Reserved{}, 0, 0, 0, 0
	p.CommitDueMs, p.RotatedMs, p.HeldUntilMs, p.ExposedMs = 0, 0, 0, 0
	p.Buffer.Messages = nil
	p.unstage()
}

// unstage forgets every commit of ours that is under way.
func (p *Public) unstage() { p.Staged, p.Shelved, p.Superseded = nil, nil, nil }

// advance enters the next epoch. Every proposal of the old one is void: those
// that the commit left out are of an epoch that is over.
func (p *Public) advance(e *v1.EpochAdvanced, group *mlsengine.PublicGroup) {
	past := append([]PastEpoch{{Group: p.Group, EndedMs: p.TimeMs}}, p.Past...)
	if n := int(p.Config.PastEpochs); len(past) > n {
		past = past[:n]
	}
	p.Past = past
	p.ExposedMs = p.exposedSince(e, group)
	p.Group = group
	p.Fingerprint = e.GetFacts().GetAuthenticatorFingerprint()
	p.Pending, p.Cleared, p.Staged, p.Shelved = nil, nil, nil, nil
	if presented := e.GetOwnCredential(); presented != "" {
		p.Config.Credential = CredentialRef(presented)
	}
	if p.Superseded != nil {
		p.Superseded = p.Superseded.after(e, p.OwnLeaf, p.Config.Credential)
	}
	if e.GetCause() == v1.EpochCause_EPOCH_CAUSE_OWN && e.GetPath() || updates(e, p.OwnLeaf) {
		p.RotatedMs = p.TimeMs
	}
	p.CommitDueMs, p.HeldUntilMs = 0, 0
	p.Reserved, p.OwnOrdered = Reserved{Application: e.GetApplicationReserved()}, 0
	p.Consumed, p.SealedMs = 0, p.TimeMs
	p.note(e.GetMessageDigest())
	p.follow(e.GetPosition(), 0)
	if p.Lifecycle == RolledBack && group.Epoch() > p.Muted {
		p.Lifecycle, p.Muted, p.Loss = Active, 0, nil // nothing that was lost knew this epoch, so none of its keys can be used twice
	}
}

// note remembers a handshake message that took effect, so that it is known
// when it comes again.
func (p *Public) note(digest []byte) {
	if len(digest) != len(ids.Digest{}) {
		return
	}
	recent := append(slices.Clone(p.Recent), ids.Digest(digest))
	if len(recent) > RecentMax {
		recent = recent[len(recent)-RecentMax:]
	}
	p.Recent = recent
}

func (p *Public) follow(position uint64, ownGeneration uint32) {
	p.Position = max(p.Position, position)
	p.OwnOrdered = max(p.OwnOrdered, ownGeneration)
}

func (p *Public) evolveProposals(body events.Body) {
	switch e := body.(type) {
	case *v1.ProposalCreated:
		proposal := pendingFrom(e.GetFacts(), e.GetEncrypted())
		proposal.Own = true
		proposal.Message = e.GetMessage()
		proposal.Digest = ids.DigestOf(e.GetMessage())
		proposal.TimeMs = p.TimeMs
		proposal.Renewed = e.GetRenewed()
		proposal.Credential = CredentialRef(e.GetCredential())
		p.Pending = append(slices.Clone(p.Pending), proposal)
		p.CommitDueMs = e.GetCommitDueMs()
		if e.GetEncrypted() {
			p.Reserved.Handshake = e.GetGeneration() + 1
		}
		p.note(proposal.Digest[:])
	case *v1.ProposalReceived:
		p.follow(e.GetPosition(), 0)
		if i := p.pendingIndex(e.GetFacts().GetRef()); i >= 0 {
			p.Pending = slices.Clone(p.Pending)
			p.Pending[i].Position = e.GetPosition()
			return
		}
		p.CommitDueMs = e.GetCommitDueMs()
		if i := refIndex(p.Cleared, e.GetFacts().GetRef()); i >= 0 {
			again := p.Cleared[i]
			again.Position = e.GetPosition()
			p.Pending = append(slices.Clone(p.Pending), again)
			p.Cleared = slices.Delete(slices.Clone(p.Cleared), i, i+1)
			p.note(again.Digest[:])
			return
		}
		proposal := pendingFrom(e.GetFacts(), e.GetEncrypted())
		proposal.Own = e.GetOwn()
		proposal.Position = e.GetPosition()
		proposal.TimeMs = p.TimeMs
		copy(proposal.Digest[:], e.GetMessageDigest())
		p.Pending = append(slices.Clone(p.Pending), proposal)
		if e.GetEncrypted() {
			p.Consumed++
		}
		p.note(e.GetMessageDigest())
	case *v1.ProposalCleared:
		// Should it stand in the order after all, it is no duplicate: others may commit it.
		if i := p.pendingIndex(e.GetRef()); i >= 0 {
			digest := p.Pending[i].Digest
			p.Cleared = append(slices.Clone(p.Cleared), p.Pending[i])
			p.Recent = slices.DeleteFunc(slices.Clone(p.Recent), func(d ids.Digest) bool { return d == digest })
		}
		p.Pending = p.lessProposal(e.GetRef())
		p.CommitDueMs = e.GetCommitDueMs()
	}
}

func pendingFrom(f *v1.ProposalFacts, encrypted bool) PendingProposal {
	return PendingProposal{
		Ref:         f.GetRef(),
		Type:        mlsengine.ProposalType(f.GetType()),
		Proposal:    f.GetProposal(),
		SenderType:  mlsengine.SenderType(f.GetSenderType()),
		SenderIndex: f.GetSenderIndex(),
		Content:     f.GetContent(),
		Encrypted:   encrypted,
	}
}

// pendingIndex finds a pending proposal, or is -1.
func (p *Public) pendingIndex(ref []byte) int { return refIndex(p.Pending, ref) }

func refIndex(list []PendingProposal, ref []byte) int {
	return slices.IndexFunc(list, func(q PendingProposal) bool { return bytes.Equal(q.Ref, ref) })
}

// known reports whether a commit of this epoch may refer to a proposal.
func (p *Public) known(ref []byte) bool {
	return p.pendingIndex(ref) >= 0 || refIndex(p.Cleared, ref) >= 0
}

func (p *Public) evolveStaged(body events.Body) error {
	switch e := body.(type) {
	case *v1.CommitStaged:
		p.Staged, p.Superseded = stagedFrom(e, p.TimeMs), nil
		if e.GetEncrypted() {
			p.Reserved.Handshake = e.GetReservedFrom() + e.GetReservedCount()
		}
	case *v1.CommitRetried:
		if e.GetCommand() != nil {
			p.waitsAgain(e)
			return nil
		}
		if p.Staged == nil {
			return brokenf("a commit is retried that is not staged")
		}
		staged := *p.Staged
		staged.Attempt = e.GetAttempt()
		p.Staged = &staged
	case *v1.CommitUnanswered:
		if j := p.Joining; j != nil && bytes.Equal(j.Digest[:], e.GetBundleDigest()) {
			failed := *j
			failed.Failed = true
			p.Joining = &failed
			return nil
		}
		if p.Staged == nil {
			return brokenf("a commit is unanswered that is not staged")
		}
		staged := *p.Staged
		staged.Failed = true
		p.Staged, p.HeldUntilMs = &staged, later(p.TimeMs, holdMs)
	case *v1.CommitDiscarded:
		if p.Staged == nil {
			return brokenf("a commit is discarded that is not staged")
		}
		p.Shelved = append(slices.Clone(p.Shelved), *p.Staged)
		p.Staged = nil
	case *v1.CommitAccepted:
		p.follow(e.GetPosition(), 0)
		p.carryOut(e.GetBundleDigest())
		p.settle(e.GetBundleDigest())
	case *v1.CommitRejected:
		if e.GetRebuild() && p.Staged != nil {
			p.Superseded = superseded(p.Staged)
		}
		if p.settle(e.GetBundleDigest()); !e.GetRebuild() {
			p.HeldUntilMs = later(p.TimeMs, holdMs)
		}
	case *v1.CommitAbandoned:
		p.Superseded = nil
	}
	return nil
}

// carryOut notes that the command of the staged commit is done by one that it had
// made before, and that counts after all. The same record takes the staged one's
// epoch away.
func (p *Public) carryOut(bundle []byte) {
	i := slices.IndexFunc(p.Shelved, func(c StagedCommit) bool { return bytes.Equal(c.Digest[:], bundle) })
	if i < 0 || p.Staged == nil || !p.Staged.Command.same(p.Shelved[i].Command) {
		return
	}
	staged := *p.Staged
	staged.carriedOut = true
	p.Staged = &staged
}

// settle forgets an own commit whose fate is known.
func (p *Public) settle(bundle []byte) {
	if p.Staged != nil && bytes.Equal(p.Staged.Digest[:], bundle) {
		p.Staged = nil
		return
	}
	p.Shelved = slices.DeleteFunc(slices.Clone(p.Shelved), func(c StagedCommit) bool { return bytes.Equal(c.Digest[:], bundle) })
}

func stagedFrom(e *v1.CommitStaged, timeMs uint64) *StagedCommit {
	s := &StagedCommit{
		Epoch:          mlsengine.Epoch(e.GetEpoch()),
		Commit:         e.GetCommit(),
		Welcome:        e.GetWelcome(),
		GroupInfo:      e.GetGroupInfo(),
		Intent:         e.GetIntent(),
		Attempt:        e.GetAttempt(),
		Encrypted:      e.GetEncrypted(),
		Generation:     e.GetReservedFrom(),
		Command:        refFromProto(e.GetCommand()),
		Added:          membersFromProto(e.GetAdded()),
		Removed:        membersFromProto(e.GetRemoved()),
		Updated:        membersFromProto(e.GetUpdated()),
		ContextChanged: e.GetContextChanged(),
		StagedMs:       timeMs,
		Inline:         e.GetInline(),
		Rebuilt:        e.GetRebuilt(),
		Credential:     CredentialRef(e.GetCredential()),

		EncryptedMessage: e.GetEncryptedMessage(),
		NextReserved:     e.GetNextReserved(),
	}
	copy(s.Digest[:], e.GetBundleDigest())
	for _, ref := range e.GetProposalRefs() {
		s.Refs = append(s.Refs, ref)
	}
	for _, c := range e.GetClients() {
		s.Clients = append(s.Clients, ids.ClientID(c))
	}
	for _, c := range e.GetAddClients() {
		s.AddClients = append(s.AddClients, ids.ClientID(c))
	}
	return s
}

func (p *Public) reserve(e *v1.GenerationsReserved) {
	end := e.GetFrom() + e.GetCount()
	switch mlsengine.ContentType(e.GetContentType()) {
	case mlsengine.ContentTypeApplication:
		p.Reserved.Application = max(p.Reserved.Application, end)
		p.Consumed += e.GetCount() // what was sent with them stays readable with the private state of before
	default:
		p.Reserved.Handshake = max(p.Reserved.Handshake, end)
	}
}

func (p *Public) evolveSpool(body events.Body) {
	switch e := body.(type) {
	case *v1.MessagesConsumed:
		p.follow(e.GetPosition(), e.GetOwnGeneration())
		p.Consumed += e.GetCount()
		p.Spool = p.Spool.add(e.GetFirstMessage(), e.GetSpooled(), p.Version+1, p.TimeMs)
	case *v1.HistorySecretHeld:
		p.follow(e.GetPosition(), 0)
		if !e.GetOwn() {
			p.Consumed++
		}
		p.Spool = p.Spool.hold(e.GetNumber(), p.Version+1, p.TimeMs)
	case *v1.MessagesDelivered:
		p.Spool = p.Spool.through(e.GetThrough()).heldThrough(e.GetHistory())
		p.Spool.Seen = max(p.Spool.Seen, e.GetVersion())
	case *v1.DeliveryExpired:
		p.Spool = p.Spool.through(e.GetThrough()).heldThrough(e.GetHistory())
	}
}

func (p *Public) evolveLifecycle(body events.Body) {
	switch e := body.(type) {
	case *v1.EpochUnreachable:
		p.Lifecycle = Unreachable
		p.Pending, p.Cleared, p.CommitDueMs = nil, nil, 0
		p.unstage()
		p.follow(e.GetPosition(), 0)
	case *v1.ConversationWiped:
		p.leaveGroup()
		p.Lifecycle, p.Joining = Wiped, nil
		p.Position = 0
		p.Spool = p.Spool.through(p.Spool.Next - 1).heldThrough(p.Spool.Secrets)
		p.Spool.Letters = nil
	case *v1.MemberEvicted:
		p.leaveGroup()
		p.Lifecycle = Evicted
		p.follow(e.GetPosition(), 0)
	case *v1.LogRolledBack:
		p.unstage()
		switch {
		case p.Exists():
			p.Lifecycle = RolledBack
			p.Muted = max(p.Muted, p.Epoch(), mlsengine.Epoch(e.GetEpoch()))
		case p.Lifecycle == Absent:
			p.Lifecycle = Unreachable
		}
	case *v1.SecretsLost:
		p.Lifecycle, p.Joining = SecretsLost, nil
		p.unstage()
		p.Spool = p.Spool.through(p.Spool.Next - 1).heldThrough(p.Spool.Secrets)
		p.Spool.Letters = nil
	case *v1.GroupRestarted:
		p.Lifecycle, p.Joining = Closed, nil
		p.Pending, p.Cleared, p.CommitDueMs = nil, nil, 0
		p.unstage()
		p.Successor = ids.ConversationID(e.GetSuccessor())
	}
}

// remember keeps a command's outcome, unless the window is already past it.
func (p *Public) remember(e *v1.CommandCompleted) {
	ref := refFromProto(e.GetCommand())
	if ref.ID == "" || ref.IssuedMs+Window < p.TimeMs {
		return
	}
	p.Commands = append(p.Commands, RememberedCommand{
		CommandRef: ref, ErrorCode: Code(e.GetError()), Detail: e.GetDetail(), Outcome: e.GetOutcome(),
	})
}

func refFromProto(r *v1.CommandRef) CommandRef {
	ref := CommandRef{ID: ids.CommandID(r.GetId()), Principal: r.GetPrincipal(), Name: r.GetCommand(), IssuedMs: r.GetIssuedMs()}
	copy(ref.RequestDigest[:], r.GetRequestDigest())
	return ref
}

func (r CommandRef) toProto() *v1.CommandRef {
	if r.Name == "" {
		return nil
	}
	return &v1.CommandRef{Id: []byte(r.ID), Principal: r.Principal, Command: r.Name, IssuedMs: r.IssuedMs, RequestDigest: r.RequestDigest[:]}
}

func membersFromProto(changes []*v1.MemberChange) []Member {
	var members []Member
	for _, m := range changes {
		members = append(members, Member{
			Leaf: mlsengine.LeafIndex(m.GetLeaf()), Client: ids.ClientID(m.GetClient()),
			SignatureKey: m.GetSignatureKey(), CredentialType: mlsengine.CredentialType(m.GetCredentialType()),
		})
	}
	return members
}

func membersToProto(members []Member) []*v1.MemberChange {
	var changes []*v1.MemberChange
	for _, m := range members {
		changes = append(changes, &v1.MemberChange{
			Leaf: uint32(m.Leaf), Client: []byte(m.Client), SignatureKey: m.SignatureKey, CredentialType: uint32(m.CredentialType),
		})
	}
	return changes
}
