package conversation

import (
	"fmt"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
)

// advance is a commit that leads to the next epoch.
type advance struct {
	staged    *mlsengine.Staged
	content   *mlsengine.Content
	cause     v1.EpochCause
	position  uint64
	digest    ids.Digest
	encrypted bool
	warnings  []string
	reserved  uint32 // own application generations of the new epoch that the commit used already
}

// enterEpoch records the commit with its public facts and moves on. Everything
// that must survive is sealed anew, so the keys of the old epoch die.
func (w *work) enterEpoch(a advance) (*v1.EpochAdvanced, error) {
	if err := w.flush(); err != nil {
		return nil, err
	}
	if a.staged.Removed {
		return w.leave(a)
	}
	if err := w.supersede(a); err != nil {
		return nil, err
	}
	next, err := a.next()
	if err != nil {
		return nil, err
	}
	body := w.advanceBody(a)
	body.OwnCredential = w.presents(a.staged.Public)
	e := w.advanceEvent(a, body)
	e.secrets = append(e.secrets, verificationOf(a.staged.Next)...)
	e.forget = w.outdatedVerification(uint64(a.staged.Public.Epoch()))
	return body, w.emitSealed(e, w.s.Private.next(next, w.s.Config.PastEpochs))
}

// next is the group of the new epoch, past the own generations that are used
// in it already.
func (a advance) next() (*mlsengine.Group, error) {
	if a.reserved == 0 {
		return a.staged.Next, nil
	}
	_, next, block, err := a.staged.Next.Reserve(mlsengine.ContentTypeApplication, a.reserved)
	if err != nil {
		return nil, brokenf("generations of epoch %d: %v", a.staged.Public.Epoch(), err)
	}
	block.Discard()
	return next, nil
}

func (w *work) advanceEvent(a advance, body *v1.EpochAdvanced) event {
	e := event{body: body, group: a.staged.Public}
	if a.encrypted && a.content != nil {
		e.secrets = append(e.secrets, events.Secret{Class: events.ClassAudit, Plain: secret.New(a.content.Marshal())})
	}
	return e
}

// supersede drops the own staged commit when another one won its epoch. A
// command that waits for it goes on.
func (w *work) supersede(a advance) error {
	rival := w.s.Staged
	if rival == nil {
		return nil
	}
	e := rejection(rival, refuse(CommitSuperseded, Retry, "commit %s won epoch %d", a.digest, rival.Epoch))
	e.body.(*v1.CommitRejected).Rebuild = !rival.Failed
	return w.emit(e)
}

// leave records the commit that removed us. It leads to an epoch of which we
// know the public facts and no secret; then everything we had is gone.
func (w *work) leave(a advance) (*v1.EpochAdvanced, error) {
	waiting := w.s.committing()
	if err := w.clearBuffer("removed from the group"); err != nil {
		return nil, err
	}
	body := w.advanceBody(a)
	w.s.Private = nil
	if err := w.emit(w.advanceEvent(a, body)); err != nil {
		return nil, err
	}
	w.reply.Removed = true
	evicted := &v1.MemberEvicted{Epoch: uint64(a.staged.Public.Epoch()), Position: a.position, Committer: body.GetCommitter()}
	if err := w.emitSealed(event{body: evicted}, nil); err != nil {
		return nil, err
	}
	return body, w.abandon(waiting, refuse(ConversationNotFound, GiveUp, "we were removed from the group"))
}

// outdatedVerification lets the verification parts die that are outside of the
// window of retained epochs.
func (w *work) outdatedVerification(epoch uint64) []string {
	retain := uint64(w.s.Config.RetainEpochs)
	if w.s.Config.RetainEpochs == RetainAll || epoch <= retain {
		return nil
	}
	return []string{events.ForgetThrough(events.ClassVerification, verificationStream, epoch-retain-1)}
}

// advanceBody is the open part of the event: what an auditor sees without keys.
func (w *work) advanceBody(a advance) *v1.EpochAdvanced {
	effects := a.staged.Effects
	committer := w.committerOf(effects)
	body := &v1.EpochAdvanced{
		Facts: factsOf(a.staged.Public, a.staged.Next), Cause: a.cause,
		CommitterLeaf: uint32(effects.CommitterLeaf), Committer: []byte(committer),
		Added: membersToProto(changed(effects.Added)), Removed: membersToProto(changed(effects.Removed)),
		Updated: membersToProto(changed(effects.Updated)), Delta: a.staged.Delta, Position: a.position,
		Encrypted: a.encrypted, Path: effects.PathCommitter, Reinit: a.staged.ReInit != nil,
		MessageDigest: a.digest[:], Warnings: append(a.warnings, w.warnings(a)...), ApplicationReserved: a.reserved,
	}
	for _, p := range effects.Proposals {
		facts := &v1.ProposalFacts{
			Type: uint32(p.Type), Proposal: p.Bytes, SenderType: uint32(p.Sender.Type), SenderIndex: senderIndex(p.Sender), Ref: p.Ref,
		}
		if proposal, err := mlsengine.ParseProposal(p.Bytes); err == nil {
			facts.Client = []byte(w.s.subject(proposal, p.Sender))
		}
		body.Proposals = append(body.Proposals, facts)
	}
	if !a.encrypted && a.content != nil {
		body.Content = a.content.Marshal()
	}
	return body
}

// The prefix of the warning about a member whose key package was outside its
// lifetime; the leaf index follows.
const warningLifetime = "LifetimeExpired:"

// The prefix of the warning about a member who went on under the name of another
// client (RFC 9420 §5.3.1); the leaf index follows. Our own delivery service lets
// nobody do so.
const warningSuccessor = "ClientChanged:"

// warnings are what clock and authentication service say against a commit that
// others accepted.
func (w *work) warnings(a advance) []string {
	if a.cause == v1.EpochCause_EPOCH_CAUSE_OWN {
		return nil // we judged it when we made it
	}
	effects := a.staged.Effects
	warnings := w.doubts(a.staged.Public, append(changed(effects.Added), changed(effects.Updated)...))
	for _, m := range effects.Updated {
		if before, ok := w.s.Group.Member(m.Index); ok && ClientOf(before.Credential) != ClientOf(m.Credential) {
			warnings = append(warnings, fmt.Sprintf("%s%d", warningSuccessor, m.Index))
		}
	}
	for _, leaf := range effects.Expired {
		warnings = append(warnings, fmt.Sprintf("%s%d", warningLifetime, leaf))
	}
	return warnings
}

// committerOf names the committer: a member of the old epoch, or one that the
// commit brought in.
func (w *work) committerOf(effects mlsengine.Effects) ids.ClientID {
	if effects.External {
		for _, m := range effects.Added {
			if m.Index == effects.CommitterLeaf {
				return ClientOf(m.Credential)
			}
		}
		return ""
	}
	if m, ok := w.s.Group.Member(effects.CommitterLeaf); ok {
		return ClientOf(m.Credential)
	}
	return ""
}

func changed(changes []mlsengine.MemberChange) []Member {
	var members []Member
	for _, c := range changes {
		members = append(members, Member{
			Leaf: c.Index, Client: ClientOf(c.Credential), SignatureKey: c.SignatureKey, CredentialType: c.Credential.Type(),
		})
	}
	return members
}

func rosterOf(group *mlsengine.PublicGroup) []Member {
	var members []Member
	for _, m := range group.Members() {
		members = append(members, Member{
			Leaf: m.Index, Client: ClientOf(m.Credential), SignatureKey: m.SignatureKey, CredentialType: m.Credential.Type(),
		})
	}
	return members
}
